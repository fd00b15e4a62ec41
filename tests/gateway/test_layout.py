"""Exact types of decoded arrays."""

import pytest

from gateway.layout import has_layout


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        ([1, b"x"], True),
        ([True, b"x"], False),
        ([1, "x"], False),
        ([1], False),
        ([1, b"x", 2], False),
        ((1, b"x"), False),
        ({1: b"x"}, False),
        (None, False),
    ],
)
def test_only_a_list_of_exactly_these_types_has_the_layout(value: object, is_right: bool) -> None:
    assert has_layout(value, (int, bytes)) is is_right
