"""The short form of tests/crash.py, and disks that are full or fail for a while in the middle of a run."""

import errno
import os
import random
from pathlib import Path

import apsw
import pytest

from gateway import database
from gateway.spool import Spool
from tests import crash
from tests.crash import Tally, check, record_run, recover, run, seeded
from tests.crash_disk import CrashLog
from tests.crash_model import Create, Mark, Operation, Sync, SyncDirectory, Truncate, Write


def test_no_power_cut_costs_an_acknowledged_record(tmp_path: Path) -> None:
    tally = run(60, 1, tmp_path, steps=60, is_quiet=True)
    assert tally.problems == []
    assert (tally.points, tally.nested) == (60, 18)
    assert tally.records > 10_000


class TestTheTestFinds:
    """A gateway that does one thing wrong is caught."""

    def broken(self, tmp_path: Path) -> list[str]:
        tally = run(40, 1, tmp_path, steps=50, is_quiet=True)
        assert all(
            "replay: python -m tests.crash --seed 1 --steps 50 --only" in each for each in tally.problems
        )
        return tally.problems

    @pytest.mark.parametrize("name", ["spool.db", "store.db"])
    def test_a_database_that_does_not_sync_each_commit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        configure = database._configure

        def lazy(connection: apsw.Connection, path: str, read_only: bool, is_frozen: bool) -> None:
            configure(connection, path, read_only, is_frozen)
            if path.endswith(name):
                connection.pragma("synchronous", "NORMAL")

        monkeypatch.setattr(database, "_configure", lazy)
        assert len(self.broken(tmp_path)) >= 5

    def test_entries_deleted_in_another_step_than_they_are_sealed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = Spool.commit_segments

        def in_two_steps(spool: Spool, stream: object, segments: object) -> None:
            with database.transaction(spool._database):
                spool._database.execute("DELETE FROM entry")
            commit(spool, stream, segments)  # type: ignore[arg-type]  # passed on

        monkeypatch.setattr(Spool, "commit_segments", in_two_steps)
        assert self.broken(tmp_path)


class Fault:
    """Operations from number `first` on, so many, get an error from the disk."""

    def __init__(self, first: int, count: int, number: int, kinds: tuple[type[Operation], ...]) -> None:
        self.first, self.count, self.number, self.kinds = first, count, number, kinds
        self.seen = self.hit = 0

    def __call__(self, operation: Operation) -> None:
        if isinstance(operation, self.kinds):
            self.seen += 1
            if self.first < self.seen <= self.first + self.count:
                self.hit += 1
                raise OSError(self.number, os.strerror(self.number))


def after_fault(folder: Path, fault: Fault, seed: int) -> tuple[Tally, CrashLog]:
    """Runs with a fault, and then looks for every acknowledged record; nothing that was written is lost."""
    root = folder / "real"
    root.mkdir(parents=True)
    tally = Tally()
    with CrashLog(root) as log, seeded(random.Random(seed)):
        log.fault = fault
        # Opening comes first, and of a gateway that cannot start there is nothing to promise.
        fault.first += _opening(folder / "opening", fault.kinds, seed)
        record_run(log, root, seed, steps=60)
        log.fault = None
        assert log.differences() == []
        image = log.image(len(log.operations), None, folder / "image")
        with CrashLog(image.directory) as recovery:
            gateway = recover(recovery, image)
            check(image, gateway, tally)
            gateway.close()
    assert fault.hit > 0
    return tally, log


def _opening(root: Path, kinds: tuple[type[Operation], ...], seed: int) -> int:
    root.mkdir()
    with CrashLog(root) as log:
        crash.Gateway(log, root).close()
        return sum(isinstance(operation, kinds) for operation in log.operations)


FULL = (Write, Create)
FAILING = (Write, Create, Sync, SyncDirectory, Truncate)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 7, 100])
def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path, seed: int, count: int) -> None:
    rng = random.Random(seed)
    tally, log = after_fault(tmp_path, Fault(rng.randrange(300), count, errno.ENOSPC, FULL), seed)
    assert tally.records > 50
    # One refusal may hit the copying back of a log, which is tried again by itself.
    refusals = sum(isinstance(each, Mark) and each.name == "full" for each in log.operations)
    assert refusals > {1: -1, 7: 0, 100: 10}[count]


@pytest.mark.parametrize("seed", range(8))
def test_a_disk_that_fails_once_costs_nothing_but_a_start(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    tally, log = after_fault(tmp_path, Fault(rng.randrange(600), 1, errno.EIO, FAILING), seed)
    assert tally.records > 300
    assert sum(isinstance(each, Mark) and each.name == "failed" for each in log.operations) <= 1


def test_the_same_seed_makes_the_same_run(tmp_path: Path) -> None:
    stories = []
    for name in ("a", "b"):
        root = tmp_path / name
        root.mkdir()
        with CrashLog(root) as log, seeded(random.Random(7)):
            record_run(log, root, 7, steps=30)
            # Not the bytes: SQLite salts its log itself.
            stories.append([log.describe(number) for number in range(len(log.operations))])
    assert len(stories[0]) > 300
    assert stories[0] == stories[1]
