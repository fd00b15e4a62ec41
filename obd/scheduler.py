"""Which value to ask for next, when an adapter manages fewer than everybody wants.

Runs on CPython and MicroPython.  Each item has the period at which it is wanted.  Who is most overdue comes
first, and being asked moves an item on by its own period.  When there is room for all, each is asked
at its period; when there is not, all become slower by the same factor, so fast ones stay fast and nobody
starves.  Times are milliseconds of any steady clock.

While more is wanted than can be had, items that are due are handed out without a pause and virtual time
falls behind; all dues are then moved forward together, which changes nobody's share.
"""

from collections import namedtuple

BUSY_SHARE = 0.2
"""How much of the newest measurement goes into the average."""
LAG_MAX_MS = 1_000
"""How far dues may lie in the past; a short hiccup is caught up on, a long one is not."""


class Item(namedtuple("Item", ("key", "period_ms", "group"))):
    """key: anything, given back when it is the item's turn.  group: items of one group may go in one
    query; None for an item that goes alone."""

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
        self._due_ms: list[float] = [now_ms for _ in items]
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

    def pick(self, now_ms: float, count_max: int = 1) -> list:  # type: ignore[type-arg]  # keys are anything
        """Keys for the next query, the most overdue first; empty when nothing is due before `wait_ms`.

        count_max: keys in one query; companions are of the first one's group, and due within half of
        their period, since they cost nothing then."""
        first = self._most_overdue()
        if first < 0 or self._due_ms[first] > now_ms:
            return []
        lag_ms = now_ms - self._due_ms[first]
        if lag_ms > LAG_MAX_MS:
            shift_ms = lag_ms - LAG_MAX_MS
            self._due_ms = [due_ms + shift_ms for due_ms in self._due_ms]
        chosen = [first]
        group = self.items[first].group
        if count_max > 1 and group is not None:
            companions = [
                index
                for index, item in enumerate(self.items)
                if index != first
                and item.group == group
                and self._due_ms[index] <= now_ms + item.period_ms / 2
            ]
            companions.sort(key=lambda index: self._due_ms[index])
            chosen += companions[: count_max - 1]
        for index in chosen:
            step_ms = self.items[index].period_ms
            if self._is_new[index]:
                # Spread from then on, or everything slow would come at once, again and again.
                step_ms *= 0.5 + 0.5 * index / len(self.items)
                self._is_new[index] = False
            self._due_ms[index] += step_ms
        return [self.items[index].key for index in chosen]

    def wait_ms(self, now_ms: float) -> "float | None":
        """How long nothing is due; None when there are no items."""
        first = self._most_overdue()
        return None if first < 0 else max(self._due_ms[first] - now_ms, 0.0)

    def done(self, spent_ms: float, item_count: int) -> None:
        """A query for so many items took so long."""
        share = BUSY_SHARE if self.query_ms else 1.0
        self.query_ms += (spent_ms - self.query_ms) * share
        self._items_per_query += (item_count - self._items_per_query) * share

    def _most_overdue(self) -> int:
        best = -1
        for index, due_ms in enumerate(self._due_ms):
            if best < 0 or due_ms < self._due_ms[best]:
                best = index
        return best
