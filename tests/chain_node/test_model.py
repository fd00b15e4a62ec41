"""The model of LBFT holds, and so does what the published rule does to it."""

from pathlib import Path

import pytest

from tests import model, model_story
from tests.model import CASES, PUBLISHED, SMALL, STORY, Case, Found, ModelError, ToolMissingError
from tests.model_found import found_once
from tests.model_story import Step, Vote


def found(name: str) -> Found:
    return found_once(name, CASES)


# What TLC says


@pytest.mark.slow
def test_two_rounds_with_a_byzantine_validator_keep_every_invariant() -> None:
    result = found(SMALL.name)
    assert (result.broken, result.states, result.depth) == ("", 2_836, 16)
    assert model.complaint(SMALL, result) == ""


@pytest.mark.slow
def test_the_published_rule_forks_with_no_faulty_validator() -> None:
    result = found(PUBLISHED.name)
    assert result.broken == "Agreement"
    assert '"COMMIT", v1, 1, I' in result.trace[-1]
    assert PUBLISHED.changes["Byzantine"] == "{}"


@pytest.mark.slow
def test_the_kept_story_is_what_tlc_finds() -> None:
    assert model.published_fork(found(PUBLISHED.name)) == STORY.read_text()


# The story can be told back

QUORUM = {0: 3, 1: 2}
"""Of four validators, by the published rule."""


def replay(told: list[Step]) -> dict[str, str]:
    """Who decided what, when honest validators of the published rule take these steps."""
    votes: set[Vote] = set()
    rounds: dict[str, int] = {}
    decided: dict[str, str] = {}
    for step in told:
        does = step.does
        who = does.voter
        assert who not in decided
        assert set(step.has) <= votes
        if does.phase == "PREPARE":
            assert does.value == ("I" if does.round else "B1")
            assert not step.has
            assert rounds.get(who, -1) < does.round
        else:
            phase = "COMMIT" if does.phase == "DECIDE" else "PREPARE"
            assert {(vote.phase, vote.round, vote.value) for vote in step.has} == {
                (phase, does.round, does.value)
            }
            assert len({vote.voter for vote in step.has}) == QUORUM[does.round]
        if does.phase == "DECIDE":
            decided[who] = does.value
        else:
            # Nobody signs twice in a round, or in one that it left: no validator is faulty.
            assert rounds.get(who, 0) <= does.round
            assert all(
                (vote.phase, vote.voter, vote.round) != (does.phase, who, does.round) for vote in votes
            )
            rounds[who] = does.round
            votes.add(does)
    return decided


def test_the_kept_story_is_a_fork_of_honest_validators() -> None:
    told = list(model_story.steps(STORY.read_text()))
    assert [step.does.phase for step in told[-2:]] == ["DECIDE", "DECIDE"]
    assert replay(told) == {"v3": "B1", "v1": "I"}


def test_a_line_that_is_no_step_is_named() -> None:
    with pytest.raises(ValueError, match=r"line 2: ' 1  v1 sleeps' is no step of a story"):
        list(model_story.steps("# A story.\n 1  v1 sleeps\n"))


# The driver

TLC_SAYS = """\
Error: Invariant Agreement is violated.
Error: The behavior up to this point is:
State 1: <Initial predicate>
/\\ votes = {}

State 2: <Next line 1, col 1 of module LBFT>
/\\ votes = {<<"PREPARE", v1, 0, B1>>}

7 states generated, 5 distinct states found, 2 states left on queue.
"""


def test_a_counterexample_is_read_state_by_state() -> None:
    result = model.parse(PUBLISHED, TLC_SAYS)
    assert (result.broken, result.states, result.depth) == ("Agreement", 5, 2)
    assert result.trace == (
        "State 1: <Initial predicate>\n/\\ votes = {}",
        'State 2: <Next line 1, col 1 of module LBFT>\n/\\ votes = {<<"PREPARE", v1, 0, B1>>}',
    )


def test_what_breaks_or_holds_against_expectation_is_told() -> None:
    broken = model.parse(SMALL, TLC_SAYS)
    assert model.complaint(SMALL, broken).startswith("small: Agreement breaks, but nothing should\nState 1:")
    holds = Found("", 5, 3, 0.0, 0.0, ())
    assert model.complaint(PUBLISHED, holds) == "published: nothing breaks, but Agreement should"
    assert model.complaint(SMALL, holds).startswith("small: 5 distinct states, not 2,836; if the model")


def test_a_run_without_result_shows_what_tlc_said() -> None:
    with pytest.raises(ModelError, match=r"small: TLC came to no result:\nOutOfMemoryError"):
        model.parse(SMALL, "OutOfMemoryError")


def test_each_case_changes_constants_that_its_module_has() -> None:
    for case in CASES:
        text = model.configuration(case)
        assert all(f"    {name} = {value}\n" in text for name, value in case.changes.items())
    with pytest.raises(KeyError, match=r"typo: LBFT\.cfg has 0 lines for"):
        model.configuration(Case("typo", "", changes={"LOCK": "FALSE"}))


def test_every_switch_is_thrown_by_some_case() -> None:
    switches = {
        line.split()[0]
        for path in STORY.parent.glob("*.cfg")
        for line in path.read_text().splitlines()
        if line.endswith((" = TRUE", " = FALSE"))
    }
    thrown = {name for case in CASES for name, value in case.changes.items() if value in ("TRUE", "FALSE")}
    assert len(switches) == 13
    assert thrown == switches


def test_without_java_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ToolMissingError, match=r"No Java found.* Install version 11 or newer .*default-jre"):
        model.find_java()


def test_java_home_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch(mode=0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert model.find_java() == java


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        model.main(["no-such-case"])
    assert left.value.code == 2
    assert "there is no case no-such-case" in capsys.readouterr().err
