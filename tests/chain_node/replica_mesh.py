"""Replicas of a few nodes in one test: real ledger, real files, a clock by hand, letters delivered in order.

Runs on CPython.
"""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chain_node.genesis import Genesis
from chain_node.lbft import Core
from chain_node.messages import Message
from chain_node.replica import Replica, Sends
from chain_node.storage import Storage
from chain_node.transaction import Transaction
from puf.ed25519 import SigningKey
from tests.chain_node.world import PROPOSER, VALIDATORS, genesis_of


class Mesh:
    """Nodes by name: v0, v1, ... and p, unless the proposers are validators.  Close it at the end."""

    def __init__(
        self,
        folder: Path,
        validators: Sequence[SigningKey] = VALIDATORS,
        proposers: Sequence[SigningKey] = (PROPOSER,),
        **rules: Any,
    ) -> None:
        rules = {"block_period_ms": 1_000, "heartbeat_ms": 1_000, "timeout_ms": 400} | rules
        publics = tuple(each.public for each in proposers)
        self.genesis: Genesis = genesis_of(validators, proposers=publics, **rules)
        self.now_ms = 0
        self.keys = {f"v{index}": key for index, key in enumerate(validators)}
        self.keys |= {"p": key for key in proposers[:1] if key not in validators}  # noqa: B035 - one, or none
        self.names = {key.public: name for name, key in self.keys.items()}
        self.skew_ms = dict.fromkeys(self.keys, 0)
        self.letters: deque[tuple[str, str, Message]] = deque()
        self.sent: list[tuple[str, Message]] = []
        """All that was ever sent, by whom."""
        self.is_lost: Callable[[str, str, Message], bool] = lambda sender, receiver, message: False
        self.cores: dict[str, Callable[..., Core]] = {}
        self._folder = folder
        self.replicas: dict[str, Replica] = {}
        for name in self.keys:
            self.start(name)

    def __getitem__(self, name: str) -> Replica:
        return self.replicas[name]

    def start(self, name: str) -> None:
        """Start a node from its file, as after a power cut."""
        storage = Storage.open(self._folder / f"{name}.sqlite", self.genesis)
        core = self.cores.get(name, Core)
        replica = Replica(storage, self.genesis, self.keys[name], core=core)
        self.replicas[name] = replica
        self.post(name, replica.start(self.now_ms, self.wall_ms(name)))

    def kill(self, name: str) -> None:
        """Cut a node's power."""
        self.storage(name).close()
        del self.replicas[name]

    def storage(self, name: str) -> Storage:
        """A node's file."""
        store = self.replicas[name].store
        assert isinstance(store, Storage)
        return store

    def close(self) -> None:
        """Close all files."""
        for name in self.replicas:
            self.storage(name).close()

    def wall_ms(self, name: str) -> int:
        """The time of day by this node's clock."""
        return self.genesis.time_ms + self.now_ms + self.skew_ms[name]

    def submit(self, name: str, transaction: Transaction) -> bytes:
        """Hand a transaction to a node; its hash."""
        tx_hash, sends = self[name].submit(transaction.data, self.now_ms, self.wall_ms(name))
        self.post(name, sends)
        return tx_hash

    def post(self, sender: str, sends: Sends) -> None:
        """Put what a node sends on its way."""
        for peer, message in sends:
            self.sent.append((sender, message))
            for receiver in self.keys:
                is_meant = peer is None or self.names[peer] == receiver
                if receiver != sender and is_meant and not self.is_lost(sender, receiver, message):
                    self.letters.append((sender, receiver, message))

    def settle(self) -> None:
        """Deliver until nothing is on its way."""
        while self.letters:
            sender, receiver, message = self.letters.popleft()
            if receiver in self.replicas:
                public = self.keys[sender].public
                replica = self[receiver]
                self.post(receiver, replica.receive(public, message, self.now_ms, self.wall_ms(receiver)))

    def wait(self, duration_ms: int) -> None:
        """Let time pass; what is sent arrives at once."""
        end_ms = self.now_ms + duration_ms
        self.settle()
        while True:
            due = min(
                (
                    (replica.deadline_ms, name)
                    for name, replica in self.replicas.items()
                    if replica.deadline_ms is not None
                ),
                default=None,
            )
            if due is None or due[0] > end_ms:
                break
            deadline_ms, name = due
            self.now_ms = max(self.now_ms, deadline_ms or 0)
            self.post(name, self[name].tick(self.now_ms, self.wall_ms(name)))
            self.settle()
        self.now_ms = end_ms

    def heights(self) -> dict[str, int]:
        """How far each node's chain goes."""
        return {name: replica.head.height for name, replica in self.replicas.items()}

    def hashes(self, height: int) -> set[bytes]:
        """The blocks that nodes have at this height."""
        blocks = (self.storage(name).block(height) for name in self.replicas)
        return {block.header.block_hash for block in blocks if block}
