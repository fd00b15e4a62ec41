"""What the air does for one board: a bumble host that its `bluetooth` module (hil/micropython) commands.

Runs on CPython; needs bumble.  Each call is answered at once with an errno and a result, as the stack of a
board does; what takes time comes as an event.  Numbers of errors are those of NimBLE on MicroPython.
Source: extmod/modbluetooth.c and extmod/nimble/modbluetooth_nimble.c of MicroPython 1.26.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bumble import att, core, gatt, gatt_client, hci
from bumble.device import AdvertisingType, Connection, Device

from hil.air_host import connect_command, make_device
from hil.air_radio import Radio
from hil.micropython import air_wire as wire

CENTRAL_CONNECT, CENTRAL_DISCONNECT, GATTS_WRITE, READ_REQUEST, SCAN_RESULT, SCAN_DONE = 1, 2, 3, 4, 5, 6
PERIPHERAL_CONNECT, PERIPHERAL_DISCONNECT = 7, 8
SERVICE_RESULT, SERVICE_DONE, CHARACTERISTIC_RESULT, CHARACTERISTIC_DONE = 9, 10, 11, 12
DESCRIPTOR_RESULT, DESCRIPTOR_DONE, READ_RESULT, READ_DONE, WRITE_DONE = 13, 14, 15, 16, 17
NOTIFIED, INDICATED, INDICATE_DONE, MTU_EXCHANGED, CONNECTION_UPDATE = 18, 19, 20, 21, 27
"""Events.  Source: docs/library/bluetooth.rst."""
NO_CONNECTION = 0xFFFF
NO_ADDRESS_TYPE = 0xFF
STATUS_ATT = 0x100
"""NimBLE's base of errors that the peer answered with."""
STATUS_NOT_CONNECTED, STATUS_TIMEOUT = 7, 13
ADVERTISING_BYTES_MAX = 31
NOTIFICATIONS_MAX = 24
"""That may wait to be sent; one more finds no buffer, as on a board."""
DEFAULT_INTERVAL_US = 30_000
SUPERVISION_MS = 2_560
"""Of a connection that a board makes.  Source: NimBLE's BLE_GAP_INITIAL_SUPERVISION_TIMEOUT."""

_ENCRYPTED, _AUTHENTICATED, _AUTHORIZED = 0x200, 0x400, 0x800
_WRITE_ENCRYPTED, _WRITE_AUTHENTICATED, _WRITE_AUTHORIZED = 0x1000, 0x2000, 0x4000
_PERMISSIONS = (
    (0x0002, att.Attribute.READABLE),
    (0x000C, att.Attribute.WRITEABLE),
    (_ENCRYPTED, att.Attribute.READ_REQUIRES_ENCRYPTION),
    (_AUTHENTICATED, att.Attribute.READ_REQUIRES_AUTHENTICATION),
    (_AUTHORIZED, att.Attribute.READ_REQUIRES_AUTHORIZATION),
    (_WRITE_ENCRYPTED, att.Attribute.WRITE_REQUIRES_ENCRYPTION),
    (_WRITE_AUTHENTICATED, att.Attribute.WRITE_REQUIRES_AUTHENTICATION),
    (_WRITE_AUTHORIZED, att.Attribute.WRITE_REQUIRES_AUTHORIZATION),
)


class Refused(Exception):
    """A call that the board's stack refuses."""

    def __init__(self, number: int) -> None:
        """number: of errno."""
        super().__init__(f"errno {number}")
        self.number = number


class _Client(gatt_client.Client):
    """Tells everything that the peer says by itself, subscribed or not, as MicroPython does."""

    def __init__(self, connection: Connection, told: Callable[..., None]) -> None:
        super().__init__(connection)
        self._told = told
        self._later: deque[Any] = deque()
        self.procedures: set[asyncio.Task[None]] = set()
        """What waits for answers of the peer."""

    def on_gatt_pdu(self, att_pdu: Any) -> None:
        """Keeps the order: whoever waits for an answer wakes later than what came behind it is told."""
        if self._later or self._is_answered():
            self._later.append(att_pdu)
            if len(self._later) == 1:
                asyncio.get_running_loop().call_soon(self._catch_up)
        else:
            super().on_gatt_pdu(att_pdu)

    def _is_answered(self) -> bool:
        return self.pending_response is not None and self.pending_response.done()

    def _catch_up(self) -> None:
        while self._later and not self._is_answered():
            super().on_gatt_pdu(self._later.popleft())
        if self._later:
            asyncio.get_running_loop().call_soon(self._catch_up)

    def on_att_handle_value_notification(self, notification: Any) -> None:
        """A notification."""
        self._told(NOTIFIED, self.connection.handle, notification.attribute_handle, notification.attribute_value)

    def on_att_handle_value_indication(self, indication: Any) -> None:
        """An indication; the stack confirms it, not the program."""
        self._told(INDICATED, self.connection.handle, indication.attribute_handle, indication.attribute_value)
        self.send_confirmation(att.ATT_Handle_Value_Confirmation())


class Board:
    """The host of one board."""

    def __init__(self, radio: Radio, device: Device, say: Callable[[bytes], None]) -> None:
        """say: sends a frame to the board."""
        self.device = device
        self._radio = radio
        self._say = say
        self._is_active = False
        self._unsent = bytearray()
        self._reads: dict[int, asyncio.Future[bytes]] = {}
        self._read_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: dict[int, _Client] = {}
        self._values: dict[int, gatt.Characteristic[bytes]] = {}
        self._advertising: tuple[bytes, bytes] = (b"", b"")
        self._scan_end: asyncio.TimerHandle | None = None
        self._connect_end: asyncio.TimerHandle | None = None
        self._is_connecting = False
        device.on(Device.EVENT_CONNECTION, self._connected)
        device.on(Device.EVENT_CONNECTION_FAILURE, self._not_connected)
        device.host.on("advertising_report", self._advertised)

    # The socket

    def _event(self, event: int, *values: Any) -> None:
        if self._is_active:
            self._send([event, *values])

    def _send(self, values: list[Any]) -> None:
        """In one piece with what else is said in this step: a board hears of a result and its end at once."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += wire.pack(values)

    def _flush(self) -> None:
        self._say(bytes(self._unsent))
        self._unsent.clear()

    async def handle(self, body: bytes) -> None:
        """One frame of the board.  Raises ValueError or IndexError for what is none."""
        operation, *values = wire.unpack(body)
        if operation == wire.VALUE:
            self._value(*values)
            return
        number, result = 0, None
        try:
            if operation == wire.ACTIVE:
                result = await self._activate(bool(values[0]))
            elif not self._is_active:
                raise Refused(errno.ENODEV)
            else:
                result = await self._CALLS[operation](self, *values)
        except Refused as error:
            number = error.number
        self._send([0, number, result])

    def close(self) -> None:
        """The board's power is cut."""
        self._is_active = False
        for timer in (self._scan_end, self._connect_end):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._forget_reads()
        self.device.host.emit("flush")

    def _forget_reads(self) -> None:
        for future in self._reads.values():
            future.cancel()
        self._reads.clear()

    async def _activate(self, is_active: bool) -> list[Any]:
        if is_active:
            self._set_services([])
            self.device.config.advertising_data = b""
            self._advertising = (b"", b"")
        else:
            self._stop_scan(False)
            self._is_connecting = False
            self._radio.stop()
            self._forget_reads()
        self._is_active = is_active
        address = self.device.random_address
        return [1, bytes(reversed(bytes(address)))]

    async def _config(self, name: bytes, value: Any) -> None:
        if name == b"gap_name":
            self.device.name = value.decode("utf-8", "replace")
            self._gap_name = value
        elif name == b"mtu":
            if not att.ATT_DEFAULT_MTU <= value <= 517:
                raise Refused(errno.EINVAL)
            self.device.gatt_server.max_mtu = value

    _gap_name = b""

    # Advertising and scanning

    async def _advertise(
        self, interval_us: int | None, data: bytes | None, response: bytes | None, is_connectable: int
    ) -> None:
        await self.device.stop_advertising()
        if interval_us is None:
            return
        old_data, old_response = self._advertising
        data = old_data if data is None else data
        response = old_response if response is None else response
        if max(len(data), len(response)) > ADVERTISING_BYTES_MAX:
            raise Refused(errno.EINVAL)
        self._advertising = (data, response)
        kind = AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE
        if not is_connectable:
            # Not ADV_NONCONN_IND: NimBLE stays discoverable.
            kind = AdvertisingType.UNDIRECTED_SCANNABLE
        interval_ms = max(20.0, interval_us / 1_000)
        await self.device.start_advertising(
            advertising_type=kind,
            advertising_data=data,
            scan_response_data=response,
            advertising_interval_min=interval_ms,
            advertising_interval_max=interval_ms,
        )

    async def _scan(self, duration_ms: int | None, interval_us: int, window_us: int, is_active: int) -> None:
        if duration_ms is None:
            if self.device.scanning:
                self._stop_scan(True)
            return
        if self.device.scanning:
            raise Refused(errno.EALREADY)
        interval_ms = min(max(interval_us / 1_000, 2.5), 10_240)
        window_ms = min(max(window_us / 1_000, 2.5), 10_240)
        if window_ms > interval_ms:
            raise Refused(errno.EINVAL)
        await self.device.start_scanning(
            legacy=True, active=bool(is_active), scan_interval=interval_ms, scan_window=window_ms
        )
        if duration_ms:
            self._scan_end = asyncio.get_running_loop().call_later(duration_ms / 1_000, self._stop_scan, True)

    def _stop_scan(self, is_told: bool) -> None:
        if self._scan_end is not None:
            self._scan_end.cancel()
            self._scan_end = None
        if self.device.scanning:
            self.device.scanning = False
            self._start(self.device.stop_scanning(legacy=True))
            if is_told:
                self._event(SCAN_DONE)

    def _advertised(self, report: Any) -> None:
        if self.device.scanning:
            address = bytes(reversed(bytes(report.address)))
            self._event(
                SCAN_RESULT,
                int(report.address_type),
                address,
                int(report.event_type),
                report.rssi,
                report.data,
            )

    # Connections

    async def _connect(
        self, kind: int | None, address: bytes | None, duration_ms: int, min_us: int, max_us: int
    ) -> None:
        if address is None:
            if not self._is_connecting:
                raise Refused(errno.EALREADY)
            await self._give_up()
            return
        if self._is_connecting:
            raise Refused(errno.EALREADY)
        if self.device.scanning:
            self._stop_scan(True)
        peer = hci.Address(bytes(reversed(address)), hci.AddressType(kind or 0))
        if any(connection.peer_address == peer for connection in self.device.connections.values()):
            raise Refused(errno.EIO)
        low_ms = (min_us or DEFAULT_INTERVAL_US) / 1_000
        high_ms = max(low_ms, (max_us or DEFAULT_INTERVAL_US) / 1_000)
        self._is_connecting = True
        await self.device.send_async_command(connect_command(peer, low_ms, high_ms, SUPERVISION_MS))
        if duration_ms > 0:
            self._connect_end = asyncio.get_running_loop().call_later(
                duration_ms / 1_000, lambda: self._start(self._give_up())
            )

    async def _give_up(self) -> None:
        if self._is_connecting:
            await self.device.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())

    def _end_connecting(self) -> None:
        self._is_connecting = False
        if self._connect_end is not None:
            self._connect_end.cancel()
            self._connect_end = None

    def _not_connected(self, _error: Any) -> None:
        self._end_connecting()
        self._event(PERIPHERAL_DISCONNECT, NO_CONNECTION, NO_ADDRESS_TYPE, bytes(6))

    def _connected(self, connection: Connection) -> None:
        is_central = connection.role == hci.Role.CENTRAL
        if is_central:
            self._end_connecting()
        client = _Client(connection, self._event)
        connection.gatt_client = client
        handle = connection.handle
        self._clients[handle] = client
        peer = int(connection.peer_address.address_type), bytes(reversed(bytes(connection.peer_address)))

        def gone(_reason: int) -> None:
            self._clients.pop(handle, None)
            pending = self.device.gatt_server.pending_confirmations.get(connection)
            if pending is not None and not pending.done():
                pending.set_exception(ConnectionError())
            self._start(self._tell_gone(client, PERIPHERAL_DISCONNECT if is_central else CENTRAL_DISCONNECT, peer))

        connection.on(Connection.EVENT_DISCONNECTION, gone)
        connection.on(
            Connection.EVENT_CONNECTION_ATT_MTU_UPDATE,
            lambda: self._event(MTU_EXCHANGED, handle, connection.att_mtu),
        )
        connection.on(Connection.EVENT_CONNECTION_PARAMETERS_UPDATE, lambda: self._updated(connection))
        self._event(PERIPHERAL_CONNECT if is_central else CENTRAL_CONNECT, handle, *peer)

    async def _tell_gone(self, client: _Client, event: int, peer: tuple[int, bytes]) -> None:
        """What was under way fails first."""
        await asyncio.gather(*client.procedures, return_exceptions=True)
        self._event(event, client.connection.handle, *peer)

    def _updated(self, connection: Connection) -> None:
        parameters = connection.parameters
        self._event(
            CONNECTION_UPDATE,
            connection.handle,
            int(parameters.connection_interval / 1.25),
            parameters.peripheral_latency,
            int(parameters.supervision_timeout / 10),
            0,
        )

    async def _disconnect(self, handle: int) -> int:
        if handle not in self._clients:
            return 0
        connection = self.device.connections[handle]
        self._start(connection.disconnect())
        return 1

    def _client(self, handle: int) -> _Client:
        client = self._clients.get(handle)
        if client is None:
            raise Refused(errno.ENOTCONN)
        return client

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Does something that takes time; what fails of it is told by an event, or by a lost link."""
        task = asyncio.ensure_future(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Server

    def _set_services(self, services: list[gatt.Service]) -> None:
        server = self.device.gatt_server
        server.attributes.clear()
        server.attributes_by_handle.clear()
        server.services.clear()
        name: gatt.Characteristic[bytes] = gatt.Characteristic(
            gatt.GATT_DEVICE_NAME_CHARACTERISTIC,
            gatt.Characteristic.Properties.READ,
            att.Attribute.READABLE,
            att.AttributeValue(read=lambda _connection: self._gap_name),
        )
        server.add_service(gatt.Service(gatt.GATT_GENERIC_ACCESS_SERVICE, [name]))
        server.add_service(gatt.Service(gatt.GATT_GENERIC_ATTRIBUTE_SERVICE, []))
        server.add_services(services)

    async def _register(self, tables: list[Any]) -> list[list[int]]:
        services, values = [], []
        for uuid, characteristics in tables:
            mine: list[Any] = []
            made = []
            for characteristic_uuid, flags, descriptors in characteristics:
                made_descriptors = [
                    gatt.Descriptor(core.UUID.from_bytes(one), _permissions(bits), self._attribute())
                    for one, bits in descriptors
                ]
                characteristic = gatt.Characteristic(
                    core.UUID.from_bytes(characteristic_uuid),
                    gatt.Characteristic.Properties(flags & 0xFF),
                    _permissions(flags),
                    self._attribute(),
                    made_descriptors,
                )
                made.append(characteristic)
                mine += [characteristic, *made_descriptors]
            services.append(gatt.Service(core.UUID.from_bytes(uuid), made))
            values.append(mine)
        self._set_services(services)
        self._values = {value.handle: value for mine in values for value in mine}
        for handle, value in self._values.items():
            value.value.handle = handle
        return [[value.handle for value in mine] for mine in values]

    def _attribute(self) -> Any:
        return _BoardValue(self._read_request, self._written)

    def _written(self, connection: Connection, handle: int, data: bytes) -> None:
        self._event(GATTS_WRITE, connection.handle, handle, data)

    async def _read_request(self, connection: Connection, handle: int) -> bytes:
        self._read_count = (self._read_count + 1) & 0x7FFF_FFFF
        number = self._read_count
        future = self._reads[number] = asyncio.get_running_loop().create_future()
        self._event(READ_REQUEST, number, connection.handle, handle)
        return await future

    def _value(self, number: int, status: int, data: bytes | None) -> None:
        future = self._reads.pop(number, None)
        if future is None or future.done():
            return
        if status:
            future.set_exception(att.ATT_Error(status))
        else:
            future.set_result(data or b"")

    def _of(self, handle: int) -> Any:
        value = self._values.get(handle)
        if value is None:
            raise Refused(errno.EINVAL)
        return value

    async def _notify(self, handle: int, value_handle: int, data: bytes) -> None:
        connection = self._client(handle).connection
        value = self._of(value_handle)
        end = self._radio.ends.get(connection.peer_address)
        if end is not None and end.link.waiting(end.towards_peer) >= NOTIFICATIONS_MAX:
            raise Refused(errno.ENOMEM)
        await self.device.gatt_server.notify_subscriber(connection, value, data, force=True)

    async def _indicate(self, handle: int, value_handle: int, data: bytes) -> None:
        connection = self._client(handle).connection
        value = self._of(value_handle)
        if self.device.gatt_server.pending_confirmations[connection] is not None:
            raise Refused(errno.EALREADY)
        self._start(self._indicated(connection, value, data))
        # So that it is pending when the next call comes.
        await asyncio.sleep(0)

    async def _indicated(self, connection: Connection, value: Any, data: bytes) -> None:
        status = STATUS_TIMEOUT
        try:
            await self.device.gatt_server.indicate_subscriber(connection, value, data, force=True)
            status = 0
        except ConnectionError:
            status = STATUS_NOT_CONNECTED
        except TimeoutError:
            pass
        self._event(INDICATE_DONE, connection.handle, value.handle, status)

    async def _update(self, value_handle: int, data: bytes) -> None:
        value = self._of(value_handle)
        server = self.device.gatt_server
        for connection, cccds in list(server.subscribers.items()):
            bits = cccds.get(value_handle, b"\0\0")[0]
            if bits & 1:
                await server.notify_subscriber(connection, value, data, force=True)
            elif bits & 2:
                self._start(self._indicated(connection, value, data))

    # Client

    def _procedure(
        self, handle: int, work: Callable[[_Client], Awaitable[None]], done: Callable[[int], None]
    ) -> None:
        """Starts a procedure with the peer; `done` is told its status."""
        client = self._client(handle)

        async def run() -> None:
            status = 0
            try:
                await work(client)
            except att.ATT_Error as error:
                status = STATUS_ATT + int(error.error_code)
            except core.TimeoutError:
                status = STATUS_TIMEOUT
            except asyncio.CancelledError:
                # bumble cancels what waits when the link is lost; whoever cancels us wants no event.
                status = STATUS_NOT_CONNECTED
            done(status)

        task = self._start(run())
        client.procedures.add(task)
        task.add_done_callback(client.procedures.discard)

    async def _services(self, handle: int, uuid: bytes | None) -> None:
        async def work(client: _Client) -> None:
            if uuid is None:
                found = await client.discover_services()
            else:
                found = await client.discover_service(core.UUID.from_bytes(uuid))
            for service in found:
                self._event(
                    SERVICE_RESULT, handle, service.handle, service.end_group_handle, service.uuid.to_bytes()
                )

        self._procedure(handle, work, lambda status: self._event(SERVICE_DONE, handle, status))

    async def _characteristics(self, handle: int, start: int, end: int, uuid: bytes | None) -> None:
        async def work(client: _Client) -> None:
            whole = gatt_client.ServiceProxy(client, start, end, core.UUID.from_16_bits(0))
            uuids = [] if uuid is None else [core.UUID.from_bytes(uuid)]
            for one in await client.discover_characteristics(uuids, whole):
                self._event(
                    CHARACTERISTIC_RESULT,
                    handle,
                    one.end_group_handle,
                    one.handle,
                    int(one.properties),
                    one.uuid.to_bytes(),
                )

        self._procedure(handle, work, lambda status: self._event(CHARACTERISTIC_DONE, handle, status))

    async def _descriptors(self, handle: int, start: int, end: int) -> None:
        async def work(client: _Client) -> None:
            if start >= end:
                return
            for one in await client.discover_descriptors(start_handle=start + 1, end_handle=end):
                self._event(DESCRIPTOR_RESULT, handle, one.handle, one.type.to_bytes())

        self._procedure(handle, work, lambda status: self._event(DESCRIPTOR_DONE, handle, status))

    async def _read(self, handle: int, value_handle: int) -> None:
        async def work(client: _Client) -> None:
            data = await client.read_value(value_handle, no_long_read=True)
            self._event(READ_RESULT, handle, value_handle, data)

        self._procedure(handle, work, lambda status: self._event(READ_DONE, handle, value_handle, status))

    async def _write(self, handle: int, value_handle: int, data: bytes, mode: int) -> None:
        client = self._client(handle)
        data = data[: client.connection.att_mtu - 3]
        if mode == 0:
            await client.write_value(value_handle, data, with_response=False)
            return
        if mode != 1:
            raise Refused(errno.EINVAL)

        async def work(client: _Client) -> None:
            await client.write_value(value_handle, data, with_response=True)

        self._procedure(handle, work, lambda status: self._event(WRITE_DONE, handle, value_handle, status))

    async def _mtu(self, handle: int) -> None:
        client = self._client(handle)
        if client.mtu_exchange_done:
            raise Refused(errno.EALREADY)
        wanted = self.device.gatt_server.max_mtu

        async def work(client: _Client) -> None:
            await client.request_mtu(wanted)

        self._procedure(handle, work, lambda _status: None)

    _CALLS: dict[int, Callable[..., Awaitable[Any]]] = {  # noqa: RUF012
        wire.CONFIG: _config,
        wire.ADVERTISE: _advertise,
        wire.SCAN: _scan,
        wire.CONNECT: _connect,
        wire.DISCONNECT: _disconnect,
        wire.REGISTER: _register,
        wire.NOTIFY: _notify,
        wire.INDICATE: _indicate,
        wire.UPDATE: _update,
        wire.SERVICES: _services,
        wire.CHARACTERISTICS: _characteristics,
        wire.DESCRIPTORS: _descriptors,
        wire.READ: _read,
        wire.WRITE: _write,
        wire.MTU: _mtu,
    }


class _BoardValue(att.AttributeValue[bytes]):
    """A value that lies in the board."""

    handle = 0

    def __init__(
        self,
        read: Callable[[Connection, int], Awaitable[bytes]],
        written: Callable[[Connection, int, bytes], None],
    ) -> None:
        super().__init__(
            read=lambda connection: read(connection, self.handle),
            write=lambda connection, data: written(connection, self.handle, data),
        )


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except (core.BaseBumbleError, ConnectionError):
        # The link went away meanwhile, which is told by its own event.
        pass


def _permissions(flags: int) -> att.Attribute.Permissions:
    permissions = att.Attribute.Permissions(0)
    for bits, permission in _PERMISSIONS:
        if flags & bits:
            permissions |= permission
    return permissions
