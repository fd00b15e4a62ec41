"""NMEA sentences: published examples to the last digit, and damage by name."""

from functools import reduce
from operator import xor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.nmea import PARSERS, NmeaError, checksum, parse_sentence, read_sentence


def sentence(body: str) -> str:
    """With its checksum, computed the slow way."""
    return f"${body}*{reduce(xor, body.encode(), 0):02X}"


# Sentences as manufacturers' manuals print them.
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    (
        "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
        {
            "talker": "GP",
            "type": "GGA",
            "time_of_day_ms": 45_319_000,
            "latitude_e7": 481_173_000,
            "longitude_e7": 115_166_667,
            "quality": 1,
            "satellites_used": 8,
            "hdop_milli": 900,
            "altitude_mm": 545_400,
            "geoid_separation_mm": 46_900,
        },
    ),
    (
        sentence("GPRMC,225446.25,A,4916.4512345,S,12311.12,W,000.5,054.7,191194,020.3,E"),
        {
            "talker": "GP",
            "type": "RMC",
            "time_of_day_ms": 82_486_250,
            "is_valid": True,
            "latitude_e7": -492_741_872,
            "longitude_e7": -1_231_853_333,
            "speed_mm_per_s": 257,
            "course_mdeg": 54_700,
            "utc_ms": 785_285_686_250,
            "magnetic_variation_mdeg": 20_300,
        },
    ),
    (
        sentence("GNRMC,083559.00,V,,,,,,,091202,,,N"),
        {
            "talker": "GN",
            "type": "RMC",
            "time_of_day_ms": 30_959_000,
            "is_valid": False,
            "utc_ms": 1_039_422_959_000,
            "mode": "N",
        },
    ),
    (
        "$GPVTG,054.7,T,034.4,M,005.5,N,010.2,K*48",
        {
            "talker": "GP",
            "type": "VTG",
            "course_mdeg": 54_700,
            "course_magnetic_mdeg": 34_400,
            "speed_mm_per_s": 2_829,
        },
    ),
    (
        sentence("GPVTG,,T,,M,,N,10.2,K,A"),
        {"talker": "GP", "type": "VTG", "speed_mm_per_s": 2_833, "mode": "A"},
    ),
    (
        "$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39",
        {
            "talker": "GP",
            "type": "GSA",
            "selection": "A",
            "fix": 3,
            "satellites": [4, 5, 9, 12, 24],
            "pdop_milli": 2_500,
            "hdop_milli": 1_300,
            "vdop_milli": 2_100,
        },
    ),
    (
        sentence("GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,4"),
        {
            "talker": "GN",
            "type": "GSA",
            "selection": "A",
            "fix": 1,
            "satellites": [],
            "pdop_milli": 99_990,
            "hdop_milli": 99_990,
            "vdop_milli": 99_990,
            "system": 4,
        },
    ),
    (
        sentence("GPGSV,3,3,10,26,22,187,,02,,,30,1"),
        {
            "talker": "GP",
            "type": "GSV",
            "messages": 3,
            "message": 3,
            "satellites_in_view": 10,
            "satellites": [
                {"satellite": 26, "elevation_deg": 22, "azimuth_deg": 187},
                {"satellite": 2, "snr_db": 30},
            ],
        },
    ),
    (
        "$GPZDA,201530.00,04,07,2002,00,00*60",
        {
            "talker": "GP",
            "type": "ZDA",
            "time_of_day_ms": 72_930_000,
            "utc_ms": 1_025_813_730_000,
            "zone_ms": 0,
        },
    ),
    (
        sentence("GPZDA,235960.00,31,12,2016,-03,30"),
        {
            "talker": "GP",
            "type": "ZDA",
            "time_of_day_ms": 86_400_000,
            "utc_ms": 1_483_228_800_000,
            "zone_ms": -12_600_000,
        },
    ),
    (
        sentence("GPGLL,4916.45,N,12311.12,W,225444,A"),
        {
            "talker": "GP",
            "type": "GLL",
            "latitude_e7": 492_741_667,
            "longitude_e7": -1_231_853_333,
            "time_of_day_ms": 82_484_000,
            "is_valid": True,
        },
    ),
    (sentence("GPTXT,01,02,hi"), {"talker": "GP", "type": "TXT", "fields": ["01", "02", "hi"]}),
    (sentence("PUBX,00,x"), {"talker": "P", "type": "UBX", "fields": ["00", "x"]}),
    (
        "!AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C",
        {"talker": "AI", "type": "VDM", "fields": ["1", "1", "", "B", "177KQJ5000G?tO`K>RA1wUbN0TKH", "0"]},
    ),
]


@pytest.mark.parametrize(
    ("line", "want"), EXAMPLES, ids=lambda item: item[:9] if isinstance(item, str) else ""
)
def test_an_example_gives_its_values(line: str, want: dict[str, Any]) -> None:
    assert parse_sentence(line) == want
    assert read_sentence(line + "\r") == want | {"raw": line + "\r"}
    assert not any(isinstance(value, float) for value in want.values())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("GPGGA,1", "does not begin with"),
        ("", "does not begin with"),
        ("$GPGGA,123519,4807.038,N", "no checksum: cut off"),
        ("$GPGGA,123519*00", "its checksum is '00', that of what arrived is"),
        ("$GPZDA,201530.00,04,07,2002,00,00*6", "its checksum is '6', that of what arrived is 60"),
        ("$GPZDA,201530.00,04,07,2003,00,00*60", "its checksum is '60', that of what arrived is 61"),
        ("$GP\x7fDA,201530.00*60", "characters that no sentence has"),
        ("$GPGGAé*00", "characters that no sentence has"),
        ("$" + "x" * 2000, "longer than 1024"),
        (sentence("GPS,1"), "no talker and type"),
        (sentence("GPGGA,1"), "'1' is no time"),
        (sentence("GPGGA,123519"), "GPGGA has only 1 fields"),
        (sentence("GPGLL,4960.00,N,00000.00,E,,A"), "is no angle"),
        (sentence("GPGLL,9000.01,N,00000.00,E,,A"), "is no angle"),
        (sentence("GPGLL,-800.01,N,00000.00,E,,A"), "no whole number"),
        (sentence("GPGLL,8,N,00000.00,E,,A"), "is no angle"),
        (sentence("GPGLL,8000.01,n,00000.00,E,,A"), "hemisphere 'n'"),
        (sentence("GPGLL,,,,,246000,A"), "is no time"),
        (sentence("GPGLL,,,,,12:00:00,A"), "is no time"),
        (sentence("GPRMC,,A,,,,,1.2.3,,,,"), "'1.2.3' is no number"),
        (sentence("GPRMC,,A,,,,,1e3,,,,"), "'1e3' is no number"),
        (sentence("GPRMC,,A,,,,,--1,,,,"), "'--1' is no number"),
        (sentence("GPRMC,,A,,,,,,,310299,,"), "1999-2-31|2099-2-31|1999-02-31"),
        (sentence("GPRMC,,A,,,,,,,3112,,"), "'3112' is no date"),
        (sentence("GPGGA,,,,,,1,08,0.9,545.4,F,,,,"), "altitude_mm in 'F' instead of metres"),
    ],
)
def test_damage_is_named_and_the_line_kept(line: str, reason: str) -> None:
    with pytest.raises(NmeaError, match=reason):
        parse_sentence(line)
    assert read_sentence(line)["raw"] == line
    assert set(read_sentence(line)) == {"raw", "error"}


@given(st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=300))
@settings(deadline=None)
def test_the_checksum_is_the_xor_of_all_characters(text: str) -> None:
    assert checksum(text) == reduce(xor, text.encode(), 0)


FIELD = st.one_of(
    st.just(""),
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="*,"), max_size=8),
    st.integers(0, 999_999).map(str),
    st.decimals(-99_999, 99_999, places=4).map(str),
    st.sampled_from(["N", "S", "E", "W", "A", "V", "M", "123519", "4807.038"]),
)


@given(st.sampled_from(sorted(PARSERS)), st.lists(FIELD, max_size=22))
@settings(deadline=None, max_examples=500)
def test_any_fields_parse_or_are_refused(kind: str, fields: list[str]) -> None:
    line = sentence(",".join([f"GP{kind}", *fields]))
    try:
        reading = parse_sentence(line)
    except NmeaError:
        return
    assert reading["type"] == kind
    assert not any(isinstance(value, float) for value in reading.values())


@given(st.binary(max_size=120))
@settings(deadline=None)
def test_any_bytes_are_kept_raw(line: bytes) -> None:
    assert read_sentence(line)["raw"] == line


@given(st.integers(0, 89), st.integers(0, 59_999_999_999))
@settings(deadline=None)
def test_minutes_become_the_nearest_ten_millionth_of_a_degree(degrees: int, minutes_e9: int) -> None:
    whole, part = divmod(minutes_e9, 10**9)
    reading = parse_sentence(sentence(f"GPGLL,{degrees:02}{whole:02}.{part:09},S,00000.0,E,,A"))
    exact_times_6000 = degrees * 10_000_000 * 6_000 + minutes_e9
    assert abs(-reading["latitude_e7"] * 6_000 - exact_times_6000) <= 3_000
