"""Answers to service 01 as readings: one PID, several, of several ECUs, and what is damaged beside them."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from obd.discovery import Car, Reading, discover, hold, read_freeze_frame, read_pid, readings_of, request_for
from obd.pids import decode, fields_of
from obd.query import NO_DATA, Answer, Outcome, Query, query
from obd.scales import scaled, scales_of


def values(readings: list[Reading]) -> list[tuple[int, int, bytes, list[object]]]:
    return [(one.ecu, one.pid, one.data, [value.value for value in one.values]) for one in readings]


def test_answers_of_every_form_become_readings() -> None:
    answers = [
        Answer(0x7E8, bytes.fromhex("410c1af8")),
        Answer(0x7E9, bytes.fromhex("410d32")),
        Answer(0x7E8, bytes.fromhex("410c1af80d32057b")),
        Answer(0x7E8, bytes.fromhex("410680ff")),
        Answer(0x7E8, bytes.fromhex("41fe0102")),
    ]
    expected = [
        (0x7E8, 0x0C, b"\x1a\xf8", [1726.0]),
        (0x7E9, 0x0D, b"\x32", [50]),
        *((0x7E8, 0x0C, b"\x1a\xf8", [1726.0]), (0x7E8, 0x0D, b"\x32", [50]), (0x7E8, 0x05, b"\x7b", [83])),
        (0x7E8, 0x06, b"\x80\xff", [0.0, 99.21875]),
        (0x7E8, 0xFE, b"\x01\x02", []),
    ]
    # The first time nothing is known of these PIDs, the second time all; both say the same.
    for _ in range(2):
        readings, problems = readings_of(answers)
        assert values(readings) == expected
        assert problems == []
        assert all(type(one) is Reading for one in readings)


def test_damage_is_told_and_hides_no_other_answer() -> None:
    decode(0x0C, b"\x00\x00")
    readings, problems = readings_of(
        [
            Answer(0x7E8, bytes.fromhex("410c1a")),
            Answer(0x7E9, bytes.fromhex("410d32")),
            Answer(0x7EA, bytes.fromhex("7f0112")),
            Answer(0x7EB, b"\x41"),
            Answer(0x7EC, bytes.fromhex("410c1af8ff")),
        ]
    )
    assert values(readings) == [(0x7E9, 0x0D, b"\x32", [50])]
    assert problems == [
        "PID 0C has 1 data bytes instead of 2: 1a",
        "service 01 was refused: sub-function not supported (12)",
        "an answer to service 01 names no PID",
        "at byte 3 of 0c1af8ff: PID FF does not fit",
    ]


def test_a_request_says_what_is_known_of_who_will_answer() -> None:
    car = Car({0x7E8: [0x0C, 0x0D, 0x05, 0x78], 0x7E9: [0x0D, 0xA4]}, True)
    assert request_for(car, [0x0C]) == query(b"\x01\x0c", None, 1, 1)
    assert request_for(car, [0x0D]) == query(b"\x01\x0d", None, 2, 2)
    # One ECU has both; their answer is one frame.
    assert request_for(car, [0x0C, 0x05]) == query(b"\x01\x0c\x05", None, 1, 1)
    # Its answer takes more than one frame, so nobody knows how many.
    assert len(fields_of(0x78)) == 4
    assert request_for(car, [0x78]) == query(b"\x01\x78", None, 1, 0)
    # Two ECUs share the answer between them.
    assert request_for(car, [0x0C, 0x0D]) == query(b"\x01\x0c\x0d", None, 0, 0)


# Scales that a car chooses


def answering(answers: dict[str, str]) -> Callable[[Query], Outcome]:
    """A car of one ECU that knows these answers, all in hex."""

    def ask(wanted: Query) -> Outcome:
        answer = answers.get(wanted.data.hex())
        return (
            Outcome(NO_DATA, [], "")
            if answer is None
            else Outcome("", [Answer(0x7E8, bytes.fromhex(answer))], "")
        )

    return ask


def test_a_car_that_counts_in_larger_steps_is_believed() -> None:
    ask = answering(
        {
            "0100": "410000210001",  # 0B, 10, 20
            "0120": "412010000001",  # 24, 40
            "0140": "414000030000",  # 4F, 50
            "014f": "414f04100033",
            "0150": "415080",
            "010b": "410b64",
            "0110": "41101000",
            "0124": "412480002000",
        }
    )
    car = hold(discover(), ask)
    assert car.pids == [0x0B, 0x10, 0x24, 0x4F, 0x50]
    found = {}
    for pid in (0x0B, 0x10, 0x24):
        (reading,) = hold(read_pid(car, pid), ask)
        found.update({value.field.key: round(value.value, 3) for value in reading.values})
    # 100 of 255 steps of a scale to 510 kPa; 4096 of 65535 to 1280 g/s; half of 4; an eighth of 16 V.
    assert found == {
        "intake_pressure": 200.0,
        "air_flow": 80.001,
        "o2_s1_lambda": 2.0,
        "o2_s1_wide_voltage": 2.0,
    }


def test_a_freeze_frame_counts_as_its_car_does() -> None:
    ask = answering(
        {
            "020000": "42000040200000",  # 02, 0B
            "020200": "4202000143",
            "020b00": "420b0064",
            "014f": "414f00000033",
        }
    )
    (readings,) = hold(read_freeze_frame(), ask).values()
    assert {value.field.key: value.value for one in readings for value in one.values} == {
        "freeze_dtc": "P0143",
        "intake_pressure": 200.0,
    }


def test_zero_means_the_usual_scale_and_half_an_answer_nothing() -> None:
    assert scales_of(0x4F, bytes(4)) == {}
    assert scales_of(0x4F, b"\x01\x02\x03") == {}
    assert scales_of(0x50, b"") == {}
    assert scales_of(0x50, bytes(4)) == {}
    assert scales_of(0x0C, b"\x01\x02\x03\x04") == {}
    assert scales_of(0x4F, b"\x00\x00\x40\x00") == dict.fromkeys(range(0x34, 0x3C), (1.0, 0.5))
    assert scales_of(0x4F, b"\x00\x10\x00\x00") == dict.fromkeys(range(0x24, 0x2C), (1.0, 2.0))
    ratio = scales_of(0x4F, b"\x01\x00\x00\x00")
    assert (ratio[0x24], ratio[0x34], ratio[0x44]) == ((0.5, 1.0), (0.5, 1.0), (0.5,))


@given(st.integers(0, 255), st.binary(max_size=6), st.integers(0, 255), st.binary(min_size=41, max_size=41))
@settings(deadline=None)
def test_any_scale_fits_every_pid(pid: int, data: bytes, other: int, values_data: bytes) -> None:
    scales = scales_of(pid, data)
    plain = decode(other, values_data)
    assert [value.field for value in scaled(other, plain, scales)] == [value.field for value in plain]
