"""A node: transactions into the pool, blocks out of the pool, the chain into its file.

Runs on CPython, in one asyncio task.  A block is made every `block_period_ms` while there are
transactions, and one without any as a heartbeat, so that a light client can tell a quiet chain from
a dead one.  The time of a block is max(parent + 1 ms, now): the chain never runs backwards, whatever
the machine's clock does; pacing uses the monotonic clock.  A full disk stops the making of blocks and
the taking of transactions, which both say so, and both go on by themselves when there is room.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from chain_node import ledger
from chain_node.block import BLOCK_SIZE_MAX, Block
from chain_node.consensus import Consensus, Decided
from chain_node.errors import Refused, StorageFull
from chain_node.genesis import Genesis
from chain_node.ledger import Execution, Head, Place
from chain_node.mempool import Pool
from chain_node.reason import Reason
from chain_node.schedule import TakeTurns
from chain_node.state import State
from chain_node.storage import Storage
from chain_node.transaction import Transaction, transaction_hash

HEARTBEAT_MS = 10_000
HEADER_ROOM = 1_024
"""Bytes of a block that are not transactions."""
TX_ROOM = 5
"""Bytes of CBOR around each transaction in a block."""

log = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Unix milliseconds by this machine's clock."""
    return time.time_ns() // 1_000_000


class Node:
    """One node of a chain.

    proposer: public key of the account that gets the fees of the blocks made here.
    clock_ms: Unix milliseconds; may jump.  heartbeat_ms: longest time between blocks.
    """

    def __init__(
        self,
        storage: Storage,
        consensus: Consensus,
        proposer: bytes,
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
        heartbeat_ms: int = HEARTBEAT_MS,
        pool: Pool | None = None,
    ) -> None:
        self.storage = storage
        self.pool = Pool() if pool is None else pool
        self.trouble = ""
        """Why no blocks are made at present, for people; empty when all is well."""
        self._consensus = consensus
        self._proposer = proposer
        self._clock_ms = clock_ms
        self._schedule = TakeTurns(storage.genesis.proposers)
        self._heartbeat_s = heartbeat_ms / 1000
        self._state = self._head_state()
        self._proposed: tuple[bytes, Execution] | None = None
        self._has_work = asyncio.Event()
        self._advanced = asyncio.Condition()

    @property
    def genesis(self) -> Genesis:
        """What the chain began with."""
        return self.storage.genesis

    @property
    def head(self) -> Head:
        """The last final block."""
        return self.storage.head

    def nonce_of(self, public: bytes) -> int:
        """The next nonce of an account, by the head's state."""
        with self.storage.errors():
            return self._state.account(public).nonce

    def next_nonce(self, public: bytes) -> int:
        """The next nonce of an account, past what waits in the pool."""
        return self.pool.next_nonce(public, self.nonce_of(public))

    def submit(self, data: bytes) -> bytes:
        """Take a transaction into the pool; its hash.  One that waits or is final already is no error.

        Raises Refused, whose reason and sentence are the sender's to read; StorageError.
        """
        tx_hash = transaction_hash(data)
        if self.pool.get(tx_hash) or self.storage.find_transaction(tx_hash):
            return tx_hash
        if self.trouble:
            raise Refused(Reason.BUSY, f"no transactions are taken at present: {self.trouble}")
        self.pool.check_room(len(data))
        transaction = Transaction.decode(data)
        with self.storage.errors():
            self.pool.add(transaction, self._state, self._next_place())
        if self.pool.next_nonce(transaction.sender, self.nonce_of(transaction.sender)) > transaction.nonce:
            self._has_work.set()
        return tx_hash

    async def run(self) -> None:
        """Make blocks until cancelled.  Raises StorageError when the file cannot be used any more."""
        loop = asyncio.get_running_loop()
        period_s = self.genesis.block_period_ms / 1000
        # A vote without its block is finished at once; a chain without blocks has no root to prove against.
        if self.head.height == 0 or self.storage.votes(self.head.height + 1):
            await self._try_produce()
        while True:
            made_s = loop.time()
            try:
                async with asyncio.timeout_at(made_s + self._heartbeat_s):
                    await self._has_work.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(made_s + period_s - loop.time())
            await self._try_produce()

    async def produce(self) -> Decided:
        """Have the next block decided, check it, and commit it.

        Raises IllicitBlock or CertificateError when what was decided cannot be, StorageError.
        """
        parent = self.head
        with self.storage.errors():
            decided = await self._consensus.decide(parent, self._propose)
            header = decided.block.header
            decided.certificate.verify(self.genesis.chain_id, self.genesis.validators)
            if self._proposed and self._proposed[0] == header.block_hash:
                execution = self._proposed[1]
            else:
                read = self.storage.read_node
                execution = ledger.check_block(read, parent, self.genesis, decided.block, self._schedule)
            self.storage.commit(decided.block, decided.certificate, execution)
            self._proposed = None
            self._state = self._head_state()
            self.pool.settle(decided.block.transactions, self.nonce_of, header.height)
            if not self.pool.has_ready(self.nonce_of):
                self._has_work.clear()
        async with self._advanced:
            self._advanced.notify_all()
        return decided

    async def wait_for_height(self, height: int) -> Head:
        """The head, as soon as it is at least this high."""
        async with self._advanced:
            await self._advanced.wait_for(lambda: self.head.height >= height)
        return self.head

    async def _try_produce(self) -> None:
        try:
            await self.produce()
        except StorageFull as error:
            if not self.trouble:
                log.error("no blocks until there is room: %s", error)
            # Told to whoever asks; the path is the business of the log.
            self.trouble = error.why
            self._has_work.set()
        else:
            self.trouble = ""

    def _next_place(self) -> Place:
        time_ms = ledger.next_time_ms(self.head.time_ms, self._clock_ms())
        return Place(self.genesis, self.head.height + 1, time_ms, self._proposer, self._schedule)

    def _propose(self) -> Block:
        """A block of what waits; what turns out to be impossible is given up."""
        place = self._next_place()
        room = BLOCK_SIZE_MAX - HEADER_ROOM - TX_ROOM * self.genesis.block_tx_max
        candidates = self.pool.select(self.genesis.block_tx_max, room, self.nonce_of)
        execution = ledger.execute(self.storage.read_node, self.head, place, candidates)
        # One whose predecessor was refused may still come into its own.
        self.pool.give_up(item for item in execution.refused if item[1].reason != Reason.NONCE_AHEAD)
        block = ledger.block_of(self.head, place, 0, execution)
        self._proposed = (block.header.block_hash, execution)
        return block

    def _head_state(self) -> State:
        return State(self.storage.entries(self.storage.head.state_root))
