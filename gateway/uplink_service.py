"""Outbox, handover, uplink and remote commands of one gateway, as its configuration wants them.

Runs on CPython.  What gateway.app needs of them in one place: a tap for each pipeline, one task while the
gateway runs, and what is to be waited for at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.columns import CAN
from gateway.config import GatewayConfig
from gateway.config_uplink import OFF
from gateway.crypto.key_file import GatewayKey
from gateway.disk import Disk
from gateway.outbox import Outbox
from gateway.pipeline import StreamPipeline
from gateway.remote import Gateway, Remote
from gateway.sensors.audit_source import AuditSource
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.source import Clock
from gateway.uplink import Identity, Threads, Uplink, broker_of, client_id
from gateway.uplink_format import DECODED, StreamFormat, topic
from gateway.uplink_handover import Handover, StreamTap
from puf.did import did_key

LOSS_REPORT_MS = 60_000
"""How often what had to be dropped is told in its stream: one record for all of it, not one for each."""
LOSS_REPORT_AWAY_MS = 3_600_000
"""The same without a connection: nobody would hear it, and what tells of losses is never dropped itself."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration, and what it needs that can be missing."""

    config: GatewayConfig
    decoders: Mapping[str, DbcDecoder]
    """Of the streams that are sent decoded, by name."""


def prepared(config: GatewayConfig) -> Prepared:
    """Reads the files that the configuration names.  Raises SourceError."""
    is_decoded = config.uplink.is_on and config.uplink.frames == DECODED
    streams = [each for each in config.streams if is_decoded and each.dbc]
    return Prepared(config, {each.name: DbcDecoder.load(config.dbc_paths(each)) for each in streams})


class UplinkService:
    """Everything that leaves by MQTT."""

    def __init__(
        self, config: GatewayConfig, key: GatewayKey, threads: Threads, clock: Clock, disk: Disk
    ) -> None:
        """Opens the outbox: in the spool's thread."""
        self._prepared = prepared(config)
        self._section = config.uplink_files
        self._key = key
        self._threads = threads
        self._clock = clock
        self._disk = disk
        self._pipelines: Callable[[], Sequence[StreamPipeline]] = tuple
        self._reported_ns = clock.monotonic_ns()
        self._gateway: Gateway | None = None
        self._audit: AuditSource | None = None
        self.uplink: Uplink | None = None
        self._remote: Remote | None = None
        self._restart = asyncio.Event()
        self._is_closed = False
        size_max = self._section.stream_size_max_mib << 20
        self.outbox = Outbox(outbox_path(config), key.spool_key, stream_size_max_bytes=size_max, disk=disk)
        self._handover = Handover(
            self.outbox, self._section.batch_records_max, self._section.message_size_max_kib << 10
        )

    def tap(self, name: str, kind: str, stream_id: bytes, wanted: Prepared | None = None) -> StreamTap | None:
        """What the pipeline of a stream is given; None for one that does not leave.

        wanted: the configuration that is about to be this one's.
        """
        described, policy = self._described(wanted or self._prepared, name, kind, stream_id)
        return None if policy == OFF else self._handover.tap(described, policy)

    def _described(
        self, wanted: Prepared, name: str, kind: str, stream_id: bytes
    ) -> tuple[StreamFormat, str]:
        config, section = wanted.config, wanted.config.uplink
        stream = next((each for each in config.streams if each.name == name), None)
        policy = section.policy if stream is None else config.uplink_policy(stream)
        gateway = config.gateway.name
        where = topic(section.topic, gateway=gateway, stream=name, kind=kind)
        decoder = wanted.decoders.get(name) if kind == CAN else None
        return StreamFormat(gateway, name, kind, stream_id, where, section.format, decoder), policy

    def use(self, wanted: Prepared, pipelines: Sequence[StreamPipeline]) -> None:
        """Goes on with another configuration: in the spool's thread.

        pipelines: of the streams of that configuration.  Raises DiskError; nothing has changed then.
        """
        # What is in memory leaves as it was to.
        self._handover.settle()
        taps: list[tuple[StreamPipeline, StreamTap | None, StreamFormat, str]] = []
        for pipeline in pipelines:
            who = (pipeline.name, pipeline.kind, pipeline.row.stream_id)
            described, policy = self._described(wanted, *who)
            tap = pipeline.tap if isinstance(pipeline.tap, StreamTap) else None
            if policy == OFF:
                tap = None
            elif tap is None:
                tap = self._handover.tap(described, policy)
            taps.append((pipeline, tap, described, policy))
        # From here on nothing can fail.
        self._prepared, self._section = wanted, wanted.config.uplink_files
        self.outbox.stream_size_max_bytes = self._section.stream_size_max_mib << 20
        self._handover.set_limits(self._section.batch_records_max, self._section.message_size_max_kib << 10)
        for pipeline, tap, described, policy in taps:
            pipeline.tap = tap
            if tap is not None:
                tap.stream = described
                self.outbox.set_policy(described.stream_id, policy)

    def detach(self, pipelines: Sequence[StreamPipeline]) -> None:
        """Nothing more is taken in: in the spool's thread.  Raises DiskError; nothing has changed then."""
        self._handover.settle()
        for pipeline in pipelines:
            pipeline.tap = None

    def start(
        self,
        gateway: Gateway,
        audit: AuditSource | None,
        pipelines: Callable[[], Sequence[StreamPipeline]],
    ) -> None:
        """Makes what `run` runs.

        audit: the source of the audit stream, where somebody may command.  pipelines: those of the streams
        that there are when it is called.
        """
        self._gateway, self._audit, self._pipelines = gateway, audit, pipelines
        self._make()

    @property
    def identity(self) -> Identity:
        """Who we say we are."""
        sent = [pipeline for pipeline in self._pipelines() if pipeline.tap is not None]
        return Identity(
            self._prepared.config.gateway.name,
            did_key(self._key.identity.public),
            tuple((pipeline.name, pipeline.kind, pipeline.row.stream_id) for pipeline in sent),
        )

    def _make(self) -> None:
        stats = None if self.uplink is None else self.uplink.stats
        parts = (self._threads, self.outbox, self._handover, self._section, self.identity, self._clock)
        self.uplink = Uplink(*parts, stats)
        self._remote = None
        if self._audit is not None and self._gateway is not None:
            self._remote = Remote(
                self._gateway,
                self._threads,
                self.outbox,
                self._audit,
                broker_of(self._section),
                client_id(self._section, self.identity) + "-remote",
                self._key.identity,
                self._clock,
                self._disk,
            )

    def announce(self) -> None:
        """The streams are others now."""
        if self.uplink is not None:
            self.uplink.announce(self.identity)

    def restart(self, audit: AuditSource | None) -> None:
        """Connects anew, as `use` has said, once the command that wanted it is answered."""
        self._audit = audit
        self._restart.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._restart.clear()
            async with asyncio.TaskGroup() as group:
                tasks = []
                if self.uplink is not None:
                    tasks.append(group.create_task(self.uplink.run()))
                if self._remote is not None:
                    tasks.append(group.create_task(self._remote.run()))
                await self._restart.wait()
                async with self._remote.busy if self._remote is not None else contextlib.nullcontext():
                    for task in tasks:
                        task.cancel()
            self._make()

    async def wait_idle(self) -> None:
        """Returns when the broker has everything; at once when there is no connection to it."""
        if self.uplink is not None and self.uplink.is_connected:
            await self.uplink.settle()
            await self.uplink.wait_idle()

    def due_losses(self) -> bool:
        """Whether it is time to look at `losses`."""
        now_ns = self._clock.monotonic_ns()
        is_connected = self.uplink is not None and self.uplink.is_connected
        wait_ms = LOSS_REPORT_MS if is_connected else LOSS_REPORT_AWAY_MS
        if now_ns - self._reported_ns < wait_ms * 1_000_000:
            return False
        self._reported_ns = now_ns
        return True

    def status(self) -> dict[str, Any]:
        """What waits and what was sent; in the spool's thread."""
        counts = self.outbox.counts()
        found: dict[str, Any] = {name: getattr(counts, name) for name in type(counts).__slots__}
        if self.uplink is not None:
            stats = self.uplink.stats
            found |= {name: getattr(stats, name) for name in type(stats).__slots__}
            found["is_connected"] = self.uplink.is_connected
        return found

    def close(self) -> None:
        """Closes the outbox, in the spool's thread; once, however often it is called."""
        if not self._is_closed:
            self._is_closed = True
            self.outbox.close()


def outbox_path(config: GatewayConfig) -> Path:
    """Where the outbox of a gateway is."""
    return config.spool_path / "outbox.db"
