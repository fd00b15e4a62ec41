"""One message over many writes or notifications of Bluetooth LE.

Runs on CPython and MicroPython.  Pure: messages in, frames out, and back.

    frame          number, count, `count` bytes
    first frame    0x80 + number, count, size of the message (2 bytes, big-endian), `count` - 2 bytes of it

`number` counts the frames of one direction of one connection, from 0, in 7 bits.  Bluetooth keeps their order
and loses none while a connection lasts; a stack that drops or repeats one is found by the number.  A frame
says its own length because MicroPython may append several writes before it tells of the first (`cut_frame`).
A message is whole when `size` bytes have come, and the next frame then begins another.  Nothing outlives a
connection: what was not whole never was.
"""

from devices.micropython.commands import MESSAGE_BYTES_MAX
from devices.micropython.errors import FrameError

FRAME_BYTES_MIN = 20
"""What every link carries: the least MTU, 23, less the 3 bytes of its own header.  Source: Bluetooth Core
Specification 5.4, volume 3, part F, section 3.2.8 (ATT_MTU)."""
FRAME_BYTES_MAX = 244
"""What one packet of the radio carries at most: 251 bytes, less 4 of L2CAP and 3 of ATT."""
_FIRST = 0x80


def cut_frame(data: bytes) -> "tuple[bytes, bytes]":
    """(the first frame in `data`, the frames after it).

    When `data` is not whole frames one after the other, (nothing, nothing): whoever wrote last wrote garbage,
    and nobody else's frames shall be looked for in it.
    """
    at = 0
    while at + 1 < len(data):
        at += 2 + data[at + 1]
    if not data or at != len(data):
        return b"", b""
    end = 2 + data[1]
    return data[:end], data[end:]


class Splitter:
    """Makes frames of messages: one for each direction of each connection."""

    def __init__(self) -> None:
        self._number = 0

    def split(self, message: bytes, frame_bytes: int) -> "list[bytes]":
        """The frames of `message`, each of `frame_bytes` (MTU less 3) at most.

        Raises ValueError for a message that is empty or too long, or frames too short to carry one.
        """
        size = len(message)
        if not 1 <= size <= MESSAGE_BYTES_MAX or frame_bytes < FRAME_BYTES_MIN:
            raise ValueError(f"{size} bytes in frames of {frame_bytes} cannot be sent")
        room = min(frame_bytes, FRAME_BYTES_MAX) - 2
        rest = bytes((size >> 8, size & 0xFF)) + message
        frames = []
        for at in range(0, len(rest), room):
            part = rest[at : at + room]
            head = self._number if at else _FIRST | self._number
            frames.append(bytes((head, len(part))) + part)
            self._number = (self._number + 1) & 0x7F
        return frames


class Joiner:
    """Makes messages of frames: one for each direction of each connection."""

    def __init__(self) -> None:
        self._number = 0
        self._missing = 0
        self._parts: list[bytes] = []

    def join(self, frame: bytes) -> "bytes | None":
        """The message that `frame` ends, None while bytes are missing.

        Raises FrameError for what is not the next frame; the connection is of no use then.
        """
        if len(frame) < 3 or len(frame) != 2 + frame[1]:
            self._fail("has another length than it says")
        is_first = frame[0] >= _FIRST
        if frame[0] & 0x7F != self._number or is_first == bool(self._missing):
            self._fail("is not the next one")
        self._number = (self._number + 1) & 0x7F
        part = frame[2:]
        if is_first:
            self._missing = int.from_bytes(part[:2], "big")
            part = part[2:]
        if not part or len(part) > self._missing or self._missing > MESSAGE_BYTES_MAX:
            self._fail("has another size than was said, or than is taken")
        self._missing -= len(part)
        self._parts.append(part)
        if self._missing:
            return None
        message = b"".join(self._parts)
        self._parts = []
        return message

    def _fail(self, why: str) -> None:
        # What comes after this is no next frame either.
        self._parts = []
        self._missing = 0
        self._number = -1
        raise FrameError(f"a frame {why}; hang up and connect anew")
