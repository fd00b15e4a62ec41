"""Vector .asc: what CANoe writes, what python-can writes and reads, and damage."""

from pathlib import Path

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.can_ports import frame_of_message
from gateway.sensors.trace_asc import AscParser
from obd.can_frame import CanFrame
from tests.gateway.sensors.traces import check_whole, gaps, parse, read, words

HEAD = """date Sam Sep 30 15:06:13.191 2017
base hex  timestamps absolute
internal events logged
// version 9.0.0
Begin Triggerblock Sam Sep 30 15:06:13.191 2017
   0.000000 Start of measurement
"""
START_NS = 1_506_783_973_191_000_000
CLASSIC = """   0.015991 CAN 1 Status:chip status error passive - TxErr: 132 RxErr: 0
   1.015991 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%
   3.098426 1  18EBFF00x       Rx d 8 01 A0 0F A6 60 3B D1 40  Length = 273910 BitCount = 141 ID = 418119424x
   3.297743 1  J1939TP FEE3p        6    0  0   -   Rx   d 23 A0 0F A6 60 3B D1 40 1F DE 80 25 DF C0 2B E1 00
  17.876708 1  6F9             Tx   d 3 05 0C 00  Length = 240015 BitCount = 124 ID = 1785
  17.876709 1  6F9             TxRq d 3 05 0C 00
  17.876800 1  6FA             Rx   d 0
  17.876801 1  6FB             Rx   d f 00 11 22 33 44 55 66 77
   2.510001 2 100 Rx r
   2.520002 3 200 Tx r Length = 1704000 BitCount = 145 ID = 88888888x
   2.584921 4 300 Rx r 8 Length = 1704000 BitCount = 145 ID = 88888888x
   2.501000 1 ErrorFrame
   3.501000 1 ErrorFrame ECC: 10100010
End TriggerBlock
"""
FD = """   0.045522 CANFD   62 Rx         7d  Brake_4  1 0 8  8 08 1b d6 d0 8a 1f d7 f6  104812  132  323000
   0.045746 CANFD   62 Rx        167x           1 1 9 12 73 80 00 10 00 09 e3 00 11 22 33 44  1021 133 327000
  30.300981 CANFD   3 Tx     50005x             0 1 5 0 140000 73 200050 7a60 46500250 460a0250 20011736
  30.400000 CANFD   3 Rx         7e             0 0 2  2 01 02  104812  132   0 a800f6c9
  30.500000 CANFD   3 Rx         7f             0 0 2  2 01 02  104812  132   200040 a800f6c9
  30.806898 CANFD   5 Tx ErrorFrame Not Acknowledge error, dominant error flag fffe c7 31ca Arb. 556 44 0 0
"""


def test_classic_lines_of_canoe_are_read_and_others_are_ignored() -> None:
    batch, stats = parse(AscParser, HEAD + CLASSIC)
    assert words(batch) == [
        "18EBFF00#01A00FA6603BD140",
        "6F9#050C00 T",
        "6FA#",
        "6FB#0011223344556677_F",
        "100#R0",
        "200#R0 T",
        "300#R8",
        "20000080#0000000000000000",
        "20000080#0000000000000000",
    ]
    assert batch.taken_ns[0] == START_NS + 3_098_426_000
    assert (stats.damaged, batch.gaps) == (0, [])
    assert "the date names no time zone; it is read as UTC" in stats.notes


def test_fd_lines_of_canoe_are_read_with_and_without_a_name() -> None:
    batch, stats = parse(AscParser, HEAD + FD)
    assert words(batch) == [
        "07D##1081BD6D08A1FD7F6",
        "00000167##3738000100009E30011223344",
        "00050005#R5 T",
        "07E##00102",
        "07F#0102",
        "20000080#0000000000000000",
    ]
    assert stats.damaged == 0


def test_decimal_files_are_read_as_such() -> None:
    text = "base dec  timestamps absolute\n 1.5 1 291 Rx d 3 222 173 9\n 1.6 1 256 Rx d 2 256 0\n"
    batch, stats = parse(AscParser, text)
    assert words(batch) == ["123#DEAD09"]
    assert stats.damaged == 1


def test_relative_stamps_count_from_the_line_before_even_one_without_a_frame() -> None:
    text = "base hex timestamps relative\n 1.5 1 100 Rx d 0\n 0.25 CAN 1 Status:\n 0.25 1 100 Rx d 0\n"
    assert parse(AscParser, text)[0].taken_ns == [1_500_000_000, 2_000_000_000]


@pytest.mark.parametrize(
    ("date", "ns"),
    [
        ("Sam Sep 30 15:06:13.191 2017", START_NS),
        ("Sat Sep 30 03:06:13.191 PM 2017", START_NS),
        ("Sat Sep 30 03:06:13.191 pm 2017", START_NS),
        ("Don Okt 5 12:00:00 am 2017", 1_507_161_600_000_000_000),
        ("Mon Mai 1 00:00:00 2017", 1_493_596_800_000_000_000),
    ],
)
def test_dates_of_english_and_german_tools_are_understood(date: str, ns: int) -> None:
    assert parse(AscParser, f"date {date}\n 0.0 1 100 Rx d 0\n")[0].taken_ns == [ns]


@pytest.mark.parametrize(
    "line",
    [
        "   1.0 1  6F9   Rx   d 8 05 0C 00 00 00 00 00",
        "   1.0 1  6F9   Rx   d 8 05 0C 00 00 00 00 00 0",
        "   1.0 1  6F9   Rx   d 2 05 0G",
        "   1.0 1  FFFFFFFFx   Rx   d 0",
        "   1.0 1  FFF   Rx   d 0",
        "   1.0 1  6F9   Rx   d",
        "   1.0 1  6F9   Rx   d 10 00",
        "   1.0 1  6F9   Rx",
        "   1.0 CANFD 1 Rx 123 1 0 9 11 00 00 00 00 00 00 00 00 00 00 00",
        "   1.0 CANFD 1 Rx 123 1 0",
        "05 0C 00 00 00 00",
        "date Sam Foo 30 15:06:13.191 2017",
        "   99999999999.0 1 6F9 Rx d 0",
    ],
)
def test_what_looks_like_a_frame_and_is_none_is_damage(line: str) -> None:
    good = " 1.0 1 100 Rx d 1 11\n"
    batch, stats = parse(AscParser, f"{good}{line}\n{good}")
    assert words(batch) == ["100#11", "100#11"]
    assert stats.damaged == 1
    assert [(index, count) for index, _, count in gaps(batch)] == [(1, 1)]
    assert batch.gaps[0][1].reason.startswith("damaged line 2: ")


def messages() -> list[can.Message]:
    """One of each kind that both sides can say."""
    base = 1_700_000_000.0
    return [
        can.Message(timestamp=base, arbitration_id=0x123, is_extended_id=False, data=[1, 2, 3], channel=0),
        can.Message(timestamp=base + 0.5, arbitration_id=0x1ABCDEF0, data=range(8), channel=1, is_rx=False),
        can.Message(timestamp=base + 1, arbitration_id=0x7FF, is_extended_id=False, dlc=0, channel=0),
        can.Message(
            timestamp=base + 2, arbitration_id=5, is_extended_id=False, is_remote_frame=True, dlc=5, channel=0
        ),
        can.Message(
            timestamp=base + 3,
            arbitration_id=6,
            is_fd=True,
            bitrate_switch=True,
            data=bytes(range(48)),
            dlc=48,
            channel=0,
        ),
        can.Message(
            timestamp=base + 4,
            arbitration_id=7,
            is_fd=True,
            error_state_indicator=True,
            data=bytes(12),
            dlc=12,
            channel=0,
        ),
    ]


def test_a_file_of_python_can_reads_as_python_can_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "other name"
    with can.ASCWriter(str(path)) as writer:
        for message in messages():
            writer.on_message_received(message)
    batch, stats = read(path)
    assert stats.damaged == 0
    assert batch.values == [frame_of_message(message) for message in messages()]
    with can.ASCReader(str(path)) as reader:
        theirs: list[CanFrame] = [frame_of_message(message) for message in reader]
    assert batch.values == theirs
    assert [taken_ns - batch.taken_ns[0] for taken_ns in batch.taken_ns] == [
        0,
        500_000_000,
        1_000_000_000,
        2_000_000_000,
        3_000_000_000,
        4_000_000_000,
    ]


LINES = [*(HEAD + CLASSIC + FD).splitlines()]


@given(
    st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=60)), max_size=12),
    st.lists(st.tuples(st.integers(0, 400), st.text(max_size=2)), max_size=4),
)
@settings(deadline=None)
def test_any_lines_give_frames_or_named_damage(lines: list[str], changes: list[tuple[int, str]]) -> None:
    text = "\n".join(lines)
    for place, instead in changes:
        text = text[:place] + instead + text[place + 1 :]
    check_whole(parse(AscParser, text)[0])
