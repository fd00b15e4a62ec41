"""What a device does at the door, under a real MicroPython with a small heap: byte for byte as here."""

import runpy
from pathlib import Path

import pytest

from tests.micropython import run

STORY = Path(__file__).with_name("device_story.py")


def test_a_devices_day_is_the_same_on_both_interpreters(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(STORY), run_name="__main__")
    here = capsys.readouterr().out
    assert here.count("\n") > 100
    for said in ("Pairing(636172, 6c6f636b, epoch=4) True", "tag  the peer", "challenged", "11 this grant"):
        assert said in here
    assert run(STORY) == here
