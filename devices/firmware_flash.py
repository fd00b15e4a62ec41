"""`python -m devices.firmware_flash`: copies firmware to a board that runs MicroPython, over its serial port.

Runs on CPython; mpremote does the talking.  `make flash` runs it.  The board may run anything, an older
firmware of ours with its watchdog included: a file `safe` keeps that from starting while files are copied,
and goes when all are there.  What the board keeps for itself (settings, pairing, used grants) stays.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from devices.firmware_build import ROOT, BuildError, read_roles

MICROPYTHON_MIN = (1, 27)
MPY_VERSION = 6
ATTEMPTS = 20
RETRY_MS = 500
_ASK = "import sys; i = sys.implementation; print('board', i.version[0], i.version[1], i._mpy & 255)"
_SAFE = "open('safe', 'wb').close()"
_CLEAR = """
import os
def clear(path):
    try:
        if os.stat(path)[0] & 0x4000:
            for name in os.listdir(path):
                clear(path + '/' + name)
            os.rmdir(path)
        else:
            os.remove(path)
    except OSError as error:
        if error.errno != 2:
            raise
for path in ('a', 'b', 'loader', 'notes/slots.0', 'notes/slots.1'):
    clear(path)
if 'notes' not in os.listdir():
    os.mkdir('notes')
"""
_DONE = "import os; os.remove('safe')"

Run = Callable[..., str]


def mpremote(port: str, *arguments: str) -> str:
    """What mpremote says.  Raises BuildError."""
    command = [sys.executable, "-m", "mpremote", "connect", port, "resume", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise BuildError(f"{port}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def _patiently(run: Run, port: str, *arguments: str) -> str:
    """As `run`; a board that has just been started is not there at once."""
    for attempt in range(ATTEMPTS):
        try:
            return run(port, *arguments)
        except BuildError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(RETRY_MS / 1000)
    raise AssertionError


def flash(folder: Path, port: str, provision: Path | None, run: Run = mpremote) -> None:
    """Copies the flash that lies in `folder` to the board at `port`.  Raises BuildError."""
    found = re.search(r"board (\d+) (\d+) (\d+)", run(port, "exec", _ASK))
    if found is None:
        raise BuildError(
            f"{port}: no MicroPython answers there; devices/micropython/FLASHING.md says how to begin"
        )
    *version, mpy = (int(number) for number in found.groups())
    if tuple(version) < MICROPYTHON_MIN or mpy != MPY_VERSION:
        raise BuildError(
            f"{port}: MicroPython {version[0]}.{version[1]} with bytecode {mpy} is there; "
            f"{MICROPYTHON_MIN[0]}.{MICROPYTHON_MIN[1]} or later with {MPY_VERSION} is needed"
        )
    run(port, "exec", _SAFE, "+", "reset")
    copies = [(folder / name, name) for name in ("a", "loader", "boot.py", "main.py", "notes/slots.1")]
    if provision is not None:
        copies.append((provision, "provision.cbor"))
    commands = ["exec", _CLEAR]
    for source, name in copies:
        commands += ["+", "fs", "cp", *(["-r"] if source.is_dir() else []), str(source), f":{name}"]
    _patiently(run, port, *commands, "+", "exec", _DONE, "+", "reset")


def main(arguments: list[str] | None = None) -> int:
    """Flashes one board."""
    parser = argparse.ArgumentParser(
        prog="python -m devices.firmware_flash", description="Copy firmware to a board."
    )
    parser.add_argument("--role", required=True, choices=sorted(read_roles().roles))
    parser.add_argument("--port", required=True, help="its serial port, such as /dev/ttyUSB0")
    parser.add_argument("--provision", type=Path, help="what cpc device provision wrote")
    args = parser.parse_args(arguments)
    folder = ROOT / "build" / "firmware" / args.role
    try:
        if not (folder / "boot.py").is_file():
            raise BuildError(f"there is no firmware in {folder.relative_to(ROOT)}; make firmware makes it")
        if args.provision is not None and not args.provision.is_file():
            raise BuildError(f"{args.provision} is not there; cpc device provision writes it")
        flash(folder, args.port, args.provision)
    except BuildError as error:
        print(f"flash: {error}", file=sys.stderr)
        return 1
    print(f"{args.port} is a {args.role} now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
