"""What a board and the air say to each other on their socket.

Runs on CPython and MicroPython.

    frame = length of the body, 2 bytes, little endian; body: values one after the other
    value = 0x00                                 None
          | 0x01, 4 bytes, little endian         integer, signed
          | 0x02, 2 bytes length, bytes          bytes
          | 0x03, 1 byte count, values           list

The first value of a frame from a board is a number of OPS; of a frame from the air, 0 for the answer to a
call (then errno, result), else the number of the event as MicroPython's `bluetooth` documents it.
"""

import struct
import sys

if sys.implementation.name != "micropython":
    from typing import Any

# What a board asks for.  All but VALUE are calls that are answered at once; VALUE answers a READ_REQUEST.
ACTIVE, CONFIG, ADVERTISE, SCAN, CONNECT, DISCONNECT = 1, 2, 3, 4, 5, 6
REGISTER, NOTIFY, INDICATE, UPDATE, VALUE = 7, 8, 9, 10, 11
SERVICES, CHARACTERISTICS, DESCRIPTORS, READ, WRITE, MTU = 12, 13, 14, 15, 16, 17
DEPTH_MAX = 6
"""Lists in lists: services, service, characteristics, characteristic, descriptors, descriptor."""


def _put(out: bytearray, value: object) -> None:
    if value is None:
        out.append(0)
    elif isinstance(value, int):
        out.append(1)
        out.extend(struct.pack("<i", value))
    elif isinstance(value, (list, tuple)):
        out.append(3)
        out.append(len(value))
        for item in value:
            _put(out, item)
    else:
        if isinstance(value, str):
            value = value.encode()
        data = memoryview(value)  # type: ignore[arg-type]
        out.append(2)
        out.extend(struct.pack("<H", len(data)))
        out.extend(data)


def pack(values: list[object]) -> bytearray:
    """The frame of `values`."""
    out = bytearray(2)
    for value in values:
        _put(out, value)
    struct.pack_into("<H", out, 0, len(out) - 2)
    return out


def _get(data: bytes, at: int, depth: int) -> "tuple[object, int]":
    tag = data[at]
    at += 1
    if tag == 0:
        return None, at
    if tag == 1:
        if at + 4 > len(data):
            raise ValueError("a value ends after its frame")
        return struct.unpack_from("<i", data, at)[0], at + 4
    if tag == 2:
        end = at + 2 + data[at] + (data[at + 1] << 8)
        if end > len(data):
            raise ValueError("a value ends after its frame")
        return bytes(data[at + 2 : end]), end
    if tag != 3 or depth == DEPTH_MAX:
        raise ValueError("a value of an unknown kind")
    count = data[at]
    at += 1
    items = []
    for _ in range(count):
        item, at = _get(data, at, depth + 1)
        items.append(item)
    return items, at


def unpack(body: bytes) -> "list[Any]":
    """The values of a body.  Raises ValueError or IndexError for what is none."""
    values = []
    at = 0
    while at < len(body):
        value, at = _get(body, at, 0)
        values.append(value)
    return values
