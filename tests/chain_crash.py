"""Crash tests of a chain's file: `python -m tests.chain_crash --points 1000 --seed 7`.

Runs on CPython.  One run votes, commits and prunes, reopens its file, gives up one snapshot and installs
another, all through the storage that a node has, on a disk that records (tests/crash_disk.py).  Then the
power fails at many points of it: what was not synced is lost, torn or there, by seed.  After each cut the
file must open, `check` must find nothing wrong, and

    every block that was acknowledged is there, with certificate and transactions, as far as none was pruned,
    every vote that was acknowledged is there, as long as its height is open,
    the head is the last that was acknowledged, or the one that was being written,
    and the chain goes on: another block, and the rest of a snapshot that had begun.

At every NESTED-th point the power also fails during that recovery.  Everything comes from the seed.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from chain_node import ledger
from chain_node.block import Block, Certificate, Phase, Vote, certify
from chain_node.check import check
from chain_node.errors import ChainError
from chain_node.kept import Kept
from chain_node.ledger import Execution
from chain_node.pruning import Retention
from chain_node.schedule import TakeTurns
from chain_node.snapshot import SnapshotClient
from chain_node.state import State
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.joining import honest, join
from tests.chain_node.world import ALICE, PROPOSER, VALIDATORS, certificate_of, genesis_of, key
from tests.crash_disk import CrashLog, Image

VALIDATOR = VALIDATORS[0]
GENESIS = genesis_of(VALIDATORS[:1])
RETENTION = Retention(states_kept=3, bodies_bytes_max=4_000, headers_kept=9)
"""Little, so that every commit prunes something of each kind."""
CHECKPOINT_PAGES = 24
BLOCKS = 12
"""Before the snapshot, and as many again between two of them."""
PEER = b"p" * 32
NAME = "chain.sqlite"
NESTED = 10
NESTED_POINTS = 2


class Broken(Exception):
    """A promise was not kept."""


@dataclass(slots=True)
class Tally:
    """What was checked."""

    points: int = 0
    nested: int = 0
    operations: int = 0
    blocks: int = 0
    """Acknowledged blocks that were looked for, over all points."""
    votes: int = 0
    """Acknowledged votes that were looked for."""
    problems: list[str] = field(default_factory=list)


def make(storage: Storage, payments: int = 3) -> tuple[Block, Certificate, Execution]:
    """A certified block on the head, the same on every storage with this head."""
    head = storage.head
    nonce = State(storage.entries(head.state_root)).account(ALICE.public).nonce
    transactions = [
        Transaction.sign(
            ALICE,
            GENESIS.chain_id,
            nonce + number,
            Transfer(key(f"{head.height} {number}").public, 5),
            GENESIS.fee_min_ucpc,
        )
        for number in range(payments)
    ]
    place = ledger.Place(
        GENESIS, head.height + 1, head.time_ms + 1, PROPOSER.public, TakeTurns(GENESIS.proposers)
    )
    execution = ledger.execute(storage.read_node, head, place, transactions)
    block = ledger.block_of(head, place, 0, execution)
    return block, certificate_of(GENESIS, block.header, [VALIDATOR]), execution


def step(storage: Storage, log: CrashLog | None) -> None:
    """Vote for the next block, twice, and commit it; each time say what is promised now."""
    block, certificate, execution = make(storage)
    header = block.header

    def vote(phase: Phase) -> Vote:
        return Vote.sign(VALIDATOR, GENESIS.chain_id, header.height, 0, phase, header.block_hash)

    prepare = vote(Phase.PREPARE)
    for kept in (
        Kept(prepare, block),
        Kept(vote(Phase.COMMIT), certificate=certify([prepare], GENESIS.validators)),
    ):
        storage.put_votes([kept])
        if log:
            log.mark("voted", kept)
    if log:
        log.mark("committing", header.height)
    storage.commit(block, certificate, execution)
    if log:
        log.mark("committed", (block, certificate))


def open_storage(folder: Path, log: CrashLog | None) -> Storage:
    """The file, as a node opens it."""
    options: dict[str, Any] = {} if log is None else {"vfs": log.vfs}
    return Storage.open(
        folder / NAME, GENESIS, checkpoint_pages=CHECKPOINT_PAGES, retention=RETENTION, **options
    )


def record_run(log: CrashLog, folder: Path, source: Storage, seed: int) -> None:
    """The life of a node, on a disk that records it; `source` is a peer that is ahead."""
    rng = random.Random(seed)
    log.mark("begun")
    storage = open_storage(folder, log)
    try:
        for _ in range(BLOCKS):
            step(storage, log)
            if rng.random() < 0.2:
                storage.close()
                storage = open_storage(folder, log)
        # A snapshot that is given up, since blocks come after all.
        join(SnapshotClient(storage, GENESIS), {PEER: honest(source)}, answers_max=3)
        for _ in range(2):
            step(storage, log)
        log.mark("committing", source.head.height)
        join(SnapshotClient(storage, GENESIS), {PEER: honest(source)})
        log.mark("installed", source.head.height)
        for _ in range(BLOCKS):
            step(storage, log)
    finally:
        storage.close()


def recover(log: CrashLog | None, image: Image, source: Storage, tally: Tally) -> None:
    """What a node does after the power is back; holds what it finds against what was promised."""
    with closing(open_storage(image.directory, log)) as storage:
        report = check(storage)
        if not report.is_sound:
            raise Broken(f"the check says: {'; '.join(map(str, report.damages))}")
        look_for_blocks(image, storage, tally)
        look_for_votes(image, storage, tally)
        if storage.is_joining and storage.head.height < source.head.height:
            join(SnapshotClient(storage, GENESIS), {PEER: honest(source)})
            if storage.head.height != source.head.height:
                raise Broken("the snapshot that had begun cannot be finished")
        step(storage, None)
        report = check(storage)
        if not report.is_sound:
            raise Broken(f"after another block the check says: {'; '.join(map(str, report.damages))}")


def look_for_blocks(image: Image, storage: Storage, tally: Tally) -> None:
    """Every acknowledged block, unless it was pruned."""
    blocks = cast(list[tuple[Block, Certificate]], image.payloads("committed"))
    promised = [block.header.height for block, _ in blocks]
    promised += cast(list[int], image.payloads("installed"))
    head = max([0, *promised])
    allowed = {head, *cast(list[int], image.payloads("committing"))[-1:]}
    if storage.head.height not in allowed:
        raise Broken(f"the head is block {storage.head.height}; promised is {head}, begun {sorted(allowed)}")
    for block, certificate in blocks:
        header = block.header
        if header.height >= storage.headers_from:
            if storage.headers(header.height, 1) != [(header.data, certificate.encode())]:
                raise Broken(f"block {header.height} was acknowledged, and is gone")
            tally.blocks += 1
        if header.height >= storage.bodies_from:
            stored = storage.block(header.height)
            if stored is None or stored.transactions != tuple(each.data for each in block.transactions):
                raise Broken(f"block {header.height} has lost its transactions")
            for position, transaction in enumerate(block.transactions):
                if storage.find_transaction(transaction.tx_hash) != (header.height, position):
                    raise Broken(f"a transaction of block {header.height} is not found")
    # What may be pruned is bounded: the newest are always there, and a snapshot is a beginning.
    oldest = max(1, storage.head.height - (RETENTION.headers_kept or 0) + 1)
    if storage.headers_from > oldest and storage.headers_from not in image.payloads("committing"):
        raise Broken(f"headers begin at {storage.headers_from} only")


def look_for_votes(image: Image, storage: Storage, tally: Tally) -> None:
    """Every acknowledged vote, as long as its height is open."""
    for payload in image.payloads("voted"):
        assert isinstance(payload, Kept)
        if payload.vote.height > storage.head.height:
            if payload not in storage.votes(payload.vote.height):
                raise Broken(f"the vote {payload.vote.form} at height {payload.vote.height} is forgotten")
            tally.votes += 1


def crash_at(
    log: CrashLog, point: int, seed: int, folder: Path, source: Storage, tally: Tally, is_nested: bool
) -> None:
    """Cuts the power at one point, recovers and checks; and again during that recovery.  Raises Broken."""
    image = log.image(point, seed, folder / "image")
    if not image.payloads("begun"):
        shutil.rmtree(image.directory)
        return
    with CrashLog(image.directory) as recovery:
        recover(recovery if is_nested else None, image, source, tally)
        tally.points += 1
        if is_nested:
            for second in recovery.points(NESTED_POINTS, seed + point):
                again = recovery.image(second, seed, folder / "again")
                story = f"{image.story}; then, during the recovery, {again.story}"
                # A block that the recovery has added may be there or not: it was not promised.
                recover_again(Image(again.directory, image.marks, story), source)
                shutil.rmtree(again.directory)
                tally.nested += 1
    shutil.rmtree(image.directory)


def recover_again(image: Image, source: Storage) -> None:
    """After a cut during a recovery: sound, and nothing promised is missing."""
    with closing(open_storage(image.directory, None)) as storage:
        report = check(storage)
        if not report.is_sound:
            raise Broken(f"{image.story}: the check says: {'; '.join(map(str, report.damages))}")
        for payload in image.payloads("committed"):
            block, certificate = cast(tuple[Block, Certificate], payload)
            height = block.header.height
            if height >= storage.headers_from and storage.headers(height, 1) != [
                (block.header.data, certificate.encode())
            ]:
                raise Broken(f"{image.story}: block {height} is gone")
        step(storage, None)


def run(points: int, seed: int, folder: Path, only: int | None = None, is_quiet: bool = False) -> Tally:
    """Records one run and cuts it at so many points; at `only` alone if that is given."""
    tally = Tally()
    root = folder / "real"
    root.mkdir()
    # The file's name is durable before its first use: storage_file.create_private sees to it.
    (root / NAME).touch(mode=0o600)
    with closing(Storage.open(folder / "source.sqlite", GENESIS)) as source, CrashLog(root) as log:
        for _ in range(2 * BLOCKS + 4):
            step(source, None)
        record_run(log, root, source, seed)
        if log.differences():
            raise Broken(f"the recording has holes: {log.differences()}")
        tally.operations = len(log.operations)
        chosen = log.points(points, seed) if only is None else [only]
        for number, point in enumerate(tqdm(chosen, unit=" points", disable=is_quiet, leave=False)):
            # More cuts than there are operations: what a cut leaves is drawn anew each time.
            try:
                is_nested = only is not None or number % NESTED == 0
                crash_at(log, point, seed, folder, source, tally, is_nested)
            except (Broken, ChainError) as error:
                tally.problems.append(
                    f"operation {point} ({log.describe(point)}): {type(error).__name__}: {error}\n"
                    f"  replay: python -m tests.chain_crash --seed {seed} --only {point}"
                )
                for left in ("image", "again"):
                    shutil.rmtree(folder / left, ignore_errors=True)
    return tally


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chain_crash", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--points", type=int, default=1_000, help="where to cut [1000]")
    parser.add_argument("--seed", type=int, default=1, help="of the run and of what each cut leaves [1]")
    parser.add_argument("--only", type=int, help="cut at this operation alone")
    args = parser.parse_args(arguments)
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        tally = run(args.points, args.seed, Path(name), args.only)
    for problem in tally.problems:
        print(f"BROKEN at {problem}")
    print(
        f"seed {args.seed}: {tally.points} power cuts in {tally.operations} operations, and {tally.nested} "
        f"more during recovery: {tally.blocks} acknowledged blocks and {tally.votes} votes looked for, "
        f"{len(tally.problems)} cuts broke a promise; {time.monotonic() - begun_s:.0f} s"
    )
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
