"""The curve under Ed25519 and X25519: the field, points in Edwards form, and their sums.

Runs on CPython and MicroPython.  Plain integers and the complete addition law, which has no special
cases to forget.  Nothing here is constant time: see `puf.ed25519_pure`.
Source: RFC 8032, section 5.1; RFC 7748, section 4.1; formulas from Hisil, Wong, Carter and Dawson,
"Twisted Edwards Curves Revisited" (2008), sections 3.1 and 3.3.

A point is (X, Y, Z, T) with x = X/Z, y = Y/Z and xy = T/Z.
"""

P = 2**255 - 19
"""The field's prime."""
L = 2**252 + 27742317777372353535851937790883648493
"""Order of the base point; the whole curve has 8 L points."""
D = -121665 * pow(121666, P - 2, P) % P
"""Of the curve -x^2 + y^2 = 1 + D x^2 y^2."""
SQRT_M1 = pow(2, (P - 1) // 4, P)
"""A square root of -1."""

NEUTRAL = (0, 1, 1, 0)


def add(p: tuple[int, int, int, int], q: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """p + q, for any two points."""
    x1, y1, z1, t1 = p
    x2, y2, z2, t2 = q
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = 2 * D * (t1 * t2 % P) % P
    d = 2 * z1 * z2 % P
    e = b - a
    f = d - c
    g = d + c
    h = b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def double(p: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """p + p, with fewer multiplications than `add` takes."""
    x, y, z, _ = p
    a = x * x % P
    b = y * y % P
    h = a + b
    e = h - (x + y) * (x + y) % P
    g = a - b
    f = 2 * z * z % P + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def negate(p: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """-p."""
    return P - p[0], p[1], p[2], P - p[3]


def combine(
    n: int, p: tuple[int, int, int, int], m: int, q: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """n p + m q for n and m from 0 to 2^256 - 1: both at once, two bits of each at a time.

    With m = 0 the operations and their order do not depend on n.
    """
    row = [NEUTRAL, p, double(p)]
    row.append(add(row[2], p))
    table = row
    if m:
        column = [q, double(q)]
        column.append(add(column[1], q))
        table = row + [add(i, j) for j in column for i in row]
    total = NEUTRAL
    for shift in range(254, -1, -2):
        total = double(double(total))
        total = add(total, table[(n >> shift & 3) | (m >> shift & 3) << 2])
    return total


def is_small_order(p: tuple[int, int, int, int]) -> bool:
    """Whether p is one of the 8 points whose order divides 8."""
    # Only the neutral point and (0, -1), which has order 2, have x = 0; so 4 p is one of these.
    return double(double(p))[0] == 0


def to_bytes(p: tuple[int, int, int, int]) -> bytes:
    """The canonical encoding, 32 bytes.  Source: RFC 8032, section 5.1.2."""
    inverse = pow(p[2], P - 2, P)
    x = p[0] * inverse % P
    y = p[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def from_bytes(data: bytes) -> tuple[int, int, int, int] | None:
    """The point with this encoding; None when there is none, or when the encoding is not canonical.

    Source: RFC 8032, section 5.1.3.
    """
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    if y >= P:
        return None
    u = (y * y - 1) % P
    v = (D * y * y + 1) % P
    # The candidate root of u/v, by one power instead of an inversion and a root.
    v3 = v * v % P * v % P
    x = u * v3 * pow(u * v3 * v3 * v % P, (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * SQRT_M1 % P
        if (v * x * x - u) % P:
            return None
    if x & 1 != sign:
        if x == 0:
            return None
        x = P - x
    return x, y, 1, x * y % P


BASE_BYTES = b"\x58" + b"\x66" * 31
"""The base point: y = 4/5, x even."""
