"""The simulated car: a trip that could be one, and a program that a user can play with."""

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd import trip
from obd.can_frame import CanFrame
from obd.discovery import discover, hold
from obd.ecu import ENGINE_PIDS, TRANSMISSION_PIDS, SimulatedCar
from obd.ecu_adapter import SimulatedAdapter
from obd.ecu_bus import SimulatedBusCar
from obd.elm327 import Elm327, Ready, Write
from obd.pids import decode, size_of
from obd.query import Done, Outcome, Query

ROOT = Path(__file__).resolve().parents[2]


def test_the_trip_is_one_that_a_car_could_drive() -> None:
    moments = [trip.at(at_ms) for at_ms in range(0, 2 * trip.LAP_MS, 100)]
    for before, after in itertools.pairwise(moments):
        # 0.1 s apart: nobody accelerates or brakes harder than 6 m/s2.
        assert abs(after.speed_kmh - before.speed_kmh) <= 6 * 3.6 * 0.1
        assert 0 <= after.distance_m - before.distance_m <= 130 / 3.6 * 0.1
        assert after.coolant_c >= before.coolant_c
        assert after.fuel_percent <= before.fuel_percent
    assert max(moment.speed_kmh for moment in moments) == 125
    assert min(moment.speed_kmh for moment in moments) == 0
    assert all(700 < moment.engine_rpm < 4_500 for moment in moments)
    assert all((moment.gear == 0) == (moment.speed_kmh < 1) for moment in moments)
    # Distance is the integral of speed.
    total_m = sum(moment.speed_kmh / 3.6 * 0.1 for moment in moments)
    assert moments[-1].distance_m == pytest.approx(total_m, rel=0.01)


def test_the_same_moment_is_always_the_same() -> None:
    assert trip.at(123_456) == trip.at(123_456)
    assert trip.at(-5) == trip.at(0)


@pytest.mark.parametrize("table", [ENGINE_PIDS, TRANSMISSION_PIDS], ids=["engine", "transmission"])
def test_every_pid_is_as_long_as_the_standard_says_and_within_its_range(table: dict[int, object]) -> None:
    car = SimulatedCar()
    ecu = car.ecus[0] if table is ENGINE_PIDS else car.ecus[1]
    for pid in table:
        for now_ms in range(0, trip.LAP_MS, 7_000):
            (answer,) = car.answers(ecu, bytes((1, pid)), now_ms, is_functional=True)
            assert answer[:2] == bytes((0x41, pid))
            assert len(answer) == 2 + size_of(pid)
            assert decode(pid, answer[2:])


def test_what_an_ecu_cannot_is_refused_in_person_and_passed_over_in_public() -> None:
    car = SimulatedCar()
    engine = car.ecus[0]
    assert car.answers(engine, b"\x01\xfe", 0, is_functional=True) == []
    assert car.answers(engine, b"\x01\xfe", 0, is_functional=False) == [b"\x7f\x01\x12"]
    assert car.answers(engine, b"\x31\x01", 0, is_functional=False) == [b"\x7f\x31\x11"]
    assert car.answers(engine, b"\x22\xf1", 0, is_functional=False) == [b"\x7f\x22\x13"]
    car.is_on = False
    assert car.answers(engine, b"\x01\x0c", 0, is_functional=True) == []


def test_unknown_vices_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown quirks smoke; known are echo"):
        SimulatedAdapter(SimulatedCar(), frozenset({"smoke"}))


# Whatever it is asked


def test_an_id_that_is_none_is_not_understood() -> None:
    adapter = SimulatedAdapter(SimulatedCar())
    adapter.receive(b"ATE0\r", 0)
    for command in (b"ATSHZZ\r", b"ATSH\r", b"XYZ\r", b"AT\r"):
        assert adapter.receive(command, 0) == b"?\r\r>"


AT_WORDS = ["AT", "Z", "E0", "H1", "S0", "SH", "SHZZ", "SH7E0", "SP", "CP", "0", "1", "01", "0C", "22", "F1"]


@given(st.lists(st.one_of(st.sampled_from([*AT_WORDS, "\r", " "]), st.binary(max_size=4)), max_size=40))
@settings(deadline=None)
def test_the_adapter_answers_anything_with_lines_and_a_prompt(words: list[str | bytes]) -> None:
    adapter = SimulatedAdapter(SimulatedCar())
    data = b"".join(word if isinstance(word, bytes) else word.encode() for word in words)
    said = adapter.receive(data, 0)
    assert said.count(b">") >= data.count(b"\r")
    # After a reset it is as it was when it was plugged in.
    assert adapter.receive(b"\rATZ\r", 0).endswith(b"ELM327 v1.5\r\r>")


@given(st.integers(0, 1), st.binary(max_size=12), st.booleans(), st.integers(0, 10**9))
@settings(deadline=None)
def test_ecus_answer_any_request_or_pass_it_over(
    number: int, request: bytes, is_functional: bool, now_ms: int
) -> None:
    car = SimulatedCar()
    for answer in car.answers(car.ecus[number], request, now_ms, is_functional=is_functional):
        assert answer[0] in (0x7F, request[0] | 0x40)


@given(st.lists(st.tuples(st.sampled_from([0x7DF, 0x7E0, 0x7E1]), st.binary(max_size=8)), max_size=20))
@settings(deadline=None)
def test_the_car_on_a_bus_bears_any_frames(frames: list[tuple[int, bytes]]) -> None:
    car = SimulatedBusCar(SimulatedCar())
    now_us = 0
    for arbitration_id, data in frames:
        for sent in car.receive(CanFrame(arbitration_id, 0, data), now_us):
            CanFrame.checked(*sent)
    while (due_us := car.deadline_us) is not None:
        now_us = max(now_us, due_us)
        car.tick(now_us)
    assert len(car.receive(CanFrame.parse("7DF#02010D"), now_us)) == 2


# As a program


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "obd.ecu_io", "--pty", "--link", str(tmp_path / "adapter")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait(20)


def ask_through(path: str) -> Outcome:
    """The PIDs of the car behind a pty, by the client alone."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    elm = Elm327()
    try:

        def until(kind: type, actions: list) -> object:  # type: ignore[type-arg]  # of Action
            while True:
                for action in actions:
                    if isinstance(action, Write):
                        os.write(fd, action.data)
                    elif isinstance(action, kind):
                        return action
                actions = elm.receive(os.read(fd, 4096), 0)

        until(Ready, elm.start(0))

        def ask(wanted: Query) -> Outcome:
            done = until(Done, elm.ask(wanted, 0))
            assert isinstance(done, Done)
            outcome: Outcome = done.outcome
            return outcome

        car = hold(discover(), ask)
        return Outcome("", sorted(car.ecus), "")
    finally:
        os.close(fd)


def test_a_user_plugs_it_in_reads_it_and_ends_it(program: subprocess.Popen[str], tmp_path: Path) -> None:
    assert program.stdin is not None
    assert program.stdout is not None

    def tell(line: str) -> None:
        assert program.stdin is not None
        program.stdin.write(line + "\n")
        program.stdin.flush()

    path = program.stdout.readline().strip()
    assert path == str(tmp_path / "adapter")
    assert ask_through(path).answers == [0x7E8, 0x7E9]
    tell("off")
    tell("on")
    tell("quit")
    assert program.wait(20) == 0
    assert not Path(path).exists()


def test_who_ends_it_by_a_signal_leaves_no_link_behind(
    program: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert program.stdout is not None
    path = Path(program.stdout.readline().strip())
    assert path.is_symlink()
    program.terminate()
    assert program.wait(20) == 128 + 15
    assert not path.is_symlink()


def test_a_file_of_somebody_else_is_no_place_for_the_link(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    done = subprocess.run(
        [sys.executable, "-m", "obd.ecu_io", "--link", str(tmp_path / "thesis")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is no link of ours" in done.stderr
    assert (tmp_path / "thesis").read_text() == "years of work"


def test_it_plugs_into_tcp_too() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "obd.ecu_io", "--tcp", "0"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().rpartition(":")
        with socket.create_connection((host, int(port)), 20) as client:
            client.sendall(b"ATI\r")
            said = b""
            while not said.endswith(b">"):
                said += client.recv(100)
        assert said == b"ATI\rELM327 v1.5\r\r>"
    finally:
        process.communicate("quit\n", timeout=20)
    assert process.returncode == 0


def test_wrong_options_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "obd.ecu_io", "--pty", "--quirk", "smoke"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice: 'smoke'" in done.stderr
