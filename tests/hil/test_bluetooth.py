"""The `bluetooth` of a simulated board, as MicroPython documents it: real MicroPython processes on an air."""

import asyncio
import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("bumble", reason="bumble is not installed: pip install 'cpchain-edge[dev]'")
pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")

from bleak import BleakClient
from bleak.exc import BleakGATTProtocolError

from hil.air import Air
from hil.air_link import Conditions
from hil.bleak_backend import Adapter
from hil.micropython import air_wire
from tests import micropython
from tests.hil.air_boards import BOARD, HEAD, HOST, IN, OTHER_BOARD, OUT, PERIPHERAL, board

HOST_RAW, BOARD_RAW = (bytes.fromhex(address.replace(":", "")) for address in (HOST, BOARD))

# What needs no radio


def without_radio(code: str) -> list[str]:
    return micropython.run(
        "import sys; sys.path.insert(0, sys.argv[1])\nimport bluetooth\n" + code,
        str(micropython.ROOT / "hil" / "micropython"),
    ).splitlines()


def test_a_uuid_is_as_on_a_board() -> None:
    lines = without_radio("""
U = bluetooth.UUID
long = U("6E400001-B5A3-F393-E0A9-E50E24DCCA9E")
print(U(0x2908), long, U(b"\\x08\\x29") == U(0x2908), U(0x2908) == 0x2908, U(0x2908) == b"\\x08\\x29")
print(bytes(U(0x2908)), bytes(long).hex(), len(bytes(long)))
print({U(1): "one"}[U(1)], U(1) < U(2), U(0xFFFF) < long, bytes(memoryview(U(1))))
print(U(b"\\1\\2\\3\\4"))
for wrong in (65536, "6E400001-B5A3-F393-E0A9-E50E24DCCA9", "0" * 33, "x" * 32):
    try:
        U(wrong)
    except ValueError as error:
        print(error)
""")
    assert lines == [
        "UUID(0x2908) UUID('6e400001-b5a3-f393-e0a9-e50e24dcca9e') True False False",
        "b'\\x08)' 9ecadc240ee5a9e093f3a3b50100406e 16",
        "one True True b'\\x01\\x00'",
        "UUID(0x04030201)",
        "invalid UUID",
        "UUID too short",
        "UUID too long",
        "invalid char in UUID",
    ]


def test_a_radio_that_is_off_refuses_as_on_a_board() -> None:
    lines = without_radio("""
ble = bluetooth.BLE()
print(ble is bluetooth.BLE(), ble.active(), ble.config("rxbuf"))
def attempt(call, *args, **named):
    try:
        print(call(*args, **named))
    except Exception as error:
        print(type(error).__name__, *error.args)
attempt(ble.gap_advertise, 1000, b"")
attempt(ble.gap_advertise, None)
attempt(ble.gap_scan, 100)
attempt(ble.gap_connect, 1, b"123456")
attempt(ble.gap_connect, 1, b"12345")
attempt(ble.gap_connect, 1)
attempt(ble.gap_disconnect, 1)
attempt(ble.gatts_register_services, ())
attempt(ble.gatts_write, 1, b"")
attempt(ble.gatts_read, 1)
attempt(ble.gatts_notify, 1, 1, b"")
attempt(ble.gattc_read, 1, 1)
attempt(ble.config, "mac")
attempt(ble.config, "colour")
attempt(ble.config, "mtu", mtu=1)
attempt(ble.config, colour=1)
attempt(ble.irq, 5)
attempt(ble.active, True)
""")
    assert lines == [
        "True False 256",
        "OSError 19",
        "None",
        "OSError 19",
        "OSError 19",
        "ValueError invalid addr",
        "TypeError invalid addr",
        "OSError 19",
        "OSError 19",
        "OSError 19",
        "b''",
        "OSError 19",
        "OSError 19",
        "OSError 19",
        "ValueError unknown config param",
        "TypeError can't specify pos and kw args",
        "ValueError unknown config param",
        "ValueError invalid handler",
        "RuntimeError HIL_AIR=host:port must say where the air is; start one: python -m hil.air",
    ]


# A board in the peripheral role


async def test_a_peripheral_is_read_written_and_answers_and_each_event_is_as_documented() -> None:
    code = (
        PERIPHERAL
        + """
def act(event, data):
    if event == 3:
        value = ble.gatts_read(h_in)
        print("value", value, ble.gatts_read(h_in))
        if value == b"notify":
            ble.gatts_notify(data[0], h_out, b"n" * 300)
            ble.gatts_write(h_out, b"stays")
            ble.gatts_notify(data[0], h_out)
        elif value == b"indicate":
            ble.gatts_indicate(data[0], h_out, b"i")
        elif value == b"update":
            print(ble.gatts_write(h_out, b"new", True))
        elif value == b"bye":
            print(ble.gap_disconnect(data[0]), ble.gap_disconnect(77))
asyncio.run(main(act))
"""
    )
    got: asyncio.Queue[bytes] = asyncio.Queue()
    async with Air() as air, board(air.address, code) as lock, Adapter(air.address, HOST) as adapter:
        assert await lock.line() == "ready 7 9 10"
        gone = asyncio.Event()
        async with BleakClient(
            BOARD, backend=adapter.client, disconnected_callback=lambda _: gone.set()
        ) as client:
            assert await lock.line() == f"1 (1, 1, {HOST_RAW!r})"
            assert await lock.line() == "21 (1, 256)"
            assert client.mtu_size == 256
            assert await client.read_gatt_char(OUT) == b"hello"
            assert await lock.line() == "4 (1, 9)"
            name = client.services.get_characteristic(OUT)
            assert name is not None
            assert [descriptor.uuid[4:8] for descriptor in name.descriptors] == ["2901", "2902"]
            assert await client.read_gatt_descriptor(name.descriptors[0].handle) == b"what it says"
            assert await lock.line() == "4 (1, 10)"
            with pytest.raises(BleakGATTProtocolError, match="Read Not Permitted"):
                await client.read_gatt_char(IN)
            with pytest.raises(BleakGATTProtocolError, match="Write Not Permitted"):
                await client.write_gatt_char(OUT, b"x", response=True)

            await client.start_notify(OUT, lambda _, data: got.put_nowait(bytes(data)))
            await client.write_gatt_char(IN, b"notify", response=True)
            assert [await lock.line(), await lock.line()] == ["3 (1, 7)", "value b'notify' b''"]
            assert [await got.get(), await got.get()] == [b"n" * 253, b"stays"]
            await client.write_gatt_char(IN, b"update", response=False)
            assert [await lock.line() for _ in range(3)] == ["3 (1, 7)", "value b'update' b''", "3"]
            assert await got.get() == b"new"
            # Longer than the buffer of 100: cut, not refused.
            await client.write_gatt_char(IN, b"z" * 120, response=True)
            assert await lock.line() == "3 (1, 7)"
            assert await lock.line() == f"value {b'z' * 100!r} b''"
            await client.write_gatt_char(IN, b"indicate", response=True)
            assert [await lock.line() for _ in range(2)] == ["3 (1, 7)", "value b'indicate' b''"]
            assert await lock.line() == "20 (1, 9, 0)"
            await client.write_gatt_char(IN, b"bye", response=True)
            assert [await lock.line() for _ in range(2)] == ["3 (1, 7)", "value b'bye' b''"]
            assert await lock.line() == "True False"
            assert await lock.line() == f"2 (1, 1, {HOST_RAW!r})"
            await gone.wait()
            assert not client.is_connected
        # It advertises again, with what it said before.
        async with BleakClient(BOARD, backend=adapter.client) as client:
            assert await client.read_gatt_char(OUT) == b"new"


async def test_writes_are_appended_until_the_program_reads_or_replace_each_other() -> None:
    code = (
        PERIPHERAL
        + """
count = 0
def act(event, data):
    global count
    if event == 3:
        count += 1
        if count % 2 == 0:
            print("value", ble.gatts_read(h_in))
            ble.gatts_set_buffer(h_in, 100)
asyncio.run(main(act))
"""
    )
    async with Air() as air, board(air.address, code) as lock, Adapter(air.address) as adapter:
        await lock.until("ready")
        async with BleakClient(BOARD, backend=adapter.client) as client:
            for said in (b"one", b"two", b"three", b"four"):
                await client.write_gatt_char(IN, said, response=True)
            assert await lock.until("value") == "value b'onetwo'"
            assert await lock.until("value") == "value b'four'"


async def test_a_handler_may_deny_a_read_and_set_the_value_it_answers_with() -> None:
    code = (
        PERIPHERAL
        + """
def answer(event, data):
    if event == 4:
        if data[1] == h_name:
            return 0x08
        ble.gatts_write(h_out, b"fresh")
ble.irq(answer)
asyncio.run(main(None))
"""
    )
    async with Air() as air, board(air.address, code) as lock, Adapter(air.address) as adapter:
        await lock.until("ready")
        async with BleakClient(BOARD, backend=adapter.client) as client:
            assert await client.read_gatt_char(OUT) == b"fresh"
            out = client.services.get_characteristic(OUT)
            assert out is not None
            with pytest.raises(BleakGATTProtocolError, match="Insufficient Authorization"):
                await client.read_gatt_descriptor(out.descriptors[0].handle)


async def test_a_board_that_is_switched_off_ends_its_links_and_may_come_back() -> None:
    code = (
        PERIPHERAL
        + """
def act(event, data):
    if event == 3:
        ble.active(False)
        print("off", ble.active(), ble.gatts_read(h_out))
        ble.active(True)
        print(ble.gatts_register_services((SERVICE,)), ble.gatts_read(h_out), ble.config("mac"))
        try:
            ble.gatts_notify(1, h_out, b"")
        except OSError as error:
            print(error.args)
        ble.gap_advertise(30_000, b"\\x02\\x01\\x06")
asyncio.run(main(act))
"""
    )
    async with Air() as air, board(air.address, code) as lock, Adapter(air.address) as adapter:
        await lock.until("ready")
        client = BleakClient(BOARD, backend=adapter.client)
        await client.connect()
        await client.write_gatt_char(IN, b"off", response=False)
        await lock.until("3 ")
        assert await lock.line() == "off False b''"
        assert await lock.line() == f"((7, 9, 10),) b'' (1, {BOARD_RAW!r})"
        assert await lock.line() == "(107,)"
        async with BleakClient(BOARD, backend=adapter.client) as client:
            assert client.mtu_size == 256


async def test_a_program_that_sends_faster_than_the_air_takes_is_told_so() -> None:
    code = (
        PERIPHERAL
        + """
def act(event, data):
    if event == 3:
        count = 0
        try:
            while True:
                ble.gatts_notify(data[0], h_out, b"n" * 100)
                count += 1
        except OSError as error:
            print(count, error.args)
asyncio.run(main(act))
"""
    )
    # As soon as it is written nothing leaves any more: a latency of a minute.
    async with Air() as air, board(air.address, code) as lock, Adapter(air.address) as adapter:
        await lock.until("ready")
        async with BleakClient(BOARD, backend=adapter.client) as client:
            await client.write_gatt_char(IN, b"go", response=True)
            air.conditions.latency_ms = 60_000
            await lock.until("3 ")
            count, error = (await lock.line()).split(" ", 1)
            assert error == "(12,)"
            assert int(count) >= 24
            air.drop(BOARD)


# Two boards, and the central role

CENTRAL = (
    HEAD
    + """
seen = {}
def irq(event, data):
    copy = tuple(bytes(d) if isinstance(d, memoryview) else d for d in data)
    if event == 5:
        if copy[1] == LOCK:
            seen[copy[2]] = copy
    else:
        print(event, copy)
    happened.append(event)
happened = []
def wait(event):
    while event not in happened:
        time.sleep_ms(1)
    happened.remove(event)
LOCK = bytes.fromhex("C00000000001")
ble.active(True)
ble.irq(irq)
"""
)


async def test_a_board_finds_another_discovers_it_and_works_with_it() -> None:
    serve = (
        PERIPHERAL
        + """
ble.gatts_set_buffer(h_in, 400, True)
def act(event, data):
    if event == 3:
        print("value", len(ble.gatts_read(h_in)))
        ble.gatts_notify(data[0], h_out, b"told")
        ble.gatts_indicate(data[0], h_out, b"sure")
asyncio.run(main(act))
"""
    )
    visit = (
        CENTRAL
        + """
ble.gap_scan(0, 30_000, 30_000, True)
try:
    ble.gap_scan(100)
except OSError as error:
    print(error.args)
while len(seen) < 2:
    time.sleep_ms(1)
ble.gap_scan(None)
wait(6)
for kind in sorted(seen):
    print("heard", seen[kind])
ble.gap_connect(1, LOCK)
wait(7)
ble.gattc_exchange_mtu(1)
wait(21)
ble.gattc_discover_services(1)
wait(10)
ble.gattc_discover_services(1, bluetooth.UUID(0xF100))
wait(10)
ble.gattc_discover_characteristics(1, 1, 0xFFFF)
wait(12)
ble.gattc_discover_characteristics(1, 1, 0xFFFF, bluetooth.UUID(0xF102))
wait(12)
ble.gattc_discover_descriptors(1, 9, 11)
wait(14)
ble.gattc_read(1, 9)
wait(16)
ble.gattc_read(1, 7)
wait(16)
ble.gattc_read(1, 99)
wait(16)
ble.gattc_write(1, 7, b"no answer")
wait(18)
wait(19)
ble.gattc_write(1, 7, "x" * 400, 1)
wait(17)
wait(18)
wait(19)
for call, *args in ((ble.gattc_read, 5, 9), (ble.gattc_exchange_mtu, 1), (ble.gap_connect, 1, LOCK)):
    try:
        call(*args)
    except OSError as error:
        print(error.args)
print(ble.gap_disconnect(1))
wait(8)
ble.gap_connect(1, b"nobody", 50)
wait(8)
"""
    )
    async with Air() as air, board(air.address, serve) as lock:
        await lock.until("ready")
        async with board(air.address, visit, OTHER_BOARD) as car:
            lines = await car.rest()
        assert await lock.until("value") == "value 9"
        # Cut to what the MTU lets through.
        assert await lock.until("value") == "value 253"
    advertised, response = b"\x02\x01\x06\x05\x09lock", b"\x05\xff\xff\xffhi"
    assert lines == [
        "(114,)",
        "6 ()",
        f"heard (1, {BOARD_RAW!r}, 0, -50, {advertised!r})",
        f"heard (1, {BOARD_RAW!r}, 4, -50, {response!r})",
        f"7 (1, 1, {BOARD_RAW!r})",
        "21 (1, 256)",
        "9 (1, 1, 3, UUID(0x1800))",
        "9 (1, 4, 4, UUID(0x1801))",
        "9 (1, 5, 11, UUID(0xf100))",
        "10 (1, 0)",
        "9 (1, 5, 11, UUID(0xf100))",
        "10 (1, 0)",
        "11 (1, 5, 3, 2, UUID(0x2a00))",
        "11 (1, 7, 7, 12, UUID(0xf101))",
        "11 (1, 65535, 9, 50, UUID(0xf102))",
        "12 (1, 0)",
        "11 (1, 65535, 9, 50, UUID(0xf102))",
        "12 (1, 0)",
        "13 (1, 10, UUID(0x2901))",
        "13 (1, 11, UUID(0x2902))",
        "14 (1, 0)",
        "15 (1, 9, b'hello')",
        "16 (1, 9, 0)",
        "16 (1, 7, 258)",
        "16 (1, 99, 257)",
        "18 (1, 9, b'told')",
        "19 (1, 9, b'sure')",
        "17 (1, 7, 0)",
        "18 (1, 9, b'told')",
        "19 (1, 9, b'sure')",
        "(107,)",
        "(114,)",
        "(5,)",
        "True",
        f"8 (1, 1, {BOARD_RAW!r})",
        f"8 (65535, 255, {bytes(6)!r})",
    ]


async def test_a_lost_link_fails_what_is_under_way_and_then_tells_both_sides() -> None:
    serve = PERIPHERAL + "\nasyncio.run(main(lambda event, data: None))"
    visit = (
        CENTRAL
        + """
ble.gap_connect(1, LOCK)
wait(7)
print("now")
ble.gattc_write(1, 7, b"lost on its way", 1)
wait(8)
"""
    )
    async with Air(Conditions(latency_ms=5)) as air, board(air.address, serve) as lock:
        await lock.until("ready")
        cut = air.cut(BOARD, after=0)
        async with board(air.address, visit, OTHER_BOARD) as car:
            lines = await car.rest()
        assert cut.is_done
        assert lines == [
            f"7 (1, 1, {BOARD_RAW!r})",
            "now",
            "17 (1, 7, 7)",
            f"8 (1, 1, {BOARD_RAW!r})",
        ]
        assert await lock.line() == f"1 (1, 1, {bytes.fromhex(OTHER_BOARD.replace(':', ''))!r})"
        assert (await lock.line()).startswith("2 (1, 1, ")


# The wire between a board and the air

values = st.recursive(
    st.none() | st.integers(-(2**31), 2**31 - 1) | st.binary(max_size=40),
    lambda children: st.lists(children, max_size=4),
    max_leaves=12,
)


@given(st.lists(values, max_size=6))
def test_values_come_through_the_wire(sent: list[object]) -> None:
    frame = bytes(air_wire.pack(sent))
    assert int.from_bytes(frame[:2], "little") == len(frame) - 2
    try:
        assert air_wire.unpack(frame[2:]) == sent
    except ValueError:
        # Lists in lists deeper than services have.
        assert str(sent).count("[") > air_wire.DEPTH_MAX


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_garbage_on_the_wire_is_refused(body: bytes) -> None:
    with contextlib.suppress(ValueError, IndexError):
        assert bytes(air_wire.pack(air_wire.unpack(body)))[2:] == body


def test_the_wire_is_the_same_on_a_board() -> None:
    sent: list[object] = [7, None, -5, b"bytes", [b"\0", [1, []]]]
    frame = bytes(air_wire.pack(sent))
    parts = (
        "2200",
        "0107000000",
        "00",
        "01fbffffff",
        "0205006279746573",
        "0302020100000302010100000003",
        "00",
    )
    assert frame.hex() == "".join(parts)
    code = f"import air_wire as w\nf = bytes.fromhex('{frame.hex()}')\nprint(w.pack(w.unpack(f[2:])) == f)"
    assert without_radio(code) == ["True"]


async def test_a_board_that_sends_garbage_disturbs_nobody() -> None:
    chance = random.Random(3)
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with Air() as air:
        host, port = air.address.split(":")
        for _ in range(40):
            reader, writer = await asyncio.open_connection(host, int(port))
            kind = chance.choice([b"board -\n", b"hci -\n", b"command\n", b"", b"board nonsense\n"])
            body = chance.randbytes(chance.randrange(40))
            if chance.random() < 0.5:
                body = bytes(air_wire.pack([chance.randrange(20), *[chance.choice([None, 5, b"x", []])] * 3]))
            writer.write(kind + body)
            writer.write_eof()
            await reader.read()
            writer.close()
        async with board(air.address, PERIPHERAL + "\nasyncio.run(main(print))") as lock:
            assert await lock.line() == "ready 7 9 10"
            assert air.radios == [BOARD]
    assert problems == []
