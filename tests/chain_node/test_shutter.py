"""The shutter: shuts in a flood, opens in calm, never flaps; told second by second, without a clock."""

import pytest

from chain_node.rate_limit import REFUSED_LOCAL, REFUSED_REMOTE
from chain_node.shutter import (
    CALM,
    DOUBLINGS_MAX,
    FORGOTTEN_MS,
    OPEN_MIN_MS,
    SHUT_MIN_MS,
    THRESHOLDS,
    WINDOW,
    Load,
    Shutter,
)

BEGIN_MS = 7_000_000


class Story:
    """Seconds pass, with so much of each load."""

    def __init__(self) -> None:
        self.shutter = Shutter(BEGIN_MS)
        self.now_ms = BEGIN_MS
        self.changes: list[tuple[int, bool]] = []
        """(second since the beginning, whether it is shut from then on)."""

    def pass_(self, seconds: int, load: Load = Load.HANDSHAKES, rate: int = 0) -> "Story":
        for _ in range(seconds):
            self.shutter.note(load, rate, self.now_ms)
            self.now_ms += 1_000
            if self.shutter.tick(self.now_ms):
                self.changes.append(((self.now_ms - BEGIN_MS) // 1000, self.shutter.is_shut))
        return self


@pytest.mark.parametrize("load", list(Load))
def test_a_flood_of_any_kind_shuts_it_and_calm_opens_it(load: Load) -> None:
    high = THRESHOLDS[load].high
    story = Story().pass_(30).pass_(WINDOW + 1, load, high + 1)
    shut_s = 30 + WINDOW
    assert story.changes == [(shut_s, True)]
    assert story.shutter.words == f"closed to all but the committee: {high + 1} {load.value} a second"
    story.pass_(60)
    assert story.changes[1:] == [(shut_s + SHUT_MIN_MS // 1000, False)]
    assert (story.shutter.words, story.shutter.shut_count) == ("", 1)


def test_a_load_at_the_threshold_or_a_short_burst_shuts_nothing() -> None:
    high = THRESHOLDS[Load.HANDSHAKES].high
    story = Story().pass_(100, rate=high).pass_(30).pass_(1, rate=high * WINDOW).pass_(30)
    assert story.changes == []


def test_it_stays_shut_as_long_as_the_flood_lasts_and_until_all_of_a_while_was_calm() -> None:
    low = THRESHOLDS[Load.HANDSHAKES].low
    story = Story().pass_(10, rate=1_000).pass_(90, rate=low + 1)
    assert story.changes == [(10, True)], "above low is not calm"
    story.pass_(CALM - 1, rate=low).pass_(1, rate=low + 1).pass_(CALM - 1, rate=low)
    assert story.changes == [(10, True)]
    story.pass_(1, rate=low)
    assert story.changes == [(10, True), (100 + 2 * CALM, False)]


def test_it_never_flaps_and_stays_shut_twice_as_long_each_time() -> None:
    """The worst attacker: floods whenever it is open, and is calm whenever it is shut."""
    story = Story()
    for _ in range(3_000):
        story.pass_(1, rate=0 if story.shutter.is_shut else 1_000)
    shut = [second for second, is_shut in story.changes if is_shut]
    opened = [second for second, is_shut in story.changes if not is_shut]
    spans = [(b - a) * 1000 for a, b in zip(shut, opened, strict=False)]
    doubled = [SHUT_MIN_MS << each for each in range(DOUBLINGS_MAX + 1)]
    assert spans == [*doubled, SHUT_MIN_MS << DOUBLINGS_MAX]
    pauses = [(b - a) * 1000 for a, b in zip(opened, shut[1:], strict=False)]
    assert set(pauses) == {OPEN_MIN_MS}


def test_what_one_address_may_have_refused_shuts_nobody() -> None:
    for rate in (REFUSED_LOCAL, REFUSED_REMOTE):
        assert rate.burst // WINDOW + rate.per_second < THRESHOLDS[Load.REFUSALS].high


def test_after_a_long_peace_it_begins_with_the_shortest_time() -> None:
    story = (
        Story().pass_(10, rate=1_000).pass_(40).pass_(FORGOTTEN_MS // 1000).pass_(10, rate=1_000).pass_(60)
    )
    (first, _), (second, _), (third, _), (fourth, _) = story.changes
    assert (second - first, fourth - third) == (SHUT_MIN_MS // 1000, SHUT_MIN_MS // 1000)


def test_whoever_is_told_to_wait_is_told_a_time_that_is_enough_or_a_second() -> None:
    story = Story().pass_(10, rate=1_000)
    assert story.shutter.wait_ms(story.now_ms) == SHUT_MIN_MS
    assert story.shutter.wait_ms(story.now_ms + SHUT_MIN_MS - 1) == 1_000


def test_seconds_without_a_tick_count_as_calm_and_what_is_kept_is_bounded() -> None:
    story = Story().pass_(10, rate=1_000)
    story.now_ms += 1_000_000_000
    assert story.shutter.tick(story.now_ms)
    assert not story.shutter.is_shut
    assert {len(counts) for counts in story.shutter._counts.values()} == {CALM + 1}
