"""AD structures and the HCI events that carry them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.ble_ad import Advertisement, address_text, build, parse_address, uuid_bytes
from gateway.sensors.ble_hci import HciError, Report, parse_event

ADDRESS = bytes.fromhex("a4c138010203")


def parsed(data: str) -> Advertisement:
    return Advertisement(ADDRESS, -50, bytes.fromhex(data))


def test_structures_are_taken_apart() -> None:
    one = parsed("020106 0303aafe 0416d2fc40 0408534850 0409abc3a9 05ff99040501 020af4".replace(" ", ""))
    assert one.uuids16 == [0xFEAA]
    assert one.service16 == [(0xFCD2, b"\x40")]
    assert one.manufacturer == [(0x0499, b"\x05\x01")]
    assert one.name == "\ufffdé"
    assert one.tx_power_dbm == -12
    assert one.flaw == ""


def test_a_short_name_gives_way_to_the_whole_one() -> None:
    assert parsed("03084142" + "0409414243").name == "ABC"
    assert parsed("0409414243" + "03084142").name == "ABC"
    assert parsed("03084142").name == "AB"


def test_zeros_end_it() -> None:
    one = parsed("0201060000ff")
    assert one.flaw == ""
    assert one.manufacturer == []


def test_what_stands_before_the_damage_counts() -> None:
    one = parsed("04ff990405" + "09ff99")
    assert one.manufacturer == [(0x0499, b"\x05")]
    assert one.flaw == "structure at byte 5 is 9 long, 2 are there"


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_bytes_are_an_advertisement(data: bytes) -> None:
    one = Advertisement(ADDRESS, None, data)
    assert one.data == data


UUIDS = st.one_of(
    st.integers(0, 0xFFFF).map(lambda uuid: f"0000{uuid:04x}-0000-1000-8000-00805f9b34fb"),
    st.uuids().map(str),
)


@given(
    st.text(max_size=20),
    st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=24), max_size=3),
    st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=20), max_size=3),
    st.lists(UUIDS, max_size=4, unique=True),
    st.one_of(st.none(), st.integers(-127, 127)),
)
@settings(deadline=None)
def test_what_is_put_together_comes_apart_again(
    name: str,
    manufacturer: dict[int, bytes],
    services: dict[int, bytes],
    uuids: list[str],
    power: int | None,
) -> None:
    texts = {f"0000{uuid:04x}-0000-1000-8000-00805f9b34fb": data for uuid, data in services.items()}
    one = Advertisement(ADDRESS, None, build(name, manufacturer, texts, uuids, power))
    assert one.flaw == ""
    assert one.manufacturer == list(manufacturer.items())
    assert one.service16 == list(services.items())
    assert one.tx_power_dbm == power
    assert one.name == name.encode("utf-8", "replace").rstrip(b"\0").decode()
    sent = [uuid.to_bytes(2, "little") for uuid in one.uuids16] + one.uuids128
    assert sorted(sent) == sorted(map(uuid_bytes, uuids))


def test_pieces_too_long_for_a_structure_are_cut() -> None:
    one = Advertisement(ADDRESS, None, build("x" * 300, {1: bytes(300)}, {}, []))
    assert one.flaw == ""
    assert len(one.name) == 254
    assert len(one.manufacturer[0][1]) == 252


def test_addresses_are_written_and_read() -> None:
    assert address_text(ADDRESS) == "A4:C1:38:01:02:03"
    assert parse_address("a4-c1-38-01-02-03") == ADDRESS
    for bad in ("", "A4:C1:38:01:02", "A4:C1:38:01:02:0x", "A4C138010203", "A4:C1:38:01:02:003"):
        with pytest.raises(ValueError, match=r"no Bluetooth address|non-hexadecimal"):
            parse_address(bad)


def test_a_uuid_has_a_short_and_a_long_form() -> None:
    assert uuid_bytes("feaa") == uuid_bytes("0000FEAA-0000-1000-8000-00805F9B34FB") == b"\xaa\xfe"
    assert uuid_bytes("EF090000-11D6-42BA-93B8-9DD7EC090AB0")[:4] == bytes.fromhex("b00a09ec")
    with pytest.raises(ValueError, match="is no UUID"):
        uuid_bytes("feaaa")


# HCI

LEGACY = "3e1702010000a5808fe648540b020106" + "0716d2fc4012e204" + "cc"
EXTENDED = (
    "3e2b0d011300004e7cbc38c1a40100ff7fb9000000000000000000" + "11" + "10161a18a4c138bc7c4e0102284f0b6720"
)


def test_a_legacy_report() -> None:
    assert parse_event(bytes.fromhex(LEGACY)) == [
        Report(bytes.fromhex("5448e68f80a5"), False, -52, bytes.fromhex("0201060716d2fc4012e204"))
    ]


def test_an_extended_report() -> None:
    assert parse_event(bytes.fromhex(EXTENDED)) == [
        Report(
            bytes.fromhex("a4c138bc7c4e"),
            False,
            -71,
            bytes.fromhex("10161a18a4c138bc7c4e0102284f0b6720"),
        )
    ]


def test_two_reports_follow_each_other() -> None:
    one = "0401" + "060504030201" + "03" + "020106" + "7f"
    two = "0000" + "665544332211" + "00" + "ce"
    assert parse_event(bytes.fromhex("3e1e0202" + one + two)) == [
        Report(bytes.fromhex("010203040506"), True, None, b"\x02\x01\x06", True),
        Report(bytes.fromhex("112233445566"), False, -50, b""),
    ]


def test_other_events_carry_no_report() -> None:
    assert parse_event(bytes.fromhex("0e0401030c00")) == []
    assert parse_event(bytes.fromhex("3e0a03004000")) == []
    assert parse_event(b"") == []


@pytest.mark.parametrize("text", [LEGACY, EXTENDED])
def test_a_report_that_is_cut_is_damage(text: str) -> None:
    event = bytes.fromhex(text)
    for end in range(3, len(event)):
        with pytest.raises(HciError):
            parse_event(event[:end])


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x3e\x20\x02", b"\x3e\x20\x0d"]))
@settings(deadline=None)
def test_any_event_gives_reports_or_is_damage(data: bytes, head: bytes) -> None:
    try:
        reports = parse_event(head + data)
    except HciError:
        return
    assert all(len(report.address) == 6 for report in reports)
