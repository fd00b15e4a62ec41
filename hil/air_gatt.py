"""GATT of one board: its server, whose values lie in the board, and its client.

Runs on CPython; needs bumble.  Numbers of events and errors are those of NimBLE on MicroPython.  Source:
extmod/modbluetooth.c and extmod/nimble/modbluetooth_nimble.c of MicroPython 1.26.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bumble import att, core, gatt, gatt_client
from bumble.device import Connection, Device

from hil.air_radio import Radio

GATTS_WRITE, READ_REQUEST = 3, 4
SERVICE_RESULT, SERVICE_DONE, CHARACTERISTIC_RESULT, CHARACTERISTIC_DONE = 9, 10, 11, 12
DESCRIPTOR_RESULT, DESCRIPTOR_DONE, READ_RESULT, READ_DONE, WRITE_DONE = 13, 14, 15, 16, 17
NOTIFIED, INDICATED, INDICATE_DONE = 18, 19, 20
"""Events.  Source: docs/library/bluetooth.rst."""
STATUS_ATT = 0x100
"""NimBLE's base of errors that the peer answered with."""
STATUS_NOT_CONNECTED, STATUS_TIMEOUT = 7, 13
NOTIFICATIONS_MAX = 24
"""That may wait to be sent; one more finds no buffer, as on a board."""

Event = Callable[..., None]
"""Tells the board an event: number, values."""
Start = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[None]"]
"""Does something that takes time."""

_READABLE, _WRITABLE = 0x0002, 0x000C
_ENCRYPTED, _AUTHENTICATED, _AUTHORIZED = 0x200, 0x400, 0x800
_WRITE_ENCRYPTED, _WRITE_AUTHENTICATED, _WRITE_AUTHORIZED = 0x1000, 0x2000, 0x4000
_PERMISSIONS = (
    (_READABLE, att.Attribute.READABLE),
    (_WRITABLE, att.Attribute.WRITEABLE),
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


class Client(gatt_client.Client):
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
        self._told(
            NOTIFIED, self.connection.handle, notification.attribute_handle, notification.attribute_value
        )

    def on_att_handle_value_indication(self, indication: Any) -> None:
        """An indication; the stack confirms it, not the program."""
        self._told(INDICATED, self.connection.handle, indication.attribute_handle, indication.attribute_value)
        self.send_confirmation(att.ATT_Handle_Value_Confirmation())


class Gatt:
    """Both sides of one board."""

    def __init__(self, radio: Radio, device: Device, event: Event, start: Start) -> None:
        self.clients: dict[int, Client] = {}
        """By connection."""
        self.gap_name = b""
        self._radio = radio
        self._device = device
        self._event = event
        self._start = start
        self._values: dict[int, Any] = {}
        self._reads: dict[int, asyncio.Future[bytes]] = {}
        self._read_count = 0

    def client(self, handle: int) -> Client:
        """Of one connection.  Raises Refused."""
        client = self.clients.get(handle)
        if client is None:
            raise Refused(errno.ENOTCONN)
        return client

    def forget_reads(self) -> None:
        """Nobody will answer them any more."""
        for future in self._reads.values():
            future.cancel()
        self._reads.clear()

    # Server

    def set_services(self, services: list[gatt.Service]) -> None:
        """These, after the two that every server has."""
        server = self._device.gatt_server
        server.attributes.clear()
        server.attributes_by_handle.clear()
        server.services.clear()
        name: gatt.Characteristic[bytes] = gatt.Characteristic(
            gatt.GATT_DEVICE_NAME_CHARACTERISTIC,
            gatt.Characteristic.Properties.READ,
            att.Attribute.READABLE,
            att.AttributeValue(read=lambda _connection: self.gap_name),
        )
        server.add_service(gatt.Service(gatt.GATT_GENERIC_ACCESS_SERVICE, [name]))
        server.add_service(gatt.Service(gatt.GATT_GENERIC_ATTRIBUTE_SERVICE, []))
        server.add_services(services)

    async def register(self, tables: list[Any]) -> list[list[int]]:
        """Handles of the values and descriptors of each service."""
        services, values = [], []
        for uuid, characteristics in tables:
            mine: list[Any] = []
            made: list[gatt.Characteristic[bytes]] = []
            for characteristic_uuid, flags, descriptors in characteristics:
                made_descriptors = [
                    gatt.Descriptor(core.UUID.from_bytes(one), _permissions(bits), self._attribute(bits))
                    for one, bits in descriptors
                ]
                characteristic = gatt.Characteristic(
                    core.UUID.from_bytes(characteristic_uuid),
                    gatt.Characteristic.Properties(flags & 0xFF),
                    _permissions(flags),
                    self._attribute(flags),
                    made_descriptors,
                )
                made.append(characteristic)
                mine += [characteristic, *made_descriptors]
            services.append(gatt.Service(core.UUID.from_bytes(uuid), made))
            values.append(mine)
        self.set_services(services)
        self._values = {value.handle: value for mine in values for value in mine}
        for handle, one in self._values.items():
            one.value.handle = handle
        return [[value.handle for value in mine] for mine in values]

    def _attribute(self, flags: int) -> Any:
        return _BoardValue(flags, self._read_request, self._written)

    def _written(self, connection: Connection, handle: int, data: bytes) -> None:
        self._event(GATTS_WRITE, connection.handle, handle, data)

    async def _read_request(self, connection: Connection, handle: int) -> bytes:
        self._read_count = (self._read_count + 1) & 0x7FFF_FFFF
        number = self._read_count
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._reads[number] = future
        self._event(READ_REQUEST, number, connection.handle, handle)
        return await future

    def value(self, number: int, status: int, data: bytes | None) -> None:
        """The board has answered a read."""
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

    async def notify(self, handle: int, value_handle: int, data: bytes) -> None:
        """Sends a notification, subscribed or not.  Raises Refused when too many wait."""
        connection = self.client(handle).connection
        value = self._of(value_handle)
        end = self._radio.ends.get(connection.peer_address)
        if end is not None and end.link.waiting(end.towards_peer) >= NOTIFICATIONS_MAX:
            raise Refused(errno.ENOMEM)
        await self._device.gatt_server.notify_subscriber(connection, value, data, force=True)

    async def indicate(self, handle: int, value_handle: int, data: bytes) -> None:
        """Sends an indication; one at a time."""
        connection = self.client(handle).connection
        value = self._of(value_handle)
        if self._device.gatt_server.pending_confirmations[connection] is not None:
            raise Refused(errno.EALREADY)
        self._start(self._indicated(connection, value, data))
        # So that it is pending when the next call comes.
        await asyncio.sleep(0)

    async def _indicated(self, connection: Connection, value: Any, data: bytes) -> None:
        status = STATUS_TIMEOUT
        try:
            await self._device.gatt_server.indicate_subscriber(connection, value, data, force=True)
            status = 0
        except ConnectionError:
            status = STATUS_NOT_CONNECTED
        except TimeoutError:
            pass
        self._event(INDICATE_DONE, connection.handle, value.handle, status)

    async def update(self, value_handle: int, data: bytes) -> None:
        """Tells a new value to those who subscribed."""
        value = self._of(value_handle)
        server = self._device.gatt_server
        for connection, cccds in list(server.subscribers.items()):
            if not isinstance(connection, Connection):
                continue
            bits = cccds.get(value_handle, b"\0\0")[0]
            if bits & 1:
                await server.notify_subscriber(connection, value, data, force=True)
            elif bits & 2:
                self._start(self._indicated(connection, value, data))

    # Client

    def _procedure(
        self, handle: int, work: Callable[[Client], Awaitable[None]], done: Callable[[int], None]
    ) -> None:
        """Starts a procedure with the peer; `done` is told its status."""
        client = self.client(handle)

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

    async def services(self, handle: int, uuid: bytes | None) -> None:
        """Discovers services, all or of one UUID."""

        async def work(client: Client) -> None:
            if uuid is None:
                found = await client.discover_services()
            else:
                found = await client.discover_service(core.UUID.from_bytes(uuid))
            for service in found:
                self._event(
                    SERVICE_RESULT, handle, service.handle, service.end_group_handle, service.uuid.to_bytes()
                )

        self._procedure(handle, work, lambda status: self._event(SERVICE_DONE, handle, status))

    async def characteristics(self, handle: int, start: int, end: int, uuid: bytes | None) -> None:
        """Discovers characteristics in a range, all or of one UUID."""

        async def work(client: Client) -> None:
            whole = gatt_client.ServiceProxy(  # type: ignore[no-untyped-call]
                client, start, end, core.UUID.from_16_bits(0)
            )
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

    async def descriptors(self, handle: int, start: int, end: int) -> None:
        """Discovers attributes behind `start`, as NimBLE does."""

        async def work(client: Client) -> None:
            if start >= end:
                return
            for one in await client.discover_descriptors(start_handle=start + 1, end_handle=end):
                self._event(DESCRIPTOR_RESULT, handle, one.handle, one.type.to_bytes())

        self._procedure(handle, work, lambda status: self._event(DESCRIPTOR_DONE, handle, status))

    async def read(self, handle: int, value_handle: int) -> None:
        """Reads one value, as much of it as the MTU lets through."""

        async def work(client: Client) -> None:
            data = await client.read_value(value_handle, no_long_read=True)
            self._event(READ_RESULT, handle, value_handle, data)

        self._procedure(handle, work, lambda status: self._event(READ_DONE, handle, value_handle, status))

    async def write(self, handle: int, value_handle: int, data: bytes, mode: int) -> None:
        """Writes one value, cut to the MTU."""
        client = self.client(handle)
        data = data[: client.connection.att_mtu - 3]
        if mode == 0:
            await client.write_value(value_handle, data, with_response=False)
            return
        if mode != 1:
            raise Refused(errno.EINVAL)

        async def work(client: Client) -> None:
            await client.write_value(value_handle, data, with_response=True)

        self._procedure(handle, work, lambda status: self._event(WRITE_DONE, handle, value_handle, status))

    async def mtu(self, handle: int) -> None:
        """Agrees on the MTU, once."""
        client = self.client(handle)
        if client.mtu_exchange_done:
            raise Refused(errno.EALREADY)
        wanted = self._device.gatt_server.max_mtu

        async def work(client: Client) -> None:
            await client.request_mtu(wanted)

        self._procedure(handle, work, lambda _status: None)


class _BoardValue(att.AttributeValue[bytes]):
    """A value that lies in the board."""

    handle = 0

    def __init__(
        self,
        flags: int,
        read: Callable[[Connection, int], Awaitable[bytes]],
        written: Callable[[Connection, int, bytes], None],
    ) -> None:
        super().__init__(self._read_it, self._write_it)
        self._flags = flags
        self._of_board = read
        self._to_board = written

    async def _read_it(self, connection: Connection) -> bytes:
        # bumble looks after encryption, but lets everybody read and write.
        if not self._flags & _READABLE:
            raise att.ATT_Error(att.ATT_READ_NOT_PERMITTED_ERROR)
        return await self._of_board(connection, self.handle)

    def _write_it(self, connection: Connection, data: bytes) -> None:
        if not self._flags & _WRITABLE:
            raise att.ATT_Error(att.ATT_WRITE_NOT_PERMITTED_ERROR)
        self._to_board(connection, self.handle, data)


def _permissions(flags: int) -> att.Attribute.Permissions:
    permissions = att.Attribute.Permissions(0)
    for bits, permission in _PERMISSIONS:
        if flags & bits:
            permissions |= permission
    return permissions
