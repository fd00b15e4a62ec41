"""Who gets which message: nobody twice in a full mesh, everybody where there are detours, no circles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from chain_node.block import Phase, Vote
from chain_node.messages import Ballot, Message, Proposal, Relay, Validate, WantBlock
from chain_node.peer_gossip import ASKED_AT_ONCE, SEEN_MAX, Gossip
from chain_node.schedule import GenesisTurns
from chain_node.transaction import Transaction, Transfer
from chain_node.validator_set import Succession, ValidatorSet
from tests.chain_node.peering import CHAIN
from tests.chain_node.world import ALICE, BOB, PROPOSER, VALIDATORS, Chain, certificate_of, key

KEYS = {f"v{index}": signer for index, signer in enumerate(VALIDATORS)} | {
    "p": PROPOSER,
    "x": key("x"),
    "y": key("y"),
    "z": key("z"),
}
WORLD = Chain(CHAIN)
WORLD.extend()
BLOCK = WORLD.blocks[0]
SEAL = Vote.sign(PROPOSER, CHAIN.chain_id, 1, 0, Phase.PROPOSE, BLOCK.header.block_hash)
VOTE = Vote.sign(VALIDATORS[0], CHAIN.chain_id, 1, 0, Phase.PREPARE, BLOCK.header.block_hash)
PAY = Transaction.sign(ALICE, CHAIN.chain_id, 0, Transfer(BOB.public, 5), 1_000)
BALLOT, PROPOSAL, RELAY = Ballot(VOTE), Proposal(BLOCK, SEAL), Relay((PAY,))
FINAL = Validate(certificate_of(CHAIN, BLOCK.header))
AGAIN_MS = 100
ALL = ("v0", "v1", "v2", "v3", "p")


@dataclass(frozen=True)
class Near:
    """A neighbour by name, and with which members it is connected."""

    name: str
    links: frozenset[int]

    @property
    def public(self) -> bytes:
        return KEYS[self.name].public


def near(**links: str) -> list[Near]:
    """Neighbours; `v1="v0 p"`: v1 says that it is connected with v0 and p."""
    return [Near(name, frozenset(map(ALL.index, text.split()))) for name, text in links.items()]


def of(name: str) -> Gossip:
    return Gossip(CHAIN, KEYS[name].public, AGAIN_MS)


def names(peers: Sequence[Near]) -> list[str]:
    return [each.name for each in peers]


FULL = near(v0="v1 v2 v3 p", v2="v0 v1 v3 p", v3="v0 v1 v2 p", p="v0 v1 v2 v3", x="v0 v1 v2 v3 p")
"""What v1 sees in a full mesh, with a plain node."""


@pytest.mark.parametrize("message", [BALLOT, PROPOSAL])
def test_in_a_full_mesh_members_tell_members_and_nobody_hands_on(message: Message) -> None:
    gossip = of("v1")
    assert names(gossip.audience(message, FULL)) == ["v0", "v2", "v3", "p"]
    for sender in ("v0", "v2", "p", "x"):
        assert gossip.onward(message, KEYS[sender].public, FULL, 0) == []


def test_final_blocks_are_told_to_all_and_again_only_to_those_that_no_validator_tells() -> None:
    gossip = of("v1")
    assert names(gossip.audience(FINAL, FULL)) == ["v0", "v2", "v3", "p", "x"]
    assert gossip.onward(FINAL, KEYS["v0"].public, FULL, 0) == []
    assert gossip.left_out(FULL) == []
    assert names(gossip.left_out(near(v0="v1 v2", p="v1", x="v1 p", y="p", z="v0"))) == ["p", "x", "y"]
    assert names(of("x").left_out(near(v0="", p="", y="v0"))) == ["v0", "p"]


def test_a_block_that_anybody_may_have_is_asked_of_a_few_and_of_others_the_next_time() -> None:
    gossip = of("x")
    want = WantBlock(1, bytes(32))
    neighbours = near(v0="", v1="", v2="", v3="", y="")
    first, second = (set(names(gossip.audience(want, neighbours))) for _ in range(2))
    assert len(first) == len(second) == ASKED_AT_ONCE
    assert first | second == {"v0", "v1", "v2", "v3"}
    assert names(gossip.audience(want, near(y="", z=""))) == ["y", "z"], "where there is no member"


@pytest.mark.parametrize("message", [BALLOT, PROPOSAL])
def test_who_is_not_connected_with_the_author_is_told_by_who_is(message: Message) -> None:
    """v1 is between the author (v0 or p) and v3, which knows only v1 and v2; so does v2."""
    author = "v0" if message is BALLOT else "p"
    mesh = near(**{author: "v1 v2"}, v2=f"{author} v1 v3", v3="v1 v2")
    gossip = of("v1")
    assert names(gossip.onward(message, KEYS[author].public, mesh, 0)) == ["v3"]
    assert gossip.onward(message, KEYS["v2"].public, mesh, 0) == [], "v2, who brought it, has told v3"


def test_what_its_author_repeats_is_handed_on_again_but_not_at_once() -> None:
    mesh = near(v0="v1", v2="v1")
    gossip = of("v1")
    times = [0, 1, AGAIN_MS - 1, AGAIN_MS, AGAIN_MS + 1, 2 * AGAIN_MS]
    told = [names(gossip.onward(BALLOT, KEYS["v0"].public, mesh, now_ms)) for now_ms in times]
    assert told == [["v2"], [], [], ["v2"], [], ["v2"]]


def test_a_plain_node_between_two_members_carries_votes_for_both() -> None:
    """v0 - x - v3."""
    bridge = near(v1="v0", v2="v0", x="v0 v3", y="v0")
    assert names(of("v0").audience(BALLOT, bridge)) == ["v1", "v2", "x"], "y does not lead to v3"
    assert names(of("x").onward(BALLOT, KEYS["v0"].public, near(v0="v1 v2", v3=""), 0)) == ["v3"]


def test_a_member_hands_votes_to_the_plain_node_that_leads_on() -> None:
    """v0 - v1 - x - v3."""
    gossip = of("v1")
    assert names(gossip.onward(BALLOT, KEYS["v0"].public, near(v0="v1", x="v1 v3", y="v1"), 0)) == ["x"]


def test_who_says_that_it_is_connected_with_the_author_is_not_told() -> None:
    """v1 has the vote by a detour, and no connection with its author."""
    assert of("v1").onward(BALLOT, KEYS["v3"].public, near(v2="v0 v1", v3="v1 p"), 0) == []


def test_a_plain_node_is_not_told_of_votes_for_a_member_that_is_dead() -> None:
    assert names(of("v0").audience(BALLOT, near(v1="v0", v2="v0", p="v0", x="v0 v1 v2 p"))) == [
        "v1",
        "v2",
        "p",
    ]


def test_a_proposal_without_a_seal_was_asked_for_and_goes_no_further() -> None:
    assert of("v1").onward(Proposal(BLOCK, None), KEYS["v0"].public, near(v0="v1", v2="v1"), 0) == []


# Transactions


def test_transactions_go_to_the_members_or_where_there_are_none_towards_them() -> None:
    assert names(of("x").audience(RELAY, near(v0="", y="", p=""))) == ["v0", "p"]
    assert names(of("x").audience(RELAY, near(y="", z=""))) == ["y", "z"]
    assert names(of("x").onward(RELAY, KEYS["y"].public, near(y="", z="", v0=""), 0)) == ["v0"]
    assert names(of("x").onward(RELAY, KEYS["y"].public, near(y="", z=""), 0)) == ["z"]


def test_a_member_hands_transactions_on_only_to_members_that_the_sender_does_not_reach() -> None:
    gossip = of("v1")
    assert gossip.onward(RELAY, KEYS["x"].public, FULL, 0) == [], "x has told all of them"
    assert gossip.onward(RELAY, KEYS["v0"].public, FULL, 0) == []
    mesh = near(v0="v1 v2", v2="v0 v1", v3="v1", p="v1", y="")
    assert names(gossip.onward(RELAY, KEYS["v0"].public, mesh, 0)) == ["v3", "p"]
    assert gossip.onward(RELAY, KEYS["y"].public, near(y="", z=""), 0) == [], "it proposes itself, or nobody"


def test_transactions_are_handed_on_once_in_a_while() -> None:
    gossip = of("v1")
    other = Transaction.sign(ALICE, CHAIN.chain_id, 1, Transfer(BOB.public, 5), 1_000)
    assert gossip.due([PAY], 0) == (PAY,)
    assert gossip.due([PAY, other], 1) == (other,)
    assert gossip.due([PAY, other], AGAIN_MS) == (PAY,)


def test_what_is_remembered_is_bounded() -> None:
    gossip = of("v1")
    for number in range(SEEN_MAX + 10):
        assert gossip._is_due(number, 0)
    assert len(gossip._seen) == SEEN_MAX
    assert gossip._is_due(0, 1)
    assert not gossip._is_due(SEEN_MAX, 1)


def test_roles_and_links_are_by_the_genesis() -> None:
    gossip = of("v1")
    assert [gossip.role(KEYS[name].public) for name in ("v0", "p", "x")] == ["validator", "proposer", "plain"]
    assert gossip.links(near(p="", x="", v2="")) == [2, 4]
    assert [gossip.index(KEYS[name].public) for name in ("v3", "p", "x")] == [3, 4, None]


# Validators who change


def test_who_takes_over_is_a_member_before_it_does_and_who_is_replaced_none_afterwards() -> None:
    gossip, sets = of("v1"), Succession(CHAIN.validators)
    keys = (*CHAIN.validators[:3], KEYS["x"].public)
    sets.add(ValidatorSet(1, 20, keys))
    told = []
    for height in (3, 19, 20):
        gossip.adopt(sets, height)
        told.append([gossip.role(KEYS[name].public) for name in ("v0", "v3", "x", "p", "y")])
    assert told == [
        ["validator", "validator", "validator", "proposer", "plain"],
        ["validator", "validator", "validator", "proposer", "plain"],
        ["validator", "plain", "validator", "proposer", "plain"],
    ]
    assert [gossip.index(KEYS[name].public) for name in ("v0", "p", "x", "v3")] == [0, 4, 5, None]
    assert gossip.links(near(x="", v3="", v0="", y="")) == [0, 5]
    assert names(gossip.audience(BALLOT, near(v0="", v3="", x="", y=""))) == ["v0", "x"]
    sets.add(ValidatorSet(2, 60, CHAIN.validators))
    gossip.adopt(sets, 60)
    assert [gossip.index(KEYS[name].public) for name in ("v3", "x")] == [3, None], "numbers never change"


def test_where_validators_take_turns_those_in_force_do() -> None:
    genesis = replace(CHAIN, proposers=CHAIN.validators)
    sets = Succession(genesis.validators)
    sets.add(ValidatorSet(1, 20, (KEYS["x"].public, KEYS["y"].public)))
    gossip = Gossip(genesis, KEYS["x"].public, AGAIN_MS)
    gossip.adopt(sets, 19)
    assert [gossip.role(KEYS[name].public) for name in ("v0", "x")] == ["validator+proposer", "validator"]
    gossip.adopt(sets, 20)
    assert [gossip.role(KEYS[name].public) for name in ("v0", "x")] == ["plain", "validator+proposer"]
    turns = GenesisTurns(genesis, sets.at)
    assert [turns.proposer(height) for height in (19, 20, 21)] == [
        genesis.validators[2],
        KEYS["y"].public,
        KEYS["x"].public,
    ]
