"""A lock's own code, on a real MicroPython, moves a barrier in the world and never lifts a car."""

import asyncio
from pathlib import Path

import pytest

from puf.grant import CLOSE, OPEN
from tests.hil.role_rig import RoleBoard, role_board

GATEWAY = "G"


async def closed(board: RoleBoard) -> None:
    """Released, and up."""
    assert await board.act(CLOSE, GATEWAY) == 0
    await board.pass_ms(12_000)
    assert board.world.arm.is_high


def test_a_visit_from_open_to_up_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("lock1", tmp_path) as board:
            arm = board.world.arm
            await board.pass_ms(20_000)
            assert arm.starts_up == 0
            await closed(board)
            assert await board.act(OPEN, "car1") == 0
            await board.pass_ms(5_000)
            assert arm.is_low
            assert await board.act(OPEN, "car2") == 65
            board.world.car_arrives()
            assert await board.act(CLOSE, "car2") == 66
            assert await board.act(CLOSE, "car1") == 0
            await board.pass_ms(20_000)
            assert (arm.is_low, arm.starts_up) == (True, 1)
            status = await board.status()
            assert (status["state"], status["waits"], status["held"]) == ("down", 2, False)
            assert status["distance_mm"] == pytest.approx(600, abs=5)
            board.near(True)
            board.world.car_leaves()
            await board.pass_ms(15_000)
            assert arm.starts_up == 1
            board.near(False)
            await board.pass_ms(15_000)
            assert (arm.is_high, arm.starts_up, arm.lifted_mm) == (True, 2, 0)
            assert (await board.status())["state"] == "up"

    asyncio.run(story())


def test_a_car_that_comes_while_it_rises_stops_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("lock1", tmp_path) as board:
            board.world.arm.travel_ms = 5_000
            assert await board.act(CLOSE, GATEWAY) == 0
            while not board.world.arm.direction > 0:
                await board.pass_ms(100)
            await board.pass_ms(1_000)
            board.world.car_arrives()
            await board.pass_ms(400)
            assert board.world.arm.direction <= 0
            await board.pass_ms(10_000)
            assert board.world.arm.is_low
            assert (await board.status())["waits"] == 2

    asyncio.run(story())


def test_what_holds_the_arm_stops_the_motor_within_100_ms_and_three_times(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("lock1", tmp_path) as board:
            arm = board.world.arm
            board.world.block(400)
            assert await board.act(CLOSE, GATEWAY) == 0
            await board.pass_ms(40_000)
            assert arm.starts_up == 3
            assert arm.stalled_us <= 300_000
            assert arm.is_low
            status = await board.status()
            assert (status["fault"], status["waits"], status["tries"]) == ("stalled", 16, 3)
            await board.said("barrier halted: stalled")
            board.world.unblock()
            await closed(board)

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["silence", "cut", "stuck", "switch", "battery"])
def test_with_a_part_that_is_broken_it_stays_down(fault: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("lock1", tmp_path) as board:
            world = board.world
            if fault == "silence":
                world.silence(1)
            elif fault == "cut":
                world.bay.is_cut[0] = True
            elif fault == "stuck":
                world.bay.stuck_us[0] = world.bay.echo_us(0)
            elif fault == "switch":
                world.arm.is_high_stuck = True
            else:
                world.battery(11_000)
            assert await board.act(CLOSE, GATEWAY) == 0
            await board.pass_ms(20_000)
            stays = world.arm.starts_up == 0
            # A sensor counts as stuck only after a while, which is shorter than the 5 s.
            assert stays
            assert world.arm.position == 0

    asyncio.run(story())


def test_power_lost_on_the_way_up_leaves_it_where_it_is_until_somebody_says_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("lock1", tmp_path) as board:
            arm = board.world.arm
            assert await board.act(CLOSE, GATEWAY) == 0
            while arm.position < 500:
                await board.pass_ms(100)
            await board.off()
            assert arm.direction == 0
            stood = arm.position
            await board.on()
            await board.pass_ms(20_000)
            assert (arm.position, (await board.status())["state"]) == (stood, "lost")
            assert await board.act(OPEN, "car1") == 0
            await board.pass_ms(5_000)
            assert arm.is_low

    asyncio.run(story())


def test_a_bay_that_is_held_for_too_long_is_released(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("lock1", tmp_path, hold_ms=60_000) as board:
            assert await board.act(OPEN, "car1") == 0
            await board.pass_ms(58_000)
            assert board.world.arm.starts_up == 0
            await board.pass_ms(15_000)
            assert board.world.arm.is_high
            await board.said("held for too long")

    asyncio.run(story())
