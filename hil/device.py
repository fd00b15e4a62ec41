"""What a test may ask of a board: power, a console, a radio, files, a world; never a brand of relay.

Runs on CPython.  Each is a protocol, with one implementation for a simulated board (hil/virtual.py) and one
for a board on a USB port (hil/serial_board.py).  What is not there raises LacksError, which skips a test.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from hil.console import TIMEOUT_MS
from hil.errors import LacksError


class Power(Protocol):
    """The plug."""

    async def on(self) -> None:
        """Power comes; the board starts, unless it had power already."""

    async def off(self) -> None:
        """Power goes, in the middle of whatever the board does.  What was not in flash is lost."""

    async def reset(self) -> None:
        """The reset button: the program ends anywhere, but memory keeps its power."""


class Console(Protocol):
    """What a board prints, and what it can be told by typing."""

    @property
    def text(self) -> str:
        """All that is kept of what it said."""

    def write(self, text: str) -> None:
        """Types this."""

    async def expect(self, pattern: str, timeout_ms: int = TIMEOUT_MS) -> "re.Match[str]":
        """The first match in what was said after the last match, or will be.  Raises ConsoleTimeout."""

    def tail(self, line_count: int = 40) -> str:
        """The last lines."""


class Radio(Protocol):
    """How others find the board in the air."""

    @property
    def address(self) -> str:
        """C0:FF:EE:..; what a scanner of this rig sees."""


@dataclass(frozen=True, slots=True)
class Central:
    """A radio of a gateway or a phone: what bleak takes to use this one."""

    name: str
    scanner: "dict[str, Any]"
    """For BleakScanner(**..)."""
    client: "dict[str, Any]"
    """For BleakClient(device, **..)."""
    adapter: str = "hci0"
    """For whoever names it so."""


class World(Protocol):
    """What happens around a board."""

    async def do(self, what: str, *values: int) -> None:
        """Makes it happen: car_arrives, car_leaves, plug, unplug ..; hil/world.py has all, with their values.

        Raises LacksError when this bench cannot.
        """


class Files(Protocol):
    """The board's flash, as files.  A path begins with a slash."""

    async def read(self, path: str) -> bytes:
        """All of a file.  Raises FileNotFoundError."""

    async def write(self, path: str, data: bytes) -> None:
        """Makes or replaces a file."""

    async def remove(self, path: str) -> None:
        """Raises FileNotFoundError."""


@dataclass(slots=True)
class Board:
    """One board and what this bench can do with it."""

    name: str
    role: str
    """lock, charger or sensor: what its firmware is."""
    parts: "dict[type[Any], Any]" = field(default_factory=dict)
    """Protocol -> what implements it here."""
    how_to_add: str = ""
    """For a person who would like this board to have more."""

    def get(self, protocol: "type[Any]") -> Any:
        """What implements `protocol` for this board; typed by the properties below.  Raises LacksError."""
        part = self.parts.get(protocol)
        if part is None:
            raise LacksError(f"board {self.name}", protocol.__name__.lower(), self.how_to_add)
        return part

    @property
    def power(self) -> Power:
        """Raises LacksError, as all of these."""
        part: Power = self.get(Power)
        return part

    @property
    def console(self) -> Console:
        """What it prints."""
        part: Console = self.get(Console)
        return part

    @property
    def radio(self) -> Radio:
        """Its place in the air."""
        part: Radio = self.get(Radio)
        return part

    @property
    def world(self) -> World:
        """What happens around it."""
        part: World = self.get(World)
        return part

    @property
    def files(self) -> Files:
        """Its flash."""
        part: Files = self.get(Files)
        return part
