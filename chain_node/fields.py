"""Reading CBOR maps with small int keys, field by field, so strictly that nothing is left over.

Runs on CPython.  Every object of the chain is such a map.  A missing, surplus or mistyped field, a
number beyond its bounds and bytes of a wrong length raise WireError, which names the field.
"""

from collections.abc import Iterator

from chain_node.errors import WireError
from puf import cbor
from puf.errors import DecodeError

INT_MAX = (1 << 53) - 1
"""The largest number on the chain: every JSON reader and every database keeps it exactly."""

HASH_SIZE = 32
KEY_SIZE = 32
SIGNATURE_SIZE = 64
_BYTES, _TEXT, _ARRAY, _MAP, _TAG = 2, 3, 4, 5, 6
"""Major types of CBOR that hold something.  Source: RFC 8949, section 3.1."""


def read(data: bytes, what: str, size_max: int, depth_max: int = 6, items_max: int | None = None) -> object:
    """The CBOR value that `data` is.  Raises WireError unless it is deterministic and of that size.

    items_max: of large ones, how many values it may hold, counted before any of them is made.
    """
    if items_max is not None and len(data) <= size_max and end_of_item(data, 0, what, items_max) != len(data):
        raise WireError(what, "bytes follow it")
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
        try:
            return self._left.pop(key)
        except KeyError:
            raise WireError(self._what, f"{name} is missing") from None

    def integer(self, key: int, name: str, low: int = 0, high: int = INT_MAX) -> int:
        """An int from `low` to `high`."""
        value = self.take(key, name)
        if type(value) is int and low <= value <= high:
            return value
        return check_integer(value, self._what, name, low, high)

    def blob(self, key: int, name: str, size: int = HASH_SIZE) -> bytes:
        """Bytes of exactly `size`."""
        value = self.take(key, name)
        if type(value) is bytes and len(value) == size:
            return value
        return check_blob(value, self._what, name, size)

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


def end_of_item(data: bytes, at: int, what: str, items_max: int) -> int:
    """Where the CBOR item that begins at `at` ends, by its heads alone; it may still be malformed.

    items_max: values in it, itself among them.  Raises WireError when there are more, or bytes are missing.
    """
    left = 1
    while left:
        items_max -= 1
        if items_max < 0 or at >= len(data):
            raise WireError(what, "it is cut off, or holds more than it may")
        major, argument = data[at] >> 5, data[at] & 31
        at += 1
        left -= 1
        if 24 <= argument < 28:
            size = 1 << (argument - 24)
            argument = int.from_bytes(data[at : at + size], "big")
            at += size
        if major in (_BYTES, _TEXT):
            at += argument
        elif major == _ARRAY:
            left += argument
        elif major == _MAP:
            left += 2 * argument
        elif major == _TAG:
            left += 1
    if at > len(data):
        raise WireError(what, "it is cut off")
    return at


def argument_at(data: bytes, at: int, major: int = 0) -> tuple[int, int]:
    """(argument, end) of the head at `at`; -1 when it is of another type, cut off, or longer than needed.

    major: the type's number in its place, 0x40 for bytes.  Source: RFC 8949, sections 3 and 4.2.1.
    """
    if at >= len(data):
        return -1, at
    first = data[at] - major
    at += 1
    if first < 24:
        # Below nothing is another type.
        return first, at
    if first > 27:
        return -1, at
    size = 1 << (first - 24)
    value = int.from_bytes(data[at : at + size], "big")
    least = 24 if size == 1 else 1 << (4 * size)
    return (value if value >= least and at + size <= len(data) else -1), at + size


def blobs(data: bytes, at: int, count: int, what: str, name: str, size_max: int) -> Iterator[bytes]:
    """Byte strings, `count` of them from `at` to the end of `data`, one after the other: a list may be long.

    Raises WireError for what is none, or has more than `size_max` bytes.
    """
    for index in range(count):
        size, begin = argument_at(data, at, 0x40)
        if not 0 <= size <= size_max:
            raise WireError(what, f"{name} {index} is not at most {size_max} bytes")
        at = begin + size
        if at > len(data):
            raise WireError(what, "it is cut off")
        yield data[begin:at]
    if at != len(data):
        raise WireError(what, "bytes follow it")


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
