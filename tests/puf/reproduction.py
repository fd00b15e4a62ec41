"""A device that finds its key, once: enrolled and reproduced here, printed as JSON with what it took.

Runs on CPython and MicroPython.  Only the latter says how much memory it took.  Reads a readout and helper
data from stdin, in hex; prints the root, the refusal of a stranger, milliseconds, and bytes that were loaded.
"""

import gc
import json
import sys
import time

if hasattr(gc, "threshold"):
    # As a board's boot file does: garbage between the code would leave no room in one piece.
    gc.threshold(4096)

from puf import fuzzy_extractor, helper_data
from puf.errors import ReproductionError


def main() -> None:
    """Reproduces the root; exit status 1 when it does not come back."""
    readout, data = [bytes.fromhex(word) for word in sys.stdin.read().split()]
    gc.collect()
    loaded_bytes = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0
    times_ns = []
    root = b""
    for _ in range(20):
        begin_ns = time.time_ns()
        root = fuzzy_extractor.reproduce(readout, helper_data.from_bytes(data))
        times_ns.append(time.time_ns() - begin_ns)
    refused = ""
    try:
        fuzzy_extractor.reproduce(bytes(len(readout)), helper_data.from_bytes(data))
    except ReproductionError as error:
        refused = str(error)
    report = {
        "root": root.hex(),
        "refused": refused,
        "loaded_bytes": loaded_bytes,
        "reproduce_ms": sorted(times_ns)[10] / 1e6,
        "slowest_ms": max(times_ns) / 1e6,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
