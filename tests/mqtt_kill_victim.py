"""The process that tests/test_mqtt_kill.py kills: a gateway with an uplink, that notes what it promised.

Runs on CPython.  Its source counts: record number n of a boot says n.  The journal gets a line for the boot
and one for each batch, when it is acknowledged and never before; see tests/kill_victim.py.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.cli_gateway import CONFIG_NAME, GENESIS_NAME
from gateway.config import load
from gateway.crypto.key_file import load_gateway_key
from gateway.sensors.schemes import SCHEMES, Scheme
from gateway.sensors.source import Batch, Clock, Source, SourceUrl
from tests.kill_victim import Journal

SCHEME = "counting"
BATCH_READINGS = 10
PAUSE_MS = 2
LAST_COUNT = 200
"""Readings of the gateway that is left to end by itself."""


class CountingSource(Source):
    """Small batches, without end or LAST_COUNT long."""

    kind = "reading"

    def __init__(self, name: str, journal: Journal, is_last: bool, clock: Clock) -> None:
        super().__init__(name)
        self._journal = journal
        self._is_last = is_last
        self._clock = clock
        self._is_closed = False

    async def batches(self) -> AsyncIterator[Batch]:
        """Until closed."""
        seq = 0
        while not self._is_closed and not (self._is_last and seq >= LAST_COUNT):
            now_ns = self._clock.now_ns()
            yield Batch([now_ns] * BATCH_READINGS, [{"n": seq + place} for place in range(BATCH_READINGS)])
            seq += BATCH_READINGS
            await asyncio.sleep(PAUSE_MS / 1000)

    def acknowledge(self, batch: Batch) -> None:
        """Writes the promise down."""
        self._journal.write(f"ack {batch.values[0]['n']} {len(batch.values)}")

    async def close(self) -> None:
        """Ends `batches`."""
        self._is_closed = True


def run(site: Path, journal_path: Path, is_last: bool) -> None:
    """Runs the gateway of `site`.  is_last: until all of LAST_COUNT readings have left."""
    journal = Journal(journal_path)

    def opened(url: SourceUrl, name: str, clock: Clock) -> Source:
        return CountingSource(name, journal, is_last, clock)

    SCHEMES[SCHEME] = Scheme(opened, f"{SCHEME}:up")
    asyncio.run(_run(site, journal, is_last))


async def _run(site: Path, journal: Journal, is_last: bool) -> None:
    config = load(site / CONFIG_NAME)
    key = load_gateway_key(config.key_path)
    async with GatewayApp(config, key, load_genesis(site / GENESIS_NAME)) as app:
        journal.write(f"boot {app.spool.boot}")
        await app.run(0)
        if is_last:
            await _drain(app)


async def _drain(app: GatewayApp) -> None:
    """The chain is away here, so it is not waited for; the broker is."""
    assert app.uplink is not None
    task = asyncio.ensure_future(app.uplink.run())
    uplink = app.uplink.uplink
    assert uplink is not None
    await uplink.settle()
    await uplink.wait_idle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
