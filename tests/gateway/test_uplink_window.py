"""What is under way, and when a link counts as dead."""

from gateway.uplink_window import Window


def test_the_window_fills_and_empties_in_any_order() -> None:
    window = Window(3, 1_000)
    for mid, row in ((1, 10), (2, 11), (3, 12)):
        assert window.room > 0
        window.sent(mid, row, 0)
    assert (window.room, len(window), window.cursor) == (0, 3, 12)
    assert [window.acknowledged(mid, 5) for mid in (2, 3, 2, 9)] == [11, 12, None, None]
    assert (window.room, len(window)) == (2, 1)


def test_a_link_is_dead_when_nothing_at_all_comes_back() -> None:
    window = Window(10, 1_000)
    assert not window.is_stalled(1 << 40)
    window.sent(1, 1, 0)
    window.sent(2, 2, 500)
    assert not window.is_stalled(999)
    assert window.is_stalled(1_000)
    # A slow one, which acknowledges one message in 900 ms, is not.
    window.acknowledged(1, 900)
    assert not window.is_stalled(1_899)
    assert window.is_stalled(1_900)
    window.acknowledged(2, 1_950)
    assert not window.is_stalled(1 << 40)
