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

from collections.abc import AsyncIterator

from gateway.sensors.can_replay import Pacer, shifted
from gateway.sensors.csv_rows import ENCODINGS
from gateway.sensors.csv_table import Table, TableFormat
from gateway.sensors.source import Batch, Clock, Source, SourceUnavailable, SourceUrl

# In words, because ; & and # mean something in a URL or a shell; as characters, too, for those who quote.
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
DECIMALS = {"point": ".", "comma": ","}


class CsvSource(Source):
    """One file, once."""

    kind = "reading"

    def __init__(
        self,
        name: str,
        path: str,
        form: TableFormat,
        clock: Clock,
        *,
        speed: float | None = 1.0,
        is_recorded: bool = False,
    ) -> None:
        super().__init__(name)
        self._clock = clock
        self._is_recorded = is_recorded
        self._pacer = Pacer(clock, speed)
        # Opened here, so that a wrong file is told to whoever opens the source.
        self._table = Table(path, form, self.stats)
        self._is_playing = False
        if is_recorded and not self._table.is_absolute:
            self._table.close()
            raise SourceUnavailable(
                path, "its times have no date, so start=recorded cannot be; use start=now"
            )

    def progress(self) -> tuple[int, int]:
        """Bytes read and to read."""
        return (self._table.bytes_done, self._table.bytes_total)

    async def close(self) -> None:
        """Ends `batches` and closes the file."""
        self._pacer.close()
        if not self._is_playing:
            self._table.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """All rows.  Raises SourceUnavailable when reading fails."""
        shift_ns: int | None = 0 if self._is_recorded else None
        self._is_playing = True
        try:
            for recorded in self._table.batches():
                if shift_ns is None:
                    shift_ns = self._clock.now_ns() - recorded.taken_ns[0]
                for part in self._pacer.parts(shifted(recorded, shift_ns)):
                    await self._pacer.wait_for(part)
                    if self._pacer.is_closed():
                        return
                    self.stats.received += len(part.values)
                    yield part
        finally:
            self._is_playing = False
            self._table.close()


def open_csv(url: SourceUrl, name: str, clock: Clock) -> CsvSource:
    """Opens `csv:FILE`.  Raises SourceError."""
    delimiter = url.choice("delimiter", (*DELIMITERS, *DELIMITERS.values()), "comma")
    decimal = url.choice("decimal", (*DECIMALS, *DECIMALS.values()), "point")
    form = TableFormat(
        delimiter=DELIMITERS.get(delimiter, delimiter),
        decimal=DECIMALS.get(decimal, decimal),
        encoding=url.choice("encoding", ENCODINGS, "utf-8"),
        time_column=url.options.get("time", ""),
        interval_ns=url.number("interval_ms", 1_000, 1, 86_400_000) * 1_000_000,
    )
    return CsvSource(
        name,
        url.target,
        form,
        clock,
        speed=url.speed("1"),
        is_recorded=url.choice("start", ("now", "recorded"), "now") == "recorded",
    )
