"""Where the power-up pattern of a chip comes from: memory of the chip, a recording, or a simulator.

Runs on CPython and MicroPython.  A source has

    address, size       the region, bytes; it goes into the helper data
    read() -> bytes     one readout of the whole region, `size` bytes; raises SourceError when there is none

Sources: `Esp32RtcMemory` (puf/puf_esp32.py), `Rp2040Scratch` (puf/puf_rp2040.py), `SimulatedChip`
(puf/puf_simulator.py) and `Recording`.
Source: Holcomb, Burleson and Fu, "Power-up SRAM state as an identifying fingerprint and source of true random
numbers" (2009), for what memory tells after power-up and only then.
"""

from puf.errors import SourceError

BLANK_SHARE = 16
"""A region with less than one 16th of ones, or of zeros, holds what somebody wrote there, and no pattern."""


class MemorySource:
    """Memory of the chip that this runs on, which shows its pattern once after each power-up.

    `machine`: MicroPython's module of that name, or what has its `mem32`, `reset_cause`, `PWRON_RESET`;
    `causes`: causes of a reset after which the region is fresh.  The region is read in words of 32 bits,
    which every bus of these chips allows, and overwritten with zeros as soon as it was read: nobody reads it
    again in this run, and a later start that did not cut its power is seen to find zeros there.
    """

    def __init__(self, machine: "object", address: int, size: int, causes: "tuple[int, ...]") -> None:
        if address % 4 or size % 4 or size <= 0:
            raise ValueError("a region begins and ends at a multiple of 4 bytes")
        self.address = address
        self.size = size
        self._machine = machine
        self._causes = causes

    def read(self) -> bytes:
        """The pattern; the region holds zeros afterwards.

        Raises SourceError when the power was not cut before this start, or the pattern is gone.
        """
        cause = self._machine.reset_cause()  # type: ignore[attr-defined]
        if cause not in self._causes:
            raise SourceError(
                f"memory holds no power-up pattern after a reset of cause {cause}; cut the power, start again"
            )
        words = self._machine.mem32  # type: ignore[attr-defined]
        out = bytearray(self.size)
        for at in range(0, self.size, 4):
            word = words[self.address + at]
            # MicroPython reads words as signed where they do not fit a small integer otherwise.
            out[at : at + 4] = (word & 0xFFFFFFFF).to_bytes(4, "little")
            words[self.address + at] = 0
        ones = 0
        for value in out:
            while value:
                value &= value - 1
                ones += 1
        if not self.size * 8 // BLANK_SHARE <= ones <= self.size * 8 - self.size * 8 // BLANK_SHARE:
            raise SourceError("memory holds no power-up pattern any more; cut the power, start again")
        return bytes(out)


class Recording:
    """Recorded readouts, given one after the other: `data` holds them concatenated, `size` bytes each.

    Raises ValueError when `data` is not whole readouts.
    """

    def __init__(self, data: bytes, size: int, address: int = 0) -> None:
        if size <= 0 or not data or len(data) % size:
            raise ValueError(f"{len(data)} bytes are not whole readouts of {size}")
        self.address = address
        self.size = size
        self._data = data
        self._at = 0

    @property
    def count(self) -> int:
        """Readouts in all."""
        return len(self._data) // self.size

    def read(self) -> bytes:
        """The next readout.  Raises SourceError after the last."""
        if self._at == len(self._data):
            raise SourceError(f"the recording has {self.count} readouts, and all were taken")
        self._at += self.size
        return self._data[self._at - self.size : self._at]
