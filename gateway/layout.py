"""The shape of what was decoded: arrays of fixed length whose items have fixed types.

Runs on CPython.  `isinstance` and `case int()` take CBOR's `true` for the integer 1, so that one value
would have two encodings; here a type means exactly this type.
"""

from typing import Any


def has_layout(value: Any, layout: tuple[type, ...]) -> bool:
    """Whether `value` is a list whose items have exactly these types, in this order."""
    return type(value) is list and tuple(map(type, value)) == layout
