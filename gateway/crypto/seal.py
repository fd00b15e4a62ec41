"""Seals the blocks of a segment into chunks under one key, opens them again, and says what is wrong.

Runs on CPython.  Pure.  Blocks go in, chunks come out, in the same number and order; each chunk can be
stored, fetched, checked and opened alone.

The scheme is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar, "Online authenticated-encryption and its
nonce-reuse misuse-resistance", CRYPTO 2015, section 7): the nonce of chunk i is
`prefix (7 bytes) || i (4, big-endian) || is_last (1)`, so that no chunk opens in the place of another and
a segment cut short has no last chunk.

Neither AEAD commits to its key: an owner could craft a chunk that two keys open differently.  The plain
leaf of a block, which is anchored beside the chunk's hash, does commit; check it (`plain_leaf`) before
believing what an owner who may gain by cheating has sealed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.crypto.bit_rot import FLIP_SEARCH_SIZE_MAX, find_flipped_bit
from gateway.crypto.chunk import (
    AES_256_GCM,
    BLOCK_COUNT_MAX,
    BLOCK_SIZE_MAX,
    CHACHA20_POLY1305,
    CHUNK_SIZE_MAX,
    CIPHERS,
    TAG_SIZE,
    VERSION,
    ChunkHeader,
    SegmentKey,
    aead_default,
    has_aes,
    open_where_it_says,
    parse_chunk,
    segment_key,
    slot_key,
)
from gateway.crypto.errors import (
    ChunkDamaged,
    ChunkMalformed,
    ChunkMisplaced,
    ChunkUnopened,
    SealError,
    SegmentRefused,
    SegmentTruncated,
    SizeRefused,
    SlotRefused,
    WrongKey,
)
from gateway.crypto.slot import SLOT_MAX
from puf import cbor
from puf.hkdf import sha256

__all__ = [
    "AES_256_GCM",
    "BLOCK_COUNT_MAX",
    "BLOCK_SIZE_MAX",
    "CHACHA20_POLY1305",
    "CHUNK_SIZE_MAX",
    "FLIP_SEARCH_SIZE_MAX",
    "TAG_SIZE",
    "ChunkHeader",
    "SealedSegment",
    "SegmentKey",
    "aead_default",
    "find_flipped_bit",
    "has_aes",
    "open_chunk",
    "open_segment",
    "parse_chunk",
    "plain_leaf",
    "plain_leaf_of",
    "seal_segment",
    "segment_key",
    "slot_key",
]


def plain_leaf_of(leaf_salt: bytes, plaintext: bytes) -> bytes:
    """SHA-256 of `leaf_salt` (bytes, 32) and the block: what the anchored plaintext root commits to."""
    return sha256(leaf_salt + plaintext)


def plain_leaf(key: SegmentKey, index: int, plaintext: bytes) -> bytes:
    """The plain leaf of block `index`: bytes, 32.

    Salted, or else a reader of the chain could guess a block of few possible contents and check the guess.
    """
    return plain_leaf_of(key.leaf_salt(index), plaintext)


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """What sealing a segment yields; the three run in parallel, one item a block."""

    chunks: tuple[bytes, ...]
    """What the store keeps."""
    chunk_ids: tuple[bytes, ...]
    """SHA-256 of each chunk: its name in the store, and its leaf in the anchored ciphertext tree."""
    plain_leaves: tuple[bytes, ...]
    """32 bytes each: the leaves of the anchored plaintext tree."""


def seal_segment(
    key: SegmentKey,
    stream_id: bytes,
    slot: int,
    segment_id: bytes,
    blocks: Sequence[bytes],
    aead: int | None = None,
) -> SealedSegment:
    """Seal `blocks` as one segment.

    The same arguments give the same bytes, so a segment may be sealed again after a crash; other blocks
    need another `segment_id` (and so another key).  aead: CHACHA20_POLY1305, AES_256_GCM, or None for the
    faster one here.  Raises SegmentRefused (no block, a block above BLOCK_SIZE_MAX, too many, an unknown
    AEAD), SizeRefused, SlotRefused.
    """
    aead = aead_default() if aead is None else aead
    if aead not in CIPHERS:
        raise SegmentRefused(f"AEAD {aead} is unknown: use {sorted(CIPHERS)} or None")
    if not 1 <= len(blocks) <= BLOCK_COUNT_MAX:
        raise SegmentRefused(f"a segment has 1..{BLOCK_COUNT_MAX} blocks, not {len(blocks)}")
    if not 0 <= slot <= SLOT_MAX:
        raise SlotRefused(f"slot {slot} has no key: 0..{SLOT_MAX} have")
    for what, value, size in (("a stream id", stream_id, 32), ("a segment id", segment_id, 16)):
        if len(value) != size:
            raise SizeRefused(what, len(value), size)
    cipher = key.cipher(aead)
    chunks: list[bytes] = []
    plain_leaves: list[bytes] = []
    for index, block in enumerate(blocks):
        if len(block) > BLOCK_SIZE_MAX:
            raise SegmentRefused(f"block {index} has {len(block)} bytes, {BLOCK_SIZE_MAX} is the most")
        is_last = index == len(blocks) - 1
        head = [VERSION, aead, stream_id, slot, segment_id, index, is_last]
        ciphertext = cipher.encrypt(key.nonce(index, is_last), block, cbor.encode(head))
        chunks.append(cbor.encode([*head, ciphertext]))
        plain_leaves.append(plain_leaf(key, index, block))
    return SealedSegment(tuple(chunks), tuple(sha256(chunk) for chunk in chunks), tuple(plain_leaves))


def open_chunk(
    key: SegmentKey,
    chunk: bytes,
    stream_id: bytes,
    slot: int,
    segment_id: bytes,
    index: int,
    chunk_id: bytes | None = None,
) -> bytes:
    """The block in `chunk`, which must be chunk `index` of that segment.

    chunk_id: the SHA-256 that the chunk should have (from the anchored tree), if the caller knows it.  Only
    then can ChunkDamaged (with both hashes) and WrongKey be told apart; else a refusal is ChunkUnopened.
    Raises these or ChunkMisplaced, for a chunk that belongs elsewhere.
    """
    if chunk_id is not None and sha256(chunk) != chunk_id:
        raise _damage(key, chunk, index, chunk_id)
    try:
        header = parse_chunk(chunk)
    except ChunkMalformed as error:
        raise ChunkDamaged(index, error.why) from error
    block = open_where_it_says(key, header)
    misplaced = _misplaced(index, header, (stream_id, slot, segment_id))
    if misplaced is None and block is not None:
        return block
    # A header hit by rot names another place too, but a chunk of this segment opens where it says.
    is_rot_possible = block is None and chunk_id is None and misplaced and misplaced.what in ("slot", "index")
    if misplaced is not None and not is_rot_possible:
        raise misplaced
    if chunk_id is not None:
        raise WrongKey(index)
    raise ChunkUnopened(
        index,
        "it does not open: its bytes were changed, or this is not its key",
        "show the SHA-256 it should have to learn which",
    )


def open_segment(
    key: SegmentKey, chunks: Sequence[bytes], chunk_ids: Sequence[bytes] | None = None
) -> list[bytes]:
    """All blocks of the segment whose chunks are `chunks`, in order.

    chunk_ids: the SHA-256 of every chunk of the segment, if known (see `open_chunk`).  Raises the SealError
    that names the first chunk which is wrong: ChunkMisplaced (reordered, repeated, foreign),
    SegmentTruncated (missing, at the end or before), ChunkDamaged, WrongKey, or ChunkUnopened where nothing
    opens and no hashes were given.
    """
    blocks: list[bytes] = []
    first: ChunkHeader | None = None
    for position, chunk in enumerate(chunks):
        try:
            header = parse_chunk(chunk)
        except ChunkMalformed:
            break
        first = first or header
        is_last = position == len(chunks) - 1
        if header.segment != first.segment or (header.index, header.is_last) != (position, is_last):
            break
        block = open_where_it_says(key, header)
        if block is None:
            break
        blocks.append(block)
    is_whole = chunks and len(blocks) == len(chunks)
    if is_whole and (chunk_ids is None or [sha256(chunk) for chunk in chunks] == list(chunk_ids)):
        return blocks
    raise _segment_error(key, chunks, chunk_ids)


def _misplaced(at: int, header: ChunkHeader, segment: tuple[bytes, int, bytes]) -> ChunkMisplaced | None:
    """Where `header` names another place than chunk `at` of `segment`, if it does."""
    for what, got, want in zip(("stream", "slot", "segment"), header.segment, segment, strict=True):
        if got != want:
            return ChunkMisplaced(at, what, got, want, "a chunk of another segment")
    return None if header.index == at else ChunkMisplaced(at, "index", header.index, at)


def _damage(key: SegmentKey, chunk: bytes, at: int, expected: bytes) -> SealError:
    """Why a chunk has not its expected hash: it is another chunk of this segment, or it was changed."""
    stored = sha256(chunk)
    try:
        header = parse_chunk(chunk)
    except ChunkMalformed as error:
        return ChunkDamaged(at, f"it is no chunk any more: {error.why}", stored, expected)
    if header.index != at and open_where_it_says(key, header) is not None:
        return ChunkMisplaced(at, "index", header.index, at, "it is whole")
    return ChunkDamaged(at, "its bytes are not the sealed ones", stored, expected)


def _segment_error(key: SegmentKey, chunks: Sequence[bytes], chunk_ids: Sequence[bytes] | None) -> SealError:
    """The first thing that is wrong with `chunks`, of which `open_segment` found that something is."""
    expecteds = list(chunk_ids or ())[: len(chunks)]
    expecteds_or_none: list[bytes | None] = [*expecteds, *([None] * (len(chunks) - len(expecteds)))]
    wholes = [_whole(key, chunk) for chunk in chunks]
    # Any chunk that opens tells which segment this is: the others are measured by it.
    reference = next((header for header in wholes if header is not None), None)
    if reference is None:
        return _nothing_opens(key, chunks, expecteds_or_none)
    indexes = [None if header is None else header.index for header in wholes]
    for at, (header, chunk, expected) in enumerate(zip(wholes, chunks, expecteds_or_none, strict=True)):
        if header is None:
            return _unopened(key, at, chunk, expected, reference)
        misplaced = _misplaced(at, header, reference.segment)
        if misplaced is not None and misplaced.what == "index":
            if header.index in indexes[:at]:
                return ChunkMisplaced(at, "index", header.index, at, "it is repeated")
            if at not in indexes:
                return SegmentTruncated(at, len(chunks))
            misplaced = ChunkMisplaced(
                at, "index", header.index, at, f"that one stands at {indexes.index(at)}"
            )
        if misplaced is not None:
            return misplaced
        if expected is not None and sha256(chunk) != expected:
            return _damage(key, chunk, at, expected)
        # Only who has the key can seal chunks behind the last one.
        if header.is_last and at + 1 in indexes:
            return ChunkMisplaced(at, "is_last", True, False, "its owner sealed more chunks behind it")
    return SegmentTruncated(len(chunks), len(chunks))


def _whole(key: SegmentKey, chunk: bytes) -> ChunkHeader | None:
    """The header of a chunk that opens where it says it belongs."""
    try:
        header = parse_chunk(chunk)
    except ChunkMalformed:
        return None
    return header if open_where_it_says(key, header) is not None else None


def _unopened(
    key: SegmentKey, at: int, chunk: bytes, expected: bytes | None, reference: ChunkHeader
) -> SealError:
    """Why chunk `at` does not open although others of its segment do."""
    if expected is not None and sha256(chunk) != expected:
        return _damage(key, chunk, at, expected)
    try:
        header = parse_chunk(chunk)
    except ChunkMalformed as error:
        return ChunkDamaged(at, error.why)
    if header.segment != reference.segment:
        return _misplaced(at, header, reference.segment) or WrongKey(at)
    if expected is not None:
        return WrongKey(at)
    return ChunkDamaged(at, "it does not open, while others do with this key")


def _nothing_opens(key: SegmentKey, chunks: Sequence[bytes], expecteds: Sequence[bytes | None]) -> SealError:
    """Why not one chunk opens."""
    for at, (chunk, expected) in enumerate(zip(chunks, expecteds, strict=True)):
        if expected is not None and sha256(chunk) != expected:
            return _damage(key, chunk, at, expected)
        try:
            parse_chunk(chunk)
        except ChunkMalformed as error:
            return ChunkDamaged(at, error.why)
        if expected is not None:
            return WrongKey(at)
    if not chunks:
        return SegmentTruncated(0, 0)
    return ChunkUnopened(
        0,
        f"none of the {len(chunks)} opens: this is not their key, or all were changed",
        "show the SHA-256 they should have to learn which",
    )
