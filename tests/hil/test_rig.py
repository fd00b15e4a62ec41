"""A test asks for boards and radios, and runs on simulated and on real ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bleak import BleakScanner

from hil.errors import BenchFileError, LacksError
from hil.rig import BenchRig, open_rig
from hil.virtual import VirtualRig

ADVERTISE = """
import bluetooth, time
ble = bluetooth.BLE()
ble.active(True)
ble.gap_advertise(30_000, b"\\x02\\x01\\x06\\x06\\x09" + NAME)
print("advertises")
while True:
    time.sleep(1)
"""


async def test_a_scanner_of_the_rig_finds_a_board_of_the_rig(tmp_path: Path) -> None:
    async with VirtualRig(tmp_path) as rig:
        boards = [
            rig.board(name, files={"main.py": f"NAME = {name.encode()!r}\n{ADVERTISE}"})
            for name in ("lock1", "lock2")
        ]
        for board in boards:
            await board.power.on()
            await board.console.expect("^advertises$")
        gateway = await rig.central()
        for board in boards:
            found = await BleakScanner.find_device_by_name(board.name, 20, **gateway.scanner)
            assert found is not None
            assert found.address == board.radio.address
            assert (
                await board.files.read("/main.py") == (tmp_path / board.name / "flash/main.py").read_bytes()
            )


async def test_the_default_rig_is_simulated(tmp_path: Path) -> None:
    for name in ("", "virtual"):
        assert isinstance(open_rig(tmp_path, {"RIG": name}), VirtualRig)


SMALL_BENCH = '[[board]]\nname = "lock1"\nrole = "lock"\n'


async def test_what_a_bench_lacks_is_said(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(SMALL_BENCH)
    rig = open_rig(tmp_path, {"RIG": str(tmp_path / "bench.toml")})
    assert isinstance(rig, BenchRig)
    async with rig:
        with pytest.raises(
            LacksError, match=r"has no 2 boards with the role lock; it has 1; add \[\[board\]\]"
        ):
            await rig.boards("lock", 2)
        (lock,) = await rig.boards("lock")
        for name in ("power", "console", "radio", "files"):
            with pytest.raises(
                LacksError, match=f"board lock1 has no {name}; describe it in the bench's file"
            ):
                getattr(lock, name)
        await rig.central("gateway")
        with pytest.raises(LacksError, match="has no second radio for phone"):
            await rig.central("phone")


async def test_a_bench_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        BenchFileError, match=r"none.toml: cannot be read: .*; RIG is virtual, or a file like"
    ):
        open_rig(tmp_path, {"RIG": str(tmp_path / "none.toml")})


INNER_TESTS = """
from hil.rig import Rig

async def test_needs_power(rig: Rig) -> None:
    (lock,) = await rig.boards("lock")
    await lock.power.on()

async def test_needs_nothing(rig: Rig) -> None:
    (lock,) = await rig.boards("lock")
    assert lock.name == "lock1"
"""


def test_a_test_that_asks_for_what_a_bench_lacks_is_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(SMALL_BENCH)
    (tmp_path / "test_inner.py").write_text(INNER_TESTS)
    done = run_inner(tmp_path, str(tmp_path / "bench.toml"))
    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert "board lock1 has no power; describe it in the bench's file" in done.stdout


def test_what_boards_said_is_shown_when_a_test_fails(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text('''
async def test_fails(rig) -> None:
    lock = rig.board("lock7", files={"main.py": "print('I am here')"})
    await lock.power.on()
    await lock.console.expect(">>> ")
    assert False
''')  # fmt: skip
    done = run_inner(tmp_path, "virtual")
    assert "1 failed" in done.stdout, done.stdout
    assert "console of lock7" in done.stdout
    assert "\nI am here\n" in done.stdout


def run_inner(folder: Path, rig: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rs",
            "-p",
            "tests.hil.conftest",
            "-o",
            "addopts=",
            "test_inner.py",
        ],
        cwd=folder,
        env={**os.environ, "RIG": rig},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
