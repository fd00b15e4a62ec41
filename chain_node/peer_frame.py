"""Frames between nodes: what kind, how long, and no more than that kind may be, before any of it is read.

Runs on CPython; pure.  A frame is one byte of kind, four of length, most significant first, and so many
bytes.  Kinds 1 to 6 and 16 to 19 are messages.py's; the others are between
two peers only:

    0  Hello   who speaks: versions, chain, height, program; the first frame of each side
    7  Ping    the sender's clock and the height of its head, 8 bytes each
    8  Pong    the answer: the same clock, and the height of the answerer's head
    9  Links   the committee members that the sender is connected with, by index; see peer_gossip.py

Versions.  A soft update adds fields to Hello, which older programs do not read, or kinds of frames, which
are sent only to peers whose Hello says that they know them; it raises `version` and leaves `oldest`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from chain_node.block import CERTIFICATE_SIZE_MAX, HEADER_SIZE_MAX, VOTE_SIZE_MAX
from chain_node.errors import PeerError
from chain_node.fields import HASH_SIZE, INT_MAX, Fields, check_integer, read
from chain_node.messages import (
    CHANGES_COUNT_MAX,
    HANDOVER_SIZE_MAX,
    LINKS_COUNT_MAX,
    MESSAGE_SIZE_MAX,
    NODE_SIZE_MAX,
    NODES_COUNT_MAX,
    NODES_SIZE_MAX,
    Ballot,
    Changes,
    Links,
    Proposal,
    Relay,
    StateNodes,
    Validate,
    WantBlock,
    WantChain,
    WantChanges,
    WantLinks,
    WantNodes,
)
from chain_node.validator_set import VALIDATORS_MAX
from puf import cbor

HELLO, PING, PONG, LINKS = 0, 7, 8, 9
PROTOCOL_VERSION = 1
"""What this program speaks."""
PROTOCOL_OLDEST = 1
"""The oldest that it still speaks: a soft update raises only the other one."""
HEADER_SIZE = 5
INSTANCE_SIZE = 8
PROGRAM_SIZE_MAX = 64
MEMBERS_MAX = 2 * VALIDATORS_MAX
"""Members of a committee: validators and proposers."""
SIZES_MAX = {
    HELLO: 512,
    Proposal.KIND: MESSAGE_SIZE_MAX,
    Ballot.KIND: 64 + VOTE_SIZE_MAX + CERTIFICATE_SIZE_MAX,
    Validate.KIND: MESSAGE_SIZE_MAX,
    WantBlock.KIND: 64,
    WantChain.KIND: 64,
    Relay.KIND: 1 << 20,
    WantNodes.KIND: 64 + (HASH_SIZE + 2) * NODES_COUNT_MAX,
    StateNodes.KIND: 64 + max(NODES_SIZE_MAX + 5 * NODES_COUNT_MAX, NODE_SIZE_MAX),
    WantLinks.KIND: 64,
    Links.KIND: 64 + (HEADER_SIZE_MAX + CERTIFICATE_SIZE_MAX + 8) * LINKS_COUNT_MAX,
    WantChanges.KIND: 64,
    Changes.KIND: 64 + (HANDOVER_SIZE_MAX + 5) * CHANGES_COUNT_MAX,
    PING: 16,
    PONG: 16,
    LINKS: 4 + 2 * MEMBERS_MAX,
}
"""Bytes after the header, by kind."""


class FrameError(PeerError):
    """What came is no frame, or longer than its kind may be; drop the peer."""


class Framer:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def held_size(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(kind, payload) of each frame that is complete now.

        Raises FrameError for the first header that is wrong, before a byte of what it announces is kept.
        """
        buffer, at = self._buffer, 0
        buffer += data
        try:
            while len(buffer) - at >= HEADER_SIZE:
                kind, size = buffer[at], int.from_bytes(buffer[at + 1 : at + HEADER_SIZE], "big")
                if kind not in SIZES_MAX:
                    raise FrameError(f"it sent a frame of kind {kind}, which there is not")
                if size > SIZES_MAX[kind]:
                    raise FrameError(
                        f"it sent a frame of kind {kind} with {size} bytes; the most is {SIZES_MAX[kind]}"
                    )
                end = at + HEADER_SIZE + size
                if len(buffer) < end:
                    return
                payload = bytes(memoryview(buffer)[at + HEADER_SIZE : end])
                at = end
                yield kind, payload
        finally:
            # Once for all frames of a read: moving the rest up after each would cost its square.
            del buffer[:at]


def frame(kind: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    assert len(payload) <= SIZES_MAX[kind], "what we send obeys what we demand"  # noqa: S101 - ours
    return bytes([kind]) + len(payload).to_bytes(4, "big") + payload


@dataclass(frozen=True, slots=True)
class Hello:
    """The first thing that either side says.

    CBOR map: 1 version, 2 oldest version, 3 chain id, 4 height, 5 rules version, 6 program, 7 rules height,
    8 instance.
    """

    version: int
    """The protocol that it speaks."""
    oldest: int
    """The oldest that it still speaks."""
    chain_id: bytes
    height: int
    """Of its head."""
    rules_version: int
    """The newest rules of the ledger that it knows; see upgrade.py."""
    program: str
    """For people."""
    rules_height: int = 0
    """The first block under those rules; 0: those that the chain began with."""
    instance: bytes = bytes(INSTANCE_SIZE)
    """Of a running program, random: tells a second node with the same key from oneself."""

    def encode(self) -> bytes:
        """The payload."""
        return cbor.encode(
            {
                1: self.version,
                2: self.oldest,
                3: self.chain_id,
                4: self.height,
                5: self.rules_version,
                6: self.program,
                7: self.rules_height,
                8: self.instance,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "Hello":
        """Raises WireError."""
        fields = Fields(read(data, "hello", SIZES_MAX[HELLO]), "hello")
        # Fields that a later version adds stay unread: what is not understood is not needed.
        return cls(
            version=fields.integer(1, "version", 1),
            oldest=fields.integer(2, "oldest version", 1),
            chain_id=fields.blob(3, "chain id"),
            height=fields.integer(4, "height"),
            rules_version=fields.integer(5, "rules version", 1),
            program=fields.text(6, "program", PROGRAM_SIZE_MAX),
            rules_height=fields.integer(7, "rules height"),
            instance=fields.blob(8, "instance", INSTANCE_SIZE),
        )


def encode_links(indexes: list[int]) -> bytes:
    """The payload of a Links frame."""
    return cbor.encode(indexes)


def decode_links(data: bytes) -> frozenset[int]:
    """The committee members that a peer is connected with.  Raises WireError."""
    items = read(data, "links", SIZES_MAX[LINKS])
    if not isinstance(items, list):
        raise FrameError("it sent links that are no list")
    return frozenset(check_integer(item, "links", "a member", 0, MEMBERS_MAX - 1) for item in items)


def encode_beat(clock_ms: int, height: int) -> bytes:
    """The payload of a Ping or a Pong."""
    return clock_ms.to_bytes(8, "big") + height.to_bytes(8, "big")


def decode_beat(data: bytes) -> tuple[int, int]:
    """(clock, height) of a Ping or a Pong.  Raises FrameError."""
    if len(data) != SIZES_MAX[PING]:
        raise FrameError(f"it sent a ping of {len(data)} bytes, not {SIZES_MAX[PING]}")
    height = int.from_bytes(data[8:], "big")
    if height > INT_MAX:
        raise FrameError(f"it says that its height is {height}")
    return int.from_bytes(data[:8], "big"), height
