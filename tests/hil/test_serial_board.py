"""A board on a serial port: here the port is a pty, and a real MicroPython sits at its other end."""

import asyncio
import os
import pty
import sys
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hil.bench_file import BenchBoard
from hil.errors import BoardError, CommandError, ConsoleTimeout, LacksError
from hil.interpreter import find_micropython
from hil.serial_board import SerialConsole, make_board
from tests import micropython

HERE = Path(__file__).parent


@asynccontextmanager
async def board_on_a_pty(flash: Path) -> AsyncIterator[str]:
    """A MicroPython whose console is the port that is yielded."""
    micropython.need_micropython()
    command = find_micropython()
    assert command is not None
    flash.mkdir()  # noqa: ASYNC240  nothing else runs yet
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    process = await asyncio.create_subprocess_exec(
        *command, str(HERE / "raw_repl.py"), stdin=ours, stdout=ours, stderr=ours, cwd=flash
    )
    try:
        yield os.ttyname(theirs)
    finally:
        process.kill()
        await process.wait()
        os.close(ours)
        os.close(theirs)


async def test_a_console_is_read_and_typed_to(tmp_path: Path) -> None:
    async with board_on_a_pty(tmp_path / "flash") as port:
        board = make_board(BenchBoard("lock1", "lock", serial=port))
        assert isinstance(board.console, SerialConsole)
        await board.console.open()
        try:
            await board.console.expect("^board ready")
            board.console.write("hello")
            await board.console.expect("hello")
            with pytest.raises(ConsoleTimeout, match=r"lock1 did not say 'more' within 20 ms"):
                await board.console.expect("more", timeout_ms=20)
        finally:
            board.console.close()
        with pytest.raises(BoardError, match=r"lock1 has no open console; power.on\(\) first"):
            board.console.write("x")


async def test_files_go_through_mpremote(tmp_path: Path) -> None:
    async with board_on_a_pty(tmp_path / "flash") as port:
        files = make_board(BenchBoard("lock1", "lock", serial=port)).files
        data = bytes(range(256)) * 3
        await files.write("settings.bin", data)
        assert (tmp_path / "flash" / "settings.bin").read_bytes() == data
        assert await files.read("settings.bin") == data
        await files.remove("settings.bin")
        assert not (tmp_path / "flash" / "settings.bin").exists()
        with pytest.raises(FileNotFoundError, match=r"settings\.bin"):
            await files.read("settings.bin")


async def test_a_plug_is_a_command(tmp_path: Path) -> None:
    said = tmp_path / "said"
    relay = tmp_path / "relay.py"
    relay.write_text(f"import sys; open({str(said)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')")
    command = f"'{sys.executable}' '{relay}'"
    board = make_board(
        BenchBoard(
            "lock1",
            "lock",
            power_on=f"{command} 'port 2' on",
            power_off=f"{command} 'port 2' off",
            reset=f"{command} reset",
            world=(("car_arrives", f"{command} plate"),),
        )
    )
    await board.power.on()
    await board.power.reset()
    await board.world.do("car_arrives", 3)
    await board.power.off()
    assert said.read_text().splitlines() == ["port 2 on", "reset", "plate 3", "port 2 off"]
    with pytest.raises(LacksError, match=r"board lock1 has no way to do car_leaves; give car_leaves under"):
        await board.world.do("car_leaves")


async def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    fails = f"'{sys.executable}' -c 'import sys; sys.exit(\"no hub at 1-1\")'"
    board = make_board(BenchBoard("lock1", "lock", power_on=fails, power_off="no-such-relay off"))
    with pytest.raises(CommandError, match=r"left with status 1; it is from the bench's file.*no hub at 1-1"):
        await board.power.on()
    with pytest.raises(CommandError, match="`no-such-relay off` left with status 127"):
        await board.power.off()
    with pytest.raises(LacksError, match="board lock1 has no reset; give reset in the bench's file"):
        await board.power.reset()


async def test_a_port_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.serial_board.PORT_TIMEOUT_MS", 50)
    monkeypatch.setattr("hil.serial_board.PORT_RETRY_MS", 10)
    console = SerialConsole(BenchBoard("lock1", "lock", serial=str(tmp_path / "ttyUSB0")))
    with pytest.raises(BoardError, match=r"lock1: .*ttyUSB0 cannot be opened: .*; is it plugged in, powered"):
        await console.open()


async def test_a_board_whose_plug_is_pulled_closes_its_port(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    console = SerialConsole(BenchBoard("lock1", "lock", serial=os.ttyname(theirs)))
    await console.open()
    os.write(ours, b"last words")
    await console.expect("last words")
    os.close(theirs)
    os.close(ours)
    for _ in range(1_000):
        if not console.is_open:
            break
        await asyncio.sleep(0.005)
    assert not console.is_open
