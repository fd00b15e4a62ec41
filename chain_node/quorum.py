"""Quorum arithmetic: how many of n validators must agree, and how many may be faulty.

Runs on CPython.  A certificate needs `size(n)` = n - f distinct validators, f = (n - 1) // 3:

    n         1  2  3  4  5  6  7  10
    f         0  0  0  1  1  1  2   3
    quorum    1  2  3  3  4  5  5   7

For n = 3f + 1 that is 2f + 1.  For every n two quorums share at least 2(n - f) - n = n - 2f >= f + 1
validators, so one honest one, who does not sign two blocks: no two certificates contradict each
other.  And n - f is the most that one may wait for when f stay silent: with 2f + 1 of n = 5 two
quorums (3 and 3) would share a single validator, which may be the faulty one.

A validator joins a higher round when `join_size(n)` = f + 1 others are there: one of them is honest, so
faulty ones alone never drag anybody into a round.  It decides nothing: f + 1 are no quorum.
"""


def fault_count_max(validator_count: int) -> int:
    """How many of `validator_count` (at least 1) may be faulty: the f of the papers."""
    return (validator_count - 1) // 3


def size(validator_count: int) -> int:
    """How many distinct validators make a certificate."""
    return validator_count - fault_count_max(validator_count)


def join_size(validator_count: int) -> int:
    """How many distinct validators in higher rounds make a validator join them: one of them is honest."""
    return fault_count_max(validator_count) + 1
