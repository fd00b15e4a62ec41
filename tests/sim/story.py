"""Stories of a committee as text: what happens, and under it, indented, what comes of it.

Runs on CPython.  A line that is not indented is an event:

    rules published          (first line) the protocol as it was published, in place of ours
    wait 100 [v0 v1]         time passes, for all or for these only
    timer v0 v1              each of these has waited too long, and enters the next round
    deliver [from p] [to v0 v1] [only PREPARE]      what lies on the table arrives, one message delay
    settle [from ..] [to ..] [only ..]              the same, until nothing more comes of it
    lose [from ..] [to ..] [only ..]                it never arrives
    kill v0, revive v0       its power goes; it starts again from its disk
    silent, speaks           the proposer stops proposing; begins again
    illicit                  the proposer's next block is not what it must be
    second to v2 v3          the proposer hands them another block, sealed as well
    forge v3 COMMIT 1 I [showing PREPARE 0 B by v0 v1 v3] to v0     a vote that v3's key has signed

Names of blocks: I is the impeachment block, B the first proposal of a height, C another one; "-" is none.
Words of heights after the first end in "@2".  `python -m tests.sim.story FILE..` writes what comes of the
events into the file: read the difference before you keep it.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from chain_node.block import NO_BLOCK, Certificate, Phase, certify
from chain_node.genesis import Genesis
from chain_node.lbft import Core
from chain_node.lbft_height import HeightCore
from chain_node.lbft_ready import Ready
from chain_node.lbft_states import State
from chain_node.messages import Ballot, ConsensusMessage, Proposal, Validate, WantBlock, WantChain
from chain_node.schedule import Schedule
from chain_node.signatures import Signatures
from tests.chain_node.lbft_committee import Committee, Letter, Member
from tests.sim.broken import BROKEN
from tests.sim.world import Rules

STORIES = Path(__file__).parent / "stories"
OPTIONS = ("from", "to", "only", "showing", "by")


class BadStory(Exception):
    """A line that says nothing this interpreter knows."""


def core_maker(rules: Rules, genesis: Genesis | None = None) -> Callable[[Signatures, Schedule, int], Core]:
    """How a committee's cores are made under these rules."""

    class RuledCore(Core):
        HEIGHT: type[HeightCore] = rules.height_core

    def make(signatures: Signatures, schedule: Schedule, timeout_ms: int) -> Core:
        # The committee has made them; under other rules the same keys believe other things.
        ruled = rules.signatures(signatures.chain_id, signatures.validators, signatures._key)
        return RuledCore(ruled, schedule, timeout_ms)

    return make


class Stage(Committee):
    """A committee that notes who says and decides what."""

    def __init__(self, rules: Rules) -> None:
        self._lines: dict[str, list[str]] = {}
        self._heard: dict[str, set[str]] = {}
        self._block_names: dict[bytes, str] = {}
        self._counts: dict[int, int] = {}
        self._places: dict[str, str] = {}
        super().__init__(core=core_maker(rules))
        self.take_notes()

    def _do(self, member: Member, ready: Ready) -> None:
        notes = self._lines.setdefault(member.name, [])
        if member.is_up:
            for peer, message in ready.send:
                words = self.words(member, message)
                if words not in self._heard.setdefault(member.name, set()):
                    self._heard[member.name].add(words)
                    notes.append(f"says {words}" + (f" to {self._names[peer]}" if peer else ""))
            for found in ready.evidence:
                notes.append(f"accuses {self._names[found.first.voter]}")
            if ready.decided:
                certificate = ready.decided.certificate
                name = self.name_of(certificate.block_hash, certificate.height)
                notes.append(f"DECIDES {name}{_at(certificate.height)} by round {certificate.round}")
        super()._do(member, ready)

    def revive(self, name: str) -> None:
        self._heard[name] = set()
        super().revive(name)

    def name_of(self, block_hash: bytes, height: int) -> str:
        """What the story calls a block."""
        if block_hash == NO_BLOCK:
            return "-"
        if block_hash not in self._block_names:
            impeachments = {
                self.impeachment(name)
                for name, member in self.members.items()
                if member.core._now and member.core.current.height == height
            }
            if block_hash in impeachments:
                return "I"
            count = self._counts[height] = self._counts.get(height, 0) + 1
            self._block_names[block_hash] = "ABCDEFGH"[count]
        return self._block_names[block_hash]

    def hash_of(self, name: str, member: str) -> bytes:
        """The block that the story calls so."""
        if name == "I":
            return self.impeachment(member)
        if name == "-":
            return NO_BLOCK
        return next(block_hash for block_hash, known in self._block_names.items() if known == name)

    def words(self, member: Member, message: ConsensusMessage) -> str:
        """A message in the words of the story."""
        match message:
            case Ballot(vote=vote, certificate=shown):
                name = self.name_of(vote.block_hash, vote.height)
                showing = f" showing {shown.round}" if shown else ""
                return f"{vote.phase.name} {vote.round} {name}{showing}{_at(vote.height)}"
            case Proposal(block=block):
                height = block.header.height
                return f"PROPOSAL {self.name_of(block.header.block_hash, height)}{_at(height)}"
            case Validate(certificate=certificate):
                height = certificate.height
                return f"VALIDATE {self.name_of(certificate.block_hash, height)}{_at(height)}"
            case WantBlock(height=height, block_hash=block_hash):
                return f"WANT {self.name_of(block_hash, height)}{_at(height)}"
            case WantChain(first=first, count=count):
                return f"WANT {count} from {first}"

    def kind_of(self, letter: Letter) -> str:
        """The first word of a letter."""
        return self.words(self[letter.sender], letter.message).split()[0]

    def take_notes(self) -> list[str]:
        """What has happened since the last time, a line for each member."""
        lines = []
        for name, member in self.members.items():
            current = member.core.current
            place = f"{current.height}/{current.round} {State(current.state).name}"
            notes = self._lines.pop(name, [])
            if not member.is_up:
                notes = []
            elif place != self._places.get(name):
                if name.startswith("v") or current.height != int(self._places.get(name, "0/").split("/")[0]):
                    notes.append(f"is in {place}" if name.startswith("v") else f"is in {current.height}")
                self._places[name] = place
            if notes:
                lines.append(f"    {name} " + ", ".join(notes))
        return lines


def _at(height: int) -> str:
    return "" if height == 1 else f"@{height}"


def _options(words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """What stands before the first option, and the options."""
    plain: list[str] = []
    options: dict[str, list[str]] = {}
    into = plain
    for word in words:
        if word in OPTIONS:
            into = options.setdefault(word, [])
        else:
            into.append(word)
    return plain, options


def play(stage: Stage, line: str) -> None:
    """Let one event happen.  Raises BadStory."""
    verb, *words = line.split()
    plain, options = _options(words)

    def is_meant(letter: Letter) -> bool:
        return (
            letter.sender in options.get("from", [letter.sender])
            and letter.receiver in options.get("to", [letter.receiver])
            and ("only" not in options or stage.kind_of(letter) in options["only"])
        )

    match verb:
        case "wait":
            stage.wait(int(plain[0]), *plain[1:])
        case "timer":
            for name in plain:
                _time_out(stage, stage[name])
        case "deliver":
            stage.deliver(is_meant)
        case "settle":
            stage.settle(is_meant)
        case "lose":
            stage.drop(is_meant)
        case "kill":
            stage.kill(plain[0])
        case "revive":
            stage.revive(plain[0])
        case "silent" | "speaks":
            stage.proposes = verb == "speaks"
        case "illicit":
            stage.sealed("p", is_illicit=True)
        case "second":
            for name in options["to"]:
                stage.hand(name, "p", stage.sealed("p", salt=1))
        case "forge":
            _forge(stage, plain, options)
        case _:
            raise BadStory(f"no such event: {line}")


def _time_out(stage: Stage, member: Member) -> None:
    round_ = member.core.current.round
    while member.core.current.round == round_:
        deadline_ms = member.core.deadline_ms
        if deadline_ms is None:
            raise BadStory(f"{member.name} waits for nothing")
        stage.now_ms = max(stage.now_ms, deadline_ms)
        stage._do(member, member.core.tick(stage.now_ms))


def _forge(stage: Stage, plain: list[str], options: dict[str, list[str]]) -> None:
    name, phase, round_, block = plain
    shown: Certificate | None = None
    if "showing" in options:
        shown_phase, shown_round, shown_block = options["showing"]
        votes = [
            stage.vote(each, Phase[shown_phase], int(shown_round), stage.hash_of(shown_block, each))
            for each in options["by"]
        ]
        shown = certify(votes, stage.genesis.validators)
    for receiver in options["to"]:
        vote = stage.vote(name, Phase[phase], int(round_), stage.hash_of(block, receiver))
        stage.hand(receiver, name, Ballot(vote, shown))


def tell(text: str) -> str:
    """The story with what really comes of its events."""
    lines = text.splitlines()
    is_published = "rules published" in lines
    stage = Stage(BROKEN["the published protocol"] if is_published else Rules())
    told = []
    for line in lines:
        if line.startswith((" ", "\t")):
            continue
        told.append(line)
        if line and not line.startswith(("#", "rules")):
            play(stage, line)
            told += stage.take_notes()
    return "\n".join(told) + "\n"


def main() -> int:
    """Tells the stories of the files that are named, anew."""
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(tell(path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
