"""Which chips may carry a key: recorded ones, simulated ones with one fault each, and what is no chip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import assess as assessing
from puf.assess import assess, response_of
from puf.assess_cells import chi_square, correlations, counts_of, error_rates, reference_of, to_cells
from puf.errors import ReadoutError
from tests.puf import recorded


def chip(seed: int, size: int = 2048, ones: float = 0.5, noise: float = 0.04, count: int = 12) -> list[bytes]:
    """Readouts of independent cells, each of which errs with the same chance."""
    chance = np.random.default_rng(seed)
    cells = chance.random(8 * size) < ones
    return [np.packbits(cells ^ (chance.random(8 * size) < noise)).tobytes() for _ in range(count)]


# Recorded chips


@pytest.mark.parametrize("name", recorded.SCUM)
@pytest.mark.parametrize("key_bits", [128, 256])
def test_the_scum_chips_pass(name: str, key_bits: int) -> None:
    others = [response_of(recorded.readouts(other)) for other in recorded.SCUM if other != name]
    found = assess(recorded.readouts(name), others, key_bits)
    assert found.verdict == assessing.PASS
    assert found.fit.entropy_bits > 1.7 * key_bits
    assert found.intra.mean == pytest.approx(0.0488, abs=0.0008)
    assert found.inter is not None
    assert found.inter.mean == pytest.approx(0.496, abs=0.001)
    assert found.cells.ones == pytest.approx(0.499, abs=0.002)
    # Rows of 512 cells repeat a little, which is no accident and lowers what is left.
    assert (found.spatial.lag, found.cells.predictor) == (512, "the cell 512 before")
    assert found.spatial.correlation == pytest.approx(0.0355, abs=0.002)


@pytest.mark.parametrize("name", recorded.ATMEGA)
def test_the_atmega_chips_are_refused_for_bias(name: str) -> None:
    found = assess(recorded.readouts(name))
    assert found.verdict == assessing.REFUSED_BIAS
    assert found.bias.mean == pytest.approx(0.3945, abs=0.001)
    assert found.fit.entropy_bits == 0
    assert not found.is_fit(128)
    assert "39." in found.reasons[0]
    assert "debiasing does not suffice either" in found.reasons[0]


@pytest.mark.parametrize("name", recorded.ATMEGA)
def test_what_is_left_of_an_atmega_after_debiasing_is_said_honestly(name: str) -> None:
    readouts = recorded.readouts(name)
    found = assess(readouts, is_debiased=True)
    assert found.verdict == assessing.REFUSED_CELLS_DEBIASED
    response = np.unpackbits(np.frombuffer(response_of(readouts), np.uint8)).reshape(-1, 2)
    unequal = int((response[:, 0] != response[:, 1]).sum())
    assert found.debiased.count == unequal
    assert found.fit.bits_available == unequal // 4 * 7 < found.fit.bits_needed == 5355
    # One whole block of 1,785 bits is there; place in the byte still tells much of its pairs.
    assert found.debiased.predictor == "the place in the byte"
    assert 40 < found.fit.entropy_bits < 50
    assert "bytes) would be needed" in found.reasons[0]


def test_the_two_recorded_atmegas_have_the_same_content() -> None:
    first, second = (recorded.readouts(name) for name in recorded.ATMEGA)
    found = assess(first, [response_of(second)], is_debiased=True)
    assert found.inter is not None
    assert found.inter.mean == pytest.approx(0.0133, abs=0.0005)
    assert any("another chip differs in 1.3 % of the cells" in reason for reason in found.reasons)


# Simulated chips, each with one fault


def test_a_good_chip_passes_and_says_how_good_it_is() -> None:
    found = assess(chip(1))
    assert found.verdict == assessing.PASS
    assert found.errors.mean == pytest.approx(0.04, abs=0.003)
    assert found.intra.mean == pytest.approx(2 * 0.04 * 0.96, abs=0.003)
    assert 280 < found.fit.entropy_bits < 393
    assert found.cells.predictor == "the commoner value"
    assert found.is_fit(256)
    assert found.inter is None


def test_a_biased_chip_with_cells_enough_passes_after_debiasing_only() -> None:
    readouts = chip(2, size=4096, ones=0.38)
    found = assess(readouts)
    assert found.verdict == assessing.REFUSED_BIAS
    assert "debiasing makes it fit" in found.reasons[0]
    assert not found.is_fit(128)
    assert found.is_fit(128, is_debiased=True)
    debiased = assess(readouts, is_debiased=True)
    assert debiased.verdict == assessing.PASS_DEBIASED
    assert debiased.fit.entropy_bits > 128
    assert abs(debiased.debiased.ones - 0.5) < 0.02


@pytest.mark.parametrize(("ones", "is_refused"), [(0.44, True), (0.46, False), (0.54, False), (0.56, True)])
def test_bias_counts_on_either_side(ones: float, is_refused: bool) -> None:
    found = assess(chip(3, size=8192, ones=ones, count=5))
    assert (found.verdict == assessing.REFUSED_BIAS) == is_refused
    assert found.is_fit(128) == (not is_refused)


def test_a_small_region_is_refused() -> None:
    found = assess(chip(4, size=669))
    assert found.verdict == assessing.REFUSED_CELLS
    assert found.reasons[0] == "5,352 cells, and the key takes 5,355; read a larger region"
    assert assess(chip(4, size=670)).verdict == assessing.PASS


def test_a_chip_is_refused_when_its_worst_readout_is_too_noisy() -> None:
    assert assess(chip(5, noise=0.13, count=30)).verdict == assessing.PASS
    readouts = chip(5)
    flips = np.random.default_rng(6).random(8 * 2048) < 0.17
    readouts[3] = (np.frombuffer(readouts[3], np.uint8) ^ np.packbits(flips)).tobytes()
    found = assess(readouts)
    assert found.verdict == assessing.REFUSED_NOISE
    assert found.fit.failure_rate > 1e-6
    assert found.errors.highest > 0.15 > found.errors.mean


def test_the_same_chip_twice_is_not_two_chips() -> None:
    readouts = chip(7)
    found = assess(readouts[:6], [response_of(readouts[6:]), response_of(chip(8))])
    assert found.verdict == assessing.REFUSED_ALIKE
    assert found.inter is not None
    assert found.inter.lowest < 0.01 < 0.49 < found.inter.highest
    # An inverted copy is as well known as a copy.
    inverted = bytes(byte ^ 0xFF for byte in response_of(readouts))
    assert assess(readouts, [inverted]).verdict == assessing.REFUSED_ALIKE


def test_cells_that_repeat_are_no_entropy() -> None:
    halves = chip(9, size=256, noise=0.02)
    found = assess([half * 8 for half in halves])
    assert found.verdict == assessing.REFUSED_ENTROPY
    assert found.spatial.lag % 2048 == 0
    assert found.spatial.correlation == pytest.approx(1.0)
    assert found.fit.entropy_bits == 0


def test_two_readouts_taken_for_one_are_found_out() -> None:
    readouts = chip(11, count=8)
    found = assess([first + second for first, second in zip(readouts[::2], readouts[1::2], strict=True)])
    assert found.verdict == assessing.REFUSED_ENTROPY
    assert found.cells.predictor == "the cell 16384 before"
    assert found.fit.entropy_bits == 0


def test_a_place_in_the_byte_that_is_always_one_is_found() -> None:
    readouts = [
        bytes(byte | 1 if at % 8 else byte for at, byte in enumerate(one)) for one in chip(10, ones=0.47)
    ]
    found = assess(readouts)
    assert found.spatial.ones_by_place[7] > 0.9
    assert found.spatial.place_chi_square > 1000
    assert found.cells.guess > 0.54


@pytest.mark.parametrize("value", [0x00, 0xFF, 0x55])
def test_memory_that_firmware_has_written_is_refused(value: int) -> None:
    found = assess([bytes([value]) * 2048] * 3)
    assert not found.is_fit(128)
    assert not found.is_fit(128, is_debiased=True)
    assert found.fit.entropy_bits == 0


# What cannot be judged


@pytest.mark.parametrize(
    ("readouts", "says"),
    [
        ([], "there are none"),
        ([bytes(100)], "there is one readout"),
        ([bytes(100), bytes(99)], r"these have \[99, 100\] bytes"),
        ([b"", b""], "too short"),
        ([bytes(7), bytes(7)], "too short"),
    ],
)
def test_too_little_is_no_chip(readouts: list[bytes], says: str) -> None:
    with pytest.raises(ReadoutError, match=says):
        assess(readouts)


def test_chips_of_different_sizes_are_not_compared() -> None:
    with pytest.raises(ReadoutError, match="different sizes"):
        assess(chip(1, size=64), [bytes(63)])


@pytest.mark.parametrize("key_bits", [0, 64, 192])
def test_there_are_two_strengths(key_bits: int) -> None:
    with pytest.raises(ValueError, match="128 or 256 bits"):
        assess(chip(1, size=64), key_bits=key_bits)


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=16, max_size=16), min_size=2, max_size=6))
def test_any_readouts_are_judged_and_none_so_small_passes(readouts: list[bytes]) -> None:
    found = assess(readouts, readouts[:1])
    assert found.verdict.startswith("REFUSED")
    assert found.reasons
    assert 0 <= found.fit.entropy_bits <= 393
    assert 0.5 <= found.cells.guess <= 1
    assert 0 <= found.stable <= 1
    assert not found.is_fit(128, is_debiased=True)


# The measurements, against numpy

MANY = st.lists(st.binary(min_size=8, max_size=8), min_size=2, max_size=9)


@given(MANY)
def test_counts_and_reference_are_those_of_a_table(readouts: list[bytes]) -> None:
    cells, cell_count = to_cells(readouts)
    table = np.unpackbits(np.frombuffer(b"".join(readouts), np.uint8).reshape(len(readouts), -1), axis=1)
    counts = counts_of(cells, cell_count)
    assert counts == table.sum(0).tolist()
    twice = 2 * table.sum(0)
    majority = np.where(twice == len(readouts), table[0], twice > len(readouts))
    assert reference_of(cells, counts).to_bytes(8, "big") == np.packbits(majority.astype(bool)).tobytes()


@given(MANY)
def test_a_readout_is_held_against_the_majority_of_the_others(readouts: list[bytes]) -> None:
    cells, cell_count = to_cells(readouts)
    table = np.unpackbits(np.frombuffer(b"".join(readouts), np.uint8).reshape(len(readouts), -1), axis=1)
    expected = []
    for index, row in enumerate(table):
        others = np.delete(table, index, axis=0).mean(0)
        errors = np.where(others == 0.5, 0.5, (others > 0.5) != row)
        expected.append(float(errors.mean()))
    assert error_rates(cells, counts_of(cells, cell_count)) == pytest.approx(expected)


@given(st.binary(min_size=32, max_size=32))
def test_correlations_are_agreement_beyond_chance(response: bytes) -> None:
    bits = np.unpackbits(np.frombuffer(response, np.uint8)).astype(int)
    ones = bits.mean()
    by_chance = ones**2 + (1 - ones) ** 2
    found = correlations(int.from_bytes(response, "big"), 256)
    assert [lag for lag, _ in found] == [*range(1, 33), 64, 128]
    for lag, value in found:
        agree = float((bits[lag:] == bits[:-lag]).mean())
        expected = (agree - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0
        assert value == pytest.approx(expected)


def test_chi_square_of_even_and_uneven_classes() -> None:
    assert chi_square([50, 50], [100, 100]) == 0
    assert chi_square([0, 0], [100, 100]) == 0
    # Expected 50 each: (10^2 / 25) twice.
    assert chi_square([60, 40], [100, 100]) == pytest.approx(8.0)
