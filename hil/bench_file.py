"""The file that describes a bench with real boards: bench.toml.  bench.toml.example shows every field.

Runs on CPython; pure.  Each error names the line and the field.
"""

import re
import shlex
import tomllib
from dataclasses import dataclass
from typing import Any

from gateway.config_lines import KeyPath, key_positions
from hil.errors import BenchFileError

ROLES = ("lock", "charger", "sensor")
RTS = "rts"
"""As a way to reset: the RTS line of the serial port, as on boards with an ESP32 and a USB bridge."""
BAUD = 115_200
_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_ADDRESS = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}")


@dataclass(frozen=True, slots=True)
class BenchBoard:
    """One board.  A field that is empty: the bench lacks it."""

    name: str
    role: str
    serial: str = ""
    """Path of its console, by id, which stays the same when boards are plugged in another order."""
    baud: int = BAUD
    power_on: str = ""
    power_off: str = ""
    reset: str = ""
    """`rts`, or a command."""
    address: str = ""
    """Of its radio."""
    world: tuple[tuple[str, str], ...] = ()
    """(what happens, command that does it)."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a file says."""

    path: str
    boards: tuple[BenchBoard, ...]
    adapter: str = ""
    """Of the Bluetooth radio, such as hci0; empty: the system's first."""


def parse(text: str, path: str = "bench.toml") -> Bench:
    """Reads a file's text.  Raises BenchFileError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise BenchFileError(path, int(found[1]) if found else 0, "", f"is not TOML: {error}") from None
    return _Reader(path, tables, key_positions(text)).bench()


class _Reader:
    def __init__(self, path: str, tables: dict[str, Any], lines: dict[KeyPath, tuple[int, int]]) -> None:
        self._path = path
        self._tables = tables
        self._lines = lines

    def bench(self) -> Bench:
        self._known((), self._tables, ("board", "radio"))
        boards = self._tables.get("board", [])
        if not isinstance(boards, list) or not boards:
            self._wrong(("board",), "there is no board; describe at least one under [[board]]")
        radio = self._tables.get("radio", {})
        if not isinstance(radio, dict):
            self._wrong(("radio",), "is a table; write [radio] and under it adapter = ..")
        self._known(("radio",), radio, ("adapter",))
        found = tuple(self._board(("board", index), table) for index, table in enumerate(boards))
        for index, board in enumerate(found):
            if board.name in (other.name for other in found[:index]):
                self._wrong(("board", index, "name"), f"{board.name!r} is the name of another board, too")
            if board.serial and board.serial in (other.serial for other in found[:index]):
                self._wrong(("board", index, "serial"), f"{board.serial} is another board's console, too")
        return Bench(self._path, found, self._text(("radio",), radio, "adapter"))

    def _board(self, path: KeyPath, table: Any) -> BenchBoard:
        if not isinstance(table, dict):
            self._wrong(path, "is a table; write [[board]] and its fields under it")
        self._known(path, table, tuple(BenchBoard.__dataclass_fields__))
        name = self._text(path, table, "name", "a name of your choice, such as lock1")
        if not _NAME.fullmatch(name):
            self._wrong((*path, "name"), f"{name!r} is not of 1 to 32 of a-z, 0-9, - and _")
        role = self._text(path, table, "role", f"one of {', '.join(ROLES)}")
        if role not in ROLES:
            self._wrong((*path, "role"), f"{role!r} is not one of {', '.join(ROLES)}")
        baud = table.get("baud", BAUD)
        if not isinstance(baud, int) or isinstance(baud, bool) or not 300 <= baud <= 4_000_000:
            self._wrong((*path, "baud"), f"{baud!r} is no speed; a number of 300 to 4000000, 115200 for most")
        address = self._text(path, table, "address").upper()
        if address and not _ADDRESS.fullmatch(address):
            self._wrong((*path, "address"), f"{address!r} is not of the form 24:0A:C4:00:11:22")
        commands = {key: self._command(path, table, key) for key in ("power_on", "power_off")}
        if bool(commands["power_on"]) != bool(commands["power_off"]):
            missing, given = sorted(commands, key=lambda key: bool(commands[key]))
            self._wrong((*path, given), f"has no use without {missing}; give both, or neither")
        reset = self._text(path, table, "reset")
        if reset == RTS and not table.get("serial"):
            self._wrong((*path, "reset"), "`rts` is a line of the serial port; give serial, or a command")
        if reset and reset != RTS:
            self._command(path, table, "reset")
        world = table.get("world", {})
        if not isinstance(world, dict):
            self._wrong((*path, "world"), "is a table of commands; write [board.world]")
        return BenchBoard(
            name,
            role,
            self._text(path, table, "serial"),
            baud,
            commands["power_on"],
            commands["power_off"],
            reset,
            address,
            tuple((key, self._command((*path, "world"), world, key)) for key in world),
        )

    def _text(self, path: KeyPath, table: dict[str, Any], key: str, needed: str = "") -> str:
        value = table.get(key)
        if value is None and not needed:
            return ""
        if not isinstance(value, str) or not value.strip():
            what = "is missing" if value is None else f"{value!r} is no text"
            self._wrong((*path, key), f"{what}; give {needed or 'text in quotes'}")
        return str(value)

    def _command(self, path: KeyPath, table: dict[str, Any], key: str) -> str:
        command = self._text(path, table, key)
        try:
            shlex.split(command)
        except ValueError as error:
            self._wrong((*path, key), f"is no command: {error}")
        return command

    def _known(self, path: KeyPath, table: dict[str, Any], names: tuple[str, ...]) -> None:
        for key in table:
            if key not in names:
                self._wrong((*path, key), f"is not known here; there are {', '.join(names)}")

    def _wrong(self, path: KeyPath, problem: str) -> None:
        at = path
        while at and at not in self._lines:
            at = at[:-1]
        line = self._lines[at][0] if at else 0
        raise BenchFileError(self._path, line, str(path[-1]) if path else "", problem)
