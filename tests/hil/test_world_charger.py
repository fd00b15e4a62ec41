"""A station's own code, on a real MicroPython, charges a car in the world, and opens when it must."""

import asyncio
from pathlib import Path

import pytest

from puf.grant import CHARGE, CLOSE
from tests.hil.role_rig import RoleBoard, role_board


async def charging(board: RoleBoard) -> None:
    """A car is plugged in, has a grant, and charges."""
    board.world.plug()
    await board.pass_ms(500)
    assert await board.act(CHARGE, "car1") == 0
    board.world.charge(7_200)
    await board.pass_ms(1_000)
    assert board.world.socket.is_live


@pytest.mark.parametrize("pins", ["simulated", "esp32-devkitc-v4"], ids=["pulses", "modbus"])
def test_a_session_is_counted_to_the_wh_and_ends_with_the_plug(pins: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("charger1", tmp_path, pins) as board:
            socket = board.world.socket
            await charging(board)
            assert socket.duty_u16 == 533_333 * 65_535 // 1_000_000
            assert await board.act(CHARGE, "car2") == 65
            assert await board.act(CLOSE, "car2") == 66
            await board.pass_ms(20_000)
            status = await board.status()
            assert (status["state"], status["car"], status["offered_ma"]) == ("charging", "C", 32_000)
            assert status["session_wh"] == pytest.approx(socket.energy_uwh / 1e6, abs=4)
            assert status["session_wh"] > 40
            board.world.unplug()
            await board.pass_ms(2_000)
            assert not socket.is_live
            await board.said("session over: ")
            assert (await board.status())["state"] == "idle"
            # What was counted is there after a power cut.
            energy_wh = (await board.status())["energy_wh"]
            await board.off()
            await board.on()
            assert (await board.status())["energy_wh"] == energy_wh

    asyncio.run(story())


def test_the_contactor_opens_within_100_ms_of_the_loss_of_c(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("charger1", tmp_path) as board:
            await charging(board)
            for _ in range(5):
                lost_us = board.world.now_us
                board.world.pause()
                await board.pass_ms(150)
                opened_us = board.world.socket.opened_at_us
                assert opened_us is not None
                assert 0 <= opened_us - lost_us <= 100_000
                board.world.charge(7_200)
                await board.pass_ms(700)
                assert board.world.socket.is_live
            board.world.unplug()
            await board.pass_ms(300)
            board.world.charge()
            await board.pass_ms(1_500)
            assert (await board.status())["held"]

    asyncio.run(story())


def test_a_timer_that_overtakes_the_program_does_not_open_the_contactor_under_load(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("charger1", tmp_path) as board:
            await charging(board)
            opened_us = board.world.socket.opened_at_us
            await board.overtake()
            assert board.world.socket.is_live
            assert board.world.socket.opened_at_us == opened_us

    asyncio.run(story())


@pytest.mark.parametrize(
    ("what", "fault"), [("weld", "welded"), ("broken", "contactor"), ("mad", "meter"), ("diode", "diode")]
)
def test_what_is_broken_ends_the_session_and_is_said(what: str, fault: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("charger1", tmp_path) as board:
            socket = board.world.socket
            await charging(board)
            if what == "weld":
                board.world.weld()
                board.world.pause()
            elif what == "broken":
                socket.is_broken = True
            elif what == "mad":
                socket.is_meter_mad = True
            else:
                socket.has_diode = False
            await board.pass_ms(1_500)
            status = await board.status()
            assert not socket.is_closed
            assert await board.act(CHARGE, "car1") == (64 if what in ("weld", "mad") else 0) or fault
            await board.said(f"socket fault {fault}")
            assert status["offered_ma"] == 0
            board.world.unweld()
            socket.is_broken = socket.is_meter_mad = False
            socket.has_diode = True
            board.world.unplug()
            await board.pass_ms(13_000)
            assert (await board.status())["state"] == "idle"
            await charging(board)

    asyncio.run(story())


def test_power_lost_while_it_charges_leaves_the_contactor_open(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("charger1", tmp_path) as board:
            await charging(board)
            await board.off()
            assert not board.world.socket.is_live
            await board.on()
            await board.pass_ms(2_000)
            assert not board.world.socket.is_live
            assert (await board.status())["state"] == "plugged"
            assert await board.act(CHARGE, "car1") == 0
            await board.pass_ms(1_000)
            assert board.world.socket.is_live

    asyncio.run(story())


def test_a_grant_that_waits_too_long_for_a_plug_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("charger1", tmp_path, plug_ms=10_000) as board:
            assert await board.act(CHARGE, "car1") == 0
            await board.pass_ms(11_000)
            assert not (await board.status())["held"]
            board.world.charge()
            await board.pass_ms(2_000)
            assert not board.world.socket.is_live

    asyncio.run(story())


def test_a_meter_that_falls_silent_stops_the_session(tmp_path: Path) -> None:
    async def story() -> None:
        async with role_board("charger1", tmp_path, "esp32-devkitc-v4") as board:
            await charging(board)
            board.world.socket.is_meter_dead = True
            await board.pass_ms(8_000)
            assert not board.world.socket.is_live
            assert (await board.status())["meter"] == "silent"
            assert await board.act(CHARGE, "car1") == 64

    asyncio.run(story())
