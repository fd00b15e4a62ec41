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
from gateway.errors import GatewayBusy, SpoolFull
from gateway.ingest import Ingest, StreamRuntime
from gateway.live_reload import LiveReload
from gateway.pipeline import StreamPipeline, unfinished_pipelines
from gateway.resume import missing_upload_count, resume_stream
from gateway.sensors.audit_source import AuditSource
from gateway.sensors.schemes import open_source
from gateway.sensors.source import SYSTEM_CLOCK, Batch, Clock, Source
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
        self.key = key
        self._genesis = genesis
        self.clock = clock
        self.disk = disk or Disk()
        self.exit = AsyncExitStack()
        """What is closed at the end, the last one first."""
        self.unfinished: list[StreamPipeline] = []
        """Of streams that have left the configuration, until all that they had accepted is sealed."""
        self.uplink: UplinkService | None = None
        """What leaves by MQTT, if anything does."""
        self._troubles = Troubles(clock)
        self.upload_segments: dict[bytes, int] = {}
        """u of each stream, by stream id."""
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._sending: asyncio.Task[None] | None = None
        self.ingest = Ingest(self, clock, self._troubles, self._stop, self._on_durable)
        """Reads the sources."""
        self.streams = self.ingest.streams
        """Those of the configuration."""
        self._spool_thread = ThreadPoolExecutor(1, "spool")
        self._store_thread = ThreadPoolExecutor(1, "store")

    async def __aenter__(self) -> "GatewayApp":
        try:
            await self._open()
        except BaseException:
            await self.exit.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.exit.aclose()

    async def _open(self) -> None:
        self.set_log_level()
        # What is opened last is closed first; databases in their threads, behind what still works there.
        self.exit.callback(self._spool_thread.shutdown)
        self.exit.callback(self._store_thread.shutdown)
        self.disk.make_directory(self.config.spool_path)
        self.disk.make_directory(self.config.store_path)
        self.exit.callback(os.close, await _lock(self.config.spool_path / "gateway.lock"))
        self.spool = await self.in_spool_thread(self._open_spool)
        self.exit.push_async_callback(self.in_spool_thread, self.spool.close)
        if self.config.uplink.is_on:
            self.uplink = await self.in_spool_thread(self._open_uplink)
            self.exit.push_async_callback(self.in_spool_thread, self.uplink.close)
        self.store = await self.in_store_thread(self._open_store)
        self.exit.push_async_callback(self.in_store_thread, self.store.close)
        for stream in self.config.streams:
            source = self.open_source(stream, self.config)
            self.exit.push_async_callback(source.close)
            opening = partial(self.open_pipeline, stream, source.kind, self._tap)
            pipeline = await self.in_spool_thread(opening)
            self.streams.append(StreamRuntime(stream, source, pipeline))
        missing = await self.in_spool_thread(lambda: missing_upload_count(self.spool, self.store))
        if missing:
            log.error(
                "the store in %s lacks %d uploads that it had confirmed: put its folder back from a copy",
                self.config.store_path,
                missing,
            )
        live = {stream.pipeline.row.stream_id for stream in self.streams}
        self.unfinished = await self.in_spool_thread(
            lambda: unfinished_pipelines(self.spool, self._keys_of, live, self.now_ms(), self._tap)
        )
        for pipeline in self._pipelines():
            if pipeline.recovered_count:
                log.info(
                    "stream %s: %d records of an earlier run were in the spool and are sealed now",
                    pipeline.name,
                    pipeline.recovered_count,
                )
        if self.uplink is not None:
            self.uplink.start(self, self.audit_source(), self._live_pipelines)
        self.uploader = self._make_uploader()
        self.exit.push_async_callback(self.uploader.close)

    def _open_spool(self) -> Spool:
        return Spool(
            self.config.spool_path / "spool.db",
            self.key.spool_key,
            size_max_bytes=self.config.spool.size_max_mib << 20,
            free_min_bytes=self.config.spool.disk_free_min_mib << 20,
            disk=self.disk,
        )

    def _open_uplink(self) -> "UplinkService":
        # Here, because most gateways have no uplink, and so need no MQTT library.
        from gateway.uplink_service import UplinkService

        uplink = UplinkService(self.config, self.key, self, self.clock, self.disk)
        # For a spool that was lost: its numbers must not come a second time.
        self.spool.skip_boots(uplink.outbox.boot_max)
        return uplink

    def open_source(self, stream: StreamConfig, config: GatewayConfig) -> Source:
        """As `config` says.  Raises SourceError."""
        if stream.source == AUDIT_SOURCE:
            return AuditSource(stream.name, self.clock)
        url, overrun = config.source_url(stream), stream.overrun
        return open_source(url, name=stream.name, clock=self.clock, overrun=overrun)

    def _tap(self, name: str, kind: str, stream_id: bytes) -> StreamTap | None:
        return None if self.uplink is None else self.uplink.tap(name, kind, stream_id)

    def _open_store(self) -> LocalStore:
        return LocalStore(self.config.store_path, file_size_min=self.config.store.file_size_min_kib << 10)

    def open_pipeline(
        self,
        stream: StreamConfig,
        kind: str,
        tap_of: Callable[[str, str, bytes], StreamTap | None],
        *,
        is_running: bool = False,
    ) -> StreamPipeline:
        """In the spool's thread.  is_running: other streams are under way.  Raises GatewayError."""
        keys = stream_keys(self.key, stream)
        shape = (kind, stream.block_ms, stream.segment_blocks)
        # A store of its own to look at: the uploader's thread may be using the other one.
        with contextlib.closing(LocalStore(self.config.store_path, is_read_only=True)) as store:
            archive = Archive(store, keys.stream_id, stream.name, keys.segment_key)
            if resume_stream(self.spool, archive, *shape, may_skip_boots=not is_running):
                log.warning(
                    "stream %s: the spool is new, the store is not; going on behind upload %d",
                    stream.name,
                    archive.upload_indexes()[-1],
                )
        row = self.spool.open_stream(keys.stream_id, stream.name, *shape)
        namesakes = [each for each in self.spool.streams() if each.name == stream.name]
        self.spool.begin_at(row, max(map(self.spool.next_seq, namesakes)))
        tap = tap_of(stream.name, kind, keys.stream_id)
        return StreamPipeline(self.spool, keys, stream.name, *shape, self.now_ms(), tap)

    def _keys_of(self, name: str, slot_ms: int) -> StreamKeys:
        return StreamKeys(self.key.data_root, self.key.identity.public, name, slot_ms)

    def make_anchorer(self, config: GatewayConfig) -> Anchorer:
        """What asks the node of `config`."""
        chain = config.chain
        head_path = config.spool_path / "trusted-head.cbor"
        given = (chain.node_url, chain.fee_ucpc, chain.timeout_ms, head_path, self.disk)
        return Anchorer(self.key.identity, self._genesis, *given)

    def _make_uploader(self) -> Uploader:
        self.upload_segments = {
            stream.pipeline.row.stream_id: stream.config.upload_segments for stream in self.streams
        }
        given = (self.make_anchorer(self.config), self.upload_segments, self.config.chain.poll_ms, self.clock)
        return Uploader(self, self.spool, self.store, *given)

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
            self._group = group
            ticker = group.create_task(self._tick())
            uploads = group.create_task(self.uploader.run())
            if self.uplink is not None:
                self._sending = group.create_task(self.uplink.run())
            await self.ingest.run()
            ticker.cancel()
            await self._seal_rest()
            await self._wait_anchored(anchor_timeout_ms)
            uploads.cancel()
            if self._sending is not None:
                self._sending.cancel()

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_MS / 1000)
            now_ms = self.now_ms()
            for pipeline in self._pipelines():
                await self.in_spool_thread(partial(pipeline.tick, now_ms))
            for stream in self.streams:
                self.ingest.log_notes(stream)
            if self.uplink is not None and self.uplink.due_losses():
                # A spool without room takes none, and is asked again.
                with contextlib.suppress(SpoolFull):
                    await self.in_spool_thread(self._tell_losses)
            self.uploader.wake()

    async def _seal_rest(self) -> None:
        now_ms = self.now_ms()
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
        # A copy: streams come and go in another thread.
        for stream in list(self.streams):
            tap = stream.pipeline.tap
            if isinstance(tap, StreamTap):
                for gap in tap.new_losses():
                    stream.pipeline.accept(Batch([], [], [(0, gap)]), self.now_ms())
                    tap.told(gap)

    # ------------------------------------------------------------- from afar

    def status(self) -> dict[str, Any]:
        """What is taken in, sealed, anchored and sent: in the spool's thread."""
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
                for stream in list(self.streams)
            },
            "spool": {name: getattr(counts, name) for name in type(counts).__slots__},
            "anchored_uploads": self.uploader.anchored_count,
            "uplink": None if self.uplink is None else self.uplink.status(),
        }

    async def reload(self, config: GatewayConfig) -> str:
        """Goes on with `config`: what has changed, in words; see gateway.live_reload.

        Raises GatewayError, SourceError, DiskError; everything is as before then.
        """
        return await LiveReload(self).apply(config)

    async def restart_stream(self, name: str) -> None:
        """Closes the stream's source and opens it again.  Raises UnknownStream, SourceError."""
        await LiveReload(self).restart_stream(name)

    def stream(self, name: str) -> StreamRuntime:
        """The stream of that name, which there is."""
        return next(stream for stream in self.streams if stream.config.name == name)

    def audit_source(self) -> AuditSource | None:
        """Where it is told what was commanded, if anybody may command."""
        sources = [stream.source for stream in self.streams if isinstance(stream.source, AuditSource)]
        return sources[0] if sources else None

    async def begin_uplink(self, service: "UplinkService") -> None:
        """Sends by it from now on."""
        self.uplink = service
        self.exit.push_async_callback(self.in_spool_thread, service.close)
        service.start(self, self.audit_source(), self._live_pipelines)
        if self._group is not None:
            self._sending = self._group.create_task(service.run())

    async def end_uplink(self) -> None:
        """Sends no more; what waits in the outbox stays there."""
        service, self.uplink = self.uplink, None
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait((self._sending,))
            self._sending = None
        if service is not None:
            await self.in_spool_thread(service.close)

    def set_log_level(self) -> None:
        """As the configuration says, unless the environment asks for everything."""
        if not os.environ.get("CPC_DEBUG"):
            logging.getLogger("cpc").setLevel(self.config.gateway.log_level.upper())

    def _live_pipelines(self) -> list[StreamPipeline]:
        return [stream.pipeline for stream in self.streams]

    def _pipelines(self) -> list[StreamPipeline]:
        return [*self._live_pipelines(), *self.unfinished]

    def now_ms(self) -> int:
        """Monotonic: what pipelines go by."""
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
