"""What the air does for one board: a bumble host that its `bluetooth` module (hil/micropython) commands.

Runs on CPython; needs bumble.  Each call is answered at once with an errno and a result, as the stack of a
board does; what takes time comes as an event.  Numbers of errors are those of NimBLE on MicroPython.
Source: extmod/modbluetooth.c and extmod/nimble/modbluetooth_nimble.c of MicroPython 1.26.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bumble import att, core, hci
from bumble.device import AdvertisingType, Connection, Device

from hil.air_gatt import Client, Gatt, Refused
from hil.air_host import connect_command
from hil.air_radio import Radio
from hil.micropython import air_wire as wire

CENTRAL_CONNECT, CENTRAL_DISCONNECT, SCAN_RESULT, SCAN_DONE = 1, 2, 5, 6
PERIPHERAL_CONNECT, PERIPHERAL_DISCONNECT, MTU_EXCHANGED, CONNECTION_UPDATE = 7, 8, 21, 27
"""Events.  Source: docs/library/bluetooth.rst."""
NO_CONNECTION = 0xFFFF
NO_ADDRESS_TYPE = 0xFF
ADVERTISING_BYTES_MAX = 31
DEFAULT_INTERVAL_US = 30_000
SUPERVISION_MS = 2_560
"""Of a connection that a board makes.  Source: NimBLE's BLE_GAP_INITIAL_SUPERVISION_TIMEOUT."""
FORMS = {
    wire.ACTIVE: "i",
    wire.CONFIG: "b*",
    wire.ADVERTISE: "IBBi",
    wire.SCAN: "Iiii",
    wire.CONNECT: "IBiii",
    wire.DISCONNECT: "i",
    wire.REGISTER: "l",
    wire.NOTIFY: "iib",
    wire.INDICATE: "iib",
    wire.UPDATE: "ib",
    wire.VALUE: "iiB",
    wire.SERVICES: "iB",
    wire.CHARACTERISTICS: "iiiB",
    wire.DESCRIPTORS: "iii",
    wire.READ: "ii",
    wire.WRITE: "iibi",
    wire.MTU: "i",
}
"""Values of each operation: i integer, b bytes, l list, * anything; None may stand for I and B."""
_TYPES = {"i": int, "b": bytes, "l": list}


class Board:
    """The host of one board."""

    def __init__(self, radio: Radio, device: Device, say: Callable[[bytes], None]) -> None:
        """say: sends a frame to the board."""
        self.device = device
        self._radio = radio
        self._say = say
        self._is_active = False
        self._unsent = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()
        self._advertising: tuple[bytes, bytes] = (b"", b"")
        self._scan_end: asyncio.TimerHandle | None = None
        self._connect_end: asyncio.TimerHandle | None = None
        self._is_connecting = False
        self.gatt = Gatt(radio, device, self._event, self._start)
        self._calls: dict[int, Callable[..., Awaitable[Any]]] = {
            wire.ACTIVE: self._activate,
            wire.CONFIG: self._config,
            wire.ADVERTISE: self._advertise,
            wire.SCAN: self._scan,
            wire.CONNECT: self._connect,
            wire.DISCONNECT: self._disconnect,
            wire.REGISTER: self.gatt.register,
            wire.NOTIFY: self.gatt.notify,
            wire.INDICATE: self.gatt.indicate,
            wire.UPDATE: self.gatt.update,
            wire.SERVICES: self.gatt.services,
            wire.CHARACTERISTICS: self.gatt.characteristics,
            wire.DESCRIPTORS: self.gatt.descriptors,
            wire.READ: self.gatt.read,
            wire.WRITE: self.gatt.write,
            wire.MTU: self.gatt.mtu,
        }
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
        form = FORMS.get(operation) if isinstance(operation, int) else None
        if form is None or not _fits(form, values):
            raise ValueError(f"a board asked for {operation!r} with {len(values)} values that do not fit")
        if operation == wire.VALUE:
            self.gatt.value(*values)
            return
        number, result = 0, None
        try:
            if operation != wire.ACTIVE and not self._is_active:
                raise Refused(errno.ENODEV)
            result = await self._calls[operation](*values)
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
        self.gatt.forget_reads()
        self.device.host.emit("flush")

    async def _activate(self, is_active: int) -> list[Any]:
        if is_active:
            self.gatt.set_services([])
            self.device.config.advertising_data = b""
            self._advertising = (b"", b"")
        else:
            self._stop_scan(False)
            self._is_connecting = False
            self._radio.stop()
            self.gatt.forget_reads()
        self._is_active = bool(is_active)
        address = self.device.random_address
        return [1, bytes(reversed(bytes(address)))]

    async def _config(self, name: bytes, value: Any) -> None:
        if name == b"gap_name" and isinstance(value, bytes):
            self.gatt.gap_name = value
        elif name == b"mtu" and isinstance(value, int):
            if not att.ATT_DEFAULT_MTU <= value <= 517:
                raise Refused(errno.EINVAL)
            self.device.gatt_server.max_mtu = value

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
        client = Client(connection, self._event)
        connection.gatt_client = client
        handle = connection.handle
        self.gatt.clients[handle] = client
        peer = int(connection.peer_address.address_type), bytes(reversed(bytes(connection.peer_address)))

        def gone(_reason: int) -> None:
            self.gatt.clients.pop(handle, None)
            pending = self.device.gatt_server.pending_confirmations.get(connection)
            if pending is not None and not pending.done():
                pending.set_exception(ConnectionError())
            self._start(
                self._tell_gone(client, PERIPHERAL_DISCONNECT if is_central else CENTRAL_DISCONNECT, peer)
            )

        connection.on(Connection.EVENT_DISCONNECTION, gone)
        connection.on(
            Connection.EVENT_CONNECTION_ATT_MTU_UPDATE,
            lambda: self._event(MTU_EXCHANGED, handle, connection.att_mtu),
        )
        connection.on(Connection.EVENT_CONNECTION_PARAMETERS_UPDATE, lambda: self._updated(connection))
        self._event(PERIPHERAL_CONNECT if is_central else CENTRAL_CONNECT, handle, *peer)

    async def _tell_gone(self, client: Client, event: int, peer: tuple[int, bytes]) -> None:
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
        if handle not in self.gatt.clients:
            return 0
        connection = self.device.connections[handle]
        self._start(connection.disconnect())
        return 1

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Does something that takes time; what fails of it is told by an event, or by a lost link."""
        task = asyncio.ensure_future(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    # The link may go away meanwhile, which is told by its own event.
    with contextlib.suppress(core.BaseBumbleError, hci.HCI_Error, ConnectionError):
        await work


def _fits(form: str, values: list[Any]) -> bool:
    if len(form) != len(values):
        return False
    for letter, value in zip(form, values, strict=True):
        if letter == "*" or (value is None and letter.isupper()):
            continue
        if not isinstance(value, _TYPES[letter.lower()]):
            return False
    return True
