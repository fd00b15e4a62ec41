"""The process that tests.faults kills: a gateway with an uplink, that says what it has promised.

Runs on CPython, on Linux.  Its source counts: record number n of a boot says n.  Through a pipe goes a line
for the boot, and one for each batch when it is acknowledged and never before.  A killed process loses nothing
that it has handed to the kernel, so its parent knows exactly what was promised:

    boot 3
    ack FIRST_SEQ COUNT
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import apsw

from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.cli_gateway import CONFIG_NAME, GENESIS_NAME
from gateway.config import load
from gateway.crypto.key_file import load_gateway_key
from gateway.sensors.schemes import SCHEMES, Scheme
from gateway.sensors.source import BLOCK, SYSTEM_CLOCK, Batch, Clock, Source, SourceUrl

SCHEME = "counting"
BATCH_READINGS = 10
PAUSE_MS = 2
LAST_COUNT = 200
"""Readings of the gateway that is left to end by itself."""
FULL_BATCHES_MAX = 60
"""Batches between two times at which the disk is full, at most."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the gateway is to do and to suffer."""

    is_last: bool = False
    """It is not killed: until all of LAST_COUNT readings have left."""
    full_seed: int | None = None
    """Its disk is full now and then, at moments that come from this seed."""


class CountingSource(Source):
    """Small batches, without end or LAST_COUNT long."""

    kind = "reading"

    def __init__(self, name: str, pipe: Connection, part: Part, clock: Clock) -> None:
        super().__init__(name)
        self._pipe = pipe
        self._part = part
        self._clock = clock
        self._is_closed = False
        self.acknowledged = asyncio.Semaphore(0)
        """Released with each batch."""

    async def batches(self) -> AsyncIterator[Batch]:
        """Until closed."""
        seq = 0
        while not self._is_closed and not (self._part.is_last and seq >= LAST_COUNT):
            now_ns = self._clock.now_ns()
            yield Batch([now_ns] * BATCH_READINGS, [{"n": seq + place} for place in range(BATCH_READINGS)])
            seq += BATCH_READINGS
            await self._clock.sleep(PAUSE_MS / 1000)

    def acknowledge(self, batch: Batch) -> None:
        """Says that it was promised."""
        self._pipe.send(f"ack {batch.values[0]['n']} {len(batch.values)}")
        self.acknowledged.release()

    async def close(self) -> None:
        """Ends `batches`."""
        self._is_closed = True


def run(site: Path, pipe: Connection, part: Part) -> None:
    """Runs the gateway of `site`."""

    def opened(url: SourceUrl, name: str, clock: Clock) -> Source:
        return CountingSource(name, pipe, part, clock)

    SCHEMES[SCHEME] = Scheme(opened, f"{SCHEME}:up", overruns=(BLOCK,))
    # It has no node and often no broker, and would speak of nothing else.
    logging.disable()
    asyncio.run(_run(site, pipe, part))


async def _run(site: Path, pipe: Connection, part: Part) -> None:
    config = load(site / CONFIG_NAME)
    key = load_gateway_key(config.key_path)
    async with GatewayApp(config, key, load_genesis(site / GENESIS_NAME)) as app:
        pipe.send(f"boot {app.spool.boot}")
        filling = None
        if part.full_seed is not None:
            filling = asyncio.ensure_future(_fill_again_and_again(app, random.Random(part.full_seed)))
        await app.run(0)
        if filling is not None:
            filling.cancel()
        if part.is_last:
            await _drain(app)


async def _fill_again_and_again(app: GatewayApp, moments: random.Random) -> None:
    """SQLite finds no room for another page, in the spool and in the outbox, until ingest has noticed."""
    (stream,) = app.streams
    source = stream.source
    assert isinstance(source, CountingSource)
    assert app.uplink is not None
    databases = (app.spool._database, app.uplink.outbox._database)
    while True:
        for _ in range(moments.randint(1, FULL_BATCHES_MAX)):
            await source.acknowledged.acquire()
        await app.in_spool_thread(lambda: _limit(databases, 0))
        while not stream.is_full:
            await SYSTEM_CLOCK.sleep(0.01)
        await app.in_spool_thread(lambda: _limit(databases, 1 << 30))


def _limit(databases: tuple[apsw.Connection, ...], pages_max: int) -> None:
    for database in databases:
        pages: int = database.pragma("page_count")
        database.pragma("max_page_count", max(pages, pages_max))


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
