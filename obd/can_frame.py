"""A CAN frame, classic or FD: its values, its text form, its wire form.

Runs on CPython and MicroPython.  Building one checks nothing, because a bus at full load builds
thousands a second from a driver that has checked already; `CanFrame.checked`, `parse` and `unpack`
check everything.  Sources: ISO 11898-1:2015 (lengths, flags), can-utils `lib.h` (text form).
"""

from collections import namedtuple

from obd.errors import FrameError

EXTENDED = 1
"""The arbitration id has 29 bits instead of 11."""
REMOTE = 2
"""A remote transmission request: no data; the length asked for is in `flags >> 8`."""
ERROR = 4
"""Not from the bus but about it: the id is a mask of SocketCAN error classes."""
FD = 8
"""A CAN FD frame: up to 64 bytes."""
BITRATE_SWITCH = 16
"""FD only: the data was sent at the second, faster bit rate."""
ERROR_STATE = 32
"""FD only: its sender is error passive."""
TX = 64
"""We sent it; it was not received."""

DLC_SHIFT = 8
"""Bits 8-11 of the flags keep the DLC as sent where the data does not tell it: the length that a
remote frame asks for (0-15), or a classic DLC of 9-15, which means 8 bytes."""

ID_STANDARD_MAX = 0x7FF
ID_EXTENDED_MAX = 0x1FFFFFFF
FD_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)
"""Bytes of data by DLC, ISO 11898-1:2015, table 5."""

_ALL_FLAGS = 0xF00 | EXTENDED | REMOTE | ERROR | FD | BITRATE_SWITCH | ERROR_STATE | TX
_ERROR_BIT = 0x20000000  # CAN_ERR_FLAG of SocketCAN, which candump leaves in the id it prints
_HEX_DIGITS = "0123456789abcdefABCDEF"
_WIRE_HEAD_BYTES = 6


class CanFrame(namedtuple("CanFrame", ("arbitration_id", "flags", "data"))):
    """One frame.  arbitration_id: 11 or 29 bits; flags: the bits above; data: bytes, at most 8 or 64."""

    __slots__ = ()
    KIND = "can"

    @classmethod
    def checked(cls, arbitration_id: int, flags: int, data: bytes) -> "CanFrame":
        """The frame, after every rule was looked at.  Raises FrameError."""
        reason = fault(arbitration_id, flags, data)
        if reason is not None:
            raise FrameError(reason)
        return cls(arbitration_id, flags, bytes(data))

    @classmethod
    def parse(cls, text: str) -> "CanFrame":
        """The frame of a candump or cansend word.  Raises FrameError.

        `123#DEAD`, `18DA00F1#..`, `123#R8` (remote), `123##1..` (FD, one digit of flags: 1 bit rate
        switch, 2 error state), `123#..8 bytes.._B` (DLC 11).  Dots between bytes are allowed.
        """
        shown = text[:40]
        head, hash_sign, body = text.partition("#")
        if not hash_sign or len(head) not in (3, 8) or not _is_hex(head):
            raise FrameError(
                f"{shown!r} is no CAN frame: expected 3 or 8 hex digits, # and data, as in 123#DEADBEEF"
            )
        arbitration_id = int(head, 16)
        flags = 0
        if len(head) == 8:
            if arbitration_id & _ERROR_BIT:
                arbitration_id ^= _ERROR_BIT
                flags = ERROR
            else:
                flags = EXTENDED
        if body[:1] == "#":
            if len(body) < 2 or not _is_hex(body[1]):
                raise FrameError(f"{shown!r}: a CAN FD frame needs one hex digit of flags after ##")
            fd_bits = int(body[1], 16)
            flags |= FD | (BITRATE_SWITCH if fd_bits & 1 else 0) | (ERROR_STATE if fd_bits & 2 else 0)
            body = body[2:]
        elif body[:1] in ("R", "r"):
            digits = body[1:]
            # Behind the DLC, can-utils writes its raw value for 9 to 15, as in 123#R8_B.
            if digits[:2] == "8_":
                digits = digits[2:]
            if len(digits) > 1 or not _is_hex(digits):
                raise FrameError(f"{shown!r}: the length of a remote frame is one hex digit")
            flags |= REMOTE | ((int(digits, 16) if digits else 0) << DLC_SHIFT)
            body = ""
        else:
            body, underscore, raw_dlc = body.partition("_")
            if underscore:
                if raw_dlc not in ("9", "A", "B", "C", "D", "E", "F"):
                    raise FrameError(f"{shown!r}: the DLC after _ must be 9 to F")
                flags |= int(raw_dlc, 16) << DLC_SHIFT
        digits = body.replace(".", "")
        if len(digits) % 2 or not _is_hex(digits):
            raise FrameError(f"{shown!r}: data must be pairs of hex digits")
        return cls.checked(arbitration_id, flags, bytes.fromhex(digits))

    @classmethod
    def unpack(cls, wire: bytes) -> "CanFrame":
        """The frame of `pack`'s bytes.  Raises FrameError."""
        if len(wire) < _WIRE_HEAD_BYTES:
            raise FrameError(f"a packed frame has at least {_WIRE_HEAD_BYTES} bytes, got {len(wire)}")
        return cls.checked(
            int.from_bytes(wire[:4], "big"), int.from_bytes(wire[4:6], "big"), wire[_WIRE_HEAD_BYTES:]
        )

    def pack(self) -> bytes:
        """Wire form, big endian: 4 bytes of id, 2 of flags, then the data."""
        arbitration_id: int = self.arbitration_id
        flags: int = self.flags
        data: bytes = self.data
        return arbitration_id.to_bytes(4, "big") + flags.to_bytes(2, "big") + data

    @property
    def is_extended(self) -> bool:
        """The id has 29 bits."""
        return bool(self.flags & EXTENDED)

    @property
    def dlc(self) -> int:
        """Data length code, 0 to 15, as sent."""
        flags: int = self.flags
        if flags & FD:
            return FD_LENGTHS.index(len(self.data))
        if flags & REMOTE:
            return flags >> DLC_SHIFT
        return (flags >> DLC_SHIFT) or len(self.data)

    def __str__(self) -> str:
        """The candump word that `parse` reads; the direction (TX) is not part of it."""
        flags: int = self.flags
        if flags & ERROR:
            head = f"{self.arbitration_id | _ERROR_BIT:08X}#"
        elif flags & EXTENDED:
            head = f"{self.arbitration_id:08X}#"
        else:
            head = f"{self.arbitration_id:03X}#"
        raw_dlc = flags >> DLC_SHIFT
        if flags & REMOTE:
            return head + (f"R{raw_dlc:X}" if raw_dlc <= 8 else f"R8_{raw_dlc:X}")
        if flags & FD:
            fd_bits = (1 if flags & BITRATE_SWITCH else 0) | (2 if flags & ERROR_STATE else 0)
            head += f"#{fd_bits:X}"
        data: bytes = self.data
        return head + data.hex().upper() + (f"_{raw_dlc:X}" if raw_dlc else "")


def fault(arbitration_id: int, flags: int, data: object) -> "str | None":
    """Which rule of ISO 11898-1 these values break, as text, or None."""
    if not _is_plain_int(arbitration_id) or not _is_plain_int(flags):
        return f"id and flags must be int, got {arbitration_id!r} and {flags!r}"
    if not isinstance(data, (bytes, bytearray, memoryview)):
        return f"data must be bytes, got {data!r}"
    if flags < 0 or flags & ~_ALL_FLAGS:
        return f"flags {flags:#x} have bits that mean nothing"
    id_max = ID_EXTENDED_MAX if flags & (EXTENDED | ERROR) else ID_STANDARD_MAX
    if not 0 <= arbitration_id <= id_max:
        return f"id {arbitration_id:#x} is not within 0 to {id_max:#x}"
    size = len(data)
    raw_dlc = flags >> DLC_SHIFT
    if flags & ERROR and flags & (EXTENDED | REMOTE | FD):
        return "an error frame cannot also be extended, remote or FD"
    if flags & FD:
        if flags & REMOTE:
            return "CAN FD has no remote frames"
        if raw_dlc:
            return f"the DLC of a CAN FD frame follows from its data, yet flags give {raw_dlc}"
        if size not in FD_LENGTHS:
            return f"{size} bytes is no CAN FD length"
        return None
    if flags & (BITRATE_SWITCH | ERROR_STATE):
        return "bit rate switch and error state exist in CAN FD frames only"
    if flags & REMOTE:
        return f"a remote frame carries no data, got {size} bytes" if size else None
    if size > 8:
        return f"{size} bytes are more than the 8 of a classic frame"
    if raw_dlc and (raw_dlc < 9 or size != 8):
        return f"a DLC of {raw_dlc} beside {size} bytes of data"
    return None


def _is_plain_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_hex(text: str) -> bool:
    # int(text, 16) would also take "0x1", " 1" and "1_0".
    return all(character in _HEX_DIGITS for character in text)
