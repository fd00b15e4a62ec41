"""How a device is found: what it says to everybody on the air, and only its gateway sees which one it is.

Runs on CPython and MicroPython.  One advertisement of 29 bytes:

    flags (general discoverable, no classic Bluetooth)      3 bytes
    complete list of 128-bit services: SERVICE             18 bytes
    manufacturer data: 0xFFFF, salt (2), hint (2)           8 bytes

    hint = HMAC-SHA-256(derive(key of the pairing that follows, "advertisement"), salt), cut to 2 bytes

The salt is random and another one every ROTATE_MS, so two advertisements of one device cannot be told from
those of two; whoever keeps the pairing knows it at a look, but for one in 65,536, and proves it afterwards.
The device is at the gateway's epoch or one behind (puf/fast_path_keys.py), so it hints with the epoch that
follows its own, and the gateway looks for that of its own and the next.  0xFFFF is nobody's company number.
Source: Bluetooth Core Specification Supplement 11, part A, sections 1.1, 1.3 and 1.4; the idea is that of
resolvable private addresses (Core Specification 5.4, volume 6, part B, section 1.3.2.2).
"""

from puf.fast_path_keys import EPOCH_MAX, Pairing
from puf.hkdf import hmac_sha256
from puf.keys import derive

SERVICE = "c9c70001-4350-4c63-8a9d-6c6f636b6564"
IN = "c9c70002-4350-4c63-8a9d-6c6f636b6564"
OUT = "c9c70003-4350-4c63-8a9d-6c6f636b6564"
INFO = "c9c70004-4350-4c63-8a9d-6c6f636b6564"
"""UUIDs of the service and its characteristics: see GATT.md."""
COMPANY = 0xFFFF
"""For tests and for who has no number of its own.  Source: Bluetooth SIG, Assigned Numbers, section 7.1."""
SALT_BYTES = 2
HINT_BYTES = 2
ROTATE_MS = 900_000
"""As often as Bluetooth changes a private address: 15 minutes.  Source: Core Specification, volume 3, part C,
appendix A, TGAP(private_addr_int)."""


def _hint(pairing: Pairing, salt: bytes) -> bytes:
    return hmac_sha256(derive(pairing.key, "advertisement"), salt)[:HINT_BYTES]


def hint(pairing: Pairing, salt: bytes) -> bytes:
    """What the device advertises: salt and hint, 4 bytes.  `pairing`: the one with its gateway."""
    return salt + _hint(pairing.following() if pairing.epoch < EPOCH_MAX else pairing, salt)


def is_of(pairing: Pairing, said: bytes) -> bool:
    """Whether `said`, the 4 bytes, are what the device with which the gateway has `pairing` may say."""
    salt, theirs = said[:SALT_BYTES], said[SALT_BYTES:]
    if len(said) != SALT_BYTES + HINT_BYTES:
        return False
    if theirs == _hint(pairing, salt):
        return True
    return pairing.epoch < EPOCH_MAX and theirs == _hint(pairing.following(), salt)


def payload(said: bytes) -> bytes:
    """The advertisement with these 4 bytes."""
    service = bytes.fromhex(SERVICE.replace("-", ""))
    # Bluetooth has the least significant byte first.
    little = bytes([service[15 - at] for at in range(16)])
    return b"\x02\x01\x06\x11\x07" + little + b"\x07\xff" + COMPANY.to_bytes(2, "little") + said
