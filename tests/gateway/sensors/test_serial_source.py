"""Serial ports over a pty: what arrives, what unplugging does, and what a driver confesses."""

import asyncio
import os
import sys
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.sensors import serial_source
from gateway.sensors.serial_framing import FixedFramer, LineFramer
from gateway.sensors.serial_source import SerialSource, open_serial
from gateway.sensors.source import (
    SYSTEM_CLOCK,
    BadSourceUrl,
    Batch,
    Clock,
    MissingExtra,
    SourceUnavailable,
    SourceUrl,
)
from tests.gateway.sensors.traces import join

pytest.importorskip("serial", reason="pyserial is not installed: pip install 'cpchain-edge[serial]'")

WAIT_S = 20
"""Long enough for any machine; nothing waits for it unless it fails."""
GONE = ("hung up", "Input/output error")


class Device:
    """The other end of a serial port: a pty whose name, a link, outlives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master = -1

    def plug(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        new = self.path.with_suffix(".new")
        new.symlink_to(os.ttyname(slave))
        new.rename(self.path)
        os.close(slave)

    def send(self, data: bytes) -> None:
        os.write(self.master, data)

    def send_all(self, data: bytes) -> None:
        for at in range(0, len(data), 1000):
            self.send(data[at : at + 1000])

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self.master)
        self.master = -1

    def __enter__(self) -> "Device":
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        if self.master >= 0:
            os.close(self.master)


def url(path: Path | str, **options: str) -> SourceUrl:
    return SourceUrl(f"serial:{path}", str(path), options)


class Reader:
    """Reads a source until something is there."""

    def __init__(self, source: SerialSource) -> None:
        self.source = source
        self.batches: list[Batch] = []
        self._iterator: AsyncIterator[Batch] = source.batches()

    async def until(self, is_there: Callable[[Batch], bool]) -> Batch:
        """All batches so far, once they hold what is asked for."""
        async with asyncio.timeout(WAIT_S):
            while not is_there(join(self.batches)):
                self.batches.append(await anext(self._iterator))
        return join(self.batches)

    async def rest(self) -> Batch:
        """Everything to the end of the source."""
        async with asyncio.timeout(WAIT_S):
            async for batch in self._iterator:
                self.batches.append(batch)
        return join(self.batches)


def run(story: Awaitable[None]) -> None:
    async def body() -> None:
        await story

    asyncio.run(body())


def reasons(batch: Batch) -> list[tuple[int, str]]:
    return [(index, gap.reason) for index, gap in batch.gaps]


def test_lines_arrive_in_order_with_one_time_a_read(tmp_path: Path) -> None:
    async def story() -> None:
        with Device(tmp_path / "tty") as device:
            source = open_serial(url(device.path), "gps", SYSTEM_CLOCK)
            reader = Reader(source)
            device.send(b"one\r\ntwo\nthr")
            await reader.until(lambda seen: len(seen.values) == 2)
            device.send(b"ee\n")
            batch = await reader.until(lambda seen: len(seen.values) == 3)
            assert batch.values == ["one", "two", "three"]
            assert batch.taken_ns[0] == batch.taken_ns[1] < batch.taken_ns[2]
            assert batch.gaps == []
            assert source.kind == "reading"
            assert source.stats.received == 3
            await source.close()
            await reader.rest()

    run(story())


def test_many_lines_all_arrive(tmp_path: Path) -> None:
    lines = [f"{number} {'x' * (number % 60)}" for number in range(5_000)]

    async def story() -> None:
        with Device(tmp_path / "tty") as device:
            source = open_serial(url(device.path), "gps", SYSTEM_CLOCK)
            reader = Reader(source)
            data = "".join(line + "\n" for line in lines).encode()
            sender = asyncio.to_thread(device.send_all, data)
            batch, _ = await asyncio.gather(reader.until(lambda seen: len(seen.values) == len(lines)), sender)
            assert batch.values == lines
            assert batch.gaps == []
            assert max(len(part.values) for part in reader.batches) <= 1_000
            await source.close()
            await reader.rest()

    run(story())


def test_unplugged_and_plugged_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_source, "BACK_OFF_MS", (1,))

    async def story() -> None:
        with Device(tmp_path / "tty") as device:
            source = open_serial(url(device.path), "gps", SYSTEM_CLOCK)
            reader = Reader(source)
            device.send(b"one\nhal")
            await reader.until(lambda seen: len(seen.values) == 1)
            device.unplug()
            await reader.until(lambda seen: len(seen.gaps) == 2)
            device.plug()
            await reader.until(lambda seen: len(seen.gaps) == 3)
            device.send(b"two\n")
            batch = await reader.until(lambda seen: len(seen.values) == 2)
            label = f"port serial:{device.path}"
            assert batch.values == ["one", "two"]
            # What the kernel says of a pty that has lost its master depends on when it is asked.
            assert [place for place, _ in reasons(batch)] == [1, 1, 1]
            assert batch.gaps[0][1].reason == "line cut off"
            assert batch.gaps[1][1].reason in (f"{label} is gone: {why}" for why in GONE)
            assert batch.gaps[2][1].reason == f"{label} is back"
            down, back = batch.gaps[1][1], batch.gaps[2][1]
            assert down.from_ns == back.from_ns < back.to_ns
            assert down.count == back.count == 0
            assert source.stats.damaged == 1
            assert any("list the ports with" in note for note in source.stats.notes)
            await source.close()
            await reader.rest()

    run(story())


def test_a_port_that_is_not_there_is_refused_or_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_source, "BACK_OFF_MS", (1,))
    device = Device(tmp_path / "tty")
    with pytest.raises(SourceUnavailable) as caught:
        open_serial(url(device.path), "gps", SYSTEM_CLOCK)
    assert str(caught.value) == (
        f"serial:{device.path}: No such file or directory; list the ports with: ls /dev/serial/by-id, "
        "or wait for it with wait=1"
    )

    async def story() -> None:
        source = open_serial(url(device.path, wait="1"), "gps", SYSTEM_CLOCK)
        reader = Reader(source)
        await reader.until(lambda seen: len(seen.gaps) == 1)
        with device:
            await reader.until(lambda seen: len(seen.gaps) == 2)
            device.send(b"one\n")
            batch = await reader.until(lambda seen: len(seen.values) == 1)
            label = f"port serial:{device.path}"
            assert reasons(batch) == [(0, f"{label} is not there yet"), (0, f"{label} is back")]
            await source.close()
            await reader.rest()

    run(story())


@pytest.mark.parametrize("path", ["/dev/null", __file__])
def test_what_is_no_port_is_refused(path: str) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        open_serial(url(path), "gps", SYSTEM_CLOCK)
    assert str(caught.value) == (
        f"serial:{path}: this is no serial port; list the ports with: ls /dev/serial/by-id"
    )


def test_a_port_is_not_shared(tmp_path: Path) -> None:
    async def story() -> None:
        with Device(tmp_path / "tty") as device:
            source = open_serial(url(device.path), "gps", SYSTEM_CLOCK)
            with pytest.raises(SourceUnavailable, match="another program has it open: fuser -v shows which"):
                open_serial(url(device.path), "gps", SYSTEM_CLOCK)
            await source.close()
            open_again = open_serial(url(device.path), "gps", SYSTEM_CLOCK)
            await open_again.close()

    run(story())


def test_sentences_of_a_receiver_are_read_and_kept_raw(tmp_path: Path) -> None:
    line = "$GPZDA,201530.00,04,07,2002,00,00*60"

    async def story() -> None:
        with Device(tmp_path / "tty") as device:
            source = open_serial(url(device.path, framing="nmea", baud="9600"), "gps", SYSTEM_CLOCK)
            reader = Reader(source)
            device.send(f"{line}\r\n$GPZDA,201\r\n".encode())
            batch = await reader.until(lambda seen: len(seen.values) == 2)
            assert batch.values[0]["utc_ms"] == 1_025_813_730_000
            assert batch.values[0]["raw"] == line
            assert batch.values[1] == {"raw": "$GPZDA,201", "error": "no checksum: cut off?"}
            assert source.stats.damaged == 1
            await source.close()
            await reader.rest()

    run(story())


class FakePort:
    """A port of a pipe, with faults to tell."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        self.faults: list[tuple[str, int]] = []
        self.checked = asyncio.Event()
        self.is_gone = False

    def send(self, data: bytes) -> None:
        os.write(self._write, data)

    def read(self) -> bytes:
        return os.read(self.fd, 1 << 16)

    def check(self) -> None:
        if self.is_gone:
            raise OSError("another device has taken its place")

    def new_faults(self) -> list[tuple[str, int]]:
        faults, self.faults = self.faults, []
        return faults

    def close(self) -> None:
        for fd in (self.fd, self._write):
            with suppress(OSError):
                os.close(fd)


class ManualClock:
    """Monotonic time moves when told; waiting for the next look at a port ends when told."""

    def __init__(self) -> None:
        self.monotonic_ns = 0
        self.look = asyncio.Event()
        self.clock = Clock(monotonic_ns=lambda: self.monotonic_ns, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        if seconds == serial_source.CHECK_MS / 1_000:
            await self.look.wait()
            self.look.clear()
        await asyncio.sleep(0)


def source_of(port: FakePort, clock: Clock, framer: Any = None, **options: Any) -> SerialSource:
    return SerialSource("x", "serial:x", lambda: port, framer or LineFramer(), clock, **options)


def test_what_the_driver_has_lost_is_a_gap() -> None:
    async def story() -> None:
        port, manual = FakePort(), ManualClock()
        source = source_of(port, manual.clock)
        reader = Reader(source)
        port.send(b"one\n")
        await reader.until(lambda seen: len(seen.values) == 1)
        port.faults = [("overrun in the kernel", 3)]
        manual.look.set()
        batch = await reader.until(lambda seen: len(seen.gaps) == 1)
        assert reasons(batch) == [(1, "port serial:x: overrun in the kernel (3 times)")]
        await source.close()
        await reader.rest()

    run(story())


def test_a_port_that_vanishes_without_a_word_is_noticed() -> None:
    async def story() -> None:
        port, manual = FakePort(), ManualClock()
        source = source_of(port, manual.clock)
        reader = Reader(source)
        port.send(b"one\n")
        await reader.until(lambda seen: len(seen.values) == 1)
        port.is_gone = True
        manual.look.set()
        batch = await reader.until(lambda seen: len(seen.gaps) == 1)
        assert reasons(batch) == [(1, "port serial:x is gone: another device has taken its place")]
        await source.close()
        await reader.rest()

    run(story())


def test_a_pause_inside_of_a_frame_cuts_it() -> None:
    async def story() -> None:
        port, manual = FakePort(), ManualClock()
        source = source_of(port, manual.clock, FixedFramer(4), pause_ms=50)
        reader = Reader(source)
        port.send(b"1234ab")
        await reader.until(lambda seen: len(seen.values) == 1)
        manual.monotonic_ns += 50_000_001
        port.send(b"5678")
        batch = await reader.until(lambda seen: len(seen.values) == 2)
        assert batch.values == [b"1234", b"5678"]
        assert reasons(batch) == [(1, "frame cut off")]
        port.send(b"90")
        for _ in range(5):
            await asyncio.sleep(0)
        manual.monotonic_ns += 50_000_000
        port.send(b"ab")
        batch = await reader.until(lambda seen: len(seen.values) == 3)
        assert batch.values[2] == b"90ab"
        await source.close()
        await reader.rest()

    run(story())


def test_what_a_full_queue_drops_is_counted() -> None:
    async def story() -> None:
        port, manual = FakePort(), ManualClock()
        source = source_of(port, manual.clock, queue_readings=2)
        reader = Reader(source)
        port.send(b"1\n2\n3\n4\n5\n")
        batch = await reader.until(lambda seen: len(seen.gaps) == 1)
        assert batch.values == ["1", "2"]
        assert batch.gaps[0][0] == 2
        assert batch.gaps[0][1].count == 3
        assert source.stats.dropped == 3
        port.send(b"6\n")
        assert (await reader.until(lambda seen: len(seen.values) == 3)).values == ["1", "2", "6"]
        await source.close()
        await reader.rest()

    run(story())


def test_a_line_cut_by_closing_is_a_gap_too() -> None:
    async def story() -> None:
        port, manual = FakePort(), ManualClock()
        source = source_of(port, manual.clock)
        reader = Reader(source)
        port.send(b"1\n2")
        await reader.until(lambda seen: len(seen.values) == 1)
        await source.close()
        assert reasons(await reader.rest()) == [(1, "line cut off")]

    run(story())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"framing": "words"}, "framing=words: allowed are lines, cobs, nmea, fixed:N"),
        ({"framing": "fixed:0"}, "fixed:N with N from 1 to 16000"),
        ({"framing": "fixed:16001"}, "fixed:N"),
        ({"framing": "fixed:"}, "fixed:N"),
        ({"framing": "lines:3"}, "allowed are lines"),
        ({"framing": "fixed:2", "sync": "0"}, "sync=0: allowed are the bytes"),
        ({"framing": "fixed:1", "sync": "0102"}, "longer than the frame"),
        ({"sync": "01"}, "sync= is for framing=fixed"),
        ({"mode": "9N1"}, "mode=9N1"),
        ({"mode": "8X1"}, "mode=8X1"),
        ({"baud": "0"}, "baud=0"),
        ({"flow": "hope"}, "flow=hope: allowed are none, rtscts, xonxoff"),
        ({"length": "0"}, "length=0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], reason: str) -> None:
    with pytest.raises(BadSourceUrl, match=reason):
        open_serial(url("/dev/null", **options), "x", SYSTEM_CLOCK)


def test_without_pyserial_it_is_said_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingExtra, match=r"pip install 'cpchain-edge\[serial\]'"):
        open_serial(url("/dev/null"), "x", SYSTEM_CLOCK)
