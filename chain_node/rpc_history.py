"""What an account sent and received, from the newest block back, a page at a time, without an index.

Runs on CPython.  A page looks at SCAN_BYTES of bodies at most and says where the next one begins, so one
question costs milliseconds however long the chain is.  A body is taken apart only when the key stands in
its bytes, which is the cheaper the fewer transactions an account has; bodies without transactions are passed
over by SQLite.  Rejected: an index by account; it costs every node some 80 bytes and two B-tree inserts a
transaction, to spare the few that are asked a second for each GiB of bodies they keep.
"""

from dataclasses import dataclass
from typing import Any

from chain_node.block import BLOCK_TX_LIMIT
from chain_node.pruning import BODY_ROOM
from chain_node.storage import Storage, decode_list
from chain_node.storage_file import decoding
from chain_node.transaction import Receipt, Transaction, Transfer

SCAN_BYTES = 16 << 20
"""Bytes of bodies that one page looks at, but one body if there is one."""
PAGE_MAX = 100
"""Transactions in a page."""
EMPTY_SIZE_MAX = BODY_ROOM + 8
"""What a body without transactions counts at most."""
PARTIES = ("to", "payer", "payee", "arbiter", "operator")
"""Fields of bodies that hold an account."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One final transaction that an account sent, or that names it."""

    height: int
    index: int
    transaction: Transaction
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Page:
    """Some of an account's history, the newest first."""

    entries: tuple[Entry, ...]
    before: tuple[int, int] | None
    """Where the next page begins, below this (height, index); None: there is no more here."""


def concerns(transaction: Transaction, public: bytes) -> bool:
    """Whether the account sent it, or stands in it as a party.

    What a body does not say is not found: a settlement names the payer of its escrow, not the payee.
    """
    return public == transaction.sender or any(
        getattr(transaction.body, name, None) == public for name in PARTIES
    )


def page(storage: Storage, public: bytes, before: tuple[int, int], count: int) -> Page:
    """At most `count` entries below (height, index).  Raises StorageError."""
    found: list[Entry] = []
    scanned = 0
    top, index_below = before
    with storage.errors():
        rows: Any = storage.connection.execute(
            "SELECT height, size, transactions, receipts FROM body "
            "WHERE height <= ? AND size > ? ORDER BY height DESC",
            (top, EMPTY_SIZE_MAX),
        )
        for height, size, transactions, receipts in rows:
            if scanned and scanned + size > SCAN_BYTES:
                return Page(tuple(found), (height, BLOCK_TX_LIMIT))
            scanned += size
            if public not in transactions:
                continue
            with decoding(storage.path):
                items, outcomes = decode_list(transactions), decode_list(receipts)
                for index in range(len(items) - 1, -1, -1):
                    if height == top and index >= index_below:
                        continue
                    if public not in items[index]:
                        continue
                    transaction = Transaction.restore(items[index])
                    if not concerns(transaction, public):
                        continue
                    found.append(Entry(height, index, transaction, Receipt.decode(outcomes[index])))
                    if len(found) == count:
                        return Page(tuple(found), (height, index))
    return Page(tuple(found), None)


def page_json(found: Page) -> dict[str, object]:
    """A page for show; the proof of each entry is what `tx_get` answers."""
    before = found.before and {"height": found.before[0], "index": found.before[1]}
    return {"entries": [_entry_json(each) for each in found.entries], "before": before}


def _entry_json(entry: Entry) -> dict[str, object]:
    transaction, receipt = entry.transaction, entry.receipt
    body = transaction.body
    return {
        "height": entry.height,
        "index": entry.index,
        "tx_hash": transaction.tx_hash.hex(),
        "kind": body.KIND,
        "name": type(body).__name__,
        "sender": transaction.sender.hex(),
        "nonce": transaction.nonce,
        "fee_ucpc": receipt.fee_ucpc,
        "reason": receipt.reason.label,
        "to": body.to.hex() if isinstance(body, Transfer) else None,
        "amount_ucpc": body.amount_ucpc if isinstance(body, Transfer) else None,
    }
