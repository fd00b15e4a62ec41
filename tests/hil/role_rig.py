"""Boards that run one role alone, with the real hal, in a world and on a clock that skips."""

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from devices.firmware_build import compile_text, read_roles, sources, write_tree
from hil.clock import FakeClock
from hil.world import BOARDS, BoardWorld, World, served
from tests.micropython import HEAP_SIZE, ROOT, need_micropython

SCRIPT = Path(__file__).with_name("role_board.py")


@functools.cache
def compiled(role: str) -> dict[str, bytes]:
    """What a slot of this role holds, compiled whole: a role is used here without its main."""
    files = {}
    for path in sources(read_roles().roles[role]):
        if path.endswith(".py"):
            files[path.replace(".py", ".mpy")] = compile_text(
                (ROOT / path).read_text(), path.rpartition("/")[2]
            )
    return files


class RoleBoard:
    """One board; `world`: what is around it; `lines`: what it has said."""

    def __init__(
        self,
        world: BoardWorld,
        clock: FakeClock,
        folder: Path,
        address: str,
        settings: dict[str, int],
        board: dict[str, Any],
    ) -> None:
        self.world = world
        self.lines: list[str] = []
        self._clock = clock
        self._folder = folder
        self._address = address
        self._settings = settings
        self._board = board
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def on(self) -> None:
        """Power comes; returns when the role runs."""
        if not self._folder.exists():
            write_tree(self._folder / "a", compiled(self.world.role))
            (self._folder / "board.json").write_text(json.dumps(self._board))
            (self._folder / "settings.json").write_text(json.dumps(self._settings))
        name = self.world.name
        self._clock.enter(name)
        environment = {
            **os.environ,
            "MICROPYPATH": f"{ROOT / 'hil' / 'micropython'}:a:.frozen",
            "HIL_BOARD": name,
            "HIL_WORLD": self._address,
            "HIL_CAUSE": "power_on",
            "HIL_STATE": str(self._folder),
            "HIL_CLOCK": "fake",
            "HIL_CLOCK_AT": self._clock.address,
            "HIL_NOW_MS": str(self._clock.now_ms),
            "HIL_BEGAN_MS": str(self._clock.began_ms),
        }
        self._process = await asyncio.create_subprocess_exec(
            *(*need_micropython(), "-X", f"heapsize={HEAP_SIZE}", str(SCRIPT)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._folder,
            env=environment,
        )
        self._reading = asyncio.create_task(self._read())
        await self.said("ready")

    async def off(self) -> None:
        """Power goes, wherever it is."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            assert self._reading is not None
            await self._reading
            self._process = None
            self._clock.leave(self.world.name)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.lines.append(line.decode().rstrip())

    async def said(self, what: str, since: int = 0) -> str:
        """The first line from `since` on that has `what` in it, once it is there."""
        async with asyncio.timeout(200):
            while True:
                for line in self.lines[since:]:
                    if what in line:
                        return line
                assert self._reading is not None
                assert not self._reading.done(), "\n".join(self.lines)
                await asyncio.sleep(0.01)

    async def pass_ms(self, duration_ms: int) -> None:
        """So much time passes for all."""
        await self._clock.skip(duration_ms)

    async def act(self, action: int, holder: str) -> int:
        """Has the role do something; its reason."""
        since = len(self.lines)
        (self._folder / "orders").write_text(f"{action} {holder}")
        await self.pass_ms(600)
        return int((await self.said(f"act {action} {holder}", since)).split()[-1])

    async def overtake(self) -> None:
        """Has the role's timer come in between a look at the clock and the role's tick."""
        since = len(self.lines)
        (self._folder / "overtake").write_text("")
        await self.pass_ms(600)
        await self.said("overtaken", since)

    async def status(self) -> dict[str, Any]:
        """What the role says of itself."""
        since = len(self.lines)
        (self._folder / "status").write_text("")
        await self.pass_ms(600)
        found: dict[str, Any] = json.loads((await self.said("status", since)).removeprefix("status "))
        return found

    def near(self, is_near: bool) -> None:
        """A paired vehicle is connected, or not."""
        path = self._folder / "near"
        if is_near:
            path.write_text("")
        else:
            path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def role_board(
    name: str, folder: Path, board_name: str = "simulated", **settings: int
) -> AsyncIterator[RoleBoard]:
    """A board that has power, with these settings and the pins of that board."""
    data = json.loads((BOARDS / f"{board_name}.json").read_text())
    world = World(data)
    async with FakeClock() as clock, served(world) as address:
        board = RoleBoard(world.board(name), clock, folder / name, address, settings, data)
        await board.on()
        try:
            yield board
        finally:
            await board.off()
