"""Manifests: golden bytes, round trips, and what a decoder must refuse."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.crypto.slot import SLOT_MAX, SLOT_MS_MAX, SLOT_MS_MIN
from gateway.errors import EvidenceError
from gateway.manifest import ChunkEntry, Manifest, SegmentEntry
from puf import cbor, merkle_tree
from puf.hkdf import sha256

CHUNK = ChunkEntry(b"\xaa" * 32, b"\xbb" * 32, 100, 5, 1, 7, 3, -10, 20)
MANIFEST = Manifest(b"\x02" * 32, 4, b"\x03" * 32, 5_000, "can", (SegmentEntry(b"\x04" * 16, 6, (CHUNK,)),))
GOLDEN = "".join(
    (
        "87",  # array of 7
        "01",  # version
        "5820" + "02" * 32,  # stream id
        "04",  # upload index
        "5820" + "03" * 32,  # manifest before
        "191388",  # slot_ms
        "6363616e",  # "can"
        "81" + "83" + "50" + "04" * 16,  # one segment: its id
        "06",  # slot
        "81" + "89" + "5820" + "aa" * 32 + "5820" + "bb" * 32,  # one chunk: its id, its leaf
        "1864" + "05" + "01" + "07" + "03",  # size, block, boot, first seq, count
        "29" + "14",  # first and last time
    )
)

hashes = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, (1 << 63) - 1)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    block_index = draw(st.integers(0, 1 << 40))
    segments = []
    for _ in range(draw(st.integers(1, 3))):
        chunks = []
        for _ in range(draw(st.integers(1, 3))):
            first_ns, last_ns = sorted(draw(st.tuples(st.integers(-(1 << 62), 1 << 62), numbers)))
            chunks.append(
                ChunkEntry(
                    draw(hashes),
                    draw(hashes),
                    draw(st.integers(1, 1 << 24)),
                    block_index,
                    draw(numbers),
                    draw(numbers),
                    draw(st.integers(1, 1 << 20)),
                    first_ns,
                    last_ns,
                )
            )
            block_index += 1
        segment_id = draw(st.binary(min_size=16, max_size=16))
        segments.append(SegmentEntry(segment_id, draw(st.integers(0, SLOT_MAX)), tuple(chunks)))
    return Manifest(
        draw(hashes),
        draw(numbers),
        draw(hashes),
        draw(st.integers(SLOT_MS_MIN, SLOT_MS_MAX)),
        draw(st.sampled_from(["can", "reading"])),
        tuple(segments),
    )


def test_the_golden_manifest() -> None:
    assert MANIFEST.encode().hex() == GOLDEN
    assert Manifest.decode(bytes.fromhex(GOLDEN)) == MANIFEST
    assert MANIFEST.digest == sha256(bytes.fromhex(GOLDEN))


@given(manifests())
@settings(deadline=None, max_examples=60)
def test_a_manifest_comes_back(manifest: Manifest) -> None:
    assert Manifest.decode(manifest.encode()) == manifest


def test_the_leaves_are_in_the_order_of_the_chunks() -> None:
    chunks = [
        replace(CHUNK, chunk_id=bytes([n]) * 32, plain_leaf=bytes([n + 8]) * 32, block_index=n)
        for n in range(3)
    ]
    segments = (SegmentEntry(bytes(16), 1, tuple(chunks[:2])), SegmentEntry(bytes(16), 2, (chunks[2],)))
    manifest = replace(MANIFEST, segments=segments)
    assert manifest.cipher_leaves() == [merkle_tree.leaf_hash(bytes([n]) * 32) for n in range(3)]
    assert manifest.plain_leaves() == [merkle_tree.leaf_hash(bytes([n + 8]) * 32) for n in range(3)]
    assert [(segment.slot, place, chunk.block_index) for segment, place, chunk in manifest.chunks()] == [
        (1, 0, 0),
        (1, 1, 1),
        (2, 0, 2),
    ]
    assert (manifest.first_block, manifest.last_chunk) == (0, chunks[2])


def test_a_chunk_knows_which_records_it_holds() -> None:
    held = [(boot, seq) for boot in (0, 1, 2) for seq in range(12) if CHUNK.holds(boot, seq)]
    assert held == [(1, 7), (1, 8), (1, 9)]


def changed(place: int, value: Any, where: str) -> bytes:
    fields: Any = cbor.decode(bytes.fromhex(GOLDEN))
    target = {"manifest": fields, "segment": fields[6][0], "chunk": fields[6][0][2][0]}[where]
    target[place] = value
    return cbor.encode(fields)


@pytest.mark.parametrize(
    ("where", "place", "value", "why"),
    [
        ("manifest", 0, 2, "version 2"),
        ("manifest", 0, True, "wrong types"),
        ("manifest", 1, bytes(31), "impossible"),
        ("manifest", 2, -1, "impossible"),
        ("manifest", 2, False, "wrong types"),
        ("manifest", 3, bytes(33), "impossible"),
        ("manifest", 4, 999, "impossible"),
        ("manifest", 4, 1 << 32, "impossible"),
        ("manifest", 5, "gas", "impossible"),
        ("manifest", 6, [], "impossible"),
        ("manifest", 6, [7], "wrong types"),
        ("segment", 0, bytes(15), "impossible"),
        ("segment", 1, -1, "impossible"),
        ("segment", 1, SLOT_MAX + 1, "impossible"),
        ("segment", 2, [], "impossible"),
        ("segment", 2, [7], "wrong types"),
        ("chunk", 0, bytes(31), "impossible"),
        ("chunk", 1, bytes(33), "impossible"),
        ("chunk", 2, 0, "impossible"),
        ("chunk", 3, -1, "impossible"),
        ("chunk", 4, -1, "impossible"),
        ("chunk", 5, -1, "impossible"),
        ("chunk", 6, 0, "impossible"),
        ("chunk", 6, True, "wrong types"),
        ("chunk", 7, 21, "ends before it begins"),
    ],
)
def test_a_field_that_cannot_be_is_refused(where: str, place: int, value: Any, why: str) -> None:
    with pytest.raises(EvidenceError, match=why) as caught:
        Manifest.decode(changed(place, value, where))
    assert caught.value.link == "manifest"


@pytest.mark.parametrize("block_index", [4, 5, 7])
def test_a_block_left_out_or_given_twice_is_noticed(block_index: int) -> None:
    second = replace(CHUNK, block_index=block_index)
    manifest = replace(MANIFEST, segments=(*MANIFEST.segments, SegmentEntry(bytes(16), 6, (second,))))
    with pytest.raises(EvidenceError, match="block 6 is left out"):
        Manifest.decode(manifest.encode())


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_arbitrary_bytes_raise_only_what_is_declared(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        Manifest.decode(data)


@given(manifests(), st.data())
@settings(deadline=None, max_examples=150)
def test_a_flipped_bit_raises_only_what_is_declared(manifest: Manifest, data: st.DataObject) -> None:
    flipped = bytearray(manifest.encode())
    place = data.draw(st.integers(0, len(flipped) - 1))
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = Manifest.decode(bytes(flipped))
    except EvidenceError:
        return
    # What still decodes is another manifest, so the chain's hash of it does not fit.
    assert other.digest != manifest.digest
