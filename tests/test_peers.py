"""Foreign programs are found where they were fetched whole, and only there."""

import subprocess
from pathlib import Path

import pytest

from tests import peers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    monkeypatch.setattr(peers, "PEERS", {"one": ("one==1.2", "two==3")})
    return tmp_path / "one"


def test_a_peer_is_there_when_all_of_it_was_fetched_in_its_version(folder: Path) -> None:
    assert peers.program("one") is None
    folder.mkdir()
    assert peers.program("one") is None
    (folder / ".installed").write_text("one==1.1\ntwo==3")
    assert peers.program("one") is None
    (folder / ".installed").write_text("one==1.2\ntwo==3")
    assert peers.program("one") == folder / "bin" / "python"
    assert peers.program("one", "one-command") == folder / "bin" / "one-command"


def test_one_that_is_missing_says_what_fetches_it() -> None:
    said = peers.missing("bluezoo", "foreign")
    assert said == "bluezoo 1.0.2 is not in build/peers; fetch it with: make foreign"


def test_one_that_nobody_knows_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["three"]) == 2
    assert capsys.readouterr().err == "no such peer: three; there are one\n"


def test_one_that_cannot_be_fetched_is_not_taken_for_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        if "pip" in command:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", run)
    folder.mkdir()
    assert peers.main([]) == 1
    assert commands[1][-3:] == ["install", "one==1.2", "two==3"]
    assert "one could not be fetched" in capsys.readouterr().err
    assert peers.program("one") is None
