"""Reading buses: SocketCAN's structs and drop counter, python-can's messages, and garbage on both."""

import asyncio
import errno
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.can_ports import (
    DRAIN_MAX,
    Arrivals,
    PythonCanPort,
    SocketcanPort,
    frame_of_message,
    loss_of_error_frame,
    parse_socketcan,
    time_of_message,
    udp_drops,
)
from gateway.sensors.source import Clock
from obd.can_frame import ERROR, EXTENDED, FD, REMOTE, TX, CanFrame, fault
from obd.errors import FrameError
from tests.gateway.sensors.clocks import START_NS, FakeClock


def classic(id_word: int, size: int, data: bytes, raw_dlc: int = 0) -> bytes:
    """A `struct can_frame`."""
    return struct.pack("=IBxxB8s", id_word, size, raw_dlc, data)


def fd(id_word: int, size: int, flags: int, data: bytes) -> bytes:
    """A `struct canfd_frame`."""
    return struct.pack("=IBB2x64s", id_word, size, flags, data)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (classic(0x123, 2, b"\xab\xcd"), "123#ABCD"),
        (classic(0x80000123, 0, b""), "00000123#"),
        (classic(0x40000123, 5, b""), "123#R5"),
        (classic(0xC0000123, 0, b""), "00000123#R0"),
        (classic(0x123, 8, b"12345678", raw_dlc=15), "123#3132333435363738_F"),
        (classic(0x123, 8, b"12345678", raw_dlc=8), "123#3132333435363738"),
        (classic(0x20000004, 8, b"\0\1"), "20000004#0001000000000000"),
        (fd(0x123, 12, 0, b"\1"), "123##0010000000000000000000000"),
        (fd(0x80000123, 1, 7, b"\1"), "00000123##301"),
    ],
)
def test_the_structs_of_socketcan_are_frames(data: bytes, word: str) -> None:
    assert str(parse_socketcan(data)) == word
    assert parse_socketcan(data, is_sent=True).flags == parse_socketcan(data).flags | TX


@pytest.mark.parametrize(
    "data", [b"", bytes(15), classic(1, 9, b""), fd(1, 9, 0, b""), fd(1, 65, 0, b""), bytes(73)]
)
def test_what_is_no_struct_of_socketcan_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        parse_socketcan(data)


@given(st.binary(max_size=80) | st.binary(min_size=16, max_size=16) | st.binary(min_size=72, max_size=72))
@settings(deadline=None)
def test_any_bytes_are_a_sound_frame_or_a_frame_error(data: bytes) -> None:
    try:
        frame = parse_socketcan(data)
    except FrameError:
        return
    assert fault(*frame) is None


def _pair() -> tuple[socket.socket, socket.socket]:
    """A socket that stands for CAN, since it too stamps and counts drops; and one that sends to it."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    return receiver, sender


def test_frames_carry_the_kernels_time_to_the_nanosecond() -> None:
    receiver, sender = _pair()
    port = SocketcanPort(receiver, Clock(now_ns=lambda: 7))
    sender.send(classic(0x123, 1, b"\x01"))
    arrivals = port.receive(5000)
    assert arrivals.frames == [CanFrame(0x123, 0, b"\x01")]
    (taken_ns,) = arrivals.taken_ns
    assert taken_ns > 1_700_000_000 * 10**9
    assert port.receive(0) == Arrivals()
    port.close()
    sender.close()


def test_what_the_kernel_drops_is_counted_at_its_place() -> None:
    receiver, sender = _pair()
    port = SocketcanPort(receiver, FakeClock().clock)
    # Behind the port's back, so that the queue is small again.
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = 500
    for number in range(sent):
        sender.send(classic(number, 2, number.to_bytes(2, "big")))
    seen: list[int] = []
    lost: list[tuple[int, int, str]] = []
    last = 0

    def read() -> int:
        while (arrivals := port.receive(50)).frames:
            lost.extend((len(seen) + loss.index, loss.count, loss.reason) for loss in arrivals.losses)
            seen.extend(frame.arbitration_id for frame in arrivals.frames)
        return seen[-1]

    last = read()
    assert last < sent - 1, "the kernel dropped nothing; the test proves nothing"
    # The kernel tells of drops with the next frame it accepts.
    sender.send(classic(sent, 0, b""))
    read()
    ((index, count, reason),) = lost
    assert (seen[index - 1], seen[index]) == (last, sent)
    assert count == sent - 1 - last
    assert reason == "the kernel's receive queue was full"
    assert len(seen) + count == sent + 1
    port.close()
    sender.close()


class _Scripted:
    """A socket that gives what it is told."""

    def __init__(self, *messages: tuple[bytes, list[tuple[int, int, bytes]], int]) -> None:
        self.messages = list(messages)
        self.read_end, self.write_end = os.pipe()
        os.write(self.write_end, b"x")

    def fileno(self) -> int:
        return self.read_end

    def setsockopt(self, *args: object) -> None:
        pass

    def recvmsg(self, *args: object) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        if not self.messages:
            raise BlockingIOError
        return (*self.messages.pop(0), None)

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def _overflow(count: int) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, 40, struct.pack("=I", count)), (7, 40, b""), (socket.SOL_SOCKET, 99, b"")]


def test_the_drop_counter_may_wrap_and_garbage_is_damage() -> None:
    fake: Any = _Scripted(
        (classic(1, 0, b""), _overflow(0xFFFFFFFE), 0),
        (classic(2, 0, b""), _overflow(3), socket.MSG_DONTROUTE),
        (b"garbage", _overflow(3), 0),
        (classic(3, 0, b""), [], 0),
    )
    port = SocketcanPort(fake, FakeClock().clock)
    arrivals = port.receive(1000)
    assert arrivals.frames == [CanFrame(1, 0, b""), CanFrame(2, TX, b""), CanFrame(3, 0, b"")]
    assert arrivals.taken_ns == [START_NS] * 3
    assert [(loss.index, loss.count, loss.is_damage) for loss in arrivals.losses] == [
        (0, 0xFFFFFFFE, False),
        (1, 5, False),
        (2, 1, True),
    ]
    port.close()


def test_no_more_than_a_few_frames_are_taken_at_once() -> None:
    fake: Any = _Scripted(*[(classic(1, 0, b""), [], 0)] * (DRAIN_MAX + 1))
    port = SocketcanPort(fake, FakeClock().clock)
    assert len(port.receive(1000).frames) == DRAIN_MAX
    assert len(port.receive(1000).frames) == 1
    port.close()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (CanFrame(0x04, ERROR, b"\0\1" + bytes(6)), "the controller's receive buffer was full"),
        (CanFrame(0x04, ERROR, b"\0\4" + bytes(6)), None),
        (CanFrame(0x04, ERROR, b""), None),
        (CanFrame(0x40, ERROR, bytes(8)), "bus off"),
        (CanFrame(0x100, ERROR, bytes(8)), "the controller restarted after bus off"),
        (CanFrame(0x08, ERROR, bytes(8)), None),
    ],
)
def test_error_frames_that_tell_of_lost_frames_make_a_gap_and_stay_frames(
    frame: CanFrame, reason: str | None
) -> None:
    assert loss_of_error_frame(frame) == reason
    arrivals = Arrivals()
    arrivals.add(1, frame)
    assert arrivals.frames == [frame]
    assert [loss.reason for loss in arrivals.losses] == ([reason] if reason else [])


def test_a_drivers_time_is_kept_as_well_as_a_float_can() -> None:
    assert time_of_message(1_800_000_000.25, lambda: 1) == 1_800_000_000_250_000_000
    # Microseconds survive; below them is what a float of this size cannot hold.
    assert abs(time_of_message(1_800_000_000.123457, lambda: 1) - 1_800_000_000_123_457_000) < 240
    for stamp in (0.0, 12345.678, -1.0, float("nan"), float("inf"), 1e12):
        assert time_of_message(stamp, lambda: 77) == 77


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (can.Message(arbitration_id=0x123, is_extended_id=False, data=[1]), CanFrame(0x123, 0, b"\1")),
        (can.Message(arbitration_id=0x123, is_rx=False), CanFrame(0x123, EXTENDED | TX, b"")),
        (
            can.Message(arbitration_id=1, is_extended_id=False, is_remote_frame=True, dlc=3),
            CanFrame(1, REMOTE | 3 << 8, b""),
        ),
        (
            can.Message(
                arbitration_id=1,
                is_extended_id=False,
                is_fd=True,
                bitrate_switch=True,
                data=bytes(12),
                dlc=12,
            ),
            CanFrame(1, FD | 16, bytes(12)),
        ),
        (can.Message(arbitration_id=4, is_error_frame=True, data=bytes(8)), CanFrame(4, ERROR, bytes(8))),
    ],
)
def test_messages_of_python_can_are_frames(message: can.Message, frame: CanFrame) -> None:
    assert frame_of_message(message) == frame


def test_a_message_that_breaks_the_rules_is_damage_and_the_next_is_read() -> None:
    sender = can.Bus(interface="virtual", channel="ports")
    port = PythonCanPort(can.Bus(interface="virtual", channel="ports"), FakeClock().clock)
    sender.send(can.Message(arbitration_id=0x900, is_extended_id=False))
    sender.send(can.Message(arbitration_id=1, is_extended_id=False))
    arrivals = port.receive(5000)
    assert arrivals.frames == [CanFrame(1, 0, b"")]
    assert [(loss.index, loss.count, loss.is_damage) for loss in arrivals.losses] == [(0, 1, True)]
    assert "id 0x900" in arrivals.losses[0].reason
    port.close()
    sender.shutdown()


TABLE = """  sl  local_address rem_address st tx_queue rx_queue tr tm->when retr uid timeout inode ref p drops
  104: 00000000:A86B 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000 17
  105: broken
  106: 00000000:A86C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 47 2 00000000 5
"""


def test_the_kernels_table_tells_what_a_udp_socket_dropped() -> None:
    assert udp_drops(TABLE, 4711) == 17
    assert udp_drops(TABLE, 47) == 5
    assert udp_drops(TABLE, 471) == 0
    assert udp_drops("", 1) == 0


class _UdpLikeBus:
    """What PythonCanPort needs of a bus over UDP."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outcomes: list[can.Message | Exception | None] = []

    def fileno(self) -> int:
        return self.socket.fileno()

    def recv(self, timeout: float) -> can.Message | None:
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def shutdown(self) -> None:
        self.socket.close()


def test_drops_of_a_udp_bus_are_looked_up_once_a_second(tmp_path: Path) -> None:
    bus: Any = _UdpLikeBus()
    table = tmp_path / "udp"
    inode = os.fstat(bus.fileno()).st_ino
    line = "1: a b 07 c d e 0 0 {} 2 f {}\n"
    table.write_text("head\n" + line.format(inode, 0))
    fake = FakeClock()
    port = PythonCanPort(bus, fake.clock, table)
    table.write_text("head\n" + line.format(inode, 9))
    assert port.receive(0).losses == []
    fake.elapsed_ns += 10**9
    assert [loss.count for loss in port.receive(0).losses] == [9]
    fake.elapsed_ns += 10**9
    assert port.receive(0).losses == []
    port.close()


def test_a_strangers_datagram_is_damage_but_a_dead_socket_is_the_loss_of_the_bus() -> None:
    bus: Any = _UdpLikeBus()
    stranger = can.CanOperationError("could not unpack received message")
    stranger.__cause__ = ValueError("unpack(b) received extra data")
    dead = can.CanOperationError("failed to wait")
    dead.__cause__ = OSError(errno.ENETDOWN, "Network is down")
    message = can.Message(arbitration_id=1, is_extended_id=False)
    port = PythonCanPort(bus, FakeClock().clock)
    bus.outcomes = [stranger, message]
    arrivals = port.receive(0)
    assert arrivals.frames == [CanFrame(1, 0, b"")]
    assert [(loss.index, loss.reason) for loss in arrivals.losses] == [
        (0, "damaged datagram: unpack(b) received extra data")
    ]
    for error in (dead, can.CanOperationError("closed")):
        bus.outcomes = [error]
        with pytest.raises(can.CanOperationError):
            port.receive(0)
    port.close()


def test_a_reader_is_not_held_longer_than_its_timeout() -> None:
    """The thread must see that it is to stop."""
    receiver, sender = _pair()
    port = SocketcanPort(receiver, FakeClock().clock)

    async def run() -> Arrivals:
        return await asyncio.wait_for(asyncio.to_thread(port.receive, 10), 30)

    assert asyncio.run(run()) == Arrivals()
    assert threading.active_count() >= 1
    port.close()
    sender.close()
