"""Counters that are used once, also across power cuts, with few writes to flash.

Runs on CPython and MicroPython.  A sender numbers what it sends by a `Counter`; a receiver takes each number
once, in any order within a window, by a `ReplayWindow`.  Neither writes for each number: both write an upper
bound ahead, two blocks on, into both slots of their notes, before the first number beyond the last bound is
used, and after a restart go on at the bound:

    numbers   0 ......... used ......... next | ... reserved ... | bound
    restart   what may have been used is refused, or skipped, up to the bound: two blocks are lost at most

So 10,000 numbers in order cost 10,000 / block writes, and a restart none.  A receiver that has
restarted refuses what is below its `floor`; the sender is to be told of the floor, authentically, and to
`skip_to` it.  That holds for a power cut at any write, and when either slot decays later.

ONLY pass on a number whose message has been authenticated: others would move the window.
Source: RFC 4303, section 3.4.3 and appendix A2.1 (window); RFC 6479; bounds written ahead:
RFC 8613, appendix B.1.
"""

from puf import cbor
from puf.errors import DecodeError, NotesError
from puf.notes import Notes

NUMBER_MAX = (1 << 64) - 1
"""The last number; then a new key is due, with a new epoch."""
BLOCK = 100
"""Numbers for one write, unless the caller says otherwise: 100 writes for 10,000 numbers."""
SIZE = 64
"""Numbers that the window looks back, unless the caller says otherwise."""


def _load(notes: Notes) -> "tuple[int, int]":
    """Epoch and bound of the notes."""
    try:
        parts = cbor.decode(notes.read(), 64, 1)
        if isinstance(parts, list) and len(parts) == 2:
            epoch, bound = parts
            if isinstance(epoch, int) and isinstance(bound, int) and min(epoch, bound) >= 0:
                return epoch, bound
    except DecodeError as error:
        raise NotesError(f"the notes on numbers are damaged: {error}; begin a new epoch") from None
    raise NotesError("the notes on numbers are not [epoch, bound]; begin a new epoch")


class _Bounds:
    """What of the numbers of an epoch is reserved in flash."""

    def __init__(self, notes: Notes, block: int) -> None:
        self._notes = notes
        self._block = block
        self.epoch = 0
        self._bound = 0
        """What the slot has that was written last."""
        self._safe = 0
        """What both slots have at least, unless one is of an earlier epoch."""

    def _open(self) -> None:
        self.epoch, self._bound = _load(self._notes)
        # Nobody knows what the other slot has.
        self._safe = 0

    def _begin_epoch(self, epoch: int) -> None:
        self._notes.write(cbor.encode([epoch, 0]))
        self.epoch, self._bound, self._safe = epoch, 0, 0

    def _reserve(self, number: int) -> None:
        """Before `number` is used: both slots say that it may have been."""
        bound = max(min(number + 2 * self._block, NUMBER_MAX + 1), self._bound)
        while number >= self._safe:
            self._notes.write(cbor.encode([self.epoch, bound]))
            self._safe, self._bound = self._bound, bound


class Counter(_Bounds):
    """The sender's numbers: each is given once.  Opened from `notes`, or new in `epoch` when that is given.

    Raises NotesError when there is nothing to open: numbering anew under an old key would repeat numbers.
    """

    def __init__(self, notes: Notes, epoch: "int | None" = None, block: int = BLOCK) -> None:
        super().__init__(notes, block)
        if epoch is None:
            self._open()
        else:
            self._begin_epoch(epoch)
        self._next = self._bound

    def take(self) -> int:
        """The next number.  Raises NotesError when there is none left in this epoch."""
        number = self._next
        if number > NUMBER_MAX:
            raise NotesError("every number of this epoch is used; begin a new epoch")
        self._reserve(number)
        self._next = number + 1
        return number

    def skip_to(self, floor: int) -> None:
        """Goes on at `floor` if that is ahead: what the receiver said, authenticated."""
        self._next = max(self._next, floor)


class ReplayWindow(_Bounds):
    """The receiver's memory of numbers.  Opened from `notes`, or new in `epoch` when that is given.

    `epoch`: int, of the key whose messages are numbered here.  Raises NotesError when nothing can be
    opened: a window that forgot must not begin at zero under the same key.
    """

    def __init__(
        self, notes: Notes, epoch: "int | None" = None, block: int = BLOCK, size: int = SIZE
    ) -> None:
        super().__init__(notes, block)
        self._size = size
        self._mask = (1 << size) - 1
        self._top = -1
        self._seen = self._mask
        if epoch is None:
            self._open()
            self._begin()
        else:
            self.epoch = -1
            self.renew(epoch)

    @property
    def floor(self) -> int:
        """All numbers from here on are still to be used; after a restart no other is taken."""
        return self._top + 1

    def accept(self, number: int) -> bool:
        """Whether `number` is used for the first time.  It then counts as used, also after a power cut."""
        if not 0 <= number <= NUMBER_MAX:
            return False
        back = self._top - number
        if back >= self._size:
            return False
        if back >= 0:
            if self._seen >> back & 1:
                return False
            self._seen |= 1 << back
            return True
        self._reserve(number)
        # A far jump would shift by as much; what it leaves behind is out of the window anyway.
        self._seen = (self._seen << min(-back, self._size) | 1) & self._mask
        self._top = number
        return True

    def renew(self, epoch: int) -> None:
        """Begins at zero for the key of a later epoch.  Raises ValueError for one that is not later."""
        if epoch <= self.epoch:
            raise ValueError(
                f"epoch {epoch} is not after {self.epoch}; numbers of an old key are never freed"
            )
        self._begin_epoch(epoch)
        self._begin()

    def _begin(self) -> None:
        self._top = self._bound - 1
        self._seen = self._mask
