"""Two slots of flash that can fail: the power goes at a chosen write, and leaves it undone, torn or done.

Runs on CPython and MicroPython.
"""

from puf.notes import Slots


class PowerCut(Exception):
    """The board lost its power inside a write."""


class Flash(Slots):
    """`write_count`: all writes so far.  `cut_at`: the write that fails, counted from now on, or None."""

    def __init__(self) -> None:
        self.slots = [b"", b""]
        self.write_count = 0
        self.cut_at: int | None = None
        self.keep = 0
        """Bytes of the new content that are there after the cut; the rest is erased flash."""

    def cut(self, after_writes: int, keep: int) -> None:
        """Lets the power fail after so many more good writes."""
        self.cut_at = after_writes
        self.keep = keep

    def read(self, slot: int) -> bytes:
        """As `Slots`."""
        return self.slots[slot]

    def write(self, slot: int, data: bytes) -> None:
        """As `Slots`; raises PowerCut."""
        self.write_count += 1
        if self.cut_at == 0:
            self.cut_at = None
            if self.keep:
                self.slots[slot] = data[: self.keep] + b"\xff" * max(len(data) - self.keep, 0)
            raise PowerCut
        if self.cut_at is not None:
            self.cut_at -= 1
        self.slots[slot] = data
