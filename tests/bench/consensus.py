"""The consensus: what its core costs, how fast a simulated hour passes, and how many message delays it takes.

Runs on CPython.  Four validators and one proposer.  The core is fed what one validator heard of a fault-free
chain, every message twice, with signatures that cost nothing; the simulator runs with faults of every kind.
The delays come out of the simulator's clock, so that they are the same on every machine.
"""

import heapq
from statistics import quantiles

from chain_node.block import NO_PROPOSER, Block, Certificate, Phase, Vote
from chain_node.lbft import Core
from chain_node.lbft_ready import Height
from chain_node.messages import Ballot, ConsensusMessage, Message, Proposal
from chain_node.schedule import TakeTurns
from chain_node.signatures import Signatures
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of
from tests.chain_node.lbft_committee import block_on
from tests.chain_node.world import PROPOSER, VALIDATORS, genesis_of
from tests.sim.node import Node
from tests.sim.plan import Plan, calm_plan
from tests.sim.world import World

HEIGHT_COUNT = {"tiny": 10, FULL: 1_000}
PERIOD_COUNT = {"tiny": 3, FULL: 360}
ROUNDS = {"tiny": 1, FULL: 5}
CORE_TARGET_US = 20.0
"""50,000 messages a second."""
STUB_TARGET_US = 60e6 / (20 * 3_600)
"""A simulated second, at 20 simulated hours a CPU minute."""
REAL_TARGET_US = 60e6 / (5 * 3_600)
JITTER_PERCENT = 10
"""How much a message's delay differs from the one that is meant."""


class Free(Signatures):
    """Believes everything, and signs with nothing."""

    def sign(self, height: int, round_: int, phase: Phase, block_hash: bytes) -> Vote:
        assert self.public
        return Vote(self.public, self.chain_id, height, round_, phase, block_hash, bytes(64))

    def _holds(
        self, voter: bytes, height: int, round_: int, phase: Phase, block_hash: bytes, signature: bytes
    ) -> bool:
        return True


Heard = list[tuple[Height, list[tuple[bytes, ConsensusMessage]]]]


def bench_core(size: str) -> list[Row]:
    """What one validator hears, through `step`; an item is a message."""
    heard = _heard(HEIGHT_COUNT[size])
    count = sum(len(letters) for _, letters in heard)

    def ours() -> Lap:
        core = _core()
        decided = []
        with Stopwatch() as watch:
            now_ms = 0
            for start, letters in heard:
                core.begin(start, now_ms)
                for sender, message in letters:
                    ready = core.step(sender, message, now_ms)
                    for block in ready.check:
                        core.judge(block.header.block_hash, True, now_ms)
                    if ready.decided:
                        decided.append(ready.decided.block.header.block_hash)
                now_ms += 100
        assert len(decided) == len(heard)
        return Lap(watch.cpu_us, count, digest_of(decided))

    def bare() -> Lap:
        with Stopwatch() as watch:
            decided = []
            votes: dict[tuple[int, int, Phase, bytes], set[bytes]] = {}
            for _, letters in heard:
                for _, message in letters:
                    if isinstance(message, Ballot):
                        vote = message.vote
                        place = (vote.height, vote.round, vote.phase, vote.block_hash)
                        voters = votes.setdefault(place, set())
                        if vote.voter not in voters:
                            voters.add(vote.voter)
                            # Its own vote is not heard.
                            if len(voters) == 2 and vote.phase == Phase.COMMIT:
                                decided.append(vote.block_hash)
        return Lap(watch.cpu_us, count, digest_of(decided))

    return compare(
        "consensus-core",
        "message",
        ours,
        {"a dict of its votes alone": bare},
        ROUNDS[size],
        target=CORE_TARGET_US,
        note=lambda ours_us: f"{1e6 / ours_us:,.0f} a second",
        is_same_result=True,
    )


def bench_hours(size: str) -> list[Row]:
    """Simulated time with faults; an item is a simulated second."""
    rows = []
    for name, is_real, target in (("stub", False, STUB_TARGET_US), ("real", True, REAL_TARGET_US)):
        plan = _faulty_plan(PERIOD_COUNT[size], is_real=is_real)

        # Filled by ours, which is measured first.
        done: dict[str, int] = {}

        def ours(plan: Plan = plan, done: dict[str, int] = done) -> Lap:
            world = World(plan)
            with Stopwatch() as watch:
                result = world.run()
            assert result.failure is None, result.failure
            done["steps"], done["simulated_s"] = result.step, result.simulated_ms // 1_000
            return Lap(watch.cpu_us, result.simulated_ms // 1_000, result.digest)

        def bare(done: dict[str, int] = done) -> Lap:
            steps = done["steps"]
            with Stopwatch() as watch:
                heap: list[tuple[int, int]] = []
                total = 0
                for number in range(steps):
                    heapq.heappush(heap, (number * 7_919 % steps, number))
                while heap:
                    total += heapq.heappop(heap)[1]
            return Lap(watch.cpu_us, done["simulated_s"], digest_of(total))

        rows += compare(
            "consensus-sim",
            f"simulated second, {name} signatures",
            ours,
            {"its events in a heap alone": bare},
            min(ROUNDS[size], 3),
            target=target,
            note=lambda ours_us: f"{60e6 / ours_us / 3_600:.1f} hours a CPU minute",
        )
    return rows


def bench_delays(size: str) -> list[Row]:
    """From a proposal, and from the timer of a silent proposer, to a final block; in message delays."""
    rows = []
    for delay_ms in (1, 20, 100):
        for what, bad, ideal in (("finality", (), 3), ("recovery", ("silent",), 2)):
            world = Timed(_even_plan(PERIOD_COUNT[size], delay_ms, bad), bool(bad))
            result = world.run()
            assert result.failure is None, result.failure
            delays = sorted(took_us / 1_000 / delay_ms for took_us in world.took_us)
            cuts = quantiles(delays, n=100, method="inclusive")
            for percent in (50, 99):
                took = cuts[percent - 1]
                rows.append(
                    Row(
                        "consensus-delays",
                        f"{what} at {delay_ms} ms, p{percent}",
                        "delays",
                        took,
                        "message delays that there must be",
                        ideal,
                        took / ideal,
                        digest_of([int(took_us) for took_us in world.took_us]),
                        # A timer may be off by the millisecond in which it is counted.
                        ideal * (100 + JITTER_PERCENT) / 100 + bool(bad) / delay_ms,
                        f"{took * delay_ms:.1f} ms, {len(delays)} times",
                    )
                )
    return rows


class Timed(World):
    """A world that notes how long each validator's decision took, from where the wait began."""

    def __init__(self, plan: Plan, is_silent: bool) -> None:
        self._is_silent = is_silent
        self._begun_us: dict[int, int] = {}
        self.took_us: list[int] = []
        super().__init__(plan)

    def send(self, sender: Node, peer: bytes | None, message: Message, ready_us: int) -> None:
        height = None
        if not self._is_silent and isinstance(message, Proposal):
            height = message.height
        elif self._is_silent and isinstance(message, Ballot) and message.vote.phase == Phase.PREPARE:
            # The first one to say it has waited too long.
            height = message.height
        if height is not None:
            self._begun_us.setdefault(height, self.time_us)
        super().send(sender, peer, message, ready_us)

    def on_final(self, node: Node, block: Block, certificate: Certificate) -> None:
        super().on_final(node, block, certificate)
        if node.key and node.key.public in self.genesis.validators:
            assert (block.header.proposer == NO_PROPOSER) == self._is_silent
            self.took_us.append(self.time_us - self._begun_us[block.header.height])


def _even_plan(periods: int, delay_ms: int, bad: tuple[str, ...]) -> Plan:
    jitter_us = delay_ms * 10 * JITTER_PERCENT
    return calm_plan(
        7,
        heights=periods,
        delay_us=delay_ms * 1_000 - jitter_us,
        chaos_us=delay_ms * 1_000 + jitter_us,
        calm_us=delay_ms * 1_000 + jitter_us,
        tail=1,
        timeout_ms=4_000,
        bad_proposers=bad,
    )


def _faulty_plan(periods: int, *, is_real: bool) -> Plan:
    return calm_plan(
        5,
        heights=periods,
        is_real=is_real,
        loss=0.05,
        duplicates=0.02,
        partitions=periods // 18,
        crashes=0.003,
        slow_us=100_000,
        skew_ms=100,
        drift_ppm=50,
        byzantine=("equivocate",),
        delay_us=20_000,
        chaos_us=400_000,
        calm_us=200_000,
        timeout_ms=4_000,
        tail=3,
        clients=2,
    )


def _core() -> Core:
    genesis = genesis_of()
    signatures = Free(genesis.chain_id, genesis.validators, VALIDATORS[0])
    return Core(signatures, TakeTurns(genesis.proposers), 1_000)


def _heard(count: int) -> Heard:
    """What the first validator hears of so many heights: proposal, PREPAREs and COMMITs, each twice."""
    genesis = genesis_of()
    parent_hash = genesis.chain_id
    others = [Free(genesis.chain_id, genesis.validators, key) for key in VALIDATORS[1:]]
    proposer = Free(genesis.chain_id, genesis.validators, PROPOSER)
    heard: Heard = []
    for height in range(1, count + 1):
        block = block_on(genesis, height, parent_hash, proposer=PROPOSER.public)
        impeachment = block_on(genesis, height, parent_hash, round_=1, salt=50, proposer=NO_PROPOSER)
        name = block.header.block_hash
        seal = proposer.sign(height, 0, Phase.PROPOSE, name)
        letters: list[tuple[bytes, ConsensusMessage]] = [(PROPOSER.public, Proposal(block, seal))] * 2
        prepares = [each.sign(height, 0, Phase.PREPARE, name) for each in others]
        shown = Certificate(height, 0, name, tuple((index, bytes(64)) for index in (1, 2, 3)))
        for vote in prepares:
            letters += [(vote.voter, Ballot(vote))] * 2
        for each in others:
            assert each.public
            letters += [(each.public, Ballot(each.sign(height, 0, Phase.COMMIT, name), shown))] * 2
        due_ms = height * 100
        heard.append((Height(height, parent_hash, impeachment, due_ms, due_ms, has_work=True), letters))
        parent_hash = name
    return heard
