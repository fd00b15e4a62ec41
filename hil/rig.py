"""The rig: a test asks it for boards and radios, and does not know whether they are simulated or real.

Runs on CPython.  RIG=virtual, or nothing, gives hil/virtual.py; RIG=path of a bench's file gives the boards
that it describes (hil/bench.toml.example).  What a bench lacks raises LacksError.  HEAP_KIB is of the
simulated ones.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

from hil import bench_file
from hil.device import Board, Central, Console
from hil.errors import BenchFileError, LacksError

VIRTUAL = "virtual"


class Rig(Protocol):
    """`async with open_rig(folder) as rig`."""

    async def __aenter__(self) -> "Rig":
        """Opens it."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """All boards without power, as far as this rig can do that."""

    @property
    def made(self) -> list[Board]:
        """All boards that somebody asked for."""

    async def boards(self, role: str, count: int = 1) -> list[Board]:
        """So many boards of a role.  Raises LacksError when there are fewer."""

    async def central(self, name: str = "gateway") -> Central:
        """The radio of whoever is called so.  Raises LacksError when there is no further one."""


class BenchRig:
    """Real boards, as a file describes them."""

    def __init__(self, bench: bench_file.Bench) -> None:
        self._bench = bench
        self._made: dict[str, Board] = {}
        self._central = ""

    async def __aenter__(self) -> "BenchRig":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from hil.serial_board import SerialConsole

        for board in self._made.values():
            with contextlib.suppress(LacksError):
                await board.power.off()
            console = board.parts.get(Console)
            if isinstance(console, SerialConsole):
                console.close()

    @property
    def made(self) -> list[Board]:
        """All boards that somebody asked for."""
        return list(self._made.values())

    async def boards(self, role: str, count: int = 1) -> list[Board]:
        """As `Rig`."""
        # A bench of simulated boards only needs no pyserial.
        from hil.serial_board import SerialConsole, make_board

        found = [board for board in self._bench.boards if board.role == role]
        if len(found) < count:
            what = f"{count} boards with the role {role}" if count > 1 else f"board with the role {role}"
            raise LacksError(self._bench.path, what, f"it has {len(found)}; add [[board]]")
        for wire in found[:count]:
            if wire.name not in self._made:
                self._made[wire.name] = make_board(wire)
                console = self._made[wire.name].parts.get(Console)
                if isinstance(console, SerialConsole) and not wire.power_on:
                    await console.open()
        return [self._made[wire.name] for wire in found[:count]]

    async def central(self, name: str = "gateway") -> Central:
        """As `Rig`: one radio, so one name."""
        if self._central not in ("", name):
            raise LacksError(self._bench.path, f"second radio for {name}", "it is a single adapter")
        self._central = name
        options = {"bluez": {"adapter": self._bench.adapter}} if self._bench.adapter else {}
        return Central(name, dict(options), dict(options), self._bench.adapter or "hci0")


def open_rig(folder: Path, environment: Mapping[str, str] = os.environ) -> Rig:
    """The rig that RIG names.  folder: for what simulated boards keep.  Raises BenchFileError."""
    wanted = environment.get("RIG", "") or VIRTUAL
    if wanted == VIRTUAL:
        # bumble takes half a second to import.
        from hil.board_process import HEAP_KIB
        from hil.virtual import VirtualRig

        return VirtualRig(folder, heap_kib=int(environment.get("HEAP_KIB", "0")) or HEAP_KIB)
    try:
        text = Path(wanted).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchFileError(
            wanted, 0, "", f"cannot be read: {error}; RIG is {VIRTUAL}, or a file like hil/bench.toml.example"
        ) from None
    return BenchRig(bench_file.parse(text, wanted))
