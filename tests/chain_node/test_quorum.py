"""Quorum arithmetic against what it is for: no two quorums without a common honest validator."""

from chain_node import quorum


def test_a_committee_of_3f_plus_1_needs_2f_plus_1() -> None:
    for fault_count in range(34):
        assert quorum.fault_count_max(3 * fault_count + 1) == fault_count
        assert quorum.size(3 * fault_count + 1) == 2 * fault_count + 1


def test_the_table_of_small_committees() -> None:
    sizes = [1, 2, 3, 4, 5, 6, 7, 10]
    assert [quorum.fault_count_max(count) for count in sizes] == [0, 0, 0, 1, 1, 1, 2, 3]
    assert [quorum.size(count) for count in sizes] == [1, 2, 3, 3, 4, 5, 5, 7]


def test_any_two_quorums_share_an_honest_validator_and_f_silent_ones_do_not_stop_it() -> None:
    for count in range(1, 101):
        fault_count, size = quorum.fault_count_max(count), quorum.size(count)
        shared_at_least = 2 * size - count
        assert shared_at_least > fault_count
        assert count - fault_count >= size
        # One faulty validator more would break the one or the other.
        assert 3 * (fault_count + 1) + 1 > count


def test_those_whom_a_validator_joins_are_never_all_faulty_and_quorums_and_honest_ones_suffice() -> None:
    assert [quorum.join_size(count) for count in (1, 3, 4, 7, 10, 100)] == [1, 1, 2, 3, 4, 34]
    for count in range(1, 101):
        fault_count, join = quorum.fault_count_max(count), quorum.join_size(count)
        assert join - fault_count == 1, "one of them is honest, and one fewer need not be"
        assert join <= 2 * quorum.size(count) - count, "no more than two quorums share"
        assert join <= count - fault_count, "the honest alone make everybody join"
