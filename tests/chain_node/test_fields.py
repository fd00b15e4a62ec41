"""Where an item ends by its heads alone, and how many values it holds, before any of them is made."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.errors import WireError
from chain_node.fields import end_of_item, read
from puf import cbor

VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.binary(), st.text(), st.floats()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.integers(0, 99), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES, st.binary(max_size=9))
def test_an_item_ends_where_the_next_one_begins(value: object, rest: bytes) -> None:
    data = cbor.encode(value)
    assert end_of_item(data + rest, 0, "test", 1_000) == len(data)


@settings(deadline=None)
@given(VALUES, st.data())
def test_an_item_that_is_cut_off_has_no_end(value: object, data: st.DataObject) -> None:
    encoded = cbor.encode(value)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(WireError, match="no test: it is cut off"):
        end_of_item(cut, 0, "test", 1_000)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_have_an_end_or_none(data: bytes) -> None:
    try:
        assert 0 < end_of_item(data, 0, "test", 1_000) <= len(data)
    except WireError as error:
        assert error.what == "test"  # noqa: PT017 - both are right


def test_values_are_counted_before_they_are_made() -> None:
    three = cbor.encode([1, [2]])
    assert read(three, "test", 99, items_max=4) == [1, [2]]
    with pytest.raises(WireError, match="holds more than it may"):
        read(three, "test", 99, items_max=3)
    with pytest.raises(WireError, match="holds more than it may"):
        end_of_item(b"\x9b" + b"\xff" * 8, 0, "test", 1_000)
    with pytest.raises(WireError, match="bytes follow it"):
        read(three + b"\0", "test", 99, items_max=99)
