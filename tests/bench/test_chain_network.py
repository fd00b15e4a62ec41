"""The bench of a whole network still runs, commits all that it sends, and gives figures, good or not."""

from dataclasses import replace

import pytest

from tests.bench import chain_network
from tests.bench.chain_network import CROWD, Figures, Plan, bound_per_second, overload_rows, twice


@pytest.mark.slow
def test_a_network_under_load_commits_all_and_who_was_away_comes_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--seconds", "2", "--rate", "20", "--period-ms", "250", "--away-seconds", "0.5"]
    assert chain_network.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "50 sent at 20 a second, 0 times busy" in printed
    assert "restart to head" in printed
    assert "blocks were missed in 0 s" in printed


def figures_of(plan: Plan) -> Figures:
    return Figures(
        plan=plan,
        nodes=5,
        transfers=240_000,
        tx_per_second=2_000.0,
        bound_per_second=8_000.0,
        intervals_ms=[2_990, 3_000, 3_020],
        impeached=1,
        busy=7,
        cpu_us=200.0,
        written=900.0,
        memory_mib=[70.0, 90.0],
        restart_ms=None,
        away_blocks=0,
        digest="00",
    )


def test_figures_are_rows_with_the_share_of_the_bound() -> None:
    rows = figures_of(Plan()).rows()
    assert [row.ours for row in rows] == [2_000.0, 3_000, 200.0, 900.0, 90.0]
    assert rows[0].ratio == 0.25
    assert rows[1].note == "2990 to 3020 ms, 1 impeachments"


def test_twice_the_load_is_held_against_what_was_done_before() -> None:
    peak = figures_of(Plan(seconds=30.0, rate=1_500, away_seconds=9.0))
    plan = twice(peak)
    assert (plan.rate, plan.seconds, plan.senders, plan.away_seconds) == (4_000, 30.0, CROWD, 0.0)
    (row,) = overload_rows(peak, replace(figures_of(plan), tx_per_second=1_500.0))
    assert (row.ours, row.peer, row.ratio) == (1_500.0, 2_000.0, 0.75)


def test_more_nodes_on_the_same_cores_can_do_less() -> None:
    assert bound_per_second(5) > 2 * bound_per_second(50)
