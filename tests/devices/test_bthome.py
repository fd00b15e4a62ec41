"""What a sensor advertises is read by others, by our gateway, and repeats no number."""

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.micropython import bthome
from devices.micropython.bthome import (
    BATTERY,
    DISTANCE,
    OCCUPANCY,
    PACKET,
    PROBLEM,
    TEMPERATURE,
    VOLTAGE,
    Numbers,
    advertisement,
    beacon_key,
    encrypted,
    objects,
    plain,
)
from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_bthome import decode_v2
from gateway.sensors.ble_keys import NotAuthentic, Vault
from puf.notes import Notes
from tests.micropython import run
from tests.peers import missing, program
from tests.puf.flash import Flash, PowerCut

ADDRESS = bytes.fromhex("5448E68F80A5")
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
KEY_32 = b"k" * 32
VALUES = {
    BATTERY: 93, TEMPERATURE: -1_234, VOLTAGE: 4_011, OCCUPANCY: 1, DISTANCE: 612
}  # fmt: skip
READ = {
    "battery_pct": 93, "temperature_mdegc": -12_340, "voltage_mv": 4_011, "occupancy": True,
    "distance_mm": 612,
}  # fmt: skip


def test_the_example_of_the_format_is_made() -> None:
    """bthome.io/encryption: temperature 25.06, humidity 50.55 under the key and counter given there."""
    made = encrypted(
        bytes.fromhex("02CA0903BF13"), KEY, ADDRESS, int.from_bytes(b"\x00\x11\x22\x33", "little")
    )
    assert made.hex() == "41a47266c95f730011223378237214"


def test_the_bytes_of_an_advertisement_are_these() -> None:
    body = objects(VALUES)
    assert body.hex() == "015d022efb0cab0f23014064" + "02"
    assert advertisement(plain(body)).hex() == "020106" + "1116d2fc40" + body.hex()
    golden = advertisement(encrypted(body, KEY, ADDRESS, 7))
    assert len(golden) == 29
    assert golden.hex()[:18] == "020106" + "1916d2fc41" + golden.hex()[16:18]


def gateway_reads(data: bytes, vault: Vault) -> dict[str, object]:
    read: dict[str, object] = decode_v2(Advertisement(ADDRESS, None, b""), data, vault)
    return read


def test_our_gateway_reads_both_forms() -> None:
    vault = Vault({ADDRESS: KEY})
    body = objects(VALUES)
    assert gateway_reads(plain(body), Vault())["values"] == READ
    read = gateway_reads(encrypted(body, KEY, ADDRESS, 41), vault)
    assert (read["values"], read["packet"]) == (READ, 41)
    with pytest.raises(NotAuthentic):
        gateway_reads(plain(body), vault)


@given(
    st.dictionaries(
        st.sampled_from((PACKET, BATTERY, TEMPERATURE, VOLTAGE, OCCUPANCY, PROBLEM)),
        st.integers(-100_000, 100_000),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, bthome.NUMBER_MAX),
)
def test_whatever_is_measured_is_read_as_it_is_or_at_its_limit(values: dict[int, int], number: int) -> None:
    read = gateway_reads(encrypted(objects(values), KEY, ADDRESS, number), Vault({ADDRESS: KEY}))
    found = read["values"]
    assert isinstance(found, dict)
    if VOLTAGE in values:
        assert found["voltage_mv"] == min(max(values[VOLTAGE], 0), 65_535)
    if TEMPERATURE in values:
        assert found["temperature_mdegc"] == min(max(values[TEMPERATURE], -32_768), 32_767) * 10
    assert len(advertisement(encrypted(objects(values), KEY, ADDRESS, number))) <= 31


def test_every_flipped_bit_is_refused() -> None:
    data = encrypted(objects(VALUES), KEY, ADDRESS, 5)
    for bit in range(8, len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotAuthentic):
            gateway_reads(bytes(changed), Vault({ADDRESS: KEY}))


PEER = """
import json, sys
from bleak.backends.scanner import AdvertisementData
from bluetooth_data_tools import monotonic_time_coarse
from home_assistant_bluetooth import BluetoothServiceInfoBleak
from bleak.backends.device import BLEDevice
from bthome_ble import BTHomeBluetoothDeviceData
for line in sys.stdin:
    data, key = line.split()
    parser = BTHomeBluetoothDeviceData(bindkey=bytes.fromhex(key) if key != "-" else None)
    uuid = "0000fcd2-0000-1000-8000-00805f9b34fb"
    address = "54:48:E6:8F:80:A5"
    device = BLEDevice(address, "", {})
    said = AdvertisementData("", {}, {uuid: bytes.fromhex(data)}, [uuid], None, -60, ())
    info = BluetoothServiceInfoBleak(
        name="", address=address, rssi=-60, manufacturer_data={}, service_data={uuid: bytes.fromhex(data)},
        service_uuids=[uuid], source="local", device=device, advertisement=said, connectable=False,
        time=monotonic_time_coarse(), tx_power=None,
    )
    update = parser.update(info)
    values = {str(key.key): value.native_value for key, value in update.entity_values.items()}
    values |= {str(key.key): value.native_value for key, value in update.binary_entity_values.items()}
    print(json.dumps(values))
"""


def test_the_parser_of_home_assistant_reads_both_forms() -> None:
    python = program("ble-parsers")
    if python is None:
        pytest.skip(missing("ble-parsers", "bench-peers"))
    body = objects(VALUES)
    lines = f"{plain(body).hex()} -\n{encrypted(body, KEY, ADDRESS, 9).hex()} {KEY.hex()}\n"
    done = subprocess.run(
        [str(python), "-c", PEER], input=lines, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    for line in done.stdout.splitlines():
        read = json.loads(line)
        assert (read["battery"], read["temperature"]) == (93, -12.34)
        assert (read["voltage"], read["distance"], read["occupancy"]) == (4.011, 612, True)
    assert done.stdout.count("\n") == 2


def test_no_number_is_used_twice_whenever_the_power_goes() -> None:
    used: list[int] = []
    flash, kept = Flash(), b""
    for life in range(60):
        if life % 7 == 3:
            flash.cut(0, keep=life % 40)
        try:
            numbers = Numbers(Notes(flash, KEY_32, "bthome"), 4, kept)
            for _ in range(life % 5 * 30):
                used.append(numbers.take())
            kept = numbers.keep() if life % 3 else b""
        except PowerCut:
            kept = b""
    assert len(used) == len(set(used)) > 2_000


def test_a_deep_sleep_costs_no_write_to_flash() -> None:
    flash, kept = Flash(), b""
    for _ in range(2_500):
        numbers = Numbers(Notes(flash, KEY_32, "bthome"), 4, kept)
        numbers.take()
        kept = numbers.keep()
    assert flash.write_count <= 5


@pytest.mark.parametrize("kept", [b"x" * 16, b"\0" * 16, b"\4\0\0\0" + b"\xff" * 12, b"short"])
def test_memory_that_holds_something_else_is_not_believed(kept: bytes) -> None:
    flash = Flash()
    Numbers(Notes(flash, KEY_32, "bthome"), 4).take()
    assert Numbers(Notes(flash, KEY_32, "bthome"), 4, kept).take() >= bthome.BLOCK


def test_another_epoch_has_another_key_and_begins_anew() -> None:
    flash = Flash()
    numbers = Numbers(Notes(flash, KEY_32, "bthome"), 4)
    numbers.take()
    kept = numbers.keep()
    assert Numbers(Notes(flash, KEY_32, "bthome"), 5, kept).take() == 0
    assert beacon_key(b"a" * 32) != beacon_key(b"b" * 32)
    assert len(beacon_key(b"a" * 32)) == 16


def test_what_does_not_fit_or_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="more than an advertisement"):
        advertisement(bytes(25))
    with pytest.raises(ValueError, match="object 99"):
        objects({0x99: 1})
    with pytest.raises(ValueError, match="another epoch"):
        encrypted(b"", KEY, ADDRESS, bthome.NUMBER_MAX + 1)


def test_both_interpreters_say_the_same() -> None:
    code = (
        "from devices.micropython import bthome as b\n"
        f"body = b.objects({VALUES})\n"
        f"print(b.advertisement(b.plain(body)).hex(), end=' ')\n"
        f"print(b.advertisement(b.encrypted(body, {KEY!r}, {ADDRESS!r}, 9)).hex())\n"
        "print(b.beacon_key(b'a' * 32).hex())"
    )
    body = objects(VALUES)
    here = f"{advertisement(plain(body)).hex()} {advertisement(encrypted(body, KEY, ADDRESS, 9)).hex()}\n"
    assert run(code) == here + beacon_key(b"a" * 32).hex() + "\n"
