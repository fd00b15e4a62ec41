"""The gateway's Bluetooth against a board that is a process of real MicroPython, over a simulated air."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bleak")
pytest.importorskip("bumble")

from bleak import BleakScanner
from bleak.exc import BleakError

from devices.micropython import advert, commands
from devices.micropython.commands import GRANT, GRANT_KEY, LOG, OTA, REBOOT, SETTINGS, STATUS, TIME
from devices.micropython.session import SESSIONS_MAX
from gateway.device_ble import DeviceClient, Radio
from gateway.device_link import Caller, PairingStore
from gateway.errors import DeviceNotFound, DeviceRefused, DeviceUnproven
from hil.air import Air
from hil.air_link import Conditions
from hil.bleak_backend import Adapter
from puf.fast_path_keys import Pairing
from puf.grant import OPEN, Grant, answer_time, issue
from tests.devices.on_air import ADDRESS, CAR, GATEWAY, ME, BoardOnAir, car, compile_board

pytestmark = pytest.mark.slow
TIME_MS = 1_790_000_000_000


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in an event loop of its own, and not for ever."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(90):
                await test(**fixtures)

        asyncio.run(bounded())

    return run


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    compile_board(folder)
    return folder


class Stage:
    """An air, a board on it that is powered on, and one radio of a host."""

    def __init__(self, air: Air, board: BoardOnAir, adapter: Adapter) -> None:
        self.air = air
        self.board = board
        self.radio = Radio("hci0", adapter.scanner, adapter.client)
        self.notes: list[str] = []

    def gateway(self, **options: Any) -> DeviceClient:
        board = self.board
        return DeviceClient(
            self.radio,
            board.caller,
            board.callee,
            board.store(),
            os.urandom,
            note=self.notes.append,
            **options,
        )

    @asynccontextmanager
    async def visitor(self) -> AsyncIterator[DeviceClient]:
        """A car, with a radio of its own."""
        caller, store = car()
        async with Adapter(self.air.address) as adapter:
            radio = Radio("hci0", adapter.scanner, adapter.client)
            client = DeviceClient(radio, caller, self.board.callee, store, os.urandom, is_visitor=True)
            async with client:
                yield client


@asynccontextmanager
async def stage(compiled: Path, tmp_path: Path, latency_ms: float = 2) -> AsyncIterator[Stage]:
    async with Air(Conditions(latency_ms=latency_ms), seed=1) as air, Adapter(air.address) as adapter:
        board = BoardOnAir(compiled, tmp_path / "flash", air.address)
        board.on()
        try:
            async with asyncio.timeout(20):
                await air.joined(ADDRESS)
            yield Stage(air, board, adapter)
        finally:
            board.off()


@in_loop
async def test_a_gateway_meets_a_board_uses_all_of_it_and_finds_it_again_by_its_hint(
    compiled: Path, tmp_path: Path
) -> None:
    async with stage(compiled, tmp_path) as on, on.gateway(is_first=True) as client:
        (status,) = await client.ask(STATUS)
        assert status["role"] == {"state": "down", "distance_mm": 1200, "fault": None}  # type: ignore[index]
        assert client.link is not None
        assert client.link.sizes == [37, 45, 19, 9, 28, 36, 19]
        # A message of five frames each way's length counts once.
        for at in range(1, 4):
            assert await client.ask(OTA, bytes(1024)) == [(1024 * at).to_bytes(4, "big")]
        assert await client.ask(SETTINGS) == [{"raise_ms": 5_000, "site": ""}]
        with pytest.raises(DeviceRefused):
            await client.ask(SETTINGS, {"raise_ms": 1})
        assert b"setting raise_ms cannot be 1" in (await client.ask(LOG, 0))[1]  # type: ignore[operator]
        await client.close()
        await client.ask(STATUS)
        assert (client.link.has_met, client.link.sizes, client.connect_count) == (False, [28, 36, 19], 2)
        assert client.found_ms < 2_000
        assert await client.ask(REBOOT) == []
        assert (await on.board.left()).endswith("left\n")
        assert on.notes == []


@in_loop
async def test_what_a_board_says_to_everybody_tells_nobody_which_it_is(
    compiled: Path, tmp_path: Path
) -> None:
    async with stage(compiled, tmp_path) as on:
        device, said = await _heard(on)
        assert said.service_uuids == [advert.SERVICE]
        assert (device.name, said.local_name) == (None, None) or not said.local_name
        hint = said.manufacturer_data[advert.COMPANY]
        assert advert.is_of(on.board.pairing, hint)
        assert not advert.is_of(Pairing(GATEWAY, ME, b"x" * 32), hint)
        async with on.gateway() as client:
            await client.ask(STATUS)
        assert (await _heard(on, hint))[1].manufacturer_data[advert.COMPANY] != hint


async def _heard(on: Stage, not_hint: bytes = b"") -> tuple[Any, Any]:
    async with asyncio.timeout(10), BleakScanner(backend=on.radio.scanner_backend) as scanner:
        async for device, said in scanner.advertisement_data():
            if device.address == ADDRESS and said.manufacturer_data.get(advert.COMPANY) != not_hint:
                return device, said
    raise AssertionError("not heard")


@pytest.mark.parametrize("after", [3, 5, 7, 9])
@in_loop
async def test_a_link_cut_at_any_message_is_made_anew_and_the_request_asked_again(
    compiled: Path, tmp_path: Path, after: int
) -> None:
    async with stage(compiled, tmp_path) as on, on.gateway() as client:
        cut = on.air.cut(ADDRESS, after=after)
        (status,) = await client.ask(STATUS)
        assert status["kind"] == "lock"  # type: ignore[index]
        assert await client.ask(OTA, bytes(600)) == [(600).to_bytes(4, "big")] or cut.is_done
        assert cut.is_done


@in_loop
async def test_a_car_opens_while_the_gateway_is_connected_and_comes_again_by_the_fast_path(
    compiled: Path, tmp_path: Path
) -> None:
    async with stage(compiled, tmp_path) as on, on.gateway() as gateway, on.visitor() as visitor:
        _, key = await gateway.ask(GRANT_KEY, 1)
        assert isinstance(key, bytes)
        begin_ms = TIME_MS - 60_000
        made = Grant(0, CAR.public, ME, OPEN, begin_ms, begin_ms + 600_000, b"", 0, 1)
        grant = issue(made, GATEWAY, key)
        with pytest.raises(DeviceRefused, match="does not know the time"):
            await visitor.ask(GRANT, OPEN, grant)
        (question,) = await visitor.ask(TIME)
        assert isinstance(question, bytes)
        await visitor.ask(TIME, answer_time(question, GATEWAY, ME, key, 1, TIME_MS)[0])
        assert await visitor.ask(GRANT, OPEN, grant) == []
        assert len(await visitor.ask(STATUS)) == len(await gateway.ask(STATUS)) == 1
        await visitor.close()
        await visitor.ask(GRANT, OPEN, grant)
        assert visitor.link is not None
        assert not visitor.link.has_met


@in_loop
async def test_a_power_cut_of_the_board_is_made_good_at_the_next_request(
    compiled: Path, tmp_path: Path
) -> None:
    async with stage(compiled, tmp_path) as on, on.gateway() as client:
        await client.ask(SETTINGS, {"site": "north"})
        on.board.off()
        on.board.on()
        assert await client.ask(SETTINGS) == [{"raise_ms": 5_000, "site": "north"}]
        assert client.connect_count == 2


@in_loop
async def test_strangers_who_take_every_place_do_not_keep_the_gateway_out(
    compiled: Path, tmp_path: Path
) -> None:
    async with stage(compiled, tmp_path) as on:
        strangers = asyncio.create_task(_crowd(on))
        try:
            async with asyncio.timeout(60):
                while len(on.air.links(ADDRESS)) < SESSIONS_MAX:  # noqa: ASYNC110 - the air tells nobody
                    await asyncio.sleep(0)
            async with on.gateway() as client:
                assert len(await client.ask(STATUS)) == 1
        finally:
            strangers.cancel()
            await asyncio.gather(strangers, return_exceptions=True)


@in_loop
async def test_a_stranger_that_writes_more_frames_than_it_tells_of_disturbs_nobody_after_it(
    compiled: Path, tmp_path: Path
) -> None:
    from bleak import BleakClient

    async with stage(compiled, tmp_path) as on:
        async with Adapter(on.air.address) as adapter:
            device = await BleakScanner.find_device_by_address(ADDRESS, 5, backend=adapter.scanner)
            assert device is not None
            async with BleakClient(device, backend=adapter.client) as stranger:
                await stranger.write_gatt_char(advert.IN, b"\x80\x03\0\x05x" * 2, response=True)
        async with on.gateway() as client:
            assert len(await client.ask(STATUS)) == 1
            assert (client.connect_count, on.notes) == (1, [])


async def _crowd(on: Stage) -> None:
    """Connects, says something or nothing, and comes again, five at a time."""
    from bleak import BleakClient

    async def stranger(number: int) -> None:
        async with Adapter(on.air.address) as adapter:
            while True:
                try:
                    device = await BleakScanner.find_device_by_address(ADDRESS, 5, backend=adapter.scanner)
                    if device is None:
                        continue
                    async with BleakClient(device, backend=adapter.client) as client:
                        if number % 2:
                            await client.write_gatt_char(advert.IN, bytes(range(number, number + 20)))
                        await asyncio.sleep(30)
                except (BleakError, OSError, TimeoutError):
                    await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(stranger(number))


@in_loop
async def test_another_gateway_and_a_device_that_is_not_there_are_told_apart(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.device_ble.FIND_MS", 1_500)
    monkeypatch.setattr("gateway.device_ble.HINT_MS", 1_000)
    monkeypatch.setattr("gateway.device_ble.BACK_OFF_MS", (10,))
    async with stage(compiled, tmp_path) as on:
        board = on.board
        stranger = Caller(GATEWAY, car()[0].identity)
        nothing = PairingStore(lambda: None, lambda pairing: None)
        client = DeviceClient(on.radio, stranger, board.callee, nothing, os.urandom, address=ADDRESS)
        async with client:
            # It proves its own key, is a visitor to the device, and is not who it says.
            with pytest.raises(DeviceUnproven):
                await client.ask(STATUS)
        board.off()
        async with on.gateway() as client:
            with pytest.raises(DeviceNotFound, match="is it near, on"):
                await client.ask(STATUS)


def test_no_reason_lacks_its_advice() -> None:
    from gateway.device_link import LAST_WORDS, REASONS

    assert set(LAST_WORDS) == set(range(commands.BUSY, commands.FAILED + 1))
    assert set(REASONS) == {*range(1, 13), *range(commands.FORMAT_WRONG, commands.FAULT + 1)}
