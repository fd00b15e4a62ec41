"""Measures python-OBD in the environment that it lives in.

Runs on CPython.  `obd_query.py` runs this file by path in that environment, isolated, where `obd` is
python-OBD's and nothing of ours can be imported: so it imports nothing of ours.
"""

import json
import sys
import time


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
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
