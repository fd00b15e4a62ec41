"""Grants: an owner lets a reader open a range of slots of a stream; several open their union, no more.

Runs on CPython.  Pure but for the randomness of HPKE.  A grant is a COSE_Sign1 of type "cpc/grant" by the
stream's owner; its payload is the deterministic CBOR array
`[1, stream_id, name, slot_ms, first_slot, last_slot, recipient, note, enc, ciphertext]`.
`enc` and `ciphertext` are HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
ChaCha20-Poly1305) of the slot key of last_slot (32 bytes), followed by the cover of leaves
first_slot..last_slot, or by nothing if these are one slot.  Its `info` is the deterministic CBOR
`["cpc/grant", 1, owner, stream_id, name, slot_ms, first_slot, last_slot, recipient, note]`, so that what is
inside opens only with the terms it was made with, and nobody can sign it again as his own.

Any set of grants, in whosever hands, opens exactly the union of their slots.  The key of slot s needs the
leaves s and s + 1.  A grant of a..b opens a..b-1 by its leaves and b by its slot key.  Nothing else opens:
a slot key opens its own slot, which is granted, and who holds leaf s (and s + 1, from wherever) holds it
by a grant with a <= s <= b, which grants s.  Leaf b + 1 must never be inside, although it would also give
the key of b: with the leaf b + 2 of a grant that starts there it would open b + 1, which nobody granted.

A grant cannot be taken back: who has opened it keeps the keys.  Grant what is past, or little of what comes.
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from gateway.crypto.chunk import SegmentKey, segment_key, slot_key
from gateway.crypto.errors import (
    CallerError,
    CoverDamaged,
    GrantDamaged,
    GrantDishonest,
    GrantForeign,
    GrantNotForYou,
    GrantRefused,
    GrantUnsigned,
    KeyNotGranted,
    Range,
    StreamNotGranted,
)
from gateway.crypto.key_tree import KEY_SIZE, Cover, KeyTree
from gateway.crypto.slot import (
    SLOT_EPOCH_NS,
    SLOT_MAX,
    SLOT_MS_MAX,
    SLOT_MS_MIN,
    check_slot_ms,
    slot_end_ns,
    slot_of,
    slot_start_ns,
    slots_within,
)
from gateway.crypto.stream import stream_id as stream_id_of
from puf import cbor, cose
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, SignatureError
from puf.x25519 import PrivateKey

__all__ = [
    "GRANT_SIZE_MAX",
    "NOTE_SIZE_MAX",
    "SLOT_EPOCH_NS",
    "SLOT_MAX",
    "SLOT_MS_MAX",
    "SLOT_MS_MIN",
    "Grant",
    "GrantTerms",
    "check_slot_ms",
    "make_grant",
    "open_grant",
    "read_terms",
    "slot_end_ns",
    "slot_of",
    "slot_start_ns",
    "slots_within",
]

TYP = "cpc/grant"
NOTE_SIZE_MAX = 512
"""In bytes of UTF-8."""
GRANT_SIZE_MAX = 8192
"""The longest possible grant, of 58 seeds, is below 4 KiB."""

_VERSION = 1
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_ENC_SIZE = 32
_LAYOUT = (int, bytes, str, int, int, int, bytes, str, bytes, bytes)


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What a grant says openly: who lets whom read what."""

    owner: bytes
    """The stream owner's Ed25519 key, bytes, 32; the grant is signed with it."""
    stream_id: bytes
    """Bytes, 32."""
    name: str
    """The stream's name."""
    slot_ms: int
    """How long the stream's slots are."""
    first_slot: int
    """The first slot that it opens."""
    last_slot: int
    """The last slot that it opens."""
    recipient: bytes
    """The reader's X25519 key, bytes, 32."""
    note: str
    """What the owner wants to say with it."""

    @property
    def from_ns(self) -> int:
        """When the granted time starts, Unix nanoseconds, included."""
        return slot_start_ns(self.first_slot, self.slot_ms)

    @property
    def to_ns(self) -> int:
        """When the granted time ends, Unix nanoseconds, excluded."""
        return slot_end_ns(self.last_slot, self.slot_ms)

    def check(self) -> None:
        """Raises the CallerError that says which of these terms cannot be."""
        if len(self.recipient) != 32:
            raise GrantRefused(f"a reader's X25519 key has 32 bytes, not {len(self.recipient)}")
        if stream_id_of(self.owner, self.name, self.slot_ms) != self.stream_id:
            raise GrantRefused("the stream id is not that of this owner, name and slot length")
        if not 0 <= self.first_slot <= self.last_slot <= SLOT_MAX:
            raise GrantRefused(f"slots {self.first_slot}..{self.last_slot} are no range within 0..{SLOT_MAX}")
        if not all(char.isprintable() or char == "\n" for char in self.note):
            raise GrantRefused("the note has characters that cannot be printed")
        if len(self.note.encode()) > NOTE_SIZE_MAX:
            raise GrantRefused(f"the note has more than {NOTE_SIZE_MAX} bytes")

    def info(self) -> bytes:
        """What HPKE binds the keys to; see the head of this file."""
        slots = [self.slot_ms, self.first_slot, self.last_slot]
        stream = [self.stream_id, self.name]
        return cbor.encode([TYP, _VERSION, self.owner, *stream, *slots, self.recipient, self.note])


@dataclass(frozen=True, slots=True)
class Grant(GrantTerms):
    """A grant that was opened: its terms, and the keys.

    That the owner put a slot key and the right leaves inside is checked; that they are the stream's real
    keys only shows when a chunk opens.
    """

    last_slot_key: bytes = field(repr=False)
    """The slot key of last_slot, bytes, 32, secret."""
    cover: Cover | None = field(repr=False)
    """Leaves first_slot..last_slot, secret; None if these are one slot, which needs no leaf."""

    def segment_key(self, slot: int, stream_id: bytes, segment_id: bytes) -> SegmentKey:
        """The key of segment `segment_id` in `slot`.

        Raises KeyNotGranted outside of first_slot..last_slot, StreamNotGranted (which is one) for another
        stream, SizeRefused.
        """
        if stream_id != self.stream_id:
            raise StreamNotGranted(slot, stream_id, self.stream_id)
        if not self.first_slot <= slot <= self.last_slot:
            raise KeyNotGranted(slot, ((self.first_slot, self.last_slot),))
        if slot == self.last_slot or self.cover is None:
            return segment_key(self.last_slot_key, segment_id)
        return segment_key(slot_key(self.cover.leaf(slot), self.cover.leaf(slot + 1), stream_id), segment_id)


def make_grant(
    owner: SigningKey,
    tree: KeyTree,
    stream_id: bytes,
    stream_name: str,
    slot_ms: int,
    first_slot: int,
    last_slot: int,
    recipient: bytes,
    note: str = "",
) -> bytes:
    """A grant of slots `first_slot` to `last_slot`, both included, to the reader with key `recipient`.

    recipient: bytes, 32, X25519.  note: shown to the reader, and to everybody else who sees the grant.
    Raises CallerError: GrantRefused, StreamRefused, SlotRefused.
    """
    terms = GrantTerms(
        owner.public, stream_id, stream_name, slot_ms, first_slot, last_slot, bytes(recipient), note
    )
    terms.check()
    keys = slot_key(tree.leaf(last_slot), tree.leaf(last_slot + 1), stream_id)
    if first_slot < last_slot:
        keys += Cover(tree.cover(first_slot, last_slot)).encode()
    try:
        sealed = _SUITE.encrypt(keys, X25519PublicKey.from_public_bytes(terms.recipient), info=terms.info())
    except ValueError as error:
        raise GrantRefused(f"the reader's key {terms.recipient.hex()} is no X25519 key") from error
    slots = [slot_ms, first_slot, last_slot]
    secrets = [sealed[:_ENC_SIZE], sealed[_ENC_SIZE:]]
    payload = [_VERSION, stream_id, stream_name, *slots, terms.recipient, note, *secrets]
    return cose.sign1(TYP, cbor.encode(payload), owner)


def _read(data: bytes, owner: bytes | None) -> tuple[GrantTerms, bytes]:
    """The terms, and `enc || ciphertext`."""
    try:
        signed = cose.open1(data, TYP, size_max=GRANT_SIZE_MAX)
        if owner is not None and signed.kid != owner:
            raise GrantForeign(signed.kid, owner)
        value = cbor.decode(signed.payload, size_max=GRANT_SIZE_MAX, depth_max=2)
    except DecodeError as error:
        raise GrantDamaged(str(error)) from error
    except SignatureError as error:
        raise GrantUnsigned(str(error)) from error
    if not (isinstance(value, list) and tuple(type(part) for part in value) == _LAYOUT):
        raise GrantDamaged("its payload is not the array of ten that a grant's is")
    version, *fields, enc, ciphertext = value
    if version != _VERSION:
        raise GrantDamaged(f"its version is {version}, this program reads {_VERSION}")
    if len(enc) != _ENC_SIZE:
        raise GrantDamaged(f"its HPKE key has {len(enc)} bytes, not {_ENC_SIZE}")
    terms = GrantTerms(signed.kid, *fields)
    try:
        terms.check()
    except CallerError as error:
        raise GrantDamaged(str(error)) from error
    return terms, enc + ciphertext


def read_terms(data: bytes, owner: bytes | None = None) -> GrantTerms:
    """What the grant `data` says openly; its signature is checked, its keys stay closed.

    owner: whose it must be (Ed25519 key, bytes, 32), or None for anyone's.  Raises GrantDamaged,
    GrantUnsigned, GrantForeign.
    """
    return _read(data, owner)[0]


def open_grant(data: bytes, reader: PrivateKey, owner: bytes | None) -> Grant:
    """The grant in `data`, opened with the reader's key.

    owner: as in `read_terms`.  None trusts whoever signed: then compare `Grant.owner` with whom you meant.
    Raises GrantDamaged, GrantUnsigned, GrantForeign, GrantNotForYou, GrantDishonest.
    """
    terms, sealed = _read(data, owner)
    if terms.recipient != reader.public:
        raise GrantNotForYou(terms.recipient, reader.public)
    try:
        opened = _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(reader.seed), info=terms.info())
    except InvalidTag as error:
        raise GrantDamaged("its keys do not open, although it is signed and made for you") from error
    last_slot_key, cover = _parse_keys(opened, (terms.first_slot, terms.last_slot))
    fields = (terms.owner, terms.stream_id, terms.name, terms.slot_ms, terms.first_slot, terms.last_slot)
    return Grant(*fields, terms.recipient, terms.note, last_slot_key, cover)


def _parse_keys(opened: bytes, slots: Range) -> tuple[bytes, Cover | None]:
    """The last slot's key, and the cover of `slots` unless they are one.  Raises GrantDishonest."""
    last_slot_key, rest = opened[:KEY_SIZE], opened[KEY_SIZE:]
    if len(last_slot_key) != KEY_SIZE:
        raise GrantDishonest(slots, f"{len(opened)} bytes hold no slot key")
    if not rest and slots[0] == slots[1]:
        return last_slot_key, None
    try:
        cover = Cover.decode(rest)
    except CoverDamaged as error:
        raise GrantDishonest(slots, f"no cover, {error.why}") from error
    if slots[0] == slots[1]:
        raise GrantDishonest(slots, "a single slot comes without leaves", cover.ranges)
    if cover.ranges != (slots,):
        raise GrantDishonest(slots, "the leaves are others", cover.ranges)
    return last_slot_key, cover
