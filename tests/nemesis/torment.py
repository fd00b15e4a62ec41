"""The run: clients pay while faults come and go, then all is healed, and the history is judged.

Runs on CPython, on Linux, in an asyncio loop.  After each fault every node has to come back and go on; after
each the network is whole before the next one begins.  Stories are told one by one below.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chain_node import audit
from chain_node.transaction import SUPPLY_UCPC
from puf.ed25519 import SigningKey
from tests.nemesis import history as histories
from tests.nemesis.clients import Client
from tests.nemesis.history import ChainBlock
from tests.nemesis.network import BLOCK_PERIOD_MS, TIMEOUT_MS, NemesisError, Network
from tests.nemesis.operations import History
from tests.nemesis.schedule import Fault, Kind

ROUNDS_MAX = 2
"""Rounds within which a chain that stood still goes on, once enough validators are back."""
NO_BLOCK_MS = 3 * (TIMEOUT_MS + BLOCK_PERIOD_MS)
"""How long a chain without a quorum is watched doing nothing."""
SETTLE_S = 1.0

Say = Callable[[str], None]


def client_keys(count: int) -> list[SigningKey]:
    """Accounts of clients, always the same."""
    return [SigningKey(bytes([100 + number]) * 32) for number in range(count)]


@dataclass
class Outcome:
    """What a run came to."""

    problems: list[str] = field(default_factory=list)
    height: int = 0
    transfers: int = 0
    """On the chain."""
    resent: int = 0
    """Of them, those that a client has brought to more than one node, or again."""
    reads: int = 0
    searched: int = 0
    not_searched: int = 0
    impeached: int = 0
    """Blocks that stand in a proposer's place."""

    def __str__(self) -> str:
        return (
            f"{self.height} blocks ({self.impeached} by impeachment), {self.transfers} transfers "
            f"({self.resent} sent more than once), {self.reads} balances read, orders found for "
            f"{self.searched} accounts of {self.searched + self.not_searched}: "
            + (f"{len(self.problems)} PROBLEMS" if self.problems else "all holds")
        )


class Torment:
    """Everything that happens to one network.  say: where to tell of it."""

    def __init__(self, network: Network, seed: int, say: Say = lambda line: None) -> None:
        self.network = network
        self.history = History()
        self._seed, self._say = seed, say
        self._is_stopping = False
        self._running: list[asyncio.Task[None]] = []

    # Clients

    def begin(self) -> None:
        """Let the clients pay."""
        publics = [key.public for key in self.network.accounts]
        for number, key in enumerate(self.network.accounts):
            client = Client(
                number,
                key,
                [public for public in publics if public != key.public],
                self.network.genesis,
                self.network.clients,
                self.history,
                random.Random(f"{self._seed} client {number}"),
                lambda: self._is_stopping,
            )
            self._running.append(asyncio.ensure_future(client.run()))

    async def finish(self) -> Outcome:
        """Heal all, let clients end, end the nodes, and judge.  Raises NemesisError."""
        self._is_stopping = True
        network = self.network

        async def done() -> bool:
            return all(task.done() for task in self._running)

        try:
            await network.until(done, "every client's last transfer final")
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        self._check_clients()
        await network.reach(await network.top())
        outcome = Outcome()
        for name, node in network.nodes.items():
            if status := await node.end():
                outcome.problems.append(f"end: {name} has left with status {status}: {node.log[-500:]}")
        self._judge(outcome)
        return outcome

    def _judge(self, outcome: Outcome) -> None:
        network = self.network
        hashes: dict[str, list[bytes]] = {}
        longest: list[ChainBlock] = []
        roots: dict[int, set[bytes]] = {}
        for name in network.names:
            storage = network.storage(name)
            try:
                audit.check(storage.entries(storage.head.state_root))
                roots.setdefault(storage.head.height, set()).add(storage.head.state_root)
                blocks = []
                for height in range(1, storage.head.height + 1):
                    block = storage.block(height)
                    if block is None:
                        outcome.problems.append(f"gone: {name} has no block {height}")
                        break
                    block.certificate.verify(network.genesis.chain_id, network.genesis.validators)
                    header = block.header
                    blocks.append(
                        ChainBlock(header.block_hash, header.proposer, block.transactions, block.receipts)
                    )
                hashes[name] = [block.block_hash for block in blocks]
                if len(blocks) > len(longest):
                    longest = blocks
                    outcome.impeached = sum(block.proposer == bytes(32) for block in blocks)
            finally:
                storage.close()
        outcome.problems += histories.check_prefixes(hashes)
        outcome.problems += [
            f"state: nodes at block {height} have {len(found)} states"
            for height, found in roots.items()
            if len(found) > 1
        ]
        books = histories.keep_books(network.genesis, longest)
        verdict = histories.check(self.history, books, SUPPLY_UCPC)
        outcome.problems += verdict.problems
        outcome.height = len(longest)
        outcome.transfers = sum(len(places) for places in books.places.values())
        outcome.resent = sum(pay.sent_count > 1 for pay in self.history.pays)
        outcome.reads = len(self.history.reads)
        outcome.searched, outcome.not_searched = verdict.searched, verdict.not_searched

    # Faults

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """One fault after the other, each of them healed.  Raises NemesisError when the rest stands still."""
        for number, fault in enumerate(faults, 1):
            self._say(f"{number:3}  {fault}")
            await self._suffer(fault)
            top = await self.network.top()
            await self.network.reach(top + 1)
            self._check_clients()

    def _check_clients(self) -> None:
        """What a client cannot explain ends it, and is raised here."""
        for task in self._running:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _suffer(self, fault: Fault) -> None:
        network = self.network
        links, inside = network.links, set(fault.targets)
        inwards = [pair for pair in network.pairs(inside) if pair[1] in inside]
        outwards = [pair for pair in network.pairs(inside) if pair[0] in inside]
        nodes = [network[name] for name in fault.targets]
        match fault.kind:
            case Kind.KILL:
                for node in nodes:
                    node.kill()
            case Kind.PAUSE:
                for node in nodes:
                    node.stop()
            case Kind.CUT | Kind.SPLIT:
                links.cut(inwards)
            case Kind.HALF_OPEN:
                links.swallow(inwards + outwards)
            case Kind.DEAF:
                links.swallow(inwards)
            case Kind.MUTE:
                links.swallow(outwards)
            case Kind.SLOW:
                links.delay(inwards + outwards, fault.amount_ms)
            case Kind.CLOCK:
                for node in nodes:
                    node.shift_clock(fault.amount_ms)
            case Kind.DISK:
                network.fill_disk()
            case Kind.UNPLUGGED:
                assert network.namespaces
                for name in fault.targets:
                    network.namespaces.pull(name)
        try:
            if fault.kind is Kind.SPLIT:
                await self.stands_still()
            else:
                await self.goes_on(fault.block_count, [name for name in network.names if name not in inside])
            if fault.kind is Kind.DISK:
                await self._says_trouble(fault.targets[0])
        finally:
            links.heal(is_reset=fault.is_forgiving)
            for node in nodes:
                if node.is_stopped:
                    node.go_on()
                node.shift_clock(0)
            if fault.kind is Kind.DISK:
                network.free_disk()
            if fault.kind is Kind.UNPLUGGED and network.namespaces:
                for name in fault.targets:
                    network.namespaces.plug(name)
        for node in nodes:
            if not node.is_running:
                node.start()

    async def _says_trouble(self, name: str) -> None:
        async def says() -> bool:
            return bool((await self.network.clients[name].chain_info()).trouble)

        await self.network.until(says, f"{name} says that its disk is full", [name])

    async def goes_on(self, block_count: int, names: Sequence[str]) -> None:
        """These nodes make so many more blocks."""
        heights = await self.network.heights(names)
        await self.network.reach(max(heights.values(), default=0) + block_count, names)

    async def stands_still(self) -> None:
        """Nobody finds a quorum: what is decided already may still spread, and then nothing moves."""
        network = self.network
        await asyncio.sleep(SETTLE_S)
        before = await network.top()
        # That nothing happens is no event: there is nothing to wait for but time.
        await asyncio.sleep(NO_BLOCK_MS / 1000)
        after = await network.top()
        # One block may still come of votes that were cast before.
        if after > before + 1:
            raise NemesisError(f"without a quorum blocks {before + 1} to {after} were made")

    # Stories

    async def lose_one(self) -> None:
        """One validator lost: blocks go on; back: it has them all."""
        network = self.network
        lost = network.validators[1]
        network[lost].kill()
        await self.goes_on(3, [name for name in network.names if name != lost])
        network[lost].start()
        await network.reach(await network.top())

    async def lose_two(self, *, is_paused: bool = False) -> int:
        """Two lost: blocks stop; both back: they go on.  The rounds that took.  Raises NemesisError."""
        network = self.network
        lost, rest = network.validators[:2], network.validators[2:]
        for name in lost:
            if is_paused:
                network[name].stop()
            else:
                network[name].kill()
        await self.stands_still()
        height = await network.top()
        came_back = max(network.round_of(name, height + 1) for name in rest)
        for name in lost:
            if is_paused:
                network[name].go_on()
            else:
                network[name].start()
        await network.reach(height + 1)
        (link,) = await network.clients[rest[0]].headers(height + 1, 1)
        rounds = link.certificate.round - came_back
        self._say(
            f"     stood in round {came_back} of block {height + 1}, decided in {link.certificate.round}"
        )
        if rounds > ROUNDS_MAX:
            raise NemesisError(
                f"block {height + 1} was decided {rounds} rounds after the validators were back, "
                f"not within {ROUNDS_MAX}"
            )
        return rounds
