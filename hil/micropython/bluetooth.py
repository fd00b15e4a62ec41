"""MicroPython's `bluetooth` for a board that has no radio but a socket to an air (hil/air.py).

Runs on MicroPython.  Everything that MicroPython documents of `bluetooth` and aioble uses, with its numbers,
tuples and errors.  Values of the GATT server lie here, as they lie in a board's heap.  The environment says
where the air is (HIL_AIR=host:port) and who the board is (HIL_ADDRESS=C0:...).

As on a board, a handler is called between two bytecodes of the program, in every wait of it (the rig's
`time` and `select` watch the socket) and after every call; what it is given is overwritten when it has
returned, and what is longer than the event buffer is cut.  Not as on an ESP32: a program that computes
without waiting hears nothing meanwhile, a value is not written by the peer before the handler is told of the
write before, and no event is dropped when many come at once.
Source: docs/library/bluetooth.rst and extmod/modbluetooth.c of MicroPython 1.26.
"""

import os
import socket
import sys
import time

import air_wire as wire
import micropython
import uselect

FLAG_READ = 0x02
FLAG_WRITE_NO_RESPONSE = 0x04
FLAG_WRITE = 0x08
FLAG_NOTIFY = 0x10
FLAG_INDICATE = 0x20

_EINVAL, _EIO, _ENODEV = 22, 5, 19
_VALUE_BYTES = 20
_RXBUF_BYTES = 256
_READ_REQUEST, _WRITE = 4, 3


class UUID(bytes):
    """16, 32 or 128 bits, little endian; as a buffer too."""

    def __init__(self, value):
        """value: an integer of 16 bits, 2, 4 or 16 bytes, or the text of 128 bits."""
        if isinstance(value, int):
            if value > 65535:
                raise ValueError("invalid UUID")
            data = bytes((value & 255, value >> 8 & 255))
        else:
            data = value.encode() if isinstance(value, str) else bytes(value)
            if len(data) not in (2, 4, 16):
                data = _uuid_of_text(data)
        super().__init__(data)

    def __repr__(self):
        text = "".join(f"{byte:02x}" for byte in reversed(bytes(self)))
        if len(text) < 32:
            return "UUID(0x" + text + ")"
        return f"UUID('{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}')"

    __str__ = __repr__

    def __hash__(self):
        return hash(bytes(self))

    def __eq__(self, other):
        return isinstance(other, UUID) and bytes(self) == bytes(other)

    def __lt__(self, other):
        return self._key() < other._key()

    def _key(self):
        return len(bytes(self)), bytes(self)


def _uuid_of_text(text):
    digits = text.replace(b"-", b"")
    for digit in digits:
        if digit not in b"0123456789abcdefABCDEF":
            raise ValueError("invalid char in UUID")
    if len(digits) != 32:
        raise ValueError("UUID too long" if len(digits) > 32 else "UUID too short")
    return bytes(int(digits[at : at + 2], 16) for at in range(30, -2, -2))


class _Air:
    """The socket: calls and their answers, events in their order."""

    def __init__(self):
        host, _, port = (os.getenv("HIL_AIR") or "").rpartition(":")
        if not port:
            raise RuntimeError("HIL_AIR=host:port must say where the air is; start one: python -m hil.air")
        self.socket = socket.socket()
        self.socket.connect(socket.getaddrinfo(host, int(port))[0][-1])
        self.socket.send("board " + (os.getenv("HIL_ADDRESS") or "-") + "\n")
        self.poller = uselect.poll()
        self.poller.register(self.socket, uselect.POLLIN)
        self.bytes = bytearray()
        self.events = []
        self.answer = None
        self.is_calling = False
        self.is_scheduled = False
        self.is_dispatching = False
        time.hil_watch(self.socket, self.hear)

    def receive(self, timeout_ms):
        """Takes what has come, up to an answer.  timeout_ms: -1 waits."""
        while self.poller.poll(timeout_ms):
            data = self.socket.recv(512)
            if not data:
                time.hil_unwatch(self.socket)
                self.poller.unregister(self.socket)
                _ble._is_active = False
                raise OSError(_EIO)
            self.bytes.extend(data)
            if self.take():
                return
            timeout_ms = 0

    def take(self):
        """Reads whole frames; True when one of them is an answer."""
        while len(self.bytes) >= 2:
            end = 2 + self.bytes[0] + (self.bytes[1] << 8)
            if len(self.bytes) < end:
                break
            values = wire.unpack(memoryview(self.bytes)[2:end])
            self.bytes = self.bytes[end:]
            if values[0] == 0:
                self.answer = values
                return True
            self.events.append(values)
        return False

    def say(self, *values):
        self.socket.write(wire.pack(values))

    def call(self, *values):
        """The result of a call.  Raises OSError with the number the board's stack would give."""
        self.is_calling = True
        try:
            self.say(*values)
            self.answer = None
            while self.answer is None:
                self.receive(-1)
            _, error, result = self.answer
        finally:
            self.is_calling = False
            self.take()
            self.schedule()
        if error:
            raise OSError(error)
        return result

    def hear(self):
        """A wait of the program has found something to read."""
        if not self.is_calling:
            try:
                self.receive(0)
            except OSError:
                return
            self.schedule()

    def schedule(self):
        if self.events and not self.is_scheduled and not self.is_dispatching:
            self.is_scheduled = True
            try:
                micropython.schedule(_dispatch, self)
            except RuntimeError:
                # No room among what is scheduled.
                _dispatch(self)


def _dispatch(air):
    """Scheduled: calls the handler for all that has come."""
    air.is_scheduled = False
    air.is_dispatching = True
    try:
        while air.events:
            try:
                _ble._dispatch(air.events.pop(0))
            except Exception as error:
                sys.print_exception(error)
    finally:
        air.is_dispatching = False


class _BLE:
    """What `BLE()` returns, always the same."""

    def __init__(self):
        self._air = None
        self._is_active = False
        self._handler = None
        self._values = {}
        self._config = {"gap_name": b"MPY HIL", "mtu": 256, "rxbuf": _RXBUF_BYTES}
        self._address = memoryview(bytearray(6))
        self._data = memoryview(bytearray(_RXBUF_BYTES - 64))

    def active(self, active=None):
        """Switches the radio on and off, and says whether it is on."""
        if active is not None and bool(active) != self._is_active:
            if self._air is None:
                self._air = _Air()
            own = self._air.call(wire.ACTIVE, int(bool(active)))
            self._is_active = bool(active)
            self._values = {}
            if active:
                self._config["mac"] = (own[0], own[1])
                for name in ("gap_name", "mtu"):
                    self._call(wire.CONFIG, name, self._config[name])
        return self._is_active

    def config(self, *names, **settings):
        """Reads one setting or sets some."""
        if not settings:
            if len(names) != 1:
                raise TypeError("must query one param")
            if names[0] not in ("gap_name", "mac", "rxbuf", "mtu"):
                raise ValueError("unknown config param")
            if names[0] != "rxbuf":
                self._need_active()
            return self._config[names[0]]
        if names:
            raise TypeError("can't specify pos and kw args")
        for name, value in settings.items():
            if name == "rxbuf":
                if not 16 <= value <= 0xFFFF:
                    raise ValueError
                self._data = memoryview(bytearray(max(value // 2, value - 64)))
            elif name == "gap_name":
                value = value.encode() if isinstance(value, str) else bytes(value)
                self._call(wire.CONFIG, name, value)
            elif name in ("mtu", "addr_mode"):
                self._call(wire.CONFIG, name, int(value))
            else:
                raise ValueError("unknown config param")
            self._config[name] = value
        return None

    def irq(self, handler):
        """Who is told what happens: handler(event, data)."""
        if handler is not None and not callable(handler):
            raise ValueError("invalid handler")
        self._handler = handler

    def _need_active(self):
        if not self._is_active:
            raise OSError(_ENODEV)

    def _call(self, *values):
        self._need_active()
        return self._air.call(*values)

    def _dispatch(self, values):
        event = values.pop(0)
        if not self._is_active:
            return
        if event == _READ_REQUEST:
            self._read_request(*values)
            return
        if event == _WRITE:
            self._written(values[1], values.pop())
        elif event in (1, 2, 7, 8):
            self._address[:] = values[2]
            values[2] = self._address
        elif event == 5:
            self._address[:] = values[1]
            values[1] = self._address
            values[4] = self._lent(values[4])
        elif event in (9, 11, 13):
            values[-1] = UUID(values[-1])
        elif event in (15, 18, 19):
            values[2] = self._lent(values[2])
        if self._handler is not None:
            self._handler(event, tuple(values))

    def _written(self, handle, data):
        entry = self._values.get(handle)
        if entry is not None:
            entry[0] = ((entry[0] if entry[2] else b"") + data)[: entry[1]]

    def _lent(self, data):
        length = min(len(data), len(self._data))
        self._data[:length] = data[:length]
        return self._data[:length]

    def _read_request(self, number, connection, handle):
        status = 0
        try:
            if self._handler is not None:
                status = self._handler(_READ_REQUEST, (connection, handle)) or 0
        finally:
            entry = self._values.get(handle)
            self._air.say(wire.VALUE, number, int(status), entry[0] if entry else None)

    # Advertising, scanning, connecting

    def gap_advertise(self, interval_us=500_000, adv_data=None, *, resp_data=None, connectable=True):
        """Advertises every `interval_us`; None stops."""
        if interval_us is None:
            if self._is_active:
                self._air.call(wire.ADVERTISE, None, None, None, 0)
            return
        self._call(wire.ADVERTISE, interval_us, adv_data, resp_data, int(bool(connectable)))

    def gap_scan(self, duration_ms=0, interval_us=1_280_000, window_us=11_250, active=False):
        """Scans for `duration_ms`; 0 for ever, None stops."""
        self._call(wire.SCAN, duration_ms, interval_us, window_us, int(bool(active)))

    def gap_connect(
        self,
        addr_type,
        addr=None,
        scan_duration_ms=None,
        min_conn_interval_us=None,
        max_conn_interval_us=None,
    ):
        """Connects to a peripheral; gap_connect(None) gives up."""
        if addr is None:
            if addr_type is not None:
                raise TypeError("invalid addr")
            self._call(wire.CONNECT, None, None, 0, 0, 0)
            return
        if len(addr) != 6:
            raise ValueError("invalid addr")
        duration_ms = 2_000 if scan_duration_ms is None else scan_duration_ms
        self._call(
            wire.CONNECT, addr_type, addr, duration_ms, min_conn_interval_us or 0, max_conn_interval_us or 0
        )

    def gap_disconnect(self, conn_handle):
        """True, or False when there is no such connection."""
        return bool(self._call(wire.DISCONNECT, conn_handle))

    # Server

    def gatts_register_services(self, services):
        """Handles of the values, a tuple for each service."""
        tables = []
        for uuid, characteristics in services:
            tables.append((_uuid(uuid, "service"), [_characteristic(one) for one in characteristics]))
        handles = self._call(wire.REGISTER, tables)
        self._values = {}
        for service in handles:
            for handle in service:
                self._values[handle] = [b"", _VALUE_BYTES, False]
        return tuple(tuple(service) for service in handles)

    def gatts_read(self, value_handle):
        """The value; one that is appended to is empty afterwards."""
        entry = self._values.get(value_handle)
        if entry is None or not self._is_active:
            return b""
        value = entry[0]
        if entry[2]:
            entry[0] = b""
        return value

    def gatts_write(self, value_handle, data, send_update=False):
        """Sets the value; send_update: and tells those who subscribed."""
        self._need_active()
        entry = self._values.get(value_handle)
        if entry is None:
            raise OSError(_EINVAL)
        entry[0] = data.encode() if isinstance(data, str) else bytes(data)
        entry[1] = max(entry[1], len(entry[0]))
        if send_update:
            self._air.call(wire.UPDATE, value_handle, entry[0])
        return len(entry[0])

    def gatts_notify(self, conn_handle, value_handle, data=None):
        """Sends a notification, of the value or of `data`."""
        self._call(wire.NOTIFY, conn_handle, value_handle, self._of(value_handle, data))

    def gatts_indicate(self, conn_handle, value_handle, data=None):
        """Sends an indication; _IRQ_GATTS_INDICATE_DONE tells how it went."""
        self._call(wire.INDICATE, conn_handle, value_handle, self._of(value_handle, data))

    def _of(self, value_handle, data):
        if data is None:
            data = self._values.get(value_handle, (b"",))[0]
        return data

    def gatts_set_buffer(self, value_handle, len, append=False):  # noqa: A002
        """How much a client may write, and whether writes are appended."""
        self._need_active()
        entry = self._values.get(value_handle)
        if entry is None:
            raise OSError(_EINVAL)
        entry[:] = [b"", len, bool(append)]

    # Client

    def gattc_discover_services(self, conn_handle, uuid=None):
        """All services, or those of one UUID."""
        self._call(wire.SERVICES, conn_handle, _optional(uuid))

    def gattc_discover_characteristics(self, conn_handle, start_handle, end_handle, uuid=None):
        """Characteristics in a range, all or of one UUID."""
        self._call(wire.CHARACTERISTICS, conn_handle, start_handle, end_handle, _optional(uuid))

    def gattc_discover_descriptors(self, conn_handle, start_handle, end_handle):
        """Descriptors in a range."""
        self._call(wire.DESCRIPTORS, conn_handle, start_handle, end_handle)

    def gattc_read(self, conn_handle, value_handle):
        """Reads a value of the peer."""
        self._call(wire.READ, conn_handle, value_handle)

    def gattc_write(self, conn_handle, value_handle, data, mode=0):
        """Writes a value of the peer; mode 1: with a response."""
        self._call(wire.WRITE, conn_handle, value_handle, data, mode)

    def gattc_exchange_mtu(self, conn_handle):
        """Agrees on the MTU."""
        self._call(wire.MTU, conn_handle)


def _uuid(value, what):
    if not isinstance(value, UUID):
        raise ValueError("invalid " + what + " UUID")
    return value


def _optional(uuid):
    if uuid is not None and not isinstance(uuid, UUID):
        raise TypeError("UUID")
    return uuid


def _characteristic(definition):
    if not 2 <= len(definition) <= 3:
        raise ValueError("invalid characteristic tuple")
    descriptors = definition[2] if len(definition) == 3 else ()
    return (
        _uuid(definition[0], "characteristic"),
        definition[1],
        [(_uuid(uuid, "descriptor"), flags) for uuid, flags in descriptors],
    )


_ble = _BLE()


def BLE():
    """The radio; there is one."""
    return _ble
