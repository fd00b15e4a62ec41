"""Formats beyond the recorded events: published vectors, and what devices say they do not know."""

from typing import Any

import pytest

from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_decode import Decoder
from gateway.sensors.ble_keys import Vault

ADDRESS = bytes.fromhex("a4c138010203")


def structure(kind: int, number: int, data: str) -> bytes:
    body = number.to_bytes(2, "little") + bytes.fromhex(data)
    return bytes((len(body) + 1, kind)) + body


def decoded(kind: int, number: int, data: str, more: bytes = b"", address: bytes = ADDRESS) -> dict[str, Any]:
    return Decoder().reading(Advertisement(address, None, more + structure(kind, number, data)))


def bthome(data: str) -> dict[str, Any]:
    return decoded(0x16, 0xFCD2, data)


# From docs.ruuvi.com, data format 5: valid data, maximum, minimum, invalid.
RUUVI_5 = [
    (
        "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F",
        205,
        {
            "temperature_mdegc": 24_300,
            "humidity_mpct": 53_490,
            "pressure_pa": 100_044,
            "acceleration_x_mg": 4,
            "acceleration_y_mg": -4,
            "acceleration_z_mg": 1_036,
            "acceleration_ug": 1_036_015,
            "voltage_mv": 2_977,
            "tx_power_dbm": 4,
            "movements": 66,
        },
    ),
    (
        "057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F",
        65_534,
        {
            "temperature_mdegc": 163_835,
            "humidity_mpct": 163_835,
            "pressure_pa": 115_534,
            "acceleration_x_mg": 32_767,
            "acceleration_y_mg": 32_767,
            "acceleration_z_mg": 32_767,
            "acceleration_ug": 56_754_109,
            "voltage_mv": 3_646,
            "tx_power_dbm": 20,
            "movements": 254,
        },
    ),
    (
        "058001000000008001800180010000000000CBB8334C884F",
        0,
        {
            "temperature_mdegc": -163_835,
            "humidity_mpct": 0,
            "pressure_pa": 50_000,
            "acceleration_x_mg": -32_767,
            "acceleration_y_mg": -32_767,
            "acceleration_z_mg": -32_767,
            "acceleration_ug": 56_754_109,
            "voltage_mv": 1_600,
            "tx_power_dbm": -40,
            "movements": 0,
        },
    ),
    (
        "058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF",
        None,
        {
            "temperature_mdegc": None,
            "humidity_mpct": None,
            "pressure_pa": None,
            "acceleration_x_mg": None,
            "acceleration_y_mg": None,
            "acceleration_z_mg": None,
            "voltage_mv": None,
            "tx_power_dbm": None,
            "movements": None,
        },
    ),
]


@pytest.mark.parametrize(("data", "packet", "values"), RUUVI_5)
def test_ruuvi_format_5_as_published(data: str, packet: int | None, values: dict[str, Any]) -> None:
    reading = decoded(0xFF, 0x0499, data)
    assert reading["values"] == values
    assert reading.get("packet") == packet
    assert reading["format"] == "Ruuvitag V5"


def test_ruuvi_format_6_as_published() -> None:
    # From docs.ruuvi.com, data format 6: valid data.
    reading = decoded(0xFF, 0x0499, "06170C5668C79E007000C90501D9FFCD004C884F")
    assert reading["values"] == {
        "temperature_mdegc": 29_500,
        "humidity_mpct": 55_300,
        "pressure_pa": 101_102,
        "pm2_5_ng_per_m3": 11_200,
        "co2_ppm": 201,
        "voc_index": 10,
        "nox_index": 2,
        "is_calibrating": False,
        "illuminance_mlx": 13_026_669,
    }
    assert reading["packet"] == 205


# From docs.ruuvi.com, data format E1: valid data, maximum, minimum, invalid.
RUUVI_E1 = [
    (
        "E1170C5668C79E0065007004BD11CA00C90A0213E0ACFFFFFFDECDEE01FFFFFFFFFFCBB8334C884F",
        14_601_710,
        (29_500, 55_300, 101_102, 10_100, 11_200, 121_300, 455_400, 201, 20, 4, True, 13_027_000),
    ),
    (
        "E17FFF9C40FFFE27102710271027109C40FAFADC28F0FFFFFFFFFFFE3FFFFFFFFFFFCBB8334C884F",
        16_777_214,
        (163_835, 100_000, 115_534, *[1_000_000] * 4, 40_000, 500, 500, True, 144_284_000),
    ),
    (
        "E1800100000000000000000000000000000000000000FFFFFF00000000FFFFFFFFFFCBB8334C884F",
        0,
        (-163_835, 0, 50_000, 0, 0, 0, 0, 0, 0, 0, False, 0),
    ),
    (
        "E18000FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFFFFFFFFFFFFFFFFFF",
        None,
        (*[None] * 10, False, None),
    ),
]


@pytest.mark.parametrize(("data", "packet", "values"), RUUVI_E1)
def test_ruuvi_format_e1_as_published(data: str, packet: int | None, values: tuple[Any, ...]) -> None:
    reading = decoded(0xFF, 0x0499, data)
    names = (
        *("temperature_mdegc", "humidity_mpct", "pressure_pa", "pm1_0_ng_per_m3", "pm2_5_ng_per_m3"),
        *("pm4_0_ng_per_m3", "pm10_ng_per_m3", "co2_ppm", "voc_index", "nox_index", "is_calibrating"),
        "illuminance_mlx",
    )
    assert reading["values"] == dict(zip(names, values, strict=True))
    assert reading.get("packet") == packet
    assert reading["format"] == "Ruuvitag VE1"


def test_ruuvi_format_3_below_zero() -> None:
    # 26.3 degrees with the sign bit: the magnitude is not two's complement.
    reading = decoded(0xFF, 0x0499, "03291A1ECE1EFC18F94202CA0B53")
    assert reading["values"]["temperature_mdegc"] == 26_300
    reading = decoded(0xFF, 0x0499, "03299A1ECE1EFC18F94202CA0B53")
    assert reading["values"]["temperature_mdegc"] == -26_300


@pytest.mark.parametrize("data", ["", "05", "07" + "00" * 20, "03" + "00" * 12, "E1" + "00" * 38])
def test_damaged_ruuvi_data_is_named(data: str) -> None:
    assert decoded(0xFF, 0x0499, data)["error"]


# From bthome.io/format, where they are not among the recorded events.
BTHOME = [
    ("5D02EA", {"current_ma": -5_630}),
    ("5C02FBFFFF", {"power_mw": -12_780}),
    ("51 8756", {"acceleration_mm_per_s2": 22_151}),
    ("15 01", {"battery_low": True}),
    ("3F020C", {"rotation_mdeg": 307_400}),
    ("46 32", {"uv_index_milli": 5_000}),
    ("48 DC87", {"volume_ml": 34_780}),
    ("50 5D396164", {"timestamp_ms": 1_684_093_277_000}),
    ("54 0C48656C6C6F20576F726C6421", {"raw": b"Hello World!"}),
    ("55 87562A01", {"volume_storage_ml": 19_551_879}),
    ("56 E803", {"conductivity_us_per_cm": 1_000}),
    ("57 EA", {"temperature_mdegc": -22_000}),
    ("58 EA", {"temperature_mdegc": -7_700}),
    ("59 EA", {"count": -22}),
    ("5E 9F8C", {"direction_mdeg": 359_990}),
    ("5F 7B1A", {"precipitation_um": 677_900}),
    ("3C 0203", {"dimmer": "rotate right", "dimmer_steps": 3}),
    ("3A 80", {"button": "hold press"}),
    ("3A 00 3A 01", {"button": "none", "button_2": "press"}),
    ("F0 0100 F1 00010204", {"device_type": 1, "firmware": "4.2.1.0"}),
    ("F2 000106", {"firmware": "6.1.0"}),
    ("2E 23", {"humidity_mpct": 35_000}),
    ("3B 00 01", {"command": "on"}),
    ("01 61", {"battery_pct": 97}),
    ("07 3E4A", {"mass_mlb": 190_060}),
    ("09 60", {"count": 96}),
    ("0D 120C", {"pm2_5_ug_per_m3": 3_090}),
    ("0E 021C", {"pm10_ug_per_m3": 7_170}),
    ("14 020C", {"moisture_mpct": 30_740}),
    ("4B 138A14", {"gas_l": 1_346_067}),
    ("4E 87562A01", {"volume_ml": 19_551_879}),
    ("5A EAEA", {"count": -5_398}),
    ("5B EAEAEAEA", {"count": -353_703_190}),
    ("60 01", {"channel": 1}),
    ("61 AC0D", {"rotational_speed_rpm": 3_500}),
    ("62 C0BDF0FF", {"speed_um_per_s": -1_000_000}),
    ("63 40420F00", {"acceleration_um_per_s2": 1_000_000}),
    ("64 07", {"light_level": 7}),
    ("65 03", {"settings_revision": 3}),
    ("19 01 1C 00 1D 01 22 00", {"connectivity": True, "gas_detected": False, "heat": True, "moving": False}),
    ("24 01 25 00 2A 01 2B 00", {"plug": True, "presence": False, "sound": True, "tamper": False}),
    ("2D 01", {"window": True}),
]


@pytest.mark.parametrize(("data", "values"), BTHOME)
def test_bthome_objects_as_published(data: str, values: dict[str, Any]) -> None:
    reading = bthome("40" + data.replace(" ", ""))
    assert "error" not in reading
    assert reading["values"] == values


def test_an_object_of_a_newer_bthome_does_not_hide_those_before_it() -> None:
    reading = bthome("40" + "0164" + "FE0102" + "02CA09")
    assert reading["values"] == {"battery_pct": 100, "object_fe": bytes.fromhex("010202ca09")}
    assert "error" not in reading


def test_a_bthome_device_may_say_its_address() -> None:
    reading = bthome("42" + "a5808fe64854" + "02ca09")
    assert reading["sensor_address"] == "54:48:E6:8F:80:A5"
    assert reading["values"] == {"temperature_mdegc": 25_060}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "no device information byte"),
        ("20", "version 1, where only 2 is known"),
        ("4002CA", "object 02 has 1 bytes instead of 2"),
        ("4053", "object 53 without its length"),
        ("40530541", "object 53 has 1 bytes instead of 5"),
        ("4101", "1 encrypted bytes are too few"),
    ],
)
def test_damaged_bthome_data_is_named(data: str, reason: str) -> None:
    assert reason in bthome(data)["error"]


# From github.com/google/eddystone, and the frames' own specifications.
EDDYSTONE = [
    (
        "00EE" + "8B0CA750095477CB3E77" + "001122334455" + "0000",
        "UID",
        {"namespace": "8b0ca750095477cb3e77", "instance": "001122334455", "power_at_0_m_dbm": -18},
    ),
    ("10EE02676F6F676C6507", "URL", {"url": "http://google.com", "power_at_0_m_dbm": -18}),
    ("1000016769746875620061", "URL", {"url": "https://www.github.com/a", "power_at_0_m_dbm": 0}),
    (
        "2000" + "0BB8" + "1780" + "00000064" + "00000E10",
        "TLM",
        {"voltage_mv": 3_000, "temperature_mdegc": 23_500, "advertisements": 100, "uptime_ms": 360_000},
    ),
    (
        "2000" + "0000" + "8000" + "00000001" + "00000002",
        "TLM",
        {"voltage_mv": None, "temperature_mdegc": None, "advertisements": 1, "uptime_ms": 200},
    ),
    ("2001" + "11" * 16, "TLM (encrypted)", {"sealed": b"\x11" * 16}),
    ("30EE" + "0102030405060708", "EID", {"ephemeral_id": "0102030405060708", "power_at_0_m_dbm": -18}),
]


@pytest.mark.parametrize(("data", "kind", "values"), EDDYSTONE)
def test_eddystone_frames(data: str, kind: str, values: dict[str, Any]) -> None:
    reading = decoded(0x16, 0xFEAA, data)
    assert reading["format"] == f"Eddystone {kind}"
    assert reading["values"] == values


@pytest.mark.parametrize("data", ["", "00EE", "10EE", "10EE09", "10EE0241FF", "2000", "40", "30EE"])
def test_damaged_eddystone_frames_are_named(data: str) -> None:
    reading = decoded(0x16, 0xFEAA, data)
    assert reading["error"]
    assert reading["format"] == "Eddystone"


def test_a_tilt_pro_has_a_digit_more() -> None:
    reading = decoded(0xFF, 0x004C, "0215a495bb20c5b14b44b5121370f02d74de" + "02A5" + "2774" + "c5")
    assert reading["device"] == "Tilt Pro Green"
    assert reading["values"]["temperature_mdegc"] == 19_833
    assert reading["values"]["gravity_e4"] == 10_100


def test_other_apple_data_is_left_alone() -> None:
    assert "format" not in decoded(0xFF, 0x004C, "10050b1c2d3e4f")
    assert decoded(0xFF, 0x004C, "0215aa")["error"] == "3 bytes are no iBeacon"


def test_nokias_number_is_govees_only_beside_a_name() -> None:
    data = "0101010deeaa"
    assert "format" not in decoded(0xFF, 0x0001, data)
    reading = decoded(0xFF, 0x0001, data, more=b"\x0e\x09GVH5177_1234\0")
    assert reading["device"] == "H5101/H5102/H5177"


def test_a_govee_says_when_it_cannot_measure() -> None:
    reading = decoded(0xFF, 0xEC88, "0003215de400")
    assert reading["values"] == {
        "temperature_mdegc": 20_500,
        "humidity_mpct": 14_900,
        "battery_pct": 100,
        "sensor_error": True,
    }


def test_an_old_xiaomi_without_a_tag_says_that_nothing_vouches_for_it() -> None:
    address = bytes.fromhex("f82441c5988b")
    data = bytes.fromhex("5830b603d28b98c54124f8c3491476757e00000099")
    one = Advertisement(address, None, bytes((len(data) + 3, 0x16)) + b"\x95\xfe" + data)
    reading = Decoder(Vault({address: bytes.fromhex("b853075158487ca39a5b5ea9")})).reading(one)
    assert reading["values"] == {"is_authentic": False, "dimmer": "short press", "steps": 1}
