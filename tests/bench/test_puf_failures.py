"""Failure rates: those that are computed, those that are simulated, and the extractor's own verdicts."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from puf import bch, entropy
from puf.helper_data import REPETITION
from puf.puf_simulator import spread_for
from tests.bench import puf_failures
from tests.bench.puf_failures import FailureRateOff, computed, simulate


def test_what_is_computed_is_what_the_design_says() -> None:
    assert computed(0.15) == pytest.approx(1.6e-9, rel=0.05)
    assert computed(0.15, 5) == pytest.approx(2.7e-9, rel=0.05)
    assert [f"{computed(noise):.0e}" for noise in puf_failures.NOISES] == ["2e-42", "7e-21", "2e-09", "3e-05"]
    for noise in (0.01, 0.05, 0.15, 0.18, 0.3):
        assert computed(noise, 5) == pytest.approx(entropy.failure_rate(noise, 5))
    assert computed(0.5) == pytest.approx(1)


@pytest.mark.parametrize("noise", [0.05, 0.15, 0.22, 0.25])
def test_as_many_fail_as_was_computed_and_the_extractor_agrees_on_which(noise: float) -> None:
    found = simulate(noise, 2_560, 128, 3)
    assert found.count == 2_560
    assert sum(found.histogram) == 3 * 2_560
    assert (found.failed > 0) == (noise > 0.2)
    mean = sum(number * count for number, count in enumerate(found.histogram)) / sum(found.histogram)
    assert found.worst > mean
    assert found.noise == pytest.approx(noise, abs=1e-5)


def test_cells_that_differ_give_as_many_wrong_code_bits_over_all_chips_but_not_in_each() -> None:
    """Cells as the simulated chip has them: a mismatch that stays, and noise; enrolled from one readout."""
    dice = np.random.Generator(np.random.SFC64(1))
    chips = 400
    noise = 0.18
    mismatch = dice.standard_normal((chips, REPETITION, bch.N))
    spread = spread_for(noise)

    def power_up() -> NDArray[np.bool_]:
        return mismatch + spread * dice.standard_normal(mismatch.shape) > 0

    enrolled = power_up()
    wrong = np.array(
        [((power_up() != enrolled).sum(axis=1) > REPETITION // 2).sum(axis=1) for _ in range(20)]
    )
    expected = sum(
        math.comb(REPETITION, count) * noise**count * (1 - noise) ** (REPETITION - count)
        for count in range(4, REPETITION + 1)
    )
    assert wrong.mean() / bch.N == pytest.approx(expected, rel=0.05)
    # Of one chip's readouts the counts stay nearer to each other than those of chips with equal cells would.
    assert wrong.std(axis=0).mean() < 0.9 * math.sqrt(bch.N * expected * (1 - expected))


def test_a_rate_that_is_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puf_failures, "computed", lambda noise: 0.5)
    with pytest.raises(FailureRateOff, match="0 of 640 failed, where 320 were computed"):
        simulate(0.05, 640, 8, 1)


def test_an_extractor_that_gives_other_verdicts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puf_failures, "reproduce", lambda readout, helper: b"")
    with pytest.raises(FailureRateOff, match="other keys"):
        simulate(0.05, 640, 8, 1)
