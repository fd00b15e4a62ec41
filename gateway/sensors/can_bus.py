"""Live CAN buses as sources: `can:can0`, `can+virtual:bench`, `can+udp:239.74.163.2`.

Runs on CPython.  One thread reads the bus, because python-can blocks; `Bridge` carries its frames
to asyncio through a bounded queue.  What the kernel or that queue drops is a gap at its place.  A
bus that is lost is opened again and again, ever more slowly, and never given up: going down and
coming back are gaps too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import can
from can.interfaces.socketcan import SocketcanBus

from gateway.sensors.backlog import Backlog
from gateway.sensors.can_ports import DRAIN_MAX, Arrivals, Port, PythonCanPort, SocketcanPort
from gateway.sensors.source import (
    DROP_NEWEST,
    Batch,
    Clock,
    Source,
    SourceStats,
    SourceUnavailable,
    SourceUrl,
)

QUEUE_FRAMES = 1 << 16
"""Frames that may wait for the pipeline: some 8 s of a full bus of 1 Mbit/s."""
FULL = "our queue was full: storing is slower than the bus"
BATCH_FRAMES = 500
BATCH_MS = 50
"""A batch is closed after so many frames, or so long after its first."""
RECEIVE_TIMEOUT_MS = 100
GATHER_MS = 5
"""Left to the kernel's queue to collect frames, because a look at the bus costs as much as ten of them."""
BACK_OFF_MS = (100, 200, 500, 1000, 2000, 5000, 10_000)
"""Waits between attempts to open a lost bus; the last one for ever."""

PortOpener = Callable[[], Port]


class Bridge:
    """Frames from one thread to one reader in an event loop, at most `frames_max` waiting."""

    def __init__(
        self,
        stats: SourceStats,
        frames_max: int,
        wake: Callable[[], None],
        overrun: str = DROP_NEWEST,
    ) -> None:
        """overrun: which frames go when there is no room; see gateway.sensors.backlog."""
        self._stats = stats
        self._wake = wake
        """Called, in the thread, when something comes and the reader waits for it."""
        self._is_awaited = False
        self._lock = threading.Lock()
        self._backlog = Backlog(stats, frames_max, overrun, FULL)
        self._last_ns = 0
        self._is_ended = False
        self._error: BaseException | None = None

    def put(self, arrivals: Arrivals) -> None:
        """Frames and losses, in order."""
        taken_ns, frames = arrivals.taken_ns, arrivals.frames
        begin = 0
        with self._lock:
            for loss in arrivals.losses:
                end = min(loss.index, len(frames))
                if end > begin:
                    self._backlog.put(taken_ns[begin:end], frames[begin:end])
                    self._last_ns = taken_ns[end - 1]
                    begin = end
                if loss.is_damage:
                    self._stats.damaged += loss.count
                else:
                    self._stats.dropped += loss.count
                to_ns = taken_ns[begin] if begin < len(frames) else self._last_ns
                self._backlog.gap(loss.reason, loss.count, self._last_ns or to_ns, to_ns)
            if begin < len(frames):
                self._backlog.put(taken_ns[begin:], frames[begin:])
                self._last_ns = taken_ns[-1]
        if arrivals.frames or arrivals.losses:
            self._wake_reader()

    def lost(self, reason: str, from_ns: int, to_ns: int) -> None:
        """Nobody knows how many frames were missed from then to then."""
        with self._lock:
            self._backlog.gap(reason, 0, from_ns, to_ns)
        self._wake_reader()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        with self._lock:
            self._is_ended = True
            self._error = error
        self._wake_reader()

    def take(self, frames_max: int) -> Batch | None:
        """Up to so many frames; None once everything is taken and the end was reached."""
        with self._lock:
            batch = self._backlog.take(frames_max)
            if not batch.values and not batch.gaps and self._is_ended:
                if self._error is not None:
                    raise self._error
                return None
        return batch

    @property
    def waiting(self) -> int:
        """Frames not taken yet."""
        return len(self._backlog)

    def must_wait(self) -> bool:
        """There is nothing to take, and more may come; then the reader will be woken."""
        with self._lock:
            backlog = self._backlog
            self._is_awaited = not len(backlog) and not backlog.has_gaps and not self._is_ended
            return self._is_awaited

    def _wake_reader(self) -> None:
        # Waking a loop costs more than a frame, so it is done once, and not for each frame.
        with self._lock:
            is_awaited, self._is_awaited = self._is_awaited, False
        if is_awaited:
            self._wake()


class CanBusSource(Source):
    """A live bus."""

    kind = "can"

    def __init__(
        self,
        name: str,
        label: str,
        open_port: PortOpener,
        clock: Clock,
        *,
        queue_frames: int = QUEUE_FRAMES,
        back_off_ms: tuple[int, ...] = BACK_OFF_MS,
        must_be_there: bool = True,
    ) -> None:
        """label: how people call the bus.  must_be_there: raise SourceUnavailable when it is not, now."""
        super().__init__(name)
        self.label = label
        self._open_port = open_port
        self._clock = clock
        self._back_off_ms = back_off_ms
        self._queue_frames = queue_frames
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._port: Port | None = self._open_first() if must_be_there else None

    async def batches(self) -> AsyncIterator[Batch]:
        """Batches until the source is closed."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            # A loop that has gone takes the reader with it.
            try:
                loop.call_soon_threadsafe(news.set)
            except RuntimeError:
                self._stop.set()

        bridge = Bridge(self.stats, self._queue_frames, wake, self.overrun)
        self._thread = threading.Thread(
            target=self._read, args=(bridge,), name=f"can {self.label}", daemon=True
        )
        self._thread.start()
        try:
            while True:
                news.clear()
                if bridge.must_wait():
                    await news.wait()
                if bridge.waiting < BATCH_FRAMES:
                    await self._clock.sleep(BATCH_MS / 1000)
                else:
                    await self._clock.sleep(0)
                batch = bridge.take(BATCH_FRAMES)
                if batch is None:
                    return
                if batch.values or batch.gaps:
                    yield batch
        finally:
            await self.close()

    async def close(self) -> None:
        """Stops reading and releases the bus; what had arrived can still be taken."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread.is_alive():
            await asyncio.to_thread(thread.join)
        elif thread is None and self._port is not None:
            self._port.close()
            self._port = None

    def _open_first(self) -> Port:
        try:
            return self._open_port()
        except (OSError, can.CanError) as error:
            raise SourceUnavailable(self.label, _advice(self.label, error)) from error

    def _read(self, bridge: Bridge) -> None:
        """The thread: reads until told to stop, whatever the bus does."""
        port, self._port = self._port, None
        down_ns: int | None = None if port else self._clock.now_ns()
        if port is None:
            bridge.lost(f"bus {self.label} is not there yet", down_ns or 0, down_ns or 0)
        attempt = 0
        try:
            while not self._stop.is_set():
                try:
                    if port is None:
                        port = self._open_port()
                    arrivals = port.receive(RECEIVE_TIMEOUT_MS)
                except (OSError, can.CanError) as error:
                    self._close_lost(port)
                    port = None
                    if down_ns is None:
                        down_ns = self._clock.now_ns()
                        bridge.lost(f"bus {self.label} is down: {error}", down_ns, down_ns)
                    self._stop.wait(self._back_off_ms[min(attempt, len(self._back_off_ms) - 1)] / 1000)
                    attempt += 1
                    continue
                if down_ns is not None:
                    # Back is only what can be read: a bus may open while it is still down.
                    bridge.lost(f"bus {self.label} is back", down_ns, self._clock.now_ns())
                    down_ns = None
                    attempt = 0
                bridge.put(arrivals)
                if 0 < len(arrivals.frames) < DRAIN_MAX:
                    self._stop.wait(GATHER_MS / 1000)
            bridge.end()
        except BaseException as error:
            # A bug must reach whoever reads, not die with the thread.
            bridge.end(error)
        finally:
            self._close_lost(port)

    def _close_lost(self, port: Port | None) -> None:
        if port is None:
            return
        try:
            port.close()
        except (OSError, can.CanError) as error:
            self.stats.note(f"closing {self.label}: {error}")


def _advice(label: str, error: Exception) -> str:
    """What went wrong when opening, and what to do."""
    text = str(error) or type(error).__name__
    if error.__cause__ is not None:
        text += f": {error.__cause__}"
    if isinstance(error, OSError) and error.errno == 19:
        return f"{text}; list the interfaces with: ip link show type can, or wait for it with wait=1"
    if isinstance(error, OSError) and error.errno == 97:
        return f"{text}; this kernel has no CAN: load it with: modprobe can_raw"
    if isinstance(error, OSError) and error.errno == 1:
        return f"{text}; {label} needs more rights"
    return text


def _is_multicast(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_multicast
    except ValueError:
        return False


def open_can_bus(url: SourceUrl, name: str, clock: Clock) -> CanBusSource:
    """Opens `can:`, `can+virtual:` and `can+udp:`.  Raises SourceError."""
    scheme, _, _ = url.text.partition(":")
    # On by default: a socket that is not asked for FD frames is silently given none.
    is_fd = url.choice("fd", ("0", "1"), "1") == "1"
    bitrate = url.number("bitrate", 0, 1_000, 1_000_000)
    opener: PortOpener
    if scheme == "can":

        def opener() -> Port:
            bus = SocketcanBus(channel=url.target, fd=is_fd)
            return SocketcanPort(bus.socket, clock, bus)

    elif scheme == "can+virtual":

        def opener() -> Port:
            return PythonCanPort(can.Bus(interface="virtual", channel=url.target), clock)

    else:
        if not _is_multicast(url.target):
            raise url.bad(
                f"{url.target!r} is no multicast address (224.0.0.0/4 or ff00::/8); "
                "for example: can+udp:239.74.163.2"
            )
        port = url.number("port", 43113, 1, 65535)
        hop_limit = url.number("hop_limit", 1, 0, 255)
        table = Path("/proc/net/udp6" if ":" in url.target else "/proc/net/udp")

        def opener() -> Port:
            bus = can.Bus(
                interface="udp_multicast", channel=url.target, port=port, hop_limit=hop_limit, fd=is_fd
            )
            return PythonCanPort(bus, clock, table if table.exists() else None)

    source = CanBusSource(
        name,
        f"{scheme}:{url.target}",
        opener,
        clock,
        queue_frames=url.number("queue", QUEUE_FRAMES, 1, 10**7),
        must_be_there=url.choice("wait", ("0", "1"), "0") == "0",
    )
    if bitrate:
        command = f"ip link set {url.target} type can bitrate {bitrate}"
        source.stats.note(f"the kernel sets the bit rate, not this program: {command}")
    return source
