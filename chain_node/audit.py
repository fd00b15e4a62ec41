"""The audit: all the money of a state counted, account by account and escrow by escrow.

Runs on CPython; pure.  `apply` asserts of each transaction that it only moved money.  This counts the whole
state from its Merkle map, and so finds what no single transaction shows, a damaged or forged file above all.
An entry's bytes say of which kind it is: the fields of no two kinds are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from chain_node.book import SUPPLY_UCPC, Entry
from chain_node.did_ledger import DidEntry, DidVersion
from chain_node.entry import Account, AnchorEntry, Conduct, EquivocationEntry, StreamEntry
from chain_node.errors import BooksWrong, WireError
from chain_node.escrow import EscrowEntry
from chain_node.mandate import MandateEntry
from chain_node.validator_set import ValidatorsEntry, ValidatorSet
from puf.merkle_map import EMPTY, MerkleMap

ENTRY_KINDS: tuple[type[Entry], ...] = (
    Account,
    AnchorEntry,
    StreamEntry,
    EscrowEntry,
    MandateEntry,
    DidEntry,
    DidVersion,
    Conduct,
    EquivocationEntry,
    ValidatorsEntry,
    ValidatorSet,
)
"""Every kind of entry there is."""
_NUMBER, _BLOB = 0, 2
"""Major types of CBOR."""
_SHAPES: dict[tuple[int, int], tuple[type[Entry], ...]] = {
    (1, _NUMBER): (StreamEntry,),
    (3, _NUMBER): (Conduct, ValidatorSet),
    (4, _NUMBER): (Account, EquivocationEntry),
    (5, _NUMBER): (Account, ValidatorsEntry),
    (5, _BLOB): (DidVersion,),
    (6, _NUMBER): (AnchorEntry,),
    (7, _BLOB): (DidEntry,),
    (9, _NUMBER): (MandateEntry,),
    (9, _BLOB): (EscrowEntry,),
    (10, _NUMBER): (MandateEntry,),
    (10, _BLOB): (EscrowEntry,),
    (11, _NUMBER): (MandateEntry,),
}
"""By how many fields a map has, and of which major type the first is: what it can only be.  Trying every
kind would take five times as long, and a state may have millions of entries."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a state holds."""

    balance_ucpc: int
    """In all accounts, free to be spent."""
    locked_ucpc: int
    """In all accounts, put aside."""
    escrow_ucpc: int
    """In all open escrows; the same money as `locked_ucpc`."""
    counts: dict[str, int]
    """Entries by the name of their kind."""


def recognise(value: bytes) -> Entry:
    """The entry that these bytes of the state are.  Raises WireError for what is none."""
    shape = (value[0] ^ 0xA0, value[2] >> 5) if len(value) > 2 else (0, 0)
    for kind in _SHAPES.get(shape, ()):
        try:
            return kind.decode(value)
        except WireError:
            continue
    raise WireError("entry of the state", f"{value[:32].hex()} is of no kind")


def values(entries: MerkleMap) -> Iterator[bytes]:
    """The bytes of every entry under the map's root.  Raises NodeMissing."""
    waiting = [] if entries.root == EMPTY else [entries.root]
    while waiting:
        below = entries.below(waiting.pop())
        if len(below) == 1:
            yield below[0]
        else:
            waiting += [node_hash for node_hash in below if node_hash != EMPTY]


def count(entries: MerkleMap) -> Totals:
    """Count the state under the map's root.  Raises NodeMissing, WireError."""
    balance_ucpc = locked_ucpc = escrow_ucpc = 0
    counts = {kind.__name__: 0 for kind in ENTRY_KINDS}
    for value in values(entries):
        entry = recognise(value)
        counts[type(entry).__name__] += 1
        if isinstance(entry, Account):
            balance_ucpc += entry.balance_ucpc
            locked_ucpc += entry.locked_ucpc
        elif isinstance(entry, EscrowEntry):
            escrow_ucpc += entry.locked_ucpc
    return Totals(balance_ucpc, locked_ucpc, escrow_ucpc, counts)


def check(entries: MerkleMap) -> Totals:
    """Count it, and hold the sums against each other.

    Raises BooksWrong when money is missing, too much, or locked for nothing; NodeMissing, WireError.
    """
    totals = count(entries)
    if totals.balance_ucpc + totals.locked_ucpc != SUPPLY_UCPC:
        raise BooksWrong(
            f"accounts hold {totals.balance_ucpc} ucpc and {totals.locked_ucpc} locked ones, "
            f"the supply is {SUPPLY_UCPC}"
        )
    if totals.locked_ucpc != totals.escrow_ucpc:
        raise BooksWrong(
            f"accounts have put {totals.locked_ucpc} ucpc aside, open escrows hold {totals.escrow_ucpc}"
        )
    return totals
