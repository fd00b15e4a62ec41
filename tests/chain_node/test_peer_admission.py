"""Admission: connections by address, bans that grow and are forgotten, bounded memory."""

from chain_node.peer_admission import (
    ADDRESSES_MAX,
    BAN_FORGOTTEN_MS,
    BAN_MS,
    CONNECTS,
    Admission,
)


def test_an_address_connects_so_often_and_another_one_beside_it() -> None:
    admission = Admission()
    taken = sum(admission.may_connect("a", 0) for _ in range(CONNECTS.burst + 40))
    assert taken == CONNECTS.burst
    assert admission.may_connect("b", 0)
    assert sum(admission.may_connect("a", 1_000) for _ in range(100)) == CONNECTS.rate


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
    assert len(admission._buckets) == len(admission._bans) == ADDRESSES_MAX
    assert not admission.is_banned((4).to_bytes(4, "big"), 1), "the oldest is forgotten first"
    assert admission.is_banned((5).to_bytes(4, "big"), 1)
