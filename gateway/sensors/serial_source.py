"""Serial ports as sources: `serial:/dev/ttyACM0?baud=115200&framing=lines`.

Runs on CPython.  Readings are what comes over the wire, framed: text or bytes of a line, bytes of a
COBS frame or of `fixed:16`, the fields of an NMEA sentence beside its line.  All that one read of the
port brings has one time.  A port that is unplugged is opened again and again, ever more slowly, and
never given up: going and coming back are gaps, and so is the frame that was cut, one that is longer
than `length` allows, and what the driver says it has lost.  The first line after opening may lack its
beginning, as the sender does not wait for us.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from gateway.sensors.reading_queue import QUEUE_READINGS, ReadingQueue
from gateway.sensors.serial_framing import (
    FRAME_LENGTH_MAX,
    CobsFramer,
    FixedFramer,
    Framed,
    Framer,
    LineFramer,
    NmeaFramer,
)
from gateway.sensors.serial_port import SerialPort, settings_of
from gateway.sensors.source import Batch, Clock, Source, SourceUnavailable, SourceUrl

BATCH_MS = 50
"""Frames that come within this time make one batch."""
CHECK_MS = 1_000
"""A silent port is looked after this often."""
BACK_OFF_MS = (100, 200, 500, 1_000, 2_000, 5_000)
"""Waits between attempts to open a lost port; the last one for ever."""
PAUSE_MS = 100
"""A pause this long inside of a frame of fixed length means that the frame was cut."""


class Port(Protocol):
    """What is read: a SerialPort, or a test's."""

    fd: int

    def read(self) -> bytes:
        """What has come, at least a byte.  BlockingIOError: nothing.  OSError: the port is gone."""

    def check(self) -> None:
        """Raises OSError when the port has gone."""

    def new_faults(self) -> list[tuple[str, int]]:
        """(what, how often) the driver has counted since last asked."""

    def close(self) -> None:
        """Releases it."""


PortOpener = Callable[[], Port]


class SerialSource(Source):
    """One port."""

    kind = "reading"

    def __init__(
        self,
        name: str,
        label: str,
        open_port: PortOpener,
        framer: Framer,
        clock: Clock,
        *,
        queue_readings: int = QUEUE_READINGS,
        pause_ms: int = PAUSE_MS,
        must_be_there: bool = True,
    ) -> None:
        """label: how people call the port.  must_be_there: raise SourceUnavailable when it is not, now."""
        super().__init__(name)
        self.label = label
        self._open_port = open_port
        self._framer = framer
        self._clock = clock
        self._queue_readings = queue_readings
        self._pause_ns = pause_ms * 1_000_000
        self._port: Port | None = None
        self._queue: ReadingQueue | None = None
        self._closing: asyncio.Event | None = None
        self._is_closed = False
        if must_be_there:
            try:
                self._port = open_port()
            except OSError as error:
                raise SourceUnavailable(label, _advice(error)) from error

    async def batches(self) -> AsyncIterator[Batch]:
        """Batches until the source is closed."""
        queue = self._queue = ReadingQueue(self.stats, self._queue_readings, self.overrun)
        self._closing = asyncio.Event()
        if self._is_closed:
            self._closing.set()
        task = asyncio.ensure_future(self._run(queue, self._closing))
        try:
            async for batch in queue.batches(self._clock, BATCH_MS, task):
                yield batch
        finally:
            await self.close()
            if not task.done():
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Releases the port; what had arrived can still be taken."""
        self._is_closed = True
        if self._closing is not None:
            self._closing.set()
        elif self._port is not None:
            self._port.close()
            self._port = None

    async def _run(self, queue: ReadingQueue, closing: asyncio.Event) -> None:
        """Reads and opens, in turn, until closed."""
        try:
            down_ns = 0
            attempt = 0
            if self._port is None:
                down_ns = self._clock.now_ns()
                queue.lost(f"port {self.label} is not there yet", 0, down_ns, down_ns)
            while not closing.is_set():
                try:
                    port = self._port or self._open_port()
                    self._port = port
                    port.check()
                except OSError as error:
                    self._close_port()
                    self.stats.note(f"opening {self.label}: {_advice(error)}")
                    await self._wait(closing, BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)])
                    attempt += 1
                    continue
                if down_ns:
                    queue.lost(f"port {self.label} is back", 0, down_ns, self._clock.now_ns())
                    down_ns = attempt = 0
                reason = await self._read(port, queue, closing)
                self._close_port()
                now_ns = self._clock.now_ns()
                self._put(queue, self._framer.cut(), now_ns)
                if reason:
                    down_ns = now_ns
                    queue.lost(f"port {self.label} is gone: {reason}", 0, now_ns, now_ns)
        finally:
            self._close_port()
            queue.end()

    async def _read(self, port: Port, queue: ReadingQueue, closing: asyncio.Event) -> str:
        """Reads until the port is lost, and says why; nothing when the source is closed."""
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[str] = loop.create_future()
        last_ns = self._clock.monotonic_ns()

        def on_readable() -> None:
            nonlocal last_ns
            try:
                data = port.read()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                loop.remove_reader(port.fd)
                if not lost.done():
                    lost.set_result(error.strerror or str(error))
                return
            now_ns = self._clock.now_ns()
            framer = self._framer
            if framer.is_timed:
                read_ns = self._clock.monotonic_ns()
                if framer.is_inside and read_ns - last_ns > self._pause_ns:
                    self._put(queue, framer.cut(), now_ns)
                last_ns = read_ns
            self._put(queue, framer.feed(data), now_ns)

        loop.add_reader(port.fd, on_readable)
        closed = asyncio.ensure_future(closing.wait())
        try:
            while not lost.done() and not closed.done():
                nap = asyncio.ensure_future(self._clock.sleep(CHECK_MS / 1_000))
                await asyncio.wait((lost, closed, nap), return_when=asyncio.FIRST_COMPLETED)
                nap.cancel()
                await asyncio.gather(nap, return_exceptions=True)
                if lost.done() or closed.done():
                    break
                try:
                    for what, count in port.new_faults():
                        now_ns = self._clock.now_ns()
                        queue.lost(f"port {self.label}: {what} ({count} times)", 0, now_ns, now_ns)
                    port.check()
                except OSError as error:
                    lost.set_result(error.strerror or str(error))
            return lost.result() if lost.done() else ""
        finally:
            loop.remove_reader(port.fd)
            closed.cancel()
            await asyncio.gather(closed, return_exceptions=True)

    def _put(self, queue: ReadingQueue, framed: Framed, now_ns: int) -> None:
        values = framed.values
        self.stats.ignored += framed.ignored
        self.stats.damaged += framed.flawed
        begin = 0
        for damage in framed.damages:
            queue.put(now_ns, values[begin : damage.index])
            queue.damaged(damage.reason, damage.count, now_ns)
            begin = damage.index
        queue.put(now_ns, values[begin:] if begin else values)

    async def _wait(self, closing: asyncio.Event, wait_ms: int) -> None:
        """Sleeps, or wakes when closed."""
        nap = asyncio.ensure_future(self._clock.sleep(wait_ms / 1_000))
        closed = asyncio.ensure_future(closing.wait())
        await asyncio.wait((nap, closed), return_when=asyncio.FIRST_COMPLETED)
        nap.cancel()
        closed.cancel()
        await asyncio.gather(nap, closed, return_exceptions=True)

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except OSError as error:
                self.stats.note(f"closing {self.label}: {error}")


def _advice(error: OSError) -> str:
    """What went wrong when opening, and what to do."""
    if error.errno is None:
        return str(error)
    # pyserial's own text says path and error twice.
    text = os.strerror(error.errno)
    match error.errno:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return f"{text}; list the ports with: ls /dev/serial/by-id, or wait for it with wait=1"
        case errno.EACCES:
            return f"{text}; add the user to the group of the device: sudo usermod -aG dialout $USER"
        case errno.EAGAIN | errno.EBUSY:
            return f"{text}; another program has it open: fuser -v shows which"
        case errno.ENOTTY:
            return "this is no serial port; list the ports with: ls /dev/serial/by-id"
    return text


def framer_of(url: SourceUrl) -> Framer:
    """The framer that `url` asks for.  Raises BadSourceUrl."""
    framing = url.options.get("framing", "lines")
    length_max = url.number("length", FRAME_LENGTH_MAX, 1, 16_000)
    word, _, length = framing.partition(":")
    sync = url.options.get("sync", "")
    if sync and word != "fixed":
        raise url.bad("sync= is for framing=fixed:N")
    match word, length:
        case "lines", "":
            return LineFramer(length_max)
        case "nmea", "":
            return NmeaFramer(length_max)
        case "cobs", "":
            return CobsFramer(length_max)
        case "fixed", _ if length.isascii() and length.isdigit() and 1 <= int(length[:6]) <= 16_000:
            try:
                marker = bytes.fromhex(sync)
            except ValueError:
                raise url.bad(f"sync={sync}: allowed are the bytes each frame begins with, in hex") from None
            if len(marker) > int(length):
                raise url.bad(f"sync={sync}: longer than the frame")
            return FixedFramer(int(length), marker)
    raise url.bad(f"framing={framing}: allowed are lines, cobs, nmea, fixed:N with N from 1 to 16000")


def open_serial(url: SourceUrl, name: str, clock: Clock) -> SerialSource:
    """Opens `serial:DEVICE`.  Raises SourceError."""
    settings = settings_of(url)
    return SerialSource(
        name,
        f"serial:{settings.path}",
        lambda: SerialPort(settings),
        framer_of(url),
        clock,
        queue_readings=url.number("queue", QUEUE_READINGS, 1, 10**7),
        pause_ms=url.number("pause_ms", PAUSE_MS, 1, 60_000),
        must_be_there=url.choice("wait", ("0", "1"), "0") == "0",
    )
