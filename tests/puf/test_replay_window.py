"""Numbers are used once, whatever is lost, repeated and reordered, and whenever the power fails."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor
from puf.errors import NotesError
from puf.notes import Notes
from puf.replay_window import BLOCK, NUMBER_MAX, Counter, ReplayWindow
from tests.puf.flash import Flash, PowerCut

KEY = bytes(32)


def notes(flash: Flash) -> Notes:
    return Notes(flash, KEY, "numbers")


def test_each_number_is_taken_once_and_in_any_order_within_the_window() -> None:
    window = ReplayWindow(notes(Flash()), 0, size=8)
    told = [
        (number, window.accept(number)) for number in (0, 0, 5, 3, 5, 3, 4, 12, 5, 4, 6, 100, 93, 92, 12, 101)
    ]
    assert told == [
        *((0, True), (0, False), (5, True), (3, True), (5, False), (3, False), (4, True)),
        # 12 moves the window to 5..12: 5 was used, 4 is too old, 6 is still good.
        *((12, True), (5, False), (4, False), (6, True)),
        *((100, True), (93, True), (92, False), (12, False), (101, True)),
    ]


@pytest.mark.parametrize("number", [-1, NUMBER_MAX + 1])
def test_what_is_no_number_is_refused(number: int) -> None:
    window = ReplayWindow(notes(Flash()), 0)
    assert not window.accept(number)
    assert window.accept(NUMBER_MAX)
    assert not window.accept(NUMBER_MAX)
    assert window.accept(NUMBER_MAX - 1)


def test_the_last_numbers_leave_a_floor_that_is_one() -> None:
    flash = Flash()
    assert ReplayWindow(notes(flash), 0).accept(NUMBER_MAX - 1)
    again = ReplayWindow(notes(flash))
    assert again.floor == NUMBER_MAX + 1
    assert not again.accept(NUMBER_MAX)
    counter = Counter(notes(Flash()), 0)
    counter.skip_to(NUMBER_MAX)
    assert counter.take() == NUMBER_MAX
    with pytest.raises(NotesError, match="every number of this epoch is used"):
        counter.take()


@given(st.lists(st.integers(0, 300), max_size=80), st.integers(1, 70))
@settings(deadline=None, max_examples=100)
def test_the_window_is_that_of_a_set(numbers: list[int], size: int) -> None:
    window = ReplayWindow(notes(Flash()), 0, size=size)
    used: set[int] = set()
    for number in numbers:
        is_new = number not in used and number > max(used, default=-1) - size
        assert window.accept(number) == is_new
        if is_new:
            used.add(number)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("number"), st.integers(0, 60)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("cut"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 12))
@settings(deadline=None, max_examples=200)
def test_no_power_cut_lets_a_number_pass_twice(steps: list[tuple[str, int]], block: int) -> None:
    flash = Flash()
    window = ReplayWindow(notes(flash), 0, block=block)
    used: set[int] = set()
    tried = -1
    for kind, value in steps:
        if kind == "restart":
            window = ReplayWindow(notes(flash), block=block)
            assert max(used, default=-1) < window.floor <= tried + 2 * block + 1
            assert not any(window.accept(number) for number in used)
        elif kind == "cut":
            flash.cut(0, value)
        else:
            tried = max(tried, value)
            try:
                if window.accept(value):
                    assert value not in used
                    used.add(value)
            except PowerCut:
                window = ReplayWindow(notes(flash), block=block)
    flash.cut_at = None
    assert window.accept(window.floor)


@given(STEPS, st.integers(1, 12))
@settings(deadline=None, max_examples=200)
def test_no_power_cut_gives_a_number_twice(steps: list[tuple[str, int]], block: int) -> None:
    flash = Flash()
    counter = Counter(notes(flash), 0, block)
    given: list[int] = []
    for kind, value in steps:
        if kind == "restart":
            counter = Counter(notes(flash), block=block)
        elif kind == "cut":
            flash.cut(0, value)
        else:
            try:
                given.append(counter.take())
            except PowerCut:
                counter = Counter(notes(flash), block=block)
    assert given == sorted(set(given))


def test_sender_and_receiver_go_on_together_after_both_restarted() -> None:
    ours, theirs = Flash(), Flash()
    counter, window = Counter(notes(ours), 0), ReplayWindow(notes(theirs), 0)
    assert all(window.accept(counter.take()) for _ in range(150))
    window = ReplayWindow(notes(theirs))
    assert window.floor == 200
    assert not window.accept(counter.take())
    counter.skip_to(window.floor)
    assert [counter.take(), window.accept(200), counter.take(), window.accept(201)] == [200, True, 201, True]
    counter.skip_to(7)
    assert counter.take() == 202
    counter = Counter(notes(ours))
    assert counter.take() == 400
    assert window.accept(400)


def test_ten_thousand_uses_cost_a_hundred_writes_and_restarts_none() -> None:
    theirs, ours = Flash(), Flash()
    window, counter = ReplayWindow(notes(theirs), 0), Counter(notes(ours), 0)
    before = theirs.write_count, ours.write_count
    assert all(window.accept(counter.take()) for _ in range(10_000))
    assert (theirs.write_count - before[0], ours.write_count - before[1]) == (
        10_000 // BLOCK,
        10_000 // BLOCK,
    )
    for _ in range(50):
        window, counter = ReplayWindow(notes(theirs)), Counter(notes(ours))
    assert theirs.write_count == 101


def is_readable(flash: Flash, slot: int) -> bool:
    alone = Flash()
    alone.slots[slot] = flash.slots[slot]
    return notes(alone).value is not None


DECAYS = st.lists(
    st.one_of(
        st.tuples(st.just("number"), st.integers(0, 60)),
        st.tuples(st.just("decay"), st.integers(0, 1)),
        st.tuples(st.just("cut"), st.integers(0, 40)),
        st.tuples(st.just("renew"), st.just(0)),
    ),
    max_size=60,
)


@given(DECAYS, st.integers(1, 12))
@settings(deadline=None, max_examples=300)
def test_a_slot_that_decays_later_lets_no_number_pass_twice(steps: list[tuple[str, int]], block: int) -> None:
    """One slot at a time is lost, and what is used after that is written into both again."""
    flashes = Flash(), Flash()
    window, counter = ReplayWindow(notes(flashes[0]), 0, block=block), Counter(notes(flashes[1]), 0, block)
    used: set[tuple[int, int]] = set()
    given: list[int] = []
    epoch = 0
    for kind, value in steps:
        try:
            if kind == "decay":
                for flash in flashes:
                    if all(is_readable(flash, slot) for slot in (0, 1)):
                        flash.slots[value] = b"decayed"
                window, counter = (
                    ReplayWindow(notes(flashes[0]), block=block),
                    Counter(notes(flashes[1]), block=block),
                )
            elif kind == "cut":
                flashes[value % 2].cut(0, value)
            elif kind == "renew":
                epoch = max(epoch, window.epoch) + 1
                window.renew(epoch)
            else:
                given.append(counter.take())
                if window.accept(value):
                    assert (window.epoch, value) not in used
                    used.add((window.epoch, value))
        except PowerCut:
            window, counter = (
                ReplayWindow(notes(flashes[0]), block=block),
                Counter(notes(flashes[1]), block=block),
            )
    assert given == sorted(set(given))


def test_replays_and_old_numbers_never_write() -> None:
    flash = Flash()
    window = ReplayWindow(notes(flash), 0)
    assert window.accept(500)
    written = flash.write_count
    assert sum(window.accept(number) for number in (*range(501), 500)) == 63
    assert flash.write_count == written


def test_a_later_epoch_begins_at_zero_and_an_earlier_one_never() -> None:
    flash = Flash()
    window = ReplayWindow(notes(flash), 3)
    assert window.accept(9)
    window.renew(4)
    assert (window.epoch, window.floor, window.accept(9)) == (4, 0, True)
    for epoch in (3, 4):
        with pytest.raises(ValueError, match="is not after 4"):
            window.renew(epoch)
    assert ReplayWindow(notes(flash)).epoch == Counter(notes(flash)).epoch == 4


@pytest.mark.parametrize("keep", [0, 3, 22])
def test_a_power_cut_while_the_epoch_changes_leaves_the_old_one(keep: int) -> None:
    flash = Flash()
    window = ReplayWindow(notes(flash), 3)
    assert window.accept(0)
    flash.cut(0, keep)
    with pytest.raises(PowerCut):
        window.renew(4)
    assert (window.epoch, window.accept(0)) == (3, False)
    assert ReplayWindow(notes(flash)).epoch == 3
    assert not ReplayWindow(notes(flash)).accept(0)


def test_who_has_forgotten_does_not_begin_at_zero() -> None:
    for opened in (ReplayWindow, Counter):
        with pytest.raises(NotesError, match="set them up anew"):
            opened(notes(Flash()))
    for damaged in (b"", b"\xff", cbor.encode(["0", 0]), cbor.encode([0]), cbor.encode([0, -1]), bytes(70)):
        flash = Flash()
        notes(flash).write(damaged)
        for opened in (ReplayWindow, Counter):
            with pytest.raises(NotesError, match="new epoch"):
                opened(notes(flash))


def test_the_last_number_is_the_last() -> None:
    counter = Counter(notes(Flash()), 0)
    counter.skip_to(NUMBER_MAX)
    assert counter.take() == NUMBER_MAX
    with pytest.raises(NotesError, match="begin a new epoch"):
        counter.take()
