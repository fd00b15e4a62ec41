"""The group law, by its laws: what Ed25519 on MicroPython stands on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf.curve25519 import (
    BASE_BYTES,
    NEUTRAL,
    D,
    L,
    P,
    add,
    combine,
    double,
    from_bytes,
    is_small_order,
    negate,
    to_bytes,
)

Point = tuple[int, int, int, int]


def _base() -> Point:
    point = from_bytes(BASE_BYTES)
    assert point is not None
    return point


BASE = _base()
SCALARS = st.integers(0, 2**256 - 1)


def _multiply(n: int, point: Point) -> Point:
    return combine(n, point, 0, point)


def test_the_base_point_is_that_of_rfc_8032() -> None:
    x, y, z, t = BASE
    assert x == 15112221349535400772501151409588531511454012693041857206046113283949847762202
    assert y == 46316835694926478169428394003475163141307993866256225615783033603165251855960
    assert (z, t) == (1, x * y % P)


def test_the_base_point_has_order_l() -> None:
    assert to_bytes(_multiply(L, BASE)) == to_bytes(NEUTRAL)
    assert to_bytes(_multiply(L + 1, BASE)) == BASE_BYTES


@given(SCALARS, SCALARS)
@settings(deadline=None, max_examples=25)
def test_multiples_add_up_and_stay_on_the_curve(n: int, m: int) -> None:
    total = add(_multiply(n, BASE), _multiply(m, BASE))
    assert to_bytes(total) == to_bytes(_multiply((n + m) % L, BASE))
    x, y, z, t = total
    assert (x * y - z * t) % P == 0
    assert ((y * y - x * x) * z * z - z**4 - D * x * x * y * y) % P == 0


@given(SCALARS, SCALARS, SCALARS)
@settings(deadline=None, max_examples=25)
def test_two_multiples_at_once_are_the_sum_of_both(n: int, m: int, k: int) -> None:
    other = _multiply(k, BASE)
    assert to_bytes(combine(n, BASE, m, other)) == to_bytes(_multiply((n + m * k) % L, BASE))


@given(SCALARS)
@settings(deadline=None, max_examples=25)
def test_doubling_negation_and_encoding_agree_with_addition(n: int) -> None:
    point = _multiply(n, BASE)
    assert to_bytes(double(point)) == to_bytes(add(point, point))
    assert to_bytes(add(point, negate(point))) == to_bytes(NEUTRAL)
    decoded = from_bytes(to_bytes(point))
    assert decoded is not None
    assert to_bytes(decoded) == to_bytes(point)


@given(st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=100)
def test_what_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    point = from_bytes(data)
    if point is not None:
        assert to_bytes(point) == data


@pytest.mark.parametrize("y", range(P, 2**255))
@pytest.mark.parametrize("sign", [0, 1])
def test_a_y_from_p_up_is_no_point(y: int, sign: int) -> None:
    assert from_bytes((y | sign << 255).to_bytes(32, "little")) is None


@pytest.mark.parametrize("y", [1, P - 1])
def test_zero_has_no_sign(y: int) -> None:
    assert from_bytes(y.to_bytes(32, "little")) is not None
    assert from_bytes((y | 1 << 255).to_bytes(32, "little")) is None


def test_exactly_the_eight_points_of_small_order_are_known_as_such() -> None:
    # L times any point has small order; one point in two yields a generator of all eight.
    generator = next(
        point
        for y in range(2, 100)
        if (found := from_bytes(y.to_bytes(32, "little"))) is not None
        for point in [_multiply(L, found)]
        if to_bytes(_multiply(4, point)) != to_bytes(NEUTRAL)
    )
    small = {to_bytes(_multiply(n, generator)) for n in range(8)}
    assert len(small) == 8
    for data in small:
        point = from_bytes(data)
        assert point is not None
        assert is_small_order(point)
        assert not is_small_order(add(point, BASE))
    assert not is_small_order(BASE)
