"""The pool: transactions that were accepted and are in no block yet.

Runs on CPython.  Bounded in number, bytes and per account; above a bound it answers BUSY and keeps all
it has.  Transactions of one account leave in the order of their nonces, whatever order they came in;
apart from that, first come, first served.  The pool lives in memory: whoever sent a transaction keeps
it until it is final, and may send it again at any time.

Evidence of an equivocation costs nothing, so of each there waits one at most, and only one that can enter
the next block: its nonce is its account's next.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chain_node import equivocation, ledger
from chain_node.book import DAY_MS
from chain_node.errors import Refused
from chain_node.ledger import Place
from chain_node.reason import Reason
from chain_node.state import State
from chain_node.transaction import Equivocation, Transaction, Transfer

COUNT_MAX = 20_000
SIZE_MAX = 32 << 20
"""Bytes of all transactions together."""
ACCOUNT_COUNT_MAX = 1_024
"""Transactions of one account, and how far a nonce may run ahead."""
REFUSALS_KEPT = 4_096
WAIT_BLOCKS_MAX = 360
"""Blocks after which one is given up whose earlier nonces never came: an hour of 10 s blocks."""

NonceOf = Callable[[bytes], int]
"""The next nonce of an account, after the head."""


@dataclass(slots=True)
class _Pending:
    """The waiting transactions of one account."""

    by_nonce: dict[int, Transaction] = field(default_factory=dict)
    fees_ucpc: int = 0
    free_count: int = 0


class Pool:
    """Transactions on their way into a block."""

    def __init__(self, count_max: int = COUNT_MAX, size_max: int = SIZE_MAX) -> None:
        self._count_max = count_max
        self._size_max = size_max
        self._size = 0
        self._by_hash: dict[bytes, Transaction] = {}
        """In the order of arrival."""
        self._since: dict[bytes, int] = {}
        """By hash: the height for which it came."""
        self._by_account: dict[bytes, _Pending] = {}
        self._evidence: dict[tuple[bytes, int], Transaction] = {}
        """By voter and height."""
        self._refusals: OrderedDict[bytes, Refused] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, tx_hash: bytes) -> Transaction | None:
        """A transaction that waits here."""
        return self._by_hash.get(tx_hash)

    def refusal(self, tx_hash: bytes) -> Refused | None:
        """Why a transaction that waited here was given up, if it was, not too long ago."""
        return self._refusals.get(tx_hash)

    def check_room(self, size: int) -> None:
        """Raises Refused with BUSY when `size` more bytes have no room.  Ask before any costly check."""
        if len(self._by_hash) >= self._count_max or self._size + size > self._size_max:
            raise Refused(
                Reason.BUSY, f"the pool is full with {len(self._by_hash)} transactions; send it later"
            )

    def add(self, transaction: Transaction, state: State, place: Place) -> None:
        """Take a transaction that, by the head's state, can enter a block and have its effect.

        place: that of the next block.  One that is here already is no error.
        Raises Refused with every reason that a block or a receipt would have.
        """
        if transaction.tx_hash in self._by_hash:
            return
        self.check_room(len(transaction.data))
        account = state.account(transaction.sender)
        pending = self._by_account.get(transaction.sender, _Pending())
        ledger.admit(state, transaction, place, max(transaction.nonce, account.nonce))
        if transaction.nonce >= account.nonce + ACCOUNT_COUNT_MAX:
            raise Refused(
                Reason.NONCE_AHEAD,
                f"nonce {transaction.nonce} is too far ahead of the account's {account.nonce}",
            )
        if transaction.nonce in pending.by_nonce:
            other = pending.by_nonce[transaction.nonce].tx_hash.hex()
            raise Refused(Reason.NONCE_PENDING, f"transaction {other} waits with nonce {transaction.nonce}")
        if isinstance(transaction.body, Equivocation):
            self._check_evidence(transaction, transaction.body, account.nonce)
        fees_ucpc = pending.fees_ucpc + transaction.fee_ucpc
        if fees_ucpc > account.balance_ucpc:
            raise Refused(
                Reason.FEE_NOT_COVERED,
                f"with those that wait the fees are {fees_ucpc} ucpc, the balance is {account.balance_ucpc}",
            )
        quota_used = account.quota_used_on(place.time_ms // DAY_MS) + pending.free_count
        if transaction.uses_quota and quota_used >= place.genesis.free_tx_per_day:
            raise Refused(
                Reason.QUOTA_USED_UP,
                f"{quota_used} free transactions of this UTC day are used or waiting; pay a fee, or wait",
            )
        body = transaction.body
        # Nearly all that come are transfers that their account can pay; what else there is, is tried.
        if not (isinstance(body, Transfer) and body.amount_ucpc <= account.balance_ucpc):
            ledger.take_effect(state.fork(), transaction, place)
        self._by_hash[transaction.tx_hash] = transaction
        self._since[transaction.tx_hash] = place.height
        self._by_account[transaction.sender] = pending
        pending.by_nonce[transaction.nonce] = transaction
        pending.fees_ucpc = fees_ucpc
        pending.free_count += transaction.uses_quota
        self._size += len(transaction.data)
        if isinstance(transaction.body, Equivocation):
            self._evidence[equivocation.accused(transaction.body)] = transaction

    def next_nonce(self, sender: bytes, nonce: int) -> int:
        """The first nonce from `nonce` on that no transaction of this account has here."""
        if pending := self._by_account.get(sender):
            while nonce in pending.by_nonce:
                nonce += 1
        return nonce

    def select(self, count_max: int, size_max: int, nonce_of: NonceOf) -> list[Transaction]:
        """What the next block may take, nonces in order: at most `count_max`, and `size_max` bytes."""
        chosen: list[Transaction] = []
        expected: dict[bytes, int] = {}
        early: set[bytes] = set()
        for transaction in self._by_hash.values():
            sender = transaction.sender
            nonce = expected.setdefault(sender, nonce_of(sender))
            if transaction.nonce > nonce:
                early.add(transaction.tx_hash)
            following = transaction if transaction.nonce == nonce else None
            while following:
                if len(chosen) >= count_max or len(following.data) > size_max:
                    return chosen
                chosen.append(following)
                size_max -= len(following.data)
                expected[sender] += 1
                # One that came too early enters right after the one it waited for.
                following = self._by_account[sender].by_nonce.get(expected[sender])
                if following and following.tx_hash not in early:
                    following = None
        return chosen

    def has_ready(self, nonce_of: NonceOf) -> bool:
        """Whether there is anything that the next block may take."""
        return bool(self.select(1, 1 << 62, nonce_of))

    def give_up(self, refused: Iterable[tuple[Transaction, Refused]]) -> None:
        """Drop transactions that can stand in no block any more, and remember why."""
        for transaction, error in refused:
            self._remove(transaction)
            self._refusals[transaction.tx_hash] = error
            if len(self._refusals) > REFUSALS_KEPT:
                self._refusals.popitem(last=False)

    def settle(self, included: Sequence[Transaction], nonce_of: NonceOf, height: int) -> None:
        """After block `height`: drop the transactions it included, and all that can no longer enter one."""
        senders = {transaction.sender for transaction in included if transaction.sender in self._by_account}
        for sender in senders:
            nonce = nonce_of(sender)
            for transaction in [
                tx for number, tx in self._by_account[sender].by_nonce.items() if number < nonce
            ]:
                self._remove(transaction)
        dropped = []
        for transaction in self._by_hash.values():
            if transaction.valid_until is not None and transaction.valid_until <= height:
                why = f"it was valid until block {transaction.valid_until}"
                dropped.append((transaction, Refused(Reason.EXPIRED, why)))
            elif self._since[transaction.tx_hash] + WAIT_BLOCKS_MAX < height:
                why = f"it waited {WAIT_BLOCKS_MAX} blocks for earlier nonces of its account"
                dropped.append((transaction, Refused(Reason.EXPIRED, why)))
        for transaction in included:
            if isinstance(transaction.body, Equivocation):
                other = self._evidence.get(equivocation.accused(transaction.body))
                if other:
                    why = f"transaction {transaction.tx_hash.hex()} has shown the same"
                    dropped.append((other, Refused(Reason.EVIDENCE_KNOWN, why)))
        self.give_up(dropped)

    def leap(self, nonce_of: NonceOf, height: int) -> None:
        """After many blocks that were not seen one by one: drop what is spent; the rest waits from now on."""
        for transaction in [each for each in self._by_hash.values() if each.nonce < nonce_of(each.sender)]:
            self._remove(transaction)
        self._since = dict.fromkeys(self._since, height)
        self.settle((), nonce_of, height)

    def _check_evidence(self, transaction: Transaction, body: Equivocation, nonce: int) -> None:
        if transaction.nonce != nonce:
            # Otherwise one that can never enter a block could stand in the way of one that can.
            raise Refused(
                Reason.NONCE_AHEAD, f"evidence waits for no other transaction: its nonce must be {nonce}"
            )
        if other := self._evidence.get(equivocation.accused(body)):
            raise Refused(
                Reason.EVIDENCE_KNOWN, f"transaction {other.tx_hash.hex()} waits with the same evidence"
            )

    def _remove(self, transaction: Transaction) -> None:
        if self._by_hash.pop(transaction.tx_hash, None) is None:
            return
        del self._since[transaction.tx_hash]
        self._size -= len(transaction.data)
        if isinstance(transaction.body, Equivocation):
            del self._evidence[equivocation.accused(transaction.body)]
        pending = self._by_account[transaction.sender]
        del pending.by_nonce[transaction.nonce]
        pending.fees_ucpc -= transaction.fee_ucpc
        pending.free_count -= transaction.uses_quota
        if not pending.by_nonce:
            del self._by_account[transaction.sender]
