"""Debiasing: from cells that prefer one value to bits that prefer none, with a public mask.

Runs on CPython and MicroPython.  Cells are taken in pairs.  A pair whose cells are equal is dropped; one
whose cells differ is 01 or 10, and for independent cells of any one bias both are equally likely.  The mask
says which pairs are kept, never which way round they are, so it tells nothing of the bits.

The classic form (von Neumann) takes one bit of a pair and so needs seven pairs for the seven bits of a
repetition group.  The form here takes both (pair-output, "2O-VN").  Both bits of a pair must then hide the
same bit of the code word: 01 is the one bit b with its complement, and a pair that straddles two groups would
publish the sum of two bits of the code word.  Seven is odd, so a group is three whole pairs and the first
cell of a fourth: four pairs for seven bits, where the classic form needs seven.

A mask is made once, at enrolment.  Two masks of one chip show which of its pairs are noisy, and group the
pairs differently, so that the two helper data together say how code bits relate; never make a second mask for
cells that carry a key.  Reproduction follows the mask, not the response: what it does is public.

Source: J. von Neumann, "Various techniques used in connection with random digits", 1951; R. Maes, V. van der
Leest, E. van der Sluis, F. Willems, "Secure Key Generation from Biased PUFs", CHES 2015, section 4.
"""

from puf.errors import TooFewCells

BITS_PER_GROUP = 7
"""The repetition code's length."""
PAIRS_PER_GROUP = 4
"""Pairs that a group takes: three whole ones, and one of which the second cell is left out."""


def group_count(response: bytes) -> int:
    """How many repetition groups this response, bytes, one bit per cell, has after debiasing."""
    pairs = 0
    for byte in response:
        # A bit in one of the even places for each pair whose cells differ.
        unequal = (byte ^ (byte >> 1)) & 0x55
        while unequal:
            unequal &= unequal - 1
            pairs += 1
    return pairs // PAIRS_PER_GROUP


def mask_size(response_size: int) -> int:
    """Bytes of the mask for a response of so many bytes: one bit per pair."""
    return (response_size + 1) // 2


def enrol(response: bytes, bit_count: int) -> tuple:  # type: ignore[type-arg]
    """(mask, bits) of an enrolment response, which is best the majority of several readouts.

    response: bytes, one bit per cell, MSB first.  mask: bytes, `mask_size`, one bit per pair, MSB first,
    public. bits: bytes, `bit_count` bits, MSB first, the rest 0; secret.  Pairs beyond the last group are not
    in the mask. Raises TooFewCells when the response has fewer bits; ValueError when bit_count is no multiple
    of 7.
    """
    groups, rest = divmod(bit_count, BITS_PER_GROUP)
    if rest or bit_count <= 0:
        raise ValueError(f"debiased bits come in groups of {BITS_PER_GROUP}, and {bit_count} is none")
    wanted = groups * PAIRS_PER_GROUP
    mask = bytearray(mask_size(len(response)))
    found = 0
    for index, byte in enumerate(response):
        unequal = (byte ^ (byte >> 1)) & 0x55
        for pair in range(4):
            if found < wanted and unequal >> (6 - 2 * pair) & 1:
                mask[index >> 1] |= 0x80 >> ((index & 1) * 4 + pair)
                found += 1
    if found < wanted:
        raise TooFewCells(found // PAIRS_PER_GROUP * BITS_PER_GROUP, bit_count)
    return bytes(mask), reproduce(response, bytes(mask))


def reproduce(response: bytes, mask: bytes) -> bytes:
    """The bits that the mask keeps of a noisy response of the same chip; see `enrol`.

    Raises ValueError when mask and response are not of one size, or the mask does not hold whole groups.
    """
    if len(mask) != mask_size(len(response)):
        raise ValueError(f"a mask of {len(mask)} bytes does not belong to a response of {len(response)}")
    bits = bytearray()
    taken = pairs = filled = 0
    for index, byte in enumerate(response):
        kept = mask[index >> 1] >> (4 if index & 1 == 0 else 0)
        for pair in range(4):
            if not kept >> (3 - pair) & 1:
                continue
            both = byte >> (6 - 2 * pair) & 3
            if pairs % PAIRS_PER_GROUP == PAIRS_PER_GROUP - 1:
                taken = taken << 1 | both >> 1
                filled += 1
            else:
                taken = taken << 2 | both
                filled += 2
            pairs += 1
            if filled >= 8:
                filled -= 8
                bits.append(taken >> filled & 0xFF)
                taken &= (1 << filled) - 1
    if pairs % PAIRS_PER_GROUP or (len(response) & 1 and mask[-1] & 0x0F):
        raise ValueError("the mask does not hold whole groups of pairs; it is not one that `enrol` made")
    if filled:
        bits.append(taken << (8 - filled) & 0xFF)
    return bytes(bits)
