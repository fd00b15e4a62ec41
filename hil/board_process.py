"""A simulated board: a real MicroPython in a process of its own, which can lose its power at any moment.

Runs on CPython.  The board's flash is a folder and stays; its RTC memory is a folder that power-off empties.
A process that leaves by itself has written why: `exit.json` in its state folder, by the rig's machine.py.  It
is ended by its own process id, and ends by itself when this process is gone, however that went.
"""

import asyncio
import contextlib
import functools
import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from hil.clock import FakeClock
from hil.console import RingConsole
from hil.errors import BoardEnded, BoardError, BoardRestarts, RigError
from hil.interpreter import HOW_TO_GET_IT, find_micropython

HEAP_KIB = 256
"""A board gives our code 128 KiB.  Pointers, of which most objects are made, take twice the room here."""
CPU_MAX_MS = 900_000
"""A process that has worked so long is in a loop; a day of simulated time takes a minute or few."""
RESTARTS_MAX = 20
"""In a row, with no second of rest between them."""
PROMPT = ">>> "
MODULES = Path(__file__).parent / "micropython"

POWER_ON, DEEP_SLEEP, HARD_RESET, SOFT_RESET, WATCHDOG = "power_on", "deepsleep", "hard", "soft", "wdt"
"""Why a board starts: HIL_CAUSE of its process."""


@functools.cache
def built_in_bytes() -> int:
    """What hil/micropython takes of a heap, where a board has the same in its ROM."""
    names = sorted(path.stem for path in MODULES.glob("*.py"))
    code = "import gc\ngc.collect()\nbefore = gc.mem_alloc()\n"
    code += "".join(f"import {name}\n" for name in names)
    code += "gc.collect()\nprint(gc.mem_alloc() - before)"
    done = subprocess.run(
        [*(find_micropython() or ()), "-X", "heapsize=1m", "-c", code],
        env={**os.environ, "MICROPYPATH": f"{MODULES}:.frozen"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RigError(f"the modules of a simulated board cannot be imported:\n{done.stdout}{done.stderr}")
    return int(done.stdout)


class BoardProcess:
    """Implements Power; has a console.  environment: what tells the process of its air and world."""

    def __init__(
        self,
        name: str,
        flash: Path,
        state: Path,
        environment: dict[str, str],
        clock: FakeClock | None = None,
        heap_kib: int = HEAP_KIB,
    ) -> None:
        """heap_kib: for what is on flash; what takes the place of built-in modules comes on top."""
        self.name = name
        # The program runs in its flash, so its other paths are whole ones.
        self.flash = flash = flash.resolve()
        self.console = RingConsole(name, self._type)
        self.console.failure = self._failure
        self.starts: list[str] = []
        """Why it has started, each time since power came first."""
        self._state = state.resolve()
        self._environment = environment
        self._clock = clock
        self._heap_kib = heap_kib
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[None] | None = None
        self._error: RigError | None = None
        self._is_button = False
        self._began_at = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs, if one does."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def is_on(self) -> bool:
        """Whether it has power; it may sleep, then."""
        return self._life is not None

    async def on(self) -> None:
        """Power comes; returns when the program runs.  Raises BoardError when it cannot be started."""
        if self._life is not None:
            return
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir(parents=True)
        self.flash.mkdir(parents=True, exist_ok=True)
        self._error = None
        if self._clock is not None:
            self._clock.enter(self.name)
        runs = asyncio.Event()
        self._life = asyncio.create_task(self._live(runs), name=f"board {self.name}")
        await runs.wait()
        error = self._failure()
        if error is not None and self.pid is None:
            await self.off()
            raise error

    async def off(self) -> None:
        """Power goes, now."""
        life, self._life = self._life, None
        if life is None:
            return
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life
        if self._clock is not None:
            self._clock.leave(self.name)

    async def cycle(self) -> None:
        """Off and on."""
        await self.off()
        await self.on()

    async def reset(self) -> None:
        """The reset button; returns at once.  Raises BoardError without power."""
        if self._life is None:
            raise BoardError(f"{self.name} has no power, so its reset button does nothing; power.on() first")
        self._is_button = True
        if self.pid is not None and self._process is not None:
            self._process.kill()

    def _type(self, data: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise BoardError(f"{self.name} does not run, so nobody reads what is typed; power.on() first")
        # Who types to a prompt wants an answer from it.
        self._began_at = self.console.dropped_chars + len(self.console.text)
        # As on a board, where the UART's interrupt sees it.
        if b"\x03" in data:
            process.send_signal(signal.SIGINT)
            data = data.replace(b"\x03", b"")
        process.stdin.write(data)

    def _failure(self) -> RigError | None:
        if self._error is not None:
            return self._error
        since = self.console.text[max(0, self._began_at - self.console.dropped_chars) :]
        if since.endswith(PROMPT) and "Traceback (most recent call last)" in since:
            return BoardEnded(self.name, 1, self.console.tail())
        return None

    async def _live(self, runs: asyncio.Event) -> None:
        cause = POWER_ON
        now_ms = self._clock.now_ms if self._clock else 0
        in_a_row = 0
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                self.starts.append(cause)
                self._began_at = self.console.dropped_chars + len(self.console.text)
                try:
                    status = await self._run_once(cause, now_ms, runs)
                except (OSError, RigError) as error:
                    self._error = BoardError(f"{self.name} cannot be started: {error}")
                    return
                why = self._why(status)
                if why is None:
                    self._error = BoardEnded(self.name, status, self.console.tail())
                    return
                cause = why["kind"]
                # Who was ended from outside did not say.
                now_ms = int(why.get("now_ms", 0)) or (self._clock.now_ms if self._clock else 0)
                if cause == DEEP_SLEEP:
                    now_ms = await self._sleep(now_ms, why.get("ms"))
                    in_a_row = 0
                    continue
                in_a_row = in_a_row + 1 if loop.time() - began < 1 else 0
                if in_a_row >= RESTARTS_MAX:
                    self._error = BoardRestarts(self.name, in_a_row, self.console.tail())
                    return
        finally:
            runs.set()
            self.console.wake()
            if self._error is not None and self._clock is not None:
                self._clock.leave(self.name)

    async def _run_once(self, cause: str, now_ms: int, runs: asyncio.Event) -> int:
        """From a start to its end; the exit status.  The process is gone when this ends, however it does."""
        command = find_micropython()
        if command is None:
            raise OSError(HOW_TO_GET_IT)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HIL_")}
        environment |= self._environment
        environment |= {
            "MICROPYPATH": f"{MODULES}:{self.flash}:.frozen",
            "HIL_BOARD": self.name,
            "HIL_CAUSE": cause,
            "HIL_LEASH": "1",
            "HIL_STATE": str(self._state),
        }
        if self._clock is not None:
            environment |= {
                "HIL_CLOCK": "fake",
                "HIL_CLOCK_AT": self._clock.address,
                "HIL_NOW_MS": str(now_ms),
                "HIL_BEGAN_MS": str(self._clock.began_ms),
            }
        heap_size = (self._heap_kib << 10) + built_in_bytes()
        (self._state / "exit.json").unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *(*command, "-X", f"heapsize={heap_size}", "-c"),
            "import hil_start; hil_start.start(globals())",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.flash,
            env=environment,
        )
        self._process = process
        try:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (CPU_MAX_MS // 1_000,) * 2)
            runs.set()
            while process.stdout is not None and (data := await process.stdout.read(4096)):
                self.console.feed(data)
            return await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _why(self, status: int) -> dict[str, Any] | None:
        """What the process has left for, or None when it should not have."""
        if self._is_button:
            self._is_button = False
            return {"kind": HARD_RESET, "now_ms": self._clock.now_ms if self._clock else 0}
        try:
            found: dict[str, Any] = json.loads((self._state / "exit.json").read_text())
        except FileNotFoundError:
            return None
        return found if found.get("kind") in (DEEP_SLEEP, HARD_RESET, SOFT_RESET, WATCHDOG) else None

    async def _sleep(self, now_ms: int, duration_ms: int | None) -> int:
        """Returns when the board wakes up, by its timer; how late it is then."""
        if duration_ms is None:
            await asyncio.Event().wait()  # Only power-off ends this.
            raise AssertionError
        if self._clock is None:
            await asyncio.sleep(duration_ms / 1_000)
            return 0
        await self._clock.sleep(self.name, now_ms + duration_ms)
        return now_ms + duration_ms
