"""Trouble that lasts for days is said, and does not fill a log."""

import pytest

from gateway.errors import StoreError, StoreFull
from gateway.troubles import KINDS_MAX, REMIND_MS, Troubles, duration_text
from tests.gateway.uploading import Hours

MINUTE_NS = 60 * 10**9


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
def troubles(hours: Hours) -> Troubles:
    return Troubles(hours.clock)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_trouble_is_said_when_it_begins_once_an_hour_and_when_it_is_over(
    hours: Hours, troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(150):
        troubles.happened("store", StoreError("no disk"), "; it waits")
        hours.now_ns += MINUTE_NS
    troubles.over("store")
    troubles.over("store")
    assert said(caplog) == ["store: no disk; it waits"] * 3 + ["store: works again, after 2 h 30 min"]


def test_trouble_that_comes_and_goes_is_said_once_an_hour(
    hours: Hours, troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        troubles.happened("store", StoreError("no disk"))
        hours.now_ns += MINUTE_NS // 2
        troubles.over("store")
        hours.now_ns += MINUTE_NS // 2
    assert said(caplog) == ["store: no disk", "store: works again, after 30 s"] * 2


def test_numbers_make_no_new_trouble_but_another_cause_does(
    troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    for height in range(50):
        troubles.happened("anchor", StoreError(f"block {height} of chain {height * 977:08x} is missing"))
    troubles.happened("anchor", StoreError("the cable is missing"))
    troubles.happened("anchor", StoreFull("the cable is missing"))
    assert said(caplog) == [
        "anchor: block 0 of chain 00000000 is missing",
        "anchor: the cable is missing",
        "anchor: the cable is missing",
    ]


def test_who_chooses_the_words_cannot_fill_the_log(
    hours: Hours, troubles: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1_000):
        letters = "".join(chr(ord("g") + int(digit)) for digit in str(number))
        troubles.happened("anchor", StoreError(letters))
    assert len(said(caplog)) == KINDS_MAX
    hours.now_ns += REMIND_MS * 10**6
    troubles.happened("anchor", StoreError("news"))
    assert said(caplog)[-1] == "anchor: news"


def test_troubles_do_not_mix(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    troubles.happened("store", StoreError("no disk"))
    troubles.over("anchor")
    troubles.happened("anchor", StoreError("no node"))
    troubles.over("store")
    assert said(caplog) == ["store: no disk", "anchor: no node", "store: works again, after 0 ms"]


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h 0 min"),
        (86_399_999, "23 h 59 min"),
        (90_000_000, "1 d 1 h"),
        (400 * 86_400_000, "400 d 0 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(duration_ms: int, text: str) -> None:
    assert duration_text(duration_ms) == text
