"""The gateway's process: sources in, uploads out, one TaskGroup for its life.

Runs on CPython.  One task a stream reads its source and hands batches to the pipeline; one task seals
what has waited; one moves sealed segments to the store and anchors them.  The spool and the store each
have one worker thread, because a sync of an SD card can take a second and the buses must go on being
read meanwhile.

    source --> ingest task --[spool thread]--> accept --> seal      (durable, then acknowledged)
                              uploader task --[store thread]--> store, --> chain, --> evidence

A node that is away, or of another chain, does not keep the gateway from taking records in: it is not
trusted, so it must not be able to stop anything.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from chain_node.wire import Genesis
from gateway.anchor import Anchorer
from gateway.archive import Archive
from gateway.config import GatewayConfig, StreamConfig
from gateway.crypto.key_file import GatewayKey
from gateway.crypto.stream import StreamKeys
from gateway.disk import Disk, disk_error
from gateway.errors import GatewayBusy, SpoolFull
from gateway.pipeline import StreamPipeline, joined, pieces, unfinished_pipelines
from gateway.resume import resume_stream
from gateway.sensors.schemes import open_source
from gateway.sensors.source import SYSTEM_CLOCK, Batch, Clock, Source, SourceError
from gateway.site import stream_keys
from gateway.spool import Spool
from gateway.store import LocalStore
from gateway.troubles import Troubles
from gateway.uploader import Uploader

log = logging.getLogger("cpc.gateway")
Result = TypeVar("Result")

GROUP_BATCHES_MAX = 8
"""Batches of one stream that are made durable together, at most; as many may wait to be."""
TICK_MS = 500
"""How often what has waited is looked at."""
FULL_RETRY_MS = 1_000
"""How long ingest waits before it asks a full spool again."""
LOCK_RETRY_MS = 200
"""How long a start waits when the gateway seems to run: `cpc status` holds the lock for a moment."""


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


class GatewayApp:
    """A gateway from start to stop.  Use: `async with GatewayApp(config, ...) as app: await app.run()`."""

    def __init__(
        self,
        config: GatewayConfig,
        key: GatewayKey,
        genesis: Genesis,
        clock: Clock = SYSTEM_CLOCK,
        disk: Disk | None = None,
    ) -> None:
        """genesis: of the chain that is trusted."""
        self.config = config
        self._key = key
        self._genesis = genesis
        self.clock = clock
        self._disk = disk or Disk()
        self.streams: list[StreamRuntime] = []
        """Those of the configuration."""
        self._unfinished: list[StreamPipeline] = []
        """Of streams that have left the configuration, until all that they had accepted is sealed."""
        self._troubles = Troubles(clock)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._spool_thread = ThreadPoolExecutor(1, "spool")
        self._store_thread = ThreadPoolExecutor(1, "store")
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> "GatewayApp":
        try:
            await self._open()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._exit.aclose()

    async def _open(self) -> None:
        # What is opened last is closed first; databases in their threads, behind what still works there.
        self._exit.callback(self._spool_thread.shutdown)
        self._exit.callback(self._store_thread.shutdown)
        self._disk.make_directory(self.config.spool_path)
        self._disk.make_directory(self.config.store_path)
        self._exit.callback(os.close, await _lock(self.config.spool_path / "gateway.lock"))
        self.spool = await self.in_spool_thread(self._open_spool)
        self._exit.push_async_callback(self.in_spool_thread, self.spool.close)
        self.store = await self.in_store_thread(self._open_store)
        self._exit.push_async_callback(self.in_store_thread, self.store.close)
        for stream in self.config.streams:
            source = open_source(self.config.source_url(stream), name=stream.name, clock=self.clock)
            self._exit.push_async_callback(source.close)
            pipeline = await self.in_spool_thread(partial(self._open_pipeline, stream, source))
            self.streams.append(StreamRuntime(stream, source, pipeline))
        live = {stream.pipeline.row.stream_id for stream in self.streams}
        self._unfinished = await self.in_spool_thread(
            lambda: unfinished_pipelines(self.spool, self._keys_of, live, self._now_ms())
        )
        for pipeline in self._pipelines():
            if pipeline.recovered_count:
                log.info(
                    "stream %s: %d records of an earlier run were in the spool and are sealed now",
                    pipeline.name,
                    pipeline.recovered_count,
                )
        self.uploader = self._make_uploader()
        self._exit.push_async_callback(self.uploader.close)

    def _open_spool(self) -> Spool:
        return Spool(
            self.config.spool_path / "spool.db",
            self._key.spool_key,
            size_max_bytes=self.config.spool.size_max_mib << 20,
            free_min_bytes=self.config.spool.disk_free_min_mib << 20,
            disk=self._disk,
        )

    def _open_store(self) -> LocalStore:
        return LocalStore(self.config.store_path, file_size_min=self.config.store.file_size_min_kib << 10)

    def _open_pipeline(self, stream: StreamConfig, source: Source) -> StreamPipeline:
        keys = stream_keys(self._key, stream)
        # Nobody else uses the store yet.
        archive = Archive(self.store, keys.stream_id, stream.name, keys.segment_key)
        if resume_stream(self.spool, archive, source.kind, stream.block_ms, stream.segment_blocks):
            log.warning(
                "stream %s: the spool is new, the store is not; going on behind upload %d",
                stream.name,
                archive.upload_indexes()[-1],
            )
        return StreamPipeline(
            self.spool, keys, stream.name, source.kind, stream.block_ms, stream.segment_blocks, self._now_ms()
        )

    def _keys_of(self, name: str, slot_ms: int) -> StreamKeys:
        return StreamKeys(self._key.data_root, self._key.identity.public, name, slot_ms)

    def _make_uploader(self) -> Uploader:
        chain = self.config.chain
        anchorer = Anchorer(
            self._key.identity,
            self._genesis,
            chain.node_url,
            chain.fee_ucpc,
            chain.timeout_ms,
            self.config.spool_path / "trusted-head.cbor",
            self._disk,
        )
        upload_segments = {
            stream.pipeline.row.stream_id: stream.config.upload_segments for stream in self.streams
        }
        return Uploader(self, self.spool, self.store, anchorer, upload_segments, chain.poll_ms, self.clock)

    async def in_spool_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, done where the spool may be used."""
        return await asyncio.get_running_loop().run_in_executor(self._spool_thread, work)

    async def in_store_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, done where the store may be used."""
        return await asyncio.get_running_loop().run_in_executor(self._store_thread, work)

    @property
    def is_stopping(self) -> bool:
        """`stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ends `run` soon: sources first, then what they gave is sealed, stored and anchored if it can be."""
        self._stop.set()

    def hurry(self) -> None:
        """Ends `run` at once: as `stop`, but what is not anchored yet is left to the next run."""
        self._stop.set()
        self._hurry.set()

    async def run(self, anchor_timeout_ms: int = 10_000) -> None:
        """Runs until `stop`, or until every source has ended.

        What is not anchored `anchor_timeout_ms` after that stays in the spool for the next run.  Whatever
        ends it otherwise comes as an ExceptionGroup; what was accepted is safe then, too.
        """
        async with asyncio.TaskGroup() as group:
            ticker = group.create_task(self._tick())
            uploads = group.create_task(self.uploader.run())
            await self._ingest_all()
            ticker.cancel()
            await self._seal_rest()
            await self._wait_anchored(anchor_timeout_ms)
            uploads.cancel()

    async def _ingest_all(self) -> None:
        """Until every source has ended, which `stop` brings about."""
        async with asyncio.TaskGroup() as group:
            closer = group.create_task(self._close_on_stop())
            await asyncio.wait([group.create_task(self._ingest(stream)) for stream in self.streams])
            closer.cancel()

    async def _close_on_stop(self) -> None:
        await self._stop.wait()
        for stream in self.streams:
            await stream.source.close()

    async def _ingest(self, stream: StreamRuntime) -> None:
        """Reads a source while the batches before are being made durable, several in one commit."""
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
            self._log_notes(stream)
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
                if not await self._accept(stream, piece):
                    log.error("stream %s: what its source still had was not taken", stream.config.name)
                    return
            for batch in batches:
                stream.source.acknowledge(batch)
            self.uploader.wake()

    async def _accept(self, stream: StreamRuntime, piece: Batch) -> bool:
        """Waits until `piece` is durable; False when the gateway stops while there is no room for it."""
        what = f"stream {stream.config.name}"
        while True:
            try:
                await self.in_spool_thread(partial(stream.pipeline.accept, piece, self._now_ms()))
            except SpoolFull as error:
                stream.is_full = True
                self._troubles.happened(what, error)
                if self._stop.is_set():
                    return False
                await self.clock.sleep(FULL_RETRY_MS / 1000)
            else:
                if stream.is_full:
                    stream.is_full = False
                    self._troubles.over(what)
                return True

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_MS / 1000)
            now_ms = self._now_ms()
            for pipeline in self._pipelines():
                await self.in_spool_thread(partial(pipeline.tick, now_ms))
            for stream in self.streams:
                self._log_notes(stream)
            self.uploader.wake()

    async def _seal_rest(self) -> None:
        now_ms = self._now_ms()
        for pipeline in self._pipelines():
            await self.in_spool_thread(partial(pipeline.flush, now_ms))
            if not pipeline.is_drained:
                log.warning(
                    "stream %s: the disk has no room to seal the rest; it stays in the spool", pipeline.name
                )

    async def _wait_anchored(self, timeout_ms: int) -> None:
        self.uploader.flush()
        ends = [
            asyncio.ensure_future(end)
            for end in (
                self.uploader.wait_idle(),
                self._hurry.wait(),
                self.clock.sleep(timeout_ms / 1000),
            )
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not ends[0].done():
                log.warning("not everything is anchored yet; the rest stays in the spool for the next run")
        finally:
            for end in ends:
                end.cancel()

    def _pipelines(self) -> list[StreamPipeline]:
        return [*(stream.pipeline for stream in self.streams), *self._unfinished]

    def _log_notes(self, stream: StreamRuntime) -> None:
        """What the source has noted since the last time."""
        notes = stream.source.stats.notes
        for note in notes[stream.notes_shown :]:
            log.warning("stream %s: %s", stream.config.name, note)
        stream.notes_shown = len(notes)

    def _now_ms(self) -> int:
        return self.clock.monotonic_ns() // 1_000_000


async def _lock(path: Path) -> int:
    """The descriptor of the lock of this spool, held.  Raises GatewayBusy, DiskError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error(path, error) from error
    for is_last_try in (False, True):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if is_last_try:
                os.close(descriptor)
                raise GatewayBusy(
                    f"another process runs the gateway whose spool is {path.parent}; stop it first, "
                    "or give this one a configuration of its own"
                ) from error
            await asyncio.sleep(LOCK_RETRY_MS / 1000)
    return descriptor
