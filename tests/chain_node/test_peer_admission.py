"""Admission: connections by address, disgrace, members apart, bans that grow and are forgotten, bounds."""

from chain_node.peer_admission import (
    ADDRESSES_MAX,
    BAN_FORGOTTEN_MS,
    BAN_MS,
    CONNECTS,
    CONNECTS_DISGRACED,
    CONNECTS_SHARED,
    CONNECTS_SHUT,
    COST_BYTES_EACH,
    HOSTS_MAX,
    POINT_FORGIVEN_MS,
    POINTS_BRIEF,
    POINTS_MAX,
    Admission,
)


def let_in(admission: Admission, hosts: list[str], now_ms: int, *, is_shut: bool = False) -> int:
    return sum(admission.may_connect(host, now_ms, is_shut=is_shut) for host in hosts)


def test_an_address_connects_so_often_and_another_one_beside_it() -> None:
    admission = Admission()
    assert let_in(admission, ["a"] * (CONNECTS.burst + 40), 0) == CONNECTS.burst
    assert admission.may_connect("b", 0)
    assert let_in(admission, ["a"] * 100, 1_000) == CONNECTS.rate
    assert admission.refused_count == 40 + 100 - CONNECTS.rate


def test_all_addresses_together_get_so_much_and_those_of_members_are_apart() -> None:
    admission = Admission()
    admission.know("member")
    strangers = [str(number) for number in range(1_000)]
    assert let_in(admission, strangers, 0) == CONNECTS_SHARED.burst
    assert admission.tried_count == 1_000
    assert let_in(admission, ["member"] * 100, 0) == CONNECTS.burst
    assert admission.tried_count == 1_000, "members are not counted as strangers' load"


def test_who_misbehaves_brings_its_address_into_disgrace_for_a_time_that_grows() -> None:
    admission = Admission()
    assert admission.suspect("a", 0, POINTS_MAX) == BAN_MS
    assert let_in(admission, ["a"] * 10, BAN_MS - 1) == 0
    assert admission.may_connect("b", BAN_MS - 1)
    assert admission.may_connect("a", BAN_MS)
    assert admission.suspect("a", BAN_MS, POINTS_MAX) == 2 * BAN_MS
    assert admission.suspect("a", BAN_MS, POINTS_MAX) == 0, "it is in disgrace already"


def test_a_member_keeps_a_few_connections_where_its_address_is_in_disgrace() -> None:
    admission = Admission()
    admission.know("a")
    admission.suspect("a", 0, POINTS_MAX)
    assert let_in(admission, ["a"] * 50, 0) == CONNECTS_DISGRACED.burst
    assert let_in(admission, ["a"] * 50, 1_000) == CONNECTS_DISGRACED.rate


def test_the_plain_nodes_of_one_address_share_what_they_may_send() -> None:
    admission = Admission()
    assert admission.bytes_owed_ms("a", COST_BYTES_EACH.burst, 0) == 0
    assert admission.bytes_owed_ms("a", COST_BYTES_EACH.rate, 0) == 1_000
    assert admission.bytes_owed_ms("b", 1, 0) == 0


def test_connections_that_come_to_nothing_count_until_they_are_forgiven() -> None:
    admission = Admission()
    count = POINTS_MAX // POINTS_BRIEF
    for _ in range(count - 1):
        assert admission.suspect("a", 0, POINTS_BRIEF) == 0
    later_ms = POINTS_BRIEF * POINT_FORGIVEN_MS
    assert admission.suspect("a", later_ms, POINTS_BRIEF) == 0
    assert admission.suspect("a", later_ms, POINTS_BRIEF) == BAN_MS
    for number in range(1_000):
        slow_ms = number * POINTS_BRIEF * POINT_FORGIVEN_MS
        assert admission.suspect("b", slow_ms, POINTS_BRIEF) == 0, "who tries now and then never gets there"


def test_a_shut_node_takes_members_where_they_are_known_and_hardly_anybody_else() -> None:
    admission = Admission()
    admission.know("member")
    strangers = [str(number) for number in range(1_000)]
    assert let_in(admission, strangers, 0, is_shut=True) == CONNECTS_SHUT.burst
    assert let_in(admission, ["member"] * 5, 0, is_shut=True) == 5
    assert admission.tried_count == 1_000, "so that it is seen when the flood is over"


def test_bans_double_and_are_forgotten_after_good_conduct() -> None:
    admission = Admission()
    assert not admission.is_banned(b"liar", 0)
    assert admission.ban(b"liar", 0) == BAN_MS
    assert admission.is_banned(b"liar", BAN_MS - 1)
    assert not admission.is_banned(b"liar", BAN_MS)
    assert [admission.ban(b"liar", BAN_MS) for _ in range(7)] == [
        BAN_MS << each for each in (1, 2, 3, 4, 5, 6, 6)
    ]
    later_ms = BAN_MS + (BAN_MS << 6) + BAN_FORGOTTEN_MS
    assert admission.ban(b"liar", later_ms) == BAN_MS
    assert not admission.is_banned(b"other", later_ms)


def test_what_is_remembered_is_bounded() -> None:
    admission = Admission()
    for number in range(ADDRESSES_MAX + 5):
        admission.may_connect(str(number), 0)
        admission.ban(number.to_bytes(4, "big"), 0)
        admission.suspect(str(number), 0, POINTS_MAX)
        admission.know(str(number))
    kept = (admission._addresses, admission._keys, admission._disgraced)
    assert [len(each) for each in kept] == [ADDRESSES_MAX] * 3
    assert len(admission._hosts) == HOSTS_MAX
    assert not admission.is_banned((4).to_bytes(4, "big"), 1), "the oldest is forgotten first"
    assert admission.is_banned((5).to_bytes(4, "big"), 1)
