"""The short form of tests/chain_crash.py, whether it would find anything, and processes that are killed."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from chain_node import pruning, storage_schema
from chain_node.check import check
from chain_node.ledger import Execution
from chain_node.storage import Storage
from chain_node.storage_nodes import Nodes
from tests import chain_crash
from tests.chain_crash import GENESIS, NAME, RETENTION, run


@pytest.mark.slow
def test_no_power_cut_costs_an_acknowledged_vote_or_block(tmp_path: Path) -> None:
    tally = run(50, 2, tmp_path, is_quiet=True)
    assert tally.problems == []
    assert (tally.points, tally.nested) == (50, 10)
    assert tally.blocks > 150
    assert tally.votes > 30


@pytest.mark.slow
class TestTheTestFinds:
    """A node that does one thing wrong is caught."""

    def broken(self, tmp_path: Path) -> list[str]:
        problems = run(40, 2, tmp_path, is_quiet=True).problems
        assert all("replay: python -m tests.chain_crash --seed 2 --only" in each for each in problems)
        return problems

    def test_a_file_that_does_not_sync_each_commit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure = storage_schema.configure

        def lazy(connection: apsw.Connection, path: str) -> None:
            configure(connection, path)
            connection.pragma("synchronous", "NORMAL")

        monkeypatch.setattr(storage_schema, "configure", lazy)
        assert len(self.broken(tmp_path)) >= 5

    def test_a_state_that_is_written_in_another_step_than_its_block(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = Nodes.write

        def early(nodes: Nodes, execution: Execution, height: int) -> None:
            write(nodes, execution, height)
            if height > 1:
                nodes._connection.execute("COMMIT")
                nodes._connection.execute("BEGIN IMMEDIATE")

        monkeypatch.setattr(Nodes, "write", early)
        assert self.broken(tmp_path)

    def test_an_index_that_is_not_pruned_with_its_bodies(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pruning, "_forget_transactions", lambda *_: None)
        assert any("entries are of no transaction that is here" in each for each in self.broken(tmp_path))

    def test_a_snapshot_whose_leftovers_are_never_swept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Nodes, "sweep", lambda *_: 0)
        assert any("nodes are of no state that is here" in each for each in self.broken(tmp_path))


def test_the_same_seed_makes_the_same_run(tmp_path: Path) -> None:
    tallies = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tallies.append(run(3, 5, tmp_path / name, is_quiet=True))
    assert tallies[0] == tallies[1]
    assert tallies[0].operations > 2_000


CHILD = """
import sys
from contextlib import closing
from pathlib import Path
from tests.chain_crash import open_storage, step
with closing(open_storage(Path(sys.argv[1]), None)) as storage:
    while True:
        step(storage, None)
        print(storage.head.height, flush=True)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_moment_loses_no_block_that_it_has_told_of(tmp_path: Path) -> None:
    told = 0
    for number in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
        assert child.stdout
        with child.stdout as lines:
            # Some blocks, another number each time; then it dies wherever it is.
            for _ in range(3 + 2 * number):
                told = int(lines.readline())
            child.send_signal(signal.SIGKILL)
            rest = [int(line) for line in lines if line.endswith(b"\n")]
        child.wait()
        told = max([told, *rest])
        with closing(Storage.open(tmp_path / NAME, GENESIS, retention=RETENTION)) as storage:
            assert storage.head.height in (told, told + 1)
            assert check(storage).is_sound
            told = storage.head.height
    assert told >= 35
    assert chain_crash.BLOCKS == 12
