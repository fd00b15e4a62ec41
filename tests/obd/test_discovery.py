"""Answers to service 01 as readings: one PID, several, of several ECUs, and what is damaged beside them."""

from obd.discovery import Car, Reading, readings_of, request_for
from obd.pids import decode, fields_of
from obd.query import Answer, query


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
