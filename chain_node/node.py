"""A node that runs: a replica with a disk, clocks, and a way to its peers.

Runs on CPython, in one asyncio task.  What a node does is in replica.py; here it gets its time and its
messages, no more of them at a time than TURN_MS take, so that timers and sockets have their turn in a flood.
Pacing uses the monotonic clock, and the wall clock dates blocks, so that a chain never runs
backwards, whatever the machine's clock does.  A full disk stops the making of blocks and the taking of
transactions, which both say so, and both go on by themselves when there is room.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from chain_node.block import Certificate, Header, Vote
from chain_node.genesis import Genesis
from chain_node.inbox import Inbox
from chain_node.lbft_states import Fate
from chain_node.ledger import Head
from chain_node.mempool import Pool
from chain_node.messages import (
    Ballot,
    Changes,
    Links,
    Message,
    StateNodes,
    WantChanges,
    WantLinks,
    WantNodes,
)
from chain_node.replica import Replica, Sends
from chain_node.schedule import committee
from chain_node.snapshot import WEIGH_GAP, SnapshotClient, answer
from chain_node.storage import Storage
from puf.ed25519 import SigningKey

JOIN_GAP = 1_000
"""Blocks behind from which on a node takes a late state as it is: it executes no more blocks than that, and
no more transactions than snapshot.WEIGH_TX or so."""
JOIN_AGAIN_MS = 60_000
"""How long a node that was told of a far height in vain waits before it asks again."""
TURN_MS = 20
"""After so long a time of work on messages sockets and timers have their turn; no message is halved."""

log = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Unix milliseconds by this machine's clock."""
    return time.time_ns() // 1_000_000


def steady_clock_ms() -> int:
    """Milliseconds of a clock that never goes back."""
    return time.monotonic_ns() // 1_000_000


class Network(Protocol):
    """Takes messages to peers, some time, or never."""

    def send(self, sender: bytes, receiver: bytes | None, message: Message) -> None:
        """From one node to another, by their keys; None: to all others.  Does not wait, and never raises."""

    def judged(self, sender: bytes, message: Message, fate: Fate) -> None:
        """What became of a message that `sender` has brought.  Does not wait, and never raises."""

    def advanced(self, head: Head) -> None:
        """Blocks are final now up to this one.  Does not wait, and never raises."""


class Alone:
    """The network of a node that has no peers."""

    def send(self, sender: bytes, receiver: bytes | None, message: Message) -> None:
        """There is nobody."""

    def judged(self, sender: bytes, message: Message, fate: Fate) -> None:
        """Nobody sends anything."""

    def advanced(self, head: Head) -> None:
        """Nobody is to be told."""


class Node:
    """One node of a chain.

    key: its validator's or proposer's key; None: it only follows.
    clock_ms: Unix milliseconds; may jump.  steady_ms: never goes back.
    join_gap: see JOIN_GAP; None: it executes every block, as who keeps them all must.
    """

    def __init__(
        self,
        storage: Storage,
        key: SigningKey | None,
        network: Network | None = None,
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
        steady_ms: Callable[[], int] = steady_clock_ms,
        pool: Pool | None = None,
        join_gap: int | None = JOIN_GAP,
    ) -> None:
        self.storage = storage
        self.public = key.public if key else bytes(32)
        """By what peers know it."""
        self._network = network or Alone()
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._key = key
        self._join_gap = None if storage.retention.bodies_bytes_max is None else join_gap
        self._retirement: tuple[int, str] | None = None
        self._joining: SnapshotClient | None = None
        self._join_again_ms = 0
        self.vote_fates: Counter[Fate] = Counter()
        """How many votes had which Fate, since the start."""
        self.replica = self._new_replica(pool)
        self._is_started = False
        self._inbox = Inbox(self.committee)
        self._wake = asyncio.Event()
        self._advanced = asyncio.Condition()

    @property
    def genesis(self) -> Genesis:
        """What the chain began with."""
        return self.storage.genesis

    @property
    def committee(self) -> tuple[bytes, ...]:
        """Public keys of those who decide the next block, are about to, or propose."""
        return committee(self.genesis, self.storage.handovers.sets, self.head.height + 1)

    @property
    def head(self) -> Head:
        """The last final block."""
        return self.storage.head

    @property
    def pool(self) -> Pool:
        """What waits to enter a block."""
        return self.replica.pool

    @property
    def is_started(self) -> bool:
        """Whether it has begun to take part."""
        return self._is_started

    @property
    def trouble(self) -> str:
        """Why no blocks are made at present, for people; empty when all is well."""
        return self.replica.trouble

    def nonce_of(self, public: bytes) -> int:
        """The next nonce of an account, by the head's state."""
        with self.storage.errors():
            return self.replica.nonce_of(public)

    def next_nonce(self, public: bytes) -> int:
        """The next nonce of an account, past what waits in the pool."""
        with self.storage.errors():
            return self.replica.next_nonce(public)

    def submit(self, data: bytes) -> bytes:
        """Take a transaction into the pool; its hash.  One that waits or is final already is no error.

        Raises Refused, whose reason and sentence are the sender's to read; StorageError.
        """
        self._start()
        with self.storage.errors():
            tx_hash, sends = self.replica.submit(data, self._steady_ms(), self._clock_ms())
        self._send(sends)
        self._wake.set()
        return tx_hash

    def deliver(self, sender: bytes, message: Message) -> None:
        """A message from a peer, who is who it says; it is looked at when the node's turn comes."""
        self._inbox.put(sender, message)
        self._wake.set()

    def hear(self, sender: bytes, height: int) -> None:
        """A peer works on this height, whatever it said; looked at when the node's turn comes."""
        if height != self.head.height + 1:
            self._inbox.put(sender, height)
            self._wake.set()

    def glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        """What a peer's block is worth, by its seal or C-certificate; TAKEN: read it, and `deliver` it.

        Only of a node that runs.
        """
        return Fate.FUTURE if self._is_fetching else self.replica.glance(sender, header, proof)

    def retire(self, from_height: int, why: str) -> None:
        """Propose and vote no more from this block on: its rules are not known here.  why: for people."""
        self._start()
        self._retirement = (from_height, why)
        with self.storage.errors():
            self._send(self.replica.retire(from_height, why, self._steady_ms(), self._clock_ms()))

    async def run(self) -> None:
        """Take part until cancelled.  Raises StorageError when the file cannot be used any more."""
        while True:
            self._wake.clear()
            await self.advance()
            deadline_ms = self._deadline_ms
            if self._inbox:
                await asyncio.sleep(0)
                continue
            wait_s = None if deadline_ms is None else max(deadline_ms - self._steady_ms(), 0) / 1000
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def advance(self) -> None:
        """Do what is due by the clocks and by the messages that wait; some may still wait afterwards.

        What the committee has sent comes first, then what is due by the clock, for a vote that waits here
        was not late; then all else, until TURN_MS are over.
        Raises IllicitBlock when a quorum has certified what cannot be, StorageError.
        """
        height = self.head.height
        self._start()
        end_ms = self._steady_ms() + TURN_MS
        with self.storage.errors():
            for _ in range(len(self._inbox)):
                self._take(*self._inbox.pop())
                if self._steady_ms() >= end_ms:
                    break
                if not self._inbox.urgent_count:
                    self._tick()
            self._tick()
        if self.head.height > height:
            self._inbox.seat(self.committee)
            self._network.advanced(self.head)
            async with self._advanced:
                self._advanced.notify_all()

    async def wait_for_height(self, height: int) -> Head:
        """The head, as soon as it is at least this high."""
        async with self._advanced:
            await self._advanced.wait_for(lambda: self.head.height >= height)
        return self.head

    def _tick(self) -> None:
        now_ms = self._steady_ms()
        if self._joining:
            self._join(self._joining.tick(now_ms))
        deadline_ms = self.replica.deadline_ms
        if deadline_ms is not None and deadline_ms <= now_ms and not self._is_fetching:
            self._send(self.replica.tick(now_ms, self._clock_ms()))

    def _take(self, sender: bytes, message: Message | int) -> None:
        now_ms, wall_ms = self._steady_ms(), self._clock_ms()
        if isinstance(message, int):
            self._consider_joining(sender, message, now_ms)
            if not self._is_fetching:
                self._send(self.replica.hear(sender, message, now_ms, wall_ms))
        elif isinstance(message, WantNodes | WantLinks | WantChanges):
            self._network.send(self.public, sender, answer(self.storage, message))
        elif isinstance(message, StateNodes | Links | Changes):
            if self._joining:
                self._join(self._joining.receive(sender, message, now_ms))
        elif not self._is_fetching:
            self._send(self.replica.receive(sender, message, now_ms, wall_ms))

    # A state in place of many blocks

    @property
    def _is_fetching(self) -> bool:
        """A certified header far ahead has been shown, so nothing before it is of use."""
        return self._joining is not None and self._joining.is_fetching

    @property
    def _deadline_ms(self) -> int | None:
        times = [self._joining.deadline_ms if self._joining else None]
        if not self._is_fetching:
            times.append(self.replica.deadline_ms)
        return min((time for time in times if time is not None), default=None)

    def _consider_joining(self, sender: bytes, height: int, now_ms: int) -> None:
        if self._join_gap is None or height <= self.head.height + min(self._join_gap, WEIGH_GAP):
            return
        # Until somebody shows a certificate this is a claim: the node goes on, and asks once in a while.
        if self._joining is None and now_ms >= self._join_again_ms:
            self._join_again_ms = now_ms + JOIN_AGAIN_MS
            self._joining = SnapshotClient(self.storage, self.genesis, self._join_gap)
        if self._joining:
            self._join(self._joining.add_peer(sender, now_ms))

    def _join(self, sends: Sequence[tuple[bytes, Message]]) -> None:
        for peer, message in sends:
            self._network.send(self.public, peer, message)
        if self._joining and self._joining.is_done:
            installed, self._joining = self._joining.installed, None
            if installed:
                log.info("has the state of block %d, and goes on from there", self.head.height)
                self.replica = self._new_replica(self.pool)
                self.pool.leap(self.replica.nonce_of, self.head.height)
                self._send(self.replica.start(self._steady_ms(), self._clock_ms()))
                if self._retirement:
                    self.retire(*self._retirement)

    def _new_replica(self, pool: Pool | None) -> Replica:
        with self.storage.errors():
            replica = Replica(self.storage, self.genesis, self._key, pool=pool)
        replica.judged = self._judged
        return replica

    def _judged(self, sender: bytes, message: Message, fate: Fate) -> None:
        if isinstance(message, Ballot):
            self.vote_fates[fate] += 1
        self._network.judged(sender, message, fate)

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            with self.storage.errors():
                self._send(self.replica.start(self._steady_ms(), self._clock_ms()))

    def _send(self, sends: Sends) -> None:
        for receiver, message in sends:
            self._network.send(self.public, receiver, message)
