"""`cpc obd` as a user types it, against a simulated adapter on a pty."""

import argparse
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import cli_obd
from gateway.cli_output import EXIT_FAILED, EXIT_OK, UsageError
from gateway.sensors import schemes
from gateway.sensors.obd_source import CAN_OPTIONS, OPTIONS, open_obd
from gateway.sensors.schemes import Scheme
from gateway.sensors.source import BadSourceUrl, SourceUnavailable
from obd.ecu import VIN
from tests.gateway.sensors.obd_car import PluggedCar, bus_car, plugged_car


@pytest.fixture(autouse=True)
def _rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, example, options in (
        ("obd", "obd:/dev/ttyUSB0", OPTIONS),
        ("obd+can", "obd+can:can0", CAN_OPTIONS),
    ):
        if word not in schemes.SCHEMES:
            monkeypatch.setitem(schemes.SCHEMES, word, Scheme(open_obd, example, options))


@pytest.fixture
def car(tmp_path: Path) -> Iterator[PluggedCar]:
    with plugged_car(tmp_path) as plugged:
        yield plugged


class Typed:
    """Runs `cpc obd ..` and keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.code = -1
        self.notes = ""

    def __call__(self, *words: str) -> str:
        parser = argparse.ArgumentParser()
        cli_obd.add(parser.add_subparsers())
        args = parser.parse_args(["obd", *words])
        self.capsys.readouterr()
        result = args.run(args)
        self.code = asyncio.run(result) if asyncio.iscoroutine(result) else result
        output = self.capsys.readouterr()
        self.notes = output.err
        return output.out

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words, "--json").splitlines()]


@pytest.fixture
def cpc(capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(capsys)


def test_list_shows_what_the_car_offers(cpc: Typed, car: PluggedCar) -> None:
    text = cpc("list", car.path)
    assert cpc.code == EXIT_OK
    assert "adapter ELM327v1.5, 12.6 V at the plug, CAN, 11 bit, 500 kbit/s\n" in text
    assert "ECUs: 7E8 (38 PIDs), 7E9 (9 PIDs); several PIDs a query" in text
    (line,) = [line for line in text.splitlines() if line.startswith("010D    7E9")]
    assert line.split()[:5] == ["010D", "7E9", "vehicle_speed", "44", "km/h"]
    assert "Vehicle speed" in line
    assert "(256*A+B)/4, 0 to 16383.8; SAE J1979 (2017), annex B" in cpc("list", car.path, "--formulas")


def test_list_for_machines_and_with_a_makers_table(cpc: Typed, car: PluggedCar, tmp_path: Path) -> None:
    table = tmp_path / "maker.csv"
    table.write_text(
        "name,did,formula,unit,request_id,response_id\n"
        "fuel,0x028C,A/2,%,0x7E0,0x7E8\nnone,0x9999,A,,0x7E0,0x7E8\nnobody,0x9999,A,,,\n"
    )
    lines = cpc.json("list", car.path, "--table", str(table))
    assert lines[0]["link"]["protocol"] == "6"
    values = {(line["pid"], line["name"], line.get("ecu")): line for line in lines[1:]}
    rpm = values["010C", "engine_speed", "7E8"]
    assert rpm["value"] == int(rpm["raw"], 16) / 4
    assert (rpm["unit"], rpm["range"], rpm["formula"]) == ("rpm", [0, 16383.75], "(256*A+B)/4")
    assert values["22028C", "fuel", "7E8"]["unit"] == "%"
    assert "request out of range" in values["229999", "none", None]["problem"]
    assert values["229999", "nobody", None]["problem"] == "no answer"


def test_codes_are_read_cleared_and_gone(cpc: Typed, car: PluggedCar) -> None:
    text = cpc("dtc", car.path, "--freeze", "--tests")
    assert "P0301  stored     7E8       Misfire, cylinder 1" in text
    assert "P0741  stored     7E9" in text
    assert "P0171  pending" in text
    assert "7E8: MIL is ON, 3 codes; monitors not complete: evaporative_system" in text
    assert "0202    7E8      freeze_dtc                 P0301" in text
    assert "FAILED  misfire, cylinder 1, test 0C: 31 counts, allowed 0 to 20" in text
    assert "monitors of 7E8, in 2310 starts of the engine and 1204 drives" in text
    assert "catalyst_1                 ran 981 times of 1190" in text

    with pytest.raises(UsageError, match="add --yes"):
        cpc("clear", car.path)
    assert cpc("clear", car.path, "--yes").splitlines() == ["7E8: cleared", "7E9: cleared"]
    assert cpc.code == EXIT_OK
    codes = [line for line in cpc.json("dtc", car.path) if "code" in line]
    assert [(line["code"], line["kind"]) for line in codes] == [("P0301", "permanent")]
    car.car.ecus[0].permanent.clear()
    assert cpc("dtc", car.path).startswith("no trouble codes")


def test_clear_asks_and_takes_no_for_an_answer(
    cpc: Typed, car: PluggedCar, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal:
        def __init__(self, answer: str) -> None:
            self.answer = answer

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.answer

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert "nothing was cleared" in cpc("clear", car.path)
    assert car.car.ecus[0].stored
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert "7E8: cleared" in cpc("clear", car.path)
    assert not car.car.ecus[0].stored
    car.car.ecus.clear()
    cpc("clear", car.path, "--yes")
    assert cpc.code == EXIT_FAILED
    assert "no ECU answered" in cpc.notes


def test_vin_says_whether_its_check_digit_is_right(cpc: Typed, car: PluggedCar) -> None:
    text = cpc("vin", car.path)
    assert f"VIN {VIN}  (check digit correct)" in text
    assert "ECM-EngineControl      calibration CPC-ENG-2024-A1 CPC-FUEL-0007, verification 1791BC82" in text
    (line,) = cpc.json("vin", car.path)
    assert (line["vin"], line["has_check_digit"], line["region"]) == (VIN, True, "North America")


def test_watch_shows_live_values_until_told(
    cpc: Typed, car: PluggedCar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over as soon as both values were there, so no machine is too slow for it."""
    wanted: set[str] = set()
    show = cli_obd._show

    def until_seen(output: Any, taken_ns: int, value: dict[str, Any]) -> None:
        show(output, taken_ns, value)
        if value["name"] in wanted:
            wanted.discard(value["name"])
            if not wanted:
                raise TimeoutError

    monkeypatch.setattr(cli_obd, "_show", until_seen)
    wanted |= {"engine_speed", "vehicle_speed"}
    lines = cpc.json("watch", car.path, "--pids", "0C:20,0D:20", "--seconds", "60")
    names = [line["name"] for line in lines]
    assert names[0] == "vin"
    assert {"engine_speed", "vehicle_speed"} <= set(names)
    assert "values a second" in cpc.notes
    wanted |= {"engine_speed"}
    text = cpc("watch", car.path, "--pids", "0C:20", "--seconds", "60")
    assert "engine_speed" in text
    assert not wanted


def test_a_car_on_the_bus(cpc: Typed) -> None:
    with bus_car() as (channel, _):
        assert f"VIN {VIN}" in cpc("vin", f"obd+can:{channel}?interface=virtual")


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("obd:/dev/ttyUSB0?baud=9600", "obd:/dev/ttyUSB0?baud=9600"),
        ("/dev/ttyUSB0", "obd:/dev/ttyUSB0"),
        ("/dev/serial/by-path/pci-0000:00:14.0", "obd:/dev/serial/by-path/pci-0000:00:14.0"),
        ("./adapter", "obd:./adapter"),
        ("adapter", "obd:adapter"),
        ("tcp://10.0.0.1:35000", "obd:tcp://10.0.0.1:35000"),
        ("obd+can:can0", "obd+can:can0"),
    ],
)
def test_ways_to_a_car_are_understood(
    text: str, opened: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapter").touch()
    assert cli_obd.parse_source(text).text == opened


def test_ecus_are_shown_in_their_order_and_one_code_is_one_code(cpc: Typed, car: PluggedCar) -> None:
    lines = cpc("dtc", car.path).splitlines()
    assert [line.split()[:3] for line in lines[:4]] == [
        ["P0301", "stored", "7E8"],
        ["P0420", "stored", "7E8"],
        ["U0121", "stored", "7E8"],
        ["P0741", "stored", "7E9"],
    ]
    assert lines[-1] == "7E9: MIL is ON, 1 code; monitors all complete"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan"])
def test_a_time_that_is_none_is_refused(cpc: Typed, seconds: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cpc("watch", "/dev/x", "--seconds", seconds)
    assert caught.value.code == 2


def test_watching_goes_on_when_the_plug_is_pulled_and_put_back(
    cpc: Typed, car: PluggedCar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plug is pulled at the first VIN, put back at once, and the second VIN ends it."""
    shown: list[str] = []
    show = cli_obd._show

    def pull(output: Any, taken_ns: int, value: dict[str, Any]) -> None:
        show(output, taken_ns, value)
        if value["name"] == "vin":
            shown.append(value["value"])
            if len(shown) > 1:
                raise KeyboardInterrupt
            car.unplug()
            car.plug()

    monkeypatch.setattr(cli_obd, "_show", pull)
    with pytest.raises(KeyboardInterrupt):
        cpc("watch", car.path, "--pids", "0C:20", "--all")
    assert shown == [VIN, VIN]
    notes = cpc.capsys.readouterr().err
    assert "is lost: unplugged (Input/output error)" in notes
    assert "answers again" in notes


def test_what_cannot_be_is_said(cpc: Typed, car: PluggedCar, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="No such file"):
        cpc("list", str(tmp_path / "nothing"))
    for wrong in ("can:can0", "127.0.0.1:35000", "ttyUSB0"):
        with pytest.raises(UsageError, match=f"'{wrong}' is no way to a car; the way to the car: obd:"):
            cpc("list", wrong)
    with pytest.raises(BadSourceUrl):
        cpc("list", "obd:/dev/x?colour=red")
    with pytest.raises(UsageError, match=r"missing\.toml"):
        cpc("list", car.path, "--table", str(tmp_path / "missing.toml"))
    car.car.is_on = False
    with pytest.raises(SourceUnavailable, match="is the ignition on"):
        cpc("vin", car.path)
