"""The inbox: the committee's word first, transactions last, each kind bounded for itself."""

import pytest

from chain_node.block import Phase, Vote
from chain_node.inbox import Inbox
from chain_node.messages import Ballot, Links, Message, Relay, WantChain
from tests.chain_node.world import ALICE, VALIDATORS, genesis_of

MEMBER, STRANGER = VALIDATORS[0].public, ALICE.public


def ballot(round_: int = 0) -> Ballot:
    return Ballot(Vote.sign(VALIDATORS[0], genesis_of().chain_id, 1, round_, Phase.PREPARE, bytes(32)))


RELAY = Relay(())
WANT = WantChain(1, 1)


def drained(inbox: Inbox) -> list[tuple[bytes, Message | int]]:
    return [inbox.pop() for _ in range(len(inbox))]


def test_the_committees_word_comes_first_then_strangers_and_requests_then_transactions() -> None:
    inbox = Inbox([MEMBER])
    for item in (
        (STRANGER, RELAY),
        (MEMBER, RELAY),
        (STRANGER, ballot(1)),
        (MEMBER, 7),
        (MEMBER, WANT),
        (MEMBER, ballot(2)),
        (MEMBER, Links(1, ())),
    ):
        inbox.put(*item)
    assert inbox.urgent_count == 2
    assert drained(inbox) == [
        (MEMBER, ballot(2)),
        (MEMBER, Links(1, ())),
        (STRANGER, ballot(1)),
        (MEMBER, 7),
        (MEMBER, WANT),
        (STRANGER, RELAY),
        (MEMBER, RELAY),
    ]


def test_a_flood_of_one_kind_costs_the_others_no_place() -> None:
    inbox = Inbox([MEMBER], (2, 3, 1))
    for round_ in range(2):
        inbox.put(MEMBER, ballot(round_))
    for number in range(100):
        inbox.put(STRANGER, ballot(number))
        inbox.put(STRANGER, RELAY)
    assert inbox.lost_count == 97 + 99
    assert drained(inbox) == [
        (MEMBER, ballot(0)),
        (MEMBER, ballot(1)),
        *[(STRANGER, ballot(number)) for number in (97, 98, 99)],
        (STRANGER, RELAY),
    ]


def test_nothing_comes_out_of_an_empty_one() -> None:
    with pytest.raises(IndexError, match="nothing waits"):
        Inbox([MEMBER]).pop()
