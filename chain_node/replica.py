"""One node of a chain, whole but for sockets, disk and clocks: consensus, ledger and pool joined.

Runs on CPython; pure, over a store that is handed in.  Two clocks come with every event: `now_ms` never
goes back and paces everything; `wall_ms`, Unix time, may jump and only dates blocks.  What is to be sent
comes out, and by then what must be durable is: the duties of a `Ready` are done here, in their order.
The simulator runs this very file, on a disk that forgets and clocks that drift.

    replica = Replica(store, genesis, key)
    sends = replica.start(now_ms, wall_ms)
    sends = replica.receive(sender, message, now_ms, wall_ms)
    sends = replica.tick(now_ms, wall_ms)          # at replica.deadline_ms
    sends = replica.submit(data, now_ms, wall_ms)  # raises Refused

A full disk raises nothing here: `trouble` says so, and the node tries again by itself.  What it had not
kept it has not said.  Any other StorageError ends the node.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from chain_node import ledger, validator_set
from chain_node.block import BLOCK_SIZE_MAX, NO_PROPOSER, Block, Certificate, Header, Vote
from chain_node.errors import IllicitBlock, Refused, StorageFull
from chain_node.genesis import Genesis
from chain_node.impeachment import Impeachments, Seen
from chain_node.kept import Kept
from chain_node.lbft import Core, announcement
from chain_node.lbft_ready import Decided, Equivocation, Height, Ready, Serve
from chain_node.lbft_states import Fate, earliest_ms
from chain_node.ledger import Execution, Head, Place
from chain_node.mempool import Pool
from chain_node.messages import ConsensusMessage, Message, Relay, Validate
from chain_node.patience import Patience
from chain_node.reason import Reason
from chain_node.schedule import GenesisTurns, Schedule
from chain_node.signatures import Signatures
from chain_node.state import State
from chain_node.transaction import Equivocation as EquivocationBody
from chain_node.transaction import Transaction, transaction_hash
from chain_node.validator_set import ValidatorSet
from puf.ed25519 import SigningKey
from puf.merkle_map import MerkleMap

HEADER_ROOM = 1_024
"""Bytes of a block that are not transactions."""
TX_ROOM = 5
"""Bytes of CBOR around each transaction in a block."""
CLOCK_DRIFT_MS = 5_000
"""How far a block's time may be ahead of our clock; one that is further ahead waits until it is not."""
RETIRED_RETRY_MS = 60_000
"""How long a node that is too old waits before it tries again to follow."""
FULL_RETRY_MS = 1_000
"""How long a node waits for room on a full disk."""
RELAYED_MAX = 256
"""Waiting transactions that are sent again to the next proposer, each height."""

log = logging.getLogger(__name__)

Sends = list[tuple[bytes | None, Message]]
"""(peer, or None for everybody but us, message)."""


class Store(Protocol):
    """Where a node keeps what must outlive it; `Storage` is one.  Raises StorageError."""

    @property
    def head(self) -> Head:
        """The last committed block."""

    def put_votes(self, items: Sequence[Kept]) -> None:
        """Keep our votes for good, synced, all or none.  Raises DoubleVote."""

    def votes(self, height: int) -> list[Kept]:
        """Our votes at a height that is not decided yet."""

    def commit(self, block: Block, certificate: Certificate, execution: Execution, seen: Seen | None) -> None:
        """Make a block the new head, synced, with all that belongs to it, or not at all."""

    def certified(self, first: int, count: int) -> list[tuple[Block, Certificate]]:
        """Final blocks by rising height."""

    def read_node(self, node_hash: bytes) -> bytes:
        """A node of the state's map.  Raises KeyError."""

    def entries(self, state_root: bytes) -> MerkleMap:
        """The state with this root."""

    def find_transaction(self, tx_hash: bytes) -> tuple[int, int] | None:
        """Where a transaction is final."""


class Replica:
    """A validator, a proposer, both or an observer, by what its key is at each height.

    key: None for an observer.  signatures, schedule: by default those of the genesis.
    core: makes the consensus core; by default `Core`.
    """

    def __init__(
        self,
        store: Store,
        genesis: Genesis,
        key: SigningKey | None,
        *,
        pool: Pool | None = None,
        signatures: Signatures | None = None,
        schedule: Schedule | None = None,
        core: Callable[[Signatures, Schedule, int], Core] = Core,
    ) -> None:
        self.store = store
        self.genesis = genesis
        self.pool = Pool() if pool is None else pool
        self.judged: Callable[[bytes, Message, Fate], None] = lambda sender, message, fate: None
        """Is told what became of each message that came."""
        self.evidence: list[Equivocation] = []
        """Who was caught signing two things, since the start."""
        self._full = ""
        """What a full disk says."""
        self._retires_at: int | None = None
        self._why_retired = self._retired = ""
        """Why this node only follows, since that height; empty before."""
        self._key = key
        self._signatures = signatures or Signatures(genesis.chain_id, genesis.validators, key)
        self._turns = GenesisTurns(genesis, self.validators_at)
        self._schedule = schedule or self._turns
        self._state = self._head_state()
        self._make_core = core
        self._core = self._new_core()
        self._impeachments = Impeachments(genesis.timeout_ms)
        self._executions: dict[bytes, Execution] = {}
        self._held: dict[bytes, Block] = {}
        """Blocks whose time has not come by our clock."""
        self.patience = Patience(len(genesis.proposers))
        """How long a proposer's block is waited for."""
        self._is_hurried = False
        """Whether the core knows that transactions wait for this height's block."""
        self._retry_at_ms: int | None = None
        self._accusations: list[Equivocation] = []
        """Evidence that is not on chain yet."""
        self._ours: dict[bytes, Transaction] = {}
        """Transactions that were handed in here, until they are final or given up."""
        self._now_ms = self._wall_ms = 0
        self._sends: Sends = []

    @property
    def head(self) -> Head:
        """The last final block."""
        return self.store.head

    @property
    def trouble(self) -> str:
        """Why this node takes part in nothing at present, for people; empty when all is well."""
        return self._full or self._retired

    @property
    def core(self) -> Core:
        """The consensus; for looking only."""
        return self._core

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is to be called at the latest."""
        if self._retry_at_ms is not None:
            return self._retry_at_ms
        if not self._held:
            return self._core.deadline_ms
        held_ms = (self._now_ms + self._wait_ms(block) for block in self._held.values())
        return earliest_ms(self._core.deadline_ms, *held_ms)

    def nonce_of(self, public: bytes) -> int:
        """The next nonce of an account, by the head's state."""
        return self._state.account(public).nonce

    def validators_at(self, height: int) -> ValidatorSet:
        """Who certifies the block of this height, at most NOTICE_BLOCKS after the head."""
        return validator_set.at(self._state, self.genesis.validators, height)

    def next_nonce(self, public: bytes) -> int:
        """The next nonce of an account, past what waits in the pool."""
        return self.pool.next_nonce(public, self.nonce_of(public))

    # Events

    def start(self, now_ms: int, wall_ms: int) -> Sends:
        """Take part, from where the store says we were.  Once, before all else."""
        self._now_ms, self._wall_ms = now_ms, wall_ms
        self._guard(self._begin)
        return self._taken()

    def receive(self, sender: bytes, message: Message, now_ms: int, wall_ms: int) -> Sends:
        """A message from node `sender`, who is who it says."""
        self._now_ms, self._wall_ms = now_ms, wall_ms
        if isinstance(message, Relay):
            taken = self._take_in(message.transactions)
            self.judged(sender, message, Fate.TAKEN if taken else Fate.DUPLICATE)
        elif isinstance(message, ConsensusMessage) and not self._retry_at_ms:
            self._guard(lambda: self._core.step(sender, message, now_ms))
        return self._taken()

    def hear(self, sender: bytes, height: int, now_ms: int, wall_ms: int) -> Sends:
        """Node `sender` works on this height, whatever it said."""
        self._now_ms, self._wall_ms = now_ms, wall_ms
        if not self._retry_at_ms:
            self._guard(lambda: self._core.hear(sender, height, now_ms))
        return self._taken()

    def glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        """What a block is worth, by its seal or C-certificate, before its transactions are read.

        TAKEN: read it, and let it come by `receive`.
        """
        return Fate.UNASKED if self._retry_at_ms else self._core.glance(sender, header, proof)

    def retire(self, from_height: int, why: str, now_ms: int, wall_ms: int) -> Sends:
        """Propose and vote no more from this block on, whose rules are not known here; follow if possible."""
        self._now_ms, self._wall_ms = now_ms, wall_ms
        self._retires_at, self._why_retired = from_height, why
        if self.head.height + 1 >= from_height and not self._retired:
            self._guard(self._begin)
        return self._taken()

    def tick(self, now_ms: int, wall_ms: int) -> Sends:
        """The clocks show this."""
        self._now_ms, self._wall_ms = now_ms, wall_ms
        if self._retry_at_ms is not None:
            if now_ms < self._retry_at_ms:
                return []
            # What was not kept was not said: begin the height again with what was kept.
            self._retry_at_ms = None
            self._core = self._new_core()
            self._guard(self._begin)
        else:
            for block in [block for block in self._held.values() if not self._wait_ms(block)]:
                del self._held[block.header.block_hash]
                self._guard(lambda block=block: self._judge(block))  # type: ignore[misc]
            self._guard(lambda: self._core.tick(now_ms))
        return self._taken()

    def submit(self, data: bytes, now_ms: int, wall_ms: int) -> tuple[bytes, Sends]:
        """Take a transaction into the pool; its hash.  One that waits or is final already is no error.

        Raises Refused, whose reason and sentence are the sender's to read.
        """
        self._now_ms, self._wall_ms = now_ms, wall_ms
        tx_hash = transaction_hash(data)
        if self.pool.get(tx_hash):
            return tx_hash, []
        try:
            if self.trouble:
                raise Refused(Reason.BUSY, f"no transactions are taken at present: {self.trouble}")
            self.pool.check_room(len(data))
            transaction = Transaction.decode(data)
            self.pool.add(transaction, self._state, self._next_place())
        except Refused:
            # The disk is asked last, for nearly every transaction is new.
            if self.store.find_transaction(tx_hash):
                return tx_hash, []
            raise
        self._ours[tx_hash] = transaction
        self._sends.append((None, Relay((transaction,))))
        self._hurry()
        return tx_hash, self._taken()

    # Duties

    def _guard(self, event: Callable[[], Ready]) -> None:
        """Do the duties that follow from an event, and from those; stop at a full disk."""
        try:
            queue = deque([event()])
            while queue:
                queue.extend(self._do(queue.popleft()))
            self._full = ""
        except StorageFull as error:
            if not self._full:
                log.error("takes part in nothing until there is room: %s", error)
            # Told to whoever asks; the path is the business of the log.
            self._full = error.why
            self._retry_at_ms = self._now_ms + FULL_RETRY_MS
        except IllicitBlock as error:
            if not self._retired:
                raise
            log.error("stops at block %d, whose rules it does not know: %s", self.head.height, error)
            self._retry_at_ms = self._now_ms + RETIRED_RETRY_MS

    def _do(self, ready: Ready) -> list[Ready]:
        following = []
        if ready.persist:
            self.store.put_votes(ready.persist)
        self._sends += ready.send
        for block in ready.check:
            following.append(self._judge(block))
        if ready.is_proposal_due:
            following.append(self._core.propose(self._build(), self._now_ms))
        for serve in ready.serve:
            self._serve(serve)
        if ready.evidence:
            self.evidence += ready.evidence
            self._accusations += ready.evidence
            self._accuse()
        if ready.decided:
            self._commit(ready.decided)
            following.append(self._begin())
        return following

    def _begin(self) -> Ready:
        """Begin the height after the head."""
        head, genesis = self.head, self.genesis
        if self._retires_at is not None and head.height + 1 >= self._retires_at and not self._retired:
            log.error("proposes and votes no more: %s", self._why_retired)
            self._retired, self._key = self._why_retired, None
            self._signatures = Signatures(genesis.chain_id, genesis.validators, None)
            self._core = self._new_core()
        self._signatures.seat(head.height + 1, lambda height: self.validators_at(height).keys)
        self.patience.proposer_count = len(self._turns.proposers(head.height + 1))
        block, execution = ledger.impeachment_block(self.store.read_node, head, genesis, self._schedule)
        self._executions = {block.header.block_hash: execution}
        self._held = {}
        self._is_hurried = False
        self._impeachments.begin(self._now_ms)
        period_ms = genesis.block_period_ms
        # By the chain's clock, so that delays do not add up; within a period from now, whatever that says.
        due_ms = self._now_ms + min(max(head.time_ms + period_ms - self._wall_ms, 0), period_ms)
        start = Height(
            height=head.height + 1,
            parent_hash=head.block_hash,
            impeachment=block,
            due_ms=due_ms,
            latest_ms=due_ms + genesis.heartbeat_ms - period_ms,
            # A chain without blocks has no root to prove anything against.
            has_work=head.height == 0 or self.pool.has_ready(self.nonce_of),
            doublings=self.patience.doublings,
        )
        self._relay()
        kept = () if self._retired else self.store.votes(start.height)
        return self._core.begin(start, self._now_ms, kept)

    def _commit(self, decided: Decided) -> None:
        block = decided.block
        execution = self._executions.get(block.header.block_hash)
        if execution is None:
            # A certified block that is illicit means that more than f are faulty: nothing goes on from there.
            execution = ledger.check_block(
                self.store.read_node, self.head, self.genesis, block, self._schedule, self._state
            )
        seen = self._impeachments.decided(decided, self._now_ms)
        self.store.commit(block, decided.certificate, execution, seen)
        self.patience.note(is_impeached=block.header.proposer == NO_PROPOSER)
        self._state = self._state.after(self.store.entries(self.head.state_root), execution.accounts)
        self.pool.settle(block.transactions, self.nonce_of, block.header.height)
        for lost in decided.lost:
            self._take_in(lost.transactions)
        for tx_hash in [tx_hash for tx_hash in self._ours if not self.pool.get(tx_hash)]:
            del self._ours[tx_hash]
        self._accuse()

    def _judge(self, block: Block) -> Ready:
        """Execute somebody's block, unless its time has not come."""
        block_hash = block.header.block_hash
        if self._wait_ms(block):
            self._held[block_hash] = block
            return Ready()
        is_licit = True
        try:
            self._executions[block_hash] = ledger.check_block(
                self.store.read_node, self.head, self.genesis, block, self._schedule, self._state
            )
        except IllicitBlock as error:
            log.warning("%s", error)
            self._impeachments.illicit(block_hash, error.why)
            is_licit = False
        return self._core.judge(block_hash, is_licit, self._now_ms)

    def _build(self) -> Block:
        """A block of what waits; what turns out to be impossible is given up."""
        place, genesis = self._next_place(), self.genesis
        room = BLOCK_SIZE_MAX - HEADER_ROOM - TX_ROOM * genesis.block_tx_max
        candidates = self.pool.select(genesis.block_tx_max, room, self.nonce_of)
        execution = ledger.execute(self.store.read_node, self.head, place, candidates, self._state)
        # One whose predecessor was refused may still come into its own.
        self.pool.give_up(item for item in execution.refused if item[1].reason != Reason.NONCE_AHEAD)
        block = ledger.block_of(self.head, place, 0, execution)
        self._executions[block.header.block_hash] = execution
        return block

    def _serve(self, serve: Serve) -> None:
        for block, certificate in self.store.certified(serve.first, serve.count):
            message = Validate(certificate, block) if serve.is_asked else announcement(certificate, block)
            self._sends.append((serve.peer, message))

    def _accuse(self) -> None:
        """Bring the evidence we have on chain, in transactions that cost nothing, until it is there."""
        if self._key is None:
            return
        self._accusations = [
            each
            for each in self._accusations
            if not self._state.equivocation(each.first.voter, each.first.height)
        ]
        for equivocation in tuple(self._accusations):
            body = EquivocationBody(equivocation.first.data, equivocation.second.data)
            nonce = self.nonce_of(self._key.public)
            transaction = Transaction.sign(self._key, self.genesis.chain_id, nonce, body)
            try:
                self.pool.add(transaction, self._state, self._next_place())
            except Refused as error:
                # Too old.  Anything else may pass: a nonce or another copy that waits, a pool that is full.
                if error.reason == Reason.EVIDENCE_INVALID:
                    self._accusations.remove(equivocation)
                continue
            if transaction.tx_hash not in self._ours:
                self._ours[transaction.tx_hash] = transaction
                self._sends.append((None, Relay((transaction,))))
                self._hurry()

    def _relay(self) -> None:
        """Send what waits here to who proposes next; an earlier sending may be lost."""
        proposer = self._schedule.proposer(self.head.height + 1)
        if self._ours and proposer != self._signatures.public:
            self._sends.append((proposer, Relay(tuple(self._ours.values())[:RELAYED_MAX])))

    # Small things

    def _take_in(self, transactions: Sequence[Transaction]) -> int:
        """Into the pool, those that can still enter a block; how many of them are new there."""
        place, count = self._next_place(), 0
        for transaction in transactions:
            if self.pool.get(transaction.tx_hash):
                continue
            try:
                self.pool.add(transaction, self._state, place)
            except Refused:
                # Also one that is final: its nonce is used.  Its sender was told by the node that it was
                # handed to, or is told by asking.
                continue
            count += 1
        if count:
            self._hurry()
        return count

    def _hurry(self) -> None:
        # Once a height: to look through a large pool for each of its transactions costs more than they do.
        if not self._is_hurried and self._retry_at_ms is None and self.pool.has_ready(self.nonce_of):
            self._is_hurried = True
            self._core.work_waits(self._now_ms)

    def _next_place(self) -> Place:
        time_ms = ledger.next_time_ms(self.head.time_ms, self._wall_ms)
        proposer = self._signatures.public or self._schedule.proposer(self.head.height + 1)
        return Place(self.genesis, self.head.height + 1, time_ms, proposer, self._schedule)

    def _wait_ms(self, block: Block) -> int:
        """How long until a block's time has come; a chain that is ahead of all clocks goes on as well."""
        latest_ms = max(self._wall_ms, self.head.time_ms + self.genesis.block_period_ms) + CLOCK_DRIFT_MS
        return max(block.header.time_ms - latest_ms, 0)

    def _new_core(self) -> Core:
        core = self._make_core(self._signatures, self._schedule, self.genesis.timeout_ms)
        # Late, for who listens comes later than the core.
        core.judged = lambda sender, message, fate: self.judged(sender, message, fate)
        return core

    def _head_state(self) -> State:
        return State(self.store.entries(self.store.head.state_root))

    def _taken(self) -> Sends:
        sends, self._sends = self._sends, []
        return sends
