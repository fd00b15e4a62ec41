"""Adapters as they are: each vice is a story with the trace it must leave."""

import pytest

from obd.elm327 import BUFFER_MAX, Elm327
from obd.errors import NotReady
from obd.query import query
from tests import micropython
from tests.obd.adapter_answers import ANSWERS
from tests.obd.adapter_faults import FAULTS
from tests.obd.stories import FOUND, Player, lines_of

STORIES = {**ANSWERS, **FAULTS}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_leaves_this_trace(name: str) -> None:
    assert Player().play(STORIES[name]) == lines_of(STORIES[name])


def test_the_stories_leave_the_same_traces_on_micropython() -> None:
    """MicroPython has no unicode_escape, so bytes are handed over in hex."""
    script = """
import sys
from obd.elm327 import *
from obd.query import Done, query
elm = Elm327()
now_ms = 0
def show(actions):
    for action in actions:
        if isinstance(action, Write):
            print(">", action.data)
        elif isinstance(action, Done):
            print("=", action.outcome)
        else:
            print("=", action.KIND)
show(elm.start(0))
for line in sys.stdin:
    kind, rest = line.split()
    if kind == "<":
        show(elm.receive(bytes.fromhex(rest) if rest != "-" else b"", now_ms))
    elif kind == "ask":
        data, count = rest.split("x")
        show(elm.ask(query(bytes.fromhex(data), None, 0, int(count)), now_ms))
    elif kind == "new":
        elm = Elm327()
        now_ms = 0
        show(elm.start(0))
    else:
        end_ms = now_ms + int(rest)
        while elm.deadline_ms is not None and elm.deadline_ms <= end_ms:
            now_ms = max(now_ms, elm.deadline_ms)
            show(elm.tick(now_ms))
        now_ms = end_ms
"""
    words = []
    for story in STORIES.values():
        words.append("new -")
        for line in lines_of(story):
            kind, _, rest = line.partition(" ")
            if kind == "<":
                words.append("< " + (rest.encode().decode("unicode_escape").encode("latin-1").hex() or "-"))
            elif kind == "ask":
                data, _, count = rest.partition(" x")
                words.append(f"ask {data}x{count or 0}")
            elif kind == "wait":
                words.append(f"wait {rest}")
    here: list[str] = []
    exec(  # noqa: S102 - the very script that the other interpreter runs
        script.replace("print(", "out("),
        {
            "out": lambda *values: here.append(" ".join(map(str, values))),
            "__name__": "here",
            "sys": None,
        }
        | {"__builtins__": {**__builtins__, "__import__": _with_stdin(words)}},  # type: ignore[dict-item]
    )
    assert micropython.run(script, stdin="\n".join(words) + "\n").splitlines() == here
    assert len(here) > 400


def _with_stdin(words: list[str]):  # type: ignore[no-untyped-def]
    """An import that gives `sys` these lines as standard input."""
    from types import SimpleNamespace

    def imported(name: str, *rest: object) -> object:
        return SimpleNamespace(stdin=words) if name == "sys" else __import__(name, *rest)  # type: ignore[arg-type]

    return imported


def test_questions_before_it_is_ready_are_refused() -> None:
    elm = Elm327()
    with pytest.raises(NotReady):
        elm.ask(query(b"\x01\x00"), 0)
    elm.start(0)
    with pytest.raises(NotReady):
        elm.ask(query(b"\x01\x00"), 0)


def test_what_the_adapter_is_like_is_seen_from_what_it_does() -> None:
    player = Player()
    player.play(ANSWERS["a clone says 2.1 and does not know a digit behind the query"])
    assert player.elm.identity == "ELM327v2.1"
    assert player.elm.voltage_mv == 12_600
    assert player.elm.takes_count is False
    assert player.elm.protocol == "?"
    assert player.elm.is_can
    player = Player()
    player.play(FAULTS["something that is no adapter"])
    assert player.elm.refused == ["ATE0", "ATL0", "ATS0", "ATH1", "ATAT1", "ATSP0"]


def test_babble_without_end_is_cut() -> None:
    player = Player()
    player.play(FOUND)
    player.do(player.elm.ask(query(b"\x01\x0c"), player.now_ms))
    player.do(player.elm.receive(b"7" * (BUFFER_MAX + 1), player.now_ms))
    assert player.trace[-1] == "> ATE0"
