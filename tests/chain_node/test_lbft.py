"""The core from height to height: what is announced, served, kept for later and caught up with."""

from dataclasses import replace

import pytest

from chain_node.block import NO_BLOCK, Phase, Vote
from chain_node.lbft import INLINE_SIZE_MAX, Core
from chain_node.lbft_height import HeightCore
from chain_node.lbft_ready import NOTHING, Serve
from chain_node.lbft_states import Fate, State
from chain_node.messages import CHAIN_COUNT_MAX, Ballot, Proposal, Validate, WantBlock, WantChain
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.lbft_committee import EVERYBODY, NAMES, PERIOD_MS, TIMEOUT_MS, Committee, Letter
from tests.chain_node.world import ALICE, BOB, STRANGERS, key


def grow(committee: Committee, count: int) -> None:
    """Decide so many blocks."""
    for _ in range(count):
        committee.wait(PERIOD_MS)
        committee.settle()


def ahead(height_count: int) -> Committee:
    """All but v3 have decided so many blocks; v3 has been off, and nothing lies on the table for it."""
    committee = Committee()
    committee.kill("v3")
    grow(committee, height_count)
    committee.drop()
    committee.revive("v3")
    return committee


def to(name: str, committee: Committee) -> list[Letter]:
    """What lies on the table for a member."""
    return [letter for letter in committee.table if letter.receiver == name]


# What is announced


def test_who_saw_the_quorum_tells_everybody_and_who_was_told_does_not() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver()
    committee.deliver_to("v0")
    committee.drop(lambda letter: isinstance(letter.message, Ballot))
    decided = committee["v0"].chain[0]
    assert [(letter.sender, letter.receiver, letter.message) for letter in committee.table] == [
        ("v0", name, Validate(decided.certificate, decided.block)) for name in ("v1", "v2", "v3", "p")
    ]
    committee.deliver()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")
    assert [letter for letter in committee.table if isinstance(letter.message, Validate)] == []


def test_a_proposer_that_saw_the_quorum_leaves_telling_to_the_validators() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver()
    committee.deliver_to("p")
    assert committee.decided() == {"p": "B"}
    assert [letter for letter in committee.table if letter.sender == "p"] == []


@pytest.mark.parametrize(("size", "has_block"), [(0, True), (1, False)])
def test_a_large_block_does_not_travel_with_its_certificate(size: int, has_block: bool) -> None:
    committee = Committee()
    transaction = Transaction.sign(ALICE, committee.genesis.chain_id, 0, Transfer(BOB.public, 1), 1_000)
    count = INLINE_SIZE_MAX // len(transaction.data) + size
    block = replace(committee.proposal(committee["p"]), transactions=(transaction,) * count)
    committee.now_ms = PERIOD_MS
    committee._do(committee["p"], committee["p"].core.propose(block, PERIOD_MS))
    committee.deliver()
    committee.deliver()
    committee.deliver()
    validates = [letter.message for letter in committee.table if isinstance(letter.message, Validate)]
    assert {message.block for message in validates} == {block if has_block else None}


# Messages of the past


def test_who_is_behind_is_shown_the_final_block_and_not_twice_in_a_while() -> None:
    committee = ahead(3)
    late = committee.ballot("v3", Phase.PREPARE, 1, NO_BLOCK, height=2)
    assert committee.hand("v0", "v3", late) == Fate.LATE
    decided = committee["v0"].chain[1]
    assert [letter.message for letter in to("v3", committee)] == [
        Validate(decided.certificate, decided.block)
    ]
    committee.drop()
    for message in (late, WantBlock(1, bytes(32)), Proposal(decided.block, None)):
        assert committee.hand("v0", "v3", message) == Fate.LATE
    assert to("v3", committee) == []
    committee.hand("v0", "v2", replace(late))
    assert [letter.receiver for letter in committee.table] == ["v2"], "each peer has its own while"
    committee.drop()
    committee.now_ms += TIMEOUT_MS // 8
    committee.hand("v0", "v3", late)
    assert len(to("v3", committee)) == 1


def test_votes_beyond_the_quorum_are_answered_by_what_all_were_told() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver()
    late = next(each.message for each in committee.table if (each.sender, each.receiver) == ("v3", "v0"))
    committee.deliver(lambda letter: letter.receiver == "v0" and letter.sender != "v3")
    committee.drop()
    assert committee.decided() == {"v0": "B"}
    assert committee.hand("v0", "v3", late) == Fate.LATE
    assert committee.table == []
    assert committee.hand("v0", "v3", WantBlock(1, bytes(32))) == Fate.LATE
    assert len(to("v3", committee)) == 1, "who asks is answered"
    committee.drop()
    committee.now_ms += TIMEOUT_MS // 8
    committee.hand("v0", "v3", late)
    assert len(to("v3", committee)) == 1, "what all were told may be lost"


def test_an_old_final_block_needs_no_answer_and_old_blocks_are_served_by_the_count() -> None:
    committee = ahead(3)
    old = committee["v0"].chain[0]
    assert committee.hand("v0", "v3", Validate(old.certificate, old.block)) == Fate.LATE
    assert committee.table == []
    core, peer = committee["v0"].core, committee["v3"].key.public
    assert core.step(peer, WantChain(2, 7), committee.now_ms).serve == (Serve(peer, 2, 7),)
    committee.hand("v0", "v3", WantChain(2, 16))
    assert [letter.message.height for letter in to("v3", committee)] == [2, 3]


def test_what_comes_after_the_decision_and_before_the_next_height_begins_changes_nothing() -> None:
    committee = Committee()
    core, peer = committee["v0"].core, committee["v1"].key.public
    certificate = committee.certificate(Phase.COMMIT, 1, committee.impeachment("v0"))
    ready = core.step(peer, Validate(certificate), 0)
    assert ready.decided
    assert ready.decided.certificate == certificate
    assert core.deadline_ms is None
    proposal = committee.sealed("p")
    impeachment = committee.impeachment("v0")
    for message in (proposal, committee.ballot("v1", Phase.PREPARE, 1, impeachment), Validate(certificate)):
        assert core.step(peer, message, 1) == NOTHING
    assert core.tick(10_000) == NOTHING
    assert core.judge(proposal.block.header.block_hash, True, 10_000) == NOTHING
    assert committee["p"].core.step(peer, Validate(certificate), 0).decided
    assert committee["p"].core.propose(proposal.block, 10_000) == NOTHING
    core.work_waits(10_000)
    assert core.fates[Fate.LATE] == 3
    later = committee.ballot("v1", Phase.PREPARE, 3, impeachment, height=9)
    assert core.step(peer, later, 10_000) == NOTHING, "nothing is asked for before the next height begins"


# Messages of the future


def test_votes_for_the_next_height_are_kept_and_counted_when_it_begins() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.settle(lambda letter: letter.receiver != "v3")
    committee.wait(PERIOD_MS)
    committee.settle(lambda letter: letter.receiver != "v3" or letter.message.height == 2)
    assert committee.decided(2) == dict.fromkeys(EVERYBODY - {"v3"}, "B")
    assert committee.states().endswith("v3 1/0 IDLE")
    first = committee["v0"].chain[0]
    committee.hand("v3", "v0", Validate(first.certificate, first.block))
    assert committee.decided(2)["v3"] == "B", "the second block was here already, with its votes"


def test_each_place_of_the_next_height_is_kept_once_and_genuine() -> None:
    committee = Committee()
    block_hash = bytes([7]) * 32
    early = committee.ballot("v1", Phase.PREPARE, 0, block_hash, height=2)
    fake = Ballot(replace(early.vote, data=early.vote.data[:-1] + bytes([early.vote.data[-1] ^ 1])))
    stranger = Ballot(Vote.sign(STRANGERS[0], committee.genesis.chain_id, 2, 0, Phase.PREPARE, block_hash))
    elsewhere = Ballot(Vote.sign(committee["v1"].key, bytes(32), 2, 0, Phase.PREPARE, block_hash))
    other = committee.ballot("v1", Phase.PREPARE, 0, bytes(32), height=2)
    fates = [
        committee.hand("v0", "v1", ballot) for ballot in (fake, stranger, elsewhere, early, early, other)
    ]
    assert fates == [
        Fate.FORGED,
        Fate.FOREIGN,
        Fate.FOREIGN,
        Fate.EARLY,
        Fate.DUPLICATE,
        Fate.DUPLICATE,
    ]
    rounds = [committee.ballot("v1", Phase.PREPARE, round_, block_hash, height=2) for round_ in (1, 2)]
    assert [committee.hand("v0", "v1", ballot) for ballot in rounds] == [Fate.EARLY, Fate.FUTURE]
    assert committee["v0"].evidence == []


def test_two_sealed_blocks_are_kept_for_the_next_height_and_anything_beyond_is_dropped() -> None:
    committee = ahead(1)
    proposals = [committee.sealed("p", salt) for salt in range(3)]
    assert {proposal.height for proposal in proposals} == {2}
    assert [committee.hand("v3", "p", each) for each in (proposals[0], *proposals)] == [
        Fate.EARLY,
        Fate.DUPLICATE,
        Fate.EARLY,
        Fate.FUTURE,
    ]
    seal = proposals[2].seal
    assert seal
    fake = replace(seal, data=seal.data[:-1] + bytes([seal.data[-1] ^ 1]))
    assert committee.hand("v3", "p", Proposal(proposals[2].block, fake)) == Fate.FORGED
    assert committee.hand("v3", "v1", Proposal(proposals[0].block, None)) == Fate.FUTURE
    by_v1 = committee.vote("v1", Phase.PROPOSE, 0, seal.block_hash, height=2)
    assert committee.hand("v3", "v1", Proposal(proposals[2].block, by_v1)) == Fate.FOREIGN
    far = committee.ballot("v1", Phase.PREPARE, 0, bytes(32), height=3)
    assert committee.hand("v3", "v1", far) == Fate.FUTURE
    assert committee.hand("v3", "v1", WantBlock(2, bytes(32))) == Fate.FUTURE
    assert committee.hand("v3", "v1", WantChain(2, 1)) == Fate.FUTURE


def test_a_cheat_of_the_next_height_is_impeached_as_soon_as_it_begins() -> None:
    committee = ahead(1)
    for salt in range(2):
        committee.hand("v3", "p", committee.sealed("p", salt))
    committee.drop()
    first = committee["v0"].chain[0]
    committee.hand("v3", "v0", Validate(first.certificate, first.block))
    assert committee.states().endswith("v3 2/1 IMPEACH_PREPARE")
    assert len(committee["v3"].evidence) == 1


# Catching up


def test_who_was_away_catches_up_in_batches_and_takes_part_again() -> None:
    committee = ahead(CHAIN_COUNT_MAX + 3)
    height = CHAIN_COUNT_MAX + 4
    committee.hand("v3", "v0", committee.ballot("v0", Phase.ROUND, 2, NO_BLOCK, height=height))
    assert [(letter.receiver, letter.message) for letter in committee.table] == [("v0", WantChain(1, 16))]
    asked = 0
    while committee.deliver():
        asked += sum(isinstance(letter.message, WantChain) for letter in committee.table)
    assert asked == 1, "one more question for the other three"
    assert committee["v3"].chain == committee["v0"].chain
    grow(committee, 1)
    assert committee.decided(height) == dict.fromkeys(EVERYBODY, "B")


def test_liars_slow_a_catch_up_and_do_not_stop_it() -> None:
    committee = ahead(6)
    for name, height in (("v1", 1_000_000), ("v0", 7)):
        committee.hand("v3", name, committee.ballot(name, Phase.ROUND, 2, NO_BLOCK, height=height))
    asked = []
    for _ in range(40):
        for letter in committee.table:
            if isinstance(letter.message, WantChain):
                asked.append(letter.receiver)
            if isinstance(letter.message, Validate) and letter.sender == "v1" and letter.message.block:
                # Another block under a certificate of nobody.
                block = committee.proposal(committee["p"], salt=letter.message.height)
                header = replace(block.header, height=letter.message.height)
                signatures = tuple((index, bytes(64)) for index in range(4))
                fake = replace(
                    letter.message.certificate, block_hash=header.block_hash, signatures=signatures
                )
                letter.message = Validate(fake, replace(block, header=header))
        committee.deliver(lambda letter: "v3" in (letter.sender, letter.receiver))
        committee.drop(lambda letter: "v3" not in (letter.sender, letter.receiver))
        committee.wait(TIMEOUT_MS // 4, "v3")
        if len(committee["v3"].chain) == 6:
            break
    assert committee["v3"].chain == committee["v0"].chain[:6]
    assert set(asked) >= {"v0", "v1"}


def test_who_is_one_block_behind_waits_a_little_before_it_asks() -> None:
    committee = ahead(1)
    committee.hand("v3", "v0", committee.ballot("v0", Phase.PREPARE, 0, bytes(32), height=2))
    assert committee.table == []
    committee.wait(TIMEOUT_MS // 4 - 1, "v3")
    assert committee.table == []
    committee.wait(1, "v3")
    assert [(letter.receiver, letter.message) for letter in committee.table] == [("v0", WantChain(1, 1))]


def test_a_final_block_far_ahead_is_kept_only_if_it_was_asked_for() -> None:
    committee = ahead(4)
    later = committee["v0"].chain[2]
    message = Validate(later.certificate, later.block)
    assert committee.hand("v3", "v0", message) == Fate.FUTURE
    committee.table = [letter for letter in committee.table if isinstance(letter.message, WantChain)]
    assert [letter.message for letter in committee.table] == [WantChain(1, 3)], "v0 has at least those"
    assert committee.hand("v3", "v0", message) == Fate.EARLY
    assert committee.hand("v3", "v0", message) == Fate.DUPLICATE
    assert committee.hand("v3", "v1", message) == Fate.FUTURE
    assert committee.hand("v3", "v0", Validate(later.certificate)) == Fate.FUTURE


# The rest


def test_a_core_says_when_it_wants_to_be_called() -> None:
    committee = Committee(observers=(key("watcher"),))
    assert committee["v0"].core.deadline_ms == PERIOD_MS + TIMEOUT_MS
    assert committee["p"].core.deadline_ms == PERIOD_MS
    assert committee["o"].core.deadline_ms is None
    committee.hand("o", "v0", committee.ballot("v0", Phase.PREPARE, 0, bytes(32), height=2))
    assert committee["o"].core.deadline_ms == TIMEOUT_MS // 4


def test_nothing_lost_or_late_stops_four_that_can_speak_in_the_end() -> None:
    committee = Committee()
    for deaf in ("v1", "v2", "v3", "v0", "v1"):
        committee.wait(PERIOD_MS)
        committee.hold(deaf)
        committee.settle()
        committee.hold(deaf)
    for _ in range(4):
        committee.settle()
        committee.wait(TIMEOUT_MS // 4)
    assert {len(committee[name].chain) for name in NAMES} == {len(committee["v0"].chain)}
    assert len(committee["v0"].chain) >= 5
    for height in range(1, len(committee["v0"].chain) + 1):
        assert len({certificate.block_hash for certificate in committee.certificates(height)}) == 1


def test_a_subclass_of_a_height_is_used_when_a_core_names_it() -> None:
    class Published(HeightCore):
        """f + 1 decide an impeachment, and whoever times out impeaches: two of four."""

        def _quorum(self, round_: int) -> int:
            return 2 if round_ else super()._quorum(round_)

        def _value(self) -> bytes:
            impeachment_hash: bytes = self._blocks.impeachment_hash
            return impeachment_hash

    class PublishedCore(Core):
        HEIGHT = Published

    committee = Committee(core=PublishedCore)
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver()
    committee.deliver_to("v0", "v1")
    committee.drop()
    committee.wait(TIMEOUT_MS, "v2", "v3")
    committee.settle(lambda letter: {letter.sender, letter.receiver} <= {"v2", "v3"})
    assert committee.decided() == {"v0": "B", "v1": "B", "v2": "I", "v3": "I"}, "the published rule forks"
    assert committee["v0"].core.current.state == State.IDLE
