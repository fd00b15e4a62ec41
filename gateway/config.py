"""The configuration of a gateway: one TOML file in, one checked value out.

Runs on CPython.  `load` reads the file, `parse` the text.  Both give a GatewayConfig or raise one
ConfigError that holds every problem of the file, each with its line and with what to write instead:

    gateway.toml:12: stream "can0": block_ms = "1s" is not a whole number of milliseconds; write 1000

Every quantity is a whole number in the unit that its key ends in.  Paths are relative to the folder of
the file; the `.._path` properties give them absolute.  `gateway.config_template` writes such a file.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import config_values as values
from gateway.config_lines import KeyPath, Position, key_positions
from gateway.config_sections import (
    SECTIONS,
    STREAM_KEYS,
    ChainSection,
    GatewaySection,
    SpoolSection,
    StoreSection,
    StreamConfig,
)
from gateway.config_units import UNIT_NAMES, same_in_another_unit, unit_of, whole_number
from gateway.config_uplink import RemoteSection, UplinkSection, absolute_files, contradictions
from gateway.crypto.slot import SLOT_MS_MIN
from gateway.errors import GatewayError
from gateway.sensors.schemes import overruns, resolved
from gateway.sensors.source import BLOCK

__all__ = [
    "AUDIT_SOURCE",
    "ChainSection",
    "ConfigError",
    "GatewayConfig",
    "GatewaySection",
    "Problem",
    "SpoolSection",
    "StoreSection",
    "StreamConfig",
    "UnknownStream",
    "load",
    "parse",
]

AUDIT_SOURCE = "audit:commands"
"""The source of the stream that tells of remote commands; see gateway.audit."""

SIZE_MAX = 1 << 20
"""Bytes of a configuration file; a larger file is something else."""

PROBLEMS_SHOWN_MAX = 20
"""Problems that the text of an error shows; all are in the error."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything a gateway is told."""

    file: Path
    """The file it was read from, absolute."""
    streams: tuple[StreamConfig, ...]
    """At least one; names differ."""
    gateway: GatewaySection = field(default_factory=GatewaySection)
    """Section [gateway]."""
    spool: SpoolSection = field(default_factory=SpoolSection)
    """Section [spool]."""
    store: StoreSection = field(default_factory=StoreSection)
    """Section [store]."""
    chain: ChainSection = field(default_factory=ChainSection)
    """Section [chain]."""
    uplink: UplinkSection = field(default_factory=UplinkSection)
    """Section [uplink]."""
    remote: RemoteSection = field(default_factory=RemoteSection)
    """Section [remote]."""

    @property
    def key_path(self) -> Path:
        """The key file, absolute."""
        return self.file.parent / self.gateway.key_file

    @property
    def spool_path(self) -> Path:
        """The spool's folder, absolute."""
        return self.file.parent / self.spool.path

    @property
    def store_path(self) -> Path:
        """The store's folder, absolute."""
        return self.file.parent / self.store.path

    @property
    def genesis_path(self) -> Path:
        """The genesis file, absolute."""
        return self.file.parent / self.chain.genesis

    @property
    def uplink_files(self) -> UplinkSection:
        """Section [uplink], its files absolute."""
        return absolute_files(self.uplink, self.file.parent)

    def uplink_policy(self, stream: StreamConfig) -> str:
        """What becomes of the stream when its part of the outbox is full, or `off`."""
        return stream.uplink or self.uplink.policy

    def dbc_paths(self, stream: StreamConfig) -> tuple[Path, ...]:
        """The stream's DBC files, absolute."""
        return tuple(self.file.parent / name for name in stream.dbc)

    def source_url(self, stream: StreamConfig) -> str:
        """The string to open: the stream's, with every file that it names absolute."""
        return resolved(stream.source, self.file.parent)

    def stream(self, name: str) -> StreamConfig:
        """The stream of that name.  Raises UnknownStream."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise UnknownStream(name, tuple(stream.name for stream in self.streams))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration file."""

    line: int
    """From 1; for a missing key the line of its table."""
    column: int | None
    """From 1, where the key or the fault begins; None when only the line is known."""
    path: Path
    """The file, as it was named."""
    key: str
    """The key or table, such as `block_ms`; empty when the file as a whole is meant."""
    problem: str
    """What is wrong."""
    hint: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}; {self.hint}"


class ConfigError(GatewayError):
    """The configuration cannot be used; `problems` holds all that is wrong, in the order of lines."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        lines = [str(problem) for problem in problems[:PROBLEMS_SHOWN_MAX]]
        if len(problems) > PROBLEMS_SHOWN_MAX:
            lines.append(f"and {len(problems) - PROBLEMS_SHOWN_MAX} more")
        super().__init__("\n".join(lines))
        self.problems = problems


class UnknownStream(GatewayError):
    """No stream has that name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no stream is called {name[:40]!r}; there are: {', '.join(known)}")
        self.name = name
        self.known = known


def load(path: Path | str) -> GatewayConfig:
    """The configuration in the file at `path`.  Raises ConfigError with all that is wrong in it."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        raise _whole_file(path, 1, "there is no such file", "cpc init writes one") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _whole_file(path, 1, f"cannot be read: {reason}", "check the path and its rights") from None
    if len(data) > SIZE_MAX:
        raise _whole_file(path, 1, "is larger than 1 MiB", "name a configuration file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise _whole_file(path, line, problem, "save the file as UTF-8") from None
    return parse(text, path)


def parse(text: str, path: Path) -> GatewayConfig:
    """The configuration that `text` says; `path` is what errors call it and where its paths start."""
    try:
        data = tomllib.loads(text)
        positions = key_positions(text)
    except ValueError as error:
        raise _syntax_error(text, path, error) from None
    except RecursionError:
        raise _whole_file(path, 1, "is nested too deeply", "write values without nesting") from None
    return _Reader(path, positions).config(data)


def _whole_file(path: Path, line: int, problem: str, hint: str) -> ConfigError:
    return ConfigError((Problem(line, None, path, "", problem, hint),))


def _syntax_error(text: str, path: Path, error: ValueError) -> ConfigError:
    what, _, where = str(error).partition(" (at ")
    numbers = [int(digits) for digits in re.findall(r"\d{1,9}", where)]
    line, column = numbers if len(numbers) == 2 else (text.rstrip("\r\n").count("\n") + 1, None)
    if text.startswith("\ufeff"):
        return _whole_file(path, 1, "begins with a byte order mark", "save the file as UTF-8 without one")
    hint = (
        "each key and each [table] may stand there once; lists of streams are written [[stream]]"
        if what.startswith("Cannot")
        else 'write key = value, texts in "quotes"'
    )
    problem = what[:1].lower() + what[1:200] + (f" at column {column}" if column else "")
    return ConfigError((Problem(line, column, path, "", problem, hint),))


class _Reader:
    """Goes through the tables once and keeps every problem instead of stopping at the first."""

    def __init__(self, path: Path, positions: Mapping[KeyPath, Position]) -> None:
        self._path = path
        self._positions = positions
        self._problems: list[Problem] = []

    def config(self, data: dict[str, Any]) -> GatewayConfig:
        sections: dict[str, Any] = {}
        for key, value in data.items():
            if key in SECTIONS:
                sections[key] = self._section(key, value)
            elif key != "stream":
                self._unknown_table(key, value)
        streams = self._streams(data.get("stream", []))
        for section, key, problem, hint in contradictions(
            sections.get("uplink") or UplinkSection(),
            sections.get("remote") or RemoteSection(),
            [stream.get("name") for stream in streams],
        ):
            self._add((section, key), key, f"[{section}] {problem}", hint)
        if self._problems:
            raise ConfigError(tuple(sorted(self._problems, key=lambda problem: problem.line)))
        file = Path(self._path).absolute()
        made = [StreamConfig(**stream) for stream in streams]
        remote: RemoteSection | None = sections.get("remote")
        if remote is not None and remote.is_on:
            made.append(StreamConfig(remote.audit_stream, AUDIT_SOURCE))
        return GatewayConfig(file=file, streams=tuple(made), **sections)

    def _section(self, section: str, table: Any) -> Any:
        kind, checkers = SECTIONS[section]
        if not isinstance(table, dict):
            hint = f"write [{section}] on a line of its own, and its keys below"
            self._add((section,), section, f"{section} = {values.shown(table)} is not a table", hint)
            return None
        kept = self._table((section,), f"[{section}] ", table, checkers)
        return kind(**kept)

    def _streams(self, tables: Any) -> list[dict[str, Any]]:
        if isinstance(tables, dict):
            hint = "write [[stream]] in double brackets, once for each stream"
            self._add(("stream",), "stream", "[stream] is one table where a list of streams belongs", hint)
            tables = []
        elif not isinstance(tables, list) or not tables:
            hint = 'write [[stream]], and below it name = "can0" and source = "can:can0"'
            self._add(("stream",), "stream", "there is no stream", hint)
            tables = []
        first_line: dict[str, int] = {}
        streams = []
        for index, table in enumerate(tables):
            at: KeyPath = ("stream", index)
            if not isinstance(table, dict):
                self._add(
                    at, "stream", f"stream {index + 1} is not a table", "write [[stream]] and its keys below"
                )
                continue
            who = f"stream {values.shown(table['name'])}: " if "name" in table else f"stream {index + 1}: "
            kept = self._table(at, who, table, STREAM_KEYS)
            for key, example in (("name", '"can0"'), ("source", '"can:can0"')):
                if key not in table:
                    self._add(at, key, f"{who}{key} is missing", f"write {key} = {example}")
            if name := kept.get("name"):
                if name in first_line:
                    problem = f"{who}line {first_line[name]} has a stream of that name"
                    self._add((*at, "name"), "name", problem, "give each stream its own")
                first_line.setdefault(name, self._where((*at, "name"))[0])
            self._check_overrun(at, who, kept)
            # A period that was refused is not a period to reckon with.
            if all(key in kept for key in ("block_ms", "segment_blocks") if key in table):
                self._check_slot(at, who, kept)
            streams.append(kept)
        return streams

    def _check_overrun(self, at: KeyPath, who: str, kept: dict[str, Any]) -> None:
        overrun = kept.get("overrun")
        if not overrun or "source" not in kept or overrun in (allowed := overruns(kept["source"])):
            return
        if allowed == (BLOCK,):
            why, hint = "its source waits, and loses nothing", "leave it out"
        else:
            why = "its source does not wait, so something must go when storing is slower"
            hint = "write " + " or ".join(f'"{each}"' for each in allowed)
        self._add((*at, "overrun"), "overrun", f'{who}overrun = "{overrun}", but {why}', hint)

    def _check_slot(self, at: KeyPath, who: str, kept: dict[str, Any]) -> None:
        given = {key: kept[key] for key in ("block_ms", "segment_blocks") if key in kept}
        periods = StreamConfig(name="", source="", **given)
        block_ms, segment_blocks = periods.block_ms, periods.segment_blocks
        if block_ms * segment_blocks >= SLOT_MS_MIN:
            return
        key = "segment_blocks" if "segment_blocks" in kept else "block_ms"
        problem = (
            f"{who}block_ms = {block_ms} and segment_blocks = {segment_blocks} give a key every "
            f"{block_ms * segment_blocks} ms, and a stream's 2^30 keys, counted from 2010, would be "
            "used up too soon"
        )
        hint = f"write segment_blocks = {-(-SLOT_MS_MIN // block_ms)} or more ({SLOT_MS_MIN} ms)"
        self._add((*at, key), key, problem, hint)

    def _table(
        self, at: KeyPath, who: str, table: dict[str, Any], checkers: dict[str, values.Checker]
    ) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in table.items():
            if key not in checkers:
                self._add(
                    (*at, key),
                    key,
                    f"{who}{values.key_shown(key)} is not known",
                    _meant(key, value, at, checkers),
                )
                continue
            try:
                kept[key] = checkers[key](value, key)
            except values.Refused as refused:
                self._add(
                    (*at, key), key, f"{who}{key} = {values.shown(value)} {refused.problem}", refused.hint
                )
        return kept

    def _unknown_table(self, key: str, value: Any) -> None:
        known = [*SECTIONS, "stream"]
        homes = [section for section, (_, checkers) in SECTIONS.items() if key in checkers]
        if homes and not isinstance(value, dict | list):
            hint = f"it belongs below [{homes[0]}]"
        elif near := difflib.get_close_matches(key[:64], known, n=1):
            hint = "do you mean " + ("[[stream]]" if near[0] == "stream" else f"[{near[0]}]") + "?"
        else:
            hint = "there are " + ", ".join(f"[{section}]" for section in SECTIONS) + " and [[stream]]"
        self._add((key,), key, f"{values.key_shown(key)} is not known", hint)

    def _add(self, at: KeyPath, key: str, problem: str, hint: str) -> None:
        line, column = self._where(at)
        self._problems.append(Problem(line, column, self._path, key, problem, hint))

    def _where(self, at: KeyPath) -> Position:
        while at and at not in self._positions:
            at = at[:-1]
        return self._positions.get(at, (1, 1))


def _meant(key: str, value: object, at: KeyPath, checkers: dict[str, values.Checker]) -> str:
    """What whoever wrote the unknown `key` may have had in mind."""
    if found := same_in_another_unit(key, list(checkers)):
        right, said_in = found
        unit = unit_of(right) or ""
        amount = whole_number(value, unit, said_in)
        return f"say it in {UNIT_NAMES[unit]}: {right}" + (f" = {amount}" if amount is not None else "")
    if near := difflib.get_close_matches(key[:64], list(checkers), n=1):
        return f"do you mean {near[0]}?"
    homes = [section for section, (_, keys) in SECTIONS.items() if key in keys and section != at[0]]
    if homes or (key in STREAM_KEYS and at[0] != "stream"):
        return "it belongs below " + (f"[{homes[0]}]" if homes else "[[stream]]")
    return "known are " + ", ".join(checkers)
