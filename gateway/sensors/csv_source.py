"""Tables as sources: `csv:trip.csv?time=TIME&delimiter=semicolon`.

Runs on CPython.  A reading is one row:

    row        line of the file, from 1; the header is line 1
    cells      {column: number, or the text as it stands}; empty cells are left out
    damaged    {column: why}, of cells that stay text because they are mangled: csv_cells.py has the rules
    extra      cells beyond the header's columns
    flaw       why the row is not whole; where it has no `cells`, its text is `raw`
    part       which part of a line that is too long for one record `raw` is
    time_flaw  the row has the time of the one before, as its own says none

Each sort of damage is a note when first seen in a column, with row, column and text, and once more at the
end, with how many there were.

Options: `delimiter=comma|semicolon|tab|pipe`, `decimal=point|comma`, `encoding`, `time` (a column; without
it rows are `interval_ms` apart), `start=now|recorded` and `speed` as for a replay.
"""

from __future__ import annotations

from gateway.sensors.csv_rows import ENCODINGS
from gateway.sensors.csv_table import DELIMITERS, Table, TableFormat
from gateway.sensors.recording_source import RecordingSource, play
from gateway.sensors.source import Clock, SourceStats, SourceUrl

DECIMALS = {"point": ".", "comma": ","}


def open_csv(url: SourceUrl, name: str, clock: Clock) -> RecordingSource:
    """Opens `csv:FILE`.  Raises SourceError."""
    form = TableFormat(
        delimiter=_character(url, "delimiter", DELIMITERS),
        decimal=_character(url, "decimal", DECIMALS),
        encoding=url.choice("encoding", ENCODINGS, "utf-8"),
        time_column=url.options.get("time", ""),
        interval_ns=url.number("interval_ms", 1_000, 1, 86_400_000) * 1_000_000,
    )
    stats = SourceStats()
    return play(url, name, Table(url.target, form, stats), stats, clock)


def _character(url: SourceUrl, option: str, words: dict[str, str]) -> str:
    """The character that an option names; the character itself will do, for those who quote."""
    written = url.options.get(option, "")
    if written in words.values():
        return written
    return words[url.choice(option, tuple(words), next(iter(words)))]
