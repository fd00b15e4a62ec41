"""Deterministic CBOR: one value, one encoding, so that a hash of the bytes names the value.

Runs on CPython and MicroPython.

| Python                                  | CBOR                                            |
|-----------------------------------------|-------------------------------------------------|
| None, bool, int, float                  | null, true and false, integer or bignum, float  |
| bytes (also bytearray, memoryview), str | byte string, text string                        |
| list (also tuple), dict                 | array, map; keys are int, str or bytes only     |
| Tag(number, value), Simple(n), UNDEFINED | tag, simple value, undefined                   |

Source: RFC 8949, sections 3, 4.2.1 and 4.2.2.
"""

from puf.cbor_pure import DEPTH_MAX, SIZE_MAX, UNDEFINED, Simple, Tag, decode, encode

__all__ = ["DEPTH_MAX", "SIZE_MAX", "UNDEFINED", "Simple", "Tag", "decode", "encode"]
