"""The process that `tests.kill` kills: a gateway that writes down what it has promised.

Runs on CPython.  It is what `cpc run` runs, but that its source keeps a journal: a line for the boot, and
one for each batch that the gateway has acknowledged, appended when the acknowledgement comes and never
before.  A killed process loses nothing that it has handed to the kernel, so the journal says exactly what
was promised:

    boot 3
    ack FIRST_SEQ COUNT SHA256     of times and frames of records FIRST_SEQ, FIRST_SEQ + 1 ..
    end                            the gateway has ended by itself, everything anchored
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.cli_gateway import CONFIG_NAME
from gateway.config import load
from gateway.crypto.key_file import load_gateway_key
from gateway.sensors.schemes import SCHEMES
from gateway.sensors.source import Batch, Clock, Source, SourceUrl
from tests.bench.frames import frames_digest

ANCHOR_TIMEOUT_MS = 60_000
BATCH_FRAMES = 10
"""In a batch: a commit each, some thousand a second."""


class Journal:
    """A file that is only ever appended to, a whole line at a time."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, line: str) -> None:
        """Appends a line; once this returns, no kill takes it back."""
        data = line.encode() + b"\n"
        if os.write(self._descriptor, data) != len(data):
            raise OSError("the journal took only a part of a line")


class Journaled(Source):
    """A source that comes in small batches, and whose acknowledgements are written down."""

    def __init__(self, source: Source, journal: Journal) -> None:
        super().__init__(source.name)
        self.kind = source.kind
        self.stats = source.stats
        self._source = source
        self._journal = journal
        self._next_seq = 0

    async def batches(self) -> AsyncIterator[Batch]:
        """Those of the source, which must have no gaps, cut small: there is always one under way."""
        async for batch in self._source.batches():
            assert not batch.gaps
            for begin in range(0, len(batch.values), BATCH_FRAMES):
                end = begin + BATCH_FRAMES
                yield Batch(batch.taken_ns[begin:end], batch.values[begin:end])

    def acknowledge(self, batch: Batch) -> None:
        """Writes down that this batch was promised to be durable."""
        digest = frames_digest(zip(batch.taken_ns, batch.values, strict=True))
        self._journal.write(f"ack {self._next_seq} {len(batch.values)} {digest}")
        self._next_seq += len(batch.values)

    async def close(self) -> None:
        """Ends `batches`."""
        await self._source.close()


def run(site: Path, journal_path: Path) -> None:
    """Runs the gateway of `site`, which replays a trace, until it ends or somebody ends it."""
    journal = Journal(journal_path)
    scheme = SCHEMES["replay"]

    def opened(url: SourceUrl, name: str, clock: Clock) -> Source:
        return Journaled(scheme.opener(url, name, clock), journal)

    SCHEMES["replay"] = replace(scheme, opener=opened)
    asyncio.run(_run(site, journal))


async def _run(site: Path, journal: Journal) -> None:
    config = load(site / CONFIG_NAME)
    key = load_gateway_key(config.key_path)
    async with GatewayApp(config, key, load_genesis(config.genesis_path)) as app:
        journal.write(f"boot {app.spool.boot}")
        await app.run(ANCHOR_TIMEOUT_MS)
        counts = await app.in_spool_thread(app.spool.counts)
        if counts.records or counts.segments or counts.uploads:
            raise RuntimeError(f"the gateway ended before everything was anchored: {counts}")
    journal.write("end")
