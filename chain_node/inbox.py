"""What waits for a node, by how much it matters: a flood of one kind keeps nobody else's messages waiting.

Runs on CPython; pure.

    URGENT   votes, proposals, certificates and answers of the committee's members
    NORMAL   the same of others, requests, heights
    BULK     transactions

The more urgent comes first, and within a kind who came first.  Each kind is bounded for itself; when it is
full its oldest is lost, as on any network, and sent again by its sender.
"""

from collections import deque
from collections.abc import Iterable

from chain_node.messages import Ballot, Changes, Links, Message, Proposal, Relay, StateNodes, Validate

URGENT, NORMAL, BULK = range(3)
LENGTHS_MAX = (10_000, 10_000, 1_000)
"""Of each kind.  Transactions come in messages of up to 64 KiB, and their pool is bounded as well."""

TELLING = (Ballot, Proposal, Validate, StateNodes, Links, Changes)
"""Messages that bring on whoever reads them, and cost little where they do not."""

Item = tuple[bytes, Message | int]
"""(peer, what it sent or on which height it works)."""


class Inbox:
    """Bounded, and ordered by urgency.  members: the committee's keys."""

    def __init__(self, members: Iterable[bytes], lengths_max: tuple[int, int, int] = LENGTHS_MAX) -> None:
        self._members = frozenset(members)
        self._queues: tuple[deque[Item], ...] = tuple(deque(maxlen=each) for each in lengths_max)
        self.lost_count = 0
        """Messages that found their queue full, since the start."""

    def seat(self, members: Iterable[bytes]) -> None:
        """From now on these are the committee."""
        self._members = frozenset(members)

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    @property
    def urgent_count(self) -> int:
        """How many of the most urgent wait."""
        return len(self._queues[URGENT])

    def put(self, sender: bytes, message: Message | int) -> None:
        """Let it wait."""
        if isinstance(message, Relay):
            urgency = BULK
        elif isinstance(message, TELLING) and sender in self._members:
            urgency = URGENT
        else:
            urgency = NORMAL
        queue = self._queues[urgency]
        self.lost_count += len(queue) == queue.maxlen
        queue.append((sender, message))

    def pop(self) -> Item:
        """The next one.  Raises IndexError when nothing waits."""
        for queue in self._queues:
            if queue:
                return queue.popleft()
        raise IndexError("nothing waits")
