"""A counterexample of chain_node/spec/LBFT.tla as a story, and the story told back.

Runs on CPython.  A story has a line for each step:

     7  v1 has COMMIT(0, B1) of v1 v2 v3: DECIDE(0, B1)

Number, who, why it may, and what it does.  Lines with # explain.  Messages that are not named did not
arrive yet.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_VOTE = re.compile(r'<<"(PREPARE|COMMIT)", (\w+), (\d+), (\w+)>>')
_LINE = re.compile(
    r" *(\d+)  (\w+) (?:has (PREPARE|COMMIT)\((\d+), (\w+)\) of ([\w ]+)|([\w ,]+)): "
    r"(PREPARE|COMMIT|DECIDE)\((\d+), (\w+)\)"
)

HEAD = """\
# How the published rule forks, with no faulty validator. One height, four honest validators v1 to v4.
#
# B1 is the proposer's block, I the impeachment block. The published rule: {quorum} PREPAREs or COMMITs make a
# certificate of round 0, but {impeach_quorum} (f+1) make one of an impeachment, and who has committed B1 may
# impeach it all the same. A message that no line names has not arrived yet; nothing else goes wrong.
#
# This is the shortest counterexample to Agreement that TLC finds for the case `published` of tests/model.py.
# `python -m tests.model --story` writes this file; a test compares it with what TLC finds today.

"""


@dataclass(frozen=True, slots=True)
class Vote:
    """What was signed; `phase` is DECIDE for what was taken for final."""

    phase: str
    voter: str
    round: int
    value: str


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a story."""

    does: Vote
    has: tuple[Vote, ...]
    """The votes of others and its own that it rests on."""


@dataclass(frozen=True, slots=True)
class _State:
    votes: frozenset[Vote]
    decided: dict[str, str]


def _state(text: str) -> _State:
    votes = frozenset(Vote(phase, voter, int(r), value) for phase, voter, r, value in _VOTE.findall(text))
    decided = re.search(r"/\\ decided = \((.*?)\)", text, re.DOTALL)
    pairs = re.findall(r"(\w+) :> (\w+)", decided[1] if decided else "")
    return _State(votes, {who: value for who, value in pairs if value != "None"})


def _line(before: _State, after: _State, quorum: int, impeach_quorum: int) -> str:
    """What happened between two states."""
    cast = sorted(after.votes - before.votes, key=str)
    taken = sorted(after.decided.items() - before.decided.items())

    def voters(phase: str, r: int, value: str, who: str) -> list[str]:
        """Whose votes are enough for `who`: its own, and the first of the others."""
        all_voters = {v.voter for v in before.votes if (v.phase, v.round, v.value) == (phase, r, value)}
        chosen = sorted(all_voters, key=lambda voter: (voter != who, voter))[
            : impeach_quorum if r else quorum
        ]
        return sorted(chosen)

    if taken:
        ((who, value),) = taken
        for r in sorted({vote.round for vote in before.votes}):
            whose = voters("COMMIT", r, value, who)
            if len(whose) == (impeach_quorum if r else quorum):
                return f"{who} has COMMIT({r}, {value}) of {' '.join(whose)}: DECIDE({r}, {value})"
        raise ValueError(f"{who} decides {value} without a certificate; correct the model")
    (vote,) = cast
    what = f"{vote.phase}({vote.round}, {vote.value})"
    if vote.phase == "COMMIT":
        whose = voters("PREPARE", vote.round, vote.value, vote.voter)
        return f"{vote.voter} has PREPARE({vote.round}, {vote.value}) of {' '.join(whose)}: {what}"
    if vote.round == 0:
        return f"{vote.voter} gets the block of the proposer: {what}"
    return f"{vote.voter} has waited too long, enters round {vote.round}: {what}"


def story(trace: Sequence[str], *, quorum: int, impeach_quorum: int) -> str:
    """The story of a counterexample.

    trace: its states as TLC writes them, the initial one first.
    """
    states = [_state(text) for text in trace]
    lines = [
        f"{number:>2}  {_line(before, after, quorum, impeach_quorum)}\n"
        for number, (before, after) in enumerate(itertools.pairwise(states), 1)
    ]
    return HEAD.format(quorum=quorum, impeach_quorum=impeach_quorum) + "".join(lines)


def steps(text: str) -> Iterator[Step]:
    """The steps that a story tells.  Raises ValueError for a line that is none."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"line {number}: {line!r} is no step of a story; see the head of {__name__}")
        _, who, phase, r, value, whose, _, does, at, what = match.groups()
        has = tuple(Vote(phase, voter, int(r), value) for voter in (whose or "").split())
        yield Step(Vote(does, who, int(at), what), has)
