"""What a running gateway takes of the machine's memory: idle, and at 5,000 frames a second.

Runs on CPython, on Linux.  The gateway is a process of its own, as `cpc run` makes it; its node is another.
Peer: an interpreter that has loaded the same packages of others and does nothing.  That memory stays flat
is shown by `python -m tests.soak`.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from gateway.archive import ReadReport
from gateway.cli_gateway import CONFIG_NAME, make_site, read_status
from gateway.config import load
from gateway.database import open_database
from gateway.site import open_as_owner
from gateway.spool_rows import SCHEMA, SCHEMA_VERSION, read_counts, read_streams
from obd.can_frame import CanFrame
from tests.bench import frames
from tests.bench.measure import FULL, TINY, Row, digest_of
from tests.gateway_process import GatewayProcess, Memory, memory_of
from tests.node_process import NodeProcess

CONFIG = """\
[chain]
node_url = "{node_url}"
poll_ms = {poll_ms}

[[stream]]
name = "can0"
source = "{source}"
segment_blocks = {segment_blocks}
upload_segments = {upload_segments}
"""
SILENT_SOURCE = "can+virtual:bench"
RATE_HZ = 5_000
TRACE_S = {TINY: 1, FULL: 20}
"""Length of the trace that is replayed again and again."""
IDLE_S = {TINY: 0.3, FULL: 5.0}
LOADED_S = {TINY: 1.0, FULL: 75.0}
"""In full size the first upload, after a minute, is part of it."""
SAMPLE_S = 0.1
IDLE_TARGET_MIB = 60.0
LOADED_TARGET_MIB = 90.0
CHECKED_FRAMES = 2_000
PACKAGES = (
    "aiohttp, apsw, can, cbor2, cryptography.hazmat.primitives.ciphers.aead, nacl.signing, tqdm, zstandard"
)


def bench_memory(size: str) -> list[Row]:
    """Rows in MiB: after some seconds without a frame, and the most at 5,000 frames/s."""
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name, NodeProcess(Path(name, "chain")) as node:
        peer = _packages_alone()
        idle_site, loaded_site = Path(name, "idle"), Path(name, "loaded")
        make_gateway(idle_site, node, SILENT_SOURCE)
        with GatewayProcess(idle_site) as gateway:
            wait_for_start(gateway, idle_site)
            idle = _watch(gateway, IDLE_S[size])[-1]
            gateway.stop()
        idle_counts = read_status(load(idle_site / CONFIG_NAME))["spool"]["records"]
        make_gateway(
            loaded_site, node, write_trace(Path(name, "frames.log"), TRACE_S[size]), is_short=size == TINY
        )
        with GatewayProcess(loaded_site) as gateway:
            wait_for_start(gateway, loaded_site)
            samples = _watch(gateway, LOADED_S[size])
            wait_for_records(gateway, loaded_site)
            loaded = max(samples, key=lambda memory: memory.rss_kib)
            gateway.stop()
        return [
            _row("idle gateway", idle, peer, IDLE_TARGET_MIB, digest_of(idle_counts)),
            _row(
                f"at {RATE_HZ:,} frames/s, most of {LOADED_S[size]:g} s",
                loaded,
                peer,
                LOADED_TARGET_MIB,
                stored_digest(loaded_site),
            ),
        ]


def write_trace(path: Path, length_s: int) -> str:
    """Writes frames at RATE_HZ for so many seconds; the URL of a source that replays them for ever."""
    spacing_ns = 1_000_000_000 // RATE_HZ
    samples = (
        (frames.BEGIN_NS + number * spacing_ns, frame) for number, frame in enumerate(_trace_frames(length_s))
    )
    with path.open("w") as file:
        file.writelines(frames.candump_lines(samples))
    return f"replay:{path}?speed=1&loop=0"


def make_gateway(site: Path, node: NodeProcess, source: str, *, is_short: bool = False) -> None:
    """A gateway with one stream.  is_short: segments of 4 s, each an upload, for a run of seconds."""
    poll_ms, segment_blocks, upload_segments = (50, 4, 1) if is_short else (500, 5, 12)
    text = CONFIG.format(
        node_url=node.url,
        poll_ms=poll_ms,
        source=source,
        segment_blocks=segment_blocks,
        upload_segments=upload_segments,
    )
    make_site(site, text, node.genesis, False)


def wait_for_start(gateway: GatewayProcess, site: Path) -> None:
    """Returns when the gateway has a spool, and can be stopped.  Raises RuntimeError when it ends instead."""
    # What it prints first, it prints when it can be stopped in order.
    while not ((site / "spool" / "spool.db").exists() and "stream " in gateway.log):
        gateway.memory()
        time.sleep(0.05)


def wait_for_records(gateway: GatewayProcess, site: Path) -> None:
    """Returns when CHECKED_FRAMES frames are durable, however slow this machine is."""
    path = site / "spool" / "spool.db"
    database = open_database(path, schema=SCHEMA, schema_version=SCHEMA_VERSION, read_only=True)
    try:
        while read_counts(database, 0).records + read_streams(database)[0].sealed_seq < CHECKED_FRAMES:
            gateway.memory()
            time.sleep(SAMPLE_S)
    finally:
        database.close()


def stored_digest(site: Path) -> str:
    """Of the first frames in the store.  Raises RuntimeError when they are not those of the trace."""
    reader = open_as_owner(site / CONFIG_NAME, None)
    try:
        first_ns, last_ns = reader.span_ns()
        records = reader.archive.records(first_ns, last_ns + 1, ReadReport())
        found = [record.value for record in islice(records, CHECKED_FRAMES)]
    finally:
        reader.archive.store.close()
    if len(found) < CHECKED_FRAMES or found != _trace_frames(1)[:CHECKED_FRAMES]:
        raise RuntimeError(f"the first {len(found)} frames in the store are not those that were replayed")
    return digest_of([list(frame) for frame in found])


def _trace_frames(length_s: int) -> list[CanFrame]:
    return [frame for batch in frames.batches(RATE_HZ * length_s) for frame in batch.values]


def _watch(gateway: GatewayProcess, duration_s: float) -> Sequence[Memory]:
    samples = []
    end_s = time.monotonic() + duration_s
    while time.monotonic() < end_s:
        time.sleep(SAMPLE_S)
        samples.append(gateway.memory())
    return samples


def _packages_alone() -> Memory:
    process = subprocess.Popen(
        [sys.executable, "-c", f"import {PACKAGES}\nprint(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        memory = memory_of(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
    return memory


def _row(what: str, memory: Memory, peer: Memory, target_mib: float, digest: str) -> Row:
    rss_mib = memory.rss_kib / 1024
    return Row(
        "memory",
        what,
        "MiB",
        rss_mib,
        "the packages alone",
        peer.rss_kib / 1024,
        memory.rss_kib / peer.rss_kib,
        digest,
        target_mib,
        f"Pss {memory.pss_kib / 1024:.1f} MiB",
    )
