"""`cpc device ..` over Bluetooth as a new user types it: a board of real MicroPython on a simulated air."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("bleak")
pytest.importorskip("bumble")

from gateway.cli_gateway import CONFIG_NAME
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_USAGE
from tests.devices.on_air import compile_board, start_board
from tests.gateway.commands import Cpc
from tests.micropython import ROOT
from tests.node_process import NodeProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path / "chain") as made:
        yield made


@pytest.fixture
def air() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "hil.air", "--port", "0", "--latency-ms", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.communicate()


def test_a_board_is_provisioned_asked_set_granted_visited_and_restarted(
    cpc: Cpc, node: NodeProcess, air: str, tmp_path: Path
) -> None:
    cpc("init", tmp_path / "site", "--node", node.url)
    c = ("-c", tmp_path / "site" / CONFIG_NAME)
    ble = (*c, "--ble", "--air", air)
    (enrolled,) = cpc.lines("enroll", "lock1", *c, "--simulate", "first-chip")
    flash = tmp_path / "flash"
    flash.mkdir()
    given = ("--role", "lock", "--out", flash / "provision.cbor", "--set", "raise_ms=6000")
    (provisioned,) = cpc.lines("device", "provision", "lock1", *c, *given)
    assert provisioned["did"] == enrolled["did"]
    assert provisioned["bytes"] == (flash / "provision.cbor").stat().st_size
    compile_board(tmp_path)
    board = start_board(tmp_path, flash, air, "first-chip")
    try:
        text = cpc("device", "authenticate", "lock1", *ble)
        assert "lock1 is authentic, and so is its gateway\n" in text
        assert (
            "a first meeting, EDHOC, then the fast path, meeting 0: 7 messages of 37, 45, 19, 9, 28" in text
        )
        assert "not proven: how far away it is" in text
        visitor, key = tmp_path / "lock1.pass", tmp_path / "car.key"
        (car,) = cpc.lines("device", "visitor", key)
        wish = ("--holder", car["holder"], "--action", "open", "--out", visitor)
        assert (
            "let its gateway speak to it first: cpc device state lock1"
            in cpc.lines("device", "grant", "lock1", *c, *wish, exit_code=EXIT_FAILED)[0]["message"]
        )
        (state,) = cpc.lines("device", "state", "lock1", *ble)
        assert (state["kind"], state["role"]["state"]) == ("lock", "down")
        (said,) = cpc.lines("device", "settings", "lock1", *ble, "--set", "site=north")
        assert said["settings"] == {"raise_ms": 6000, "site": "north"}
        (bad,) = cpc.lines("device", "settings", "lock1", *ble, "--set", "raise_ms=1", exit_code=EXIT_FAILED)
        assert "no such setting, or not with this value" in bad["message"]
        (granted,) = cpc.lines("device", "grant", "lock1", *c, *wish, "--deposit", "6f2a", "--amount-ucpc", 5)
        assert (granted["grant_id"], granted["actions"], granted["deposit"]) == (0, ["open"], "6f2a")
        go = ("device", "visit", visitor, "--key", key, *c, "--air", air)
        (done,) = cpc.lines(*go, "--action", "open")
        assert (done["is_done"], done["actions"], done["role"]["state"]) == (True, ["open"], "down")
        (refused,) = cpc.lines(*go, "--action", "close", exit_code=EXIT_NOT_PROVEN)
        assert refused["reason"] == 11
        assert cpc.lines("device", "grant", "lock1", *c, "--list")[0]["holder"] == car["holder"]
        (log,) = cpc.lines("device", "log", "lock1", *ble)
        assert any("action 1: reason 0" in line for line in log["lines"])
        text = cpc("device", "authenticate", "lock1", *ble)
        assert "the fast path, meeting" in text
        assert "3 messages of 28, 36, 19 bytes" in text
        assert cpc("device", "restart", "lock1", *ble) == "lock1 starts anew\n"
        assert board.communicate(timeout=20)[0].endswith("left\n")
    finally:
        board.kill()
        board.communicate()
    flip = (*ble, "--flip-helper-bit", 1)
    (bad,) = cpc.lines("device", "authenticate", "lock1", *flip, exit_code=EXIT_USAGE)
    assert "goes with --simulate" in bad["message"]
    (bad,) = cpc.lines("device", "state", "lock1", *c, "--air", "127.0.0.1:9", exit_code=EXIT_USAGE)
    assert "start one: python -m hil.air" in bad["message"]
