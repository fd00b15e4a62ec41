"""An air as a whole: who joins, what is commanded, and the command line."""

import asyncio
import json
import sys
from typing import Any

import pytest

pytest.importorskip("bumble", reason="bumble is not installed: pip install 'cpchain-edge[dev]'")
pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")

from bleak import BleakClient
from bleak.exc import BleakError

from hil import air as air_module
from hil.air import Air, AirError, ask
from hil.air_link import Conditions
from hil.bleak_backend import Adapter
from tests.hil.air_boards import BOARD, HOST, IN, OUT, PERIPHERAL, board

SERVE = PERIPHERAL + "\nasyncio.run(main(lambda event, data: None))"


async def test_commands_say_what_is_there_and_change_how_it_is() -> None:
    async with Air(Conditions(latency_ms=0.0)) as air, board(air.address, SERVE):
        await air.joined(BOARD)
        async with (
            Adapter(air.address, HOST) as adapter,
            BleakClient(BOARD, backend=adapter.client) as client,
        ):
            assert await ask(air.address, "radios") == [BOARD, HOST]
            (link,) = await ask(air.address, "links")
            assert (link["central"], link["peripheral"], link["lost"]) == (HOST, BOARD, 0)
            before = link["messages"]
            await client.read_gatt_char(OUT)
            (link,) = await ask(air.address, "links")
            assert link["messages"] == before + 2
            assert await ask(air.address, "set latency_ms=3 interval_ms=agreed loss=0.25") == {
                "latency_ms": 3.0,
                "interval_ms": None,
                "loss": 0.25,
                "supervision_ms": None,
            }
            assert air.links(BOARD)[0].interval_ms == 30.0
            air.heal()
            assert air.conditions.loss == 0.0
            assert await ask(air.address, f"cut {BOARD.lower()} 0 up") is None
            with pytest.raises(BleakError, match="disconnected"):
                await client.read_gatt_char(OUT)
            assert await ask(air.address, "links") == []
            assert [link.peripheral for link in air.ended(BOARD)] == [BOARD]
            assert await ask(air.address, f"drop {BOARD}") == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "'' is none of"),
        ("dance", "'dance' is none of"),
        ("set", "'set' is none of"),
        ("set colour=red", "'colour=red': there are interval_ms, latency_ms, loss, supervision_ms"),
        ("set loss=much", "set loss=much: could not convert"),
        ("set latency_ms=agreed", "could not convert"),
        ("cut C0:00:00:00:00:01 some", "invalid literal"),
        ("cut C0:00:00:00:00:01 -1", "0 or more messages"),
        ("cut C0:00:00:00:00:01 1 left", "could not convert"),
    ],
)
def test_a_command_that_makes_no_sense_is_told_so_and_changes_nothing(line: str, problem: str) -> None:
    air = Air()
    with pytest.raises(AirError) as error:
        air.command(line)
    assert problem in str(error.value)
    assert air.conditions == Conditions()


async def test_every_message_of_a_visit_can_be_the_one_that_is_lost() -> None:
    async def visit(adapter: Adapter) -> bytes:
        async with BleakClient(BOARD, backend=adapter.client, timeout=20) as client:
            await client.write_gatt_char(IN, b"x", response=True)
            return bytes(await client.read_gatt_char(OUT))

    async with Air(Conditions(latency_ms=0.0)) as air, board(air.address, SERVE):
        await air.joined(BOARD)
        async with Adapter(air.address, HOST) as adapter:
            assert await visit(adapter) == b"hello"
            count = air.ended(BOARD)[-1].figures.messages
            assert count > 20
            for after in range(count):
                cut = air.cut(BOARD, after)
                with pytest.raises(BleakError):
                    await visit(adapter)
                assert cut.is_done
                assert air.ended(BOARD)[-1].figures.messages == after
            assert await visit(adapter) == b"hello"


async def test_an_address_that_is_silenced_is_not_heard_until_it_is() -> None:
    async with Air(Conditions(supervision_ms=50.0)) as air, board(air.address, SERVE):
        await air.joined(BOARD)
        async with Adapter(air.address) as adapter:
            client = BleakClient(BOARD, backend=adapter.client)
            await client.connect()
            air.silence(BOARD)
            with pytest.raises(BleakError, match="disconnected"):
                await client.read_gatt_char(OUT)
            with pytest.raises(TimeoutError):
                await BleakClient(BOARD, backend=adapter.client, timeout=0.3).connect()
            air.hear(BOARD)
            async with BleakClient(BOARD, backend=adapter.client) as client:
                assert await client.read_gatt_char(OUT) == b"hello"


async def test_an_air_started_by_hand_says_where_it_is_and_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hil.air", "--latency-ms", "7"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        first = (await process.stdout.readline()).decode().split()
        assert first[:2] == ["air", "at"]
        address = first[2]
        async with board(address, SERVE) as lock:
            await lock.until("ready")
            status, said = await by_hand(capsys, "--at", address, "radios")
            assert (status, said) == (0, f"{BOARD}\n")
        status, said = await by_hand(capsys, "--at", address, "set", "loss=0.5")
        assert json.loads(said) == {
            "latency_ms": 7.0,
            "interval_ms": 0.0,
            "loss": 0.5,
            "supervision_ms": None,
        }
        assert await by_hand(capsys, "--at", address, "cut", BOARD, "3") == (0, "done\n")
        status, said = await by_hand(capsys, "--at", address, "fly")
        assert status == 1
        assert said.startswith("'fly' is none of:")
    finally:
        process.kill()
        await process.wait()
    status, said = await by_hand(capsys, "--at", address, "links")
    assert status == 1
    assert "Connect" in said


async def by_hand(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """`python -m hil.air` with these words: status, and all that it says."""
    status = await asyncio.to_thread(air_module.main, list(words))
    captured: Any = capsys.readouterr()
    return status, captured.out + captured.err
