"""`python -m tests.kill --runs 200 --seed 1`: kills a gateway at random moments, and checks its promises.

Runs on CPython, on Linux.  A gateway replays a trace, much faster than it was recorded, so that sealing,
storing and anchoring go on all the time.  At a random moment after its start it gets SIGKILL; the next
one starts on what it left.  After every STORY_RUNS kills one is left to finish, and then

    every acknowledged record is in the store, once, with its content,
    so is what was taken in and not acknowledged yet, at most one batch a run: numbers have no holes,
    nothing is left in the spool, no two segments share an id (so no nonce was used twice),
    manifests and evidence are complete, and a record of every chunk verifies down to the certificate.

Moments come from the seed, counted in promises so that none comes too early for a slow machine; what
happens at a moment does not, as the machine is never the same twice.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from chain_node.wire import Genesis
from gateway.archive import Archive, ReadReport
from gateway.cli_gateway import CONFIG_NAME, make_site, read_status
from gateway.config import load
from gateway.crypto.errors import CryptoError
from gateway.errors import EvidenceError, StoreError
from gateway.ingest import GROUP_BATCHES_MAX
from gateway.manifest import NO_MANIFEST
from gateway.proof import collect
from gateway.record import Record, RecordName
from gateway.sensors.can_simulated import SimulatedBus
from gateway.site import Reader, open_as_owner
from obd.can_frame import CanFrame
from tests import kill_victim
from tests.bench.frames import candump_lines, frames_digest
from tests.node_process import NodeProcess

CONFIG = """\
[chain]
node_url = "{node_url}"
poll_ms = 20

[[stream]]
name = "can0"
source = "{source}"
segment_blocks = 4
upload_segments = 2
"""
"""Segments of 4 s, two an upload."""
RATE_HZ = 25
"""Of the trace, which is replayed as fast as it goes: few frames in a segment, so that there is always one
to be sealed, stored and anchored."""
TRACE_S = 800
LAST_TRACE_S = 80
"""Of the trace that the last gateway of a story takes in before it ends."""
LINES_MAX = 150
"""Of the journal that a gateway writes before the latest kill."""
STARTS_PERCENT = 20
"""Of the kills, that come while a gateway starts: before it has opened anything, or soon after."""
START_S = 0.3
JITTER_S = 0.05
"""The latest kill after the last line that is waited for: it comes at any moment of what follows."""
POLL_S = 0.002
STORY_RUNS = 10
RUN_TIMEOUT_S = 120.0
BLOCK_PERIOD_MS = 50
JOURNAL_NAME = "journal"


@dataclass(slots=True)
class Boot:
    """What one gateway has promised before it was killed."""

    boot: int
    acks: list[tuple[int, int, str]] = field(default_factory=list)
    """(first number, count, digest of the content)."""

    @property
    def end_seq(self) -> int:
        """Number after the last record that was acknowledged."""
        return self.acks[-1][0] + self.acks[-1][1] if self.acks else 0


@dataclass(slots=True)
class Tally:
    """What was found in the stores of all stories."""

    kills: int = 0
    boots: int = 0
    """Kills and last runs that came as far as a boot of the spool."""
    acknowledged: int = 0
    """Records, all of which must be there."""
    unacknowledged: int = 0
    """Records that were taken in, but killed before anybody was told."""
    uploads: int = 0
    proofs: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Adds the counts of another story."""
        for name in Tally.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def read_journal(text: str) -> tuple[list[Boot], bool]:
    """(what each boot has promised, whether the last gateway ended by itself).

    A last line without its end is no promise: the kill came while it was written.
    """
    boots: list[Boot] = []
    is_ended = False
    for line in text.split("\n")[:-1]:
        word, *values = line.split()
        is_ended = word == "end"
        if word == "boot":
            boots.append(Boot(int(values[0])))
        elif word == "ack":
            boots[-1].acks.append((int(values[0]), int(values[1]), values[2]))
    return boots, is_ended


def check_records(boots: Sequence[Boot], records: Sequence[Record], trace: Sequence[CanFrame]) -> Tally:
    """Holds what is in the store against what was promised.  trace: what every boot replays, in a circle."""
    tally = Tally(boots=len(boots))
    problems = tally.problems
    counts = Counter(record.name for record in records)
    problems += [f"{name} is there {count} times" for name, count in counts.items() if count > 1]
    by_boot: dict[int, dict[int, Record]] = {boot.boot: {} for boot in boots}
    for record in records:
        if record.name.boot not in by_boot:
            problems.append(f"{record.name} is of a boot that never was")
            continue
        by_boot[record.name.boot][record.name.seq] = record
    for boot in boots:
        found = by_boot[boot.boot]
        tally.acknowledged += boot.end_seq
        tally.unacknowledged += max(len(found) - boot.end_seq, 0)
        end = 0
        for first, count, digest in boot.acks:
            if first != end:
                problems.append(f"boot {boot.boot}: its journal promises record {first} after record {end}")
            end = first + count
            part = [found[seq] for seq in range(first, first + count) if seq in found]
            if len(part) < count:
                problems.append(
                    f"boot {boot.boot}: {count - len(part)} of the acknowledged records "
                    f"{first}..{first + count - 1} are lost"
                )
            elif _digest(part) != digest:
                problems.append(f"boot {boot.boot}: records {first}..{first + count - 1} have other content")
        if sorted(found) != list(range(len(found))):
            problems.append(f"boot {boot.boot}: its records are not numbered without holes")
        if len(found) > boot.end_seq + kill_victim.BATCH_FRAMES * GROUP_BATCHES_MAX:
            problems.append(
                f"boot {boot.boot}: {len(found)} records, {boot.end_seq} acknowledged; one commit takes less"
            )
        problems += [
            f"{record.name} is {record.value}, {trace[seq % len(trace)]} was replayed"
            for seq, record in found.items()
            if record.value != trace[seq % len(trace)]
        ]
    return tally


def _digest(records: Sequence[Record]) -> str | None:
    """Of times and frames; None when one of them is no frame."""
    if not all(isinstance(record.value, CanFrame) for record in records):
        return None
    return frames_digest((record.taken_ns, record.value) for record in records)


def check_uploads(reader: Reader, genesis: Genesis) -> Tally:
    """Manifests follow each other, no segment id was used twice, and a record of every chunk is proven."""
    archive = reader.archive
    tally = Tally()
    indexes = archive.upload_indexes()
    if indexes != list(range(len(indexes))):
        tally.problems.append(f"uploads {indexes} have holes")
        return tally
    previous, next_block = NO_MANIFEST, 0
    segment_ids: Counter[bytes] = Counter()
    for index in indexes:
        manifest = archive.manifest(index)
        if manifest.previous != previous or manifest.first_block != next_block:
            tally.problems.append(f"upload {index} does not continue the one before")
        previous, next_block = manifest.digest, manifest.last_chunk.block_index + 1
        segment_ids.update(segment.segment_id for segment in manifest.segments)
        for _, _, chunk in manifest.chunks():
            tally.problems += _prove(
                archive, reader.owner, RecordName(archive.name, chunk.boot, chunk.first_seq), genesis
            )
            tally.proofs += 1
    tally.uploads = len(indexes)
    tally.problems += [
        f"segment id {name.hex()} is used {count} times" for name, count in segment_ids.items() if count > 1
    ]
    return tally


def _prove(archive: Archive, owner: bytes, name: RecordName, genesis: Genesis) -> list[str]:
    found: list[Record] = []
    try:
        proof = collect(archive, owner, name)
    except (CryptoError, EvidenceError, StoreError) as error:
        return [f"{name}: {error}"]
    failed = [
        f"{name}: {link.name}: {link.detail}" for link in proof.links(genesis, found.append) if not link.is_ok
    ]
    return failed or (
        [] if [record.name for record in found] == [name] else [f"{name}: its proof shows another"]
    )


def check_site(site: Path, journal: str, trace: Sequence[CanFrame], genesis: Genesis) -> Tally:
    """All that a story must leave behind."""
    boots, is_ended = read_journal(journal)
    reader = open_as_owner(site / CONFIG_NAME, None)
    try:
        report = ReadReport()
        records = list(reader.archive.records(-(1 << 62), 1 << 62, report))
        tally = check_records(boots, records, trace)
        tally.problems += report.problems
        tally.add(check_uploads(reader, genesis))
    finally:
        reader.archive.store.close()
    waiting = read_status(load(site / CONFIG_NAME))["spool"]
    if any(waiting[name] for name in ("records", "segments", "uploads")):
        tally.problems.append(f"the last gateway has left something in the spool: {waiting}")
    if not is_ended:
        tally.problems.append("the last gateway did not end by itself")
    return tally


class Killer:
    """Starts gateways on one site after the other, and kills them."""

    def __init__(self, folder: Path, node: NodeProcess, seed: int) -> None:
        self._folder = folder
        self._node = node
        self._random = random.Random(seed)
        self._frames = write_trace(folder / "frames.log", TRACE_S)
        write_trace(folder / "last.log", LAST_TRACE_S)
        # A server that has imported everything forks each gateway: a start takes 20 ms, not a second.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([kill_victim.__name__])

    def story(self, number: int, kills: int, progress: "tqdm[None]") -> Tally:
        """A new gateway, killed so many times, then left to finish, then checked."""
        site = self._folder / f"site-{number}"
        self._configure(site, f"replay:{self._folder / 'frames.log'}?speed=max&loop=0")
        for _ in range(kills):
            is_start = self._random.random() < STARTS_PERCENT / 100
            line_count = 0 if is_start else self._random.randint(1, LINES_MAX)
            victim = self._start_and_wait(site, line_count)
            victim.join(self._random.uniform(0, START_S if is_start else JITTER_S))
            is_early = victim.exitcode is not None
            victim.kill()
            victim.join()
            if is_early:
                raise RuntimeError(f"a gateway ended by itself with status {victim.exitcode}; see above")
            progress.update()
        self._configure(site, f"replay:{self._folder / 'last.log'}?speed=max")
        last = self._start(site)
        last.join(RUN_TIMEOUT_S)
        last.kill()
        last.join()
        tally = check_site(site, (site / JOURNAL_NAME).read_text(), self._frames, self._node.genesis)
        tally.kills = kills
        if not tally.problems:
            shutil.rmtree(site)
        return tally

    def _start_and_wait(self, site: Path, line_count: int) -> multiprocessing.context.ForkServerProcess:
        """A gateway that has written so many lines of the journal, or has ended."""
        journal = site / JOURNAL_NAME
        end = lines_of(journal) + line_count
        victim = self._start(site)
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while lines_of(journal) < end and victim.exitcode is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {line_count} lines of {journal} in {RUN_TIMEOUT_S:g} s; see above")
            victim.join(POLL_S)
        return victim

    def _configure(self, site: Path, source: str) -> None:
        text = CONFIG.format(node_url=self._node.url, source=source)
        make_site(site, text, self._node.genesis, False)

    def _start(self, site: Path) -> multiprocessing.context.ForkServerProcess:
        victim = self._context.Process(target=kill_victim.run, args=(site, site / JOURNAL_NAME))
        victim.start()
        return victim


def lines_of(path: Path) -> int:
    """Whole lines of a file that may not be there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def write_trace(path: Path, length_s: int) -> list[CanFrame]:
    """Writes what a simulated car says in so many seconds; the frames of it."""
    bus = SimulatedBus(1, RATE_HZ)
    taken_ns: list[int] = []
    frames: list[CanFrame] = []
    while bus.elapsed_ns < length_s * 10**9:
        bus.tick(taken_ns, frames)
    with path.open("w") as file:
        file.writelines(candump_lines(zip(taken_ns, frames, strict=True)))
    return frames


def run(runs: int, seed: int, folder: Path) -> Tally:
    """Kills `runs` gateways; what was found.  folder: new; sites with problems stay in it."""
    total = Tally()
    with NodeProcess(folder / "chain", BLOCK_PERIOD_MS) as node, tqdm(total=runs, unit="kill") as progress:
        killer = Killer(folder, node, seed)
        for number, first in enumerate(range(0, runs, STORY_RUNS)):
            total.add(killer.story(number, min(STORY_RUNS, runs - first), progress))
            if total.problems:
                break
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was found; exit status 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="cpc-kill-"))
    tally = run(args.runs, args.seed, folder)
    if not tally.problems:
        shutil.rmtree(folder)
        print(
            f"{tally.kills} kills, {tally.boots} boots: {tally.acknowledged} records acknowledged, "
            f"all there once, and {tally.unacknowledged} more; "
            f"{tally.uploads} uploads and {tally.proofs} proofs hold"
        )
        return 0
    print(f"after {tally.kills} kills, {len(tally.problems)} problems in {folder}:")
    for problem in tally.problems[:20]:
        print(f"  {problem}")
    print(f"again: python -m tests.kill --runs {args.runs} --seed {args.seed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
