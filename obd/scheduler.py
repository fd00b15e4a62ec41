"""Which value to ask for next, when an adapter manages fewer than everybody wants.

Runs on CPython and MicroPython.  Each item has the period at which it is wanted.  Who is most overdue comes
first, and being asked moves an item on by its own period.  When there is room for all, each is asked
at its period; when there is not, all become slower by the same factor, so fast ones stay fast and nobody
starves.  Times are milliseconds of any steady clock.

While more is wanted than can be had, items that are due are handed out without a pause and virtual time
falls behind; all dues are then moved forward together, which changes nobody's share.
"""

import heapq
from collections import namedtuple

BUSY_SHARE = 0.2
"""How much of the newest measurement goes into the average."""
LAG_MAX_MS = 1_000
"""How far dues may lie in the past; a short hiccup is caught up on, a long one is not."""
PEEK_MAX_MS = 2_000
"""How far ahead companions for a query are looked for."""


class Item(namedtuple("Item", ("key", "period_ms", "group", "size"))):
    """key: anything, given back when it is the item's turn.  group: items of one group may go in one
    query; None for an item that goes alone.  size: what it takes of the room that a query has."""

    __slots__ = ()


class Scheduler:
    """Pure: `pick` who is next, `done` when it was answered."""

    def __init__(self, items: list[Item], now_ms: float) -> None:
        """Raises ValueError for a period that is not positive."""
        for item in items:
            if item.period_ms <= 0:
                raise ValueError(f"{item.key}: a period of {item.period_ms} ms is not possible")
        self.items = items
        # Everything once, as soon as can be; who looks at a car wants to see all of it.
        self._heap: list[tuple[float, int]] = [(now_ms, index) for index in range(len(items))]
        """(due, index of the item), in virtual time: real time less `_shift_ms`."""
        self._shift_ms = 0.0
        self._is_new = [True for _ in items]
        self.query_ms = 0.0
        """Average time of a query, as measured; 0 before the first."""
        self._items_per_query = 1.0

    @property
    def wanted_per_s(self) -> float:
        """Items a second that would satisfy everybody."""
        total = 0.0
        for item in self.items:
            total += 1000 / item.period_ms
        return total

    @property
    def capacity_per_s(self) -> float:
        """Items a second that the adapter manages, as measured; 0 before the first."""
        return 1000 * self._items_per_query / self.query_ms if self.query_ms else 0.0

    @property
    def stretch(self) -> float:
        """By which factor all periods are longer than wanted; 1 when there is room for all."""
        capacity = self.capacity_per_s
        return max(self.wanted_per_s / capacity, 1.0) if capacity else 1.0

    def pick(self, now_ms: float, count_max: int = 1, room: int = 1 << 30) -> list:  # type: ignore[type-arg]  # keys are anything
        """Keys for the next query, the most overdue first; empty when nothing is due before `wait_ms`.

        count_max: keys in one query; room: sum of their sizes.  Companions are of the first one's
        group, and due within half of their period, since they cost nothing then."""
        if not self._heap:
            return []
        virtual_ms = now_ms - self._shift_ms
        lag_ms = virtual_ms - self._heap[0][0]
        if lag_ms < 0:
            return []
        if lag_ms > LAG_MAX_MS:
            self._shift_ms += lag_ms - LAG_MAX_MS
            virtual_ms -= lag_ms - LAG_MAX_MS
        chosen = [heapq.heappop(self._heap)]
        group = self.items[chosen[0][1]].group
        if count_max > 1 and group is not None:
            passed: list[tuple[float, int]] = []
            room -= self.items[chosen[0][1]].size
            # In order of their dues; who is due much later than half a period from now is not looked at.
            while self._heap and len(chosen) < count_max and self._heap[0][0] <= virtual_ms + PEEK_MAX_MS:
                entry = heapq.heappop(self._heap)
                item = self.items[entry[1]]
                is_soon = entry[0] <= virtual_ms + item.period_ms / 2
                if item.group == group and is_soon and item.size <= room:
                    room -= item.size
                    chosen.append(entry)
                else:
                    passed.append(entry)
            for entry in passed:
                heapq.heappush(self._heap, entry)
        for due_ms, index in chosen:
            step_ms = self.items[index].period_ms
            if self._is_new[index]:
                # Spread from then on, or everything slow would come at once, again and again.
                step_ms *= 0.5 + 0.5 * index / len(self.items)
                self._is_new[index] = False
            heapq.heappush(self._heap, (due_ms + step_ms, index))
        return [self.items[index].key for _, index in chosen]

    def wait_ms(self, now_ms: float) -> "float | None":
        """How long nothing is due; None when there are no items."""
        if not self._heap:
            return None
        return max(self._heap[0][0] + self._shift_ms - now_ms, 0.0)

    def done(self, spent_ms: float, item_count: int) -> None:
        """A query for so many items took so long."""
        share = BUSY_SHARE if self.query_ms else 1.0
        self.query_ms += (spent_ms - self.query_ms) * share
        self._items_per_query += (item_count - self._items_per_query) * share
