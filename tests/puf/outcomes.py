"""What each function of `puf` makes of an input, as text that is the same on every interpreter.

Runs on CPython and MicroPython.  As a script it reads one case a line from stdin, an operation and its
arguments in hex, and prints one outcome a line: so the very same vectors pass through both.
"""

import gc
import struct
import sys

from puf import cbor, cose, did, hkdf, x25519
from puf.ed25519 import SigningKey, verify
from puf.errors import PufError

LONG = 1000
"""Bytes beyond which a hash is shown: a small heap has no room for their hex in one piece."""


def describe(value: object) -> str:
    """A value with its types, every bit of its floats, and its map entries in one order."""
    if isinstance(value, bool) or value is None or value is cbor.UNDEFINED:
        return repr(value)
    if isinstance(value, int):
        return f"{value}"
    if isinstance(value, float):
        return "float:nan" if value != value else "float:" + struct.pack(">d", value).hex()
    if isinstance(value, bytes):
        if len(value) > LONG:
            return f"{len(value)} bytes:sha256:" + hkdf.sha256(value).hex()
        return "bytes:" + value.hex()
    if isinstance(value, str):
        return "text:" + value.encode("utf-8").hex()
    if isinstance(value, list):
        return "[" + " ".join([describe(item) for item in value]) + "]"
    if isinstance(value, dict):
        entries = [describe(key) + "=" + describe(value[key]) for key in value]
        return "{" + " ".join(sorted(entries)) + "}"
    if isinstance(value, cbor.Tag):
        return f"tag:{value.number}({describe(value.value)})"
    if isinstance(value, cbor.Simple):
        return f"simple:{value.number}"
    raise TypeError(f"{type(value)} came out")


def _cbor(data: bytes) -> object:
    value = cbor.decode(data)
    if cbor.encode(value) != data:
        raise AssertionError("what was decoded encodes to something else")
    return value


def _sign(seed: bytes, message: bytes) -> bytes:
    key = SigningKey(seed)
    return key.public + key.sign(message)


def _iterate(count: int) -> bytes:
    """The loop of RFC 7748, section 5.2."""
    k = u = b"\x09" + bytes(31)
    for _ in range(count):
        k, u = x25519.PrivateKey(k).exchange(u), k
    return k


def _operate(operation: str, a: list[bytes]) -> object:
    if operation == "cbor":
        return _cbor(a[0])
    if operation == "deep cbor":
        return cbor.decode(a[0], depth_max=cbor.DEPTH_LIMIT)
    if operation == "document":
        return did.document(a[0].decode())
    if operation == "exchange":
        return x25519.PrivateKey(a[0]).exchange(a[1])
    if operation == "hkdf":
        return hkdf.hkdf(a[0], a[1], a[2], int.from_bytes(a[3], "big"))
    if operation == "hmac":
        return hkdf.hmac_sha256(a[0], a[1])
    if operation == "is_equal":
        return hkdf.is_equal(a[0], a[1])
    if operation == "iterate":
        return _iterate(a[0][0])
    if operation == "open1":
        return list(cose.open1(a[0], a[1].decode(), a[2]))
    if operation == "sha256":
        return hkdf.sha256(a[0])
    if operation == "sign":
        return _sign(a[0], a[1])
    if operation == "sign1":
        return cose.sign1(a[1].decode(), a[2], SigningKey(a[0]), a[3])
    if operation == "verify":
        return verify(a[0], a[1], a[2])
    raise AssertionError(f"no operation {operation}")


def outcome(operation: str, args: list[bytes]) -> str:
    """What the operation returns, or the error it raises, message and all."""
    try:
        return describe(_operate(operation, args))
    except (PufError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def to_line(operation: str, args: list[bytes]) -> str:
    """A case as the script reads it."""
    return operation + "|" + "|".join([arg.hex() for arg in args]) + "\n"


if __name__ == "__main__":
    for line in sys.stdin:
        gc.collect()  # Each case finds the heap as the first did, which a device does by itself when idle.
        words = line.rstrip("\n").split("|")
        print(outcome(words[0], [bytes.fromhex(word) for word in words[1:]]))
