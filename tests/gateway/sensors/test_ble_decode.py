"""Advertisements: every recorded one gives the values that it is said to carry."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.ble_ad import Advertisement, address_text, build
from gateway.sensors.ble_decode import BY_COMPANY, BY_SERVICE, REMEMBERED_MAX, Decoder
from gateway.sensors.ble_hci import parse_event
from gateway.sensors.ble_keys import Vault
from puf import cbor
from tests.gateway.sensors.ble_events import differences, events, key_of, need_events


def advertisement_of(event: dict[str, Any]) -> Advertisement:
    (report,) = parse_event(bytes.fromhex(event["hci_event_hex"])[1:])
    return Advertisement(report.address, report.rssi_dbm, report.data)


def reading_of(event: dict[str, Any], key: bytes | None) -> dict[str, Any]:
    advertisement = advertisement_of(event)
    vault = Vault({advertisement.address: key} if key else {})
    return Decoder(vault).reading(advertisement)


def test_all_events_are_here() -> None:
    assert len(need_events()) == 124


@pytest.mark.parametrize("event", events(), ids=lambda event: str(event["name"]))
def test_an_event_gives_the_values_it_is_said_to_carry(event: dict[str, Any]) -> None:
    reading = reading_of(event, key_of(event))
    if event["expect"].get("data") is False:
        assert reading["error"] == "its key is wrong, or it was altered"
        assert "values" not in reading
        # Theirs are of what it would be, had it opened.
        wanted = {name: event["expect"][name] for name in ("mac", "rssi", "data")}
        assert differences({**event, "expect": wanted}, reading) == []
        return
    assert "error" not in reading
    assert "flaw" not in reading
    assert differences(event, reading) == []
    assert not any(isinstance(value, float) for value in reading["values"].values())
    assert cbor.decode(cbor.encode(reading)) == reading


def test_no_value_of_any_event_is_passed_over() -> None:
    compared = 0
    for event in need_events():
        if event["expect"].get("data") is False:
            continue
        reading = reading_of(event, key_of(event))
        for name, want in event["expect"].items():
            other = want + 1 if isinstance(want, int | float) else f"not {want}"
            altered = {**event, "expect": {**event["expect"], name: other}}
            assert [found.partition(" is ")[0] for found in differences(altered, reading)] == [name]
            compared += 1
    assert compared == 862


def test_the_bytes_are_kept_whatever_is_made_of_them() -> None:
    for event in need_events():
        reading = reading_of(event, None)
        assert bytes.fromhex(event["hci_event_hex"]).find(reading["data"]) > 0


def test_without_a_key_an_event_says_so() -> None:
    encrypted = [event for event in need_events() if key_of(event)]
    assert len(encrypted) == 28
    for event in encrypted:
        reading = reading_of(event, None)
        assert reading["error"] == "encrypted, and no key for this address in the keys file"
        assert "values" not in reading


def test_with_a_wrong_key_no_authentic_format_gives_values() -> None:
    for event in need_events():
        if (key := key_of(event)) is not None and len(key) == 16:
            reading = reading_of(event, bytes(16))
            assert reading["error"] == "its key is wrong, or it was altered"


def test_an_altered_bit_gives_no_values() -> None:
    event = next(event for event in need_events() if event["name"].endswith("humidity_encrypted"))
    advertisement = advertisement_of(event)
    key = key_of(event)
    assert key is not None
    for place in range(9, len(advertisement.data)):
        data = bytearray(advertisement.data)
        data[place] ^= 1
        reading = Decoder(Vault({advertisement.address: key})).reading(
            Advertisement(advertisement.address, None, bytes(data))
        )
        assert "values" not in reading


def test_plain_values_of_a_device_with_a_key_are_refused() -> None:
    for event in need_events():
        if event["name"].startswith(("bthome", "atc")) and key_of(event) is None:
            assert reading_of(event, bytes(16))["error"] == "its key is wrong, or it was altered"


def test_what_a_system_hands_over_in_pieces_gives_the_same_values() -> None:
    for event in need_events():
        one = advertisement_of(event)
        data = build(
            one.name,
            dict(one.manufacturer),
            {f"0000{uuid:04x}-0000-1000-8000-00805f9b34fb": data for uuid, data in one.service16},
            [f"{uuid:04x}" for uuid in one.uuids16] + [uuid[::-1].hex() for uuid in one.uuids128],
        )
        key = key_of(event)
        again = Decoder(Vault({one.address: key} if key else {})).reading(
            Advertisement(one.address, one.rssi_dbm, data)
        )
        first = reading_of(event, key)
        assert {**again, "data": b""} == {**first, "data": b""}


def test_a_name_that_came_before_is_remembered() -> None:
    decoder = Decoder()
    address = b"\x49\x42\x08\x00\x63\x7a"
    named = decoder.reading(Advertisement(address, None, bytes.fromhex("0409737073")))
    assert named["name"] == "sps"
    reading = decoder.reading(Advertisement(address, None, bytes.fromhex("0aff9c08f41000ba4e6408")))
    assert reading["device"] == "IBS-TH"
    assert reading["values"]["temperature_mdegc"] == 22_040


def test_devices_are_not_remembered_for_ever() -> None:
    decoder = Decoder()
    for number in range(REMEMBERED_MAX + 10):
        decoder.reading(Advertisement(number.to_bytes(6, "big"), None, b"\x02\x09x\x03\x03\xaa\xfe"))
    assert len(vars(decoder)["_names"]) == len(vars(decoder)["_services"]) == REMEMBERED_MAX


def test_what_nobody_knows_is_kept_raw() -> None:
    reading = Decoder().reading(Advertisement(bytes(6), -50, bytes.fromhex("05ff77660102")))
    assert reading == {
        "address": "00:00:00:00:00:00",
        "rssi_dbm": -50,
        "data": bytes.fromhex("05ff77660102"),
    }


SERVICES = st.sampled_from(sorted(BY_SERVICE)).map(lambda uuid: (0x16, uuid.to_bytes(2, "little")))
COMPANIES = st.sampled_from(
    [*sorted(BY_COMPANY), 0xEC88, 0x0001, 0x8801, 0x2730, 0x1B36, 0x4A32, 0xAC63, 0x3022, 0]
).map(lambda company: (0xFF, company.to_bytes(2, "little")))
STRUCTURES = st.lists(
    st.one_of(
        st.tuples(st.one_of(SERVICES, COMPANIES), st.binary(max_size=28)).map(
            lambda pair: bytes((len(pair[1]) + 3, pair[0][0])) + pair[0][1] + pair[1]
        ),
        st.sampled_from(["sps", "TP357 (2A01)", "GVH5106_4B99", "GVH5055"]).map(
            lambda name: bytes((len(name) + 1, 9)) + name.encode()
        ),
        st.sampled_from([0xFFF0, 0xEC88, 0x8451, 0x5550, 0x9851]).map(
            lambda uuid: b"\x03\x03" + uuid.to_bytes(2, "little")
        ),
        st.just(bytes.fromhex("1106b00a09ecd79db893ba42d611000009ef")),
        st.binary(max_size=5),
    ),
    max_size=4,
).map(b"".join)


@given(st.one_of(STRUCTURES, st.binary(max_size=60)), st.booleans())
@settings(deadline=None, max_examples=1_000)
def test_any_bytes_give_a_reading_that_can_be_stored(data: bytes, has_key: bool) -> None:
    address = bytes.fromhex("a4c138010203")
    decoder = Decoder(Vault({address: bytes(16)} if has_key else {}))
    reading = decoder.reading(Advertisement(address, -1, data))
    assert reading["data"] == data
    assert reading["address"] == address_text(address)
    assert not ("error" in reading and "values" in reading)
    assert cbor.decode(cbor.encode(reading)) == reading


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_recorded_event_with_a_changed_byte_gives_a_reading(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(need_events()))
    raw = bytearray(bytes.fromhex(event["hci_event_hex"])[1:])
    place = data.draw(st.integers(14, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    one = advertisement_of(event)
    body = bytes(raw)[-len(one.data) - 1 :]
    reading = Decoder().reading(Advertisement(one.address, None, body))
    assert cbor.decode(cbor.encode(reading)) == reading
