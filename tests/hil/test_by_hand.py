"""A board by hand does what is typed, and says what it cannot."""

from pathlib import Path

import pytest

from hil.__main__ import Hand, make_parser
from hil.errors import RigError
from hil.virtual import VirtualRig

MAIN = "print('runs')\nwhile True:\n    pass\n"


async def test_what_is_typed_happens(tmp_path: Path) -> None:
    said: list[str] = []
    async with VirtualRig(tmp_path) as rig:
        (tmp_path / "lock1" / "flash").mkdir(parents=True)
        board = rig.board("lock1", "lock", files={"main.py": MAIN})
        hand = Hand(rig, board, said.append)
        for line in ("on", "car_arrives", "state", "battery 11000", "latency 20", "drop", ""):
            assert await hand.obey(line)
        around = rig.world.board("lock1")
        assert around.bay.has_car
        assert around.power.mv == 11_000
        assert rig.air.conditions.latency_ms == 20
        assert said[:1] == ["done: car_arrives"]
        assert said[1].startswith("lock1: runs as process ")
        assert said[2] == "arm at 0 of 1000, car in the bay"
        await board.console.expect("runs")
        await hand.obey("> ^C")
        await board.console.expect("KeyboardInterrupt")
        await hand.obey("> 6 * 7")
        await board.console.expect("^42")
        await hand.obey("off")
        assert rig.processes["lock1"].pid is None
        with pytest.raises(RigError, match="nobody can 'fly'; there is car_arrives, "):
            await hand.obey("fly away")
        assert not await hand.obey("quit")


def test_help_shows_how_a_lock_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--help"])
    said = capsys.readouterr().out
    assert "cpc device authenticate lock1 -c site/gateway.toml --ble --air 127.0.0.1:7700" in said
    assert "car_arrives car_leaves" in said
