"""Patience: it grows when no proposer is in time any more, and goes again."""

from chain_node.patience import Patience


def doublings(story: str, proposer_count: int = 2) -> list[int]:
    """After each block: "I" for one in a proposer's place, "B" for a proposer's."""
    patience = Patience(proposer_count)
    seen = []
    for block in story:
        patience.note(is_impeached=block == "I")
        seen.append(patience.doublings)
    return seen


def test_a_whole_turn_of_impeachments_in_a_row_doubles_the_wait() -> None:
    assert doublings("IIII") == [0, 1, 1, 2]
    assert doublings("III", proposer_count=1) == [1, 2, 3]


def test_one_proposer_of_two_that_is_dead_changes_nothing() -> None:
    assert doublings("IBIBIBIB") == [0] * 8


def test_it_never_waits_more_than_32_times_as_long() -> None:
    assert doublings("I" * 9, proposer_count=1)[-1] == 5


def test_four_turns_of_the_proposers_blocks_halve_it_again_down_to_none() -> None:
    assert doublings("II" + "B" * 17) == [0, 1, *[1] * 7, *[0] * 10]


def test_blocks_count_from_the_last_time_it_grew() -> None:
    assert doublings("BBBBBBB" + "II" + "B" * 8)[-2:] == [1, 0]
