"""Every bench still runs, computes what it should, and prints it; how fast is not asserted anywhere."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.sensors.source import Batch
from tests.bench import __main__ as command
from tests.bench import frames, straw_man
from tests.bench.measure import TINY, DigestChanged, Lap, Row, Stopwatch, compare, table


@pytest.mark.slow
@pytest.mark.parametrize("name", command.BENCHES)
def test_a_bench_runs_tiny_and_gives_figures(name: str) -> None:
    rows = command.BENCHES[name](TINY)
    assert rows
    for row in rows:
        assert row.bench.startswith(name)
        assert row.ours > 0
        assert row.peer is not None
        assert row.peer > 0
        assert row.ratio is not None
        assert len(bytes.fromhex(row.digest)) == 32


def _digest(batches: Iterable[Batch]) -> str:
    return frames.frames_digest(
        sample for batch in batches for sample in zip(batch.taken_ns, batch.values, strict=True)
    )


def test_what_goes_into_a_bench_is_the_same_every_day() -> None:
    batches = frames.batches(1_500)
    assert [len(batch.values) for batch in batches] == [500, 500, 500]
    known = {
        "passat-idling.trc": "a4dcc4c7d13c4fb18399134ce6a4167361e4e9107186895b2a020166f9b95a83",
        "simulated car, seed 1": "5063569352661e487cad0a5d2a18326187b53b7288f7262d934eb80208ab0fcd",
    }
    assert _digest(batches) == known[frames.origin()]


def test_the_straw_man_keeps_every_frame(tmp_path: Path) -> None:
    batches = frames.batches(1_200)
    lap = straw_man.run(tmp_path / "straw-man.db", batches)
    assert lap.count == 1_200
    assert lap.digest == _digest(batches)


def _lap(cost: float, digest: str = "aa") -> Lap:
    return Lap(cost, 10, digest)


def test_a_ratio_is_the_median_of_rounds_and_not_of_sums() -> None:
    ours = iter((10.0, 20.0, 90.0))
    peer = iter((10.0, 10.0, 30.0))
    (row,) = compare("b", "item", lambda: _lap(next(ours)), {"peer": lambda: _lap(next(peer))}, 3)
    assert (row.ours, row.peer, row.ratio) == (2.0, 1.0, 2.0)
    assert row.peer_name == "peer"


def test_rounds_alternate_between_ours_and_the_peers() -> None:
    calls: list[str] = []

    def lap(who: str) -> Lap:
        calls.append(who)
        return _lap(1.0)

    compare("b", "item", lambda: lap("ours"), {"one": lambda: lap("one"), "two": lambda: lap("two")}, 2)
    assert calls == ["ours", "one", "two"] * 2


def test_a_lap_that_computes_something_else_is_noticed() -> None:
    digests = iter(("aa", "bb"))
    with pytest.raises(DigestChanged, match="bench b: ours gave different results: aa, bb"):
        compare("b", "item", lambda: _lap(1.0, next(digests)), {}, 2)


def test_a_peer_that_computes_something_else_is_noticed_where_it_must_not() -> None:
    peers = {"peer": lambda: _lap(1.0, "bb")}
    (row,) = compare("b", "item", lambda: _lap(1.0), peers, 1)
    assert row.digest == "aa"
    with pytest.raises(DigestChanged, match="ours and peer gave different results: aa, bb"):
        compare("b", "item", lambda: _lap(1.0), peers, 1, is_same_result=True)


def test_a_stopwatch_counts_the_work_of_this_process() -> None:
    with Stopwatch() as watch:
        sum(range(200_000))
    assert watch.cpu_us > 0


def test_a_row_says_what_was_aimed_at() -> None:
    row = Row("b", "item", "us", 2.5, "peer", 1.0, 2.5, "ab" * 32, 3.0, "400 a second")
    assert row.remark == "400 a second, target 3: met"
    line = " ".join(table([row]).splitlines()[1].split())
    assert line == "b item 2.500 us 1.000 2.50 abababababababab peer; 400 a second, target 3: met"


def test_the_command_prints_rows_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tests.bench", "key-tree", "--size", "tiny", "--json"])
    assert command.main() == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["bench"], row["unit"], row["peer_name"]) == ("key-tree", "us", "30 HMACs from the root")


def test_the_command_refuses_a_bench_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tests.bench", "no-such"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no such bench: no-such; there are can-ingest," in capsys.readouterr().err
