"""Outbox, handover, uplink and remote commands of one gateway, as its configuration wants them.

Runs on CPython.  What gateway.app needs of them in one place: a tap for each pipeline, one task while the
gateway runs, and what is to be waited for at its end.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gateway.columns import CAN
from gateway.config import GatewayConfig
from gateway.config_uplink import OFF
from gateway.crypto.key_file import GatewayKey
from gateway.disk import Disk
from gateway.outbox import Outbox
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


class UplinkService:
    """Everything that leaves by MQTT."""

    def __init__(
        self, config: GatewayConfig, key: GatewayKey, threads: Threads, clock: Clock, disk: Disk
    ) -> None:
        """Opens the outbox: in the spool's thread."""
        self._config = config
        self._section = config.uplink_files
        self._key = key
        self._threads = threads
        self._clock = clock
        self._disk = disk
        self._taps: dict[bytes, StreamTap] = {}
        self._reported_ns = clock.monotonic_ns()
        self.uplink: Uplink | None = None
        self._remote: Remote | None = None
        size_max = self._section.stream_size_max_mib << 20
        self.outbox = Outbox(outbox_path(config), key.spool_key, stream_size_max_bytes=size_max, disk=disk)
        self._handover = Handover(
            self.outbox, self._section.batch_records_max, self._section.message_size_max_kib << 10
        )

    def tap(self, name: str, kind: str, stream_id: bytes) -> StreamTap | None:
        """What the pipeline of a stream is given; None for one that does not leave."""
        stream = next((each for each in self._config.streams if each.name == name), None)
        policy = self._section.policy if stream is None else self._config.uplink_policy(stream)
        if policy == OFF:
            return None
        gateway = self._config.gateway.name
        where = topic(self._section.topic, gateway=gateway, stream=name, kind=kind)
        decoder = None
        if kind == CAN and self._section.frames == DECODED and stream is not None and stream.dbc:
            decoder = DbcDecoder.load(self._config.dbc_paths(stream))
        described = StreamFormat(gateway, name, kind, stream_id, where, self._section.format, decoder)
        tap = self._taps[stream_id] = self._handover.tap(described, policy)
        return tap

    def start(self, gateway: Gateway, audit: AuditSource | None) -> None:
        """Makes what `run` runs.  audit: the source of the audit stream, where somebody may command."""
        identity = Identity(
            self._config.gateway.name,
            did_key(self._key.identity.public),
            tuple((tap.stream.stream, tap.stream.kind, tap.stream.stream_id) for tap in self._taps.values()),
        )
        self.uplink = Uplink(self._threads, self.outbox, self._handover, self._section, identity, self._clock)
        if audit is not None:
            self._remote = Remote(
                gateway,
                self._threads,
                self.outbox,
                audit,
                broker_of(self._section),
                client_id(self._section, identity) + "-remote",
                self._key.identity,
                self._clock,
                self._disk,
            )

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            if self.uplink is not None:
                group.create_task(self.uplink.run())
            if self._remote is not None:
                group.create_task(self._remote.run())

    async def wait_idle(self) -> None:
        """Returns when the broker has everything; at once when there is no connection to it."""
        if self.uplink is not None and self.uplink.is_connected:
            await self.uplink.settle()
            await self.uplink.wait_idle()

    def due_losses(self) -> bool:
        """Whether it is time to look at `losses`."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._reported_ns < LOSS_REPORT_MS * 1_000_000:
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
        """Closes the outbox: in the spool's thread."""
        self.outbox.close()


def outbox_path(config: GatewayConfig) -> Path:
    """Where the outbox of a gateway is."""
    return config.spool_path / "outbox.db"
