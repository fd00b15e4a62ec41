"""A recorded CAN trace as batches of frames, whatever its format.

Runs on CPython.  The format is found by content, never by the file's name.  The file is read in
chunks and only forwards, so memory stays flat and a pipe will do.  Damage never ends it: a line
that cannot be read is counted, named, and a gap at its place.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from typing import BinaryIO

from gateway.sensors.source import Batch, NotATrace, SourceStats, SourceUnavailable
from gateway.sensors.trace_asc import AscParser
from gateway.sensors.trace_blf import FILE_SIGNATURE, BlfParser
from gateway.sensors.trace_candump import CandumpParser
from gateway.sensors.trace_sink import Channels, LineParser, TraceSink
from gateway.sensors.trace_trc import TrcParser

LINE_PARSERS: tuple[type[LineParser], ...] = (TrcParser, CandumpParser, AscParser)

CHUNK_BYTES = 1 << 15
"""Read at once: some 500 to 800 lines, which make one batch."""
PROBE_BYTES = 1 << 17
"""Within so many bytes a trace must show what it is."""
LINE_LENGTH_MAX = 1 << 14
"""No trace has longer lines; garbage without line ends has."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_PACKED = {
    b"\x1f\x8b": "gunzip",
    b"PK\x03\x04": "unzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"7z\xbc\xaf": "7z x",
}


class TraceReader:
    """One pass over a trace file.

    Opening it raises SourceUnavailable or NotATrace.  Times in its batches are as the file has them.
    """

    def __init__(self, path: str, *, channel: str | None = None, stats: SourceStats | None = None) -> None:
        self.path = path
        self.sink = TraceSink(stats if stats is not None else SourceStats())
        self.bytes_done = 0
        self.bytes_total = 0
        """0 when unknown, as with a pipe."""
        self._encoding = "latin-1"
        """Never fails; what is not ASCII in a trace is comment or damage."""
        self._file = self._open()
        try:
            self._probe = self._read(PROBE_BYTES)
            self._parser = self._detect(Channels(self.sink, channel))
        except BaseException:
            self._file.close()
            raise

    @property
    def format_name(self) -> str:
        """As shown to people, such as `PCAN .trc`."""
        return self._parser.format_name

    @property
    def is_absolute(self) -> bool:
        """Times count from 1970, not from the start of the recording; known after the first batch."""
        return self._parser.is_absolute

    def batches(self) -> Iterator[Batch]:
        """All frames in order.  Empty batches are left out."""
        parser = self._parser
        steps = self._line_steps(parser) if isinstance(parser, LineParser) else self._object_steps(parser)
        for is_last in steps:
            batch = self.sink.take(is_last=is_last)
            if batch.values or batch.gaps:
                yield batch

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        try:
            if os.path.isdir(self.path):
                raise SourceUnavailable(self.path, "this is a directory; name a trace file in it")
            file = open(self.path, "rb")  # noqa: SIM115 - closed by close()
            self.bytes_total = os.fstat(file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise SourceUnavailable(self.path, getattr(error, "strerror", None) or str(error)) from error
        return file

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            where = f"{self.path}, byte {self.bytes_done}"
            raise SourceUnavailable(where, f"reading failed: {error.strerror}") from error
        self.bytes_done += len(data)
        return data

    def _detect(self, channels: Channels) -> LineParser | BlfParser:
        """The parser for what the probe shows.  Raises NotATrace."""
        probe = self._probe
        if not probe:
            raise NotATrace(self.path, 0, "the file is empty")
        for magic, command in _PACKED.items():
            if probe.startswith(magic):
                raise NotATrace(self.path, 0, f"the file is packed; unpack it first: {command} {self.path}")
        if probe.startswith(FILE_SIGNATURE):
            return self._open_blf(channels)
        for bom, encoding in _BOMS:
            if probe.startswith(bom):
                self._probe, self._encoding = probe[len(bom) :], encoding
        lines = self._probe.decode(self._encoding, "replace").split("\n")
        scores = {parser: parser.score(lines) for parser in LINE_PARSERS}
        best = max(LINE_PARSERS, key=lambda parser: scores[parser])
        if not scores[best]:
            binary_at = next((at for at, byte in enumerate(self._probe) if byte < 9), None)
            if binary_at is not None:
                raise NotATrace(self.path, binary_at, "binary data, and not a Vector .blf")
            raise NotATrace(
                self.path,
                0,
                "no line of PCAN .trc, candump or Vector .asc in the first 128 KiB; is this a trace?",
            )
        parser = best(self.sink, channels)
        parser.probe(lines)
        return parser

    def _open_blf(self, channels: Channels) -> BlfParser:
        if not self._file.seekable():
            raise NotATrace(self.path, 0, "a Vector .blf cannot be read from a pipe; name a file")
        parser = BlfParser(self.sink, channels)
        self._file.seek(0)
        try:
            parser.read_header(self._file)
        except ValueError as error:
            raise NotATrace(self.path, 0, f"begins like a Vector .blf, but {error}") from error
        return parser

    def _line_steps(self, parser: LineParser) -> Iterator[bool]:
        """Parses a chunk at a time; yields whether it was the last."""
        decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        line_number = 1
        rest = ""
        skipping = False
        chunk, probe_at = self._probe[:CHUNK_BYTES], CHUNK_BYTES
        while chunk:
            lines = (rest + decoder.decode(chunk)).split("\n")
            rest = lines.pop()
            if skipping and lines:
                # The end of a line that was given up.
                lines = lines[1:]
                line_number += 1
                skipping = False
            parser.parse(line_number, lines)
            line_number += len(lines)
            if len(rest) > LINE_LENGTH_MAX:
                if not skipping:
                    self.sink.damaged(f"line {line_number}", f"longer than {LINE_LENGTH_MAX} characters")
                rest, skipping = "", True
            yield False
            if probe_at < len(self._probe):
                chunk = self._probe[probe_at : probe_at + CHUNK_BYTES]
                probe_at += CHUNK_BYTES
            else:
                self._probe = b""
                chunk = self._read(CHUNK_BYTES)
        if rest and not skipping:
            parser.parse_last(line_number, rest)
        yield True

    def _object_steps(self, parser: BlfParser) -> Iterator[bool]:
        """The same for a binary file, a container at a time."""
        self._probe = b""
        more = True
        while more:
            try:
                more = parser.read_object(self._file)
                self.bytes_done = self._file.tell()
            except OSError as error:
                raise SourceUnavailable(self.path, f"reading failed: {error.strerror}") from error
            if len(self.sink.frames) > 0 or not more:
                yield not more
