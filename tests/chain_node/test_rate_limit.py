"""Buckets of tokens: a burst, then a rate, for each address apart, and no more addresses than are kept."""

import pytest

from chain_node.rate_limit import ADDRESSES_MAX, DEBT_MS, Rate, RateLimit, owner_of
from tests.chain_node.stepping import Clock

HOME, AWAY = "203.0.113.5", "203.0.113.6"


def limit(clock: Clock) -> RateLimit:
    return RateLimit(clock.steady, remote=Rate(per_second=10, burst=20), local=Rate(1_000, 2_000))


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    clock = Clock()
    buckets = limit(clock)
    assert [buckets.take(HOME, 1) for _ in range(22)] == [0] * 20 + [100, 100]
    clock.steady_ms += 99
    assert buckets.take(HOME, 1) == 1
    clock.steady_ms += 1
    assert [buckets.take(HOME, 1) for _ in range(2)] == [0, 100]


def test_waiting_as_long_as_told_is_enough_and_a_rest_gives_no_more_than_a_burst() -> None:
    clock = Clock()
    buckets = limit(clock)
    assert buckets.take(HOME, 20) == 0
    clock.steady_ms += buckets.take(HOME, 7)
    assert buckets.take(HOME, 7) == 0
    clock.steady_ms += 3_600_000
    assert [buckets.take(HOME, 20), buckets.take(HOME, 1)] == [0, 100]


def test_what_costs_more_than_a_bucket_holds_can_still_be_had() -> None:
    clock = Clock()
    buckets = limit(clock)
    assert buckets.take(HOME, 1_000_000) == 0
    assert buckets.take(HOME, 1_000_000) == 2_000


def test_what_is_owed_is_paid_back_by_waiting_and_no_debt_is_longer_than_stated() -> None:
    clock = Clock()
    buckets = limit(clock)
    assert [buckets.owe(HOME, 19), buckets.owe(HOME, 1), buckets.owe(HOME, 3), buckets.owe(HOME, 0)] == [
        0,
        0,
        300,
        300,
    ]
    clock.steady_ms += 299
    assert buckets.owe(HOME, 0) == 1
    assert buckets.owe(HOME, 1_000_000) == DEBT_MS
    clock.steady_ms += DEBT_MS
    assert [buckets.owe(HOME, 0), buckets.take(HOME, 1)] == [0, 100]


def test_addresses_do_not_share_and_this_machine_has_more() -> None:
    buckets = limit(Clock())
    assert [buckets.take(HOME, 20), buckets.take(AWAY, 20), buckets.take("127.0.0.1", 2_000)] == [0, 0, 0]
    assert [buckets.take(HOME, 1), buckets.take(AWAY, 1), buckets.take("127.0.0.1", 1)] == [100, 100, 1]


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("2001:db8:1:2:3:4:5:6", ("2001:db8:1:2::/64", False)),
        ("2001:db8:1:2::", ("2001:db8:1:2::/64", False)),
        ("fe80::1%eth0", ("fe80::/64", False)),
        ("::1", ("::1", True)),
        ("::ffff:127.0.0.1", ("127.0.0.1", True)),
        ("::ffff:203.0.113.5", (HOME, False)),
        ("127.8.9.1", ("127.8.9.1", True)),
        ("", ("", False)),
    ],
)
def test_whose_bucket_it_is(address: str, owner: tuple[str, bool]) -> None:
    assert owner_of(address) == owner


def test_a_million_addresses_take_no_more_memory_than_those_kept() -> None:
    buckets = limit(Clock())
    for number in range(ADDRESSES_MAX + 100):
        buckets.take(f"198.{number >> 16 & 1}.{number >> 8 & 255}.{number & 255}", 20)
    assert len(buckets._buckets) == ADDRESSES_MAX
    assert buckets.take("198.0.0.0", 20) == 0
    assert buckets.take("198.0.16.99", 20) == 2_000
