"""The soak test in short: it samples, computes and judges as it should."""

from pathlib import Path

import pytest

from tests import soak
from tests.bench.memory import CHECKED_FRAMES
from tests.soak import Sample, Soaked, slope


def soaked(rss_mib: list[float]) -> Soaked:
    """Samples one minute apart."""
    return Soaked([Sample(60.0 * at, rss, rss) for at, rss in enumerate(rss_mib)], 1, "ab")


def test_the_slope_is_that_of_least_squares() -> None:
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    assert slope([(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]) == pytest.approx(0.0)
    assert slope([(0.0, 0.0), (1.0, 0.0), (2.0, 3.0)]) == pytest.approx(1.5)
    assert slope([(7.0, 3.0)]) == 0.0


def test_only_the_second_half_is_judged() -> None:
    run = soaked([40.0, 50.0, 58.0, 60.0, 60.0, 60.0, 60.0])
    assert run.growth_mib == pytest.approx(0.0)
    assert run.problems == []


def test_growth_is_told_by_ten_minutes() -> None:
    run = soaked([60.0, 60.0, 60.0, 60.2, 60.4, 60.6])
    assert run.growth_mib == pytest.approx(2.0)
    assert run.problems == ["it grows by 2.00 MiB in ten minutes; flat is 1"]


def test_memory_that_shrinks_is_no_problem() -> None:
    assert soaked([70.0, 69.0, 68.0, 67.0]).problems == []


def test_a_peak_above_the_target_is_a_problem_wherever_it_is() -> None:
    assert soaked([60.0, 91.0, 60.0, 60.0, 60.0]).problems == ["it takes 91.0 MiB; 90 is the most"]


@pytest.mark.slow
def test_a_short_soak_runs_a_gateway_and_reads_back_what_it_stored(tmp_path: Path) -> None:
    run = soak.run(tmp_path, 1.5, 0.2, is_short=True)
    assert len(run.samples) >= 3
    assert all(0 < sample.pss_mib <= sample.rss_mib for sample in run.samples)
    assert run.records >= CHECKED_FRAMES
    assert len(bytes.fromhex(run.digest)) == 32
