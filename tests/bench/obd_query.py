"""Queries to a simulated adapter over a pty: CPU of the asking process only, beside python-OBD's.

Runs on CPython.  The adapter is another process; a query is one PID asked and decoded.  python-OBD is GPL
and its package is called like our folder, so it lives in an environment of its own (`build/peers`, made by
`make bench-peers`) and is measured there by `obd_peer.py`, with the same adapter and the same PID.
The other peer is the least that can be done: write, and read until the prompt.

The target comes from a machine on which python-OBD takes 99 us.  Where that takes longer, because the machine
is slower or busy, so do the two system calls of a query, which the other peer shows; hold the ratio to
python-OBD against 0.26 there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gateway.sensors.obd_links import AdapterLink, TtyPort
from gateway.sensors.serial_port import PortSettings
from gateway.sensors.source import SYSTEM_CLOCK
from obd.discovery import discover, hold, readings_of, request_for
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of
from tests.peers import program as peer_program

ROOT = Path(__file__).resolve().parent.parent.parent
PEER_SCRIPT = Path(__file__).with_name("obd_peer.py")
QUERY_COUNT = {"tiny": 50, FULL: 5_000}
WARM_UP = 20
ROUNDS = {"tiny": 1, FULL: 7}
TARGET_US = 26.0
PID = 0x33
"""Barometric pressure: the same value all the way, so that every lap has the same digest."""


def bench_query(size: str) -> list[Row]:
    """One PID, again and again."""
    count = QUERY_COUNT[size]
    peers: dict[str, Callable[[], Lap]] = {"bare write and read": lambda: bare_lap(count)}
    if (python := peer_program("python-obd")) is not None:
        peers["python-OBD"] = lambda: peer_lap(python, count)
    return compare(
        "obd-query",
        "query of one PID, decoded",
        lambda: lap(count),
        peers,
        ROUNDS[size],
        is_same_result=True,
        target=TARGET_US,
    )


class Adapter:
    """A simulated car and adapter in a process of its own."""

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "obd.ecu_io", "--pty"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self._process.communicate("quit\n", timeout=20)


def lap(count: int) -> Lap:
    """Ours, from the question to the value."""
    with Adapter() as path:
        link = AdapterLink("bench", SYSTEM_CLOCK, lambda: TtyPort(PortSettings(path, 38_400)))
        link.open()
        wanted = request_for(hold(discover(), link.ask), [PID])
        values = []
        for _ in range(WARM_UP):
            link.ask(wanted)
        with Stopwatch() as watch:
            for _ in range(count):
                readings, _ = readings_of(link.ask(wanted).answers)
                values.append(readings[0].values[0].value)
        link.close()
    return Lap(watch.cpu_us, count, digest_of(values))


def bare_lap(count: int) -> Lap:
    """The system calls alone; the value is cut out of a line whose form is known."""
    with Adapter() as path:
        port = TtyPort(PortSettings(path, 38_400))

        def ask(command: bytes) -> bytes:
            os.write(port.fd, command)
            answer = b""
            while not answer.endswith(b">"):
                answer += port.read()
            return answer

        for command in (b"ATE0\r", b"ATS0\r", b"ATH1\r", b"0100\r"):
            ask(command)
        values = []
        with Stopwatch() as watch:
            for _ in range(count):
                values.append(int(ask(b"01331\r")[9:11], 16))
        port.close()
    return Lap(watch.cpu_us, count, digest_of(values))


def peer_lap(python: Path, count: int) -> Lap:
    """python-OBD, in its own process, which sees neither this folder nor our packages."""
    with Adapter() as path:
        done = subprocess.run(
            [str(python), "-I", str(PEER_SCRIPT), path, str(count), str(WARM_UP)],
            cwd=python.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    if done.returncode:
        raise RuntimeError(f"python-OBD failed:\n{done.stdout}\n{done.stderr}")
    report = json.loads(done.stdout.splitlines()[-1])
    return Lap(report["cpu_us"], count, digest_of([int(value) for value in report["values"]]))
