"""The fuzzy extractor: a noisy power-up pattern in, the same 32 secret bytes out, every time.

Runs on CPython and MicroPython.  The code-offset construction.  Enrolment chooses a random secret, encodes
it (BCH(255, 131), then each bit seven times) and publishes readout XOR code bits.  Reproduction XORs a new
readout with that: what is left is the code with the noise on it, which majority and BCH take away.

    prk   = HKDF-Extract(salt = SHA-256(body of the helper data), secret)
    root  = derive(prk, "root")              check = derive(prk, "helper check", size = 16)

Root and check are independent outputs of a PRF: the check says nothing of the root, and lets a guess at all
of the secret be tried, which its 128 bits or more make hopeless.  Every bit of the helper data is in the
salt, so whoever changes one gets another root, a check that does not hold, and one and the same
refusal after the same steps, whatever the change did to the errors: there is nothing to learn from trying.

What is left of the secret.  The helper data of 3 blocks hides 393 bits when the cells are independent and
unbiased.  With a bias the offsets of one code bit agree too often, and it shows through; `entropy_bits`
bounds what is left.  Enrolment refuses a bias beyond 0.45 to 0.55: debias first, or take another memory.
Cells that depend on each other are not seen here: assess the chip before (`cpc puf assess`).

The seven copies of a code bit stand 255 x blocks cells apart, so that damage in one place hits each code
bit once.  Of debiased bits they stand side by side: both bits of a pair must hide the same code bit.

Source: Dodis, Ostrovsky, Reyzin and Smith, "Fuzzy extractors" (2008), the code-offset construction; Boyen,
Dodis, Katz, Ostrovsky and Smith, "Secure remote authentication using biometric data" (2005), the hash that
binds helper data; Boyen, "Reusable cryptographic fuzzy extractors" (2004), on chosen helper data; Delvaux et
al., "Efficient fuzzy extraction of PUF-induced secrets: theory and applications" (2016), on bias.
"""

import math

from puf import bch, debias, helper_data, keys
from puf.errors import EnrolmentError, RegionTaken, ReproductionError
from puf.helper_data import BLOCKS, CHECK_BYTES, REPETITION, HelperData, response_bits
from puf.hkdf import hkdf_extract, is_equal

READOUTS_MIN = 3
"""Fewer give no majority."""
ONES_MIN, ONES_MAX = 0.45, 0.55
"""Bias of the cells that a key is built on; beyond, less than its strength would be left."""
NOISE_MAX = 0.15
"""Share of cells in which a readout may differ from the majority: where failures are 1.6e-9 (128 bits)."""
ROOT = "root"
CHECK = "helper check"
"""Labels (puf/keys.py)."""


def secret_bytes(strength_bits: int) -> int:
    """Length of the random secret that `enrol` needs: 50 or 82 bytes, of which 393 or 655 bits are used."""
    return (bch.K * BLOCKS[strength_bits] + 7) // 8


def entropy_bits(ones: float, strength_bits: int) -> float:
    """Min-entropy of the secret that is left to who has the helper data and knows the bias, at least.

    `ones`: share of ones, 0 to 1, of cells that are independent and alike.  For a uniform secret the best
    guess succeeds, on average, with at most 2^-131 prod(sum over patterns of max(P(pattern), P(inverse)))
    per block, as if all 2^255 words were codewords.
    """
    total = 0.0
    for count in range(REPETITION + 1):
        ways = 1
        for index in range(count):
            ways = ways * (REPETITION - index) // (index + 1)
        straight = ones**count * (1 - ones) ** (REPETITION - count)
        inverse = ones ** (REPETITION - count) * (1 - ones) ** count
        total += ways * max(straight, inverse)
    return max(0.0, BLOCKS[strength_bits] * (bch.K - bch.N * math.log(total) / math.log(2)))


def majority(readouts: "list[bytes]") -> bytes:
    """Bit by bit what most of `readouts`, of one length, say; of an even number the first counts twice."""
    words = [int.from_bytes(readout, "big") for readout in readouts]
    if len(words) % 2 == 0:
        words.append(words[0])
    planes: list[int] = []
    while 1 << len(planes) <= len(words):
        planes.append(0)
    for word in words:
        carry = word
        for index in range(len(planes)):
            planes[index], carry = planes[index] ^ carry, planes[index] & carry
    need = len(words) // 2 + 1
    more = 0
    equal = ones = (1 << 8 * len(readouts[0])) - 1
    for index in range(len(planes) - 1, -1, -1):
        plane = planes[index]
        if need >> index & 1:
            equal &= plane
        else:
            more |= equal & plane
            equal &= ones ^ plane
    return (more | equal).to_bytes(len(readouts[0]), "big")


def enrol(
    readouts: "list[bytes]",
    secret: bytes,
    address: int = 0,
    strength_bits: int = 128,
    is_debiased: bool = False,
) -> "tuple[HelperData, bytes]":
    """Helper data for a chip, and its root (32 bytes, secret).

    `readouts`: 3 or more of one region, each after a power-up of its own, bytes of one length; `secret`:
    `secret_bytes(strength_bits)` random bytes, never used before or after; `address`: where the region
    begins in the chip's memory; `is_debiased`: use only the pairs of cells that differ (puf/debias.py).
    Raises EnrolmentError when no strong and stable key can be had from these readouts.
    """
    bit_count = response_bits(strength_bits)
    if len(secret) != secret_bytes(strength_bits):
        raise ValueError(f"a secret has {secret_bytes(strength_bits)} bytes, not {len(secret)}")
    size = _check_readouts(readouts)
    reference = majority(readouts)
    mask = b""
    if is_debiased:
        mask, _ = debias.enrol(reference, bit_count)
    elif 8 * size < bit_count:
        raise EnrolmentError(
            f"{8 * size} cells where {bit_count} are needed; take a larger region, or less strength"
        )
    response = _response(reference, mask, bit_count)
    ones = _weight(response, bit_count) / bit_count
    if not ONES_MIN <= ones <= ONES_MAX:
        raise EnrolmentError(
            f"{ones:.1%} of the cells are ones; only {ONES_MIN:.0%} to {ONES_MAX:.0%} keep the secret; debias"
        )
    for number, readout in enumerate(readouts):
        noise = _weight(response ^ _response(readout, mask, bit_count), bit_count) / bit_count
        if noise > NOISE_MAX:
            raise EnrolmentError(
                f"readout {number} differs from the majority in {noise:.1%} of the cells, at most "
                f"{NOISE_MAX:.0%} may; was the power off for long enough, is it one chip?"
            )
    blocks = BLOCKS[strength_bits]
    messages = int.from_bytes(secret, "big") >> (8 * len(secret) - bch.K * blocks)
    codewords = 0
    for block in range(blocks):
        message = messages >> (bch.K * block) & ((1 << bch.K) - 1)
        codewords |= bch.encode(message) << (bch.N * block)
    offset = _bytes(response ^ _repeat(codewords, bch.N * blocks), bit_count)
    helper = HelperData(strength_bits, address, size, mask, offset, bytes(CHECK_BYTES))
    helper_data.from_bytes(helper.to_bytes())
    root, check = _root_and_check(helper, messages)
    helper = HelperData(strength_bits, address, size, mask, offset, check)
    for number, readout in enumerate(readouts):
        try:
            reproduce(readout, helper)
        except ReproductionError:
            raise EnrolmentError(f"the key does not come back from readout {number}") from None
    return helper, root


def reproduce(readout: bytes, helper: HelperData) -> bytes:
    """The root (32 bytes, secret) of the chip that `readout` is of.

    Raises ReproductionError, always the same one, when it is not the chip, not the helper data, or too noisy.
    Limit how often this is tried: puf/attempts.py.
    """
    bit_count = response_bits(helper.strength_bits)
    blocks = BLOCKS[helper.strength_bits]
    noisy = _response(readout, helper.mask, bit_count) ^ _word(helper.offset, bit_count)
    word = _vote(noisy, bch.N * blocks)
    messages = 0
    is_decoded = True
    for block in range(blocks):
        # A block that fails does not end the work: how long it takes must not tell which one it was.
        codeword, error_count = bch.decode(word >> (bch.N * block) & ((1 << bch.N) - 1))
        is_decoded &= error_count != bch.FAILED
        messages |= bch.message_of(codeword) << (bch.K * block)
    root, check = _root_and_check(helper, messages)
    if not (is_equal(check, helper.check) and is_decoded):
        raise ReproductionError
    return root


def check_is_new(readout: bytes, helpers: "list[HelperData]") -> None:
    """Raises RegionTaken when `readout` gives back the key of one of `helpers`, whatever the chip is called.

    A chip that comes for a second enrolment under another name is found by its silicon.  It is found only
    when the very region is read again; overlaps are found by `helper_data.check_region_is_free`.
    """
    for helper in helpers:
        try:
            reproduce(readout, helper)
        except ReproductionError:
            continue
        raise RegionTaken("a key was built on these cells before; choose another region of the chip")


def _check_readouts(readouts: "list[bytes]") -> int:
    if len(readouts) < READOUTS_MIN:
        raise EnrolmentError(f"{len(readouts)} readouts, at least {READOUTS_MIN} are needed")
    size = len(readouts[0])
    for readout in readouts:
        if len(readout) != size:
            raise EnrolmentError(f"readouts of {size} and of {len(readout)} bytes; read one region each time")
    if all([readout == readouts[0] for readout in readouts]):  # noqa: C419  MicroPython holds no generator here
        raise EnrolmentError("the readouts are all the same: the power was not off between them")
    return size


def _root_and_check(helper: HelperData, messages: int) -> "tuple[bytes, bytes]":
    size = secret_bytes(helper.strength_bits)
    prk = hkdf_extract(helper.salt(), messages.to_bytes(size, "big"))
    return keys.derive(prk, ROOT), keys.derive(prk, CHECK, b"", CHECK_BYTES)


def _response(readout: bytes, mask: bytes, bit_count: int) -> int:
    """The cells that a key is built on, copy by copy: the seven copies of a word of bit_count / 7 bits."""
    if not mask:
        return _word(readout, bit_count)
    try:
        bits = debias.reproduce(readout, mask)
    except ValueError:  # A mask that nobody made; the check will not hold, and that is all that is told.
        bits = b""
    word = _word(bits, bit_count).to_bytes((bit_count + 7) // 8, "big")
    copies = [0] * REPETITION
    # Seven bytes are eight groups: eight bits of each copy.  The first groups are spare zeros.
    word = bytes(-len(word) % REPETITION) + word
    for at in range(0, len(word), REPETITION):
        groups = int.from_bytes(word[at : at + REPETITION], "big")
        for copy in range(REPETITION):
            bits_of_copy = 0
            for group in range(7, -1, -1):
                bits_of_copy = bits_of_copy << 1 | (groups >> (REPETITION * group + copy) & 1)
            copies[copy] = copies[copy] << 8 | bits_of_copy
    total = 0
    for copy in reversed(copies):
        total = total << (bit_count // REPETITION) | copy
    return total


def _word(data: bytes, bit_count: int) -> int:
    """The first `bit_count` bits, MSB first; zeros where there are fewer, for nobody is told of the lack."""
    size = (bit_count + 7) // 8
    if len(data) < size:
        data = bytes(data) + bytes(size - len(data))
    return int.from_bytes(data[:size], "big") >> (8 * size - bit_count)


def _bytes(word: int, bit_count: int) -> bytes:
    size = (bit_count + 7) // 8
    return (word << (8 * size - bit_count)).to_bytes(size, "big")


def _weight(word: int, bit_count: int) -> int:
    """Ones in a word of `bit_count` bits, a byte at a time: its binary digits as text are a lot of heap."""
    total = 0
    for value in word.to_bytes((bit_count + 7) // 8, "big"):
        while value:
            value &= value - 1
            total += 1
    return total


def _repeat(word: int, width: int) -> int:
    total = 0
    for _ in range(REPETITION):
        total = total << width | word
    return total


def _vote(noisy: int, width: int) -> int:
    """Bit by bit what at least 4 of the 7 copies of a word of `width` bits say, by adders of bits."""
    ones = (1 << width) - 1
    a = noisy & ones
    b = noisy >> width & ones
    c = noisy >> 2 * width & ones
    sum_1 = a ^ b ^ c
    carry_1 = a & b | (a ^ b) & c
    a = noisy >> 3 * width & ones
    b = noisy >> 4 * width & ones
    c = noisy >> 5 * width & ones
    sum_2 = a ^ b ^ c
    carry_2 = a & b | (a ^ b) & c
    c = noisy >> 6 * width
    carry_3 = sum_1 & sum_2 | (sum_1 ^ sum_2) & c
    return carry_1 & carry_2 | (carry_1 ^ carry_2) & carry_3
