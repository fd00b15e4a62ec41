"""Sealing a segment, and the leaf of the key tree that its key comes from.

Runs on CPython.  Peers: the bare primitives over the same bytes, and the tree walked from its root for
each leaf, as one would without keeping the path to the leaf before.
"""

import hmac
from hashlib import sha256

from gateway.block import Samples
from gateway.crypto.chunk import CIPHERS, aead_default
from gateway.crypto.key_tree import DEPTH, KeyTree
from gateway.crypto.seal import SealedSegment, open_segment, seal_segment, segment_key, slot_key
from gateway.segmenter import Segmenter
from tests.bench import frames
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of

FRAME_COUNT = {"tiny": 10_000, FULL: 100_000}
LEAF_COUNT = {"tiny": 500, FULL: 20_000}
ROUNDS = {"tiny": 1, FULL: 7}
REPEATS = {"tiny": 1, FULL: 20}
ROOT = bytes(range(32))
STREAM_ID = bytes(range(32, 64))
FIRST_SLOT = 1 << 28


def segments(frame_count: int) -> list[tuple[int, list[bytes]]]:
    """(slot, encoded blocks) of the bench's frames: T = 1 s, e = 5."""
    segmenter = Segmenter("can", "can0", 1_000, 5, 0, bytes(32))
    closed = []
    first_seq = 0
    for batch in frames.batches(frame_count):
        closed += segmenter.add(Samples(1, first_seq, batch.taken_ns, batch.values), 0)
        first_seq += len(batch.values)
    closed += segmenter.flush()
    return [(segment.slot, [block.data for block in segment.blocks]) for segment in closed]


def bench_seal(size: str) -> list[Row]:
    """Sealing, chunk ids and salted leaves included; an item is one block of one second."""
    segments_in = segments(FRAME_COUNT[size])
    repeats = REPEATS[size]
    block_count = sum(len(blocks) for _, blocks in segments_in)
    mean_size = sum(len(data) for _, blocks in segments_in for data in blocks) // block_count
    aead_default()  # Reads /proc/cpuinfo once.
    key_of_slot = slot_key(KeyTree(ROOT).leaf(0), KeyTree(ROOT).leaf(1), STREAM_ID)
    keys = [(slot, number.to_bytes(16, "big"), blocks) for number, (slot, blocks) in enumerate(segments_in)]

    def ours() -> Lap:
        sealed: list[SealedSegment] = []
        with Stopwatch() as watch:
            for _ in range(repeats):
                sealed = [
                    seal_segment(segment_key(key_of_slot, segment_id), STREAM_ID, slot, segment_id, blocks)
                    for slot, segment_id, blocks in keys
                ]
        opened = [
            open_segment(segment_key(key_of_slot, segment_id), segment.chunks, segment.chunk_ids)
            for (_, segment_id, _), segment in zip(keys, sealed, strict=True)
        ]
        return Lap(watch.cpu_us, block_count * repeats, digest_of(opened))

    def bare() -> Lap:
        aead = CIPHERS[aead_default()]
        opened = []
        with Stopwatch() as watch:
            for _ in range(repeats):
                sealed = []
                for _, segment_id, blocks in keys:
                    key = sha256(ROOT + segment_id).digest()
                    cipher = aead(key)
                    for number, block in enumerate(blocks):
                        chunk = cipher.encrypt(number.to_bytes(12, "big"), block, STREAM_ID)
                        sealed.append((chunk, sha256(chunk).digest(), sha256(key + block).digest()))
        chunks = iter(sealed)
        for _, segment_id, blocks in keys:
            cipher = aead(sha256(ROOT + segment_id).digest())
            opened.append(
                [
                    cipher.decrypt(number.to_bytes(12, "big"), next(chunks)[0], STREAM_ID)
                    for number in range(len(blocks))
                ]
            )
        return Lap(watch.cpu_us, block_count * repeats, digest_of(opened))

    return compare(
        "seal",
        f"block of {mean_size:,} bytes",
        ours,
        {"bare AEAD and two SHA-256": bare},
        ROUNDS[size],
        is_same_result=True,
        note=lambda ours_us: f"{mean_size / ours_us:,.0f} MB/s",
    )


def bench_leaf(size: str) -> list[Row]:
    """Keys of neighbouring slots, as sealing and reading ask for them."""
    count = LEAF_COUNT[size]

    def ours() -> Lap:
        with Stopwatch() as watch:
            tree = KeyTree(ROOT)
            leaves = [tree.leaf(FIRST_SLOT + number) for number in range(count)]
        return Lap(watch.cpu_us, count, digest_of(leaves))

    def from_the_root() -> Lap:
        with Stopwatch() as watch:
            leaves = []
            for index in range(FIRST_SLOT, FIRST_SLOT + count):
                key = ROOT
                for depth in reversed(range(DEPTH)):
                    key = hmac.digest(key, b"cpc/ggm/1" if index >> depth & 1 else b"cpc/ggm/0", "sha256")
                leaves.append(key)
        return Lap(watch.cpu_us, count, digest_of(leaves))

    return compare(
        "key-tree",
        "leaf, one after the other",
        ours,
        {"30 HMACs from the root": from_the_root},
        ROUNDS[size],
        is_same_result=True,
    )
