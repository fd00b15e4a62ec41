"""CAN frames from memory to anchored evidence, by the whole gateway as `cpc run` runs it.

Runs on CPython.  Measured: everything this process does from the first batch until the node's certificate
of the last upload has verified, all threads: pipeline, spool, sealing, store, manifests, signing, talking
to the node over HTTP, checking its evidence.  Not measured: receiving from a bus, and the node itself,
which is another process.  Afterwards every record is read back and its frames hashed.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cantools

from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.archive import ReadReport
from gateway.cli_gateway import CONFIG_NAME, make_site
from gateway.config import load
from gateway.crypto.key_file import load_gateway_key
from gateway.evidence import anchor_of, check, decode_evidence
from gateway.sensors.can_simulated import DBC_PATH
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.source import Batch
from gateway.site import open_as_owner
from obd.can_frame import CanFrame
from tests.bench import frames, straw_man
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare
from tests.bench.ready_source import ready
from tests.node_process import NodeProcess

CONFIG = """\
[chain]
node_url = "{node_url}"
poll_ms = {poll_ms}

[[stream]]
name = "can0"
source = "{source}"
"""
"""All else as a gateway has it that nobody has tuned: T = 1 s, e = 5, u = 12."""
POLL_MS = {"tiny": 50, FULL: 500}
"""In full size, as it comes."""
FRAME_COUNT = {"tiny": 4_000, FULL: 200_000}
DECODED_FRAME_COUNT = {"tiny": 2_000, FULL: 40_000}
ROUNDS = {"tiny": 1, FULL: 5}
ANCHOR_TIMEOUT_MS = 60_000
RAW_TARGET_US = 3.0
"""In full size; in tiny size the start and the end of a gateway are most of the cost."""
DECODED_TARGET_US = 12.0


def bench_raw(size: str) -> list[Row]:
    """Frames as they are."""
    batches = frames.batches(FRAME_COUNT[size])
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name, NodeProcess(Path(name, "chain")) as node:
        return compare(
            "can-ingest",
            f"frame of {frames.origin()}",
            lambda: lap(node, batches, size),
            {"straw-man": lambda: straw_lap(batches)},
            ROUNDS[size],
            is_same_result=True,
            target=RAW_TARGET_US if size == FULL else None,
        )


def bench_decoded(size: str) -> list[Row]:
    """The same, every frame decoded on the way, as nobody should."""
    batches = frames.batches(DECODED_FRAME_COUNT[size])
    dbc_path = frames.TRACE_DBC if frames.is_real() else DBC_PATH
    decoder = DbcDecoder.load([dbc_path])
    database = cantools.database.can.Database(strict=False)
    database.add_dbc_file(str(dbc_path))
    known = {message.frame_id for message in database.messages}

    def look(batch: Batch) -> None:
        for frame in batch.values:
            decoder.decode(frame)

    def plain_decode(frame: CanFrame) -> object:
        if frame.arbitration_id not in known:
            return None
        try:
            return database.decode_message(frame.arbitration_id, frame.data)
        except cantools.database.DecodeError:
            return None

    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name, NodeProcess(Path(name, "chain")) as node:
        return compare(
            "can-ingest-decoded",
            f"frame of {frames.origin()}",
            lambda: lap(node, batches, size, look),
            {
                "straw-man with our decoder": lambda: straw_lap(batches, decoder.decode),
                "straw-man with cantools": lambda: straw_lap(batches, plain_decode),
            },
            ROUNDS[size],
            is_same_result=True,
            target=DECODED_TARGET_US if size == FULL else None,
        )


def lap(
    node: NodeProcess,
    batches: Sequence[Batch],
    size: str,
    look: Callable[[Batch], None] | None = None,
) -> Lap:
    """A new gateway takes in `batches`; digest: of the frames read back from its store."""
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name, ready(batches, look) as url:
        site = make_bench_site(Path(name), node, url, size)
        cpu_us = asyncio.run(run_site(site))
        return Lap(cpu_us, sum(len(batch.values) for batch in batches), _digest(site))


def make_bench_site(site: Path, node: NodeProcess, url: str, size: str) -> Path:
    """A new gateway's folder, `site`, with one stream from `url`."""
    text = CONFIG.format(node_url=node.url, poll_ms=POLL_MS[size], source=url)
    make_site(site, text, node.genesis, False)
    return site


def straw_lap(batches: Sequence[Batch], decode: Callable[[CanFrame], object] | None = None) -> Lap:
    """The straw-man takes in `batches`."""
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name:
        return straw_man.run(Path(name, "straw-man.db"), batches, decode)


async def run_site(site: Path) -> float:
    """Runs the gateway of `site` until all is anchored; CPU microseconds that it took."""
    config = load(site / CONFIG_NAME)
    key = load_gateway_key(config.key_path)
    async with GatewayApp(config, key, load_genesis(config.genesis_path)) as app:
        with Stopwatch() as watch:
            await app.run(ANCHOR_TIMEOUT_MS)
        counts = await app.in_spool_thread(app.spool.counts)
        if counts.records or counts.segments or counts.uploads:
            raise RuntimeError(f"not everything was anchored: {counts}")
    return watch.cpu_us


def _digest(site: Path) -> str:
    """Of all frames in the store.  Raises EvidenceError when one of their uploads is not anchored."""
    reader = open_as_owner(site / CONFIG_NAME, None)
    archive = reader.archive
    try:
        genesis = load_genesis(site / "genesis.cbor")
        for index in archive.upload_indexes():
            evidence = decode_evidence(archive.evidence(index) or b"")
            check(evidence, reader.owner, genesis, anchor_of(archive.manifest(index)))
        first_ns, last_ns = reader.span_ns()
        report = ReadReport()
        digest = frames.frames_digest(
            (record.taken_ns, record.value) for record in archive.records(first_ns, last_ns + 1, report)
        )
        if report.problems:
            raise RuntimeError(f"not everything could be read back: {report.problems}")
    finally:
        archive.store.close()
    return digest
