"""Clients: they pay somebody, by whichever node, again and again until they see it final.

Runs on CPython.
"""

from random import Random

from chain_node.transaction import Transaction, Transfer
from puf.ed25519 import SigningKey
from tests.sim.checks import Failed
from tests.sim.node import Around

RETRY_US = 7_000_000
WINDOW = 2
"""Transactions of one client that wait at the same time."""


class Client:
    """Somebody with an account."""

    def __init__(self, world: Around, name: str, key: SigningKey) -> None:
        self.name = name
        self.payee = key.public[::-1]
        self._world = world
        self._key = key
        self._random = Random(f"{world.plan.seed} client {name}")
        self._waiting: list[Transaction] = []
        self._made = 0
        self.accepted: list[bytes] = []
        """What an honest node has said it takes."""

    @property
    def is_done(self) -> bool:
        """Whether all that it wanted is final."""
        return self._world.is_healed and not self._waiting

    def act(self) -> None:
        """Look what is final, make new ones, and send what is not final to some node."""
        world = self._world
        node = self._random.choice(world.nodes)
        if node.is_up and node.is_honest:
            self._waiting = [each for each in self._waiting if not node.store.find_transaction(each.tx_hash)]
        if not world.is_healed:
            while len(self._waiting) < WINDOW and self._random.random() < 0.6:
                body = Transfer(self.payee, self._random.randint(1, 1_000))
                fee_ucpc = world.genesis.fee_min_ucpc
                self._waiting.append(
                    Transaction.sign(self._key, world.genesis.chain_id, self._made, body, fee_ucpc)
                )
                self._made += 1
        for transaction in self._waiting:
            if node.submit(transaction.data) and node.is_honest:
                self.accepted.append(transaction.tx_hash)
        if not self.is_done:
            self._world.at(world.time_us + RETRY_US, self.act)

    def check(self) -> None:
        """At the end, all that was taken is on chain."""
        if self._world.has_honest_proposer:
            for tx_hash in self.accepted:
                if tx_hash not in self._world.checks.final:
                    raise Failed(
                        "transactions", f"{tx_hash.hex()[:8]} of {self.name} was taken, and is not on chain"
                    )
