"""BCH(255, 131): 131 bits in, 255 out, and up to 18 wrong ones among them are put right.

Runs on CPython and MicroPython.  The primitive narrow-sense binary code of length 255 over the field
GF(2^8) of x^8 + x^4 + x^3 + x^2 + 1.  A word is an integer: bit i is the coefficient of x^i; the message
is the upper 131 bits, the lower 124 are the remainder.  Tables take about 10 KB, as bytes.

A word within 18 errors of a codeword is always decoded to that codeword.  One beyond may be declared
undecodable, or lie within 18 of *another* codeword and be decoded to that: a bounded-distance decoder cannot
tell, so whoever needs certainty checks a hash of what comes out.  For a random word the second happens
with a probability of about 1e-10 (a sum over spheres, as below).

The steps are the same for every word, and none is left early; how long some of them take depends on the
number of errors.  It is not constant time.
Source: Lin and Costello, Error Control Coding (2nd edition), chapter 6 (generators, syndromes, Berlekamp's
iteration for binary codes, Chien's search); the generator's exponents in its table of appendix C.
"""

N = 255
"""Bits of a codeword."""
K = 131
"""Bits of a message."""
T = 18
"""Errors that are put right."""
FAILED = -1
"""Instead of a count of errors: no codeword is within T errors."""

_FIELD = 0x11D


def _powers() -> bytes:
    """alpha^0 .. alpha^254, twice, so that a sum of two logarithms needs no modulus."""
    out = bytearray(2 * N)
    value = 1
    for index in range(N):
        out[index] = out[index + N] = value
        value <<= 1
        if value > 255:
            value ^= _FIELD
    return bytes(out)


def _logarithms() -> bytes:
    out = bytearray(256)
    for index in range(N):
        out[_EXP[index]] = index
    return bytes(out)


_EXP = _powers()
_LOG = _logarithms()


def _generator() -> int:
    """The product of the minimal polynomials of alpha, alpha^3 .. alpha^35: degree 124.

    Its roots are the conjugates of those; multiplying (x - root) out leaves coefficients 0 and 1 only.
    """
    exponents = set()
    for odd in range(1, 2 * T, 2):
        for power in range(8):
            exponents.add((odd << power) % N)
    product = bytearray((1,))
    for exponent in sorted(exponents):
        longer = bytearray(len(product) + 1)
        for index, coefficient in enumerate(product):
            longer[index + 1] ^= coefficient
            if coefficient:
                longer[index] ^= _EXP[_LOG[coefficient] + exponent]
        product = longer
    value = 0
    for index, coefficient in enumerate(product):
        value |= coefficient << index
    return value


GENERATOR = 0x11BCB6CCE6906958AA17F2231050EB39
"""Of degree 124.  Kept, because multiplying it out takes a board longer than all else here."""


def _syndrome_rows() -> bytes:
    """Row p, T bytes: alpha^(p j) for j = 1, 3 .. 35, what one bit at x^p adds to the syndromes."""
    out = bytearray(N * T)
    at = 0
    for position in range(N):
        exponent = position
        for _ in range(T):
            out[at] = _EXP[exponent]
            at += 1
            exponent = (exponent + 2 * position) % N
    return bytes(out)


def _search_rows() -> "tuple[bytes, bytes]":
    """For each k = 1 .. T the powers of alpha, each once, in the order r, r - k, r - 2k ..; and by k the
    number of such cycles (r = 0, 1 ..) followed by the inverse of their step.

    The values of one coefficient's term at all 255 positions are one cycle, rotated.
    """
    out = bytearray(T * N)
    steps = bytearray(2 * T)
    at = 0
    for k in range(1, T + 1):
        cycle_count = 1
        for factor in (3, 5, 17):
            if k % factor == 0:
                cycle_count *= factor
        length = N // cycle_count
        inverse = 1
        while inverse * (k // cycle_count) % length != 1:
            inverse += 1
        steps[2 * k - 2] = cycle_count
        steps[2 * k - 1] = inverse
        for first in range(cycle_count):
            exponent = first
            for _ in range(length):
                out[at] = _EXP[exponent]
                at += 1
                exponent = (exponent - k) % N
    return bytes(out), bytes(steps)


_SYNDROME_ROWS = _syndrome_rows()
_SEARCH_ROWS, _STEPS = _search_rows()
_ONES = int.from_bytes(b"\x01" * N, "big")


def encode(message: int) -> int:
    """The codeword of `message`, an integer of K bits.  Raises ValueError for a longer one."""
    if not 0 <= message < 1 << K:
        raise ValueError(f"a message has {K} bits")
    remainder = message << (N - K)
    divisor = GENERATOR << (K - 1)
    bit = 1 << (N - 1)
    while bit >> (N - K):
        if remainder & bit:
            remainder ^= divisor
        divisor >>= 1
        bit >>= 1
    return message << (N - K) | remainder


def message_of(codeword: int) -> int:
    """The K bits that `encode` was given."""
    return codeword >> (N - K)


def decode(word: int) -> "tuple[int, int]":
    """The codeword within T errors of `word`, an integer of N bits, and how many errors that is.

    Without one: `word` as it is, and FAILED.
    """
    syndromes = _syndromes(word)
    locator, degree = _locator(syndromes)
    mask, error_count = _search(locator)
    if degree > T or error_count != degree:
        return word, FAILED
    return word ^ mask, error_count


def _syndromes(word: int) -> bytearray:
    """S[j] = word(alpha^j) for j = 1 .. 2 T; S[0] is not used."""
    total = 0
    data = word.to_bytes(32, "big")
    position = N
    for value in data:
        # The upper bit of the first byte would be x^255; it is not there.
        for _ in range(8):
            if value & 0x80:
                at = position * T
                total ^= int.from_bytes(_SYNDROME_ROWS[at : at + T], "big")
            value <<= 1
            position -= 1
    odd = total.to_bytes(T, "big")
    out = bytearray(2 * T + 1)
    for index in range(T):
        out[2 * index + 1] = odd[index]
    for index in range(2, 2 * T + 1, 2):
        half = out[index // 2]
        if half:  # In characteristic 2, S[2 j] is the square of S[j].
            out[index] = _EXP[2 * _LOG[half]]
    return out


def _locator(syndromes: bytearray) -> "tuple[bytearray, int]":
    """The shortest recurrence that gives the syndromes: its coefficients, and its length."""
    exp = _EXP
    log = _LOG
    current = bytearray(2 * T + 2)
    current[0] = 1
    before = bytearray(current)
    length = 0
    shift = 1
    log_before = 0
    for step in range(0, 2 * T, 2):
        # Of a binary code every second discrepancy is zero and is skipped.
        discrepancy = syndromes[step + 1]
        for index in range(1, length + 1):
            a = current[index]
            b = syndromes[step + 1 - index]
            if a and b:
                discrepancy ^= exp[log[a] + log[b]]
        if discrepancy == 0:
            shift += 2
            continue
        is_longer = 2 * length <= step
        kept = bytearray(current) if is_longer else before
        factor = log[discrepancy] - log_before
        if factor < 0:
            factor += N
        for index in range(2 * T + 2 - shift):
            a = before[index]
            if a:
                current[index + shift] ^= exp[log[a] + factor]
        if is_longer:
            before = kept
            length = step + 1 - length
            log_before = log[discrepancy]
            shift = 0
        shift += 2
    return current, length


def _search(locator: bytearray) -> "tuple[int, int]":
    """The positions p with locator(alpha^-p) = 0: a word with those bits, and their number."""
    total = _ONES
    for k in range(1, T + 1):
        coefficient = locator[k]
        if coefficient == 0:
            continue
        cycle_count = _STEPS[2 * k - 2]
        length = N // cycle_count
        logarithm = _LOG[coefficient]
        first = logarithm % cycle_count
        rotation = (first - logarithm) // cycle_count * _STEPS[2 * k - 1] % length
        start = (k - 1) * N + first * length
        middle = start + rotation
        cycle = _SEARCH_ROWS[middle : start + length] + _SEARCH_ROWS[start:middle]
        total ^= int.from_bytes(cycle * cycle_count, "big")
    values = total.to_bytes(N, "big")
    mask = 0
    count = 0
    position = values.find(b"\x00")
    while position >= 0:
        mask |= 1 << position
        count += 1
        position = values.find(b"\x00", position + 1)
    return mask, count
