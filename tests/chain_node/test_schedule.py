"""Turns: everybody in the list has as many blocks as everybody else, in one order that all know."""

from collections import Counter

from chain_node.schedule import Schedule, TakeTurns

A, B, C = (bytes([number]) * 32 for number in range(3))


def test_proposers_take_turns_from_block_1_on() -> None:
    schedule: Schedule = TakeTurns([A, B, C])
    assert [schedule.proposer(height) for height in range(1, 8)] == [A, B, C, A, B, C, A]


def test_one_proposer_has_every_block() -> None:
    schedule = TakeTurns((A,))
    assert {schedule.proposer(height) for height in range(1, 100)} == {A}


def test_turns_are_fair() -> None:
    schedule = TakeTurns([A, B, C])
    assert Counter(schedule.proposer(height) for height in range(1, 301)) == {A: 100, B: 100, C: 100}
