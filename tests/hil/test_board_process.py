"""A simulated board is a process that can lose power, restart, sleep, crash; it never outlives its rig."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hil.board_process import BoardProcess
from hil.clock import FakeClock
from hil.errors import BoardEnded, BoardError, BoardRestarts, ConsoleTimeout

LEAVE = """
import json, os, sys, time
def leave(kind, **other):
    with open(os.getenv("HIL_STATE") + "/exit.json", "w") as file:
        json.dump(dict(other, kind=kind, now_ms=time.hil_now_ms()), file)
    sys.exit(75)
"""


@asynccontextmanager
async def board(
    folder: Path, main: str, boot: str = "", clock: FakeClock | None = None
) -> AsyncIterator[BoardProcess]:
    flash = folder / "flash"
    flash.mkdir()
    (flash / "main.py").write_text(main)
    if boot:
        (flash / "boot.py").write_text(boot)
    made = BoardProcess("lock1", flash, folder / "state", {}, clock)
    try:
        await made.on()
        yield made
    finally:
        await made.off()


async def test_boot_and_main_share_a_namespace_and_leave_to_a_prompt(tmp_path: Path) -> None:
    async with board(tmp_path, "print('main', x)", "x = 7") as lock:
        await lock.console.expect("^main 7$")
        await lock.console.expect(">>> ")
        lock.console.write("x * 6\r")
        await lock.console.expect(r"^42\r?$")
        assert lock.starts == ["power_on"]


async def test_power_goes_in_the_middle_of_work_and_flash_stays(tmp_path: Path) -> None:
    main = """
try:
    with open("count") as file: count = int(file.read())
except OSError:
    count = 0
with open("count", "w") as file: file.write(str(count + 1))
print("start", count)
while True: pass
"""
    async with board(tmp_path, main) as lock:
        for count in range(3):
            await lock.console.expect(f"^start {count}$")
            pid = lock.pid
            assert pid is not None
            await lock.off()
            assert lock.pid is None
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
            await lock.on()
        assert lock.starts == ["power_on"] * 4


async def test_folders_may_be_named_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main = "import os\nprint(os.stat(os.getenv('HIL_STATE'))[0] != 0, os.listdir())"
    async with board(Path(), main) as lock:
        await lock.console.expect(r"^True \['main.py'\]")


async def test_a_reset_keeps_what_the_power_keeps(tmp_path: Path) -> None:
    main = (
        LEAVE
        + """
memory = os.getenv("HIL_STATE") + "/rtc"
if "rtc" not in os.listdir(os.getenv("HIL_STATE")):
    with open(memory, "w") as file: file.write("kept")
    leave("hard")
with open(memory) as file: print(os.getenv("HIL_CAUSE"), file.read())
while True: time.sleep(1)
"""
    )
    async with board(tmp_path, main) as lock:
        await lock.console.expect("^hard kept$")
        await lock.reset()
        await lock.console.expect("^hard kept$")
        await lock.cycle()
        await lock.console.expect("^hard kept$")
        assert lock.starts == ["power_on", "hard", "hard", "power_on", "hard"]


async def test_a_crash_shows_its_traceback_and_fails_whoever_waits(tmp_path: Path) -> None:
    async with board(tmp_path, "print('ready')\n1 / 0") as lock:
        await lock.console.expect("ready")
        with pytest.raises(BoardEnded, match="ZeroDivisionError"):
            await lock.console.expect("never")
        # The prompt is there all the same.
        lock.console.write("print(6 * 7)\r")
        await lock.console.expect("^42")


async def test_a_program_that_leaves_without_a_reason_is_an_error(tmp_path: Path) -> None:
    async with board(tmp_path, "import sys\nprint('going')\nsys.exit(3)") as lock:
        with pytest.raises(BoardEnded, match=r"left with status 3; its console:\ngoing"):
            await lock.console.expect("never")


async def test_a_board_that_restarts_for_ever_is_given_up(tmp_path: Path) -> None:
    async with board(tmp_path, LEAVE + "leave('wdt')") as lock:
        with pytest.raises(BoardRestarts, match="lock1 has started 20 times"):
            await lock.console.expect("never")
        assert lock.starts[:3] == ["power_on", "wdt", "wdt"]


async def test_what_is_not_said_in_time_is_an_error_that_shows_what_was(tmp_path: Path) -> None:
    async with board(tmp_path, "print('only this')\nwhile True: pass") as lock:
        await lock.console.expect("only")
        with pytest.raises(ConsoleTimeout, match=r"did not say 'that' within 50 ms; its console:\nonly this"):
            await lock.console.expect("that", timeout_ms=50)


async def test_control_c_interrupts_the_program(tmp_path: Path) -> None:
    async with board(tmp_path, "import time\nprint('runs')\nwhile True: time.sleep(1)") as lock:
        await lock.console.expect("runs")
        lock.console.write("\x03")
        await lock.console.expect("KeyboardInterrupt")
        await lock.console.expect(">>> ")


async def test_nobody_types_to_a_board_without_power(tmp_path: Path) -> None:
    async with board(tmp_path, "print('runs')") as lock:
        await lock.off()
        with pytest.raises(BoardError, match="does not run, so nobody reads what is typed"):
            lock.console.write("x\r")
        with pytest.raises(BoardError, match="has no power, so its reset button does nothing"):
            await lock.reset()


def test_a_board_ends_with_its_rig_however_that_ends(tmp_path: Path) -> None:
    rig = f"""
import asyncio, os, sys
from pathlib import Path
from hil.board_process import BoardProcess
async def main():
    lock = BoardProcess("lock1", Path({str(tmp_path)!r}) / "flash", Path({str(tmp_path)!r}) / "state", {{}})
    await lock.on()
    await lock.console.expect("runs")
    print(lock.pid, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    (tmp_path / "flash").mkdir()
    (tmp_path / "flash" / "main.py").write_text("import time\nprint('runs')\nwhile True: time.sleep_ms(10)")
    done = subprocess.run(
        [sys.executable, "-c", rig], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    pid = int(done.stdout)
    for _ in range(2_000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.005)
    else:
        raise AssertionError(f"the board, process {pid}, lives on")


DAY_MS = 86_400_000


async def test_a_day_passes_in_a_moment_and_at_its_end_time_is_real(tmp_path: Path) -> None:
    main = """
import asyncio, time
ticks = 0
async def tick():
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep(60)
async def live():
    begin = time.ticks_ms()
    await asyncio.sleep_ms(86_400_100)
    print("after", time.ticks_diff(time.ticks_ms(), begin) // 1000, ticks, time.time(), time.gmtime()[:3])
async def main():
    await asyncio.gather(tick(), live())
print("runs")
asyncio.run(main())
"""
    async with FakeClock() as clock, board(tmp_path, main, clock=clock) as lock:
        await lock.console.expect("runs")
        began_ms = clock.now_ms
        await clock.skip(DAY_MS)
        assert 0 <= clock.now_ms - began_ms - DAY_MS < 60_000
        match = await lock.console.expect(r"^after (\d+) (\d+) (\d+) \((\d+), (\d+), (\d+)\)")
        seconds, ticks, unix, *date = map(int, match.groups())
        assert seconds == 86_400
        assert ticks == 1_441
        assert unix // 86_400 == 946_684_800 // 86_400 + 1
        assert date == [2000, 1, 2]


async def test_a_board_sleeps_with_its_program_ended_and_wakes_in_time(tmp_path: Path) -> None:
    main = (
        LEAVE
        + """
late_ms = time.hil_now_ms() - int(os.getenv("HIL_BEGAN_MS"))
print("woke", os.getenv("HIL_CAUSE"), late_ms // 60_000)
leave("deepsleep", ms=600_000)
"""
    )
    async with FakeClock() as clock, board(tmp_path, main, clock=clock) as lock:
        await lock.console.expect("woke power_on 0")
        await clock.skip(3_605_000)
        for number in range(1, 7):
            await lock.console.expect(f"woke deepsleep {10 * number}$")
        assert len(lock.starts) == 7
        await clock.skip(600_000)
        await lock.console.expect("woke deepsleep 70$")


async def test_who_waits_in_a_loop_for_a_jumping_clock_comes_to_an_end(tmp_path: Path) -> None:
    main = """
import time
print("runs")
time.sleep(1)
begin = time.ticks_us()
while time.ticks_diff(time.ticks_us(), begin) < 5_000: pass
time.sleep_us(300)
print("done")
while True: time.sleep(100)
"""
    async with FakeClock() as clock, board(tmp_path, main, clock=clock) as lock:
        await lock.console.expect("runs")
        await clock.skip(10_000)
        await lock.console.expect("done")
