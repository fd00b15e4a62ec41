"""Taking in: every source is read by a task of its own, made durable by the spool's thread, acknowledged.

Runs on CPython.  Sources may come and go while this runs; it ends when all of them have ended.

    source --> read --queue--> commit --[spool thread]--> accept --> acknowledge
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from gateway.config import StreamConfig
from gateway.errors import SpoolFull
from gateway.pipeline import StreamPipeline, joined, pieces
from gateway.sensors.audit_source import AuditSource
from gateway.sensors.source import Batch, Clock, Source, SourceError
from gateway.troubles import Troubles
from gateway.uploader import Threads

log = logging.getLogger("cpc.gateway")

GROUP_BATCHES_MAX = 8
"""Batches of one stream that are made durable together, at most; as many may wait to be."""
FULL_RETRY_MS = 1_000
"""How long ingest waits before it asks a full spool again."""


@dataclass(slots=True)
class StreamRuntime:
    """One stream while the gateway runs."""

    config: StreamConfig
    source: Source
    pipeline: StreamPipeline
    is_full: bool = False
    """The spool refuses this stream's records."""
    notes_shown: int = 0
    """Notes of the source that were logged."""
    task: asyncio.Task[None] | None = None
    """Takes in what the source gives, until it ends."""


class Ingest:
    """All streams of a gateway."""

    def __init__(
        self,
        threads: Threads,
        clock: Clock,
        troubles: Troubles,
        stop: asyncio.Event,
        on_durable: Callable[[], None],
    ) -> None:
        """stop: once set, sources are closed.  on_durable: called after each commit."""
        self.streams: list[StreamRuntime] = []
        self._threads = threads
        self._clock = clock
        self._troubles = troubles
        self._stop = stop
        self._on_durable = on_durable
        self._group: asyncio.TaskGroup | None = None
        self._is_changing = False
        self._changed = asyncio.Event()
        self._change_lock = asyncio.Lock()

    async def run(self) -> None:
        """Until every source has ended, which `stop` brings about."""
        async with asyncio.TaskGroup() as group:
            closer = group.create_task(self._close_on_stop())
            self._group = group
            for stream in self.streams:
                self.start(stream)
            while self._is_changing or any(self._is_live(stream) for stream in self.streams):
                self._changed.clear()
                await self._changed.wait()
            # What was commanded is still recorded; it never ends by itself.
            for stream in self.streams:
                await stream.source.close()
            closer.cancel()

    def start(self, stream: StreamRuntime, first: Batch | None = None) -> None:
        """Takes in `first`, then what the stream's source gives; `run` must be under way."""
        if self._group is not None:
            stream.task = self._group.create_task(self._ingest(stream, first))
            stream.task.add_done_callback(lambda task: self._changed.set())

    def _is_live(self, stream: StreamRuntime) -> bool:
        is_audit = isinstance(stream.source, AuditSource)
        return not is_audit and stream.task is not None and not stream.task.done()

    async def _close_on_stop(self) -> None:
        await self._stop.wait()
        for stream in self.streams:
            await stream.source.close()

    async def _ingest(self, stream: StreamRuntime, first: Batch | None) -> None:
        """Reads a source while the batches before are being made durable, several in one commit."""
        if first is not None and not await self.accept(stream, first):
            return
        queue: asyncio.Queue[Batch | None] = asyncio.Queue(GROUP_BATCHES_MAX)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(stream, queue))
            await self._commit(stream, queue)
            reader.cancel()

    async def _read(self, stream: StreamRuntime, queue: asyncio.Queue[Batch | None]) -> None:
        try:
            async for batch in stream.source.batches():
                await queue.put(batch)
        except SourceError as error:
            # One source that cannot go on must not end the others.
            log.error("stream %s has ended: %s", stream.config.name, error)
        finally:
            self.log_notes(stream)
        await queue.put(None)

    async def _commit(self, stream: StreamRuntime, queue: asyncio.Queue[Batch | None]) -> None:
        """Until the source has ended, or the gateway stops while there is no room."""
        while (batch := await queue.get()) is not None:
            # What has come during the last commit goes into the next one: a slow card is asked less often.
            batches = [batch]
            while not queue.empty() and len(batches) < GROUP_BATCHES_MAX:
                batch = queue.get_nowait()
                if batch is None:
                    queue.put_nowait(None)
                    break
                batches.append(batch)
            for piece in pieces(joined(batches), stream.pipeline.kind):
                if not await self.accept(stream, piece):
                    log.error("stream %s: what its source still had was not taken", stream.config.name)
                    return
            for batch in batches:
                stream.source.acknowledge(batch)
            self._on_durable()

    async def accept(self, stream: StreamRuntime, piece: Batch) -> bool:
        """Waits until `piece` is durable; False when the gateway stops while there is no room for it."""
        what = f"stream {stream.config.name}"
        while True:
            try:
                await self._threads.in_spool_thread(partial(self._accept, stream, piece))
            except SpoolFull as error:
                stream.is_full = True
                self._troubles.happened(what, error)
                if self._stop.is_set():
                    return False
                await self._clock.sleep(FULL_RETRY_MS / 1000)
            else:
                if stream.is_full:
                    stream.is_full = False
                    self._troubles.over(what)
                return True

    def _accept(self, stream: StreamRuntime, piece: Batch) -> None:
        # Looked up here, in the spool's thread, where a reload puts another pipeline into its place.
        stream.pipeline.accept(piece, self._now_ms())

    def log_notes(self, stream: StreamRuntime) -> None:
        """What the source has noted since the last time."""
        notes = stream.source.stats.notes
        for note in notes[stream.notes_shown :]:
            log.warning("stream %s: %s", stream.config.name, note)
        stream.notes_shown = len(notes)

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """While streams are changed: that none is live does not mean that all have ended."""
        async with self._change_lock:
            self._is_changing = True
            try:
                yield
            finally:
                self._is_changing = False
                self._changed.set()

    async def end(self, stream: StreamRuntime) -> None:
        """Returns when the source is closed, and what it had is taken in."""
        await stream.source.close()
        if stream.task is not None:
            await asyncio.wait((stream.task,))

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000
