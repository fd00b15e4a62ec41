"""Deterministic CBOR: one value, one encoding, so that a hash of the bytes names the value.

Runs on CPython and MicroPython.  On CPython cbor2 helps.

    encode(value, depth_max=DEPTH_MAX) -> bytes
    decode(data, size_max=SIZE_MAX, depth_max=DEPTH_MAX) -> value
    decode_sequence(data, size_max=SIZE_MAX, depth_max=DEPTH_MAX) -> values, one after the other (RFC 8742)
    is_int(value, least=None, most=None) -> whether a decoded value is such an integer

| Python                                   | CBOR                                           |
|------------------------------------------|------------------------------------------------|
| None, bool, int, float                   | null, true and false, integer or bignum, float |
| bytes (also bytearray, memoryview), str  | byte string, text string                       |
| list (also tuple), dict                  | array, map                                     |
| Tag(number, value), Simple(n), UNDEFINED | tag, simple value, undefined                   |

Map keys are int, str or bytes.  Tags mean nothing here but what the caller makes of them, except that
bignums are integers.  Arrays, maps and tags nest `depth_max` deep at most (up to DEPTH_LIMIT).

`decode` raises DecodeError, with the byte at which it gave up, for everything but the deterministic
encoding of one such value: integers, lengths and floats in their shortest form, definite lengths, keys
in bytewise order and never twice, the one NaN f97e00, UTF-8 text, nothing after it.  It allocates and
descends only as far as bytes are really there.  A double that the board's floats cannot hold is refused.

`encode` raises TypeError for a type without an encoding, ValueError for a value without one: nested too
deep, or text with surrogates.

Source: RFC 8949, sections 3, 4.2.1 and 4.2.2.
"""

import sys

from puf.cbor_pure import DEPTH_LIMIT, DEPTH_MAX, SIZE_MAX, UNDEFINED, Simple, Tag, decode_sequence, is_int

if sys.implementation.name == "micropython":
    from puf.cbor_pure import decode, encode
else:
    from puf.cbor_fast import decode, encode

__all__ = [
    "DEPTH_LIMIT",
    "DEPTH_MAX",
    "SIZE_MAX",
    "UNDEFINED",
    "Simple",
    "Tag",
    "decode",
    "decode_sequence",
    "encode",
    "is_int",
]
