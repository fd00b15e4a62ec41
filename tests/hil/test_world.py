"""The world behind pins: physics, a line that takes garbage, and a board's `machine` on top of it."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.board_process import BoardProcess
from hil.world import BOARDS, World, WorldError, served
from puf.puf_simulator import SimulatedChip

LOCK = json.loads((BOARDS / "simulated.json").read_text())["lock"]
UP, DOWN = LOCK["motor"]["up"], LOCK["motor"]["down"]
LOW, HIGH = LOCK["limits"]["low"], LOCK["limits"]["high"]
CURRENT, ECHO = LOCK["current"]["pin"], LOCK["sonars"][0]["echo"]


def tell(world: World, *lines: str) -> list[str | None]:
    board = world.board("lock1")
    return [world.ask(board, line) for line in lines]


def test_an_arm_takes_its_time_and_stalls_at_its_end() -> None:
    world = World()
    said = tell(
        world, "j 0 lock1 power_on", f"i 0 {LOW}", f"i 0 {HIGH}", f"a 0 {CURRENT}", f"p 0 {UP} 1",
        f"i 1500000 {LOW}", f"i 1500000 {HIGH}", f"a 1500000 {CURRENT}", f"i 2990000 {HIGH}",
        f"a 3100000 {CURRENT}", f"p 3200000 {UP} 0", f"a 3200000 {CURRENT}",
    )  # fmt: skip
    # 1.2 A and 4.5 A at 2 A a volt.
    assert said == ["ok", "0", "1", "0", None, "1", "1", "600000", "0", "2250000", None, "0"]
    arm = world.board("lock1").arm
    assert arm.position == 1_000
    assert 190_000 <= arm.stalled_us <= 200_000


def test_what_blocks_the_arm_stalls_the_motor_and_both_pins_at_once_move_nothing() -> None:
    world = World()
    world.board("lock1").block(400)
    tell(world, "j 0 lock1 power_on", f"p 0 {UP} 1", f"i 2000000 {HIGH}")
    arm = world.board("lock1").arm
    assert (arm.position, arm.is_stalled) == (400, True)
    tell(world, f"p 2000000 {DOWN} 1", f"i 3000000 {LOW}")
    assert (arm.position, arm.current_ma) == (400, 0)


def test_a_car_that_is_lifted_is_seen() -> None:
    world = World()
    world.board("lock1").car_arrives()
    tell(world, "j 0 lock1 power_on", f"p 0 {UP} 1", f"i 100000 {HIGH}")
    assert world.board("lock1").arm.lifted_mm > 0


def test_a_board_that_starts_or_ends_holds_no_pin() -> None:
    world = World()
    board = world.board("lock1")
    tell(world, "j 0 lock1 power_on", f"p 0 {UP} 1")
    assert board.arm.direction == 1
    board.leave()
    assert board.arm.direction == 0
    tell(world, f"p 5 {UP} 1", "j 0 lock1 hard")
    assert (board.arm.direction, board.start_count, board.power_up_count) == (0, 2, 1)


def test_an_echo_is_that_of_what_stands_there() -> None:
    world = World()
    world.board("lock1").bay.temperature_mdegc = 20_000
    (_, empty) = tell(world, "j 0 lock1 power_on", f"e 0 {ECHO} 1 30000")
    assert abs(int(empty or 0) - 11_654) <= 12
    world.board("lock1").car_arrives()
    assert abs(int(tell(world, f"e 0 {ECHO} 1 30000")[0] or 0) - 3_496) <= 13
    assert tell(world, f"e 0 {ECHO} 1 1000") == ["-1"]
    world.board("lock1").silence(0)
    assert tell(world, f"e 0 {ECHO} 1 30000", "e 0 13 1 30000") == ["-1", "-2"]


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60) | st.lists(st.sampled_from([*"jpwiaeqtgfbum", "0", "-1", "25", "x"])).map(" ".join)
)
def test_a_line_of_garbage_is_a_declared_error(line: str) -> None:
    world = World()
    # Anything else that is raised fails the test.
    with contextlib.suppress(WorldError):
        world.ask(world.board("lock1"), line)


def test_what_nobody_can_do_is_refused_with_what_one_can() -> None:
    world = World()
    with pytest.raises(WorldError, match="nobody can 'start'"):
        world.do("lock1", "start", "0", "x")
    with pytest.raises(WorldError, match="battery of lock1"):
        world.do("lock1", "battery", "full")
    with pytest.raises(WorldError, match="name it after a role"):
        world.board("door7")
    assert world.board("door7", "lock").role == "lock"
    world.do("lock1", "battery", "11000")
    assert world.board("lock1").power.mv == 11_000


def test_a_world_that_is_started_by_hand_takes_orders_on_its_port() -> None:
    async def story() -> None:
        world = World()
        async with served(world) as address:
            host, port = address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            for line, answer in (
                ("do lock1 car_arrives", "ok"), ("do lock1 fly", "nobody can 'fly'"), ("do", "World.do()"),
                ("i 0 5", "who are you?"), ("j 0 lock1 power_on", "ok"), ("a 0 0", "0"),
            ):  # fmt: skip
                writer.write(f"{line}\n".encode())
                assert answer in (await reader.readline()).decode()
            writer.close()
            assert world.board("lock1").bay.has_car

    asyncio.run(story())


PROGRAM = """
import machine, os, time
cause = machine.reset_cause()
print("cause", cause)
rtc = machine.RTC()
if cause == machine.PWRON_RESET:
    print("pattern", (machine.mem32[0x50000000] & 0xFFFFFFFF).to_bytes(4, "little").hex())
    machine.mem32[0x50000000] = 0
    print("then", machine.mem32[0x50000000], rtc.memory())
    rtc.memory(b"kept")
    machine.deepsleep(50)
elif cause == machine.DEEPSLEEP_RESET:
    print("after sleep", machine.mem32[0x50000000], rtc.memory(), machine.wake_reason())
    wdt = machine.WDT(timeout=300)
    for _ in range(10):
        wdt.feed()
        time.sleep_ms(60)
    print("fed")
    while True:
        pass
elif cause == machine.WDT_RESET:
    print("bitten", rtc.memory())
    machine.reset()
print("end", len(machine.unique_id()))
"""


def test_a_board_sleeps_is_bitten_and_resets_and_its_memory_is_what_it_should_be(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(World()) as address:
            flash = tmp_path / "flash"
            flash.mkdir()
            (flash / "main.py").write_text(PROGRAM)
            environment = {"HIL_WORLD": address, "HIL_CHIP": "chip"}
            board = BoardProcess("lock1", flash, tmp_path / "state", environment)
            await board.on()
            try:
                said = await board.console.expect(r"pattern (\w+)", 20_000)
                await board.console.expect(r"then 0 b''", 20_000)
                await board.console.expect(r"after sleep 0 b'kept' 4", 20_000)
                await board.console.expect("fed", 20_000)
                await board.console.expect("bitten b'kept'", 20_000)
                await board.console.expect("end 6", 20_000)
                assert board.starts == ["power_on", "deepsleep", "wdt", "hard"]
            finally:
                await board.off()
            cells = SimulatedChip(b"chip").read()[:4]
            differing = bin(int.from_bytes(cells, "big") ^ int(said[1], 16)).count("1")
            assert differing <= 12

    asyncio.run(story())
