"""A stream's name on the chain, and the keys its owner has for all of its slots.

Runs on CPython.  Pure.  A stream is known by the hash of its owner, name and slot length, so that nobody
can publish under another's stream, and a stream whose slots change is another stream.
"""

from gateway.crypto.chunk import SegmentKey, segment_key, slot_key
from gateway.crypto.errors import SizeRefused, SlotRefused, StreamRefused
from gateway.crypto.key_tree import KeyTree
from gateway.crypto.slot import SLOT_MAX, check_slot_ms
from puf import cbor
from puf.hkdf import hkdf, sha256

NAME_SIZE_MAX = 128
"""In bytes of UTF-8."""


def check_name(name: str) -> None:
    """Raises StreamRefused unless `name` is 1 to NAME_SIZE_MAX bytes of printable text."""
    # Printable, because names of others end up on a terminal.
    if not (name.isprintable() and 1 <= len(name.encode()) <= NAME_SIZE_MAX):
        raise StreamRefused(
            f"a stream's name is 1..{NAME_SIZE_MAX} bytes of printable text, not {name!a:.80}"
        )


def stream_id(owner_public: bytes, name: str, slot_ms: int) -> bytes:
    """SHA-256 of the deterministic CBOR `["cpc/stream", 1, owner, name, slot_ms]`: bytes, 32.

    owner_public: bytes, 32, the gateway's Ed25519 key.  Raises SizeRefused, StreamRefused, SlotRefused.
    """
    if len(owner_public) != 32:
        raise SizeRefused("an owner's key", len(owner_public), 32)
    check_name(name)
    check_slot_ms(slot_ms)
    return sha256(cbor.encode(["cpc/stream", 1, owner_public, name, slot_ms]))


def stream_root(gateway_root: bytes, stream_id: bytes) -> bytes:
    """The root of the stream's key tree: bytes, 32, secret.

    gateway_root: bytes, 32, secret, `GatewayKey.data_root`.  The roots of two streams say nothing about
    each other or about it.  Raises SizeRefused.
    """
    for what, value in (("a gateway's data root", gateway_root), ("a stream id", stream_id)):
        if len(value) != 32:
            raise SizeRefused(what, len(value), 32)
    return hkdf(gateway_root, b"", b"cpc/stream-root/1/" + stream_id, 32)


class StreamKeys:
    """Every key of one stream; what its owner holds.  Arguments and errors as for the two functions above."""

    __slots__ = ("name", "slot_ms", "stream_id", "tree")

    def __init__(self, gateway_root: bytes, owner_public: bytes, name: str, slot_ms: int) -> None:
        self.name, self.slot_ms = name, slot_ms
        self.stream_id = stream_id(owner_public, name, slot_ms)
        self.tree = KeyTree(stream_root(gateway_root, self.stream_id))

    def __repr__(self) -> str:
        return f"StreamKeys({self.name!r}, slot_ms={self.slot_ms}, {self.stream_id.hex()}, keys hidden)"

    def slot_key(self, slot: int) -> bytes:
        """The key of `slot`: bytes, 32, secret.  Raises SlotRefused outside of 0..SLOT_MAX."""
        if not 0 <= slot <= SLOT_MAX:
            raise SlotRefused(f"slot {slot} has no key: 0..{SLOT_MAX} have")
        return slot_key(self.tree.leaf(slot), self.tree.leaf(slot + 1), self.stream_id)

    def segment_key(self, slot: int, segment_id: bytes) -> SegmentKey:
        """The key of segment `segment_id` (bytes, 16, random, never reused) in `slot`.

        Raises SlotRefused outside of 0..SLOT_MAX, SizeRefused.
        """
        return segment_key(self.slot_key(slot), segment_id)
