"""A board lives some simulated minutes with visits, and the verdict finds what is not flat."""

import asyncio
from pathlib import Path

import pytest

from tests import micropython, soak_device
from tests.soak_device import DAY_MS, Soaked


@pytest.mark.slow
def test_a_lock_lives_for_minutes_and_its_heap_is_told(tmp_path: Path) -> None:
    micropython.need_micropython()
    soaked = asyncio.run(soak_device.soak("lock", tmp_path, 360_000, 90_000))
    assert soaked.visits == 4
    assert len(soaked.live_bytes) >= 4
    assert all(0 < live <= soaked.peak_bytes for _, live in soaked.live_bytes)


def test_a_heap_that_grows_or_is_too_large_is_found() -> None:
    flat = Soaked("lock", 4, 24.0, [(at * DAY_MS / 4, 50_000.0) for at in range(4)], 60_000)
    assert flat.problems == []
    grows = Soaked("lock", 4, 24.0, [(at * DAY_MS / 4, 50_000.0 + 500 * at) for at in range(4)], 110_000)
    assert grows.growth_bytes == pytest.approx(2_000)
    assert grows.problems == [
        "its heap grows by 2000 bytes a day; flat is 512",
        "its heap takes 107.4 KiB; 100 is the most",
    ]
