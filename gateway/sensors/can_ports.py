"""Where live CAN frames come from: one class per way to read a bus, all blocking.

Runs on CPython, in the one thread that `can_bus` keeps for it.  python-can opens every bus; but a
SocketCAN socket is then read here, because python-can tells neither what the kernel dropped nor
the time to the nanosecond.  A port that fails raises OSError or can.CanError; its reader then
opens a new one.  Sources: linux/can.h, linux/can/error.h, man 7 socket.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import can

from gateway.sensors.source import Clock
from obd.can_frame import (
    BITRATE_SWITCH,
    DLC_SHIFT,
    ERROR,
    ERROR_STATE,
    EXTENDED,
    FD,
    FD_LENGTHS,
    REMOTE,
    TX,
    CanFrame,
)
from obd.errors import FrameError

DRAIN_MAX = 64
"""Frames taken at once before the reader hands them on."""
RECEIVE_BUFFER_BYTES = 1 << 22
"""Asked of the kernel, whose default holds some 300 frames: 40 ms of a full bus."""

EPOCH_PLAUSIBLE_NS = 946_684_800 * 10**9
"""A stamp before the year 2000 counts from the driver's start, not from 1970."""

_SO_RXQ_OVFL = 40
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_CLASSIC = struct.Struct("=IBxxB8s")  # id, length, DLC as sent, data
_FD = struct.Struct("=IBB2x64s")  # id, length, flags, data
_TIMESPEC = struct.Struct("@ll")
_U32 = struct.Struct("=I")
_ANCILLARY_BYTES = 64

_EFF_FLAG, _RTR_FLAG, _ERR_FLAG = 0x80000000, 0x40000000, 0x20000000
_ERR_CRTL, _ERR_CRTL_RX_OVERFLOW = 0x04, 0x01
_ERR_BUSOFF, _ERR_RESTARTED = 0x40, 0x100


@dataclass(slots=True)
class Loss:
    """Frames that did not arrive, before the frame at `index` of the same arrivals."""

    index: int
    reason: str
    count: int
    """0 when nobody can know."""
    is_damage: bool = False
    """Something arrived, but was no frame."""


@dataclass(slots=True)
class Arrivals:
    """What one look at the bus brought."""

    taken_ns: list[int] = field(default_factory=list)
    frames: list[CanFrame] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def add(self, taken_ns: int, frame: CanFrame) -> None:
        """One frame, and what it says itself about frames lost before it."""
        if frame.flags & ERROR:
            reason = loss_of_error_frame(frame)
            if reason:
                self.lost(reason, 0)
        self.taken_ns.append(taken_ns)
        self.frames.append(frame)

    def lost(self, reason: str, count: int, *, is_damage: bool = False) -> None:
        """Something is missing here."""
        self.losses.append(Loss(len(self.frames), reason, count, is_damage))


class Port(ABC):
    """An open bus."""

    @abstractmethod
    def receive(self, timeout_ms: int) -> Arrivals:
        """What has arrived, after at most `timeout_ms`; at most DRAIN_MAX frames."""

    @abstractmethod
    def close(self) -> None:
        """Releases the bus."""


class SocketcanPort(Port):
    """Reads a SocketCAN socket itself: exact times, and the kernel's own count of drops."""

    def __init__(self, sock: socket.socket, clock: Clock, bus: can.BusABC | None = None) -> None:
        self._socket = sock
        self._clock = clock
        self._bus = bus
        self._drops = 0
        grow_receive_buffer(sock)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def receive(self, timeout_ms: int) -> Arrivals:
        """Frames in the order of the socket, each behind the gap the kernel reports with it."""
        arrivals = Arrivals()
        if not self._poll.poll(timeout_ms):
            return arrivals
        for _ in range(DRAIN_MAX):
            try:
                message = self._socket.recvmsg(_FD.size, _ANCILLARY_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            self._read(arrivals, *message[:3])
        return arrivals

    def _read(
        self, arrivals: Arrivals, data: bytes, ancillary: Sequence[tuple[int, int, bytes]], bits: int
    ) -> None:
        taken_ns = 0
        for level, kind, value in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                taken_ns = seconds * 10**9 + nanoseconds
            elif kind == _SO_RXQ_OVFL:
                (drops,) = _U32.unpack_from(value)
                # The kernel counts in 32 bits, since the socket was opened.
                lost, self._drops = (drops - self._drops) & 0xFFFFFFFF, drops
                if lost:
                    arrivals.lost("the kernel's receive queue was full", lost)
        try:
            frame = parse_socketcan(data, is_sent=bool(bits & socket.MSG_DONTROUTE))
        except FrameError as error:
            arrivals.lost(f"damaged frame: {error}", 1, is_damage=True)
            return
        arrivals.add(taken_ns or self._clock.now_ns(), frame)

    def close(self) -> None:
        """Closes the socket, through python-can where it was opened there."""
        if self._bus is not None:
            self._bus.shutdown()
        else:
            self._socket.close()


class PythonCanPort(Port):
    """Any other bus of python-can.

    Its times are floats: in 2026 they step by 240 ns, so the last three digits mean nothing."""

    def __init__(self, bus: can.BusABC, clock: Clock, drops_path: Path | None = None) -> None:
        self._bus = bus
        self._clock = clock
        self._drops_path = drops_path
        """The kernel's table of sockets, for a bus over UDP."""
        self._drops = 0
        self._drops_read_ns = clock.monotonic_ns()
        if drops_path is not None:
            with socket.socket(fileno=os.dup(bus.fileno())) as copy:
                grow_receive_buffer(copy)

    def receive(self, timeout_ms: int) -> Arrivals:
        """Frames as python-can gives them; what it cannot unpack is damage, not the loss of the bus."""
        arrivals = Arrivals()
        for number in range(DRAIN_MAX):
            try:
                message = self._bus.recv(0 if number else timeout_ms / 1000)
            except can.CanOperationError as error:
                if error.__cause__ is None or isinstance(error.__cause__, OSError):
                    raise
                # A stranger's datagram in the multicast group.
                arrivals.lost(f"damaged datagram: {error.__cause__}"[:200], 1, is_damage=True)
                continue
            if message is None:
                break
            try:
                frame = frame_of_message(message)
            except FrameError as error:
                arrivals.lost(f"damaged frame: {error}", 1, is_damage=True)
                continue
            arrivals.add(time_of_message(message.timestamp, self._clock.now_ns), frame)
        if self._drops_path is not None:
            self._read_drops(self._drops_path, arrivals)
        return arrivals

    def _read_drops(self, path: Path, arrivals: Arrivals) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._drops_read_ns < 10**9:
            return
        self._drops_read_ns = now_ns
        drops = udp_drops(path.read_text(), os.fstat(self._bus.fileno()).st_ino)
        if drops > self._drops:
            arrivals.lost("the kernel's receive queue was full within the last second", drops - self._drops)
        self._drops = drops

    def close(self) -> None:
        """Shuts the bus down."""
        self._bus.shutdown()


def parse_socketcan(data: bytes, *, is_sent: bool = False) -> CanFrame:
    """The frame in a `struct can_frame` or `canfd_frame`.  Raises FrameError."""
    flags = TX if is_sent else 0
    raw_dlc = 0
    if len(data) == _FD.size:
        id_word, size, fd_bits, payload = _FD.unpack(data)
        flags |= FD | (BITRATE_SWITCH if fd_bits & 1 else 0) | (ERROR_STATE if fd_bits & 2 else 0)
        if size not in FD_LENGTHS:
            raise FrameError(f"{size} bytes is no CAN FD length")
    elif len(data) == _CLASSIC.size:
        id_word, size, raw_dlc, payload = _CLASSIC.unpack(data)
        if size > 8:
            raise FrameError(f"{size} bytes are more than the 8 of a classic frame")
    else:
        raise FrameError(f"{len(data)} bytes are neither a classic nor an FD frame of SocketCAN")
    if id_word & _ERR_FLAG:
        return CanFrame(id_word & 0x1FFFFFFF, flags & TX | ERROR, payload[: min(size, 8)])
    if id_word & _EFF_FLAG:
        flags |= EXTENDED
        arbitration_id = id_word & 0x1FFFFFFF
    else:
        arbitration_id = id_word & 0x7FF
    if id_word & _RTR_FLAG and not flags & FD:
        return CanFrame(arbitration_id, flags | REMOTE | size << DLC_SHIFT, b"")
    if 8 < raw_dlc < 16 and size == 8:
        flags |= raw_dlc << DLC_SHIFT
    return CanFrame(arbitration_id, flags, payload[:size])


def frame_of_message(message: can.Message) -> CanFrame:
    """The frame in a `can.Message`.  Raises FrameError."""
    flags = 0 if message.is_rx else TX
    if message.is_error_frame:
        return CanFrame.checked(message.arbitration_id & 0x1FFFFFFF, flags | ERROR, bytes(message.data)[:8])
    if message.is_extended_id:
        flags |= EXTENDED
    if message.is_fd:
        flags |= FD
        if message.bitrate_switch:
            flags |= BITRATE_SWITCH
        if message.error_state_indicator:
            flags |= ERROR_STATE
    elif message.is_remote_frame:
        return CanFrame.checked(message.arbitration_id, flags | REMOTE | message.dlc << DLC_SHIFT, b"")
    return CanFrame.checked(message.arbitration_id, flags, bytes(message.data))


def time_of_message(timestamp: float, now_ns: Callable[[], int]) -> int:
    """Unix nanoseconds of a driver's stamp, or of our clock when the stamp is none.

    now_ns: called only when needed.  Split before scaling, so that nothing is lost that the float has."""
    if not EPOCH_PLAUSIBLE_NS / 1e9 <= timestamp <= 4e9:
        return now_ns()
    seconds = int(timestamp)
    return seconds * 10**9 + round((timestamp - seconds) * 1e9)


def loss_of_error_frame(frame: CanFrame) -> str | None:
    """What an error frame says about frames that were lost, or None."""
    data: bytes = frame.data
    if frame.arbitration_id & _ERR_BUSOFF:
        return "bus off"
    if frame.arbitration_id & _ERR_RESTARTED:
        return "the controller restarted after bus off"
    if frame.arbitration_id & _ERR_CRTL and len(data) > 1 and data[1] & _ERR_CRTL_RX_OVERFLOW:
        return "the controller's receive buffer was full"
    return None


def udp_drops(table: str, inode: int) -> int:
    """Datagrams the kernel dropped for a socket; table: text of /proc/net/udp.  0 when it is not in it."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) >= 13 and columns[9] == str(inode) and columns[12].isdecimal():
            return int(columns[12])
    return 0


def grow_receive_buffer(sock: socket.socket) -> None:
    """Asks for RECEIVE_BUFFER_BYTES; without the right to exceed the limit, takes what the kernel gives."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except OSError:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
