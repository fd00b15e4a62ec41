"""One message over many writes or notifications of Bluetooth LE.

Runs on CPython and MicroPython.  Pure: messages in, frames out, and back.

    first frame    0x80 + number, size of the message (2 bytes, big-endian), bytes ..
    any other      number, bytes ..

`number` counts the frames of one direction of one connection, from 0, in 7 bits.  Bluetooth keeps their order
and loses none while a connection lasts; a stack that drops or repeats one is found by the number.  A message
is whole when `size` bytes have come, and the next frame then begins another.  Nothing outlives a
connection: what was not whole never was.
"""

from devices.micropython.commands import MESSAGE_BYTES_MAX
from devices.micropython.errors import FrameError

FRAME_BYTES_MIN = 20
"""What every link carries: the least MTU, 23, less the 3 bytes of its own header.  Source: Bluetooth Core
Specification 5.4, volume 3, part F, section 3.2.8 (ATT_MTU)."""
_FIRST = 0x80


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
        frames = []
        head = bytes((_FIRST | self._number, size >> 8, size & 0xFF))
        at = 0
        while at < size:
            end = at + frame_bytes - len(head)
            frames.append(head + message[at:end])
            self._number = (self._number + 1) & 0x7F
            head = bytes((self._number,))
            at = end
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
        is_first = len(frame) > 3 and frame[0] & _FIRST
        if len(frame) < 2 or frame[0] & 0x7F != self._number or bool(is_first) == bool(self._missing):
            self._fail("is not the next one")
        self._number = (self._number + 1) & 0x7F
        if is_first:
            self._missing = frame[1] << 8 | frame[2]
            part = frame[3:]
        elif frame[0] & _FIRST:
            self._fail("begins a message without a byte of it")
        else:
            part = frame[1:]
        if len(part) > self._missing or self._missing > MESSAGE_BYTES_MAX:
            self._fail("has another size than was said, or than is taken")
        self._missing -= len(part)
        self._parts.append(part)
        if self._missing:
            return None
        message = b"".join(self._parts)
        self._parts = []
        return message

    def _fail(self, why: str) -> None:
        self._parts = []
        raise FrameError(f"frame {self._number} {why}; hang up and connect anew")
