"""Transactions whose signatures a node has checked of late, wherever they are by now.

Runs on CPython; pure.  Checking a signature is most of what a transaction costs.  The same one comes several
times: alone, in a block before its own message has been looked at, and again after it is final.
"""

from collections import OrderedDict
from collections.abc import Iterable

from chain_node.messages import Message, Proposal, Relay, Validate
from chain_node.transaction import Known, Transaction

VERIFIED_MAX = 8_192
"""Transactions that are remembered beside those of the pool, some 6 MiB of transfers."""
VERIFIED_SIZE_MAX = 4 << 20
"""Bytes of them: transactions may be far longer than a transfer."""


class Verified:
    """A Known: the pool's, and the last ones that came.  pool: by hash, those that wait."""

    def __init__(self, pool: Known, count_max: int = VERIFIED_MAX) -> None:
        self._pool = pool
        self._count_max = count_max
        self._recent: OrderedDict[bytes, Transaction] = OrderedDict()
        self._size = 0

    def get(self, tx_hash: bytes, /) -> Transaction | None:
        """The transaction with this hash, if its signature was checked not long ago."""
        return self._pool.get(tx_hash) or self._recent.get(tx_hash)

    def note(self, message: Message) -> None:
        """A message was read, and so its transactions were checked."""
        if isinstance(message, Relay):
            self._add(message.transactions)
        elif isinstance(message, Proposal | Validate) and message.block:
            self._add(message.block.transactions)

    def _add(self, transactions: Iterable[Transaction]) -> None:
        recent = self._recent
        for transaction in transactions:
            if transaction.tx_hash not in recent:
                recent[transaction.tx_hash] = transaction
                self._size += len(transaction.data)
        while len(recent) > self._count_max or self._size > VERIFIED_SIZE_MAX:
            self._size -= len(recent.popitem(last=False)[1].data)
