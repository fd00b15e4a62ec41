"""Simulated boards: processes of a real MicroPython, one air, one world, and maybe a clock that skips hours.

Runs on CPython; needs bumble and bleak.  All of it lives in the loop that opened it and ends with it.
"""

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from devices import firmware_build
from hil import world as worlds
from hil.air import Air
from hil.air_link import Conditions
from hil.bleak_backend import Adapter
from hil.board_process import HEAP_KIB, BoardProcess
from hil.clock import FakeClock
from hil.device import Board, Central, Console, Files, Power, Radio, World
from hil.errors import RigError


@functools.cache
def _firmware(role: str) -> dict[str, bytes]:
    """The flash of a fresh board of this role; compiled once, for ten boards have the same."""
    with tempfile.TemporaryDirectory(prefix="cpc-firmware-") as folder:
        return firmware_build.install(Path(folder), role)


class FolderFiles:
    """Implements Files on the folder that is a simulated board's flash."""

    def __init__(self, flash: Path) -> None:
        self._flash = flash

    async def read(self, path: str) -> bytes:
        """As `Files`."""
        return self._at(path).read_bytes()

    async def write(self, path: str, data: bytes) -> None:
        """As `Files`."""
        at = self._at(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(data)

    async def remove(self, path: str) -> None:
        """As `Files`."""
        self._at(path).unlink()

    def _at(self, path: str) -> Path:
        return self._flash / path.lstrip("/")


class VirtualRadio:
    """Implements Radio: an address that was drawn from the board's name."""

    def __init__(self, name: str) -> None:
        digest = bytearray(hashlib.sha256(b"radio " + name.encode()).digest()[:6])
        digest[0] |= 0xC0  # A static random address.  Source: Bluetooth Core 5.4, volume 6, part B, 1.3.2.1.
        self.address = ":".join(f"{byte:02X}" for byte in digest)


class VirtualWorld:
    """Implements World."""

    def __init__(self, world: worlds.World, name: str) -> None:
        self._world = world
        self._name = name

    async def do(self, what: str, *values: int) -> None:
        """As `World`.  Raises WorldError for what there is not."""
        self._world.do(self._name, what, *map(str, values))


class VirtualRig:
    """`async with VirtualRig(folder) as rig:`; see hil/rig.py for what it can do."""

    def __init__(
        self,
        folder: Path,
        *,
        conditions: Conditions | None = None,
        is_clock_fake: bool = False,
        heap_kib: int = HEAP_KIB,
        seed: int = 0,
        air_port: int = 0,
    ) -> None:
        """folder: for flash of boards; what is there already stays, so a board can be found again.

        air_port: where others find the air; 0 takes a free one.
        """
        self.air = Air(conditions, seed=seed, port=air_port)
        self.world = worlds.World()
        self.clock = FakeClock() if is_clock_fake else None
        self.processes: dict[str, BoardProcess] = {}
        """Of all boards, by name."""
        self._folder = folder
        self._heap_kib = heap_kib
        self._boards: dict[str, Board] = {}
        self._centrals: dict[str, Adapter] = {}
        self._world_address = ""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "VirtualRig":
        await self._stack.enter_async_context(self.air)
        self._world_address = await self._stack.enter_async_context(worlds.served(self.world))
        if self.clock is not None:
            await self._stack.enter_async_context(self.clock)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for process in self.processes.values():
                await process.off()
        finally:
            await self._stack.aclose()

    @property
    def made(self) -> list[Board]:
        """All boards that somebody asked for."""
        return list(self._boards.values())

    def failure(self) -> RigError | None:
        """What has befallen a board that nobody asked for; None: all do what they should."""
        failures = (process.console.failure() for process in self.processes.values())
        return next((failure for failure in failures if failure is not None), None)

    def board(
        self,
        name: str,
        role: str = "",
        *,
        files: Mapping[str, str | bytes] | None = None,
        install: Callable[[Path], object] | None = None,
        chip: str = "",
    ) -> Board:
        """A board without power, its flash filled with the firmware of its role.

        files: path -> content, on top of that; without a role they are all there is.  install: fills flash
        in another way.  What was in flash already stays when neither says otherwise.  chip: the seed of its
        silicon, as `cpc enroll --simulate` takes it; the board's name without one.
        """
        if name in self._boards:
            return self._boards[name]
        flash = self._folder / name / "flash"
        if not flash.exists():
            flash.mkdir(parents=True)
            if install is not None:
                install(flash)
            elif role:
                firmware_build.write_tree(flash, _firmware(role))
        for path, content in (files or {}).items():
            (flash / path).parent.mkdir(parents=True, exist_ok=True)
            (flash / path).write_bytes(content.encode() if isinstance(content, str) else content)
        radio = VirtualRadio(name)
        environment = {
            "HIL_AIR": self.air.address,
            "HIL_ADDRESS": radio.address,
            "HIL_WORLD": self._world_address,
            "HIL_CHIP": chip or name,
        }
        process = BoardProcess(
            name, flash, self._folder / name / "state", environment, self.clock, self._heap_kib
        )
        board = Board(name, role, how_to_add="this rig is simulated and should have all of it")
        board.parts |= {Power: process, Console: process.console, Radio: radio, Files: FolderFiles(flash)}
        # Boards of tests that are nothing but a program have nothing around them.
        if role:
            self.world.board(name, role)
            board.parts[World] = VirtualWorld(self.world, name)
        self.processes[name] = process
        self._boards[name] = board
        return board

    async def boards(self, role: str, count: int = 1) -> list[Board]:
        """So many boards with the firmware of a role, without power."""
        return [self.board(f"{role}{number}", role) for number in range(1, count + 1)]

    async def central(self, name: str = "gateway") -> Central:
        """A radio of its own for whoever is called so."""
        if name not in self._centrals:
            adapter = Adapter(self.air.address)
            self._centrals[name] = await self._stack.enter_async_context(adapter)
        adapter = self._centrals[name]
        return Central(name, {"backend": adapter.scanner}, {"backend": adapter.client})
