"""Values out of CAN frames, by DBC files.

Runs on CPython with the extra `dbc` (cantools).  Frames are stored raw; this is for whoever looks.
Files that load strictly are loaded strictly; of others as much as makes sense, and `tolerated`
says what was not taken as written.  Frames too short for their message are counted and named in
`failures`, and decode to None, as those of unknown ids do: their bytes are all there is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.sensors.dbc_plan import Plan, Value, is_sound, last_byte, plan_message
from gateway.sensors.dbc_repair import drop_statement, repair
from gateway.sensors.source import BadDbc, MissingExtra
from obd.can_frame import ERROR, EXTENDED, REMOTE, CanFrame

FILE_BYTES_MAX = 64 << 20
_DROPS_MAX = 50
"""Statements beyond understanding in one file, before it is no DBC file at all."""
_KEY_EXTENDED = 1 << 29


@dataclass(slots=True)
class Failure:
    """Frames of one id that could not be decoded."""

    reason: str
    """Of the first of them."""
    count: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one id."""

    name: str
    plans: tuple[Plan, ...]
    """Longest first; one is for frames of at least its size."""
    units: dict[str, str]


class DbcDecoder:
    """Decodes frames; made by `load`."""

    def __init__(self) -> None:
        self.tolerated: list[str] = []
        """What was not taken as the files have it, each with file and line or message."""
        self.failures: dict[tuple[int, bool], Failure] = {}
        """By id and whether it is extended."""
        self._entries: dict[int, _Entry] = {}

    @classmethod
    def load(cls, paths: Iterable[str | Path]) -> DbcDecoder:
        """Loads all files; of two messages with the same id the first counts.

        Raises MissingExtra, or BadDbc when a file cannot be read or is no DBC file."""
        decoder = cls()
        for path in paths:
            decoder._load_file(Path(path))
        return decoder

    def decode(self, frame: CanFrame) -> dict[str, Value] | None:
        """Values by signal name, choices as text; None when the id is unknown or the frame too short."""
        arbitration_id, flags, data = frame
        entry = self._entries.get(arbitration_id + _KEY_EXTENDED if flags & EXTENDED else arbitration_id)
        if entry is None or flags & (REMOTE | ERROR):
            return None
        size = len(data)
        for plan in entry.plans:
            if size >= plan.size:
                return plan.decode(data)
        self._fail(frame, f"{entry.name} needs {entry.plans[-1].size} bytes, the frame has {size}")
        return None

    def name(self, frame: CanFrame) -> str | None:
        """Name of the frame's message."""
        entry = self._entries.get(_key(frame.arbitration_id, frame.is_extended))
        return None if entry is None else entry.name

    def units(self, frame_id: int, is_extended: bool | None = None) -> dict[str, str]:
        """Units by signal name, empty where there is none; is_extended None: whichever is known."""
        keys = (
            [_key(frame_id, is_extended)] if is_extended is not None else [frame_id, frame_id + _KEY_EXTENDED]
        )
        for key in keys:
            if key in self._entries:
                return dict(self._entries[key].units)
        return {}

    @property
    def message_count(self) -> int:
        """Ids that can be decoded."""
        return len(self._entries)

    def _fail(self, frame: CanFrame, reason: str) -> None:
        failure = self.failures.setdefault((frame.arbitration_id, frame.is_extended), Failure(reason, 0))
        failure.count += 1

    def _load_file(self, path: Path) -> None:
        for message in self._read(path):
            key = _key(message.frame_id, message.is_extended_frame)
            if key in self._entries:
                self._tolerate(
                    path, f"message {message.name} has the id of {self._entries[key].name}; left out"
                )
                continue
            needed = max((last_byte(signal) for signal in message.signals), default=0)
            if needed > message.length:
                self._tolerate(
                    path,
                    f"message {message.name} has {message.length} bytes, its signals need {needed}; "
                    "they are decoded where the frame has them",
                )
            for signal in message.signals:
                if not is_sound(signal):
                    note = (
                        f"signal {signal.name} of {message.name} is a float of {signal.length} bits; left out"
                    )
                    self._tolerate(path, note)
            for first, second in _overlaps(message):
                self._tolerate(
                    path, f"signals {first} and {second} of message {message.name} overlap; both decoded"
                )
            sizes = sorted({message.length, max(needed, message.length)}, reverse=True)
            plans = tuple(plan_message(message, size) for size in sizes)
            units = {signal.name: signal.unit or "" for signal in message.signals}
            self._entries[key] = _Entry(message.name, plans, units)

    def _read(self, path: Path) -> list[Any]:
        """The messages of a file, as cantools has them."""
        try:
            import cantools
        except ImportError as error:
            raise MissingExtra("cantools", "dbc") from error
        text, notes = repair(_read_text(path))
        for note in notes:
            self._tolerate(path, note)
        fault: Exception | None = None
        for _ in range(_DROPS_MAX):
            for is_strict in (True, False):
                database = cantools.database.can.Database(strict=is_strict)
                try:
                    with warnings.catch_warnings(action="ignore"):
                        database.add_dbc_string(text)
                except Exception as error:
                    # On garbage cantools raises nearly everything; whatever it is, the file is at fault.
                    fault = error
                    continue
                return list(database.messages)
            dropped = drop_statement(text, _line_of(fault))
            if dropped is None:
                break
            text, shown = dropped
            self._tolerate(path, f"line {_line_of(fault)}: not understood: {shown!r}; left out")
        raise BadDbc(str(path), f"this is no DBC file: {fault}")

    def _tolerate(self, path: Path, note: str) -> None:
        self.tolerated.append(f"{path.name}: {note}")


def _key(frame_id: int, is_extended: bool) -> int:
    return frame_id + _KEY_EXTENDED if is_extended else frame_id


def _line_of(error: Exception | None) -> int:
    """The line an error of cantools' parser points at, or 0."""
    text, offset = getattr(error, "text", None), getattr(error, "offset", None)
    if isinstance(text, str) and isinstance(offset, int):
        return text.count("\n", 0, offset) + 1
    return 0


def _read_text(path: Path) -> str:
    """UTF-8 where it is valid, else the code page that Vector's editor writes.  Raises BadDbc."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise BadDbc(str(path), getattr(error, "strerror", None) or str(error)) from error
    if len(data) > FILE_BYTES_MAX:
        raise BadDbc(str(path), f"more than {FILE_BYTES_MAX >> 20} MiB; is this a DBC file?")
    if not data.strip():
        raise BadDbc(str(path), "the file is empty")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _overlaps(message: Any) -> list[tuple[str, str]]:
    """Pairs of signals that share bits; those of different branches of a multiplexer may."""
    found: list[tuple[str, str]] = []
    seen: list[tuple[Any, set[int]]] = []
    for signal in message.signals:
        bits = _bits(signal)
        for other, other_bits in seen:
            if bits & other_bits and not _exclude(signal, other):
                found.append((other.name, signal.name))
        seen.append((signal, bits))
    return found


def _exclude(one: Any, other: Any) -> bool:
    """The two are never in the same frame."""
    return (
        one.multiplexer_signal is not None
        and one.multiplexer_signal == other.multiplexer_signal
        and not set(one.multiplexer_ids or ()) & set(other.multiplexer_ids or ())
    )


def _bits(signal: Any) -> set[int]:
    """Bits the signal takes, counted as a DBC file counts."""
    if signal.byte_order == "little_endian":
        return set(range(signal.start, signal.start + signal.length))
    bits: set[int] = set()
    place = signal.start
    for _ in range(signal.length):
        bits.add(place)
        place = place + 15 if place % 8 == 0 else place - 1
    return bits
