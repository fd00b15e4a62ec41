"""The fuzzy extractor: keys that come back, keys that must not, and nothing to be learnt from trying."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import bch, cbor, fuzzy_extractor, helper_data, hkdf, keys
from puf.errors import DecodeError, EnrolmentError, PufError, RegionTaken, ReproductionError, TooFewCells
from puf.fuzzy_extractor import check_is_new, enrol, entropy_bits, majority, reproduce
from puf.helper_data import HelperData
from puf.puf_simulator import SimulatedChip
from tests.puf.chips import ADDRESS, SECRET, enrolled, flipped, recorded, simulated

GOLDEN_ROOT = "24f30cc0ac1b60768c89cedf6bc00f6ed0e04a8435554f6b064a1d9f78c302d3"
GOLDEN_HELPER_HASH = "56b33cc70af05b98b2317b0265bdc7440e3d4e00f959b4aa678a2158b40d83af"


def with_errors(readout: bytes, share: float, seed: int) -> bytes:
    dice = random.Random(seed)
    word = int.from_bytes(readout, "big")
    for at in dice.sample(range(8 * len(readout)), round(8 * len(readout) * share)):
        word ^= 1 << at
    return word.to_bytes(len(readout), "big")


# Keys come back


def test_the_root_and_the_helper_data_of_one_chip_never_change() -> None:
    """A change here means that no device in the field finds its key again."""
    readout = hkdf.hkdf(b"golden chip", b"", b"", 670)
    helper, root = enrol([readout, flipped(readout, 0), flipped(readout, 1)], SECRET[:50], ADDRESS)
    assert root.hex() == GOLDEN_ROOT
    assert hkdf.sha256(helper.to_bytes()).hex() == GOLDEN_HELPER_HASH


def test_the_root_is_what_the_head_of_the_file_says() -> None:
    readouts = simulated()
    helper, root = enrolled(readouts)
    messages = int.from_bytes(SECRET[:50], "big") >> 7
    words = 0
    for block in range(3):
        words |= bch.encode(messages >> 131 * block & (1 << 131) - 1) << 255 * block
    code = "".join([f"{words:0765b}"] * 7)
    cells = f"{int.from_bytes(majority(readouts), 'big'):0{8 * 680}b}"[:5355]
    offset = int(code, 2) ^ int(cells, 2)
    assert helper.offset == (offset << 5).to_bytes(670, "big")
    body = cbor.encode(["cpc/helper", 1, [7, 255, 131, 18, 3], [ADDRESS, 680], b"", helper.offset])
    prk = hkdf.hkdf_extract(hkdf.sha256(body), messages.to_bytes(50, "big"))
    assert root == keys.derive(prk, "root")
    assert helper.check == keys.derive(prk, "helper check", b"", 16)


@pytest.mark.parametrize(("strength_bits", "size", "helper_bytes"), [(128, 670, 721), (256, 1116, 1167)])
def test_a_key_comes_back_from_each_readout_and_with_15_percent_errors(
    strength_bits: int, size: int, helper_bytes: int
) -> None:
    readouts = simulated(size=size)
    helper, root = enrolled(readouts, strength_bits)
    assert len(root) == 32
    assert len(helper.to_bytes()) == helper_bytes
    for readout in [*readouts, with_errors(majority(readouts), 0.15, 1), with_errors(readouts[0], 0.10, 2)]:
        assert reproduce(readout, helper) == root


def test_a_key_comes_back_hot_cold_and_old() -> None:
    chip = SimulatedChip(b"weather", 680)
    helper, root = enrolled([chip.read() for _ in range(9)])
    for temperature_c, age_years in ((85, 0), (-35, 0), (25, 20), (70, 10), (-20, 10)):
        chip.temperature_c, chip.age_years = temperature_c, age_years
        assert reproduce(chip.read(), helper) == root


@pytest.mark.parametrize(("name", "count"), [("scum_L45_28x4096.bin", 9), ("scum_M42_4x4096.bin", 3)])
@pytest.mark.parametrize("strength_bits", [128, 256])
def test_recorded_chips_find_their_keys_in_readouts_that_they_were_not_enrolled_with(
    name: str, count: int, strength_bits: int
) -> None:
    readouts = recorded(name)
    helper, root = enrolled(readouts[:count], strength_bits)
    assert [reproduce(readout, helper) for readout in readouts[count:]] == [root] * (len(readouts) - count)


@pytest.mark.parametrize("name", ["atmega328_nano1_50x1024.bin", "atmega328_nano2_50x1024.bin"])
def test_recorded_chips_with_a_bias_are_refused_and_have_too_few_cells_to_debias(name: str) -> None:
    readouts = recorded(name)[:9]
    with pytest.raises(EnrolmentError, match=r"(39|40|38)\.\d% of the cells are ones; .* debias"):
        enrolled(readouts)
    with pytest.raises(TooFewCells):
        enrol(readouts, SECRET[:50], is_debiased=True)


def test_a_chip_with_a_bias_finds_its_key_once_debiased() -> None:
    chip = SimulatedChip(b"biased", 2040, 0.03, 0.395)
    readouts = [chip.read() for _ in range(9)]
    with pytest.raises(EnrolmentError, match="debias"):
        enrol(readouts, SECRET[:50])
    helper, root = enrol(readouts, SECRET[:50], is_debiased=True)
    assert len(helper.mask) == 1020
    assert [reproduce(chip.read(), helper) for _ in range(5)] == [root] * 5
    other = helper._replace(mask=flipped(helper.mask, 9))
    with pytest.raises(ReproductionError):
        reproduce(readouts[0], other)
    with pytest.raises(ReproductionError):
        reproduce(readouts[0][:-2], helper)


def test_of_debiased_bits_both_of_a_pair_hide_the_same_code_bit() -> None:
    """A pair across two code bits would publish their sum: 01 or 10 is one bit and its complement."""
    chip = SimulatedChip(b"biased", 2040, 0.03, 0.395)
    helper, _ = enrol([chip.read() for _ in range(5)], SECRET[:50], is_debiased=True)
    offset = f"{int.from_bytes(helper.offset, 'big') >> 5:05355b}"
    copies = [offset[765 * copy : 765 * copy + 765] for copy in range(7)]
    for first, second in ((0, 1), (2, 3), (4, 5)):
        assert all(a != b for a, b in zip(copies[first], copies[second], strict=True))


@given(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=9))
def test_a_majority_is_counted_bit_by_bit(readouts: list[bytes]) -> None:
    votes = readouts if len(readouts) % 2 else [*readouts, readouts[0]]
    for bit in range(24):
        ones = sum(vote[bit // 8] >> 7 - bit % 8 & 1 for vote in votes)
        assert majority(readouts)[bit // 8] >> 7 - bit % 8 & 1 == (2 * ones > len(votes))


@given(st.lists(st.integers(0, (1 << 40) - 1), min_size=7, max_size=7))
def test_four_of_seven_copies_decide(copies: list[int]) -> None:
    noisy = sum(copy << 40 * index for index, copy in enumerate(copies))
    expected = sum(1 << bit for bit in range(40) if sum(copy >> bit & 1 for copy in copies) >= 4)
    assert fuzzy_extractor._vote(noisy, 40) == expected


# Readouts that no key may be built on


def _same() -> list[bytes]:
    return [simulated()[0]] * 3


def _two_chips() -> list[bytes]:
    return [*simulated(b"a", count=3), *simulated(b"b", count=1)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: simulated(count=2), "2 readouts, at least 3"),
        (lambda: [*simulated(), b"short"], "of 680 and of 5 bytes"),
        (_same, "all the same: the power was not off"),
        (lambda: simulated(size=669), "5352 cells where 5355 are needed"),
        (_two_chips, r"readout 3 differs from the majority in (4|5)\d\.\d%.* is it one chip"),
        (lambda: simulated(noise=0.35), "readout 0 differs"),
        (lambda: [bytes(680), b"\x01" + bytes(679), bytes(680)], r"0\.0% of the cells are ones"),
    ],
)
def test_readouts_that_are_no_good_are_refused_with_the_reason(
    make: Callable[[], list[bytes]], said: str
) -> None:
    with pytest.raises(EnrolmentError, match=said):
        enrolled(make())


def test_a_callers_mistakes_are_told_apart() -> None:
    with pytest.raises(ValueError, match="128 or 256 bits, not 192"):
        enrol(simulated(), SECRET[:50], strength_bits=192)
    with pytest.raises(ValueError, match="50 bytes, not 32") as told:
        enrol(simulated(), SECRET[:32])
    assert SECRET[:4].hex() not in str(told.value)


def test_the_limits_of_bias_leave_the_strength_that_is_promised() -> None:
    for strength_bits in (128, 256):
        for ones in (fuzzy_extractor.ONES_MIN, 0.48, 0.5, fuzzy_extractor.ONES_MAX):
            assert entropy_bits(ones, strength_bits) >= strength_bits
        assert entropy_bits(0.57, strength_bits) < strength_bits
    assert entropy_bits(0.5, 128) == pytest.approx(393)
    assert entropy_bits(0.395, 128) == 0


# Attacks


def test_every_manipulated_bit_of_helper_data_is_refused() -> None:
    readouts = simulated(size=670)
    helper, root = enrolled(readouts)
    data = helper.to_bytes()
    verdicts = {"DecodeError": 0, "ReproductionError": 0}
    said = set()
    for bit in range(8 * len(data)):
        try:
            assert reproduce(readouts[0], helper_data.from_bytes(flipped(data, bit))) != root
            raise AssertionError(f"bit {bit} was flipped, and nobody noticed")
        except DecodeError:
            verdicts["DecodeError"] += 1
        except ReproductionError as error:
            verdicts["ReproductionError"] += 1
            said.add(str(error))
    # All that still is helper data at all: offset, check, most of address and size.
    assert verdicts["ReproductionError"] >= 5355 + 128 + 32
    assert sum(verdicts.values()) == 8 * len(data)
    assert len(said) == 1


def test_the_root_itself_changes_with_every_field_of_the_helper_data() -> None:
    """Not only the check: somebody who could make checks would still not get the device's root."""
    helper, root = enrolled(simulated())
    messages = int.from_bytes(SECRET[:50], "big") >> 7
    assert fuzzy_extractor._root_and_check(helper, messages) == (root, helper.check)
    changed = [
        helper._replace(address=ADDRESS + 4),
        helper._replace(size=681),
        helper._replace(mask=b"\x01"),
        *(helper._replace(offset=flipped(helper.offset, bit)) for bit in range(0, 5355, 153)),
    ]
    roots = {fuzzy_extractor._root_and_check(other, messages)[0] for other in changed}
    assert len(roots | {root}) == len(changed) + 1


def test_helper_data_of_another_chip_or_another_enrolment_is_refused() -> None:
    mine, yours = simulated(b"mine"), simulated(b"yours")
    my_helper, _ = enrolled(mine)
    your_helper, _ = enrolled(yours)
    again, _ = enrol(mine, bytes(50), ADDRESS)
    swapped = [
        (mine, your_helper),
        (yours, my_helper),
        (mine, my_helper._replace(offset=your_helper.offset)),
        (mine, my_helper._replace(check=your_helper.check)),
        (mine, my_helper._replace(check=again.check)),
        (mine, again._replace(check=my_helper.check)),
    ]
    assert {_said(readouts[0], helper) for readouts, helper in swapped} == {REFUSAL}


def test_recorded_chips_do_not_find_each_others_keys() -> None:
    ours, theirs = recorded("scum_L45_28x4096.bin"), recorded("scum_M42_4x4096.bin")
    helper, _ = enrolled(ours[:9])
    assert {_said(readout, helper) for readout in theirs} == {REFUSAL}


def _said(readout: bytes, helper: HelperData) -> str:
    with pytest.raises(PufError) as told:
        reproduce(readout, helper)
    assert type(told.value) is ReproductionError
    assert told.value.__cause__ is None
    return str(told.value)


def test_failures_look_alike_in_words_and_in_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped bit, noise, another chip, a wrong check, a readout that is too short: the same steps."""
    readouts = simulated()
    helper, _ = enrolled(readouts)
    steps: list[str] = []
    decode, derive = bch.decode, keys.derive

    def counted_decode(word: int) -> tuple[int, int]:
        steps.append("decode")
        return decode(word)

    def counted_derive(key: bytes, label: str, context: bytes = b"", size: int = 32) -> bytes:
        steps.append("derive")
        return derive(key, label, context, size)

    monkeypatch.setattr(bch, "decode", counted_decode)
    monkeypatch.setattr(keys, "derive", counted_derive)
    traces = {}
    for name, readout, other in (
        ("one flipped bit", readouts[0], helper._replace(offset=flipped(helper.offset, 77))),
        ("noise", with_errors(readouts[0], 0.3, 1), helper),
        ("another chip", simulated(b"other")[0], helper),
        ("a wrong check", readouts[0], helper._replace(check=bytes(16))),
        ("a short readout", readouts[0][:100], helper),
        ("no readout", b"", helper),
    ):
        steps.clear()
        traces[name] = (_said(readout, other), tuple(steps))
    assert set(traces.values()) == {(REFUSAL, ("decode",) * 3 + ("derive",) * 2)}
    steps.clear()
    reproduce(readouts[0], helper)
    assert tuple(steps) == ("decode",) * 3 + ("derive",) * 2


def test_chosen_helper_data_tells_nothing_of_a_cell() -> None:
    """The attack on plain code-offset: push a block to the edge of what BCH corrects, flip one bit more, and
    see whether the key still comes back; that tells whether the cell behind it was in error.  Here each
    attempt fails, whatever stands behind: the statistics that the attack needs are constant.
    """
    readouts = simulated()
    helper, root = enrolled(readouts)
    width = 3 * 255
    outcomes = []
    for edge in (0, 10, 17, 18, 19):
        offset = int.from_bytes(helper.offset, "big")
        for code_bit in range(edge):  # All seven copies: an error that the majority does not see.
            for copy in range(7):
                offset ^= 1 << 5 + copy * width + code_bit
        for probe in range(40, 60):
            pushed = (offset ^ 1 << 5 + probe).to_bytes(670, "big")
            outcomes.append(_said(readouts[0], helper._replace(offset=pushed)))
        # BCH alone would have told: this many errors are corrected, and 19 are not.
        word = fuzzy_extractor._vote(fuzzy_extractor._word(readouts[0], 5355) ^ offset >> 5, width)
        assert (bch.decode(word & (1 << 255) - 1)[1] == bch.FAILED) == (edge > 18)
    assert len(outcomes) == 100
    assert set(outcomes) == {REFUSAL}
    assert reproduce(readouts[0], helper) == root


def test_a_chip_that_comes_again_under_another_name_is_found() -> None:
    readouts = simulated()
    helper, _ = enrolled(readouts)
    other, _ = enrolled(simulated(b"other"))
    check_is_new(simulated(b"third")[0], [helper, other])
    check_is_new(readouts[0], [other])
    with pytest.raises(RegionTaken, match="built on these cells before"):
        check_is_new(readouts[1], [other, helper])


def test_why_a_region_is_enrolled_once() -> None:
    """The XOR of two offsets of the same cells is a code word, up to noise: the sum of both secrets."""
    readouts = simulated()
    one, _ = enrol(readouts, SECRET[:50], ADDRESS)
    two, _ = enrol(readouts, bytes(50), ADDRESS)
    both = int.from_bytes(one.offset, "big") ^ int.from_bytes(two.offset, "big")
    word = fuzzy_extractor._vote(both >> 5, 765)
    sum_of_secrets = 0
    for block in range(3):
        sum_of_secrets |= bch.message_of(word >> 255 * block & (1 << 255) - 1) << 131 * block
    assert sum_of_secrets == int.from_bytes(SECRET[:50], "big") >> 7


@given(st.binary(max_size=900), st.integers(0, 5355))
@settings(deadline=None, max_examples=60)
def test_any_readout_and_any_flipped_bit_give_the_one_refusal(readout: bytes, bit: int) -> None:
    helper, _ = HELPER
    assert _said(readout, helper._replace(offset=flipped(helper.offset, min(bit, 5354)))) == REFUSAL


HELPER = enrolled(simulated())
REFUSAL = "refused; cut the power of the device and start it again, or enrol it anew"
