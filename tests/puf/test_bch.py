"""The BCH code: its generator, a foreign decoder's verdicts, and what a bounded-distance decoder promises."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import bch
from tests.micropython import run

# Lin and Costello, appendix C, gives BCH(255, 131) in octal, highest power first.
GENERATOR_OCTAL = "215713331471510151261250277442142024165471"


def errors(dice: random.Random, count: int) -> int:
    return sum(1 << position for position in dice.sample(range(bch.N), count))


def test_the_generator_is_the_published_one_and_the_product_of_its_minimal_polynomials() -> None:
    assert int(GENERATOR_OCTAL, 8) == bch.GENERATOR
    assert bch._generator() == bch.GENERATOR
    assert bch.GENERATOR.bit_length() - 1 == bch.N - bch.K == 124


@pytest.mark.slow
def test_a_foreign_library_encodes_and_decodes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import galois
    import numpy as np

    galois.GF(2**8, compile="python-calculate")  # Without a compiler, which takes longer than it saves here.
    galois.GF2.compile("python-calculate")
    code = galois.BCH(bch.N, bch.K)
    assert (code.n, code.k, code.t) == (bch.N, bch.K, bch.T)
    assert int(code.generator_poly) == bch.GENERATOR
    dice = random.Random(1)
    messages = [dice.getrandbits(bch.K) for _ in range(24)]
    bits = [[message >> bch.K - 1 - index & 1 for index in range(bch.K)] for message in messages]
    theirs = [int("".join(map(str, row)), 2) for row in np.array(code.encode(bits)).tolist()]
    assert theirs == [bch.encode(message) for message in messages]
    words = [codeword ^ errors(dice, min(count, 22)) for count, codeword in enumerate(theirs)]
    received = galois.GF2([[word >> bch.N - 1 - index & 1 for index in range(bch.N)] for word in words])
    decoded, counts = code.decode(received, output="codeword", errors=True)
    expected_counts = np.array(counts).tolist()
    corrected = [int("".join(map(str, row)), 2) for row in np.array(decoded).tolist()]
    for number, word in enumerate(words):
        ours, count = bch.decode(word)
        assert count == expected_counts[number], number
        assert count == (number if number <= bch.T else bch.FAILED)
        if count != bch.FAILED:
            assert ours == corrected[number]


@given(st.integers(0, (1 << bch.K) - 1), st.sets(st.integers(0, bch.N - 1), max_size=bch.T))
@settings(deadline=None, max_examples=150)
def test_up_to_18_errors_anywhere_are_put_right(message: int, positions: set[int]) -> None:
    codeword = bch.encode(message)
    word = codeword ^ sum(1 << position for position in positions)
    assert bch.decode(word) == (codeword, len(positions))
    assert bch.message_of(codeword) == message


@pytest.mark.parametrize("positions", [range(18), range(237, 255), range(0, 255, 15), range(0, 18 * 14, 14)])
def test_errors_in_a_row_and_in_step_are_put_right(positions: range) -> None:
    codeword = bch.encode((1 << bch.K) - 1)
    assert bch.decode(codeword ^ sum(1 << at for at in positions)) == (codeword, len(positions))


def test_each_single_error_is_put_right() -> None:
    codeword = bch.encode(0x1234567890ABCDEF << 60)
    assert [bch.decode(codeword ^ 1 << at) for at in range(bch.N)] == [(codeword, 1)] * bch.N


@given(st.integers(0, (1 << bch.N) - 1))
@settings(deadline=None, max_examples=150)
def test_what_is_decoded_is_a_code_word_within_18_and_all_else_is_declared(word: int) -> None:
    decoded, count = bch.decode(word)
    if count == bch.FAILED:
        assert decoded == word
    else:
        assert 0 <= count <= bch.T
        assert (word ^ decoded).bit_count() == count
        assert bch.encode(bch.message_of(decoded)) == decoded


def test_beyond_18_errors_failure_is_declared() -> None:
    dice = random.Random(2)
    codeword = bch.encode(dice.getrandbits(bch.K))
    for count in range(19, 128, 3):
        word = codeword ^ errors(dice, count)
        assert bch.decode(word) == (word, bch.FAILED)


def test_nearer_to_another_code_word_than_18_is_decoded_to_that_one() -> None:
    """The limit of every bounded-distance decoder: why the extractor has a check of its own."""
    one = bch.encode(1)
    other = bch.encode(0)
    differing = [at for at in range(bch.N) if (one ^ other) >> at & 1]
    assert len(differing) >= 2 * bch.T + 1
    word = one
    for at in differing[bch.T :]:
        word ^= 1 << at
    assert bch.decode(word) == (other, bch.T)


@pytest.mark.parametrize("message", [-1, 1 << bch.K])
def test_a_message_has_131_bits(message: int) -> None:
    with pytest.raises(ValueError, match="131 bits"):
        bch.encode(message)


def test_micropython_decodes_the_same() -> None:
    dice = random.Random(3)
    lines, expected = [], []
    for count in (0, 1, 2, 17, 18, 19, 30, 18, 9, 120):
        word = bch.encode(dice.getrandbits(bch.K)) ^ errors(dice, count)
        lines.append(f"{word:064x}\n")
        decoded, found = bch.decode(word)
        expected.append(f"{decoded:x} {found} {bch.encode(bch.message_of(word)):x}")
    code = (
        "import sys\nfrom puf import bch\nfor line in sys.stdin:\n"
        "    word = int(line, 16)\n    decoded, found = bch.decode(word)\n"
        "    print('%x %d %x' % (decoded, found, bch.encode(bch.message_of(word))))\n"
    )
    assert run(code, stdin="".join(lines)).splitlines() == expected
