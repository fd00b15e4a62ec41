"""What the families of transactions see of the ledger: a book to read and write in, and where they stand.

Runs on CPython.  DIDs, escrows and mandates are a file each (did_ledger.py, escrow.py, mandate.py), with
their bodies, their entries of the state and their effects.  They import nothing above this file; State is
the Book, and ledger.py says whose turn it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

SUPPLY_UCPC = 1_000_000_000 * 1_000_000
"""All the money there is: 1,000,000,000 CPC.  Source: the white paper."""
MEMO_SIZE_MAX = 64
"""Bytes that a payment carries for the payee, public, not read by the ledger."""
DAY_MS = 86_400_000
ENTRY_SIZE_MAX = 1024
"""Bytes of the longest entry of the state."""


class Entry(Protocol):
    """What stands under a key of the state."""

    def encode(self) -> bytes:
        """The entry's bytes."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises WireError."""


AnEntry = TypeVar("AnEntry", bound=Entry)


class Book(Protocol):
    """The state, as an effect changes it."""

    def read(self, key: bytes, kind: type[AnEntry]) -> AnEntry | None:
        """What stands under this key, if anything; every key has one kind."""

    def write(self, key: bytes, entry: Entry) -> None:
        """From now on `entry` stands there."""

    def debit(self, public: bytes, amount_ucpc: int) -> None:
        """Take money from an account.  Raises Refused with BALANCE_TOO_LOW; nothing has changed then."""

    def credit(self, public: bytes, amount_ucpc: int) -> None:
        """Give an account money that was taken from another, or unlocked."""

    def lock(self, public: bytes, amount_ucpc: int) -> None:
        """Put some of an account's balance aside.  Raises Refused with BALANCE_TOO_LOW."""

    def unlock(self, public: bytes, amount_ucpc: int) -> None:
        """Take money out of what an account has put aside; `credit` somebody with it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One transaction in its block: all of it that an effect may notice beside the body."""

    signer: bytes
    """Public key of the account that signed it."""
    tx_hash: bytes
    chain_id: bytes
    height: int
    time_ms: int
    """Of the block, Unix milliseconds; it never goes back."""

    @property
    def day(self) -> int:
        """The UTC day of the block: Unix time / 86,400 s."""
        return self.time_ms // DAY_MS


Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, message, signature): whether the signature holds."""
