"""The gateway's process: sources in, uploads out, one TaskGroup for its life.

Runs on CPython.  One task a stream reads its source and hands batches to the pipeline; one task seals
what has waited; one moves sealed segments to the store and anchors them.  The spool and the store each
have one worker thread, because a sync of an SD card can take a second and the buses must go on being
read meanwhile.

    source --> ingest task --[spool thread]--> accept --> seal      (durable, then acknowledged)
                              uploader task --[store thread]--> store, --> chain, --> evidence
                              uplink task --[spool thread]--> outbox, --> broker

A node that is away, or of another chain, does not keep the gateway from taking records in: it is not
trusted, so it must not be able to stop anything.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chain_node.wire import Genesis
from gateway.anchor import Anchorer
from gateway.archive import Archive
from gateway.config import AUDIT_SOURCE, GatewayConfig, StreamConfig
from gateway.crypto.key_file import GatewayKey
from gateway.crypto.stream import StreamKeys
from gateway.disk import Disk, disk_error
from gateway.errors import GatewayBusy, GatewayError, SpoolError, SpoolFull
from gateway.ingest import Ingest, StreamRuntime
from gateway.pipeline import StreamPipeline, unfinished_pipelines
from gateway.reload import changes
from gateway.resume import missing_upload_count, resume_stream
from gateway.sensors.audit_source import AuditSource
from gateway.sensors.schemes import open_source
from gateway.sensors.source import SYSTEM_CLOCK, Batch, Clock, Gap, Source, SourceError
from gateway.site import stream_keys
from gateway.spool import Spool
from gateway.store import LocalStore
from gateway.troubles import Troubles
from gateway.uplink_handover import StreamTap
from gateway.uploader import Uploader

if TYPE_CHECKING:
    from gateway.uplink_service import UplinkService

log = logging.getLogger("cpc.gateway")
Result = TypeVar("Result")

TICK_MS = 500
"""How often what has waited is looked at."""
LOCK_RETRY_MS = 200
"""How long a start waits when the gateway seems to run: `cpc status` holds the lock for a moment."""


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
        self._unfinished: list[StreamPipeline] = []
        """Of streams that have left the configuration, until all that they had accepted is sealed."""
        self.uplink: UplinkService | None = None
        """What leaves by MQTT, if anything does."""
        self._troubles = Troubles(clock)
        self._upload_segments: dict[bytes, int] = {}
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ingest = Ingest(self, clock, self._troubles, self._stop, self._on_durable)
        self.streams = self._ingest.streams
        """Those of the configuration."""
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
        if self.config.uplink.is_on:
            self.uplink = await self.in_spool_thread(self._open_uplink)
            self._exit.push_async_callback(self.in_spool_thread, self.uplink.close)
        self.store = await self.in_store_thread(self._open_store)
        self._exit.push_async_callback(self.in_store_thread, self.store.close)
        for stream in self.config.streams:
            source = self._open_source(stream, self.config)
            self._exit.push_async_callback(source.close)
            pipeline = await self.in_spool_thread(partial(self._open_pipeline, stream, source))
            self.streams.append(StreamRuntime(stream, source, pipeline))
        missing = await self.in_spool_thread(lambda: missing_upload_count(self.spool, self.store))
        if missing:
            log.error(
                "the store in %s lacks %d uploads that it had confirmed: put its folder back from a copy",
                self.config.store_path,
                missing,
            )
        live = {stream.pipeline.row.stream_id for stream in self.streams}
        self._unfinished = await self.in_spool_thread(
            lambda: unfinished_pipelines(self.spool, self._keys_of, live, self._now_ms(), self._tap)
        )
        for pipeline in self._pipelines():
            if pipeline.recovered_count:
                log.info(
                    "stream %s: %d records of an earlier run were in the spool and are sealed now",
                    pipeline.name,
                    pipeline.recovered_count,
                )
        if self.uplink is not None:
            audit = (each.source for each in self.streams if isinstance(each.source, AuditSource))
            self.uplink.start(self, next(audit, None))
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

    def _open_uplink(self) -> "UplinkService":
        # Here, because most gateways have no uplink, and so need no MQTT library.
        from gateway.uplink_service import UplinkService

        uplink = UplinkService(self.config, self._key, self, self.clock, self._disk)
        # For a spool that was lost: its numbers must not come a second time.
        self.spool.skip_boots(uplink.outbox.boot_max)
        return uplink

    def _open_source(self, stream: StreamConfig, config: GatewayConfig) -> Source:
        if stream.source == AUDIT_SOURCE:
            return AuditSource(stream.name, self.clock)
        url, overrun = config.source_url(stream), stream.overrun
        return open_source(url, name=stream.name, clock=self.clock, overrun=overrun)

    def _tap(self, name: str, kind: str, stream_id: bytes) -> StreamTap | None:
        return None if self.uplink is None else self.uplink.tap(name, kind, stream_id)

    def _open_store(self) -> LocalStore:
        return LocalStore(self.config.store_path, file_size_min=self.config.store.file_size_min_kib << 10)

    def _open_pipeline(self, stream: StreamConfig, source: Source) -> StreamPipeline:
        keys = stream_keys(self._key, stream)
        # A store of its own to look at: the uploader's thread may be using the other one.
        with contextlib.closing(LocalStore(self.config.store_path, is_read_only=True)) as store:
            archive = Archive(store, keys.stream_id, stream.name, keys.segment_key)
            if resume_stream(self.spool, archive, source.kind, stream.block_ms, stream.segment_blocks):
                log.warning(
                    "stream %s: the spool is new, the store is not; going on behind upload %d",
                    stream.name,
                    archive.upload_indexes()[-1],
                )
        return StreamPipeline(
            self.spool,
            keys,
            stream.name,
            source.kind,
            stream.block_ms,
            stream.segment_blocks,
            self._now_ms(),
            self._tap(stream.name, source.kind, keys.stream_id),
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
        self._upload_segments = {
            stream.pipeline.row.stream_id: stream.config.upload_segments for stream in self.streams
        }
        segments = self._upload_segments
        return Uploader(self, self.spool, self.store, anchorer, segments, chain.poll_ms, self.clock)

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
            sending = None if self.uplink is None else group.create_task(self.uplink.run())
            await self._ingest.run()
            ticker.cancel()
            await self._seal_rest()
            await self._wait_anchored(anchor_timeout_ms)
            uploads.cancel()
            if sending is not None:
                sending.cancel()

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_MS / 1000)
            now_ms = self._now_ms()
            for pipeline in self._pipelines():
                await self.in_spool_thread(partial(pipeline.tick, now_ms))
            for stream in self.streams:
                self._ingest.log_notes(stream)
            if self.uplink is not None and self.uplink.due_losses():
                # A spool without room takes none, and is asked again.
                with contextlib.suppress(SpoolFull):
                    await self.in_spool_thread(self._tell_losses)
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
                self._wait_idle(),
                self._hurry.wait(),
                self.clock.sleep(timeout_ms / 1000),
            )
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not ends[0].done():
                what = "anchored" if self.uplink is None else "anchored and sent"
                log.warning("not everything is %s yet; the rest stays in the spool for the next run", what)
        finally:
            for end in ends:
                end.cancel()

    def _on_durable(self) -> None:
        self.uploader.wake()

    async def _wait_idle(self) -> None:
        if self.uplink is None:
            await self.uploader.wait_idle()
        else:
            await asyncio.gather(self.uploader.wait_idle(), self.uplink.wait_idle())

    def _tell_losses(self) -> None:
        """What the outbox had to drop becomes a gap record in its stream."""
        for stream in self.streams:
            tap = stream.pipeline.tap
            if isinstance(tap, StreamTap):
                for gap in tap.new_losses():
                    stream.pipeline.accept(Batch([], [], [(0, gap)]), self._now_ms())
                    tap.told(gap)

    # ------------------------------------------------------------- from afar

    def status(self) -> dict[str, Any]:
        """What is taken in, sealed, anchored and sent."""
        counts = self.spool.counts()
        return {
            "streams": {
                stream.config.name: {
                    "source": stream.config.source,
                    "is_live": stream.task is not None and not stream.task.done(),
                    "records": stream.pipeline.accepted_count,
                    "dropped": stream.source.stats.dropped,
                    "damaged": stream.source.stats.damaged,
                }
                for stream in self.streams
            },
            "spool": {name: getattr(counts, name) for name in type(counts).__slots__},
            "anchored_uploads": self.uploader.anchored_count,
            "uplink": None if self.uplink is None else self.uplink.status(),
        }

    async def reload(self, config: GatewayConfig) -> str:
        """Goes on with `config`: what has changed, in words.  Streams that stay the same do not notice.

        Raises GatewayError, SourceError; everything is as before then.
        """
        plan = changes(self.config, config)
        async with self._ingest.changing():
            done: list[StreamConfig] = []
            opened: list[StreamRuntime] = []
            try:
                for new in plan.added:
                    opened.append(await self._add(new, config))
                for new in plan.changed:
                    done.append(self._stream(new.name).config)
                    await self._change(self._stream(new.name), new, config)
            except (GatewayError, SourceError):
                for old in reversed(done):
                    if self._stream(old.name).config != old:
                        await self._change(self._stream(old.name), old, self.config)
                for stream in opened:
                    await self._remove(stream)
                raise
            for stream in opened:
                self._ingest.start(stream)
            for name in plan.removed:
                await self._remove(self._stream(name))
            self.config = config
        log.info("configuration reloaded: %s", plan)
        return str(plan)

    async def restart_stream(self, name: str) -> None:
        """Closes the stream's source and opens it again.  Raises UnknownStream, SourceError."""
        config = self.config.stream(name)
        async with self._ingest.changing():
            await self._replace_source(self._stream(name), config, self.config)

    def _stream(self, name: str) -> StreamRuntime:
        return next(stream for stream in self.streams if stream.config.name == name)

    async def _add(self, new: StreamConfig, config: GatewayConfig) -> StreamRuntime:
        source = self._open_source(new, config)
        self._exit.push_async_callback(source.close)
        pipeline = await self.in_spool_thread(partial(self._open_pipeline, new, source))
        stream = StreamRuntime(new, source, pipeline)
        self.streams.append(stream)
        self._upload_segments[pipeline.row.stream_id] = new.upload_segments
        return stream

    async def _remove(self, stream: StreamRuntime) -> None:
        await self._ingest.end(stream)
        self.streams.remove(stream)
        await self.in_spool_thread(partial(stream.pipeline.flush, self._now_ms()))
        # What is not sealed yet, for want of room, is some day.
        self._unfinished.append(stream.pipeline)
        del self._upload_segments[stream.pipeline.row.stream_id]
        self.uploader.wake()

    async def _change(self, stream: StreamRuntime, new: StreamConfig, config: GatewayConfig) -> None:
        if new.source != stream.config.source:
            await self._replace_source(stream, new, config)
        stream.config = new
        self._upload_segments[stream.pipeline.row.stream_id] = new.upload_segments

    async def _replace_source(self, stream: StreamRuntime, new: StreamConfig, config: GatewayConfig) -> None:
        """What the old one had is taken in first; what passed by in between is a gap."""
        began_ns = self.clock.now_ns()
        await self._ingest.end(stream)
        try:
            source = self._open_source(new, config)
            if source.kind != stream.pipeline.kind:
                await source.close()
                raise SpoolError(
                    f"stream {new.name} holds records of kind {stream.pipeline.kind}, "
                    f"its source would yield {source.kind}: give the new source a stream of its own"
                )
        except (SpoolError, SourceError):
            source = self._open_source(stream.config, self.config)
            raise
        finally:
            stream.source = source
            stream.notes_shown = 0
            self._exit.push_async_callback(source.close)
            gap = Gap("the source was opened anew", 0, began_ns, max(began_ns, self.clock.now_ns()))
            await self._ingest.accept(stream, Batch([], [], [(0, gap)]))
            self._ingest.start(stream)

    def _pipelines(self) -> list[StreamPipeline]:
        return [*(stream.pipeline for stream in self.streams), *self._unfinished]

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
