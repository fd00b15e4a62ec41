"""Hard updates: believed when more validators announce them than can be faulty."""

from chain_node.upgrade import FIRST, Announcements, Upgrade, newest


def test_a_chain_without_an_update_is_under_its_first_rules() -> None:
    assert newest(bytes(32)) == FIRST == Upgrade(1, 0)


def test_two_of_four_validators_are_believed_and_one_is_not() -> None:
    said = Announcements(4, FIRST)
    assert said.hear(0, Upgrade(2, 100)) is None
    assert said.hear(0, Upgrade(2, 100)) is None, "the same one again is no second one"
    assert said.hear(1, FIRST) is None
    assert said.hear(2, Upgrade(2, 100)) == Upgrade(2, 100)


def test_the_height_is_one_that_an_honest_one_has_named_or_later() -> None:
    said = Announcements(4, FIRST)
    said.hear(0, Upgrade(9, 1))
    assert said.hear(1, Upgrade(2, 100)) == Upgrade(2, 100)
    assert said.hear(2, Upgrade(2, 100)) == Upgrade(2, 100)


def test_who_takes_it_back_is_not_counted_any_more() -> None:
    said = Announcements(4, FIRST)
    said.hear(0, Upgrade(2, 100))
    said.hear(0, FIRST)
    assert said.hear(1, Upgrade(2, 100)) is None


def test_who_is_no_validator_any_more_is_not_counted() -> None:
    said = Announcements(4, FIRST)
    said.hear(0, Upgrade(2, 100))
    said.seat({1, 2, 3, 7})
    assert said.hear(1, Upgrade(2, 100)) is None
    said.seat({1, 2, 7})
    assert said.hear(7, FIRST) == Upgrade(2, 100), "of three validators one is enough"


def test_rules_that_this_program_knows_are_no_news() -> None:
    said = Announcements(1, Upgrade(2, 100))
    assert said.hear(0, Upgrade(2, 100)) is None
    assert said.hear(0, Upgrade(3, 200)) == Upgrade(3, 200)
