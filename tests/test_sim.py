"""The simulator: seeds hold, each rule of the protocol is missed when off, failures explain themselves."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from chain_node.block import Certificate, Phase, Vote
from chain_node.lbft_states import State
from tests.sim import __main__ as command
from tests.sim import stub
from tests.sim.broken import BROKEN
from tests.sim.checks import SAFETY, Checks, Failed
from tests.sim.disk import CUTS
from tests.sim.node import Coverage
from tests.sim.plan import FAULTS, MODES, calm_plan, plan_of
from tests.sim.shrink import shrink
from tests.sim.world import Result, World, run

SEEDS = 240
SHORT = 4
"""Block periods with faults in the tests; `make sim-many` has 10."""


# Seeds

COVERAGE = Coverage()


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_seeds_hold(first: int) -> None:
    for seed in range(first, first + 20):
        result = run(plan_of(seed, (), SHORT))
        assert result.failure is None, f"{result.failure}; replay: {result.plan.command}"
        assert result.blocks >= 3
        COVERAGE.add(result.coverage)


@pytest.mark.parametrize("seed", [6_057, 7_561, 9_101])
def test_who_begins_a_height_again_from_its_disk_may_say_again_what_it_said(seed: int) -> None:
    """What was final before the network healed; and, after a full disk, votes of before a mere ROUND."""
    assert run(plan_of(seed)).failure is None


@pytest.mark.slow
def test_they_take_every_transition_and_messages_have_every_fate() -> None:
    if not sum(COVERAGE.fates):
        pytest.skip("run it with the seeds")
    assert COVERAGE.states == set(State)
    assert COVERAGE.missing() == []
    assert [name for name, count in COVERAGE.fate_counts().items() if not count] == []
    assert max(COVERAGE.rounds) >= 3


CHANGING = [
    {},
    {"loss": 0.05, "crashes": 0.01, "partitions": 3, "byzantine": ("equivocate",)},
    {"chaos_us": 4_000_000, "duplicates": 0.2, "byzantine": ("twins",), "proposers": 2},
    {"crashes": 0.03, "byzantine": ("silent",), "bad_proposers": ("late",), "proposers": 2, "jumps": 2},
]


@pytest.mark.parametrize("faults", CHANGING)
def test_validators_change_from_four_to_five_to_four_under_faults(faults: dict[str, Any]) -> None:
    for seed in (1, 2):
        world = World(calm_plan(seed, is_changing=True, heights=70, **faults))
        result = world.run()
        assert result.failure is None, (seed, str(result.failure))
        assert [len(validators) for _, validators in world.checks.sets] == [4, 5, 4]
        last, validators = world.checks.sets[-1]
        assert result.blocks > last, "blocks went on under the last of them"
        assert world.checks.validators_at(last + 1) == validators
        assert {node.height >= last for node in world.honest} == {True}


def test_one_seed_replays_to_the_byte_in_another_process() -> None:
    """The order of sets and hashes differs there."""
    seed = 12
    digests = {run(plan_of(seed, (), SHORT)).digest}
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", str(seed), "--heights", str(SHORT)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests |= {line.split()[1] for line in done.stdout.splitlines() if line.startswith("digest ")}
    assert len(digests) == 1
    assert run(plan_of(seed + 1, (), SHORT)).digest not in digests


def test_without_faults_every_block_is_its_proposers_and_takes_a_period() -> None:
    result = run(calm_plan(1, heights=12))
    assert result.failure is None
    assert (result.impeached, result.power_cuts) == (0, 0)
    assert result.coverage.rounds == {0: result.blocks}
    assert result.blocks >= 14
    assert result.transactions > 10


def test_bytes_real_signatures_and_execution_by_each_node_make_the_same_chain() -> None:
    cheap = run(calm_plan(3, heights=4))
    for changes in ({"is_codec": True}, {"is_memoised": False}):
        assert run(calm_plan(3, heights=4, **changes)).digest == cheap.digest
    real = run(calm_plan(3, heights=4, is_real=True))
    assert (real.failure, real.blocks, real.transactions) == (None, cheap.blocks, cheap.transactions)


# The power goes at every sync


@pytest.mark.slow
@pytest.mark.parametrize("mode", CUTS)
@pytest.mark.parametrize("victim", ["v0", "p0"])
def test_a_node_may_lose_its_power_at_every_sync(victim: str, mode: str) -> None:
    plan = calm_plan(4, heights=2, timeout_ms=2_000)
    count = _syncs(plan, victim)
    assert count >= (8 if victim == "v0" else 5), count
    for number in range(1, count + 1):
        world = World(plan)
        node = next(node for node in world.nodes if node.name == victim)
        node.disk.cut = lambda at, number=number: mode if at == number else None  # type: ignore[misc]
        result = world.run()
        assert result.failure is None, f"{victim} {mode} its sync {number}: {result.failure}"
        assert result.power_cuts == 1


def _syncs(plan: object, victim: str) -> int:
    world = World(plan)  # type: ignore[arg-type]
    assert world.run().failure is None
    return next(node for node in world.nodes if node.name == victim).disk.sync_count


# Each rule, switched off

FAILS: dict[str, list[tuple[int, int, str]]] = {
    "1 f + 1 votes make a certificate": [(3, 10, "agreement"), (4, 10, "agreement")],
    # A faulty validator that names the impeachment block where it knows a certificate.
    "2 no lock": [(2_253, 10, "agreement")],
    "3 impeach whatever is known": [(1, 10, "agreement"), (14, 10, "agreement")],
    "4 nothing is kept": [(5, 10, "forgotten vote"), (22, 10, "forgotten vote")],
    "5 timers do not grow": [(0, 4, "rounds")],
    "5 nobody is joined": [(63, 6, "rounds"), (73, 6, "rounds")],
    "5 no certificate is taken while impeaching": [(42, 6, "progress")],
    "the published protocol": [(0, 10, "agreement"), (1, 10, "agreement")],
}
"""By what is broken: seeds that fail, with their block periods, and how."""


def test_every_rule_is_there() -> None:
    assert set(FAILS) == set(BROKEN)
    assert {name[0] for name in BROKEN} == {"1", "2", "3", "4", "5", "t"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAILS)
def test_a_rule_that_is_off_is_missed(name: str) -> None:
    for seed, heights, kind in FAILS[name]:
        result = run(plan_of(seed, (), heights), BROKEN[name])
        assert result.failure is not None, f"seed {seed} passes"
        assert result.failure.kind == kind, result.failure
        assert run(plan_of(seed, (), heights)).failure is None, "with the rule it holds"


@pytest.mark.parametrize("seed", [7, 10])
def test_the_published_protocol_forks_where_nobody_is_faulty_and_nothing_is_lost(seed: int) -> None:
    only_delays = tuple(name for name in FAULTS + MODES if name not in ("delays", "clients"))
    plan = plan_of(seed, only_delays, SHORT)
    assert (plan.byzantine, plan.bad_proposers, plan.loss, plan.crashes, plan.partitions) == ((), (), 0, 0, 0)
    failure = run(plan, BROKEN["the published protocol"]).failure
    assert failure is not None
    assert failure.kind == "agreement"
    assert run(plan).failure is None


# Failures explain themselves


def broken_run(plan: object, **_: object) -> Result:
    return run(plan, BROKEN["3 impeach whatever is known"], is_traced=True)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_failure_is_printed_with_what_replays_it_and_shrinks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run", broken_run)
    monkeypatch.setattr(sys, "argv", ["tests.sim", "--seed", "14", "--heights", "4"])
    assert command.main() == 1
    printed = capsys.readouterr().out
    first, _, smallest = printed.partition("The smallest that fails alike:")
    assert "FAILED at step " in first
    assert "agreement: " in first
    assert "replay: make sim SEED=14 HEIGHTS=4\n" in first
    (line,) = [line for line in smallest.splitlines() if line.startswith("replay: ")]
    assert line.startswith("replay: make sim SEED=14 WITHOUT=")
    without = tuple(line.split("WITHOUT=")[1].split()[0].split(","))
    assert len(without) >= 8
    heights = int(line.split("HEIGHTS=")[1]) if "HEIGHTS" in line else 10
    again = broken_run(plan_of(14, without, heights))
    assert again.failure is not None
    assert again.failure.kind == "agreement"


def test_a_kind_of_fault_that_is_unknown_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tests.sim", "--without", "lightning"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no such faults: lightning; there are loss, duplicates," in capsys.readouterr().err


def test_each_kind_of_fault_can_be_left_out() -> None:
    plan = plan_of(7, FAULTS)
    assert (plan.loss, plan.duplicates, plan.crashes, plan.partitions, plan.jumps) == (0, 0, 0, 0, 0)
    assert (plan.slow_us, plan.full, plan.skew_ms, plan.drift_ppm) == (0, 0, 0, 0)
    assert (plan.byzantine, plan.bad_proposers, plan.clients, plan.observers) == ((), (), 0, 0)
    assert plan.chaos_us == plan.calm_us
    assert replace(plan_of(7, ("loss",)), loss=plan_of(7).loss, without=()) == plan_of(7), (
        "and no other changes"
    )


# The checks see what they are there to see

KEYS = [stub.key_of(f"validator {index}", is_real=False) for index in range(4)]
CHAIN = bytes(32)


def checks() -> Checks:
    validators = [key.public for key in KEYS]
    return Checks(CHAIN, validators, [validators[0]], stub.verifier(is_real=False))


def vote(round_: int, phase: Phase, block_hash: bytes, height: int = 1) -> Vote:
    return Vote.sign(KEYS[0], CHAIN, height, round_, phase, block_hash)


ONE, TWO = b"1" * 32, b"2" * 32


def test_two_different_votes_in_one_place_are_seen() -> None:
    looks = checks()
    looks.on_said("v0", vote(0, Phase.PREPARE, ONE))
    looks.on_said("v0", vote(0, Phase.PREPARE, ONE))
    looks.on_said("v0", vote(0, Phase.COMMIT, ONE))
    with pytest.raises(Failed, match="forgotten vote: v0 says a second PREPARE of height 1, round 0"):
        looks.on_said("v0", vote(0, Phase.PREPARE, TWO))


def test_a_vote_in_a_lower_round_than_before_is_seen() -> None:
    looks = checks()
    looks.on_said("v0", vote(2, Phase.ROUND, bytes(32)))
    with pytest.raises(Failed, match="says IMPEACH PREPARE of height 1, round 1 after it was in 1/2"):
        looks.on_said("v0", vote(1, Phase.PREPARE, ONE))
    looks.on_said("v0", vote(1, Phase.PREPARE, ONE), life=2)
    looks.on_said("v0", vote(3, Phase.PREPARE, ONE), life=2)
    with pytest.raises(Failed, match="says IMPEACH COMMIT of height 1, round 2 after it was in 1/3"):
        looks.on_said("v0", vote(2, Phase.COMMIT, ONE), life=3)


@pytest.mark.parametrize(
    ("signers", "phase", "why"),
    [
        ((0, 1), Phase.COMMIT, "has 2 of 4 validators"),
        ((0, 0, 0), Phase.COMMIT, "has 1 of 4 validators"),
        ((0, 1, 2), Phase.PREPARE, "has a signature that does not hold"),
        ((0, 1, 2), Phase.COMMIT, ""),
    ],
)
def test_a_certificate_is_counted_by_distinct_validators_whose_signatures_hold(
    signers: tuple[int, ...], phase: Phase, why: str
) -> None:
    with stub.cheap(is_real=False, is_memoised=False):
        result = World(calm_plan(5, heights=2))
        assert result.run().failure is None
        block = result.checks.blocks[0]
    looks = checks()
    signed = [
        (index, Vote.sign(KEYS[index], CHAIN, 1, 0, phase, block.header.block_hash)) for index in signers
    ]
    certificate = Certificate(
        1, 0, block.header.block_hash, tuple((index, each.signature) for index, each in signed)
    )
    if why:
        with pytest.raises(Failed, match=why) as caught:
            looks._check_certificate("v0", block, certificate)
        assert caught.value.kind in SAFETY
    else:
        looks._check_certificate("v0", block, certificate)


def test_two_final_blocks_of_one_height_are_seen() -> None:
    one, two = World(calm_plan(5, heights=2)), World(calm_plan(6, heights=2))
    assert one.run().failure is two.run().failure is None
    node = two.nodes[0]
    with pytest.raises(Failed, match=r"agreement: v0 has .* at height 1, another has"):
        one.checks.on_final("v0", *node.store.blocks[0])


def test_shrinking_leaves_out_what_does_not_matter() -> None:
    def fails_with_crashes(plan: object) -> Result:
        failing = plan.crashes and plan.heights >= 3  # type: ignore[attr-defined]
        return Result(plan, Failed("agreement", "") if failing else None)  # type: ignore[arg-type]

    seed = next(seed for seed in range(100) if plan_of(seed).crashes)
    smallest = shrink(fails_with_crashes(plan_of(seed)), fails_with_crashes)
    assert "crashes" not in smallest.plan.without
    assert set(FAULTS) - set(smallest.plan.without) == {"crashes"}
    assert smallest.plan.heights == 3
