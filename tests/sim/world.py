"""The simulated world: one thread, one heap of events, one seed.

Runs on CPython.  Nothing here asks a real clock, and nothing depends on the order of a set: the same plan
gives the same trace, byte for byte, of which `digest` is the SHA-256.

After `plan.heights` block periods the network heals: everybody is up, everything arrives within
`plan.calm_us`, faulty nodes stay faulty.  From then on, with n validators of which f = (n - 1) // 3 may be
faulty:

- rounds: a height that begins then needs no round beyond f + 2.  Round 0 fails with the proposer, round 1
  when faulty ones split the votes; from round 2 on everybody's certificates are shown to a coordinator
  that names the highest of them, and of f + 1 coordinators in a row one is honest.  A height that was
  under way in round r needs no round beyond max(r, 1) + f + 2: one more, for who had part of round r.
  In a network so slow that T, a round's length, is less than ROUND_DELAYS, one more for each doubling.
  Nobody is left behind: the round in which f + 1 honest validators are is everybody's after the time in
  which what is said is said again and arrives.
- progress: such a height ends within its rounds' timers.
- transactions: what a client has been told is taken is final within TURNS heights of each honest proposer.
  Where T is less than PROPOSAL_DELAYS, the wait for a proposer's block doubles with each turn of proposers
  that was too late: as many turns more as there are doublings needed, and one that was under way.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from chain_node import messages
from chain_node.block import Block, Certificate
from chain_node.errors import IllicitBlock, Refused
from chain_node.genesis import Genesis
from chain_node.lbft import Core
from chain_node.lbft_height import HeightCore
from chain_node.lbft_states import timeout_ms
from chain_node.messages import Message
from chain_node.signatures import Signatures
from chain_node.transaction import SUPPLY_UCPC
from puf.ed25519 import SigningKey
from tests.sim import byzantine, stub
from tests.sim.checks import Checks, Failed
from tests.sim.client import OPERATOR_UCPC, Client, Operator
from tests.sim.disk import CUTS
from tests.sim.network import Clock, Network
from tests.sim.node import Coverage, Node, counted
from tests.sim.plan import Plan

START_MS = 1_700_000_000_000
ROUND_DELAYS = 5
"""A round in which all goes well: joining it, showing what is known, naming it, both votes."""
PROPOSAL_DELAYS = 3
"""What made the last block final comes late by one; the next, or what is asked for again of it, by two."""
TURNS = 3
STEPS_MAX = 2_000_000
"""Events of one short simulation: more means that nodes talk without end."""


@dataclass(frozen=True)
class Rules:
    """The code that runs: the protocol as it is, or with something broken."""

    height_core: type[HeightCore] = HeightCore
    signatures: type[Signatures] = Signatures
    size: Callable[[int, int], int] | None = None
    """How many of n validators a certificate of this round must have, where that is broken, too."""


@dataclass
class Result:
    """What came of a simulation."""

    plan: Plan
    failure: Failed | None = None
    step: int = 0
    digest: str = ""
    simulated_ms: int = 0
    blocks: int = 0
    impeached: int = 0
    transactions: int = 0
    power_cuts: int = 0
    sent: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    trace: list[str] = field(default_factory=list)


class World:
    """Everything that is there."""

    def __init__(self, plan: Plan, rules: Rules | None = None, *, is_traced: bool = False) -> None:
        self.plan = plan
        self.rules = rules or Rules()
        self.time_us = 0
        self.step = 0
        self.coverage = Coverage()
        self.is_healed = False
        self.result = Result(plan, coverage=self.coverage)
        self._is_traced = is_traced
        self._hasher = sha256()
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._pushed = 0
        self._core_class = counted(self.rules.height_core, self.coverage)
        self._power = Random(f"{plan.seed} power")
        self._disks = Random(f"{plan.seed} disks")
        self._heights_at_heal = 0
        self._bad_rounds = 0
        self._patience_at_heal = 0
        self._healed_us = 0
        self._make_actors()

    # Making it

    def _make_actors(self) -> None:
        plan = self.plan
        is_real = plan.is_real

        def key(name: str) -> SigningKey:
            return stub.key_of(f"{name} of {plan.seed}", is_real=is_real)

        validator_keys = [key(f"v{index}") for index in range(plan.validators)]
        others = [key(f"p{index}") for index in range(plan.proposers - plan.shared)]
        proposer_keys = validator_keys[: plan.shared] + others
        newcomer, operator = key("new"), key("operator")
        client_keys = [key(f"c{index}") for index in range(plan.clients)] or [key("nobody")]
        share_ucpc = SUPPLY_UCPC // len(client_keys)
        amounts = [share_ucpc] * len(client_keys)
        amounts[0] += SUPPLY_UCPC - sum(amounts)
        if plan.is_changing:
            client_keys.append(operator)
            amounts = [*amounts[:-1], amounts[-1] - OPERATOR_UCPC, OPERATOR_UCPC]
        self.genesis = Genesis(
            name="sim",
            time_ms=START_MS - plan.period_ms,
            validators=tuple(each.public for each in validator_keys),
            balances=tuple(
                sorted((each.public, ucpc) for each, ucpc in zip(client_keys, amounts, strict=True))
            ),
            fee_min_ucpc=1_000,
            free_tx_per_day=0,
            block_period_ms=plan.period_ms,
            block_tx_max=50,
            tx_size_max=1_024,
            proposers=tuple(each.public for each in proposer_keys),
            timeout_ms=plan.timeout_ms,
            heartbeat_ms=plan.heartbeat_ms,
        )
        self.checks = Checks(
            self.genesis.chain_id,
            self.genesis.validators,
            self.genesis.proposers,
            stub.verifier(is_real=is_real),
            self.rules.size,
        )
        self.nodes: list[Node] = []
        self._by_address: dict[bytes, list[Node]] = {}
        kinds = [""] * (plan.validators - len(plan.byzantine)) + list(plan.byzantine)
        for index, (each, kind) in enumerate(zip(validator_keys, kinds, strict=True)):
            self._add(byzantine.VALIDATORS[kind], f"v{index}", each)
            if kind == "twins":
                self._add(byzantine.VALIDATORS[kind], f"v{index}'", each)
        kinds = [""] * (len(others) - len(plan.bad_proposers)) + list(plan.bad_proposers)
        for index, (each, kind) in enumerate(zip(others, kinds, strict=True)):
            self._add(byzantine.PROPOSERS[kind], f"p{index}", each)
        for index in range(plan.observers):
            self._add(Node, f"o{index}", None)
        if plan.is_changing:
            self._add(Node, "new", newcomer)
        self.network = Network(plan, len(self.nodes))
        self.clients = [Client(self, f"c{index}", client_keys[index]) for index in range(plan.clients)]
        self.operator = Operator(self, operator, validator_keys, newcomer) if plan.is_changing else None
        for node in self.nodes:
            node.clock = Clock(Random(f"{plan.seed} clock {node.name}"), plan, START_MS)
            if node.is_honest:
                node.disk.cut = self._cut
                node.disk.cost_us = self._sync_cost_us
        self.honest = [node for node in self.nodes if node.is_honest]

    def _add(self, kind: type[Node], name: str, key: SigningKey | None) -> None:
        address = key.public if key else sha256(name.encode()).digest()
        node = kind(self, len(self.nodes), name, key, address)
        self.nodes.append(node)
        self._by_address.setdefault(address, []).append(node)

    def core_of(self, node: Node) -> Callable[..., Core]:
        """How a node's core is made: broken only in honest nodes."""
        return self._core_class if node.is_honest else Core

    def signatures(self, key: SigningKey | None) -> Signatures:
        return self.rules.signatures(self.genesis.chain_id, self.genesis.validators, key)

    # Running it

    def run(self) -> Result:
        """Let everything happen that the plan has, and check it."""
        with stub.cheap(is_real=self.plan.is_real, is_memoised=self.plan.is_memoised):
            try:
                self._plan_events()
                heap, pop = self._heap, heapq.heappop
                while heap and not (self.is_healed and self._is_over()):
                    self.step += 1
                    self.time_us, _, action, args = pop(heap)
                    action(*args)
                    if self.step > STEPS_MAX * max(self.plan.heights // 100, 1):
                        raise Failed("progress", f"{self.step} events and no end")
                self._check_end()
            except Failed as failure:
                self.result.failure = failure
            except IllicitBlock as error:
                self.result.failure = Failed("agreement", f"a certified block cannot follow: {error}")
            except Exception as error:
                self.result.failure = Failed("error", f"{type(error).__name__}: {error}")
                self.result.failure.__cause__ = error
        return self._finish()

    def at(self, time_us: int, action: Callable[..., None], *args: Any) -> None:
        """Let something happen then."""
        self._pushed += 1
        heapq.heappush(self._heap, (time_us, self._pushed, action, args))

    def _plan_events(self) -> None:
        plan = self.plan
        end_us = plan.heights * plan.period_ms * 1_000
        for node in self.nodes:
            self.at(0, node.start)
        for client in self.clients:
            self.at(1, client.act)
        if self.operator:
            self.at(1, self.operator.act)
        rng = Random(f"{plan.seed} partitions")
        for _ in range(plan.partitions):
            self.at(rng.randrange(end_us), self._part, *self._partition(rng, end_us))
        rng = Random(f"{plan.seed} jumps")
        for _ in range(plan.jumps):
            node = rng.choice(self.nodes)
            jump_ms = rng.choice((-3_600_000, -20_000, 3_000, 20_000, 3_600_000))
            self.at(rng.randrange(end_us), self._jump, node, jump_ms)
        rng = Random(f"{plan.seed} full")
        for _ in range(plan.full):
            node = rng.choice(self.honest)
            self.at(rng.randrange(end_us), self._fill, node, rng.randrange(1_000, 40_000) * 1_000)
        self.at(end_us, self._heal)

    def _partition(self, rng: Random, end_us: int) -> tuple[list[tuple[int, int]], int]:
        """Links that are cut, and for how long: some cut both ways, some one way, some a single node."""
        indexes = range(len(self.nodes))
        kind = rng.choice(("halves", "one way", "links", "alone", "deaf", "mute"))
        side = [rng.random() < 0.5 for _ in indexes]
        alone = rng.randrange(len(self.nodes))
        links = []
        for one in indexes:
            for other in indexes:
                if (
                    (kind == "halves" and side[one] != side[other])
                    or (kind == "one way" and side[one] and not side[other])
                    or (kind == "links" and rng.random() < 0.4)
                    or (kind == "alone" and alone in (one, other))
                    or (kind == "deaf" and other == alone)
                    or (kind == "mute" and one == alone)
                ):
                    links.append((one, other))
        return links, min(rng.randrange(1_000, 60_000) * 1_000, end_us)

    def _part(self, links: list[tuple[int, int]], length_us: int) -> None:
        if not self.is_healed:
            self.trace("part", str(links))
            self.network.cut(links, self.time_us + length_us)

    def _jump(self, node: Node, jump_ms: int) -> None:
        self.trace("jump", node.name)
        node.clock.jump_ms = jump_ms

    def _fill(self, node: Node, length_us: int) -> None:
        self.trace("full", node.name)
        node.disk.is_full = True
        self.at(self.time_us + length_us, self._empty, node)

    def _empty(self, node: Node) -> None:
        node.disk.is_full = False

    def _cut(self, _: int) -> str | None:
        if self.plan.crashes and not self.is_healed and self._power.random() < self.plan.crashes:
            return self._power.choice(CUTS)
        return None

    def _sync_cost_us(self) -> int:
        if not self.plan.slow_us or self.is_healed:
            return 0
        return int(self.plan.slow_us * self._disks.random() ** 4)

    def on_power_cut(self, node: Node) -> None:
        """A node is down; it comes back after a while."""
        self.result.power_cuts += 1
        down_ms = self._power.choice((100, 1_000, 10_000, 30_000))
        self.at(self.time_us + down_ms * 1_000, self._restart, node)

    def _restart(self, node: Node) -> None:
        if not node.is_up:
            node.start()

    def _heal(self) -> None:
        self.trace("heal", "")
        self.is_healed = True
        self._healed_us = self.time_us
        self.network.heal()
        # Who starts only now says again what was final before.
        self._heights_at_heal = len(self.checks.blocks) + 1
        for node in self.nodes:
            node.clock.jump_ms = 0
            node.disk.is_full = False
            if not node.is_up:
                node.start()
        self._heights_at_heal = max(node.height for node in self.honest) + 1
        self._bad_rounds = max(node.replica.core.current.round for node in self.honest)
        self._patience_at_heal = max(node.replica.patience.doublings for node in self.honest)
        self.at(self.time_us + self._limit_us(), self._give_up)
        self._look_who_is_behind()

    def _look_who_is_behind(self) -> None:
        """Note who is where, and see a little later that nobody has stayed behind f + 1 others."""
        plan = self.plan
        # What comes while a message is being answered may cross it: twice.
        soon_us = 2 * (plan.timeout_ms * 1_000 // 4 + 2 * plan.calm_us)
        self.at(self.time_us + soon_us, self._see_nobody_behind, self._places())

    def _see_nobody_behind(self, before: dict[str, tuple[int, int]]) -> None:
        now = self._places()
        for name, (height, round_) in now.items():
            if name not in before or before[name][0] != height:
                continue
            ahead = [
                other
                for other in now
                if other in before
                and before[other][0] == now[other][0] == height
                and before[other][1] > round_
            ]
            if len(ahead) > self.plan.faulty_max:
                raise Failed("rounds", f"{name} is in {height}/{round_}, {', '.join(ahead)} left it long ago")
        self._look_who_is_behind()

    def _places(self) -> dict[str, tuple[int, int]]:
        """Height and round of each honest validator."""
        places = {}
        for node in self.honest:
            current = node.replica.core.current
            if node.key and node.key.public in self.checks.validators_at(current.height):
                places[node.name] = (current.height, current.round)
        return places

    # Messages

    def send(self, sender: Node, peer: bytes | None, message: Message, ready_us: int) -> None:
        """Send to a peer, or to everybody else."""
        if peer is None:
            receivers: Iterable[Node] = self.nodes
        else:
            receivers = self._by_address.get(peer, ())
        time_us = max(ready_us, self.time_us)
        label = label_of(message)
        packed = messages.encode(message) if self.plan.is_codec else message
        arrivals, own, heap, deliver = self.network.arrivals, sender.address, self._heap, self._deliver
        for receiver in receivers:
            if receiver.address != own:
                for arrival_us in arrivals(sender.index, receiver.index, time_us):
                    self._pushed += 1
                    heapq.heappush(
                        heap, (arrival_us, self._pushed, deliver, (sender, receiver, packed, label))
                    )

    def _deliver(self, sender: Node, receiver: Node, packed: Message | bytes, label: str) -> None:
        if not receiver.is_up:
            return
        self._hasher.update(f"{self.time_us} {sender.name}>{receiver.name} {label}\n".encode())
        if self._is_traced:
            self.result.trace.append(f"{self.step} {self.time_us} {sender.name}>{receiver.name} {label}")
        message = messages.decode(packed) if isinstance(packed, bytes) else packed
        receiver.receive(sender, message)

    def trace(self, what: str, where: str) -> None:
        """One line of what happens, into the digest."""
        line = f"{self.time_us} {where} {what}\n"
        self._hasher.update(line.encode())
        if self._is_traced:
            self.result.trace.append(f"{self.step} {line[:-1]}")

    # What is seen

    def on_final(self, node: Node, block: Block, certificate: Certificate) -> None:
        """A node has made a block final, or has read that it had."""
        header = block.header
        self.trace(
            f"final {header.height} {header.block_hash.hex()[:8]} round {certificate.round}", node.name
        )
        if not node.is_honest:
            return
        is_first = header.height > len(self.checks.blocks)
        self.checks.on_final(node.name, block, certificate)
        if is_first:
            rounds = self.coverage.rounds
            rounds[certificate.round] = rounds.get(certificate.round, 0) + 1
        if self.is_healed and header.height >= self._heights_at_heal:
            round_max = self.round_max(header.height)
            if certificate.round > round_max:
                raise Failed(
                    "rounds",
                    f"{node.name} decides height {header.height} in round {certificate.round}; "
                    f"after the network healed none goes beyond {round_max}",
                )

    def on_refused(self, error: Refused) -> None:
        self.trace(f"refused {error.reason.name}", "")

    def round_max(self, height: int) -> int:
        """Beyond which round no height goes after the network has healed."""
        slow = self.plan.doublings(ROUND_DELAYS)
        under_way = max(self._bad_rounds, 1) if height <= self._heights_at_heal + 1 else 0
        return under_way + self.plan.faulty_max + 2 + slow

    # The end

    @property
    def _heights_to_go(self) -> int:
        return self._heights_at_heal + self.plan.proposers + 1

    def _limit_us(self) -> int:
        """How long after the network healed all must be well."""
        plan = self.plan
        first = sum(
            timeout_ms(plan.timeout_ms, round_) for round_ in range(self.round_max(self._heights_at_heal) + 2)
        )
        later = sum(timeout_ms(plan.timeout_ms, round_) for round_ in range(self.round_max(1 << 30) + 1))
        # Round 0 is as long as the most patient validator waits: it may have become so before.
        patience = max(self._patience_at_heal, self._doublings)
        patient = timeout_ms(plan.timeout_ms, patience) - timeout_ms(plan.timeout_ms, 0)
        heights = self._turns * plan.proposers + 2
        return (first + heights * (patient + later + plan.heartbeat_ms)) * 1_000 + 100 * plan.calm_us

    @property
    def _turns(self) -> int:
        """In so many turns of an honest proposer what waits is on chain; patience takes some to grow."""
        return TURNS + self._doublings

    @property
    def _doublings(self) -> int:
        """Of the wait for a proposer, that may come after the network healed."""
        needed = self.plan.doublings(PROPOSAL_DELAYS)
        return needed + 1 if needed else 0

    def _is_over(self) -> bool:
        if not self.is_healed:
            return False
        goal = self._heights_to_go
        return all(node.height >= goal for node in self.honest) and all(
            client.is_done or not self.has_honest_proposer for client in self.clients
        )

    @property
    def has_honest_proposer(self) -> bool:
        """Whether anybody brings transactions on chain."""
        plan = self.plan
        honest_validators = plan.validators - len(plan.byzantine)
        return min(plan.shared, honest_validators) + plan.proposers - plan.shared > len(plan.bad_proposers)

    def _give_up(self) -> None:
        heights = ", ".join(
            f"{node.name} {node.height + 1}/{node.replica.core.current.round}" for node in self.honest
        )
        late = [client.name for client in self.clients if not client.is_done]
        if all(node.height >= self._heights_to_go for node in self.honest):
            raise Failed("transactions", f"not all those of {', '.join(late)} are final; {heights}")
        raise Failed(
            "progress",
            f"{(self.time_us - self._healed_us) // 1_000} ms after the network healed not everybody has come "
            f"to height {self._heights_to_go}; {heights}",
        )

    def _check_end(self) -> None:
        if not self._is_over():
            raise Failed("progress", "nothing happens any more")
        for client in self.clients:
            client.check()
        self._check_conduct()
        self._check_money()

    def _check_conduct(self) -> None:
        """Every impeachment counts against its proposer; who was caught contradicting itself is on chain."""
        node = max(self.honest, key=lambda each: each.height)
        state = node.state()
        impeached: dict[bytes, int] = {}
        for block in self.checks.blocks[: node.height]:
            if block.header.proposer == bytes(32):
                proposer = self.genesis.proposers[(block.header.height - 1) % self.plan.proposers]
                impeached[proposer] = impeached.get(proposer, 0) + 1
        self.result.impeached = sum(impeached.values())
        for proposer in self.genesis.proposers:
            count = state.conduct(proposer).impeached_count
            if count != impeached.get(proposer, 0):
                raise Failed(
                    "invalid block",
                    f"a proposer was impeached {impeached.get(proposer, 0)} times, not {count}",
                )
        # Evidence that was found a while ago by somebody who can bring it on chain must be there.
        for witness in self.honest:
            if witness.key is None or not self.has_honest_proposer:
                continue
            for found in witness.replica.evidence:
                vote = found.first
                if vote.height < self._heights_at_heal and self.is_healed:
                    continue
                if vote.height + self._turns * self.plan.proposers <= node.height and not state.equivocation(
                    vote.voter, vote.height
                ):
                    raise Failed("evidence", f"{witness.name}'s of height {vote.height} is not on chain")

    def _check_money(self) -> None:
        node = self.honest[0]
        owners = {public for public, _ in self.genesis.balances} | set(self.genesis.proposers)
        owners |= {client.payee for client in self.clients}
        total = sum(node.state().account(public).balance_ucpc for public in sorted(owners))
        if total != SUPPLY_UCPC:
            raise Failed("invalid block", f"there are {total} ucpc, not {SUPPLY_UCPC}")

    def _finish(self) -> Result:
        result = self.result
        for node in self.nodes:
            if node.starts and node.is_up:
                node.stop()
        result.step = self.step
        result.digest = self._hasher.hexdigest()
        result.simulated_ms = self.time_us // 1_000
        result.blocks = len(self.checks.blocks)
        result.transactions = len(self.checks.final)
        result.sent = self.network.sent_count
        return result


def label_of(message: Message) -> str:
    """What a message is, for the trace."""
    match message:
        case messages.Ballot(vote=vote, certificate=shown):
            more = f" shows {shown.round}" if shown else ""
            return f"{vote.form} {vote.height}/{vote.round} {vote.block_hash.hex()[:8]}{more}"
        case messages.Proposal(block=block):
            return f"PROPOSAL {block.header.height} {block.header.block_hash.hex()[:8]}"
        case messages.Validate(certificate=certificate):
            return f"VALIDATE {certificate.height}/{certificate.round} {certificate.block_hash.hex()[:8]}"
        case messages.WantBlock(height=height, block_hash=block_hash):
            return f"WANT {height} {block_hash.hex()[:8]}"
        case messages.WantChain(first=first, count=count):
            return f"WANT {first}+{count}"
        case messages.Relay(transactions=transactions):
            return f"RELAY {len(transactions)}"
    return type(message).__name__


def run(plan: Plan, rules: Rules | None = None, *, is_traced: bool = False) -> Result:
    """Simulate a plan."""
    return World(plan, rules, is_traced=is_traced).run()
