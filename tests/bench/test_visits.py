"""The bench of visits runs tiny; what it says of time is not asserted."""

import asyncio
from pathlib import Path

import pytest

from tests import micropython
from tests.bench import visits
from tests.bench.measure import TINY

KINDS = ("plain", "known", "first", "parallel")


@pytest.mark.slow
def test_visits_are_made_and_counted(tmp_path: Path) -> None:
    micropython.need_micropython()
    rows = {row.name: row.visits for row in asyncio.run(visits.measure(TINY, tmp_path))}
    assert {name: len(made) for name, made in rows.items()} == dict.fromkeys(KINDS, 2)
    for made in rows.values():
        assert all(0 < visit.found_ms <= visit.proved_ms for visit in made)
    least = {name: min(visit.messages for visit in made) for name, made in rows.items()}
    assert least["plain"] < least["known"] < least["first"]
    # Each message waits for an event of its own, at least.
    assert all(visit.events > 0 for made in rows.values() for visit in made)


def test_a_share_is_a_value_that_was_measured() -> None:
    assert visits.share([3, 1, 2], 50) == 2
    assert visits.share([3, 1, 2], 95) == 3
    assert visits.share([5], 50) == 5
