"""Which messages are under way to the broker, and for how long.

Runs on CPython; pure: the caller's clock, no IO.  Rows of the outbox go in as they are sent, come out as
they are acknowledged, in whatever order.

    room > 0       send more
    is_stalled     nothing was acknowledged for too long: the link is dead, whatever it says of itself
"""

from __future__ import annotations

from collections import OrderedDict


class Window:
    """Of one connection; a new one begins empty."""

    def __init__(self, size: int, ack_timeout_ms: int) -> None:
        self._size = size
        self._ack_timeout_ms = ack_timeout_ms
        self._sent: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """By number of the connection: (row of the outbox, when it was sent, or when the one before it was
        acknowledged)."""
        self._progress_ms = 0
        self.cursor = 0
        """Row of the last message that was sent."""

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def room(self) -> int:
        """Messages that may be sent now."""
        return max(0, self._size - len(self._sent))

    def sent(self, mid: int, row: int, now_ms: int) -> None:
        """Message `row` is under way with number `mid`."""
        if not self._sent:
            self._progress_ms = now_ms
        self._sent[mid] = (row, now_ms)
        self.cursor = row

    def acknowledged(self, mid: int, now_ms: int) -> int | None:
        """The row that number `mid` stands for; None when it stands for none, as after a repetition."""
        found = self._sent.pop(mid, None)
        if found is None:
            return None
        self._progress_ms = now_ms
        return found[0]

    def is_stalled(self, now_ms: int) -> bool:
        """The oldest message has waited too long, and meanwhile none was acknowledged.

        A slow link that takes its time for each of many messages is not dead.
        """
        if not self._sent:
            return False
        _, sent_ms = next(iter(self._sent.values()))
        return now_ms - max(sent_ms, self._progress_ms) >= self._ack_timeout_ms
