"""The clock of simulated boards: it skips the hours in which nothing happens.

Runs on CPython.  `hil/micropython/time.py` is the other end, and its head has the lines that are exchanged.
The rig sets a horizon; boards jump there, each at its own pace, and say so.  At the horizon time goes on at
real speed, for a visit, until there is another horizon.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from types import TracebackType

ARRIVAL_TIMEOUT_MS = 600_000
AHEAD_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Heap:
    """A board's heap; what stands in for built-in modules (hil/board_process.py) is in it."""

    at_ms: int
    live_bytes: int
    """After a collection."""
    peak_bytes: int
    """The most at the beginning of any wait since the one before, garbage included."""


class FakeClock:
    """`async with FakeClock() as clock:` listens; boards find it at `clock.address`."""

    def __init__(self) -> None:
        self.address = ""
        """host:port"""
        self._server: asyncio.Server | None = None
        self.heaps: dict[str, list[Heap]] = {}
        """What boards said of their heaps when they came to a horizon."""
        self._at_ms: dict[str, int] = {}
        """How late it is, at least, on each board that has power."""
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._news = asyncio.Event()
        # A board's asyncio has its queue in C, which looks at the real clock whatever `time` says: a
        # clock that is an hour ahead is never behind it.
        self.began_ms = time.monotonic_ns() // 1_000_000 + AHEAD_MS
        """Where this clock began; in no relation to a calendar."""
        self._horizon_ms = self.began_ms
        self._live_ns: int | None = time.monotonic_ns()
        """Since when time passes at real speed; None while boards jump."""

    async def __aenter__(self) -> "FakeClock":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers.values()):
            writer.close()

    @property
    def now_ms(self) -> int:
        """What boards count, too.  While they jump, where they are going."""
        if self._live_ns is None:
            return self._horizon_ms
        return self._horizon_ms + (time.monotonic_ns() - self._live_ns) // 1_000_000

    async def skip(self, duration_ms: int) -> None:
        """Lets so much time pass for all boards; returns when they have lived it.

        Raises TimeoutError when a board does not come to its end within ten real minutes.
        """
        self._horizon_ms = self.now_ms + duration_ms
        self._live_ns = None
        for name in self._writers:
            self._send(name)
        self._tell()
        async with asyncio.timeout(ARRIVAL_TIMEOUT_MS / 1_000):
            while any(at_ms < self._horizon_ms for at_ms in self._at_ms.values()):
                await self._news.wait()
        self._live_ns = time.monotonic_ns()
        self._tell()

    def enter(self, name: str) -> None:
        """A board has power, so that `skip` waits for it, also while it starts."""
        self._at_ms[name] = -1

    def leave(self, name: str) -> None:
        """It has none."""
        self._at_ms.pop(name, None)
        self._tell()

    async def sleep(self, name: str, until_ms: int) -> None:
        """For a board that sleeps with its program ended: returns when it must start again."""
        while self.now_ms < until_ms:
            left_ms = None if self._live_ns is None else until_ms - self.now_ms
            if self._at_ms.get(name) != self._horizon_ms:
                self._at_ms[name] = self._horizon_ms
                self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if left_ms is None else left_ms / 1_000):
                    await self._news.wait()
        self.enter(name)

    def _tell(self) -> None:
        """Wakes all that wait now; whoever waits later waits for the next time."""
        self._news.set()
        self._news = asyncio.Event()

    def _send(self, name: str) -> None:
        self._writers[name].write(b"to %d\n" % self._horizon_ms)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        try:
            while line := await reader.readline():
                word, value, *heap = line.decode().split()
                if word == "name":
                    name = value
                    self._writers[name] = writer
                    continue
                self.heaps.setdefault(name, []).append(Heap(int(value), *map(int, heap)))
                if int(value) < self._horizon_ms:
                    # It has just started, maybe long before the horizon.
                    self._send(name)
                else:
                    self._at_ms[name] = int(value)
                    self._tell()
        except ConnectionError:
            pass  # Its power was cut.
        finally:
            if self._writers.get(name) is writer:
                del self._writers[name]
            writer.close()
