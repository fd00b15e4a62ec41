"""A committee of consensus cores on one table: every message is a thing that a test delivers, holds or drops.

Runs on CPython.  No ledger: a block's content is its time, and a test says which ones are illicit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chain_node.block import NO_PROPOSER, Block, Certificate, Header, list_root
from chain_node.genesis import Genesis
from chain_node.kept import Kept
from chain_node.lbft import Core
from chain_node.lbft_ready import Decided, Equivocation, Height, Ready
from chain_node.lbft_states import State
from chain_node.messages import ConsensusMessage, Validate
from chain_node.schedule import TakeTurns
from chain_node.signatures import Signatures
from puf.ed25519 import SigningKey
from tests.chain_node.world import PROPOSER, VALIDATORS, genesis_of

TIMEOUT_MS = 1_000
PERIOD_MS = 100
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
    is_up: bool = True


class Committee:
    """Members v0, v1, ... and the proposer p; each event's letters lie on the table until delivered."""

    def __init__(
        self,
        validators: Sequence[SigningKey] = VALIDATORS,
        proposers: Sequence[SigningKey] = (PROPOSER,),
        core: Callable[..., Core] = Core,
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
        for name, key in named:
            self.members[name] = Member(name, key, self._core(key))
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

    def hand(self, receiver: str, sender: str, message: ConsensusMessage) -> None:
        """Give a message to a member, whoever made it."""
        member = self[receiver]
        self._do(member, member.core.step(self[sender].key.public, message, self.now_ms))

    def drop(self, unwanted: Callable[[Letter], bool] = lambda letter: True) -> None:
        """Lose letters."""
        self.table = [letter for letter in self.table if not unwanted(letter)]

    def wait(self, duration_ms: int, *names: str) -> None:
        """Let time pass, for these or for all, in steps of whoever is due first."""
        end_ms = self.now_ms + duration_ms
        members = [self[name] for name in names] or list(self.members.values())
        while True:
            due = [
                (member.core.deadline_ms, member.name)
                for member in members
                if member.is_up and member.core.deadline_ms is not None
            ]
            if not due or min(due)[0] > end_ms:  # type: ignore[operator]
                break
            deadline_ms, name = min(due)
            self.now_ms = max(self.now_ms, deadline_ms or 0)
            self._do(self[name], self[name].core.tick(self.now_ms))
        self.now_ms = end_ms

    def kill(self, name: str) -> None:
        """Cut the power; what is on the disk stays."""
        self[name].is_up = False

    def revive(self, name: str) -> None:
        """Start it again from its disk."""
        member = self[name]
        member.is_up = True
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
        height = len(member.chain) + 1
        parent_hash = member.chain[-1].block.header.block_hash if member.chain else self.genesis.chain_id
        impeachment = block_on(
            self.genesis, height, parent_hash, round_=1, salt=TIMEOUT_MS, proposer=NO_PROPOSER
        )
        due_ms = self.now_ms + PERIOD_MS
        start = Height(height, parent_hash, impeachment, due_ms, due_ms, has_work=True)
        kept = [item for item in member.disk if item.vote.height == height]
        self._do(member, member.core.begin(start, self.now_ms, kept))

    def _do(self, member: Member, ready: Ready) -> None:
        member.disk += ready.persist
        for peer, message in ready.send:
            for name in self.members:
                if name != member.name and (peer is None or self._names[peer] == name):
                    self.table.append(Letter(member.name, name, message))
        for block in ready.check:
            name = block.header.block_hash
            self._do(member, member.core.judge(name, name not in self.illicit, self.now_ms))
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
        parent_hash = member.chain[-1].block.header.block_hash if member.chain else self.genesis.chain_id
        return block_on(
            self.genesis, len(member.chain) + 1, parent_hash, salt=salt, proposer=member.key.public
        )
