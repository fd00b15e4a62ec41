"""Entries of the state: under which key they stand, and what their bytes say.

Runs on CPython.  Keys are CBOR lists that begin with the kind of the entry, so no two kinds can meet:

    ["account", public key]             1 balance_ucpc   2 nonce   3 quota_day   4 quota_used
                                        5 locked_ucpc (left out when nothing is)
    ["anchor", owner, stream, upload]   1 chunk_count   2 cipher_root   3 plain_root   4 manifest_hash
                                        5 tx hash   6 height
    ["stream", owner, stream]           1 last upload
    ["conduct", public key]             1 impeached_count   2 equivocation_count   3 last height
    ["equivocation", voter, height]     1 round   2 phase   3 tx hash   4 height

and those of names (did_ledger.py), escrows (escrow.py) and mandates (mandate.py), described there.

The owner is the public key that signed the anchors.  Stream ids follow from what is public; whoever else
anchors under one has a stream of its own there, and takes nothing from the owner's.  A light client reads
entries with a proof against a header's `state_root`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from chain_node.book import ENTRY_SIZE_MAX
from chain_node.fields import Fields, read
from chain_node.transaction import SUPPLY_UCPC, Anchor
from puf import cbor


def account_key(public: bytes) -> bytes:
    """Where the account of this public key stands."""
    return cbor.encode(["account", public])


def anchor_key(owner: bytes, stream: bytes, upload: int) -> bytes:
    """Where the anchor of this upload of the owner's stream stands."""
    return cbor.encode(["anchor", owner, stream, upload])


def stream_key(owner: bytes, stream: bytes) -> bytes:
    """Where it stands how far the owner's stream has come."""
    return cbor.encode(["stream", owner, stream])


def conduct_key(public: bytes) -> bytes:
    """Where it stands how a proposer or validator has behaved."""
    return cbor.encode(["conduct", public])


def equivocation_key(voter: bytes, height: int) -> bytes:
    """Where it stands that this one has contradicted itself at this height."""
    return cbor.encode(["equivocation", voter, height])


class Account(NamedTuple):
    """What the ledger keeps of a key that was ever paid.  An account that is absent is `Account()`."""

    balance_ucpc: int = 0
    nonce: int = 0
    """The nonce that its next transaction must have."""
    quota_day: int = 0
    """The UTC day (Unix time / 86,400 s) of its last free transaction."""
    quota_used: int = 0
    """How many free transactions it had on that day."""
    locked_ucpc: int = 0
    """What it has put aside in open escrows, beside the balance."""

    def encode(self) -> bytes:
        """The entry's bytes."""
        fields = {1: self.balance_ucpc, 2: self.nonce, 3: self.quota_day, 4: self.quota_used}
        if self.locked_ucpc:
            fields[5] = self.locked_ucpc
        return cbor.encode(fields)

    @classmethod
    def decode(cls, data: bytes) -> "Account":
        """Raises WireError."""
        fields = Fields(read(data, "account", ENTRY_SIZE_MAX), "account")
        account = cls(
            balance_ucpc=fields.integer(1, "balance_ucpc", 0, SUPPLY_UCPC),
            nonce=fields.integer(2, "nonce"),
            quota_day=fields.integer(3, "quota_day"),
            quota_used=fields.integer(4, "quota_used"),
            locked_ucpc=fields.integer(5, "locked_ucpc", 1, SUPPLY_UCPC) if fields.has(5) else 0,
        )
        fields.done()
        return account

    def holding(self, balance_ucpc: int, locked_ucpc: int) -> "Account":
        """The same account with other money."""
        return Account(balance_ucpc, self.nonce, self.quota_day, self.quota_used, locked_ucpc)

    def after_one_more(self, fee_ucpc: int, quota_day: int, quota_used: int) -> "Account":
        """The account once one more of its transactions is in a block."""
        return Account(self.balance_ucpc - fee_ucpc, self.nonce + 1, quota_day, quota_used, self.locked_ucpc)

    def quota_used_on(self, day: int) -> int:
        """How many free transactions count against the quota of this UTC day."""
        return self.quota_used if self.quota_day == day else 0


@dataclass(frozen=True, slots=True)
class AnchorEntry:
    """An anchor as it stands in the state, never to change, and where it came from."""

    chunk_count: int
    cipher_root: bytes
    plain_root: bytes
    manifest_hash: bytes
    tx_hash: bytes
    """The transaction that anchored it."""
    height: int
    """The block that transaction is in."""

    def is_of(self, anchor: Anchor) -> bool:
        """Whether this is what `anchor` says."""
        return (self.chunk_count, self.cipher_root, self.plain_root, self.manifest_hash) == (
            anchor.chunk_count,
            anchor.cipher_root,
            anchor.plain_root,
            anchor.manifest_hash,
        )

    def encode(self) -> bytes:
        """The entry's bytes."""
        return cbor.encode(
            {
                1: self.chunk_count,
                2: self.cipher_root,
                3: self.plain_root,
                4: self.manifest_hash,
                5: self.tx_hash,
                6: self.height,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "AnchorEntry":
        """Raises WireError."""
        fields = Fields(read(data, "anchor entry", ENTRY_SIZE_MAX), "anchor entry")
        entry = cls(
            chunk_count=fields.integer(1, "chunk_count", 1),
            cipher_root=fields.blob(2, "cipher_root"),
            plain_root=fields.blob(3, "plain_root"),
            manifest_hash=fields.blob(4, "manifest_hash"),
            tx_hash=fields.blob(5, "tx hash"),
            height=fields.integer(6, "height", 1),
        )
        fields.done()
        return entry


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """How far a stream has come."""

    last_upload: int
    """Index of the last upload that is anchored; the next one must be greater."""

    def encode(self) -> bytes:
        """The entry's bytes."""
        return cbor.encode({1: self.last_upload})

    @classmethod
    def decode(cls, data: bytes) -> "StreamEntry":
        """Raises WireError."""
        fields = Fields(read(data, "stream entry", ENTRY_SIZE_MAX), "stream entry")
        entry = cls(last_upload=fields.integer(1, "last upload"))
        fields.done()
        return entry


@dataclass(frozen=True, slots=True)
class Conduct:
    """What a proposer or validator did against the rules.  One that is absent is `Conduct()`: nothing."""

    impeached_count: int = 0
    """How many of its turns to propose ended in an impeachment block."""
    equivocation_count: int = 0
    """At how many heights it was proven to have contradicted itself."""
    last_height: int = 0
    """The block that last added to this."""

    def encode(self) -> bytes:
        """The entry's bytes."""
        return cbor.encode({1: self.impeached_count, 2: self.equivocation_count, 3: self.last_height})

    @classmethod
    def decode(cls, data: bytes) -> "Conduct":
        """Raises WireError."""
        fields = Fields(read(data, "conduct", ENTRY_SIZE_MAX), "conduct")
        entry = cls(
            impeached_count=fields.integer(1, "impeached_count"),
            equivocation_count=fields.integer(2, "equivocation_count"),
            last_height=fields.integer(3, "last height"),
        )
        fields.done()
        return entry


@dataclass(frozen=True, slots=True)
class EquivocationEntry:
    """That somebody contradicted itself at a height, and where the two votes are that prove it."""

    round: int
    phase: int
    """The number of a block.Phase."""
    tx_hash: bytes
    """The transaction that shows the votes."""
    height: int
    """The block that transaction is in."""

    def encode(self) -> bytes:
        """The entry's bytes."""
        return cbor.encode({1: self.round, 2: self.phase, 3: self.tx_hash, 4: self.height})

    @classmethod
    def decode(cls, data: bytes) -> "EquivocationEntry":
        """Raises WireError."""
        fields = Fields(read(data, "equivocation entry", ENTRY_SIZE_MAX), "equivocation entry")
        entry = cls(
            round=fields.integer(1, "round"),
            phase=fields.integer(2, "phase"),
            tx_hash=fields.blob(3, "tx hash"),
            height=fields.integer(4, "height", 1),
        )
        fields.done()
        return entry
