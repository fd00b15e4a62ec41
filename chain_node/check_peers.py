"""Peers of a node's folder, asked for what a repair of its file needs.

Runs on CPython.  The node itself does not run meanwhile: somebody who only asks stands in its place, with
its key.  Nothing of what comes is trusted; check_repair.py verifies it.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar, cast

from chain_node.block import Block, Certificate, Header, Vote
from chain_node.evidence import StateEvidence
from chain_node.lbft_states import Fate
from chain_node.ledger import Head
from chain_node.mempool import Pool
from chain_node.messages import (
    CHAIN_COUNT_MAX,
    CHANGES_COUNT_MAX,
    Changes,
    Message,
    StateNodes,
    Validate,
    WantChain,
    WantChanges,
    WantNodes,
)
from chain_node.node import Node
from chain_node.node_folder import OpenFolder
from chain_node.peer_network import Peering, PeerNetwork
from chain_node.storage import Storage

PEERS_WAIT_MS = 10_000
"""How long it waits for a first peer."""
ANSWER_WAIT_MS = 5_000
"""How long one peer may take."""

Found = TypeVar("Found")
Wanted = WantChain | WantNodes | WantChanges


class _Asker:
    """What a PeerNetwork needs of a node, from one that has nothing to say."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.pool = Pool()
        self.peers: list[bytes] = []
        self.came: list[tuple[bytes, Message]] = []
        self.wake = asyncio.Event()

    @property
    def head(self) -> Head:
        return self.storage.head

    async def advance(self) -> None:
        """There is nothing to do."""

    def hear(self, public: bytes, height: int) -> None:
        if public not in self.peers:
            self.peers.append(public)
            self.wake.set()

    def deliver(self, sender: bytes, message: Message) -> None:
        if isinstance(message, Validate | StateNodes | Changes):
            self.came.append((sender, message))
            self.wake.set()

    def glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        return Fate.TAKEN

    def retire(self, from_height: int, why: str) -> None:
        """Who does not take part need not stop."""


class PeerSource:
    """The peers that a folder dials.  Use as `async with`; `fetch` and `fetch_nodes` from another thread."""

    def __init__(self, folder: OpenFolder, storage: Storage, program: str) -> None:
        peering = Peering(None, folder.settings.dial, folder.settings.limits, program)
        self._network = PeerNetwork(folder.key, folder.genesis, peering)
        self._asker = _Asker(storage)
        # It is asked for less than a node can do.
        self._network.attach(cast(Node, self._asker))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = 0

    async def __aenter__(self) -> "PeerSource":
        self._loop = asyncio.get_running_loop()
        await self._network.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._network.__aexit__(kind, error, trace)

    def fetch(self, first: int, count: int) -> Sequence[tuple[Block, Certificate]]:
        """Final blocks from this height on, from the first peer that has any; see check_repair.Fetch."""
        wanted = WantChain(first, min(count, CHAIN_COUNT_MAX))

        def found() -> list[tuple[Block, Certificate]] | None:
            blocks = {
                message.height: (message.block, message.certificate)
                for _, message in self._asker.came
                if isinstance(message, Validate) and message.block
            }
            # They come one by one; those behind the first come when they are asked for.
            return [blocks[first]] if first in blocks else None

        return self._call(wanted, found) or []

    def fetch_nodes(self, wanted: WantNodes) -> Sequence[bytes]:
        """Nodes of a state, from the first peer that has any; see check_repair.FetchNodes."""

        def found() -> Sequence[bytes] | None:
            for _, message in self._asker.came:
                if isinstance(message, StateNodes) and message.first == wanted.hashes[0] and message.nodes:
                    return message.nodes
            return None

        return self._call(wanted, found) or []

    def fetch_changes(self, first: int) -> Sequence[StateEvidence]:
        """Evidence of changes of validators, from the first peer that has it; see check_repair."""

        def found() -> Sequence[StateEvidence] | None:
            for _, message in self._asker.came:
                if isinstance(message, Changes) and message.first == first and message.handovers:
                    return message.handovers
            return None

        return self._call(WantChanges(first, CHANGES_COUNT_MAX), found) or []

    def _call(self, wanted: Wanted, found: Callable[[], Found | None]) -> Found | None:
        assert self._loop, "it has been entered"  # noqa: S101 - the order of calls is the host's
        return asyncio.run_coroutine_threadsafe(self._ask(wanted, found), self._loop).result()

    async def _ask(self, wanted: Wanted, found: Callable[[], Found | None]) -> Found | None:
        asker = self._asker
        await self._wait_for(lambda: asker.peers or None, PEERS_WAIT_MS)
        for _ in range(len(asker.peers)):
            peer = asker.peers[self._turn % len(asker.peers)]
            asker.came.clear()
            self._network.send(self._network.public, peer, wanted)
            answer = await self._wait_for(found, ANSWER_WAIT_MS)
            if answer is not None:
                return answer
            # One that has it is asked again, the others in turn.
            self._turn += 1
        return None

    async def _wait_for(self, found: Callable[[], Found | None], wait_ms: int) -> Found | None:
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while (answer := found()) is None:
                    self._asker.wake.clear()
                    await self._asker.wake.wait()
        except TimeoutError:
            return None
        return answer
