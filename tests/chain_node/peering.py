"""Two ends of a connection in memory, and nodes on loopback, for the tests of the network.

Runs on CPython.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chain_node.block import Certificate, Header, Vote
from chain_node.genesis import Genesis
from chain_node.lbft_states import Fate
from chain_node.messages import Message
from chain_node.node import Node
from chain_node.peer import Peer
from chain_node.peer_address import Address
from chain_node.peer_frame import Hello
from chain_node.peer_network import Peering, PeerNetwork
from chain_node.peer_tls import TlsContext
from chain_node.storage import Storage
from chain_node.transaction import Transaction
from chain_node.upgrade import Upgrade
from puf.ed25519 import SigningKey
from tests.chain_node.world import ALICE, BOB, PROPOSER, VALIDATORS, genesis_of

CHAIN = genesis_of()
WAIT_S = 30
"""The most that anything here waits for; nothing takes that long."""


def hello_of(**changes: Any) -> Hello:
    """A hello of the test chain."""
    values: dict[str, Any] = {
        "version": 1,
        "oldest": 1,
        "chain_id": CHAIN.chain_id,
        "height": 0,
        "rules_version": 1,
        "program": "test",
    }
    return Hello(**(values | changes))


@dataclass
class Desk:
    """Wants every block, unless told otherwise, and remembers what it was asked."""

    fate: Fate = Fate.TAKEN
    room: int | None = None
    """What plain nodes together may still cost; None: as much as they like."""
    known: dict[bytes, Transaction] = field(default_factory=dict)
    glances: list[tuple[Header, Vote | Certificate | None]] = field(default_factory=list)

    def glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        self.glances.append((header, proof))
        return self.fate

    def has_room(self, kind: int, count: int, now_ms: int) -> bool:
        return self.room is None or self._take(count) >= 0

    def _take(self, count: int) -> int:
        assert self.room is not None
        self.room -= count
        return self.room


class Pair:
    """Alice has dialled Bob; what one writes, the other reads at once, at the time that the test says."""

    def __init__(self, bobs_hello: Hello | None = None, desk: Desk | None = None) -> None:
        self.now_ms = 0
        self.desk = desk or Desk()
        self.alice = Peer(TlsContext.of(ALICE), hello_of(), Desk(), is_client=True, now_ms=0)
        self.bob = Peer(TlsContext.of(BOB), bobs_hello or hello_of(), self.desk, is_client=False, now_ms=0)
        self.at_alice: list[Hello | Message | int] = []
        self.at_bob: list[Hello | Message | int] = []

    def settle(self) -> "Pair":
        """Carry bytes until nothing is on its way."""
        while True:
            to_bob, to_alice = self.alice.take(self.now_ms), self.bob.take(self.now_ms)
            if not to_bob and not to_alice:
                return self
            if to_bob:
                self.at_bob += self.bob.feed(to_bob, self.now_ms)
            if to_alice:
                self.at_alice += self.alice.feed(to_alice, self.now_ms)


@dataclass
class Member:
    """A node with its network."""

    node: Node
    network: PeerNetwork
    task: "asyncio.Task[None] | None" = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        address = self.network.address
        assert address
        return address


class Net:
    """Nodes of one process that speak through real sockets.  Use `running`."""

    def __init__(self, folder: Path, genesis: Genesis) -> None:
        self.folder = folder
        self.genesis = genesis
        self.members: dict[str, Member] = {}

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    async def start(
        self,
        name: str,
        key: SigningKey,
        dial: Sequence[str | Address] = (),
        *,
        rules: Upgrade | None = None,
        **peering: Any,
    ) -> Member:
        """Start a node, from its file if it has run before.  dial: names, or addresses."""
        addresses = tuple(self[each].address if isinstance(each, str) else each for each in dial)
        settings = Peering(Address("127.0.0.1", 0), addresses, program=name, **peering)
        network = PeerNetwork(key, self.genesis, settings, rules=rules)
        storage = Storage.open(self.folder / f"{name}.sqlite", self.genesis)
        member = self.members[name] = Member(Node(storage, key, network), network)
        network.attach(member.node)
        await network.__aenter__()
        member.task = asyncio.create_task(member.node.run())
        return member

    async def stop(self, name: str) -> None:
        """End a node in order."""
        member = self.members.pop(name)
        assert member.task
        member.task.cancel()
        await asyncio.wait([member.task])
        await member.network.__aexit__(None, None, None)
        member.node.storage.close()

    async def committee(self, validator_count: int = 4) -> None:
        """Start validators v0, v1, ... and the proposer p, each of which dials those before it."""
        for index, key in enumerate(VALIDATORS[:validator_count]):
            await self.start(f"v{index}", key, [f"v{other}" for other in range(index)])
        await self.start("p", PROPOSER, [f"v{index}" for index in range(validator_count)])

    async def reach(self, height: int, *names: str) -> None:
        """Wait until these nodes, or all, are so high."""
        async with asyncio.timeout(WAIT_S):
            for name in names or tuple(self.members):
                await self[name].node.wait_for_height(height)


@asynccontextmanager
async def running(folder: Path, **rules: Any) -> AsyncIterator[Net]:
    """A network whose nodes end with the block."""
    rules = {"block_period_ms": 50, "heartbeat_ms": 200, "timeout_ms": 2_000} | rules
    net = Net(folder, genesis_of(**rules))
    try:
        yield net
    finally:
        for name in list(net.members):
            await net.stop(name)


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop go on until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)
