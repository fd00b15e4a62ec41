"""The models of the handshakes hold, and each check that is switched off lets an attacker in."""

import re

import pytest

from tests import model, model_device
from tests.model import Found
from tests.model_device import CASES, SPEC
from tests.model_found import found_once


def found(name: str) -> Found:
    return found_once(name, CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one-door", "edhoc"])
def test_whatever_the_attacker_does_both_mean_the_same_meeting(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    result = found(name)
    assert (result.broken, result.states) == ("", case.states)
    assert case.states > 1_000
    invariants = (SPEC / f"{case.module}.cfg").read_text()
    for must in ("InitiatorAgrees", "ResponderAgrees", "Secrecy"):
        assert must in invariants


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("own-nonce-2", "InitiatorAgrees"),
        ("own-nonce-3", "ResponderAgrees"),
        ("labels", "InitiatorAgrees"),
        ("steps", "FindEachOther"),
        ("own-key-3", "ResponderAgrees"),
    ],
)
def test_without_the_check_the_attacker_gets_in(name: str, broken: str) -> None:
    result = found(name)
    assert result.broken == broken
    assert model.complaint(next(case for case in CASES if case.name == name), result) == ""


@pytest.mark.slow
def test_without_its_own_nonce_a_responder_takes_an_old_visit_for_a_new_one() -> None:
    """The counterexample is the replay: one visit of A, and two doors that opened for it."""
    last = found("own-nonce-3").trace[-1]
    assert len(re.findall(r'a\d :> "(?:done|waiting)"', last)) == 1
    assert len(re.findall(r'b\d :> "(?:done|waiting)"', last)) == 2


def test_every_switch_is_thrown_by_some_case() -> None:
    switches = {
        (path.stem, line.split()[0])
        for path in SPEC.glob("*.cfg")
        for line in path.read_text().splitlines()
        if line.endswith((" = TRUE", " = FALSE"))
    }
    thrown = {(case.module, name) for case in CASES if case.breaks for name in case.changes}
    assert len(switches) == 13
    assert thrown == switches


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        model_device.main(["no-such-case"])
    assert left.value.code == 2
    assert "there is no case no-such-case" in capsys.readouterr().err
