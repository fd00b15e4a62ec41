"""A real MicroPython with the heap of a small board, for tests of what runs on both interpreters."""

import os
import platform
import subprocess
from pathlib import Path

import pytest

from hil.interpreter import HOW_TO_GET_IT, find_micropython

ROOT = Path(__file__).resolve().parent.parent
HEAP_SIZE = "128k"
"""What a device gives our code.  Pointers here take twice the room they take on a board."""


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
