"""The gateway's process: sources in, uploads out, one TaskGroup for its life.

Runs on CPython.  One task a stream reads its source and hands batches to the pipeline; one task seals
what has waited; one moves sealed segments to the store and anchors them.  The spool and the store each
have one worker thread, because a sync of an SD card can take a second and the buses must go on being
read meanwhile.

    source --> ingest task --[spool thread]--> accept --> seal      (durable, then acknowledged)
                              uploader task --[store thread]--> store, --> chain, --> evidence
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
from gateway.config import GatewayConfig, StreamConfig
from gateway.crypto.key_file import GatewayKey
from gateway.disk import Disk
from gateway.errors import GatewayBusy, SpoolFull
from gateway.pipeline import StreamPipeline, pieces
from gateway.sensors.source import SYSTEM_CLOCK, Batch, Clock, Source, SourceError, open_source
from gateway.site import stream_keys
from gateway.spool import Spool
from gateway.store import LocalStore
from gateway.uploader import Uploader

log = logging.getLogger("cpc.gateway")
Result = TypeVar("Result")

TICK_MS = 500
"""How often what has waited is looked at."""
FULL_RETRY_MS = 1_000
"""How long ingest waits before it asks a full spool again."""


@dataclass(slots=True)
class StreamRuntime:
    """One stream while the gateway runs."""

    config: StreamConfig
    source: Source
    pipeline: StreamPipeline
    is_ended: bool = False
    """The source has no more to give."""
    full_since_ns: int | None = None
    """Since when the spool has refused this stream's records; None when it takes them."""


class GatewayApp:
    """A gateway from start to stop.  Use: `async with GatewayApp(config, ...) as app: await app.run()`."""

    def __init__(
        self,
        config: GatewayConfig,
        key: GatewayKey,
        genesis: Genesis,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """genesis: of the chain that is trusted."""
        self.config = config
        self._key = key
        self._genesis = genesis
        self.clock = clock
        self.streams: list[StreamRuntime] = []
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
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
        self._exit.callback(self._spool_thread.shutdown)
        self._exit.callback(self._store_thread.shutdown)
        disk = Disk()
        disk.make_directory(self.config.spool_path)
        disk.make_directory(self.config.store_path)
        lock = _lock(self.config.spool_path / "gateway.lock")
        self._exit.callback(os.close, lock)
        self.spool = await self.in_spool_thread(self._open_spool)
        self._exit.callback(self.spool.close)
        self.store = LocalStore(
            self.config.store_path, file_size_min=self.config.store.file_size_min_kib << 10
        )
        self._exit.callback(self.store.close)
        for stream in self.config.streams:
            source = open_source(self.config.source_url(stream), name=stream.name, clock=self.clock)
            self._exit.push_async_callback(source.close)
            pipeline = await self.in_spool_thread(partial(self._open_pipeline, stream, source))
            if pipeline.recovered_count:
                log.info(
                    "stream %s: %d records of an earlier run were in the spool and are sealed now",
                    stream.name,
                    pipeline.recovered_count,
                )
            self.streams.append(StreamRuntime(stream, source, pipeline))
        chain = self.config.chain
        self.uploader = Uploader(
            self,
            self.spool,
            self.store,
            Anchorer(
                self._key.identity,
                self._genesis,
                chain.node_url,
                chain.fee_ucpc,
                chain.timeout_ms,
                self.config.spool_path / "trusted-head.cbor",
            ),
            {stream.pipeline.row.stream_id: stream.config.upload_segments for stream in self.streams},
            chain.poll_ms,
        )
        self._exit.push_async_callback(self.uploader.close)

    def _open_spool(self) -> Spool:
        return Spool(
            self.config.spool_path / "spool.db",
            self._key.spool_key,
            size_max_bytes=self.config.spool.size_max_mib << 20,
            free_min_bytes=self.config.spool.disk_free_min_mib << 20,
        )

    def _open_pipeline(self, stream: StreamConfig, source: Source) -> StreamPipeline:
        keys = stream_keys(self._key, stream)
        return StreamPipeline(
            self.spool, keys, stream.name, source.kind, stream.block_ms, stream.segment_blocks, self._now_ms()
        )

    async def in_spool_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, done where the spool may be used."""
        return await asyncio.get_running_loop().run_in_executor(self._spool_thread, work)

    async def in_store_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, done where the store may be used."""
        return await asyncio.get_running_loop().run_in_executor(self._store_thread, work)

    def stop(self) -> None:
        """Ends `run` soon: sources first, then what they gave is sealed, stored and anchored if it can be."""
        self._stop.set()

    async def run(self, anchor_timeout_ms: int = 10_000) -> None:
        """Runs until `stop`, or until every source has ended.

        What is not anchored `anchor_timeout_ms` after that stays in the spool for the next run.
        """
        async with asyncio.TaskGroup() as group:
            ticker = group.create_task(self._tick())
            uploads = group.create_task(self.uploader.run())
            await self._ingest_all()
            ticker.cancel()
            for stream in self.streams:
                await self.in_spool_thread(stream.pipeline.flush)
            self.uploader.flush()
            try:
                async with asyncio.timeout(anchor_timeout_ms / 1000):
                    await self.uploader.wait_idle()
            except TimeoutError:
                log.warning("not everything is anchored yet; the rest stays in the spool for the next run")
            uploads.cancel()

    async def _ingest_all(self) -> None:
        """Until every source has ended, or `stop`."""
        async with asyncio.TaskGroup() as group:
            for stream in self.streams:
                group.create_task(self._ingest(stream))
            closer = group.create_task(self._close_on_stop())
            while not all(stream.is_ended for stream in self.streams):
                self._ended.clear()
                await self._ended.wait()
            closer.cancel()

    async def _close_on_stop(self) -> None:
        await self._stop.wait()
        for stream in self.streams:
            await stream.source.close()

    async def _ingest(self, stream: StreamRuntime) -> None:
        try:
            async for batch in stream.source.batches():
                for piece in pieces(batch, stream.pipeline.kind):
                    await self._accept(stream, piece)
                stream.source.acknowledge(batch)
                self.uploader.wake()
        except SourceError as error:
            # One source that cannot go on must not end the others.
            log.error("stream %s has ended: %s", stream.config.name, error)
        for note in stream.source.stats.notes:
            log.warning("stream %s: %s", stream.config.name, note)
        stream.is_ended = True
        self._ended.set()

    async def _accept(self, stream: StreamRuntime, piece: Batch) -> None:
        while not self._stop.is_set() or stream.full_since_ns is None:
            try:
                await self.in_spool_thread(partial(stream.pipeline.accept, piece, self._now_ms()))
            except SpoolFull as error:
                if stream.full_since_ns is None:
                    stream.full_since_ns = self.clock.now_ns()
                    log.error("stream %s: %s", stream.config.name, error)
                await self.clock.sleep(FULL_RETRY_MS / 1000)
            else:
                if stream.full_since_ns is not None:
                    stream.full_since_ns = None
                    log.warning("stream %s: the spool takes records again", stream.config.name)
                return

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_MS / 1000)
            for stream in self.streams:
                now_ms = self._now_ms()
                await self.in_spool_thread(partial(stream.pipeline.tick, now_ms))
            self.uploader.wake()

    def _now_ms(self) -> int:
        return self.clock.monotonic_ns() // 1_000_000


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise GatewayBusy(
            f"another process runs the gateway whose spool is {path.parent}; stop it first, "
            "or give this one a configuration of its own"
        ) from error
    return descriptor
