"""The data of boards are such that firmware runs on them: pins exist, can do it, and are used once."""

import json
from pathlib import Path
from typing import Any

import pytest

from lock_controller.barrier import Barrier, Limits
from lock_controller.pilot import Pilot
from lock_controller.ultrasonic import Ranger, Span

FOLDER = Path(__file__).resolve().parents[2] / "devices" / "micropython" / "boards"
BOARDS = sorted(FOLDER.glob("*.json"))

# ESP32 Series Datasheet v3.5: tables 1 and 2, sections 2.2 (strapping pins) and 4.1.2 (ADC).
PINS = {*range(6), *range(12, 20), 21, 22, 23, 25, 26, 27, *range(32, 40)}
FLASH = set(range(6, 12))
INPUT_ONLY = {34, 35, 36, 39}
ADC1 = set(range(32, 40))
"""ADC2 is the radio's."""
STRAPPING = {0, 2, 5, 12, 15}
"""What hangs there decides how the board starts."""
CONSOLE = {1, 3}
EXPOSED = {
    # Espressif, ESP32-DevKitC V4 getting started guide: headers J2 and J3.
    "esp32-devkitc-v4": PINS,
    # Unexpected Maker, TinyPICO pinout: pads; 34 and 35 are wired to the battery.
    "tinypico": {4, 5, 14, 15, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33, 35},
    "simulated": PINS,
}
OUT = ("up", "down", "trigger", "out", "supply", "tx")
ANALOG = (("current", "pin"), ("battery", "pin"), ("pilot", "in"))


def pins_of(data: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], int]]:
    """(path, pin) of everything that is a pin."""
    names = {"up", "down", "low", "high", "trigger", "echo", "out", "in", "live", "pin", "supply", "tx", "rx"}
    found = []
    if isinstance(data, list):
        for number, item in enumerate(data):
            found += pins_of(item, (*path, str(number)))
    elif isinstance(data, dict):
        for name, value in data.items():
            if name in names and isinstance(value, int):
                found.append(((*path, name), value))
            else:
                found += pins_of(value, (*path, name))
    return found


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
@pytest.mark.parametrize("role", ["lock", "charger", "sensor"])
def test_the_pins_of_a_role_can_do_what_they_must(path: Path, role: str) -> None:
    board = json.loads(path.read_text())
    assert board["name"] == path.stem
    pins = pins_of(board[role])
    used = [pin for _, pin in pins]
    assert len(used) == len(set(used)), "a pin has two uses"
    for where, pin in pins:
        assert pin in EXPOSED[path.stem], f"{where}: GPIO{pin} is not on this board"
        assert pin not in FLASH | STRAPPING | CONSOLE, f"{where}: GPIO{pin} is needed to start"
        if where[-1] in OUT:
            assert pin not in INPUT_ONLY, f"{where}: GPIO{pin} drives nothing"
        if where[-2:] in ANALOG:
            assert pin in ADC1, f"{where}: GPIO{pin} does not measure beside the radio"
        if where[-1] in ("low", "high", "live") or where[-2:] == ("meter", "pin"):
            assert pin not in INPUT_ONLY, f"{where}: GPIO{pin} has no pull-up"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_the_machines_take_the_limits_of_a_board(path: Path) -> None:
    board = json.loads(path.read_text())
    limits = board["lock"]["barrier"]
    assert Limits._fields == tuple(limits)
    Barrier(Limits(**limits))
    for sonar in [*board["lock"]["sonars"], board["sensor"]["sonar"]]:
        Ranger(Span(sonar["empty_mm"], sonar["margin_mm"]))
    Pilot(board["charger"]["current_ma_max"], board["charger"]["has_air"])
    assert len(board["lock"]["sonars"]) == 2
    for role in ("lock", "sensor"):
        battery = board[role].get("battery")
        if battery is not None:
            # 3.1 V is what the converter can tell.
            assert battery["full_mv"] * 1_000 / battery["permille"] < 3_100
            assert battery["empty_mv"] < battery["full_mv"]
        else:
            assert (limits["raise_mv_min"], limits["weak_mv"]) == (0, 0)
    pilot = board["charger"]["pilot"]
    for mv in (-13_000, 13_000):
        assert 0 <= pilot["zero_mv"] + mv * pilot["mv_per_v"] / 1_000 <= 3_100
    # More than a period of 1 ms, in steps that fall into each of its parts.
    assert pilot["samples"] * 60 >= 2_000
