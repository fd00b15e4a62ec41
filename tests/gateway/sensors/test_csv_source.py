"""Tables as sources: real dirty data cell by cell, times, and files that are none."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.columns import SAMPLE_SIZE_MAX
from gateway.sensors.csv_cells import DECIMAL, GROUP, MARKS, NO_UNIT, TEXT, UNIT
from gateway.sensors.csv_source import open_csv
from gateway.sensors.csv_times import time_ns
from gateway.sensors.recording_source import RecordingSource
from gateway.sensors.source import SYSTEM_CLOCK, BadSourceUrl, Batch, Clock, SourceUnavailable, SourceUrl
from puf import cbor
from tests.gateway.sensors.clocks import START_NS, FakeClock
from tests.gateway.sensors.traces import join

DRIVERS = Path(__file__).resolve().parents[4] / "shared" / "data" / "obd" / "19drivers.csv"


def opened(path: Path | str, clock: Clock = SYSTEM_CLOCK, **options: str) -> RecordingSource:
    return open_csv(SourceUrl(f"csv:{path}", str(path), {"speed": "max"} | options), "table", clock)


def drained(source: RecordingSource) -> Batch:
    async def drain() -> Batch:
        return join([batch async for batch in source.batches()])

    return asyncio.run(drain())


def table(tmp_path: Path, text: str | bytes, **options: str) -> tuple[list[Any], RecordingSource]:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    source = opened(path, SYSTEM_CLOCK, **options)
    return drained(source).values, source


@pytest.fixture(scope="module")
def drivers() -> tuple[Batch, RecordingSource]:
    if not DRIVERS.exists():
        pytest.skip("../shared/data/obd/19drivers.csv is not here")
    source = opened(DRIVERS, delimiter="semicolon")
    return drained(source), source


def test_every_row_of_the_drivers_is_a_reading(drivers: tuple[Batch, RecordingSource]) -> None:
    batch, source = drivers
    assert len(batch.values) == source.stats.received == 8_261
    assert [value["row"] for value in batch.values] == list(range(2, 8_263))
    assert batch.gaps == []
    size = DRIVERS.stat().st_size
    assert source.progress() == (size, size)


def test_no_text_of_the_drivers_is_lost_or_changed(drivers: tuple[Batch, RecordingSource]) -> None:
    header, *lines = DRIVERS.read_text().split("\n")[:8_262]
    names = header.split(";")
    for line, value in zip(lines, drivers[0].values, strict=True):
        for name, text in zip(names, line.split(";"), strict=True):
            kept = value["cells"].get(name, "")
            if isinstance(kept, str):
                assert kept == text
            else:
                assert float(text) == kept
                assert name not in value["damaged"]


def test_mangled_cells_of_the_drivers_are_counted_by_reason(drivers: tuple[Batch, RecordingSource]) -> None:
    counts: dict[tuple[str, str], int] = {}
    for value in drivers[0].values:
        for name, why in value["damaged"].items():
            counts[name, why] = counts.get((name, why), 0) + 1
    # Counted with a shell: cut -d';' -fN | grep -c PATTERN.
    assert counts["LATITUDE", MARKS] == 7_395
    assert counts["LATITUDE", GROUP] == 7
    assert counts["LONGITUDE", MARKS] == 7_402
    assert counts["FUEL_LEVEL", DECIMAL] == 8_215
    assert counts["FUEL_LEVEL", TEXT] == 6
    assert counts["ENGINE_RPM", UNIT] == 8_227
    assert counts["THROTTLE_POS", NO_UNIT] == 1
    assert counts["TIME", DECIMAL] == 8_261
    assert not any(name in ("ALTITUDE", "VEHICLE_ID", "ENGINE_RUNTIME", "DTC_NUMBER") for name, _ in counts)


def test_mangled_cells_of_the_drivers_are_told_to_people(drivers: tuple[Batch, RecordingSource]) -> None:
    notes = drivers[1].stats.notes
    assert f"{DRIVERS}, row 5486, column THROTTLE_POS: '20': no unit where others have one" in notes
    assert f"{DRIVERS}, row 2, column LATITUDE: '-58.321.307': several decimal marks" in notes
    assert f"{DRIVERS}, cells that stay text, several decimal marks: LATITUDE 7395, LONGITUDE 7402" in notes
    assert drivers[1].stats.notes_dropped == 0
    assert drivers[1].stats.damaged == 8_261


def test_a_reading_of_the_drivers(drivers: tuple[Batch, RecordingSource]) -> None:
    value = drivers[0].values[0]
    assert value["cells"]["ALTITUDE"] == 46.0
    assert value["cells"]["VEHICLE_ID"] == "s11"
    assert value["cells"]["MAF"] == "24,77g/s"
    assert "FUEL_TYPE" not in value["cells"]
    assert max(len(cbor.encode(value)) for value in drivers[0].values) < SAMPLE_SIZE_MAX


def test_times_that_have_lost_their_digits_are_refused() -> None:
    if not DRIVERS.exists():
        pytest.skip("../shared/data/obd/19drivers.csv is not here")
    with pytest.raises(SourceUnavailable, match=r"column 'TIME' says no time, such as '1,51336E\+12'"):
        opened(DRIVERS, delimiter="semicolon", time="TIME")
    source = opened(DRIVERS, FakeClock().clock, delimiter="semicolon", time="ENGINE_RUNTIME")
    batch = drained(source)
    assert batch.taken_ns[0] == START_NS
    assert batch.taken_ns[1] == START_NS + 6 * 10**9
    flawed = [value for value in batch.values if "time_flaw" in value]
    assert len(flawed) == 8_261 - 8_224
    assert any("earlier than the row before" in note for note in source.stats.notes)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2026-11-22T10:15:30Z", (1_795_342_530 * 10**9, True)),
        ("2026-11-22T10:15:30+01:00", (1_795_338_930 * 10**9, True)),
        ("2026-11-22 10:15:30.123456789", (1_795_342_530_123_456_789, True)),
        ("2026-11-22 10:15:30,5", (1_795_342_530_500_000_000, True)),
        ("2026-11-22T10:15", (1_795_342_500 * 10**9, True)),
        ("1511336000", (1_511_336_000 * 10**9, True)),
        ("1511336000.25", (1_511_336_000_250_000_000, True)),
        ("1511336000123", (1_511_336_000_123 * 10**6, True)),
        ("1511336000123456", (1_511_336_000_123_456 * 10**3, True)),
        ("15113360001", (15_113_360_001 * 10**9, True)),
        ("151133600012", (151_133_600_012 * 10**6, True)),
        ("1511336000123456789", (1_511_336_000_123_456_789, True)),
        ("00:03:02", (182 * 10**9, False)),
        ("123:00:00.5", (442_800_500_000_000, False)),
        ("1,51336E+12", None),
        ("2026-13-22T10:15:30Z", None),
        ("2026-11-22", None),
        ("00:60:00", None),
        ("1511336000123.5", None),
        ("", None),
        ("12", None),
    ],
)
def test_a_cell_says_its_time(text: str, want: tuple[int, bool] | None) -> None:
    assert time_ns(text) == want


@given(st.text(st.sampled_from("0123456789:-+.,TZ "), max_size=32))
@settings(deadline=None)
def test_any_text_says_a_time_or_none(text: str) -> None:
    found = time_ns(text)
    assert found is None or isinstance(found[0], int)


def test_rows_come_when_they_are_due(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,x\n2026-11-22T10:00:00Z,1\n2026-11-22T10:00:01Z,2\nsoon,3\n2026-11-22T10:01:00Z,4\n")
    fake = FakeClock()
    source = opened(path, fake.clock, time="t", speed="1")
    batch = drained(source)
    assert [taken_ns - START_NS for taken_ns in batch.taken_ns] == [0, 10**9, 10**9, 60 * 10**9]
    assert batch.values[2] == {
        "row": 4,
        "cells": {"t": "soon", "x": 3},
        "time_flaw": "no time: that of the row before",
    }
    assert source.stats.damaged == 1
    assert fake.elapsed_ns == 60 * 10**9
    recorded = drained(opened(path, fake.clock, time="t", start="recorded"))
    assert recorded.taken_ns[0] == 1_795_341_600 * 10**9


def test_rows_without_times_are_evenly_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n2\n3\n")
    batch = drained(opened(path, FakeClock().clock, interval_ms="50"))
    assert [taken_ns - START_NS for taken_ns in batch.taken_ns] == [0, 50_000_000, 100_000_000]
    with pytest.raises(SourceUnavailable, match="its times have no date, so start=recorded cannot be"):
        opened(path, start="recorded")


def test_ragged_rows_keep_all_they_have(tmp_path: Path) -> None:
    values, source = table(tmp_path, "a,b,c\n1,2\n1,2,3,4,5\n1,2,3\n")
    assert values == [
        {"row": 2, "cells": {"a": 1, "b": 2}, "flaw": "2 cells instead of 3"},
        {"row": 3, "cells": {"a": 1, "b": 2, "c": 3}, "flaw": "5 cells instead of 3", "extra": ["4", "5"]},
        {"row": 4, "cells": {"a": 1, "b": 2, "c": 3}},
    ]
    assert source.stats.damaged == 2


def test_an_open_quote_and_a_huge_line_come_raw(tmp_path: Path) -> None:
    values, source = table(tmp_path, 'a,b\n1,"2\n3,4\n' + "x" * 20_000 + "\n5,6\n")
    assert values[0] == {"row": 2, "raw": '1,"2', "flaw": "quote not closed"}
    assert values[1] == {"row": 3, "cells": {"a": 3, "b": 4}}
    parts = values[2:-1]
    assert "".join(part["raw"] for part in parts) == "x" * 20_000
    assert [part["part"] for part in parts] == [1, 2, 3, 4, 5, 6]
    assert values[-1] == {"row": 5, "cells": {"a": 5, "b": 6}}
    assert source.stats.damaged == 2


def test_bytes_and_control_characters_stay(tmp_path: Path) -> None:
    values, _ = table(tmp_path, b"a,b\ncaf\xe9,x\0y\n")
    assert values == [
        {
            "row": 2,
            "cells": {"a": b"caf\xe9", "b": "x\0y"},
            "damaged": {"a": "not in the file's encoding", "b": "control character"},
        }
    ]


def test_names_of_columns_are_made_unique(tmp_path: Path) -> None:
    values, _ = table(tmp_path, b"a,,a,\xff\n1,2,3,4\n")
    assert values[0]["cells"] == {"a": 1, "column 2": 2, "a (3)": 3, "?": 4}


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("", {}, "the file is empty"),
        ("\n\n", {}, "the file is empty"),
        ('"a,b\n', {}, "its first line is no header: quote not closed"),
        ("x" * 9_000, {}, "its first line is no header: line too long"),
        (",".join(str(number) for number in range(300)), {}, "300 columns; a record takes 256"),
        ("a\n".encode("utf-16"), {}, "add encoding=utf-16"),
        ("a,b\n1,2\n", {"time": "c"}, "no column 'c'; there are a, b"),
        ("a,b\n1,2\n", {"time": "a"}, "column 'a' says no time, such as '1'"),
        ("a,b\n", {"time": "a"}, "column 'a' says no time; known are"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, text: str | bytes, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(SourceUnavailable, match=reason):
        table(tmp_path, text, **options)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="No such file"):
        opened(tmp_path / "none.csv")
    with pytest.raises(SourceUnavailable, match="this is a directory"):
        opened(tmp_path)
    with pytest.raises(BadSourceUrl, match=r"delimiter=x: allowed are comma, semicolon, tab, pipe$"):
        opened(tmp_path, delimiter="x")


def test_a_name_of_several_lines_is_one_line(tmp_path: Path) -> None:
    values, _ = table(tmp_path, '"speed\n (km/h)",b\n1,2\n')
    assert values == [{"row": 3, "cells": {"speed (km/h)": 1, "b": 2}}]


def test_a_name_may_have_a_character_that_nobody_sees(tmp_path: Path) -> None:
    values, _ = table(tmp_path, "a\u200b,b\n1,2\n")
    assert values == [{"row": 2, "cells": {"a\u200b": 1, "b": 2}}]


@pytest.mark.parametrize("data", [b"btsnoop\0\0\0\1,b\n1,2\n", b"\x1b[2J,b\n1,2\n"])
def test_what_no_terminal_should_show_is_no_header(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SourceUnavailable, match="no table: its first line has control characters") as caught:
        table(tmp_path, data)
    assert str(caught.value).isprintable()


def test_a_delimiter_may_be_given_as_itself(tmp_path: Path) -> None:
    values, _ = table(tmp_path, "a;b\n1,5;2\n", delimiter=";", decimal=",")
    assert values == [{"row": 2, "cells": {"a": 1.5, "b": 2}}]


def test_a_wrong_delimiter_is_guessed_aloud(tmp_path: Path) -> None:
    _, source = table(tmp_path, "a;b\n1;2\n")
    assert any("only one column; did you mean delimiter=semicolon?" in note for note in source.stats.notes)


def test_closing_ends_a_slow_replay(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n" + "1\n" * 5_000)

    async def story() -> int:
        source = opened(path, FakeClock().clock, speed="1")
        count = 0
        async for batch in source.batches():
            count += len(batch.values)
            await source.close()
        return count

    assert asyncio.run(story()) == 1


@given(
    st.binary(max_size=300),
    st.sampled_from(["comma", "semicolon"]),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
)
@settings(deadline=None)
def test_any_file_gives_records_that_can_be_stored_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, delimiter: str, encoding: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        batch = drained(opened(path, delimiter=delimiter, encoding=encoding))
    except SourceUnavailable:
        return
    for value in batch.values:
        assert cbor.decode(cbor.encode(value)) == value


@given(
    st.integers(1, 250),
    st.integers(0, 3_400),
    st.sampled_from(["1", "é", "1,5%", "\udcff"]),
    st.sampled_from(["x", "€"]),
)
@example(250, 2_200, "1,5%", "€")
@settings(deadline=None, max_examples=60)
def test_no_row_is_too_large_for_a_record(
    tmp_path_factory: pytest.TempPathFactory, columns: int, length: int, cell: str, filler: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "wide.csv"
    row = ";".join([cell] * columns + [filler * length])
    header = ";".join(f"name {number}" for number in range(columns))
    path.write_bytes(f"{header}\n{row}\n".encode("utf-8", "surrogateescape"))
    for value in drained(opened(path, delimiter="semicolon")).values:
        assert len(cbor.encode(value)) <= SAMPLE_SIZE_MAX
        if value.get("flaw") == "too many cells for one record":
            # As bytes, where its encoding is broken.
            assert value["raw"] in (row, row.encode("utf-8", "surrogateescape"))
