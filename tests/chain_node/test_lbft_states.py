"""The table of states, the picture drawn from it, and how long rounds last."""

import re

from chain_node import lbft_states
from chain_node.lbft_states import NEXT, Cause, State, timeout_ms


def test_every_state_ends_by_a_c_certificate_and_leaves_its_round_on_time_or_with_others() -> None:
    for state in State:
        assert NEXT[state, Cause.C_CERTIFICATE] == State.IDLE
        assert NEXT[state, Cause.TIMEOUT] == State.IMPEACH_PREPARE
        assert NEXT[state, Cause.JOIN] == State.IMPEACH_PREPARE


def test_the_other_transitions_are_these_and_no_more() -> None:
    ever = (Cause.C_CERTIFICATE, Cause.TIMEOUT, Cause.JOIN)
    assert {place: state for place, state in NEXT.items() if place[1] not in ever} == {
        (State.IDLE, Cause.PROPOSAL): State.PREPARE,
        (State.IDLE, Cause.ILLICIT): State.IMPEACH_PREPARE,
        (State.IDLE, Cause.SECOND_PROPOSAL): State.IMPEACH_PREPARE,
        (State.PREPARE, Cause.SECOND_PROPOSAL): State.IMPEACH_PREPARE,
        (State.PREPARE, Cause.P_CERTIFICATE): State.COMMIT,
        (State.IMPEACH_PREPARE, Cause.P_CERTIFICATE): State.IMPEACH_COMMIT,
    }


def test_the_picture_shows_every_state() -> None:
    drawn = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)?\b", lbft_states.__doc__ or ""))
    assert {state.name for state in State} <= drawn


def test_a_round_lasts_twice_as_long_as_the_one_before_up_to_32_times_the_first() -> None:
    lengths_ms = [timeout_ms(10, round_) for round_ in (0, 1, 2, 3, 4, 5, 6, 1 << 53)]
    assert lengths_ms == [10, 20, 40, 80, 160, 320, 320, 320]
