"""How hard a response is to guess, before and after helper data is public.

Runs on CPython.  Estimators of min-entropy for bits in the order of their cells, and what is left of it in a
key when the helper data of a repetition code inside a BCH code is known.

Source: NIST SP 800-90B (January 2018), sections 6.3.1 to 6.3.3.  P. Koeberl, J. Li, A. Rajan, W. Wu, "Entropy
loss in PUF-based key generation schemes: the repetition code pitfall", HOST 2014.  R. Maes and others,
"Secure Key Generation from Biased PUFs", CHES 2015.  J. Delvaux and others, "Efficient Fuzzy Extraction of
PUF-Induced Secrets", CHES 2016 (bounds for code-offset that are tighter than n - k).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

Z = 2.5758293035489008
"""Standard deviations of a 99 % interval; SP 800-90B prints 2.576, NIST's program has this."""
MARKOV_BITS = 128
"""Length of the chains that the Markov estimate looks for."""

REPETITION = 7
BCH_BITS = 255
BCH_SECRET_BITS = 131
BCH_ERRORS_MAX = 18
BLOCK_CELLS = REPETITION * BCH_BITS
"""1,785 bits of response to hide 131 bits of a secret."""
BLOCKS = {128: 3, 256: 5}
"""Key bits -> blocks: more than 131 bits each would ask, to spare for cells that are not perfect."""


def most_common_value(ones: int, total: int) -> float:
    """Upper 99.5 % bound of the share of the commoner value.  Source: section 6.3.1, steps 1 to 3."""
    share = max(ones, total - ones) / total
    return min(1.0, share + Z * math.sqrt(share * (1 - share) / (total - 1))) if total > 1 else 1.0


def most_common_value_entropy(bits: Sequence[int]) -> float:
    """Min-entropy a bit by the most common value.  Source: section 6.3.1."""
    return _entropy(most_common_value(sum(bits), len(bits)))


def collision_entropy(bits: Sequence[int]) -> float:
    """Min-entropy a bit by the time until a value repeats.  Source: section 6.3.2.

    Among bits that time is 2 or 3, so its mean is 2 + 2p(1 - p), which is the standard's equation for k = 2
    after the incomplete gamma function is written out.
    """
    at, pairs, triples = 0, 0, 0
    while at + 1 < len(bits):
        if bits[at] == bits[at + 1]:
            pairs += 1
            at += 2
        elif at + 2 < len(bits):
            triples += 1
            at += 3
        else:
            break
    count = pairs + triples
    if count < 2:
        return 0.0
    mean = (2 * pairs + 3 * triples) / count
    deviation = math.sqrt((pairs * (2 - mean) ** 2 + triples * (3 - mean) ** 2) / (count - 1))
    return _entropy(collision_probability(mean - Z * deviation / math.sqrt(count)))


def collision_probability(mean_bound: float) -> float:
    """The share p >= 1/2 of the commoner value for which a repeat comes after `mean_bound` bits on average.

    Beyond 2.5 nothing fits, and the standard says 1/2; below 2 nothing does either, and 1 is the safe side.
    """
    return 0.5 + math.sqrt(min(0.25, max(0.0, 1.25 - 0.5 * mean_bound)))


def markov_entropy(bits: Sequence[int]) -> float:
    """Min-entropy a bit of the likeliest 128 bits of a first-order Markov chain.  Source: section 6.3.3."""
    if len(bits) < 2:
        return 0.0
    transitions = [[0, 0], [0, 0]]
    for before, after in pairwise(bits):
        transitions[before][after] += 1
    ones = sum(bits)
    return markov_chain_entropy(
        (1 - ones / len(bits), ones / len(bits)), [_shares(row) for row in transitions]
    )


def markov_chain_entropy(start: Sequence[float], step: Sequence[Sequence[float]]) -> float:
    """As `markov_entropy`, from P(0), P(1) and the shares P(after | before).  Source: 6.3.3, step 3."""
    first = [_log2(share) for share in start]
    then = [[_log2(share) for share in row] for row in step]
    likeliest = max(
        first[0] + 127 * then[0][0],
        first[0] + 64 * then[0][1] + 63 * then[1][0],
        first[0] + then[0][1] + 126 * then[1][1],
        first[1] + then[1][0] + 126 * then[0][0],
        first[1] + 64 * then[1][0] + 63 * then[0][1],
        first[1] + 127 * then[1][1],
    )
    return min(1.0, max(0.0, -likeliest / MARKOV_BITS))


def repetition_entropy(guess: float, independent: int = REPETITION) -> float:
    """Average min-entropy of the one secret bit of a repetition group whose helper data is known.

    guess: the chance to guess a cell, in [0.5, 1]; independent: cells of the group that are.  Exact for
    i.i.d. cells: the helper data leaves two candidates, a response and its complement, and the likelier one
    is right with the chance that the majority of the cells has the commoner value (half of it for a tie).
    Source: Koeberl and others 2014; average min-entropy as Dodis and others define it (SIAM J. Comput.
    38(1)).
    """
    right = 0.0
    for count in range(independent + 1):
        weight = math.comb(independent, count) * guess**count * (1 - guess) ** (independent - count)
        right += weight if 2 * count > independent else weight / 2 if 2 * count == independent else 0.0
    return _entropy(right)


def key_entropy(guess: float, blocks: int, independent: int = REPETITION) -> float:
    """Bits of min-entropy that the secrets of so many blocks have at least, all helper data known.

    A block's 255 code bits are each hidden by one group; 131 of them are free.  An attacker who weighs all
    2^255 words instead of the 2^131 code words does at least as well, which gives 131 - 255 (1 - h) with the
    exact h of `repetition_entropy`.  The plain bound, which counts 1,785 - 131 bits as lost of the response's
    own entropy, says 0 for any cell with less than 0.93 bits.  Never negative.
    """
    per_block = BCH_SECRET_BITS - BCH_BITS * (1 - repetition_entropy(guess, independent))
    return blocks * max(0.0, per_block)


def plain_key_entropy(entropy_per_cell: float, blocks: int) -> float:
    """The bound by counting: the response's entropy, less n - k bits of helper data; never negative."""
    return blocks * max(0.0, BLOCK_CELLS * entropy_per_cell - (BLOCK_CELLS - BCH_SECRET_BITS))


def failure_rate(error_rate: float, blocks: int) -> float:
    """How often a key is not reproduced when each cell errs with `error_rate`, independently."""
    group = _tail(REPETITION, error_rate, REPETITION // 2)
    block = _tail(BCH_BITS, group, BCH_ERRORS_MAX)
    return 1.0 if block >= 1 else -math.expm1(blocks * math.log1p(-block))


def _tail(trials: int, chance: float, beyond: int) -> float:
    """The chance of more than `beyond` successes."""
    return min(
        1.0,
        sum(
            math.comb(trials, count) * chance**count * (1 - chance) ** (trials - count)
            for count in range(beyond + 1, trials + 1)
        ),
    )


def _entropy(chance: float) -> float:
    # max, since a chance of 1 gives minus zero, which is printed.
    return max(0.0, -math.log2(min(1.0, chance)))


def _log2(share: float) -> float:
    return math.log2(share) if share > 0 else -math.inf


def _shares(counts: Sequence[int]) -> tuple[float, float]:
    total = sum(counts)
    return (counts[0] / total, counts[1] / total) if total else (0.0, 0.0)
