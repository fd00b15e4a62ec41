"""A committee of consensus cores on one table: every message is a thing that a test delivers, holds or drops.

Runs on CPython.  No ledger: a block's content is its time, and a test says which ones are illicit.  Whatever
a test does, no member may send what it has not kept, or contradict what it has ever sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chain_node.block import (
    NO_BLOCK,
    NO_PROPOSER,
    Block,
    Certificate,
    Header,
    Phase,
    Vote,
    certify,
    list_root,
)
from chain_node.genesis import Genesis
from chain_node.kept import Kept
from chain_node.lbft import Core
from chain_node.lbft_ready import Decided, Equivocation, Height, Ready
from chain_node.lbft_states import Fate, State
from chain_node.messages import Ballot, ConsensusMessage, Proposal, Validate
from chain_node.schedule import TakeTurns
from chain_node.signatures import Signatures
from puf.ed25519 import SigningKey
from tests.chain_node.world import PROPOSER, VALIDATORS, genesis_of, key

TIMEOUT_MS = 1_000
PERIOD_MS = 100
NAMES = ("v0", "v1", "v2", "v3")
EVERYBODY = {"v0", "v1", "v2", "v3", "p"}
SEVEN = tuple(key(f"validator {index}") for index in range(7))
EMPTY = list_root([])


def block_on(
    genesis: Genesis, height: int, parent_hash: bytes, *, round_: int = 0, salt: int = 0, proposer: bytes
) -> Block:
    """A block without transactions; `salt` makes it another one."""
    header = Header(
        chain_id=genesis.chain_id,
        height=height,
        round=round_,
        parent_hash=parent_hash,
        time_ms=genesis.time_ms + height * PERIOD_MS + salt,
        proposer=proposer,
        tx_count=0,
        tx_root=EMPTY,
        receipts_root=EMPTY,
        state_root=EMPTY,
        validators_hash=genesis.validators_hash,
    )
    return Block(header, ())


@dataclass
class Letter:
    """A message on its way."""

    sender: str
    receiver: str
    message: ConsensusMessage


@dataclass
class Member:
    """One node: its core, its disk, and what it has decided."""

    name: str
    key: SigningKey
    core: Core
    chain: list[Decided] = field(default_factory=list)
    disk: list[Kept] = field(default_factory=list)
    evidence: list[Equivocation] = field(default_factory=list)
    said: dict[tuple[int, int, Phase], bytes] = field(default_factory=dict)
    """By height, round and phase: what it was heard to vote for, ever."""
    keeps_left: int | None = None
    """How many times it still keeps something before its power goes; None: no limit."""
    dies_after_keeping: bool = False
    """Whether the last of it is kept; never is it sent."""
    is_up: bool = True


class Committee:
    """Members v0, v1, ... and the proposer p; each event's letters lie on the table until delivered."""

    def __init__(
        self,
        validators: Sequence[SigningKey] = VALIDATORS,
        proposers: Sequence[SigningKey] = (PROPOSER,),
        core: Callable[..., Core] = Core,
        observers: Sequence[SigningKey] = (),
    ) -> None:
        self.genesis = genesis_of(validators, proposers=tuple(each.public for each in proposers))
        self.now_ms = 0
        self.table: list[Letter] = []
        self.illicit: set[bytes] = set()
        self.proposes = True
        self._make_core = core
        self._schedule = TakeTurns(self.genesis.proposers)
        self.members: dict[str, Member] = {}
        named = [(f"v{index}", each) for index, each in enumerate(validators)]
        named += [(f"p{index or ''}", each) for index, each in enumerate(proposers) if each not in validators]
        named += [(f"o{index or ''}", each) for index, each in enumerate(observers)]
        for name, signer in named:
            self.members[name] = Member(name, signer, self._core(signer))
        self._names = {member.key.public: name for name, member in self.members.items()}
        for member in self.members.values():
            self._begin(member)

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    # What a test does

    def deliver(self, wanted: Callable[[Letter], bool] = lambda letter: True) -> int:
        """Deliver the letters that lie on the table and are wanted, in their order; how many."""
        letters, self.table = self.table, []
        count = 0
        for letter in letters:
            if not wanted(letter):
                self.table.append(letter)
            elif self[letter.receiver].is_up:
                self.hand(letter.receiver, letter.sender, letter.message)
                count += 1
        return count

    def settle(self, wanted: Callable[[Letter], bool] = lambda letter: True) -> None:
        """Deliver until nothing that is wanted lies on the table."""
        while self.deliver(wanted):
            pass

    def hand(self, receiver: str, sender: str, message: ConsensusMessage) -> Fate:
        """Give a message to a member, whoever made it; its fate."""
        member = self[receiver]
        before = list(member.core.fates)
        ready = member.core.step(self[sender].key.public, message, self.now_ms)
        [fate] = [Fate(index) for index, count in enumerate(member.core.fates) if count != before[index]]
        self._do(member, ready)
        return fate

    def drop(self, unwanted: Callable[[Letter], bool] = lambda letter: True) -> None:
        """Lose letters."""
        self.table = [letter for letter in self.table if not unwanted(letter)]

    def deliver_to(self, *names: str) -> int:
        """Deliver the letters to these; how many."""
        return self.deliver(lambda letter: letter.receiver in names)

    def hold(self, *names: str) -> None:
        """Lose all that lies on the table for these."""
        self.drop(lambda letter: letter.receiver in names)

    def vote(self, name: str, phase: Phase, round_: int, block_hash: bytes, height: int = 1) -> Vote:
        """What a member with this key could say."""
        return Vote.sign(self[name].key, self.genesis.chain_id, height, round_, phase, block_hash)

    def certificate(
        self, phase: Phase, round_: int, block_hash: bytes, names: str = "v0 v1 v2", height: int = 1
    ) -> Certificate:
        """What these could make together."""
        votes = [self.vote(name, phase, round_, block_hash, height) for name in names.split()]
        return certify(votes, self.genesis.validators)

    def ballot(
        self,
        name: str,
        phase: Phase,
        round_: int,
        block_hash: bytes,
        certificate: Certificate | None = None,
        height: int = 1,
    ) -> Ballot:
        """A vote on its way."""
        return Ballot(self.vote(name, phase, round_, block_hash, height), certificate)

    def sealed(self, name: str, salt: int = 0, *, is_illicit: bool = False) -> Proposal:
        """What a member proposes next, or could as well; `salt` makes it another block."""
        block = self.proposal(self[name], salt)
        if is_illicit:
            self.illicit.add(block.header.block_hash)
        header = block.header
        return Proposal(block, self.vote(name, Phase.PROPOSE, 0, header.block_hash, header.height))

    def impeachment(self, name: str) -> bytes:
        """Hash of the impeachment block of the height at which this member is."""
        return self._impeachment(self[name]).header.block_hash

    def wait(self, duration_ms: int, *names: str) -> None:
        """Let time pass, for these or for all, in steps of whoever is due first."""
        end_ms = self.now_ms + duration_ms
        members = [self[name] for name in names] or list(self.members.values())
        while True:
            deadlines = [(member.core.deadline_ms, member.name) for member in members if member.is_up]
            due = [(time_ms, name) for time_ms, name in deadlines if time_ms is not None]
            deadline_ms, name = min(due, default=(end_ms + 1, ""))
            if deadline_ms > end_ms:
                break
            self.now_ms = max(self.now_ms, deadline_ms)
            self._do(self[name], self[name].core.tick(self.now_ms))
        self.now_ms = end_ms

    def kill(self, name: str) -> None:
        """Cut the power; what is on the disk stays."""
        self[name].is_up = False

    def revive(self, name: str) -> None:
        """Start it again from its disk."""
        member = self[name]
        member.is_up, member.keeps_left = True, None
        member.core = self._core(member.key)
        self._begin(member)

    # What a test looks at

    def states(self) -> str:
        """Height, round and state of all validators, such as "v0 1/0 IDLE, v1 1/2 IMPEACH_PREPARE"."""
        parts = []
        for name, member in self.members.items():
            if name.startswith("v"):
                current = member.core.current
                parts.append(f"{name} {current.height}/{current.round} {State(current.state).name}")
        return ", ".join(parts)

    def decided(self, height: int = 1) -> dict[str, str]:
        """By member: "B" or "I", whatever it decided at this height."""
        return {
            name: self.kind(member.chain[height - 1].block)
            for name, member in self.members.items()
            if len(member.chain) >= height
        }

    def kind(self, block: Block) -> str:
        """I for an impeachment block, B for a proposer's."""
        return "I" if block.header.round else "B"

    def certificates(self, height: int = 1) -> list[Certificate]:
        """Those that members decided with."""
        return [
            each.chain[height - 1].certificate for each in self.members.values() if len(each.chain) >= height
        ]

    # Inside

    def _core(self, key: SigningKey) -> Core:
        signatures = Signatures(self.genesis.chain_id, self.genesis.validators, key)
        return self._make_core(signatures, self._schedule, TIMEOUT_MS)

    def _begin(self, member: Member) -> None:
        height, parent_hash = len(member.chain) + 1, self._head(member)
        due_ms = self.now_ms + PERIOD_MS
        start = Height(height, parent_hash, self._impeachment(member), due_ms, due_ms, has_work=True)
        kept = [item for item in member.disk if item.vote.height == height]
        self._do(member, member.core.begin(start, self.now_ms, kept))

    def _head(self, member: Member) -> bytes:
        return member.chain[-1].block.header.block_hash if member.chain else self.genesis.chain_id

    def _impeachment(self, member: Member) -> Block:
        return block_on(
            self.genesis,
            len(member.chain) + 1,
            self._head(member),
            round_=1,
            salt=TIMEOUT_MS,
            proposer=NO_PROPOSER,
        )

    def _check_said(self, member: Member, message: ConsensusMessage) -> None:
        """Rule 4, whatever a test is about."""
        votes = [message.vote] if isinstance(message, Ballot) else []
        if isinstance(message, Proposal) and message.seal:
            votes = [message.seal]
        for vote in votes:
            if vote.voter != member.key.public or vote.phase == Phase.ROUND:
                continue
            assert vote in [item.vote for item in member.disk], f"{member.name} has not kept {vote}"
            said = member.said.setdefault((vote.height, vote.round, vote.phase), vote.block_hash)
            assert said == vote.block_hash, f"{member.name} contradicts itself: {vote}"

    def _do(self, member: Member, ready: Ready) -> None:
        if not member.is_up:
            return
        if ready.persist and member.keeps_left is not None:
            member.keeps_left -= 1
            if member.keeps_left <= 0:
                member.disk += ready.persist if member.dies_after_keeping else ()
                self.kill(member.name)
                return
        member.disk += ready.persist
        for peer, message in ready.send:
            # What it sends to who asks for it may be sealed by another with its key.
            if peer is None:
                self._check_said(member, message)
            for name in self.members:
                if name != member.name and (peer is None or self._names[peer] == name):
                    self.table.append(Letter(member.name, name, message))
        for block in ready.check:
            block_hash = block.header.block_hash
            self._do(member, member.core.judge(block_hash, block_hash not in self.illicit, self.now_ms))
        if ready.is_proposal_due and self.proposes:
            self._do(member, member.core.propose(self.proposal(member), self.now_ms))
        for serve in ready.serve:
            for decided in member.chain[serve.first - 1 : serve.first - 1 + serve.count]:
                letter = Letter(
                    member.name, self._names[serve.peer], Validate(decided.certificate, decided.block)
                )
                self.table.append(letter)
        member.evidence += ready.evidence
        if ready.decided:
            member.chain.append(ready.decided)
            self._begin(member)

    def proposal(self, member: Member, salt: int = 0) -> Block:
        """What this member proposes next."""
        return block_on(
            self.genesis, len(member.chain) + 1, self._head(member), salt=salt, proposer=member.key.public
        )


def is_ballot(letter: Letter, phase: Phase) -> bool:
    return isinstance(letter.message, Ballot) and letter.message.vote.phase == phase


def ballots(committee: Committee, name: str, height: int = 1) -> list[str]:
    """What lies on the table from a member to v0 or v1, such as "PREPARE 1 I shows 0"."""
    first = "v0" if name != "v0" else "v1"
    impeachment = committee.impeachment(name)
    lines = []
    for letter in committee.table:
        message = letter.message
        if letter.sender == name and letter.receiver == first and isinstance(message, Ballot):
            vote, shown = message.vote, message.certificate
            value = {impeachment: "I", NO_BLOCK: "-"}.get(vote.block_hash, "B")
            lines.append(f"{vote.phase.name} {vote.round} {value} shows {shown.round if shown else '-'}")
    return list(dict.fromkeys(lines))


def in_state(state: State) -> Committee:
    """A committee whose v0 is in this state; what the others have sent it since lies on the table."""
    committee = Committee()
    committee.proposes = state in (State.PREPARE, State.COMMIT)
    if state in (State.PREPARE, State.COMMIT):
        committee.wait(PERIOD_MS)
        committee.deliver_to(*["v0"] if state == State.PREPARE else NAMES)
    if state in (State.IMPEACH_PREPARE, State.IMPEACH_COMMIT):
        committee.wait(PERIOD_MS + TIMEOUT_MS, *NAMES if state == State.IMPEACH_COMMIT else ["v0"])
    if state in (State.COMMIT, State.IMPEACH_COMMIT):
        committee.deliver_to("v0")
    assert committee["v0"].core.current.state == state
    return committee
