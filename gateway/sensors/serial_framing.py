"""Bytes of a wire -> frames: lines, COBS, frames of a fixed length, NMEA sentences.

Runs on CPython.  Pure: bytes go in as they come, readings come out, and what could not be framed is
a Damage at its place.  A framer never holds more than its bound, and after garbage it finds the next
frame by itself.

    lines     ended by LF or CR LF; text where it is UTF-8, else bytes; empty lines are left out
    cobs      COBS, ended by a zero; bytes
    fixed:N   N bytes each; found again after garbage by `sync` bytes that each begins with, or a pause
    nmea      lines, each parsed by nmea.py; one that is damaged stays, raw, with the reason
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from gateway.sensors import cobs
from gateway.sensors.nmea import read_sentence

FRAME_LENGTH_MAX = 4_096
"""Bytes of a line or a COBS frame, unless told otherwise."""


@dataclass(slots=True)
class Damage:
    """Bytes that made no frame."""

    index: int
    """Readings of the same result that came before."""
    reason: str
    """What is wrong, without the bytes, so that the same fault has the same words."""
    count: int = 1
    """Frames, as far as one can tell; 0 when one cannot."""


@dataclass(slots=True)
class Framed:
    """What some bytes amounted to."""

    values: list[Any]
    damages: list[Damage]
    ignored: int = 0
    """Frames with nothing in them."""
    flawed: int = 0
    """Of the values: those that are there raw, with the reason why nothing more was read."""


class Framer(ABC):
    """Finds frames in bytes that come in any portions."""

    @abstractmethod
    def feed(self, data: bytes) -> Framed:
        """The frames that `data` completes."""

    @abstractmethod
    def cut(self) -> Framed:
        """The wire was cut: what had begun will not be completed."""

    @property
    def is_inside(self) -> bool:
        """A frame has begun and not ended."""
        return False

    @property
    def is_timed(self) -> bool:
        """A pause inside of a frame means that the frame was cut."""
        return False


class _Delimited(Framer):
    """Frames that end with one byte."""

    delimiter = b"\n"
    noun = "line"

    def __init__(self, length_max: int = FRAME_LENGTH_MAX) -> None:
        self._length_max = length_max
        self._rest = b""
        self._is_skipping = False

    @property
    def is_inside(self) -> bool:
        return bool(self._rest) or self._is_skipping

    def feed(self, data: bytes) -> Framed:
        whole = self._rest + data if self._rest else data
        end = whole.rfind(self.delimiter)
        if end < 0:
            self._rest = whole
            result = Framed([], [])
        else:
            self._rest = whole[end + 1 :]
            # A frame given up for its length ends at the first delimiter.
            begin = whole.find(self.delimiter) + 1 if self._is_skipping else 0
            self._is_skipping = False
            result = self._frames(whole[begin : end + 1]) if begin <= end else Framed([], [])
        if len(self._rest) > self._length_max:
            if not self._is_skipping:
                result.damages.append(self._too_long(len(result.values)))
            self._rest, self._is_skipping = b"", True
        return result

    def cut(self) -> Framed:
        result = Framed([], [])
        if self._rest:
            result.damages.append(Damage(0, f"{self.noun} cut off"))
        self._rest, self._is_skipping = b"", False
        return result

    @abstractmethod
    def _frames(self, whole: bytes) -> Framed:
        """Of bytes that end with a delimiter."""

    def _too_long(self, index: int) -> Damage:
        return Damage(index, f"{self.noun} longer than {self._length_max} bytes")


class LineFramer(_Delimited):
    """Lines: text where they are UTF-8, else bytes."""

    def _frames(self, whole: bytes) -> Framed:
        # All at once where nothing is special: a line then costs a tenth of a microsecond.
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            return self._one_by_one(whole)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        lines.pop()
        if len(whole) > self._length_max and max(map(len, lines)) > self._length_max // 4:
            return self._one_by_one(whole)
        if "" in lines:
            full = [line for line in lines if line]
            return Framed(full, [], len(lines) - len(full))
        return Framed(lines, [])

    def _one_by_one(self, whole: bytes) -> Framed:
        result = Framed([], [])
        for line in whole[:-1].split(b"\n"):
            bare = line.removesuffix(b"\r")
            if not bare:
                result.ignored += 1
            elif len(bare) > self._length_max:
                result.damages.append(self._too_long(len(result.values)))
            else:
                try:
                    result.values.append(bare.decode())
                except UnicodeDecodeError:
                    result.values.append(bare)
        return result


class NmeaFramer(LineFramer):
    """Lines, each read as a sentence."""

    def _frames(self, whole: bytes) -> Framed:
        result = super()._frames(whole)
        readings = [read_sentence(line) for line in result.values]
        result.values = readings
        result.flawed = sum("error" in reading for reading in readings)
        return result


class CobsFramer(_Delimited):
    """COBS frames, ended by a zero."""

    delimiter = b"\0"
    noun = "frame"

    def _frames(self, whole: bytes) -> Framed:
        result = Framed([], [])
        for frame in whole[:-1].split(b"\0"):
            if not frame:
                # Senders begin with a zero, so that noise before it is a frame of its own.
                result.ignored += 1
            elif len(frame) > self._length_max:
                result.damages.append(self._too_long(len(result.values)))
            else:
                try:
                    result.values.append(cobs.decode(frame))
                except cobs.CobsError:
                    result.damages.append(Damage(len(result.values), "frame is not COBS"))
        return result


class FixedFramer(Framer):
    """Frames of one length; each begins with `sync`, where that is given."""

    def __init__(self, length: int, sync: bytes = b"") -> None:
        self._length = length
        self._sync = sync
        self._rest = b""
        self._is_lost = False
        """Looking for the next sync bytes; those before are one damage."""

    @property
    def is_inside(self) -> bool:
        """A frame has begun and not ended."""
        return bool(self._rest)

    @property
    def is_timed(self) -> bool:
        """Always: nothing else tells where a frame begins."""
        return True

    def feed(self, data: bytes) -> Framed:
        """The frames that `data` completes."""
        whole = self._rest + data
        result = Framed([], [])
        at = 0
        length, sync = self._length, self._sync
        while len(whole) - at >= length:
            if sync and not whole.startswith(sync, at):
                found = whole.find(sync, at + 1)
                # Its first bytes may have come already.
                at = found if found >= 0 else max(at + 1, len(whole) - len(sync) + 1)
                if not self._is_lost:
                    result.damages.append(Damage(len(result.values), "bytes between frames", 0))
                self._is_lost = True
                continue
            self._is_lost = False
            result.values.append(whole[at : at + length])
            at += length
        self._rest = whole[at:]
        return result

    def cut(self) -> Framed:
        """What had begun will not be completed."""
        result = Framed([], [Damage(0, "frame cut off")] if self._rest else [])
        self._rest, self._is_lost = b"", False
        return result
