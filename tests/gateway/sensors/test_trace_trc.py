"""PCAN .trc: every version's columns, exact times, and damage that is named."""

import re
from pathlib import Path

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.trace_trc import TrcParser, ole_date_to_ns
from tests.gateway.sensors.traces import check_whole, gaps, parse, read, recorded, words

V1_0 = """;##########################################################################
;   C:\\t.trc
     1)     17535  00000100  8  00 00 00 00 00 00 00 08
     2)     17540  FFFFFFFF  4  00 00 00 08 -- -- -- -- BUSHEAVY
     3)     17873      0123  2  AB CD
     4)     18000      0704  1  RTR
     5)     18001      0008  4  ERROR 00 19 08 08
"""
V1_1 = """;$FILEVERSION=1.1
;$STARTTIME=44548.6028595139
     1)     17535.4  Tx    00000100  8  00 00 00 00 00 00 00 08
     2)     17540.3  Warng FFFFFFFF  4  00 00 00 08  BUSHEAVY
     3)     17873.81 Rx        0123  2  AB CD
     4)     18000.0  Rx        0704  1  RTR
     5)     18001.0  Rx        0705  0
     6)     18001.5  Error     0008  4  00 19 08 08
"""
V1_2 = """;$FILEVERSION=1.2
     1)     17535.4 1  Tx    00000100  1  08
     2)     17535.5 2  Rx        0101  1  09
"""
V1_3 = """;$FILEVERSION=1.3
     1)     17535.4 1  Tx    00000100 -  8    00 00 00 00 00 00 00 08
     2)     17700.3 1  Rx        0100 -  1    7F
"""
V2_0 = """;$FILEVERSION=2.0
;$STARTTIME=44548.6028595139
;$COLUMNS=N,O,T,I,d,l,D
      1     17535.400 DT 00000100 Tx 8  00 00 00 00 00 00 00 08
      2     17540.300 ST          Rx    00 00 00 08
      3     17700.300 DT     0123 Rx 2  AB CD
      4     17700.400 FB     0124 Rx 12  00 01 02 03 04 05 06 07 08 09 0A 0B
      5     17700.500 RR     0125 Rx 3
      6     17700.600 ER          Rx    04 00 02 00 00
"""
V2_1 = """;$FILEVERSION=2.1
;$STARTTIME=44548.6028595139
;$COLUMNS=N,O,T,B,I,d,R,L,D
      1     17535.400 DT 1  00000100 Tx -  8    00 00 00 00 00 00 00 08
      2     17540.300 ST 1         - Rx -  4    00 00 00 08
      3     17700.300 FD 1      0123 Rx -  9    00 01 02 03 04 05 06 07 08 09 0A 0B
      4     17700.301 FE 1  1ABCDEF0 Rx -  15   %s
      5     17700.302 BI 1      0123 Rx -  0
      6     17700.303 DT 1      0123 Rx -  11   00 01 02 03 04 05 06 07
      7     17700.304 EC 1         - Rx -  2    00 08
      8     17700.305 EV 1  a word of the user
""" % ("55 " * 64)


@pytest.mark.parametrize(
    ("text", "expected", "first_ns", "ignored"),
    [
        (
            V1_0,
            ["00000100#0000000000000008", "123#ABCD", "704#R1", "20000080#" + "00" * 8],
            17_535_000_000,
            1,
        ),
        (
            V1_1,
            ["00000100#0000000000000008 T", "123#ABCD", "704#R1", "705#", "20000080#" + "00" * 8],
            1_639_837_704_597_400_960,
            1,
        ),
        (V1_2, ["00000100#08 T", "101#09"], 17_535_400_000, 0),
        (V1_3, ["00000100#0000000000000008 T", "100#7F"], 17_535_400_000, 0),
        (
            V2_0,
            [
                "00000100#0000000000000008 T",
                "123#ABCD",
                "124##1000102030405060708090A0B",
                "125#R3",
                "20000080#" + "00" * 8,
            ],
            1_639_837_704_597_400_960,
            1,
        ),
        (
            V2_1,
            [
                "00000100#0000000000000008 T",
                "123##0000102030405060708090A0B",
                "1ABCDEF0##3" + "55" * 64,
                "123##2",
                "123#0001020304050607_B",
            ],
            1_639_837_704_597_400_960,
            3,
        ),
    ],
    ids=["1.0", "1.1", "1.2", "1.3", "2.0", "2.1"],
)
def test_each_version_is_read_by_its_columns(
    text: str, expected: list[str], first_ns: int, ignored: int
) -> None:
    batch, stats = parse(TrcParser, text)
    assert words(batch) == expected
    assert batch.taken_ns[0] == first_ns
    assert (stats.damaged, stats.ignored, gaps(batch)) == (0, ignored, [])


def test_a_line_of_an_id_seen_before_reads_as_the_first_did() -> None:
    """The fast path and the careful one agree."""
    again = parse(TrcParser, V2_1 + V2_1.replace(";$", "; "))[0]
    assert words(again)[5:] == words(again)[:5]
    assert again.taken_ns[5:] == again.taken_ns[:5]


def test_times_are_exact_to_the_last_digit_given() -> None:
    text = ";$FILEVERSION=1.1\n" + "".join(
        f" {n}) {n * 1000 + 7}.{n:03d} Rx 0100 1 00\n" for n in range(1, 50)
    )
    batch, _ = parse(TrcParser, text)
    assert batch.taken_ns == [(n * 1000 + 7) * 10**6 + n * 1000 for n in range(1, 50)]


def test_an_ole_date_is_days_since_1899() -> None:
    assert ole_date_to_ns("25569") == 0
    assert ole_date_to_ns("25569.5") == 43_200 * 10**9
    # PCAN-View wrote this number beside `Start time: 10.02.2024 18:56:39.137`.
    assert ole_date_to_ns("45332.7893418634") == 1_707_591_399_136_997_760
    for text in ("", "x", "-1", "9999999", "1.5.5", "20000"):
        with pytest.raises(ValueError, match=r"start time|1970"):
            ole_date_to_ns(text)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("     2)  2.0  Rx  0101  8  00 11", "8 bytes announced, 2 found"),
        ("     2)  2.0  Rx  0101  2  00 1", "'00 1' are no bytes in hex"),
        ("     2)  2.0  Rx  0101  9  00 11", "8 bytes announced, 2 found"),
        ("     2)  2.0  Rx  0101  16  00 11", "length 16 is more than a frame can hold"),
        ("     2)  2.0  Rx  01  2  00 11", "'01' is no id of 4 to 8 hex digits"),
        ("     2)  2.0  Rx  0FFF  2  00 11", "id 0FFF is above 7FF"),
        ("     2)  2.x  Rx  0101  2  00 11", "'2.x' is no time in milliseconds"),
        ("     2)  2.0000001  Rx  0101  2  00 11", "'2.0000001' is no time in milliseconds"),
        ("     2)  99999999999999  Rx  0101  2  00 11", "is not between the years 1970 and 2096"),
        ("     2)  2.0  Rz  0101  2  00 11", "'Rz' instead of Rx or Tx"),
        ("     2)  2.0  Rx", "3 columns instead of 6"),
        ("2)", "1 columns instead of 6"),
    ],
)
def test_a_damaged_line_is_a_gap_at_its_place_and_reading_goes_on(line: str, reason: str) -> None:
    good = " {0}) {0}.0 Rx 0101 2 00 11\n"
    text = ";$FILEVERSION=1.1\n" + good.format(1) + line + "\n" + good.format(3)
    batch, stats = parse(TrcParser, text)
    assert batch.taken_ns == [1_000_000, 3_000_000]
    assert stats.damaged == 1
    ((index, gap),) = batch.gaps
    assert (index, gap.count, gap.from_ns, gap.to_ns) == (1, 1, 1_000_000, 3_000_000)
    assert gap.reason.startswith("damaged line 3: ")
    assert reason in gap.reason
    assert gap.reason in stats.notes


def test_a_run_of_damaged_lines_is_one_gap() -> None:
    text = ";$FILEVERSION=1.1\n 1) 1.0 Rx 0101 1 00\n" + "garbage\n" * 1000 + " 2) 2.0 Rx 0101 1 00\n"
    batch, stats = parse(TrcParser, text)
    reason = "damaged line 3: 1 columns instead of 6 (and 999 more up to line 1002)"
    assert gaps(batch) == [(1, reason, 1000)]
    assert stats.damaged == 1000
    assert len(stats.notes) == 100
    assert stats.notes_dropped == 900


def test_an_overrun_the_recorder_noticed_is_a_gap_of_unknown_size() -> None:
    text = V1_1.replace("00 00 00 08  BUSHEAVY", "00 00 00 02  OVERRUN")
    assert gaps(parse(TrcParser, text)[0]) == [(1, "the recorder was too slow: overrun", 0)]


def test_a_header_that_cannot_be_is_named() -> None:
    batch, stats = parse(TrcParser, ";$FILEVERSION=7.0\n;$STARTTIME=never\n;$COLUMNS=N,O\n 1) 1 0101 1 00")
    assert words(batch) == ["101#00"]
    assert stats.damaged == 3
    assert batch.gaps[0][1].reason == (
        "damaged line 1: trace version '7.0' is unknown (and 2 more up to line 3)"
    )


def test_only_the_chosen_bus_is_read() -> None:
    batch, stats = parse(TrcParser, V1_2, channel="2")
    assert words(batch) == ["101#09"]
    assert stats.ignored == 1
    _, stats = parse(TrcParser, V1_2)
    assert stats.notes == [
        "channels 1 and 2 (at least) are merged into one stream; choose one with channel=1"
    ]


@pytest.mark.parametrize("version", [can.TRCFileVersion.V1_0, can.TRCFileVersion.V2_1])
def test_what_python_can_writes_reads_without_loss(tmp_path: Path, version: can.TRCFileVersion) -> None:
    frames = [(0x12, False), (0x7FF, False), (0x12, True), (0x18DAF110, True), (0x1ABCDEF, True)]
    file = tmp_path / "written.trc"
    writer = can.TRCWriter(str(file))
    writer.file_version = version
    with writer:
        for number, (arbitration_id, is_extended) in enumerate(frames):
            writer.on_message_received(
                can.Message(
                    timestamp=1_700_000_000 + number,
                    arbitration_id=arbitration_id,
                    is_extended_id=is_extended,
                    data=bytes([number, 7]),
                    channel=1,
                )
            )
    batch, stats = read(file)
    assert [(frame.arbitration_id, frame.is_extended, frame.data) for frame in batch.values] == [
        (*frame, bytes([number, 7])) for number, frame in enumerate(frames)
    ]
    assert stats.damaged == 0


def test_the_passat_reads_without_loss() -> None:
    path = recorded("passat-idling.trc")
    batch, stats = read(path)
    lines = [line for line in Path(path).read_text("latin-1").splitlines() if not line.startswith(";")]
    assert len(batch.values) == len(lines) == 10_856
    assert len({frame.arbitration_id for frame in batch.values}) == 44
    assert (stats.damaged, stats.ignored, batch.gaps) == (0, 0, [])
    start_ns = 1_707_591_399_136_997_760
    for line, taken_ns, frame in zip(lines, batch.taken_ns, batch.values, strict=True):
        match = re.fullmatch(
            r"\s*\d+\)\s+(\d+)\.(\d)\s+Rx\s+([0-9A-F]{4}(?:[0-9A-F]{4})?)\s+(\d)\s+([0-9A-F ]*)", line
        )
        assert match is not None
        assert taken_ns == start_ns + int(match[1]) * 10**6 + int(match[2]) * 10**5
        assert frame == (
            int(match[3], 16),
            len(match[3]) // 8,
            bytes(int(word, 16) for word in match[5].split()),
        )
        assert len(frame.data) == int(match[4])


FIELDS = ("1)", "2)", "1.0", "2.5", "Rx", "Tx", "DT", "FD", "ST", "ER", "0101", "18DAF110", "8", "9", "16")
FIELD = st.sampled_from([*FIELDS, "00", "11", "RTR", "FFFFFFFF", "ERROR", "-", ";", "1"])


@given(
    st.sampled_from([V1_0, V1_1, V1_3, V2_0, V2_1]),
    st.lists(st.one_of(st.text(max_size=60), st.lists(FIELD, max_size=14).map(" ".join)), max_size=12),
)
@settings(deadline=None)
def test_any_lines_give_frames_or_named_damage(head: str, lines: list[str]) -> None:
    batch, _ = parse(TrcParser, head + "\n".join(lines))
    check_whole(batch)
