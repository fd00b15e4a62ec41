"""A second, foreign car: PyPI's elm327-emulator, where `make foreign` has fetched it.

It needs python-OBD, whose package is called like our folder, so it lives in an environment of its own.
"""

import os
import select
import subprocess
from collections.abc import Iterator

import pytest

from gateway.sensors.obd_links import AdapterLink, TtyPort
from gateway.sensors.serial_port import PortSettings
from gateway.sensors.source import SYSTEM_CLOCK
from obd.discovery import Car, discover, hold, read_dtcs, read_pid, read_readiness, read_vehicle
from obd.errors import NoAnswer
from obd.pids import fields_of
from tests.peers import missing, program


@pytest.fixture(scope="module")
def foreign() -> Iterator[tuple[AdapterLink, Car]]:
    python = program("elm327-emulator")
    if python is None:
        pytest.skip(missing("elm327-emulator", "foreign"))
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        # It writes its port into a file, and a pipe is one that can be waited for.
        [str(python), "-I", "-m", "elm", "-s", "car", "-b", f"/dev/fd/{write_end}"],
        cwd=python.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(write_end,),
    )
    os.close(write_end)
    try:
        ready, _, _ = select.select([read_end], [], [], 30)
        assert ready, "the emulator does not start"
        path = os.read(read_end, 200).decode().split()[0]
        link = AdapterLink("foreign", SYSTEM_CLOCK, lambda: TtyPort(PortSettings(path, 38_400)))
        link.open()
        yield link, hold(discover(), link.ask)
        link.close()
    finally:
        process.terminate()
        process.wait(20)
        os.close(read_end)


def test_its_pids_are_found_and_read(foreign: tuple[AdapterLink, Car]) -> None:
    link, car = foreign
    assert {0x05, 0x0C, 0x0D, 0x11} <= set(car.pids)
    read = set()
    for pid in car.pids:
        try:
            for reading in hold(read_pid(car, pid), link.ask):
                for value in reading.values:
                    field = value.field
                    if isinstance(value.value, int | float) and field.unit_text:
                        assert field.low <= value.value <= field.high
                    read.add(pid)
        except NoAnswer:
            # It answers some of those that it announces with another service.
            continue
    known = {pid for pid in car.pids if fields_of(pid)}
    assert len(read) >= 0.9 * len(known)


def test_its_codes_readiness_and_vin_are_read(foreign: tuple[AdapterLink, Car]) -> None:
    link, car = foreign
    codes = hold(read_dtcs(), link.ask)
    assert codes.problems == []
    assert set(hold(read_readiness(), link.ask)) <= {0, *car.ecus}
    assert len(hold(read_vehicle(), link.ask).vin) == 17
