"""How often a device tries to find its key: counted in flash before each try, slower after each failure.

Runs on CPython and MicroPython.  An attempt is counted, and synced, *before* it is made, so cutting the power
in the middle of one does not give another for nothing; a success takes the count back.  The first FREE_COUNT
failures cost nothing, for noise is nobody's fault; then the wait doubles from WAIT_MS to WAIT_MS_MAX; after
COUNT_MAX the device must be enrolled anew.  A device has no clock that survives a power cut: the wait
begins again with each start.

This is the second line.  The first is that trying teaches nothing (puf/fuzzy_extractor.py).  Before the key
is there nothing secret can protect the count: who can write the flash can take it back.
"""

from puf import cbor
from puf.errors import AttemptsExceeded, DecodeError
from puf.fuzzy_extractor import reproduce
from puf.helper_data import HelperData
from puf.notes import Notes, Slots

FREE_COUNT = 5
"""Failures in a row that cost nothing."""
COUNT_MAX = 1000
"""Failures in a row after which nothing is tried any more: about five weeks of trying."""
WAIT_MS = 1_000
WAIT_MS_MAX = 3_600_000

_CHECKSUM_KEY = bytes(32)
"""Notes are read before there is a key: what makes of their tag a checksum, and no more."""


def wait_ms_after(failure_count: int) -> int:
    """How long to wait after so many failures in a row, milliseconds."""
    if failure_count <= FREE_COUNT:
        return 0
    return min(WAIT_MS_MAX, WAIT_MS << min(failure_count - FREE_COUNT - 1, 12))


class Attempts:
    """The attempts of one device.  `slots`: where the count is kept; `failure_count`: in a row, so far.

    Times are milliseconds of any clock that does not run backwards while the device is on.
    """

    def __init__(self, slots: Slots, now_ms: int) -> None:
        self._notes = Notes(slots, _CHECKSUM_KEY, "attempts")
        self.failure_count = _count_of(self._notes.value)
        self._allowed_ms = now_ms + wait_ms_after(self.failure_count)

    def reproduce(self, readout: bytes, helper: HelperData, now_ms: int) -> bytes:
        """The root, as puf/fuzzy_extractor.py has it.

        Raises AttemptsExceeded, having tried nothing, while it is too early or for good; ReproductionError
        when the attempt fails.
        """
        if self.failure_count >= COUNT_MAX:
            raise AttemptsExceeded(None)
        if now_ms < self._allowed_ms:
            raise AttemptsExceeded(self._allowed_ms - now_ms)
        self._write(self.failure_count + 1)
        self._allowed_ms = now_ms + wait_ms_after(self.failure_count)
        root = reproduce(readout, helper)
        self._write(0)
        self._allowed_ms = now_ms
        return root

    def _write(self, failure_count: int) -> None:
        self._notes.write(cbor.encode(failure_count))
        self.failure_count = failure_count


def _count_of(value: "bytes | None") -> int:
    """What the notes say; a new device has none."""
    if value is None:
        return 0
    try:
        count = cbor.decode(value, 16, 0)
    except DecodeError:
        return COUNT_MAX
    if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= COUNT_MAX:
        return count
    return COUNT_MAX
