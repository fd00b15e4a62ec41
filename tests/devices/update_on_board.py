"""Takes a whole update into a folder, as a board does, and says how much memory that took.

Runs on MicroPython.    update_on_board.py ROOT UPDATE PUBLISHER
"""

import gc
import json
import sys

gc.threshold(4096)  # type: ignore[attr-defined]

# A device has these loaded always.
from devices.micropython import errors, slots  # noqa: E402, F401
from devices.micropython.ota import Receiver  # noqa: E402
from puf import cbor  # noqa: E402


def main(root: str, path: str, publisher_hex: str) -> None:
    """Brings it, piece by piece from the file, so that only what a board holds is held."""
    made = Receiver(root, bytes.fromhex(publisher_hex), "lock", "esp32")
    gc.collect()
    before = gc.mem_alloc()  # type: ignore[attr-defined]
    with open(path, "rb") as file:
        head = file.read(512)
        size = head[1] + 2 if head[0] == 0x58 else (head[1] << 8 | head[2]) + 3
        body: list[object] = [1, cbor.decode(head[:size])]
        calls, peak = 0, 0
        while True:
            answer = cbor.decode(made.handle(cbor.encode(body), 0))
            assert isinstance(answer, list)
            calls += 1
            peak = max(peak, gc.mem_alloc())  # type: ignore[attr-defined]
            if answer[0] == 0:
                file.seek(size + answer[1])
                body = [2, answer[1], file.read(1000)]
            elif answer[0] == 1:
                body = [3]
            else:
                break
    gc.collect()
    after = gc.mem_alloc()  # type: ignore[attr-defined]
    gc.collect()
    print(json.dumps({"code": answer[0], "calls": calls, "peak": peak - before, "left": after - before}))


main(*sys.argv[1:])
