"""Clients that pay each other through nodes that fail, and write down all that they see.

Runs on CPython, in an asyncio loop.  A client has an account that only it pays from, one transfer at a time.
It sends it to a node, asks until it is final, and takes it to another node when one does not answer, has
forgotten it or takes too long: what the pool's promise asks of who sends.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping

from chain_node.errors import NodeBusy, NodeUnavailable, Refused
from chain_node.genesis import Genesis
from chain_node.light_client import LightClient
from chain_node.light_http import NodeClient
from chain_node.reason import Reason
from chain_node.transaction import Transaction, Transfer
from puf.ed25519 import SigningKey
from tests.nemesis.operations import History, Pay, Read

POLL_S = 0.03
PATIENCE_NS = 4_000_000_000
"""How long a client waits at one node before it tries another, too."""


class Client:
    """One of them.  key: its account.  payees: whom it pays.  stopping: whether to begin nothing new."""

    def __init__(
        self,
        number: int,
        key: SigningKey,
        payees: list[bytes],
        genesis: Genesis,
        nodes: Mapping[str, NodeClient],
        history: History,
        source: random.Random,
        stopping: Callable[[], bool],
    ) -> None:
        self._number, self._key, self._payees, self._genesis = number, key, payees, genesis
        self._nodes, self._names, self._history = nodes, list(nodes), history
        self._random, self._stopping = source, stopping
        self._light = LightClient(genesis)
        self._nonce = 0

    async def run(self) -> None:
        """Pay and look until told to stop, and bring the last transfer to its end."""
        while not self._stopping():
            pay, name = await self._pay()
            if self._random.random() < 0.6:
                await self._read(name, pay.called_ns, is_settled=True)
            if self._random.random() < 0.3:
                await self._read(self._random.choice(self._names), time.monotonic_ns(), is_settled=False)

    async def _pay(self) -> tuple[Pay, str]:
        """One transfer until it is final; and at which node it is."""
        payee = self._random.choice(self._payees)
        amount_ucpc, fee_ucpc = self._random.randint(1, 1_000_000), self._genesis.fee_min_ucpc
        transaction = Transaction.sign(
            self._key, self._genesis.chain_id, self._nonce, Transfer(payee, amount_ucpc), fee_ucpc
        )
        self._nonce += 1
        pay = Pay(
            self._number,
            transaction.tx_hash,
            self._key.public,
            payee,
            amount_ucpc,
            fee_ucpc,
            time.monotonic_ns(),
        )
        self._history.pays.append(pay)
        while True:
            name = self._random.choice(self._names)
            try:
                if await self._pay_at(name, transaction, pay):
                    return pay, name
            except (NodeUnavailable, NodeBusy):
                await asyncio.sleep(POLL_S)

    async def _pay_at(self, name: str, transaction: Transaction, pay: Pay) -> bool:
        """Whether it became final at this node.  Raises NodeUnavailable, NodeBusy."""
        node = self._nodes[name]
        since_ns = time.monotonic_ns()
        try:
            await node.submit(transaction)
        except Refused as error:
            # By a node that is behind or ahead; it is no different for having been sent before.
            if error.reason not in (Reason.NONCE_AHEAD, Reason.NONCE_USED, Reason.BUSY):
                raise
            await asyncio.sleep(POLL_S)
            return False
        pay.accepted_ns = pay.accepted_ns or time.monotonic_ns()
        pay.sent_count += 1
        while time.monotonic_ns() < since_ns + PATIENCE_NS:
            answer = await node.get_transaction(transaction.tx_hash)
            if answer.evidence:
                pay.returned_ns = time.monotonic_ns()
                return True
            if answer.status != "pending":
                return False
            await asyncio.sleep(POLL_S)
        return False

    async def _read(self, name: str, called_ns: int, *, is_settled: bool) -> None:
        public = self._random.choice(self._payees)
        try:
            answer = await self._nodes[name].get_account(public)
            header = answer.evidence.link.header
            # The evidence alone says what the balance is; the chain of headers is followed at any node.
            if header.height > self._light.head.height:
                await self._nodes[name].follow(self._light, header.height)
        except (NodeUnavailable, NodeBusy):
            # It has not been read; another time.
            return
        balance_ucpc = self._light.confirm_account(public, answer.evidence).balance_ucpc
        self._history.reads.append(
            Read(
                self._number,
                public,
                balance_ucpc,
                header.height,
                called_ns,
                time.monotonic_ns(),
                is_settled,
            )
        )
