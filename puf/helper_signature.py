"""Helper data under the signature of the gateway that enrolled the chip.

Runs on CPython and MicroPython.  A COSE_Sign1 of type "cpc/helper" whose payload is what puf/helper_data.py
describes.  A file of its own, for a board that has room for either the curve or the rest.

The key check alone finds every manipulation, after the work; the signature finds it before, tells a stranger
who enrolled the chip, and keeps helper data of another gateway out.
"""

from puf import cose, helper_data
from puf.ed25519 import SigningKey
from puf.errors import SignatureError
from puf.helper_data import HelperData

TYP = "cpc/helper"
SIZE_MAX = helper_data.SIZE_MAX + 256
"""Bytes of signed helper data that are looked at."""


def sign(helper: HelperData, key: SigningKey) -> bytes:
    """The helper data as the gateway gives it to the device: signed by the gateway's `key`."""
    return cose.sign1(TYP, helper.to_bytes(), key)


def open_signed(data: bytes, signer: bytes) -> HelperData:
    """The helper data that `signer` (a public key, 32 bytes) signed.

    Raises DecodeError for anything but signed helper data, SignatureError when another key signed or the
    signature does not hold.
    """
    parsed = cose.parse1(data, TYP, b"", SIZE_MAX)
    if parsed.kid != signer:
        raise SignatureError(f"key {parsed.kid.hex()} signed this helper data, not the gateway's")
    return helper_data.from_bytes(cose.open1(data, TYP, b"", SIZE_MAX).payload)
