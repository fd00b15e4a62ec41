"""One machine of the simulated world: a real `Replica` on a fake disk, between fake clocks.

Runs on CPython.
"""

from collections.abc import Callable
from typing import Any, Protocol

from chain_node import lbft_states
from chain_node.block import Block, Certificate
from chain_node.errors import Refused
from chain_node.genesis import Genesis
from chain_node.lbft import Core
from chain_node.lbft_height import HeightCore
from chain_node.lbft_states import NEXT, Cause, Fate
from chain_node.messages import Ballot, Message, Proposal
from chain_node.replica import Replica, Sends
from chain_node.signatures import Signatures
from chain_node.state import State
from puf.ed25519 import SigningKey
from tests.sim.checks import Checks
from tests.sim.disk import Disk, PowerCut, SimStore
from tests.sim.network import Clock
from tests.sim.plan import Plan


class Around(Protocol):
    """What the world is to those who live in it."""

    plan: Plan
    genesis: Genesis
    checks: Checks
    coverage: "Coverage"
    nodes: list["Node"]
    time_us: int
    is_healed: bool

    @property
    def has_honest_proposer(self) -> bool: ...
    def at(self, time_us: int, action: Callable[..., None], *args: Any) -> None: ...
    def trace(self, what: str, where: str) -> None: ...
    def send(self, sender: "Node", peer: bytes | None, message: Message, ready_us: int) -> None: ...
    def signatures(self, key: SigningKey | None) -> Signatures: ...
    def core_of(self, node: "Node") -> Callable[..., Core]: ...
    def on_final(self, node: "Node", block: Block, certificate: Certificate) -> None: ...
    def on_power_cut(self, node: "Node") -> None: ...
    def on_refused(self, error: Refused) -> None: ...


class Coverage:
    """What was reached: transitions, states, and fates of messages."""

    def __init__(self) -> None:
        self.transitions = dict.fromkeys(NEXT, 0)
        self.fates = [0] * len(Fate)
        self.rounds: dict[int, int] = {}
        """By the highest round of a height that was decided: how many."""

    @property
    def states(self) -> set[lbft_states.State]:
        """Those that were entered or left."""
        taken = [place for place, count in self.transitions.items() if count]
        return {state for state, _ in taken} | {NEXT[place] for place in taken}

    def add(self, other: "Coverage") -> None:
        for place, count in other.transitions.items():
            self.transitions[place] += count
        for fate, count in enumerate(other.fates):
            self.fates[fate] += count
        for round_, count in other.rounds.items():
            self.rounds[round_] = self.rounds.get(round_, 0) + count

    def fate_counts(self) -> dict[str, int]:
        """How many messages had which fate."""
        return {fate.name: self.fates[fate] for fate in Fate}

    def missing(self) -> list[str]:
        """Transitions that were never taken."""
        return [
            f"{lbft_states.State(state).name} on {Cause(cause).name}"
            for (state, cause), count in self.transitions.items()
            if not count
        ]


def counted(height_core: type[HeightCore], coverage: Coverage) -> type[Core]:
    """A core whose validators count what they go through."""

    class CountedHeight(height_core):  # type: ignore[misc,valid-type]
        def _move(self, cause: Cause) -> None:
            if self._me is not None:
                coverage.transitions[self.state, cause] += 1
            super()._move(cause)

    class CountedCore(Core):
        HEIGHT = CountedHeight

    return CountedCore


class Node:
    """A machine, honest unless a subclass says otherwise."""

    is_honest = True

    def __init__(self, world: Around, index: int, name: str, key: SigningKey | None, address: bytes) -> None:
        self.world = world
        self.index = index
        self.name = name
        self.key = key
        self.address = address
        """What its peers know it by."""
        self.disk = Disk()
        self.clock: Clock
        self.replica: Replica
        self.store: SimStore
        self.is_up = False
        self.starts = 0
        self._lives = 0
        """How often its consensus has begun with what was kept: at each start, and after a full disk."""
        self._core: object = None
        self.busy_until_us = 0
        self._tick_us = -1

    @property
    def height(self) -> int:
        """Of its last final block."""
        return self.store.head.height

    def state(self) -> State:
        """The ledger's state after it."""
        return State(self.store.entries(self.store.head.state_root))

    # Power

    def start(self) -> None:
        """Switch it on: all it knows is what its disk has."""
        world = self.world
        self.is_up = True
        self.starts += 1
        self.clock.restart()
        world.trace("start", self.name)
        self.store = SimStore(self.disk, world.genesis, self.name, self._on_commit)
        for block, certificate in self.store.blocks:
            self._on_commit(block, certificate)
        self.replica = self._replica()
        self.act(self.replica.start)

    def _replica(self) -> Replica:
        world = self.world
        return Replica(
            self.store,
            world.genesis,
            self.key,
            signatures=world.signatures(self.key),
            core=world.core_of(self),
        )

    def stop(self) -> None:
        """The power goes."""
        if self.is_up:
            self.is_up = False
            self.world.trace("stop", self.name)
            self._count_fates()

    def _count_fates(self) -> None:
        for fate, count in enumerate(self.replica.core.fates):
            self.world.coverage.fates[fate] += count

    # Events

    def act(self, event: Callable[[int, int], Sends]) -> None:
        """Let it do something now, or as soon as its disk lets it."""
        if not self.is_up:
            return
        time_us = self.world.time_us
        if time_us < self.busy_until_us:
            self.world.at(self.busy_until_us, self._act_if_same, self.starts, event)
            return
        disk, clock = self.disk, self.clock
        disk.spent_us = 0
        try:
            sends = event(clock.now_ms(time_us), clock.wall_ms(time_us))
        except PowerCut:
            self._lose_power()
            return
        self._done(sends)

    def _lose_power(self) -> None:
        self.stop()
        self.world.on_power_cut(self)

    def _done(self, sends: Sends) -> None:
        if self.disk.spent_us:
            self.busy_until_us = self.world.time_us + self.disk.spent_us
        if sends:
            self.post(sends)
        self.plan_tick()

    def _act_if_same(self, starts: int, event: Callable[[int, int], Sends]) -> None:
        if starts == self.starts:
            self.act(event)

    def receive(self, sender: "Node", message: Message) -> None:
        """A message arrives."""
        time_us = self.world.time_us
        if time_us < self.busy_until_us or not self.is_up:
            # Queued in front of a busy disk.
            address = sender.address
            self.act(lambda now_ms, wall_ms: self.replica.receive(address, message, now_ms, wall_ms))
            return
        disk, clock = self.disk, self.clock
        disk.spent_us = 0
        try:
            sends = self.replica.receive(
                sender.address, message, clock.now_ms(time_us), clock.wall_ms(time_us)
            )
        except PowerCut:
            self._lose_power()
            return
        self._done(sends)

    def submit(self, data: bytes) -> bool:
        """Somebody hands in a transaction; whether it was taken."""
        taken = False

        def event(now_ms: int, wall_ms: int) -> Sends:
            nonlocal taken
            try:
                _, sends = self.replica.submit(data, now_ms, wall_ms)
            except Refused as error:
                self.world.on_refused(error)
                return []
            taken = True
            return sends

        # Who is busy is not asked: the client tries again, here or elsewhere.
        if self.is_up and self.world.time_us >= self.busy_until_us:
            self.act(event)
        return taken and self.is_up

    def plan_tick(self) -> None:
        """See that it is woken when it wants to be."""
        deadline_ms = self.replica.deadline_ms
        if deadline_ms is None:
            return
        tick_us = max(self.clock.time_us(deadline_ms), self.world.time_us + 1)
        if self._tick_us < 0 or tick_us < self._tick_us:
            self._tick_us = tick_us
            self.world.at(tick_us, self._tick, self.starts, tick_us)

    def _tick(self, starts: int, tick_us: int) -> None:
        if tick_us != self._tick_us:
            # An earlier one was planned later.
            return
        self._tick_us = -1
        if starts == self.starts and self.is_up:
            deadline_ms = self.replica.deadline_ms
            if deadline_ms is not None and self.clock.now_ms(self.world.time_us) >= deadline_ms:
                self.world.trace("tick", self.name)
                self.act(self.replica.tick)
            else:
                self.plan_tick()
        elif self.is_up:
            self.plan_tick()

    # What it says

    def post(self, sends: Sends) -> None:
        """Send what came out of the replica, once the disk is done."""
        world, own = self.world, self.address
        if self.replica.core is not self._core:
            self._core = self.replica.core
            self._lives += 1
        for peer, message in sends:
            if isinstance(message, Ballot):
                if message.vote.voter == own:
                    world.checks.on_said(self.name, message.vote, self._lives)
            elif isinstance(message, Proposal) and message.seal and message.seal.voter == own:
                world.checks.on_said(self.name, message.seal, self._lives)
            world.send(self, peer, message, self.busy_until_us)

    def _on_commit(self, block: Block, certificate: Certificate) -> None:
        self.world.on_final(self, block, certificate)
