"""What happens on a node, told to whoever has subscribed to it.

Runs on CPython, in one asyncio task; knows no sockets.  A `Hub` waits for blocks and looks once in TICK_MS at
the rest, makes each event once for all, and hands it to the subscribers, whose `deliver` never waits: how
much one may have unread, and what becomes of who reads too slowly, is rpc_ws.py's business.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from chain_node.block import NO_PROPOSER
from chain_node.evidence import Link
from chain_node.node import Node
from chain_node.rpc import Dispatcher
from chain_node.rpc_call import Params, RpcError
from chain_node.rpc_document_socket import TOPICS
from chain_node.rpc_format import INVALID_PARAMS
from chain_node.rpc_history import concerns
from chain_node.schedule import GenesisTurns
from chain_node.storage_file import decoding
from chain_node.transaction import Transaction

TICK_MS = 1_000
"""How often status, peers and waiting transactions are looked at between blocks."""
BLOCKS_MAX = 64
"""Blocks that are told of at once; of a node that catches up, the newest."""
LAST_STATUSES = ("final", "refused")
"""After these nothing more comes of a transaction."""

Event = dict[str, object]


@dataclass(eq=False, slots=True)
class Subscription:
    """What one subscriber wants to be told."""

    ident: str
    topic: str
    deliver: Callable[["Subscription", Event, bool], None]
    """Takes an event, and whether it was the last; does not wait."""
    account: bytes | None = None
    tx_hash: bytes | None = None
    told: Event = field(default_factory=dict)
    """The last status, of those that are told when it changes."""


class Hub:
    """All subscriptions of one node."""

    def __init__(self, node: Node, dispatcher: Dispatcher, tick_ms: int = TICK_MS) -> None:
        self._node, self._dispatcher, self._tick_ms = node, dispatcher, tick_ms
        self._schedule = GenesisTurns(node.genesis, node.storage.validators_at)
        self._height = node.head.height
        """Up to here blocks have been told of."""
        self._subscriptions: dict[Subscription, None] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def parse(
        self, ident: str, params: Params, deliver: Callable[[Subscription, Event, bool], None]
    ) -> Subscription:
        """The subscription that these params ask for, not added yet.  Raises RpcError."""
        topic = params.text("topic", TOPICS)
        made = Subscription(ident, topic, deliver)
        if topic == "transactions":
            if params.has("account") == params.has("tx_hash"):
                raise RpcError(INVALID_PARAMS, "transactions are of an account or of a tx_hash", "params")
            if params.has("account"):
                made.account = params.blob("account", 32, 32)
            else:
                made.tx_hash = params.blob("tx_hash", 32, 32)
        params.done()
        if topic == "peers" and "node_peers" not in self._dispatcher.method_names:
            raise RpcError(INVALID_PARAMS, "this node has no peers", "params")
        return made

    def add(self, subscription: Subscription) -> None:
        """Tell this one from now on; of what has a status, the present one first."""
        self._subscriptions[subscription] = None
        if subscription.topic in ("status", "peers") or subscription.tx_hash:
            self._tell_change(subscription, self._state_of(subscription))

    def remove(self, subscription: Subscription) -> None:
        """Tell this one no more.  One that is gone already is no error."""
        self._subscriptions.pop(subscription, None)

    async def run(self) -> None:
        """Tell of everything until cancelled.  Raises StorageError."""
        while True:
            try:
                async with asyncio.timeout(self._tick_ms / 1000):
                    await self._node.wait_for_height(self._height + 1)
            except TimeoutError:
                pass
            self.tell()

    def tell(self) -> None:
        """Tell of what is new.  Raises StorageError."""
        head = self._node.head.height
        first, self._height = max(self._height + 1, head - BLOCKS_MAX + 1), head
        if not self._subscriptions:
            return
        for height in range(first, head + 1):
            self._tell_block(height)
        made: dict[tuple[str, bytes | None], Event] = {}
        for each in tuple(self._subscriptions):
            if each.topic in ("status", "peers") or each.tx_hash:
                key = (each.topic, each.tx_hash)
                if key not in made:
                    made[key] = self._state_of(each)
                self._tell_change(each, made[key])

    def _tell_block(self, height: int) -> None:
        # What came with a snapshot, or is pruned already, is not there.
        link = self._node.storage.link(height)
        if link is None:
            return
        listeners = tuple(self._subscriptions)
        block_event: Event | None = None
        for each in listeners:
            if each.topic == "blocks":
                block_event = block_event or self._block_event(link)
                each.deliver(each, block_event, False)
        if link.header.tx_count and any(each.account for each in listeners):
            self._tell_transactions(height, [each for each in listeners if each.account])

    def _tell_transactions(self, height: int, listeners: list[Subscription]) -> None:
        stored = self._node.storage.block(height)
        if stored is None:
            return
        for index, (data, receipt) in enumerate(zip(stored.transactions, stored.receipts, strict=True)):
            named = [each for each in listeners if each.account and each.account in data]
            if not named:
                continue
            with decoding(self._node.storage.path):
                transaction = Transaction.restore(data)
            event: Event = {
                "height": height,
                "index": index,
                "tx_hash": transaction.tx_hash.hex(),
                "tx": data.hex(),
                "reason": receipt.reason.label,
            }
            for each in named:
                if each.account and concerns(transaction, each.account):
                    each.deliver(each, event, False)

    def _tell_change(self, subscription: Subscription, event: Event) -> None:
        if event == subscription.told:
            return
        subscription.told = event
        is_last = bool(subscription.tx_hash) and event.get("status") in LAST_STATUSES
        if is_last:
            self.remove(subscription)
        subscription.deliver(subscription, event, is_last)

    def _state_of(self, subscription: Subscription) -> Event:
        ask = self._dispatcher.ask
        if subscription.tx_hash:
            return self._dispatcher.status_of(subscription.tx_hash)
        if subscription.topic == "peers":
            return ask("node_peers") or {}
        return ask("node_status") or ask("chain_info") or {}

    def _block_event(self, link: Link) -> Event:
        header, certificate = link.header, link.certificate
        impeachment: Event | None = None
        if header.proposer == NO_PROPOSER:
            with self._node.storage.errors():
                seen = self._node.storage.impeachments.get(header.height)
            impeachment = {
                "proposer": self._schedule.proposer(header.height).hex(),
                "round": certificate.round,
                "reason": seen.why.value if seen else None,
                "detail": seen.detail if seen else "",
            }
        return {
            "height": header.height,
            "block_hash": header.block_hash.hex(),
            "header": header.data.hex(),
            "certificate": certificate.encode().hex(),
            "time_ms": header.time_ms,
            "tx_count": header.tx_count,
            "proposer": None if impeachment else header.proposer.hex(),
            "signers": [index for index, _ in certificate.signatures],
            "impeachment": impeachment,
        }
