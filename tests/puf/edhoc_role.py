"""One role of one EDHOC handshake, with given messages: prints what it sent, shares, and cost, as JSON.

Runs on CPython and MicroPython.  stdin: JSON with `role`, `messages` (hex, those that the other one sends),
`by_value` and `message_4`.
"""

import gc
import json
import sys
import time

gc.collect()
BARE_BYTES = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0

from puf import edhoc, edhoc_credential, edhoc_keys  # noqa: E402
from puf.x25519 import public_of  # noqa: E402

VEHICLE, DEVICE = bytes([1]) * 32, bytes([2]) * 32
"""Private keys."""


def make(role: str, by_value: bool = False, has_message_4: bool = False) -> edhoc.Endpoint:
    """The endpoint of a role, the same every time."""
    vehicle = edhoc_credential.make(public_of(VEHICLE), b"\x2b", "did:key:z6LSvehicle")
    device = edhoc_credential.make(public_of(DEVICE), b"\x32", "did:cpc:zdevice")
    if role == "initiator":
        own = edhoc.Identity(vehicle, VEHICLE, by_value)
        return edhoc.Initiator(
            own, edhoc.known(device), b"\x37", bytes([3]) * 32, has_message_4=has_message_4
        )
    own = edhoc.Identity(device, _from_chip, by_value)
    return edhoc.Responder(own, edhoc.known(vehicle), b"\x27", bytes([4]) * 32, has_message_4=has_message_4)


def _from_chip() -> bytes:
    return DEVICE


def main(asked: "dict[str, object]") -> "dict[str, object]":
    """Runs the role to its end."""
    endpoint = make(str(asked["role"]), bool(asked["by_value"]), bool(asked["message_4"]))
    gc.collect()
    loaded_bytes = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0
    sent: list[str] = []
    spent_ms: list[float] = []
    held_bytes = 0
    received = asked["messages"]
    assert isinstance(received, list)
    for message in ([None] if asked["role"] == "initiator" else []) + received:
        before_ns = time.time_ns()
        out = endpoint.start() if message is None else endpoint.receive(bytes.fromhex(message))  # type: ignore[attr-defined]
        spent_ms.append((time.time_ns() - before_ns) / 1e6)
        gc.collect()
        if hasattr(gc, "mem_alloc"):
            held_bytes = max(held_bytes, gc.mem_alloc() - loaded_bytes)
        if out:
            sent.append(out.hex())
    session = endpoint.session
    assert session is not None
    exported = session.exporter(edhoc_keys.RESUMPTION).hex()
    session.key_update(b"epoch 2")
    return {
        "sent": sent,
        "exported": exported,
        "updated": session.exporter(edhoc_keys.RESUMPTION).hex(),
        "code_bytes": loaded_bytes - BARE_BYTES,
        "held_bytes": held_bytes,
        "ms": spent_ms,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.stdin.read()))))
