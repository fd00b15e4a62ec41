"""Nodes that break the protocol, each in its own way.

Runs on CPython.  Most are honest replicas whose words are twisted on their way out; so they know what
happens, and are heard.  A share of their words is left as it is, or nobody would be fooled for long.
"""

from dataclasses import replace
from random import Random

from chain_node.block import Block, Certificate, Phase, Vote
from chain_node.messages import Ballot, Message, Proposal, Validate
from chain_node.replica import Sends
from puf.ed25519 import SigningKey
from tests.sim import stub
from tests.sim.node import Around, Node


class Faulty(Node):
    """What faulty nodes have in common: their words go through `twist`."""

    is_honest = False

    def __init__(self, world: Around, index: int, name: str, key: SigningKey | None, address: bytes) -> None:
        super().__init__(world, index, name, key, address)
        self.random = Random(f"{world.plan.seed} faulty {name}")

    def post(self, sends: Sends) -> None:
        for peer, message in sends:
            self.twist(peer, message)

    def twist(self, peer: bytes | None, message: Message) -> None:
        """What it says instead of this."""
        self.say(peer, message)

    def say(self, peer: bytes | None, message: Message) -> None:
        self.world.send(self, peer, message, self.busy_until_us)

    def say_later(self, peer: bytes | None, message: Message, delay_ms: int) -> None:
        self.world.at(self.world.time_us + delay_ms * 1_000, self.say, peer, message)

    @property
    def peers(self) -> list[bytes]:
        """All others."""
        return [node.address for node in self.world.nodes if node.address != self.address]

    def some(self) -> list[bytes]:
        """About half of them."""
        return [peer for peer in self.peers if self.random.random() < 0.5]

    def vote(self, height: int, round_: int, phase: Phase, block_hash: bytes) -> Vote:
        """Our signature on whatever we like."""
        assert self.key
        return Vote.sign(self.key, self.world.genesis.chain_id, height, round_, phase, block_hash)

    def values(self) -> list[bytes]:
        """The blocks that are talked about at our height."""
        return list(self.replica.core.current._blocks)

    def another(self, block_hash: bytes) -> bytes:
        """A block other than this one, a real one if there is one."""
        others = [value for value in self.values() if value != block_hash]
        return self.random.choice(others) if others else self.random.randbytes(32)

    def is_ours(self, message: Message) -> bool:
        return isinstance(message, Ballot) and message.vote.voter == self.address


class Equivocator(Faulty):
    """Says one thing to some, and the contrary to the others."""

    def twist(self, peer: bytes | None, message: Message) -> None:
        if peer is None and isinstance(message, Ballot) and self.is_ours(message):
            vote = message.vote
            other = self.another(vote.block_hash)
            twin = Ballot(self.vote(vote.height, vote.round, vote.phase, other), message.certificate)
            some = set(self.some())
            for each in self.peers:
                self.say(each, twin if each in some else message)
            if self.random.random() < 0.2:
                self.say(self.random.choice(self.peers), twin)
        else:
            self.say(peer, message)


class Withholder(Faulty):
    """Tells some, and not others; sometimes later, and sometimes nobody."""

    def twist(self, peer: bytes | None, message: Message) -> None:
        if peer is not None:
            if self.random.random() < 0.5:
                self.say(peer, message)
            return
        for each in self.some():
            self.say_later(each, message, self.random.choice((0, 0, 1_000, 10_000)))


class Replayer(Faulty):
    """Remembers all that is said, and says it again at any time."""

    def __init__(self, world: Around, index: int, name: str, key: SigningKey | None, address: bytes) -> None:
        super().__init__(world, index, name, key, address)
        self._heard: list[Message] = []

    def receive(self, sender: Node, message: Message) -> None:
        if len(self._heard) < 400:
            self._heard.append(message)
        else:
            self._heard[self.random.randrange(400)] = message
        super().receive(sender, message)

    def twist(self, peer: bytes | None, message: Message) -> None:
        self.say(peer, message)
        if self._heard:
            self.say(self.random.choice((None, *self.peers)), self.random.choice(self._heard))


class Forger(Faulty):
    """Makes up votes of others, of strangers and of other chains, and certificates out of nothing."""

    def twist(self, peer: bytes | None, message: Message) -> None:
        self.say(peer, message)
        if isinstance(message, Ballot) and peer is None:
            for each in self._forged(message):
                self.say(self.random.choice((None, *self.peers)), each)

    def _forged(self, ballot: Ballot) -> list[Message]:
        vote, rng = ballot.vote, self.random
        victim = rng.choice(self.world.genesis.validators)
        other = self.another(vote.block_hash)
        wrong = Vote(
            victim,
            vote.chain_id,
            vote.height,
            vote.round,
            vote.phase,
            other,
            self.vote(vote.height, vote.round, vote.phase, other).data,
        )
        stranger = stub.key_of("stranger", is_real=self.world.plan.is_real)
        foreign = Vote.sign(stranger, vote.chain_id, vote.height, vote.round, vote.phase, other)
        assert self.key
        elsewhere = Vote.sign(self.key, bytes(32), vote.height, vote.round, vote.phase, other)
        mine = self.world.genesis.validators.index(self.address)
        signature = self.vote(vote.height, vote.round, Phase.COMMIT, other).signature
        count = len(self.world.genesis.validators)
        copies = Certificate(vote.height, vote.round, other, ((mine, signature),) * count)
        spread = replace(copies, signatures=tuple((index, signature) for index in range(count)))
        alone = replace(copies, signatures=((mine, signature),))
        # A P-certificate is none of COMMITs: its votes passed off as such.
        shown = ballot.certificate
        ahead = self.vote(vote.height, vote.round + rng.randint(1, 30), Phase.ROUND, bytes(32))
        forged: list[Message] = [Ballot(wrong), Ballot(ahead)]
        if self.world.plan.is_codec:
            # Bytes carry whose vote it is; another name cannot be put on it.
            forged = [Ballot(ahead)]
        forged += [Ballot(foreign), Ballot(elsewhere), Validate(copies), Validate(spread), Validate(alone)]
        forged.append(Ballot(vote, replace(copies, round=vote.round + 1)))
        if shown:
            forged.append(Validate(shown))
        for block in self.replica.core.current._blocks.proposals():
            # One that nobody has sealed, and nobody has asked for.
            forged.append(Proposal(replace(block, header=replace(block.header, time_ms=1)), None))
        return rng.sample(forged, 2)


class Revealer(Faulty):
    """Gathers votes into certificates that nobody else has, and shows them late, to one."""

    def __init__(self, world: Around, index: int, name: str, key: SigningKey | None, address: bytes) -> None:
        super().__init__(world, index, name, key, address)
        self._votes: dict[tuple[int, int, Phase, bytes], dict[int, bytes]] = {}
        self._hidden: list[tuple[Phase, Certificate]] = []

    def receive(self, sender: Node, message: Message) -> None:
        if isinstance(message, Ballot) and message.vote.phase in (Phase.PREPARE, Phase.COMMIT):
            self._gather(message.vote)
        super().receive(sender, message)

    def _gather(self, vote: Vote) -> None:
        genesis = self.world.genesis
        if vote.voter not in genesis.validators:
            return
        place = (vote.height, vote.round, vote.phase, vote.block_hash)
        votes = self._votes.setdefault(place, {})
        votes[genesis.validators.index(vote.voter)] = vote.signature
        size = len(genesis.validators) - self.world.plan.faulty_max
        mine = genesis.validators.index(self.address)
        if mine not in votes and len(votes) >= size - 1:
            votes[mine] = self.vote(*place).signature
            if len(votes) >= size:
                certificate = Certificate(
                    vote.height, vote.round, vote.block_hash, tuple(sorted(votes.items()))
                )
                self._hidden.append((vote.phase, certificate))

    def twist(self, peer: bytes | None, message: Message) -> None:
        if isinstance(message, Ballot) and message.vote.phase in (Phase.PREPARE, Phase.COMMIT):
            # Its votes are needed for the certificates that only it has.
            if self.random.random() < 0.3:
                self.say(self.random.choice(self.peers), message)
            return
        self.say(peer, message)

    def plan_tick(self) -> None:
        super().plan_tick()
        if self._hidden and self.random.random() < 0.2:
            phase, certificate = self._hidden[-1 if self.random.random() < 0.7 else 0]
            victim = self.random.choice(self.peers)
            if phase == Phase.COMMIT:
                self.say(victim, Validate(certificate))
            else:
                current = self.replica.core.current
                round_ = max(certificate.round + 1, current.round)
                shown = self.vote(certificate.height, round_, Phase.ROUND, bytes(32))
                self.say(victim, Ballot(shown, certificate))


class YesMan(Faulty):
    """Votes for everything that anybody votes for."""

    def receive(self, sender: Node, message: Message) -> None:
        super().receive(sender, message)
        if isinstance(message, Ballot) and not self.is_ours(message) and self.is_up:
            vote = message.vote
            if vote.phase in (Phase.PREPARE, Phase.COMMIT) and self.random.random() < 0.5:
                for phase in (Phase.PREPARE, Phase.COMMIT):
                    self.say(
                        sender.address, Ballot(self.vote(vote.height, vote.round, phase, vote.block_hash))
                    )


class Amnesiac(Faulty):
    """As a coordinator it knows of no certificate; in other rounds it votes for the impeachment block.

    In round 0 it helps some to decide, and not the others.
    """

    def twist(self, peer: bytes | None, message: Message) -> None:
        if isinstance(message, Ballot) and self.is_ours(message) and message.vote.round:
            vote = message.vote
            impeachment = self.replica.core.current._blocks.impeachment_hash
            value = bytes(32) if vote.phase == Phase.ROUND else impeachment
            self.say(peer, Ballot(self.vote(vote.height, vote.round, vote.phase, value)))
            if vote.phase == Phase.ROUND:
                validators = self.world.genesis.validators
                if (vote.height + vote.round) % len(validators) == validators.index(self.address):
                    self.say(peer, Ballot(self.vote(vote.height, vote.round, Phase.COORDINATE, impeachment)))
                for phase in (Phase.PREPARE, Phase.COMMIT):
                    self.say(peer, Ballot(self.vote(vote.height, vote.round, phase, impeachment)))
        elif isinstance(message, Ballot) and peer is None and message.vote.phase == Phase.COMMIT:
            side = Random(f"{self.world.plan.seed} sides {message.height}")
            for each in self.peers:
                if side.random() < 0.4:
                    self.say(each, message)
        elif not isinstance(message, Validate):
            self.say(peer, message)


class Twin(Faulty):
    """One of two honest instances with one key: each knows nothing of the other."""


class Silent(Faulty):
    """Says nothing at all."""

    def twist(self, peer: bytes | None, message: Message) -> None:
        pass


class BadProposer(Faulty):
    """A proposer whose blocks are twisted."""

    def twist(self, peer: bytes | None, message: Message) -> None:
        if isinstance(message, Proposal) and message.seal and message.seal.voter == self.address:
            self.propose(peer, message)
        else:
            self.say(peer, message)

    def propose(self, peer: bytes | None, proposal: Proposal) -> None:
        """What it does with its own block."""

    def sealed(self, block: Block) -> Proposal:
        """A block as we would propose it."""
        header = block.header
        return Proposal(block, self.vote(header.height, 0, Phase.PROPOSE, header.block_hash))


class LateProposer(BadProposer):
    """Proposes when the others have waited for long, or almost."""

    def propose(self, peer: bytes | None, proposal: Proposal) -> None:
        timeout_ms = self.world.plan.timeout_ms
        self.say_later(peer, proposal, timeout_ms * self.random.randint(70, 180) // 100)


class IllicitProposer(BadProposer):
    """Proposes a block that is not what its parent's state makes of it."""

    def propose(self, peer: bytes | None, proposal: Proposal) -> None:
        block = proposal.block
        header = replace(block.header, state_root=self.random.randbytes(32))
        if self.random.random() < 0.3:
            header = replace(block.header, time_ms=block.header.time_ms - 3_600_000)
        self.say(peer, self.sealed(Block(header, block.transactions)))


class TwoBlocks(BadProposer):
    """Proposes two blocks, each to a part; sometimes both to some."""

    def propose(self, peer: bytes | None, proposal: Proposal) -> None:
        block = proposal.block
        header = block.header
        # Far enough ahead that it is too early for some.
        ahead_ms = Random(f"{self.world.plan.seed} ahead {header.height}").choice((1, 4_800, 5_100, 5_500))
        other = self.sealed(Block(replace(header, time_ms=header.time_ms + ahead_ms), block.transactions))
        # The same at each sending: both are its words from then on.
        side = Random(f"{self.world.plan.seed} sides {header.height}")
        for each in self.peers if peer is None else (peer,):
            part = side.random()
            if part < 0.6:
                self.say(each, proposal)
            if part > 0.4:
                self.say(each, other)


class PartProposer(BadProposer):
    """Proposes to some only."""

    def propose(self, peer: bytes | None, proposal: Proposal) -> None:
        side = Random(f"{self.world.plan.seed} sides {proposal.height}")
        for each in self.peers if peer is None else (peer,):
            if side.random() < 0.5:
                self.say(each, proposal)


VALIDATORS: dict[str, type[Node]] = {
    "": Node,
    "equivocate": Equivocator,
    "withhold": Withholder,
    "replay": Replayer,
    "forge": Forger,
    "reveal": Revealer,
    "yes": YesMan,
    "amnesia": Amnesiac,
    "twins": Twin,
    "silent": Silent,
}
PROPOSERS: dict[str, type[Node]] = {
    "": Node,
    "silent": BadProposer,
    "late": LateProposer,
    "illicit": IllicitProposer,
    "two": TwoBlocks,
    "part": PartProposer,
}
