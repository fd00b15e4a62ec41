"""Sealing: golden vectors, Wycheproof, and every way in which chunks can be wrong."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import overload

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.crypto.errors import (
    ChunkDamaged,
    ChunkMisplaced,
    ChunkUnopened,
    SealError,
    SegmentRefused,
    SegmentTruncated,
    SizeRefused,
    SlotRefused,
    WrongKey,
)
from gateway.crypto.seal import (
    AES_256_GCM,
    BLOCK_COUNT_MAX,
    BLOCK_SIZE_MAX,
    CHACHA20_POLY1305,
    CHUNK_SIZE_MAX,
    SealedSegment,
    SegmentKey,
    aead_default,
    find_flipped_bit,
    open_chunk,
    open_segment,
    parse_chunk,
    plain_leaf,
    plain_leaf_of,
    seal_segment,
    segment_key,
    slot_key,
)
from gateway.crypto.slot import SLOT_MAX

LEAF, NEXT_LEAF = bytes([1] * 32), bytes([2] * 32)
STREAM, SEGMENT, SLOT = bytes([3] * 32), bytes([4] * 16), 7_654_321
SLOT_KEY = slot_key(LEAF, NEXT_LEAF, STREAM)
KEY = segment_key(SLOT_KEY, SEGMENT)
OTHER_KEY = segment_key(slot_key(NEXT_LEAF, LEAF, STREAM), SEGMENT)
BLOCKS = [b"brake", b"", b"throttle 12 %", b"speed 88 km/h"]

aeads = st.sampled_from([CHACHA20_POLY1305, AES_256_GCM])
segments = st.lists(st.binary(max_size=60), min_size=1, max_size=6)


def sealed_with(blocks: Sequence[bytes], aead: int = CHACHA20_POLY1305) -> SealedSegment:
    return seal_segment(KEY, STREAM, SLOT, SEGMENT, blocks, aead)


def opened(chunk: bytes, index: int, chunk_id: bytes | None = None, key: SegmentKey = KEY) -> bytes:
    return open_chunk(key, chunk, STREAM, SLOT, SEGMENT, index, chunk_id)


def hkdf_by_hand(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    prk = hmac.digest(salt, ikm, "sha256")
    return hmac.digest(prk, info + b"\x01", "sha256")


def test_the_golden_chunks_stay_as_they_are() -> None:
    sealed = sealed_with([b"one", b"two"])
    assert [chunk.hex() for chunk in sealed.chunks] == [
        (
            "880101582003030303030303030303030303030303030303030303030303030303030303031a0074cbb1500404040404"
            "040404040404040404040400f4538ecbe38900c1b21ed17f78ea1d7604c9f80cfd"
        ),
        (
            "880101582003030303030303030303030303030303030303030303030303030303030303031a0074cbb1500404040404"
            "040404040404040404040401f553f237386e032059e4cfa6199d2c6d62b1352c01"
        ),
    ]
    assert [leaf.hex() for leaf in sealed.plain_leaves] == [
        "7146c3564a25f1098a37c85bfff6a01c5d41618010f12aff73032fe29edad25d",
        "cd52d5acd06fc2be307b0313ee29cd940ccbee521cffe3a003632e9482c3f659",
    ]
    assert sealed_with([b"one"], AES_256_GCM).chunks[0].hex() == (
        "880102582003030303030303030303030303030303030303030303030303030303030303031a0074cbb1500404040404"
        "040404040404040404040400f5535ad7ac8aa3b5babc256ff271adae06e5286f82"
    )


def test_the_keys_of_a_segment_are_what_the_definition_says() -> None:
    by_hand = hkdf_by_hand(LEAF + NEXT_LEAF, bytes(32), b"cpc/slot/1/" + STREAM)
    assert by_hand == SLOT_KEY
    secret = hkdf_by_hand(by_hand, SEGMENT, b"cpc/segment/1/data")
    assert KEY.export() == secret
    nonce = hmac.digest(secret, b"cpc/segment/1/nonce\x01", "sha256")[:7]
    assert KEY.nonce(0x01020304, True) == nonce + b"\x01\x02\x03\x04\x01"
    assert KEY.nonce(0, False) == nonce + bytes(5)
    salt_key = hmac.digest(secret, b"cpc/segment/1/leaf-salt\x01", "sha256")
    assert KEY.leaf_salt(9) == hmac.digest(salt_key, b"\0\0\0\x09", "sha256")
    assert plain_leaf(KEY, 9, b"data") == hashlib.sha256(KEY.leaf_salt(9) + b"data").digest()
    assert plain_leaf_of(KEY.leaf_salt(9), b"data") == plain_leaf(KEY, 9, b"data")


@pytest.mark.parametrize(
    "changed",
    [
        segment_key(slot_key(NEXT_LEAF, NEXT_LEAF, STREAM), SEGMENT),
        segment_key(slot_key(LEAF, LEAF, STREAM), SEGMENT),
        segment_key(slot_key(LEAF, NEXT_LEAF, bytes(32)), SEGMENT),
        segment_key(SLOT_KEY, bytes(16)),
    ],
)
def test_a_key_depends_on_both_leaves_the_stream_and_the_segment(changed: SegmentKey) -> None:
    sealed = sealed_with(BLOCKS)
    with pytest.raises(WrongKey):
        opened(sealed.chunks[0], 0, sealed.chunk_ids[0], changed)


@pytest.mark.parametrize("at", range(3))
def test_a_part_of_a_slot_key_of_the_wrong_length_is_refused(at: int) -> None:
    parts = [LEAF, NEXT_LEAF, STREAM]
    parts[at] += b"x"
    with pytest.raises(SizeRefused):
        slot_key(*parts)


@pytest.mark.parametrize("at", range(2))
def test_a_part_of_a_segment_key_of_the_wrong_length_is_refused(at: int) -> None:
    parts = [SLOT_KEY, SEGMENT]
    parts[at] += b"x"
    with pytest.raises(SizeRefused):
        segment_key(*parts)


def test_a_segment_key_can_be_disclosed_alone() -> None:
    sealed = sealed_with(BLOCKS)
    assert open_segment(SegmentKey.from_bytes(KEY.export()), sealed.chunks) == BLOCKS
    with pytest.raises(SizeRefused):
        SegmentKey.from_bytes(KEY.export()[1:])


def test_no_repr_shows_a_key() -> None:
    assert repr(KEY) == "SegmentKey(hidden)"


@settings(deadline=None)
@given(segments, aeads)
def test_what_is_sealed_opens_whole_and_chunk_by_chunk(blocks: list[bytes], aead: int) -> None:
    sealed = sealed_with(blocks, aead)
    assert open_segment(KEY, sealed.chunks) == blocks
    assert open_segment(KEY, sealed.chunks, sealed.chunk_ids) == blocks
    for index, (chunk, chunk_id) in enumerate(zip(sealed.chunks, sealed.chunk_ids, strict=True)):
        assert hashlib.sha256(chunk).digest() == chunk_id
        assert opened(chunk, index) == opened(chunk, index, chunk_id) == blocks[index]
        assert sealed.plain_leaves[index] == plain_leaf(KEY, index, blocks[index])
        header = parse_chunk(chunk)
        assert (header.aead, header.segment, header.index) == (aead, (STREAM, SLOT, SEGMENT), index)
        assert header.is_last == (index == len(blocks) - 1)


def test_equal_blocks_give_unlike_chunks_and_leaves() -> None:
    sealed = sealed_with([b"same", b"same", b"same"])
    assert len({parse_chunk(chunk).ciphertext for chunk in sealed.chunks}) == 3
    assert len(set(sealed.plain_leaves)) == 3


def test_sealing_twice_gives_the_same_bytes() -> None:
    assert sealed_with(BLOCKS) == sealed_with(BLOCKS)


def test_the_largest_block_seals_and_opens() -> None:
    block = bytes(BLOCK_SIZE_MAX)
    header_at_its_longest = seal_segment(KEY, STREAM, SLOT_MAX, SEGMENT, [block])
    assert open_segment(KEY, header_at_its_longest.chunks) == [block]
    # The index of this chunk is 0; the longest takes four bytes more.
    assert len(header_at_its_longest.chunks[0]) + 4 <= CHUNK_SIZE_MAX


class TooMany(Sequence[bytes]):
    def __len__(self) -> int:
        return BLOCK_COUNT_MAX + 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        raise AssertionError("must be refused before a block is read")


@pytest.mark.parametrize(
    "blocks", [[], TooMany(), [b"ok", bytes(BLOCK_SIZE_MAX + 1)]], ids=["none", "many", "long"]
)
def test_a_segment_that_cannot_be_is_refused(blocks: Sequence[bytes]) -> None:
    with pytest.raises(SegmentRefused):
        sealed_with(blocks)


def test_sealing_under_an_impossible_name_is_refused() -> None:
    with pytest.raises(SegmentRefused, match="AEAD 3"):
        sealed_with(BLOCKS, 3)
    for slot in (-1, SLOT_MAX + 1):
        with pytest.raises(SlotRefused):
            seal_segment(KEY, STREAM, slot, SEGMENT, BLOCKS)
    with pytest.raises(SizeRefused):
        seal_segment(KEY, STREAM[1:], SLOT, SEGMENT, BLOCKS)
    with pytest.raises(SizeRefused):
        seal_segment(KEY, STREAM, SLOT, SEGMENT[1:], BLOCKS)


def test_the_default_aead_is_the_one_this_cpu_is_fast_at() -> None:
    chunk = seal_segment(KEY, STREAM, SLOT, SEGMENT, BLOCKS).chunks[0]
    assert parse_chunk(chunk).aead == aead_default()


@settings(deadline=None)
@given(aeads, st.integers(0, len(BLOCKS) - 1), st.data())
def test_a_flipped_bit_is_named_with_its_chunk_and_found(aead: int, index: int, data: st.DataObject) -> None:
    sealed = sealed_with(BLOCKS, aead)
    bit = data.draw(st.integers(0, 8 * len(sealed.chunks[index]) - 1))
    rotten = bytearray(sealed.chunks[index])
    rotten[bit // 8] ^= 1 << bit % 8
    chunks = [*sealed.chunks[:index], bytes(rotten), *sealed.chunks[index + 1 :]]
    expected = sealed.chunk_ids[index]

    with pytest.raises(ChunkDamaged) as caught:
        opened(bytes(rotten), index, expected)
    assert caught.value.index == index
    assert (caught.value.stored, caught.value.expected) == (hashlib.sha256(rotten).digest(), expected)
    assert caught.value.stored.hex() in str(caught.value)
    assert expected.hex() in str(caught.value)
    with pytest.raises(ChunkDamaged) as caught:
        open_segment(KEY, chunks, sealed.chunk_ids)
    assert (caught.value.index, caught.value.expected) == (index, expected)

    # Without the hashes rot in a header may look like a chunk of another segment; it is still named.
    with pytest.raises((ChunkUnopened, ChunkMisplaced)) as unsure:
        opened(bytes(rotten), index)
    assert str(unsure.value).startswith(f"chunk {index}:")
    with pytest.raises((ChunkDamaged, ChunkMisplaced)) as unsure:
        open_segment(KEY, chunks)
    assert str(unsure.value).startswith(f"chunk {index}:")

    assert find_flipped_bit(bytes(rotten), expected) == (bit // 8, bit % 8)


@settings(deadline=None)
@given(aeads, st.permutations(range(4)))
def test_a_reordered_segment_is_named_where_it_starts_to_differ(aead: int, order: list[int]) -> None:
    sealed = sealed_with(BLOCKS, aead)
    chunks = [sealed.chunks[index] for index in order]
    if order == [0, 1, 2, 3]:
        assert open_segment(KEY, chunks) == BLOCKS
        return
    first = next(at for at, index in enumerate(order) if at != index)
    for chunk_ids in (None, sealed.chunk_ids):
        with pytest.raises(ChunkMisplaced, match=f"stands at {order.index(first)}") as caught:
            open_segment(KEY, chunks, chunk_ids)
        assert (caught.value.index, caught.value.got, caught.value.want) == (first, order[first], first)
    for chunk_id in (None, sealed.chunk_ids[first]):
        with pytest.raises(ChunkMisplaced) as caught:
            opened(chunks[first], first, chunk_id)
        assert (caught.value.index, caught.value.got) == (first, order[first])


@pytest.mark.parametrize("has_ids", [False, True])
@pytest.mark.parametrize("dropped", range(4))
def test_a_dropped_chunk_is_named(dropped: int, has_ids: bool) -> None:
    sealed = sealed_with(BLOCKS)
    chunks = [*sealed.chunks[:dropped], *sealed.chunks[dropped + 1 :]]
    with pytest.raises(SegmentTruncated) as caught:
        open_segment(KEY, chunks, sealed.chunk_ids if has_ids else None)
    assert (caught.value.index, caught.value.count) == (dropped, 3)


@pytest.mark.parametrize("has_ids", [False, True])
@settings(deadline=None)
@given(segments, st.data())
def test_a_segment_cut_short_is_named(has_ids: bool, blocks: list[bytes], data: st.DataObject) -> None:
    sealed = sealed_with(blocks)
    left = data.draw(st.integers(0, len(blocks) - 1))
    with pytest.raises(SegmentTruncated) as caught:
        open_segment(KEY, sealed.chunks[:left], sealed.chunk_ids if has_ids else None)
    assert caught.value.index == left


@pytest.mark.parametrize("has_ids", [False, True])
@settings(deadline=None)
@given(st.integers(0, 3), st.data())
def test_a_repeated_chunk_is_named(has_ids: bool, repeated: int, data: st.DataObject) -> None:
    sealed = sealed_with(BLOCKS)
    at = data.draw(st.integers(repeated + 1, 4))
    chunks = [*sealed.chunks[:at], sealed.chunks[repeated], *sealed.chunks[at:]]
    with pytest.raises(ChunkMisplaced, match="repeated") as caught:
        open_segment(KEY, chunks, sealed.chunk_ids if has_ids else None)
    assert (caught.value.index, caught.value.got) == (at, repeated)


FOREIGN = {
    "stream": (bytes(32), SLOT, SEGMENT),
    "slot": (STREAM, SLOT + 1, SEGMENT),
    "segment": (STREAM, SLOT, bytes(16)),
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("at", range(4))
def test_a_foreign_chunk_is_named(at: int, what: str) -> None:
    sealed = sealed_with(BLOCKS)
    foreign = seal_segment(OTHER_KEY, *FOREIGN[what], BLOCKS).chunks[at]
    chunks = [*sealed.chunks[:at], foreign, *sealed.chunks[at + 1 :]]
    with pytest.raises(ChunkMisplaced) as caught:
        open_segment(KEY, chunks)
    assert (caught.value.index, caught.value.what) == (at, what)
    # A chunk that was never anchored has not the expected hash, whatever it says of itself.
    with pytest.raises(ChunkDamaged) as damaged:
        open_segment(KEY, chunks, sealed.chunk_ids)
    assert damaged.value.index == at
    # And one that was anchored there by mistake is what it says it is.
    with pytest.raises(ChunkMisplaced) as caught:
        opened(foreign, at, hashlib.sha256(foreign).digest())
    assert (caught.value.index, caught.value.what) == (at, what)


def test_a_chunk_behind_the_last_is_named() -> None:
    sealed = sealed_with(BLOCKS)
    longer = sealed_with([*BLOCKS, b"more"])
    with pytest.raises(ChunkMisplaced, match="is_last") as caught:
        open_segment(KEY, [*sealed.chunks, longer.chunks[4]])
    assert caught.value.index == 3


def test_a_whole_chunk_that_is_not_the_anchored_one_is_named() -> None:
    sealed = sealed_with(BLOCKS)
    with pytest.raises(ChunkDamaged) as caught:
        open_segment(KEY, sealed.chunks, [*sealed.chunk_ids[:2], bytes(32), sealed.chunk_ids[3]])
    assert caught.value.index == 2
    with pytest.raises(SegmentTruncated) as truncated:
        open_segment(KEY, sealed.chunks, [*sealed.chunk_ids, bytes(32)])
    assert truncated.value.index == 4


def test_rot_in_the_index_is_not_taken_for_another_chunk() -> None:
    chunk = sealed_with(BLOCKS).chunks[2]
    # ... index 2, is_last false, then the ciphertext of 13 + 16 bytes behind its two-byte head.
    at = len(chunk) - 33
    assert chunk[at : at + 4] == b"\x02\xf4\x58\x1d"
    with pytest.raises(ChunkUnopened) as caught:
        opened(chunk[:at] + b"\x03" + chunk[at + 1 :], 2)
    assert caught.value.index == 2


def test_chunks_of_two_slots_make_no_segment_even_under_one_key() -> None:
    other = seal_segment(KEY, STREAM, SLOT + 1, SEGMENT, BLOCKS)
    with pytest.raises(ChunkMisplaced) as caught:
        open_segment(KEY, [*sealed_with(BLOCKS).chunks[:2], *other.chunks[2:]])
    assert (caught.value.index, caught.value.what, caught.value.got) == (2, "slot", SLOT + 1)


def test_a_wrong_key_is_told_from_damage_by_the_expected_hash() -> None:
    sealed = sealed_with(BLOCKS)
    with pytest.raises(WrongKey) as caught:
        opened(sealed.chunks[2], 2, sealed.chunk_ids[2], OTHER_KEY)
    assert caught.value.index == 2
    with pytest.raises(WrongKey):
        open_segment(OTHER_KEY, sealed.chunks, sealed.chunk_ids)
    for refused in (
        lambda: opened(sealed.chunks[2], 2, None, OTHER_KEY),
        lambda: open_segment(OTHER_KEY, sealed.chunks),
    ):
        with pytest.raises(ChunkUnopened) as unsure:
            refused()
        assert type(unsure.value) is ChunkUnopened


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.binary(max_size=120) | st.sampled_from(sealed_with(BLOCKS).chunks), max_size=5), st.booleans()
)
@example([], False)
@example([b""], True)
def test_whatever_a_store_returns_only_the_declared_errors_come_out(
    chunks: list[bytes], has_ids: bool
) -> None:
    sealed = sealed_with(BLOCKS)
    if chunks == list(sealed.chunks):
        return
    with pytest.raises(SealError):
        open_segment(KEY, chunks, sealed.chunk_ids if has_ids else None)
    for index, chunk in enumerate(chunks[:4]):
        if chunk != sealed.chunks[index]:
            with pytest.raises(SealError):
                opened(chunk, index, sealed.chunk_ids[index] if has_ids else None)
