"""Stories of a committee: each comes out as it is told, and the model's fork is a fork here, too."""

import re
from pathlib import Path

import pytest

from tests.sim.broken import BROKEN
from tests.sim.story import STORIES, BadStory, Stage, play, tell
from tests.sim.world import Rules

ROOT = Path(__file__).parent.parent
FORK = ROOT / "chain_node" / "spec" / "published_fork.txt"
PUBLISHED = BROKEN["the published protocol"]


@pytest.mark.parametrize("path", sorted(STORIES.glob("*.txt")), ids=lambda path: path.stem)
def test_a_story_comes_out_as_it_is_told(path: Path) -> None:
    text = path.read_text()
    assert tell(text) == text, f"if that is right: python -m tests.sim.story {path.relative_to(ROOT)}"


def test_a_story_that_is_told_wrongly_is_told_right() -> None:
    assert tell("silent\nwait 1100\n    v0 says COMMIT 1 I\n").splitlines()[2] == (
        "    v0 says PREPARE 1 I, is in 1/1 IMPEACH_PREPARE"
    )


def test_an_event_that_nobody_knows_is_named() -> None:
    with pytest.raises(BadStory, match="no such event: sing v0"):
        tell("sing v0\n")


# The model's counterexample, event by event

STEP = re.compile(r" *\d+ +(v\d) (.*): (\w+)\((\d+), (\w+)\)$")
OURS = {"v1": "v0", "v2": "v1", "v3": "v2", "v4": "v3", "B1": "B", "I": "I"}


def fork_steps() -> list[tuple[str, list[str], str]]:
    """(who, events, what must come of the last one) of the trace that TLC found."""
    steps = []
    has_block = set()
    for line in FORK.read_text().splitlines():
        if match := STEP.match(line):
            name, what, verb, round_, value = match.groups()
            who, events = OURS[name], []
            if "too long" in what:
                events = [f"timer {who}"]
            else:
                # The model lets a validator commit what it has not got; here it must have the block.
                if who not in has_block:
                    has_block.add(who)
                    events.append(f"deliver only PROPOSAL from p to {who}")
                if votes := re.match(r"has (\w+)\(\d+, \w+\) of ([v\d ]+)", what):
                    senders = " ".join(OURS[each] for each in votes[2].split())
                    events.append(f"deliver only {votes[1]} from {senders} to {who}")
            said = f"{verb} {round_} {OURS[value]}"
            steps.append(
                (who, events, f"DECIDES {OURS[value]} by round {round_}" if verb == "DECIDE" else said)
            )
    return steps


def test_the_fork_that_the_model_finds_in_the_published_protocol_is_one_in_the_code() -> None:
    stage = Stage(PUBLISHED)
    play(stage, "wait 100")
    for who, events, expected in fork_steps():
        notes = []
        for event in events:
            play(stage, event)
            notes += [note for note in stage.take_notes() if note.split()[0] == who]
        assert any(expected in note for note in notes), (events, expected, notes)
    assert set(stage.decided().values()) == {"B", "I"}


def test_the_same_events_do_not_fork_the_protocol_as_it_is_here() -> None:
    stage = Stage(Rules())
    play(stage, "wait 100")
    for _, events, _ in fork_steps():
        for event in events:
            play(stage, event)
    play(stage, "settle")
    play(stage, "wait 2000")
    play(stage, "settle")
    assert set(stage.decided().values()) == {"B"}
    assert len(stage.decided()) == 5
