"""The machines under a real MicroPython with a small heap: byte for byte as here."""

import runpy
from pathlib import Path

import pytest

from tests.micropython import run

STORY = Path(__file__).with_name("machines_story.py")


def test_a_day_of_the_machines_is_the_same_on_both_interpreters(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(STORY), run_name="__main__")
    here = capsys.readouterr().out
    assert here.count("\n") > 100
    for said in ("raising halted stalled", "halted lowering late", "C charging Drive", "1234500"):
        assert said in here
    assert run(STORY) == here
