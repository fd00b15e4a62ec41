"""A barrier never rises under a car, stops when it is held, and always has a way out."""

import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lock_controller import barrier
from lock_controller.barrier import (
    CONFUSED,
    DOWN,
    FORCED,
    HALTED,
    JAMMED,
    LATE,
    LOST,
    LOWERING,
    RAISING,
    STALLED,
    SWITCHES,
    TOO_SLOW,
    UP,
    WEAK,
    Barrier,
    Limits,
)
from lock_controller.errors import LimitsError
from lock_controller.ultrasonic import FREE, TAKEN, UNKNOWN
from tests.lock_controller.barrier_judge import RAISE_MV, Broken, Judge, random_life

# Stories: what happens -> the states it goes through


def run(judge: Judge, duration_ms: int, step_ms: int = 20) -> list[str]:
    """The names of the states, each once, that it was in."""
    begin = len(judge.seen)
    for _ in range(duration_ms // step_ms):
        judge.step(step_ms)
    names: list[str] = []
    for state in judge.seen[begin:]:
        if not names or names[-1] != barrier.NAMES[state]:
            names.append(barrier.NAMES[state])
    return names


def test_a_released_bay_that_is_free_for_five_seconds_is_closed() -> None:
    judge = Judge()
    assert run(judge, 6_000) == ["down"]
    judge.release()
    assert run(judge, 5_000) == ["down"]
    assert run(judge, 4_000) == ["raising", "up"]
    judge.open()
    assert run(judge, 4_000) == ["lowering", "down"]


def test_it_waits_until_both_sensors_have_been_free_for_five_seconds() -> None:
    judge = Judge()
    judge.second = TAKEN
    judge.release()
    run(judge, 20_000)
    assert judge.machine.state == DOWN
    assert judge.machine.missing == barrier.NOT_FREE
    judge.second = FREE
    assert run(judge, 5_000) == ["down"]
    assert run(judge, 200) == ["raising"]


@pytest.mark.parametrize("what", [TAKEN, UNKNOWN])
@pytest.mark.parametrize("sensor", ["first", "second"])
def test_it_goes_down_again_when_a_sensor_is_not_sure_any_more(sensor: str, what: int) -> None:
    judge = Judge()
    judge.release()
    run(judge, 6_500)
    assert judge.machine.state == RAISING
    setattr(judge, sensor, what)
    assert judge.step() == barrier.STILL
    assert run(judge, 4_000) == ["halted", "lowering", "down"]
    assert judge.machine.tries == 0
    setattr(judge, sensor, FREE)
    assert run(judge, 9_000) == ["down", "raising", "up"]


def test_a_paired_vehicle_that_comes_near_lowers_it() -> None:
    judge = Judge()
    judge.release()
    run(judge, 6_500)
    judge.near = True
    assert run(judge, 4_000) == ["halted", "lowering", "down"]
    assert judge.machine.missing & barrier.VEHICLE


def test_a_stall_stops_it_at_once_and_the_third_is_the_last() -> None:
    judge = Judge()
    judge.blocked_at_ms = 800
    judge.release()
    run(judge, 5_000)
    for count in (1, 2, 3):
        while judge.motor != barrier.LIFT:
            judge.step()
        while judge.position_ms < 800:
            judge.step()
        stalled_ms = judge.now_ms
        while judge.motor == barrier.LIFT:
            judge.step()
        assert judge.now_ms - stalled_ms <= 100
        assert judge.machine.tries == count
        assert judge.machine.fault == STALLED
        while judge.machine.state != DOWN:
            judge.step()
    assert run(judge, 60_000) == ["down"]
    assert judge.machine.missing == barrier.TRIES
    judge.blocked_at_ms = None
    judge.release()
    assert run(judge, 10_000)[-1] == "up"


def test_it_stops_when_nobody_has_looked_for_more_than_100_ms() -> None:
    judge = Judge()
    judge.release()
    run(judge, 6_500)
    assert judge.step(101) == barrier.STILL
    assert (judge.machine.state, judge.machine.fault) == (HALTED, LATE)


def test_a_motor_that_turns_for_too_long_is_stopped() -> None:
    judge = Judge()
    judge.top_ms = 100_000
    judge.release()
    names = run(judge, 10_000)
    assert names == ["down", "raising", "halted", "lowering"]
    assert judge.machine.fault == TOO_SLOW


def test_a_switch_that_is_not_left_is_a_stall() -> None:
    judge = Judge()
    judge.release()
    run(judge, 5_000)
    judge.low = True
    assert run(judge, 1_400)[:2] == ["raising", "halted"]
    assert judge.machine.fault == TOO_SLOW


def test_something_that_holds_it_down_there_ends_jammed_and_open_is_the_way_out() -> None:
    judge = Judge(position_ms=3_000)
    judge.is_jammed = True
    judge.step()
    judge.open()
    assert run(judge, 3_000) == ["lowering", "halted", "lowering", "halted", "lowering", "jammed"]
    judge.is_jammed = False
    assert run(judge, 10_000) == ["jammed"]
    judge.open()
    assert run(judge, 4_000) == ["lowering", "down"]


def test_both_switches_at_once_stop_everything_until_they_make_sense() -> None:
    judge = Judge()
    judge.release()
    run(judge, 6_500)
    judge.low = judge.high = True
    assert judge.step() == barrier.STILL
    assert (judge.machine.state, judge.machine.fault) == (CONFUSED, SWITCHES)
    judge.open()
    assert run(judge, 20_000) == ["confused"]
    judge.low = judge.high = None
    assert run(judge, 6_000) == ["confused", "lost", "lowering", "down"]


@pytest.mark.parametrize(
    ("position_ms", "state"), [(0, DOWN), (1_500, LOST), (3_000, UP)], ids=["bottom", "between", "top"]
)
def test_after_power_on_it_moves_only_when_told(position_ms: int, state: int) -> None:
    judge = Judge(position_ms=position_ms)
    assert run(judge, 60_000) == [barrier.NAMES[state]]
    assert judge.position_ms == position_ms
    judge.open()
    assert run(judge, 4_000)[-1] == "down"


@pytest.mark.parametrize("cut_at_ms", range(0, 6_000, 250))
def test_power_lost_at_any_moment_of_the_way_leaves_a_way_out(cut_at_ms: int) -> None:
    before = Judge()
    before.release()
    run(before, 5_000)
    for _ in range(cut_at_ms // 20):
        before.step()
        if before.machine.state == UP:
            before.open()
    after = Judge(position_ms=before.position_ms)
    assert len(run(after, 10_000)) == 1
    assert after.position_ms == before.position_ms
    after.release()
    assert run(after, 12_000)[-1] == "up"


def test_an_arm_moved_by_force_is_noticed() -> None:
    judge = Judge()
    run(judge, 1_000)
    judge.open()
    judge.position_ms = 1_000
    assert run(judge, 3_000) == ["down", "lost", "lowering", "down"]
    up = Judge(position_ms=3_000)
    run(up, 1_000)
    up.position_ms = 1_500
    assert run(up, 30_000) == ["up", "lost"]
    assert up.machine.fault == FORCED


def test_a_switch_that_bounces_is_no_force() -> None:
    judge = Judge()
    run(judge, 1_000)
    for _ in range(10):
        judge.low = False
        judge.step(40)
        judge.low = None
        judge.step(40)
    assert (judge.machine.state, judge.machine.fault) == (DOWN, 0)


def test_an_almost_empty_battery_brings_it_down_and_keeps_it_there() -> None:
    judge = Judge()
    judge.release()
    assert run(judge, 9_000)[-1] == "up"
    judge.battery_mv = RAISE_MV - 100
    assert run(judge, 10_000) == ["up"]
    judge.battery_mv = 10_000
    assert run(judge, 10_000) == ["lowering", "down"]
    assert judge.machine.fault == WEAK
    assert judge.machine.missing == barrier.BATTERY
    judge.battery_mv = 12_500
    assert run(judge, 10_000)[-1] == "up"


def test_limits_that_contradict_themselves_are_refused() -> None:
    for limits in ((0, 4_000, 1_000, 0, 0), (1, 1_000, 1_000, 0, 0), (1, 4_000, 1_000, 10, 11)):
        with pytest.raises(LimitsError):
            Barrier(Limits(*limits))


# Properties

steps = st.tuples(
    st.sampled_from((20, 20, 20, 60, 100, 101, 500, 1_600, 6_000)),
    st.sampled_from((FREE, FREE, FREE, TAKEN, UNKNOWN)),
    st.sampled_from((FREE, FREE, FREE, TAKEN, UNKNOWN)),
    st.sampled_from((False, False, False, True)),
    st.sampled_from((None, None, None, True, False)),
    st.sampled_from((None, None, None, True, False)),
    st.sampled_from((None, None, 0, 900, 2_900, 3_500)),
    st.sampled_from((12_500, 12_500, None, 11_000, 9_000)),
    st.sampled_from(("", "", "", "", "open", "release", "release")),
    st.integers(1, 200),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=30), st.sampled_from((0, 1_500, 3_000)))
def test_whatever_it_is_told_it_never_does_what_it_must_not(
    life: list[tuple[int, int, int, bool, bool | None, bool | None, int | None, int | None, str, int]],
    position_ms: int,
) -> None:
    judge = Judge(position_ms=position_ms)
    for passed_ms, first, second, near, low, high, odd_ma, battery_mv, word, count in life:
        judge.first, judge.second, judge.near = first, second, near
        judge.low, judge.high, judge.battery_mv = low, high, battery_mv
        if word == "open":
            judge.open()
        elif word == "release":
            judge.release()
        judge.step(passed_ms, odd_ma)
        for _ in range(count):
            judge.step(20)
    # And there is a way out: once everything is well, `open` brings it down.
    judge.low = judge.high = judge.blocked_at_ms = None
    judge.open()
    for _ in range(400):
        judge.step(20)
    assert judge.machine.state == DOWN


def test_many_lives_lead_everywhere_and_break_nothing() -> None:
    seen: set[int] = set()
    for seed in range(40):
        seen |= set(random_life(barrier, seed).seen)
    assert seen == set(range(8))


GUARDS = [
    ("        if not self._is_released:\n            missing |= RELEASE\n", ""),
    ("if senses.first != FREE or senses.second != FREE:", "if senses.first != FREE:"),
    ("if senses.first != FREE or senses.second != FREE:", "if senses.second != FREE:"),
    ("if senses.first != FREE or senses.second != FREE:", "if senses.first == 2 or senses.second == 2:"),
    ("or not 0 <= gap_ms <= GAP_MS_MAX:", ":"),
    ("FREE_MS_MIN = 5_000", "FREE_MS_MIN = 4_000"),
    ("        self._free_ms = None\n        self._renew()", "        self._renew()"),
    ("        if senses.is_vehicle_near:\n            missing |= VEHICLE\n", ""),
    ("            missing |= BATTERY\n", "            pass\n"),
    ("            missing |= TRIES\n", "            pass\n"),
    ("                self.tries += 1\n", "                pass\n"),
    ("TICK_MS_MAX = 100\n", "TICK_MS_MAX = 1_000\n"),
    ("INRUSH_MS = 60\n", "INRUSH_MS = 400\n"),
    ("    (RAISING, BLOCKED): HALTED,\n", ""),
    ("    (RAISING, OVERDUE): HALTED,\n", ""),
    ("    (RAISING, UNCLEAR): HALTED,\n", ""),
    ("    (RAISING, BLIND): HALTED,\n", ""),
    ("    (RAISING, AT_TOP): UP,\n", ""),
    ("(RAISING, UNCLEAR): HALTED", "(RAISING, UNCLEAR): LOWERING"),
    ("limits.leave_ms_max if is_behind else limits.move_ms_max", "limits.move_ms_max"),
    ("return bool(senses.is_low and senses.is_high)", "return False"),
    (
        "            self._is_released = False\n            self.fault = SWITCHES",
        "            self.fault = SWITCHES",
    ),
]


def live_many_lives(module: types.ModuleType) -> None:
    for seed in range(400):
        random_life(module, seed)


@pytest.mark.parametrize("number", range(len(GUARDS)))
def test_without_any_one_guard_it_does_what_it_must_not(number: int) -> None:
    guard, instead = GUARDS[number]
    text = Path(str(barrier.__file__)).read_text()
    assert text.count(guard) == 1, "this guard is written in another way now; write it so here, too"
    weakened = types.ModuleType("weakened")
    exec(compile(text.replace(guard, instead), "weakened", "exec"), weakened.__dict__)  # noqa: S102
    with pytest.raises(Broken):
        live_many_lives(weakened)


def test_every_state_has_a_row_and_a_way_to_down() -> None:
    ways: dict[int, set[int]] = {}
    for (state, _), following in barrier.NEXT.items():
        ways.setdefault(state, set()).add(following)
    assert set(ways) == {LOST, DOWN, RAISING, UP, HALTED, LOWERING, JAMMED, CONFUSED}
    for state in ways:
        reached, edge = {state}, {state}
        while edge:
            edge = {to for at in edge for to in ways[at]} - reached
            reached |= edge
        assert DOWN in reached
