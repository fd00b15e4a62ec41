"""Measures python-OBD; and, as `python -m tests.bench.obd_peer`, makes the environment that it lives in.

Runs on CPython.  `obd_query.py` runs this file by path in that environment, isolated, where `obd` is
python-OBD's and nothing of ours can be imported: so it imports nothing of ours.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

VERSION = "0.7.3"
FOLDER = Path("build") / "peers" / "python-obd"


def install() -> None:
    """Makes the environment below `build`, from the package index that pip is set up for."""
    root = Path(__file__).resolve().parent.parent.parent
    folder = root / FOLDER
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", f"obd=={VERSION}"], check=True)


def measure(path: str, count: int, warm_up: int) -> dict[str, object]:
    """CPU and values of so many queries for the barometric pressure."""
    from importlib import import_module

    peer = import_module("obd")
    connection = peer.OBD(path, baudrate=38_400, fast=True, timeout=5)
    if not connection.is_connected():
        raise SystemExit("python-OBD does not connect")
    for _ in range(warm_up):
        connection.query(peer.commands.BAROMETRIC_PRESSURE)
    values = []
    begin_ns = time.process_time_ns()
    for _ in range(count):
        values.append(connection.query(peer.commands.BAROMETRIC_PRESSURE).value.magnitude)
    cpu_us = (time.process_time_ns() - begin_ns) / 1000
    connection.close()
    return {"cpu_us": cpu_us, "values": values}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
    else:
        install()
