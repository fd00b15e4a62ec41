"""Clients: they pay somebody, by whichever node, again and again until they see it final.

Runs on CPython.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from chain_node import quorum, validator_set
from chain_node.transaction import Transaction, Transfer
from chain_node.validator_set import NOTICE_BLOCKS, ValidatorsChange
from puf.ed25519 import SigningKey
from tests.sim.checks import Failed
from tests.sim.node import Around

RETRY_US = 7_000_000
WINDOW = 2
"""Transactions of one client that wait at the same time."""

OPERATOR_UCPC = 1_000_000
"""What the operator has for its fees."""
MARGIN = 4
"""Blocks more than the least from now to a change, for it to come on chain in."""


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


class Operator:
    """Brings two changes of validators on chain: a newcomer joins, then the second of the first leaves."""

    def __init__(
        self, world: Around, key: SigningKey, validators: Sequence[SigningKey], newcomer: SigningKey
    ) -> None:
        first = list(validators)
        self._world = world
        self._key = key
        self._sets = [first, [*first, newcomer], [first[0], *first[2:], newcomer]]
        self._random = Random(f"{world.plan.seed} operator")

    def act(self) -> None:
        """Propose what comes next to some node that is up, by what that node knows."""
        world = self._world
        node = self._random.choice(world.nodes)
        if node.is_up and node.is_honest:
            state, height = node.state(), node.height + 1
            entry = validator_set.present(state, world.genesis.validators)
            number = entry.newest.number
            if number + 1 < len(self._sets) and not entry.pending(height):
                old, new = self._sets[number : number + 2]
                keys = tuple(each.public for each in new)
                change = ValidatorsChange(number, height + NOTICE_BLOCKS + MARGIN, keys, ())
                signed = [
                    (index, change.approve(each, world.genesis.chain_id))
                    for index, each in enumerate(old[: quorum.size(len(old))])
                ]
                body = replace(change, approvals=tuple(signed))
                nonce = state.account(self._key.public).nonce
                fee_ucpc = world.genesis.fee_min_ucpc
                node.submit(Transaction.sign(self._key, world.genesis.chain_id, nonce, body, fee_ucpc).data)
        if not world.is_healed:
            world.at(world.time_us + RETRY_US, self.act)
