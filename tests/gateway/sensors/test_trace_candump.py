"""candump's output in all its forms, with a terminal's noise between the lines."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.trace_candump import CandumpParser
from tests.gateway.sensors.traces import check_whole, gaps, parse, read, recorded, words

LOG = """(1436509052.249713) vcan0 044#2A366C2BBA
(1436509052.249800) vcan0 0F6#7ADFE07BD2
(1436509052.250000) vcan0 18DAF110#
(1436509052.250100) vcan0 123#R8
(1436509052.250200) vcan0 20000088#0000000000000000
(1436509052.250300) vcan0 123##1001122334455667788990011
(1436509052.250400) vcan0 044#2A366C2BBB T
(1436509052.250500) vcan0 044#2A366C2BBC R
"""


def test_the_log_form_is_read_word_by_word() -> None:
    batch, stats = parse(CandumpParser, LOG)
    assert words(batch) == [
        "044#2A366C2BBA",
        "0F6#7ADFE07BD2",
        "18DAF110#",
        "123#R8",
        "20000088#0000000000000000",
        "123##1001122334455667788990011",
        "044#2A366C2BBB T",
        "044#2A366C2BBC",
    ]
    assert batch.taken_ns[:2] == [1_436_509_052_249_713_000, 1_436_509_052_249_800_000]
    assert (stats.damaged, stats.ignored) == (0, 0)
    again = parse(CandumpParser, LOG + LOG)[0]
    assert words(again) == words(batch) * 2


CONSOLE = [
    # line, word
    ("  can0  123   [8]  00 11 22 33 44 55 66 77", "123#0011223344556677"),
    ("  can0  123   [0]", "123#"),
    ("  can0  123   [0] ", "123#"),
    ("  can0       123   [2]  42 64                     'Bd'", "123#4264"),
    ("  can0  12345678   [1]  27                        '''", "12345678#27"),
    ("  can0  RX - -  123   [2]  5B 23                     '[#'", "123#5B23"),
    ("  can0  TX - -  123   [1]  AA", "123#AA T"),
    ("  can0  RX B -  123  [12]  00 01 02 03 04 05 06 07 08 09 0A 0B", "123##1000102030405060708090A0B"),
    ("  can0  RX B E  123  [01]  FF", "123##3FF"),
    ("  can0  123   [0]  remote request", "123#R0"),
    ("  can0  123   [8]  remote request", "123#R8"),
    ("  can0  123   {B}  00 11 22 33 44 55 66 77", "123#0011223344556677_B"),
    ("  can0  20000004   [8]  00 04 00 00 00 00 00 00   ERRORFRAME", "20000004#0004000000000000"),
    ("  can0  123   [3]  33`22`11                  `...`", "123#112233"),
    ("  \x1b[31mcan0\x1b[0m  123   [1]  11", "123#11"),
    ("  vcan0.1  123   [1]  11", "123#11"),
]


@pytest.mark.parametrize(("line", "word"), CONSOLE)
def test_the_console_form_is_read_with_all_its_options(line: str, word: str) -> None:
    batch, stats = parse(CandumpParser, f"{line}\n{line}")
    assert words(batch) == [word, word]
    assert (stats.damaged, stats.ignored) == (0, 0)


def test_absolute_stamps_are_unix_times() -> None:
    text = " (1436509052.249713)  can0  123   [1]  11\n (1436509052.249813)  can0  123   [1]  12\n"
    assert parse(CandumpParser, text)[0].taken_ns == [1_436_509_052_249_713_000, 1_436_509_052_249_813_000]


def test_dates_are_unix_times_in_utc_and_that_is_said() -> None:
    text = " (2015-07-10 06:17:32.249713)  can0  123   [1]  11\n"
    batch, stats = parse(CandumpParser, text)
    assert batch.taken_ns == [1_436_509_052_249_713_000]
    assert stats.notes == ["the stamps are dates without a time zone; they are read as UTC"]


def test_stamps_that_never_fall_count_from_zero_and_others_from_line_to_line() -> None:
    lines = " ({:010.6f})  can0  123   [1]  11\n"
    from_zero, _ = parse(CandumpParser, "".join(lines.format(stamp) for stamp in (0, 0.5, 0.5, 2)))
    assert from_zero.taken_ns == [0, 500_000_000, 500_000_000, 2_000_000_000]
    deltas, stats = parse(CandumpParser, "".join(lines.format(stamp) for stamp in (0, 0.5, 0.25, 2)))
    assert deltas.taken_ns == [0, 500_000_000, 750_000_000, 2_750_000_000]
    assert stats.notes == ["stamps count from line to line (candump -t d); they are summed up"]


def test_lines_without_times_keep_their_order() -> None:
    batch, stats = parse(CandumpParser, "  can0  123   [1]  11\n" * 3)
    assert batch.taken_ns == [0, 100_000, 200_000]
    assert stats.notes == ["lines without a time: frames are set 100 us apart, in order"]


@pytest.mark.parametrize(
    "line",
    [
        "(1436509052.249713) vcan0 044#2A366C2BB",
        "(1436509052.249713) vcan0 044#2A36 6C2B",
        "(1436509052.249713) vcan0 FFF#2A",
        "(1436509052.249713) vcan0 044#112233445566778899",
        "(1436509052.249713) vcan0 044",
        "(1436509052.2497",
        "(x) vcan0 044#11",
        "(99999999999999999999.0) vcan0 044#11",
        "  can0  123   [8]  00 11 22 33 44 55 66",
        "  can0  123   [2]  00 11 22",
        "  can0  123   [2]  00 1",
        "  can0  123   [9]  00 11 22 33 44 55 66 77 88",
        "  can0  123   [13]  00",
        "  can0  FFF   [1]  00",
        "  can0  12",
        "  can0  123   [2]  0011'..'",
        "9]  22 33 44 55",
    ],
)
def test_what_looks_like_a_frame_and_is_none_is_damage(line: str) -> None:
    # Of the same ids, so that the damage meets the fast path too.
    good = "(1436509052.249713) vcan0 044#11\n (1436509052.249714)  can0  123   [1]  11\n"
    batch, stats = parse(CandumpParser, f"{good}{line}\n{good}")
    assert words(batch) == ["044#11", "123#11"] * 2
    assert (stats.damaged, stats.ignored) == (1, 0)
    ((index, gap),) = batch.gaps
    assert (index, gap.count) == (2, 1)
    assert gap.reason.startswith("damaged line 3: ")


@pytest.mark.parametrize(
    "line",
    [
        "pi@canard:~/src 00:58:03 $ candump  -a -d -e -x can0 | grep 18D",
        "$ cansend can0 123#DEADBEEF",
        "^C",
        "\tcontroller-problem{rx-error-warning}",
        "interface = vcan0, family = 29, type = 3, proto = 1",
        "some words [of mine]",
    ],
)
def test_a_terminals_noise_is_ignored_and_counted(line: str) -> None:
    batch, stats = parse(CandumpParser, f"(1436509052.249713) vcan0 100#11\n{line}\n\n")
    assert words(batch) == ["100#11"]
    assert (stats.damaged, stats.ignored, batch.gaps) == (0, 1, [])


def test_what_candump_itself_lost_is_a_gap() -> None:
    line = "DROPCOUNT: dropped 17 CAN frames on 'can0' socket (total drops 17)"
    batch, stats = parse(CandumpParser, f"{LOG}{line}\n{LOG}")
    assert gaps(batch) == [(8, f"line 9: candump lost frames: {line}", 17)]
    assert (stats.dropped, stats.damaged) == (17, 0)


def test_one_channel_of_several_can_be_chosen() -> None:
    text = "(1436509052.1) can0 100#11\n(1436509052.2) can1 100#22\n  can1  101   [1]  33\n"
    assert words(parse(CandumpParser, text * 2, channel="can1")[0]) == ["100#22", "101#33"] * 2
    batch, stats = parse(CandumpParser, text)
    assert words(batch) == ["100#11", "100#22", "101#33"]
    assert "choose one with channel=can0" in stats.notes[0]


def test_the_nissan_reads_without_loss() -> None:
    batch, stats = read(recorded("nissan-leaf.log"))
    assert len(batch.values) == 10_660
    assert len({frame.arbitration_id for frame in batch.values}) == 61
    assert (stats.damaged, stats.ignored, batch.gaps) == (0, 0, [])
    assert batch.taken_ns == [index * 100_000 for index in range(10_660)]
    assert str(batch.values[0]) == "180#0000000000002A00"
    assert str(batch.values[-1]) == "216#4264"


def test_the_uds_session_reads_without_loss_and_its_prompt_is_noise() -> None:
    path = recorded("uds-session.log")
    batch, stats = read(path)
    found = re.findall(
        r"^ *can0  ([RT])X - -  ([0-9A-F]{8})   \[(\d)\]  ((?:[0-9A-F]{2} )+)",
        Path(path).read_text("latin-1"),
        re.MULTILINE,
    )
    assert len(batch.values) == len(found) == 295
    assert (stats.damaged, stats.ignored, batch.gaps) == (0, 1, [])
    for frame, (way, id_text, size, data) in zip(batch.values, found, strict=True):
        assert frame == (int(id_text, 16), 1 | (64 if way == "T" else 0), bytes.fromhex(data)[: int(size)])


PART = st.sampled_from(
    ["(1.5)", "(1436509052.2)", "(2015-07-10 06:17:32.2)", "can0", "123", "18DAF110", "#", "11"]
)
SIGN = st.sampled_from(
    ["[1]", "[12]", "{B}", "  ", "`", "'", "TX - -", "R", "\x1b[31m", "remote request", "##0"]
)


@given(
    st.lists(st.one_of(st.text(max_size=60), st.lists(PART | SIGN, max_size=9).map(" ".join)), max_size=15),
    st.booleans(),
)
@settings(deadline=None)
def test_any_lines_give_frames_or_named_damage(lines: list[str], with_log: bool) -> None:
    batch, _ = parse(CandumpParser, (LOG if with_log else "") + "\n".join(lines))
    check_whole(batch)
