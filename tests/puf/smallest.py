"""All that identity needs on a device, once: prints what it took as JSON.

Runs on CPython and MicroPython.  Only the latter says how much memory it took.
"""

import gc
import json
import time

if hasattr(gc, "threshold"):
    # As a board's boot file does: garbage between the code would leave no room in one piece.
    gc.threshold(4096)

from puf import cose, did, hkdf, x25519
from puf.ed25519 import SigningKey, verify


def main() -> None:
    """Sign, verify, exchange, and open a statement; exit status 1 when one of them is wrong."""
    gc.collect()
    loaded_bytes = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0

    seed = hkdf.hkdf(b"response of a PUF", b"", b"identity", 32)
    key = SigningKey(seed)
    private = x25519.PrivateKey(seed)
    times_ns = [time.time_ns()]
    signature = key.sign(b"message")
    times_ns.append(time.time_ns())
    is_valid = verify(key.public, b"message", signature)
    times_ns.append(time.time_ns())
    private.exchange(private.public)
    times_ns.append(time.time_ns())
    statement = cose.open1(cose.sign1("cpc/tx", bytes(200), key), "cpc/tx")
    document = did.document(did.did_key(key.public))

    if not is_valid or statement.payload != bytes(200) or len(document) != 8:
        raise SystemExit(1)
    spent_ms = [(times_ns[index + 1] - times_ns[index]) / 1e6 for index in range(3)]
    print(json.dumps({"loaded_bytes": loaded_bytes, "sign_verify_exchange_ms": spent_ms}))


if __name__ == "__main__":
    main()
