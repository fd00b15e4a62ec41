"""Ways to a car: an ELM327 on a serial port or TCP, or the CAN bus itself.  All blocking, for one thread.

Runs on CPython.  For POSIX systems.  A link takes one query at a time and gives its outcome; what is lost
raises SourceUnavailable, and the link can then be opened again.  The protocols are in `obd/`; here are only
file descriptors and clocks.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import termios
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from gateway.sensors.obd_advice import losing, opening
from gateway.sensors.serial_port import PortSettings, SerialPort
from gateway.sensors.source import Clock, SourceUnavailable, SourceUrl
from obd.action import Action
from obd.can_client import CanClient
from obd.can_frame import EXTENDED, CanFrame
from obd.discovery import SHORT_BYTES
from obd.elm327 import Down, Elm327, Ready, Write
from obd.errors import FrameError
from obd.isotp import Transmit
from obd.query import ANSWERED, INTERRUPTED, Done, Outcome, Query
from obd.tuples import new

if TYPE_CHECKING:
    import can

BAUD = 38_400
"""What an ELM327 is delivered with."""
TCP_PORT = 35_000
STOP_CHECK_MS = 200
"""A waiting link looks this often whether it should stop."""
CONNECT_TIMEOUT_MS = 5_000
READ_BYTES = 4096


class Closed(SourceUnavailable):
    """The link was told to stop while it waited."""


class Link(ABC):
    """One way to one car."""

    answer_bytes = 1 << 12
    """PIDs and data that one answer may have and still come as fast as can be."""

    def __init__(self, label: str, clock: Clock) -> None:
        self.label = label
        self.stop = threading.Event()
        """Set from any thread: what waits then raises Closed."""
        self._clock = clock

    @abstractmethod
    def open(self) -> None:
        """Opens, or opens again; returns when queries can be asked.  Raises SourceUnavailable."""

    @abstractmethod
    def ask(self, query: Query) -> Outcome:
        """The outcome of a query.  Raises SourceUnavailable when the link is lost."""

    @abstractmethod
    def close(self) -> None:
        """Releases what is held; may be called twice."""

    @abstractmethod
    def describe(self) -> dict[str, str | int]:
        """What is known about the way itself, for a person."""

    def _lost(self, error: OSError | str) -> SourceUnavailable:
        return SourceUnavailable(self.label, error if isinstance(error, str) else losing(error))


class Port(Protocol):
    """Where an adapter's bytes come from.  Reading blocks, since that costs half of what polling does."""

    fd: int

    def read(self) -> bytes:
        """What has come; nothing after STOP_CHECK_MS.  OSError: the port is gone."""

    def close(self) -> None:
        """Releases it."""


class TtyPort:
    """A serial port, set to give up waiting by itself."""

    def __init__(self, settings: PortSettings) -> None:
        self._port = SerialPort(settings)
        self.fd = self._port.fd
        modes = termios.tcgetattr(self.fd)
        modes[6][termios.VMIN] = 0
        modes[6][termios.VTIME] = STOP_CHECK_MS // 100
        termios.tcsetattr(self.fd, termios.TCSANOW, modes)
        os.set_blocking(self.fd, True)

    def read(self) -> bytes:
        """What has come; nothing after STOP_CHECK_MS.  OSError: the port is gone."""
        data = os.read(self.fd, READ_BYTES)
        if not data:
            # A line that was hung up gives nothing, too, but at once.
            if select.select([self.fd], [], [], 0)[0]:
                raise OSError("hung up")
            self._port.check()
        return data

    def close(self) -> None:
        """Releases the port."""
        self._port.close()


class TcpPort:
    """A connection to an adapter with WiFi."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), CONNECT_TIMEOUT_MS / 1000)
        # Seconds and microseconds: the kernel's own timeout, since Python's would poll before each read.
        timeout = struct.pack("ll", 0, STOP_CHECK_MS * 1000)
        self._socket.setblocking(True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        # A command is one small segment, and nothing follows until it is answered.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self._socket.fileno()

    def read(self) -> bytes:
        """What has come; nothing after STOP_CHECK_MS.  OSError: the other side has hung up."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError("hung up")
        return data

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()


class AdapterLink(Link):
    """An ELM327."""

    answer_bytes = SHORT_BYTES
    """One frame: only then the adapter can be told how many to wait for, and need not wait for more."""

    def __init__(
        self, label: str, clock: Clock, open_port: Callable[[], Port], *, protocol: str = "0"
    ) -> None:
        """protocol: digit of ATSP; 0 searches."""
        super().__init__(label, clock)
        self._open_port = open_port
        self._protocol = protocol
        self._port: Port | None = None
        self.elm = Elm327(protocol)

    def open(self) -> None:
        """Opens the port and starts the adapter."""
        self.close()
        try:
            self._port = self._open_port()
        except OSError as error:
            raise self._lost(opening(error)) from error
        self.elm = Elm327(self._protocol)
        try:
            self._until(Ready, self.elm.start(self._now_ms()))
        except SourceUnavailable:
            self.close()
            raise

    def ask(self, query: Query) -> Outcome:
        """Asks the car through the adapter, after that has restarted if it must."""
        elm = self.elm
        shortcut = elm.shortcuts.get(query)
        port = self._port
        if shortcut is None or port is None:
            if not elm.is_ready:
                self._until(Ready, [])
            return self._outcome(elm.ask(query, self._now_ms()))
        written = 0
        # Straight to the system, since each layer on this way costs as much as a system call.
        try:
            written = os.write(port.fd, shortcut.command)
            data = os.read(port.fd, READ_BYTES)
        except BlockingIOError:
            data = b""
        except OSError as error:
            raise self._lost(error) from error
        answer = shortcut.answer(data)
        if answer is not None:
            return new(Outcome, (ANSWERED, [answer], ""))
        elm.ask(query, self._now_ms())
        self._write(port.fd, shortcut.command[written:])
        return self._outcome(elm.receive(data, self._now_ms()))

    def close(self) -> None:
        """Closes the port."""
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def describe(self) -> dict[str, str | int]:
        """What the adapter says, and what it was seen to do."""
        elm = self.elm
        return {
            "adapter": elm.identity,
            "plug_mv": elm.voltage_mv,
            "protocol": elm.protocol,
            "lines": elm.shape or "",
            "refused": " ".join(elm.refused),
        }

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def _outcome(self, actions: list[Action]) -> Outcome:
        done = self._until(Done, actions)
        return done.outcome if isinstance(done, Done) else Outcome(INTERRUPTED, [], "")

    def _until(self, kind: type[Action], actions: list[Action]) -> Action:
        """Does what the machine wants until it says `kind`."""
        port = self._port
        if port is None:
            raise self._lost("not open")
        elm = self.elm
        found: Action | None = None
        while True:
            for action in actions:
                if isinstance(action, Write):
                    self._write(port.fd, action.data)
                elif isinstance(action, Down):
                    raise self._lost(action.reason)
                elif isinstance(action, kind):
                    found = action
            if found is not None:
                return found
            try:
                data = port.read()
            except OSError as error:
                raise self._lost(error) from error
            now_ms = self._now_ms()
            actions = elm.receive(data, now_ms) if data else []
            if not actions:
                # Bytes alone must not hold up the clock: an adapter may babble for ever.
                if self.stop.is_set():
                    raise Closed(self.label, "closed")
                actions = elm.tick(now_ms)

    def _write(self, fd: int, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                # The other side does not read: wait as long as a command may take, no longer.
                if not select.select([], [fd], [], CONNECT_TIMEOUT_MS / 1000)[1]:
                    raise self._lost("does not take any bytes") from None
            except OSError as error:
                raise self._lost(error) from error


class CanLink(Link):
    """The bus itself, through python-can."""

    def __init__(
        self,
        label: str,
        clock: Clock,
        open_bus: Callable[[], can.BusABC],
        *,
        is_29_bit: bool | None = None,
    ) -> None:
        """is_29_bit: None finds out."""
        super().__init__(label, clock)
        self._open_bus = open_bus
        self._bus: can.BusABC | None = None
        self._is_29_bit = is_29_bit
        self.client = CanClient(is_29_bit)

    def open(self) -> None:
        """Opens the bus."""
        import can

        self.close()
        try:
            self._bus = self._open_bus()
        except (OSError, can.CanError) as error:
            raise self._lost(opening(error)) from error
        self.client = CanClient(self._is_29_bit)

    def ask(self, query: Query) -> Outcome:
        """Asks the car."""
        import can

        from gateway.sensors.can_ports import frame_of_message

        bus = self._bus
        if bus is None:
            raise self._lost("not open")
        client = self.client
        try:
            while bus.recv(0) is not None:
                # What came since the last query belongs to no question of ours.
                pass
            actions = client.ask(query, self._now_us())
            while True:
                for action in actions:
                    if isinstance(action, Transmit):
                        self._send(bus, action.frame)
                    elif isinstance(action, Done):
                        outcome: Outcome = action.outcome
                        return outcome
                due_us = client.deadline_us
                left_us = 0 if due_us is None else max(due_us - self._now_us(), 0)
                message = bus.recv(min(left_us, STOP_CHECK_MS * 1000) / 1e6)
                if message is not None:
                    try:
                        frame = frame_of_message(message)
                    except FrameError:
                        actions = []
                        continue
                    actions = client.receive(frame, self._now_us())
                    continue
                if self.stop.is_set():
                    raise Closed(self.label, "closed")
                actions = client.tick(self._now_us())
        except (OSError, can.CanError) as error:
            raise self._lost(str(error)) from error

    def close(self) -> None:
        """Shuts the bus down."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.shutdown()

    def describe(self) -> dict[str, str | int]:
        """Which ids the car uses."""
        width = {None: "not known yet", True: "29 bit", False: "11 bit"}[self.client.is_29_bit]
        return {"bus": self.label, "ids": width}

    def _now_us(self) -> int:
        return self._clock.monotonic_ns() // 1000

    @staticmethod
    def _send(bus: can.BusABC, frame: CanFrame) -> None:
        import can

        arbitration_id, flags, data = frame
        bus.send(
            can.Message(arbitration_id=arbitration_id, is_extended_id=bool(flags & EXTENDED), data=data),
            timeout=1.0,
        )


def adapter_link(url: SourceUrl, clock: Clock) -> AdapterLink:
    """The link of `obd:/dev/ttyUSB0` or `obd:tcp://host:35000`.  Raises BadSourceUrl."""
    protocol = url.options.get("protocol", "0").upper()
    if len(protocol) != 1 or protocol not in "0123456789ABC":
        raise url.bad(f"protocol={protocol}: allowed is one digit 0 to C of ATSP; 0 searches")
    if url.target.startswith("tcp://"):
        host, colon, port_text = url.target[6:].rpartition(":")
        if not colon:
            host, port_text = port_text, str(TCP_PORT)
        if not host or not port_text.isdecimal() or not 0 < int(port_text) < 65536:
            raise url.bad(f"{url.target!r} is no host and port; for example: obd:tcp://192.168.0.10:35000")
        if "baud" in url.options:
            raise url.bad("baud= is for serial ports")
        port = int(port_text)
        host = host.strip("[]")
        return AdapterLink(f"obd:{url.target}", clock, lambda: TcpPort(host, port), protocol=protocol)
    settings = PortSettings(url.target, url.number("baud", BAUD, 50, 12_000_000))
    return AdapterLink(f"obd:{url.target}", clock, lambda: TtyPort(settings), protocol=protocol)


def can_link(url: SourceUrl, clock: Clock, response_ids: Iterable[int] = ()) -> CanLink:
    """The link of `obd+can:can0`.  response_ids: of ECUs beyond ISO 15765-4.  Raises BadSourceUrl."""
    interface = url.options.get("interface", "socketcan")
    bits = url.choice("bits", ("auto", "11", "29"), "auto")
    # A driving car puts thousands of frames a second on the bus; only answers are to wake us.
    filters: list[dict[str, int | bool]] = [
        {"can_id": 0x7E8, "can_mask": 0x7F8, "extended": False},
        {"can_id": 0x18DAF100, "can_mask": 0x1FFFFF00, "extended": True},
    ]
    for number in sorted(set(response_ids)):
        is_wide = number > 0x7FF
        filters.append({"can_id": number, "can_mask": 0x1FFFFFFF if is_wide else 0x7FF, "extended": is_wide})

    def open_bus() -> can.BusABC:
        import can

        return can.Bus(interface=interface, channel=url.target, can_filters=filters)

    return CanLink(
        f"obd+can:{url.target}",
        clock,
        open_bus,
        is_29_bit={"auto": None, "11": False, "29": True}[bits],
    )


def open_link(url: SourceUrl, clock: Clock, response_ids: Iterable[int] = ()) -> Link:
    """The link of any OBD source.  Raises BadSourceUrl."""
    if url.text.startswith("obd+can:"):
        return can_link(url, clock, response_ids)
    return adapter_link(url, clock)
