"""Another configuration for a gateway that runs; streams that stay the same do not notice.

Runs on CPython.  In this order, so that what can be refused is refused before anything has changed:

    plan        gateway.reload: which keys are others, and whether they may be
    look        is the new node of our chain, does the new broker let us in, are all files there
    streams     new ones opened, others changed, the uplink told; undone when one of them cannot be
    sections    limits, node: cannot fail any more
    leave       streams that are not wanted any more give what they have, and end
    connect     anew where the uplink is another one, once the command that wanted it is answered

No record is lost on the way: a source that stays is never stopped, one that is opened anew has given all it
had, and what passes by meanwhile is a gap.  Where T or e change, what was taken in is sealed as it was, and
the next record has the next number.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from chain_node.wire import ChainError
from gateway.anchor import Anchorer
from gateway.config import GatewayConfig, StreamConfig
from gateway.crypto.errors import CryptoError
from gateway.crypto.key_file import GatewayKey
from gateway.disk import Disk
from gateway.errors import AnchorError, SpoolError
from gateway.ingest import Ingest, StreamRuntime
from gateway.pipeline import StreamPipeline
from gateway.reload import Changes, ReloadRefused, changes
from gateway.sensors.audit_source import AuditSource
from gateway.sensors.source import Batch, Clock, Gap, Source, SourceError
from gateway.spool import Spool
from gateway.store import LocalStore
from gateway.uplink_handover import StreamTap
from gateway.uploader import Uploader

if TYPE_CHECKING:
    from gateway.uplink_service import Prepared, UplinkService

log = logging.getLogger("cpc.gateway")

REMOTE_TOPICS = ("remote.command_topic", "remote.reply_topic")
OPENED_ANEW = "the source was opened anew"


TapOf = Callable[[str, str, bytes], StreamTap | None]
Result = TypeVar("Result")


class Running(Protocol):
    """What is changed: see gateway.app, where each of these is explained."""

    config: GatewayConfig
    key: GatewayKey
    clock: Clock
    disk: Disk
    ingest: Ingest
    streams: list[StreamRuntime]
    unfinished: list[StreamPipeline]
    upload_segments: dict[bytes, int]
    exit: contextlib.AsyncExitStack
    spool: Spool
    store: LocalStore
    uploader: Uploader
    uplink: UplinkService | None

    async def in_spool_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`."""

    def open_source(self, stream: StreamConfig, config: GatewayConfig) -> Source:
        """Raises SourceError."""

    def open_pipeline(
        self, stream: StreamConfig, kind: str, tap_of: TapOf, *, is_running: bool = False
    ) -> StreamPipeline:
        """In the spool's thread.  Raises GatewayError."""

    def make_anchorer(self, config: GatewayConfig) -> Anchorer:
        """What asks the node of `config`."""

    def stream(self, name: str) -> StreamRuntime:
        """The stream of that name."""

    def audit_source(self) -> AuditSource | None:
        """Where it is told what was commanded."""

    async def begin_uplink(self, service: UplinkService) -> None:
        """Sends by it from now on."""

    async def end_uplink(self) -> None:
        """Sends no more."""

    def set_log_level(self) -> None:
        """As the configuration says."""

    def now_ms(self) -> int:
        """Monotonic."""


class LiveReload:
    """Changes a gateway under way."""

    def __init__(self, app: Running) -> None:
        self._app = app
        self._service: UplinkService | None = None
        """The uplink as it is to be."""
        self._prepared: Prepared | None = None

    async def apply(self, config: GatewayConfig) -> str:
        """Goes on with `config`: what has changed, in words.

        Raises GatewayError, SourceError, DiskError; everything is as before then.
        """
        app = self._app
        async with app.ingest.changing():
            plan = changes(app.config, config)
            notes: list[str] = []
            async with contextlib.AsyncExitStack() as undo:
                anchorer = await self._new_anchorer(plan, config, notes)
                if anchorer is not None:
                    undo.push_async_callback(anchorer.close)
                await self._look_at_uplink(plan, config, undo)
                await self._change_streams(plan, config)
                undo.pop_all()
            app.spool.set_limits(config.spool.size_max_mib << 20, config.spool.disk_free_min_mib << 20)
            app.store.file_size_min = config.store.file_size_min_kib << 10
            if anchorer is not None:
                app.uploader.use(anchorer, config.chain.poll_ms)
            for name in plan.removed:
                await self._remove(app.stream(name))
            app.config = config
            app.set_log_level()
            await self._reconnect(plan)
        text = "; ".join([str(plan), *notes])
        log.info("configuration reloaded: %s", text)
        return text

    async def restart_stream(self, name: str) -> None:
        """Closes the stream's source and opens it again.  Raises UnknownStream, SourceError."""
        async with self._app.ingest.changing():
            config = self._app.config.stream(name)
            await self._replace_source(self._app.stream(name), config, self._app.config)

    # ---------------------------------------------------------- look, do nothing

    async def _new_anchorer(self, plan: Changes, config: GatewayConfig, notes: list[str]) -> Anchorer | None:
        if not plan.has("chain"):
            return None
        anchorer = self._app.make_anchorer(config)
        try:
            await anchorer.account()
        except AnchorError as error:
            await anchorer.close()
            raise ReloadRefused(f"[chain] is not taken: {error}") from error
        except ChainError as error:
            # A node may be away: the spool keeps what waits.
            notes.append(f"the node is not of use now: {error}")
        return anchorer

    async def _look_at_uplink(
        self, plan: Changes, config: GatewayConfig, undo: contextlib.AsyncExitStack
    ) -> None:
        """Sets the uplink as it is to be; one that is new is opened."""
        app = self._app
        self._service, self._prepared = None, None
        if not config.uplink.is_on:
            return
        # Here, because most gateways have no uplink, and so need no MQTT library.
        from gateway.uplink import try_broker
        from gateway.uplink_service import UplinkService, prepared

        self._service = app.uplink
        self._prepared = await app.in_spool_thread(partial(prepared, config))
        if self._service is None:
            make = partial(UplinkService, config, app.key, app, app.clock, app.disk)
            self._service = await app.in_spool_thread(make)
            undo.push_async_callback(app.in_spool_thread, self._service.close)
            if self._service.outbox.boot_max > app.spool.boot:
                raise ReloadRefused("the spool is newer than the outbox beside it: restart the gateway")
        if plan.is_other_broker:
            try:
                await try_broker(config.uplink_files, self._service.identity)
            except SourceError as error:
                raise ReloadRefused(f"[uplink] is not taken: {error}") from error

    # -------------------------------------------------------------------- streams

    async def _change_streams(self, plan: Changes, config: GatewayConfig) -> None:
        """All of it, or nothing.  Raises GatewayError, SourceError, DiskError."""
        app = self._app
        opened: list[StreamRuntime] = []
        try:
            for new in plan.added:
                opened.append(await self._add(new, config))
            for new in plan.changed:
                await self._change(app.stream(new.name), new, config)
            await self._change_uplink(plan)
        except Exception:
            # Whatever it was: half a reload would be worse.
            self._service, self._prepared = app.uplink, None
            for new in plan.changed:
                stream = app.stream(new.name)
                await self._change(stream, app.config.stream(new.name), app.config)
            for stream in opened:
                await self._remove(stream)
            raise
        for stream in opened:
            app.ingest.start(stream)

    async def _add(self, new: StreamConfig, config: GatewayConfig) -> StreamRuntime:
        app = self._app
        source = app.open_source(new, config)
        app.exit.push_async_callback(source.close)
        pipeline = await app.in_spool_thread(partial(self._open_pipeline, new, source.kind))
        stream = StreamRuntime(new, source, pipeline)
        app.streams.append(stream)
        app.upload_segments[pipeline.row.stream_id] = new.upload_segments
        return stream

    async def _remove(self, stream: StreamRuntime) -> None:
        app = self._app
        await app.ingest.end(stream)
        app.streams.remove(stream)
        await app.in_spool_thread(partial(stream.pipeline.flush, app.now_ms()))
        self._leave_to_seal(stream.pipeline)

    def _leave_to_seal(self, pipeline: StreamPipeline) -> None:
        # What is not sealed yet, for want of room, is some day.
        self._app.unfinished.append(pipeline)
        del self._app.upload_segments[pipeline.row.stream_id]
        self._app.uploader.wake()

    async def _change(self, stream: StreamRuntime, new: StreamConfig, config: GatewayConfig) -> None:
        """As far as it is another one."""
        old = stream.config
        if (old.source, old.overrun) != (new.source, new.overrun):
            await self._replace_source(stream, new, config)
            # Step by step, so that it can be undone from where it has come to.
            stream.config = replace(stream.config, source=new.source, overrun=new.overrun)
        if (old.block_ms, old.segment_blocks) != (new.block_ms, new.segment_blocks):
            await self._app.in_spool_thread(partial(self._replace_pipeline, stream, new))
        stream.config = new
        self._app.upload_segments[stream.pipeline.row.stream_id] = new.upload_segments

    def _replace_pipeline(self, stream: StreamRuntime, new: StreamConfig) -> None:
        """In the spool's thread, between two batches.  Raises SpoolError."""
        old = stream.pipeline
        old.flush(self._app.now_ms())
        if not old.is_drained:
            raise SpoolError(
                f"stream {new.name}: the disk has no room to seal what was taken in, and that comes before "
                "block_ms or segment_blocks can change"
            )
        stream.pipeline = self._open_pipeline(new, old.kind)
        if stream.pipeline.row.stream_id != old.row.stream_id:
            self._leave_to_seal(old)

    def _open_pipeline(self, new: StreamConfig, kind: str) -> StreamPipeline:
        """In the spool's thread."""
        app = self._app
        for pipeline in list(app.unfinished):
            pipeline.flush(app.now_ms())
            if pipeline.is_drained:
                app.unfinished.remove(pipeline)
            elif pipeline.name == new.name:
                raise SpoolError(
                    f"stream {new.name}: records of before wait for room on the disk to be sealed"
                )
        service, wanted = self._service, self._prepared

        def tap_of(name: str, kind: str, stream_id: bytes) -> StreamTap | None:
            return None if service is None else service.tap(name, kind, stream_id, wanted)

        try:
            return app.open_pipeline(new, kind, tap_of, is_running=True)
        except CryptoError as error:
            raise SpoolError(
                f"stream {new.name}: what the store has of it cannot be read: {error}"
            ) from error

    async def _replace_source(self, stream: StreamRuntime, new: StreamConfig, config: GatewayConfig) -> None:
        """What the old one had is taken in first; what passes by in between is a gap."""
        app = self._app
        began_ns = app.clock.now_ns()
        await app.ingest.end(stream)
        try:
            source = app.open_source(new, config)
            if source.kind != stream.pipeline.kind:
                await source.close()
                raise SpoolError(
                    f"stream {new.name} holds records of kind {stream.pipeline.kind}, "
                    f"its source would yield {source.kind}: give the new source a stream of its own"
                )
        except (SpoolError, SourceError):
            try:
                source = app.open_source(stream.config, app.config)
            except SourceError as error:
                log.error("stream %s has ended, its source cannot be opened again: %s", new.name, error)
            else:
                self._go_on(stream, source, began_ns)
            raise
        self._go_on(stream, source, began_ns)

    def _go_on(self, stream: StreamRuntime, source: Source, began_ns: int) -> None:
        app = self._app
        stream.source = source
        stream.notes_shown = 0
        app.exit.push_async_callback(source.close)
        gap = Gap(OPENED_ANEW, 0, began_ns, max(began_ns, app.clock.now_ns()))
        app.ingest.start(stream, Batch([], [], [(0, gap)]))

    # --------------------------------------------------------------------- uplink

    async def _change_uplink(self, plan: Changes) -> None:
        """Raises DiskError; nothing has changed then."""
        app = self._app
        names = set(plan.removed)
        pipelines = [each.pipeline for each in app.streams if each.config.name not in names]
        if self._service is not None and self._prepared is not None:
            await app.in_spool_thread(partial(self._service.use, self._prepared, pipelines))
        elif app.uplink is not None:
            every = [*pipelines, *(each.pipeline for each in app.streams), *app.unfinished]
            await app.in_spool_thread(partial(app.uplink.detach, every))

    async def _reconnect(self, plan: Changes) -> None:
        app = self._app
        if self._service is not app.uplink:
            await (app.end_uplink() if self._service is None else app.begin_uplink(self._service))
        elif self._service is not None:
            if plan.has("uplink") or {"remote.operators", *REMOTE_TOPICS} & set(plan.keys):
                self._service.restart(app.audit_source())
            elif plan.added or plan.removed or plan.changed:
                self._service.announce()
