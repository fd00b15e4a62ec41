"""Runs a script under MicroPython with the firmware's files compiled, as a board has them.

Runs on CPython.
"""

import os
import subprocess
from pathlib import Path

from devices.firmware_build import ROOT, compile_text, write_tree
from devices.firmware_modules import files_of
from tests.micropython import HEAP_SIZE, need_micropython


def run(folder: Path, mains: list[str], script: Path, *arguments: str) -> str:
    """What `script` prints in a board's heap, with `mains` and what they import compiled into `folder`."""
    files = {
        path[:-3] + ".mpy": compile_text((ROOT / path).read_text(), path.rpartition("/")[2])
        for path in files_of(ROOT, mains)
    }
    write_tree(folder, files)
    done = subprocess.run(
        [*need_micropython(), "-X", f"heapsize={HEAP_SIZE}", str(script), *arguments],
        env={**os.environ, "MICROPYPATH": f"{folder}:.frozen"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
