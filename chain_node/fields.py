"""Reading CBOR maps with small int keys, field by field, so strictly that nothing is left over.

Runs on CPython.  Every object of the chain is such a map.  A missing, surplus or mistyped field, a
number beyond its bounds and bytes of a wrong length raise WireError, which names the field.
"""

from chain_node.errors import WireError
from puf import cbor
from puf.errors import DecodeError

INT_MAX = (1 << 53) - 1
"""The largest number on the chain: every JSON reader and every database keeps it exactly."""

HASH_SIZE = 32
KEY_SIZE = 32
SIGNATURE_SIZE = 64


def read(data: bytes, what: str, size_max: int, depth_max: int = 6) -> object:
    """The CBOR value that `data` is.  Raises WireError unless it is deterministic and of that size."""
    try:
        value: object = cbor.decode(data, size_max, depth_max)
    except DecodeError as error:
        raise WireError(what, str(error)) from None
    return value


class Fields:
    """One map, taken apart: each read takes its field out, and `done` wants nothing left.

    what: str, the noun for the error messages.  Raises WireError everywhere.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise WireError(what, "it is no map")
        self._left = dict(value)
        self._what = what

    def has(self, key: int) -> bool:
        """Whether the optional field `key` is there."""
        return key in self._left

    def take(self, key: int, name: str) -> object:
        """The field as it is."""
        if key not in self._left:
            raise WireError(self._what, f"{name} is missing")
        return self._left.pop(key)

    def integer(self, key: int, name: str, low: int = 0, high: int = INT_MAX) -> int:
        """An int from `low` to `high`."""
        return check_integer(self.take(key, name), self._what, name, low, high)

    def blob(self, key: int, name: str, size: int = HASH_SIZE) -> bytes:
        """Bytes of exactly `size`."""
        return check_blob(self.take(key, name), self._what, name, size)

    def blob_up_to(self, key: int, name: str, size_max: int) -> bytes:
        """Bytes, at most `size_max`."""
        value = self.take(key, name)
        if not isinstance(value, bytes) or len(value) > size_max:
            raise WireError(self._what, f"{name} is not at most {size_max} bytes")
        return value

    def text(self, key: int, name: str, size_max: int) -> str:
        """Printable text, at most `size_max` characters."""
        value = self.take(key, name)
        if not isinstance(value, str) or len(value) > size_max or not value.isprintable():
            raise WireError(self._what, f"{name} is not a printable text of at most {size_max} characters")
        return value

    def items(self, key: int, name: str, count_max: int) -> list[object]:
        """A list of at most `count_max`."""
        value = self.take(key, name)
        if not isinstance(value, list) or len(value) > count_max:
            raise WireError(self._what, f"{name} is not a list of at most {count_max}")
        return value

    def done(self) -> None:
        """Every field has been read."""
        if self._left:
            raise WireError(self._what, f"unknown fields {sorted(map(repr, self._left))[:4]}")


def check_integer(value: object, what: str, name: str, low: int = 0, high: int = INT_MAX) -> int:
    """`value`, if it is an int from `low` to `high`.  True and False are none."""
    if type(value) is not int:
        raise WireError(what, f"{name} is not a number")
    if not low <= value <= high:
        raise WireError(what, f"{name} is not from {low} to {high}")
    return value


def check_blob(value: object, what: str, name: str, size: int) -> bytes:
    """`value`, if it is exactly `size` bytes."""
    if not isinstance(value, bytes) or len(value) != size:
        raise WireError(what, f"{name} is not {size} bytes")
    return value
