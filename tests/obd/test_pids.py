"""The table of J1979: every row against its range, known answers, support bitmaps, several PIDs at once."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.errors import ResponseError
from obd.pid_choices import CHOICES
from obd.pids import (
    SUPPORT_PIDS,
    decode,
    fields_of,
    known_pids,
    name_of,
    pid_of_key,
    size_of,
    split,
    supported,
)
from tests import micropython

ALL_FIELDS = [field for pid in known_pids() for field in fields_of(pid)]

# From SAE J1979's own examples, and arithmetic by hand.
ANSWERS = [
    (0x04, "80", {"engine_load": 100 * 128 / 255}),
    (0x05, "7b", {"coolant_temp": 83}),
    (0x06, "80", {"short_trim_1": 0.0}),
    (0x06, "80ff", {"short_trim_1": 0.0, "short_trim_3": 99.21875}),
    (0x0A, "64", {"fuel_pressure": 300}),
    (0x0C, "1af8", {"engine_speed": 1726.0}),
    (0x0D, "ff", {"vehicle_speed": 255}),
    (0x0E, "00", {"timing_advance": -64.0}),
    (0x10, "ffff", {"air_flow": 655.35}),
    (0x03, "0200", {"fuel_system_1": "closed loop", "fuel_system_2": "off"}),
    (0x03, "0300", {"fuel_system_1": "reserved (3)", "fuel_system_2": "off"}),
    (0x02, "0143", {"freeze_dtc": "P0143"}),
    (0x02, "0000", {"freeze_dtc": ""}),
    (0x01, "83076500", {"mil": True, "dtc_count": 3, "is_compression": False}),
    (0x13, "33", {"o2_sensors_2_banks": [0, 1, 4, 5]}),
    (0x14, "5a80", {"o2_b1s1_voltage": 0.45, "o2_b1s1_trim": 0.0}),
    (0x14, "5aff", {"o2_b1s1_voltage": 0.45}),
    (0x1C, "06", {"obd_standard": "EOBD"}),
    (0x1F, "0100", {"run_time": 256}),
    (0x24, "80004000", {"o2_s1_lambda": 1.0, "o2_s1_wide_voltage": 2.0}),
    (0x32, "e000", {"evap_pressure": -2048.0}),
    (0x34, "80008000", {"o2_s1_pump_lambda": 1.0, "o2_s1_current": 0.0}),
    (0x3C, "1770", {"catalyst_b1s1_temp": 560.0}),
    (0x42, "36b0", {"module_voltage": 14.0}),
    (0x43, "00ff", {"absolute_load": 100.0}),
    (0x51, "04", {"fuel_type": "diesel"}),
    (0x54, "8000", {"evap_wide_pressure": -32768}),
    (0x5D, "6900", {"injection_timing": 0.0}),
    (0x5E, "0014", {"fuel_rate": 1.0}),
    (0x62, "7d", {"torque_actual": 0}),
    (0x66, "0110000000", {"air_flow_a": 128.0}),
    (0x67, "035078", {"coolant_temp_1": 40, "coolant_temp_2": 80}),
    (0x74, "01271000ff", {"turbo_speed_a": 100_000}),
    (0x78, "0517700000177000ff", {"exhaust_temp_b1s1": 560.0, "exhaust_temp_b1s3": 560.0}),
    (0x7A, "01ff9c00000000", {"dpf_delta_pressure_1": -1.0}),
    (0x7F, "01" + "00000e10" + "00" * 8, {"total_run_time": 3600}),
    (
        0x88,
        "81" + "52" + "0f" + "0001" + "0200" + "0003" + "0004" + "0005",
        {
            "scr_inducement": ["reagent level too low", "inducement active"],
            "scr_inducement_10k": ["incorrect reagent"],
            "scr_inducement_20k": ["reagent level too low", "deviation of reagent consumption"],
            "scr_inducement_30k": [
                *("reagent level too low", "incorrect reagent"),
                *("deviation of reagent consumption", "NOx emissions too high"),
            ],
            "scr_inducement_40k": [],
            "scr_inducement_distance_10k": 1,
            "scr_block_distance": 512,
            "scr_inducement_distance_20k": 3,
            "scr_inducement_distance_30k": 4,
            "scr_inducement_distance_40k": 5,
        },
    ),
    (0x65, "1050", {"gear_recommended": 5}),
    (0x6B, "11ff000000", {"egr_temp_b1s1": 215, "egr_wide_temp_b1s1": 980}),
    (0x6F, "040a14", {"turbo_inlet_wide_pressure_a": 80}),
    (
        0x8B,
        "7305ff00100020",
        {
            "dpf_regenerating": True,
            "dpf_active_regeneration": False,
            "dpf_trigger": 100.0,
            "dpf_interval": 16,
            "dpf_interval_distance": 32,
        },
    ),
    (
        0x8F,
        "0302ff9c000000",
        {"pm_sensor_1_measuring": False, "pm_sensor_1_regenerating": True, "pm_sensor_1_output": -1.0},
    ),
    (
        0x90,
        "4d0102",
        {
            "mi_display": "discriminatory",
            "mi_mode": "continuous",
            "monitors_incomplete": True,
            "mi_hours": 258,
        },
    ),
    (0x91, "0f00010002", {"ecu_mi_mode": "not required", "ecu_mi_hours": 1, "ecu_b1_hours": 2}),
    (0x92, "2120", {"fuel_pressure_1_closed_loop": False, "fuel_quantity_2_closed_loop": True}),
    (0x93, "010100", {"mi_hours_total": 256}),
    (
        0x94,
        "23" + "6d" + "0001" + "0002" + "0003" + "0004" + "0005",
        {
            "nox_warning": True,
            "nox_inducement_1": "active",
            "nox_inducement_2": "enabled",
            "nox_inducement_3": "not supported",
            "reagent_quality_hours": 1,
            "nox_monitoring_hours": 5,
        },
    ),
    (
        0x9A,
        "0e0464000000",
        {"hybrid_mode": "increasing the charge", "hybrid_voltage": 400.0, "hybrid_current": 0.0},
    ),
    (0x9A, "0101" + "00" * 4, {"hybrid_depleting": True}),
    (0x9B, "3b50464d", {"def_type": 3, "def_concentration": 20.0, "def_level": 100 * 0x4D / 255}),
    (0xA7, "00010002", {"nox_s3_s4": b"\x00\x01\x00\x02"}),
    (0xB2, "ff", {"battery_health": 100.0}),
    (
        0xC6,
        "05" + "0001" + "0002" + "0100",
        {
            "particulate_inducement": [0, 2],
            "particulate_removed_hours": 1,
            "fuel_additive_hours": 2,
            "particulate_monitoring_hours": 256,
        },
    ),
    (0xD2, "03ff00", {"certified_energy": 100.0, "certified_range": 0.0}),
    (0x9D, "00320032", {"fuel_rate_engine": 1.0, "fuel_rate_vehicle": 1.0}),
    (0xA4, "034003e8", {"gear": 4, "gear_ratio": 1.0}),
    (0xA6, "000f4240", {"odometer": 100_000.0}),
    (0x20, "80000001", {"supported_21_40": [0x21, 0x40]}),
]


@pytest.mark.parametrize(("pid", "data", "expected"), ANSWERS)
def test_known_answers(pid: int, data: str, expected: dict[str, object]) -> None:
    assert {value.field.key: value.value for value in decode(pid, bytes.fromhex(data))} == expected


def test_the_same_values_come_out_of_micropython() -> None:
    lines: list[str] = []
    # A device asks for a few values, not for all; one part of the table fits its heap, all do not.
    for first, last in ((0, 0x5F), (0x60, 0x7F), (0x80, 0xFF)):
        code = "import gc\nfrom obd.pids import decode\n"
        for pid, data, _ in ANSWERS:
            if first <= pid <= last:
                code += f"gc.collect()\nprint([v.value for v in decode({pid}, bytes.fromhex({data!r}))])\n"
        lines += micropython.run(code).splitlines()
    for line, (pid, data, _) in zip(
        lines, sorted(ANSWERS, key=lambda row: (row[0] >= 0x60) + (row[0] >= 0x80)), strict=True
    ):
        here = [value.value for value in decode(pid, bytes.fromhex(data))]
        assert eval(line) == pytest.approx(here) if _is_numeric(here) else eval(line) == here  # noqa: S307 - our own print


def _is_numeric(values: list[object]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def test_every_pid_of_the_standard_up_to_c8_has_a_row() -> None:
    # Those that J1979 leaves reserved; AA and B2 are in its newer digital annex only.
    reserved = {0x95, 0x96, 0x97, *range(0xAB, 0xB2), *range(0xB3, 0xC0), 0xC1, 0xC2}
    assert [pid for pid in range(0xC9) if pid not in reserved] == [pid for pid in known_pids() if pid <= 0xC8]
    assert set(SUPPORT_PIDS) <= set(known_pids())


def test_keys_and_names_are_there_and_keys_are_unique() -> None:
    keys = [field.key for field in ALL_FIELDS]
    assert len(keys) == len(set(keys))
    assert len(keys) > 350
    for field in ALL_FIELDS:
        assert field.key.replace("_", "").isalnum()
        assert field.key == field.key.lower()
        assert field.name[0].isupper() or field.name.startswith("PIDs"), field
        assert "J1979" in field.source
        assert field.unit[:1] != "=" or field.unit in {
            *CHOICES,
            "=pids",
            "=yes",
            "=dtc",
            "=bits",
            "=raw",
            "=inducement",
        }


@pytest.mark.parametrize("field", ALL_FIELDS, ids=lambda field: f"{field.pid:02X}-{field.key}")
def test_the_range_of_a_row_is_what_its_formula_can_give(field: object) -> None:
    """Every byte at its extremes, and one off; the conditions met."""
    from obd.pids import Field

    assert isinstance(field, Field)
    if field.formula is None or field.unit == "=raw":
        return
    assert field.formula.bytes_needed <= field.size
    found = set()
    texts = field.formula_text.partition("?")
    used = sorted({letter for letter in (texts[2] or texts[0]) if letter.isupper()})
    for fill in (0x00, 0xFF, 0x80, 0x7F, 0xFE):
        for second in (0x00, 0xFF, 0xFE):
            data = bytearray([fill] * field.size)
            if field.size > 1:
                data[-1] = second
            # Two-byte signed numbers have their extremes at 8000 and 7FFF.
            for extra in (b"", b"\x80\x00", b"\x7f\xff"):
                copy = bytearray(data)
                if extra and len(used) >= 2 and len(used[0]) == 1:
                    at = ord(used[0]) - ord("A")
                    copy[at : at + 2] = extra
                if condition := re.match(r"A\.(\d) \?", field.formula_text):
                    copy[0] |= 1 << int(condition[1])
                value = field.formula(bytes(copy[: field.size]))
                if value is not None:
                    found.add(float(value))
    assert min(found) == pytest.approx(field.low)
    assert max(found) == pytest.approx(field.high)


def test_what_is_not_taken_apart_is_only_what_no_public_source_tells() -> None:
    raw = {pid for pid in known_pids() if any(field.unit == "=raw" for field in fields_of(pid))}
    assert raw == {0xA3, 0xA7, 0xA8, 0xC3, 0xC4, 0xC5}


def test_a_pid_that_is_too_short_is_an_error_and_an_unknown_one_is_nothing() -> None:
    with pytest.raises(ResponseError, match="PID 0C has 1 data bytes instead of 2: 1a"):
        decode(0x0C, b"\x1a")
    assert decode(0xFE, b"\x01") == []
    assert (size_of(0xFE), name_of(0xFE)) == (0, "not defined by J1979")


def test_several_pids_of_one_answer_are_told_apart_by_their_lengths() -> None:
    assert split(bytes.fromhex("0c1af80d32057b")) == [(0x0C, b"\x1a\xf8"), (0x0D, b"\x32"), (0x05, b"\x7b")]
    assert split(bytes.fromhex("0680ff")) == [(0x06, b"\x80\xff")]
    assert split(b"\xfe\x01\x02") == [(0xFE, b"\x01\x02")]
    with pytest.raises(ResponseError, match=r"at byte 3 of .*: PID 0D does not fit"):
        split(bytes.fromhex("0c1af80d"))
    with pytest.raises(ResponseError):
        split(bytes.fromhex("0d32fe0102"))
    with pytest.raises(ResponseError):
        split(b"")


def test_support_is_counted_from_the_highest_bit() -> None:
    assert supported(0x00, bytes.fromhex("be1fa813")) == [
        *(
            0x01,
            0x03,
            0x04,
            0x05,
            0x06,
            0x07,
            0x0C,
            0x0D,
            0x0E,
            0x0F,
            0x10,
            0x11,
            0x13,
            0x15,
            0x1C,
            0x1F,
            0x20,
        )
    ]
    with pytest.raises(ResponseError):
        supported(0, b"\x00" * 3)


def test_a_pid_is_found_by_the_name_of_its_value() -> None:
    assert pid_of_key("engine_speed") == 0x0C
    assert pid_of_key("odometer") == 0xA6
    assert pid_of_key("nonsense") is None


@given(st.integers(0, 255), st.binary(max_size=50))
@settings(deadline=None)
def test_any_bytes_are_values_or_a_response_error(pid: int, data: bytes) -> None:
    try:
        values = decode(pid, data)
    except ResponseError:
        assert len(data) < size_of(pid)
        return
    for field, value in values:
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert field.low <= value <= field.high


@given(st.lists(st.sampled_from(known_pids()), min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_what_is_put_together_is_taken_apart_again(pids: list[int], data: st.DataObject) -> None:
    parts = [(pid, data.draw(st.binary(min_size=size_of(pid), max_size=size_of(pid)))) for pid in pids]
    joined = b"".join(bytes((pid,)) + body for pid, body in parts)
    # An answer with a single byte more than one PID needs counts as that PID with a longer value.
    if len(parts) > 1 and len(joined) - 1 == fields_of(pids[0])[-1].size:
        return
    assert split(joined) == parts
