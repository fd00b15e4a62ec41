"""The GGM tree: a cover opens exactly its range."""

import hashlib
import hmac
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.crypto.errors import CoverDamaged, KeyNotGranted, SizeRefused, SlotRefused
from gateway.crypto.key_tree import (
    COVER_SEED_COUNT_MAX,
    DEPTH,
    SLOT_COUNT,
    Cover,
    KeyTree,
    Seed,
    cover_seed_count_max,
)
from puf import cbor

ROOT = bytes(range(32))
TREE = KeyTree(ROOT)

slots = st.integers(0, SLOT_COUNT - 1)
near_starts = st.integers(-70, 70)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int]:
    """Long and short ranges, many of them with edges beside those of large subtrees."""
    edge = draw(st.sampled_from([0, 1 << 10, 1 << 29, 3 << 27, SLOT_COUNT - 1]) | slots)
    first = min(max(edge + draw(near_starts), 0), SLOT_COUNT - 1)
    length = draw(st.integers(1, 200) | st.integers(1, SLOT_COUNT))
    return first, min(first + length - 1, SLOT_COUNT - 1)


def leaf_by_hand(root: bytes, index: int) -> bytes:
    """The definition, with nothing of ours in it: one HMAC for each bit of the index, from the top."""
    key = root
    for bit in f"{index:030b}":
        key = hmac.new(key, b"cpc/ggm/" + bit.encode(), hashlib.sha256).digest()
    return key


def test_the_golden_leaves_stay_as_they_are() -> None:
    assert TREE.leaf(0).hex() == "ebfc83177ef1502422754bc2dec0420556c235fab557636c224fef053eac91ed"
    assert TREE.leaf(1).hex() == "34bb3ab0658c6238f9f72cf388829e2e5b283158c91830eea1a77f577b7d1b9c"
    assert (
        TREE.leaf(SLOT_COUNT - 1).hex() == "76a18df38ac0f106b89f572159458a55ed3bf4433a416359cdbf7aef7535b1da"
    )


def test_the_golden_cover_stays_as_it_is() -> None:
    assert Cover(TREE.cover(6, 9)).encode().hex() == (
        "82018283181d035820139530495a78bac3356b130653999b51189476cecb1838953db2f8233df7c8b183181d04582025"
        "42f9da81862b9c58af52a3985304634dd5f8b236c578b6ecd1154cd66aa5f2"
    )


@settings(deadline=None)
@given(slots)
def test_a_leaf_is_what_the_definition_says(index: int) -> None:
    assert TREE.leaf(index) == leaf_by_hand(ROOT, index)


@settings(deadline=None)
@given(st.lists(slots | st.integers(0, 40), min_size=1, max_size=12))
def test_the_order_of_asking_changes_no_leaf(indexes: list[int]) -> None:
    tree = KeyTree(ROOT)
    for index in indexes:
        assert tree.leaf(index) == leaf_by_hand(ROOT, index)


def test_leaves_in_order_cost_two_hashes_each_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(key: bytes, data: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return hmac.digest(key, data, "sha256")

    monkeypatch.setattr("gateway.crypto.key_tree.hmac_sha256", counted)
    tree = KeyTree(ROOT)
    for index in range(1 << 10):
        tree.leaf(index)
        tree.leaf(index + 1)
    assert calls <= 2 * (1 << 10) + DEPTH


@pytest.mark.parametrize("index", [-1, SLOT_COUNT, SLOT_COUNT + 5])
def test_a_leaf_outside_of_the_tree_is_refused(index: int) -> None:
    with pytest.raises(SlotRefused, match=str(index)):
        TREE.leaf(index)


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (3, SLOT_COUNT), (4, 3)])
def test_a_range_that_is_none_is_refused(first: int, last: int) -> None:
    with pytest.raises(SlotRefused):
        TREE.cover(first, last)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_root_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(SizeRefused):
        KeyTree(bytes(size))


@settings(deadline=None)
@given(ranges(), st.data())
def test_a_cover_opens_every_leaf_of_its_range_and_no_other(
    span: tuple[int, int], data: st.DataObject
) -> None:
    first, last = span
    cover = Cover(TREE.cover(first, last))
    assert cover.ranges == (span,)
    inside = st.integers(first, last) | st.sampled_from([first, last])
    for index in data.draw(st.lists(inside, min_size=1, max_size=5)):
        assert cover.leaf(index) == TREE.leaf(index)
    beyond = [first - 1, last + 1, data.draw(st.integers(-5, SLOT_COUNT + 5))]
    for index in beyond:
        if not first <= index <= last:
            with pytest.raises(KeyNotGranted) as caught:
                cover.leaf(index)
            assert (caught.value.slot, caught.value.ranges) == (index, (span,))


@settings(deadline=None)
@given(ranges())
def test_the_seeds_of_a_cover_tile_its_range_exactly(span: tuple[int, int]) -> None:
    first, last = span
    at = first
    for seed in TREE.cover(first, last):
        assert seed.first == at
        assert seed.last >= seed.first
        at = seed.last + 1
    assert at == last + 1


@settings(deadline=None)
@given(ranges(), slots)
def test_no_seed_is_an_ancestor_of_a_leaf_outside(span: tuple[int, int], index: int) -> None:
    first, last = span
    for outside in (index, first - 1, last + 1):
        if 0 <= outside < SLOT_COUNT and not first <= outside <= last:
            ancestors = {(depth, outside >> (DEPTH - depth)) for depth in range(DEPTH + 1)}
            assert not ancestors & {(seed.depth, seed.index) for seed in TREE.cover(first, last)}


@settings(deadline=None)
@given(ranges())
@example((1, SLOT_COUNT - 2))
@example((0, SLOT_COUNT - 1))
@example((1, 2))
def test_a_cover_has_at_most_twice_the_logarithm_of_seeds(span: tuple[int, int]) -> None:
    first, last = span
    count = last - first + 1
    seeds = TREE.cover(first, last)
    assert len(seeds) <= cover_seed_count_max(count) <= 2 * (DEPTH - 1)
    if count >= 2:
        assert 1 << cover_seed_count_max(count) <= count * count


@pytest.mark.parametrize("level", range(6))
def test_the_bound_on_seeds_is_reached(level: int) -> None:
    even, odd = (4 << level) - 2, (3 << level) - 2
    assert len(TREE.cover(1, even)) == cover_seed_count_max(even) == 2 * level + 2
    assert len(TREE.cover(1, odd)) == cover_seed_count_max(odd) == 2 * level + 1


@settings(deadline=None)
@given(ranges())
def test_no_smaller_set_of_seeds_covers_the_range(span: tuple[int, int]) -> None:
    # Greedy from the left with the largest aligned subtree that fits is the fewest, a known fact.
    first, last = span
    count = 0
    while first <= last:
        size = first & -first or SLOT_COUNT
        while first + size - 1 > last:
            size >>= 1
        first += size
        count += 1
    assert len(TREE.cover(*span)) == count


@settings(deadline=None)
@given(ranges())
def test_a_cover_survives_its_encoding(span: tuple[int, int]) -> None:
    cover = Cover(TREE.cover(*span))
    assert Cover.decode(cover.encode()) == cover


def test_two_ranges_make_one_cover_with_a_gap() -> None:
    cover = Cover((*TREE.cover(4, 9), *TREE.cover(12, 12)))
    assert cover.ranges == ((4, 9), (12, 12))
    assert cover.leaf(12) == TREE.leaf(12)
    for index in (3, 10, 11, 13):
        with pytest.raises(KeyNotGranted, match=r"4\.\.9, 12\.\.12"):
            cover.leaf(index)


KEY = bytes(32)
BAD_COVERS = {
    "empty": [1, []],
    "another version": [2, [[30, 4, KEY]]],
    "a boolean for a version": [True, [[30, 4, KEY]]],
    "a boolean for an index": [1, [[30, True, KEY]]],
    "out of order": [1, [[30, 6, KEY], [30, 4, KEY]]],
    "the same seed twice": [1, [[30, 4, KEY], [30, 4, KEY]]],
    "an ancestor before its descendant": [1, [[29, 2, KEY], [30, 5, KEY]]],
    "a descendant before its ancestor": [1, [[30, 4, KEY], [29, 2, KEY]]],
    "siblings": [1, [[30, 4, KEY], [30, 5, KEY]]],
    "too deep": [1, [[31, 4, KEY]]],
    "above the root": [1, [[-1, 0, KEY]]],
    "beside the tree": [1, [[3, 8, KEY]]],
    "a negative index": [1, [[3, -1, KEY]]],
    "a short key": [1, [[3, 1, KEY[1:]]]],
    "a long key": [1, [[3, 1, KEY + b"k"]]],
    "two parts": [1, [[3, 1]]],
    "no list": [1, 7],
    "no array": 7,
    "too many": [1, [[30, 2 * i, KEY] for i in range(COVER_SEED_COUNT_MAX + 1)]],
}


@pytest.mark.parametrize("name", BAD_COVERS)
def test_a_cover_that_is_not_canonical_is_refused(name: str) -> None:
    with pytest.raises(CoverDamaged):
        Cover.decode(cbor.encode(BAD_COVERS[name]))


def test_neighbours_that_are_not_siblings_stand() -> None:
    seeds = [Seed(30, 5, KEY), Seed(30, 6, KEY)]
    assert Cover(seeds).ranges == ((5, 6),)


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"")
def test_arbitrary_bytes_are_refused_as_a_cover(data: bytes) -> None:
    with pytest.raises(CoverDamaged):
        Cover.decode(data)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_changed_byte_gives_another_cover_or_the_declared_error(data: st.DataObject) -> None:
    good = Cover(TREE.cover(5, 40)).encode()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with suppress(CoverDamaged):
        assert Cover.decode(bad).encode() == bad


def test_no_repr_shows_a_key() -> None:
    seed = TREE.cover(3, 3)[0]
    for thing in (TREE, seed, Cover([seed])):
        for key in (ROOT, seed.key):
            assert key.hex() not in repr(thing)
            assert repr(key)[2:-1] not in repr(thing)
