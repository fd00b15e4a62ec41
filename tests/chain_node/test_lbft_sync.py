"""What one node knows of other heights: bounded, asked for in turn, and believed only so far as to ask."""

from chain_node.block import Phase
from chain_node.lbft_states import Fate
from chain_node.lbft_sync import EARLY_MAX, PEERS_MAX, Sync
from chain_node.messages import CHAIN_COUNT_MAX, Ballot, Validate, WantChain
from tests.chain_node.lbft_committee import Committee

RESEND_MS = 100


def final(height: int, round_: int = 0) -> Validate:
    """A message that looks like a final block; nothing here verifies it."""
    committee = Committee()
    block = committee.proposal(committee["p"], salt=round_)
    return Validate(
        committee.certificate(Phase.COMMIT, round_, block.header.block_hash, height=height), block
    )


def ballot() -> Ballot:
    return Committee().ballot("v1", Phase.PREPARE, 0, bytes(32), height=2)


# Who is asked, and when


def test_nobody_is_asked_until_somebody_speaks_of_a_later_height() -> None:
    sync = Sync(RESEND_MS)
    assert [sync.at_ms] == [None]
    assert sync.due(5, 1_000) == []
    sync.note(b"a", 7, 5, 1_000)
    assert sync.at_ms == 1_000
    assert sync.due(5, 1_000) == [(b"a", WantChain(5, 2))]


def test_one_height_ahead_waits_for_what_mostly_comes_by_itself() -> None:
    sync = Sync(RESEND_MS)
    sync.note(b"a", 6, 5, 1_000)
    assert sync.at_ms == 1_100
    assert sync.due(5, 1_099) == []
    sync.note(b"b", 6, 5, 1_050)
    assert sync.at_ms == 1_100, "not put off by whoever speaks next"
    sync.note(b"c", 7, 5, 1_060)
    assert sync.at_ms == 1_060
    assert sync.due(5, 1_060) == [(b"a", WantChain(5, 1))]


def test_a_batch_at_a_time_is_asked_for() -> None:
    sync = Sync(RESEND_MS)
    sync.note(b"a", 100, 5, 0)
    assert sync.due(5, 0) == [(b"a", WantChain(5, CHAIN_COUNT_MAX))]


def test_who_does_not_answer_is_followed_by_the_next_one_after_a_while() -> None:
    sync = Sync(RESEND_MS)
    for peer in (b"a", b"b", b"c"):
        sync.note(peer, 9, 5, 0)
    asked = []
    for now_ms in (0, 99, 100, 200, 300):
        sync.note(b"c", 9, 5, now_ms)  # Who goes on speaking does not make us ask sooner.
        asked += [peer for peer, _ in sync.due(5, now_ms)]
    assert asked == [b"a", b"b", b"c", b"a"]


def test_the_next_batch_is_asked_for_as_soon_as_the_last_one_is_in() -> None:
    sync = Sync(RESEND_MS)
    sync.note(b"a", 30, 5, 0)
    sync.due(5, 0)
    sync.begin(20, 10)
    assert sync.at_ms == 100, "the last of the batch is still to come"
    sync.begin(21, 20)
    assert sync.at_ms == 20
    assert sync.due(21, 20) == [(b"a", WantChain(21, 9))]
    sync.begin(30, 30)
    assert [sync.at_ms] == [None], "there is no more"
    sync.note(b"b", 40, 30, 50)
    assert sync.at_ms == 50


def test_nobody_is_asked_for_what_was_decided_meanwhile() -> None:
    sync = Sync(RESEND_MS)
    sync.note(b"a", 6, 5, 0)
    assert sync.due(6, 500) == []
    assert sync.at_ms is None


def test_a_bounded_number_of_peers_is_remembered() -> None:
    sync = Sync(RESEND_MS)
    for number in range(PEERS_MAX + 10):
        sync.note(number.to_bytes(4), 9, 5, 0)
        sync.may_serve(number.to_bytes(4), 0)
        assert len(sync._heights) <= PEERS_MAX
        assert len(sync._served_ms) <= PEERS_MAX
    sync.note(b"known", 9, 5, 0)
    sync.note(b"known", 10, 5, 0)
    sync.note(b"known", 8, 5, 0)
    assert sync._heights[b"known"] == 10, "nobody goes back"


def test_a_full_memory_of_peers_forgets_nobody_when_one_it_knows_goes_on() -> None:
    sync = Sync(RESEND_MS)
    for number in range(PEERS_MAX):
        sync.note(number.to_bytes(4), 9, 5, 0)
    sync.note((3).to_bytes(4), 10, 5, 0)
    assert len(sync._heights) == PEERS_MAX


# What is kept


def test_final_blocks_are_kept_of_who_was_asked_in_the_range_that_was_asked_for() -> None:
    sync = Sync(RESEND_MS)
    messages = {height: final(height) for height in (5, 6, 7, 8, 9)}
    assert sync.keep_validate(b"a", messages[6], 5) == Fate.FUTURE
    sync.note(b"a", 9, 5, 0)
    sync.due(5, 0)
    assert sync.keep_validate(b"b", messages[6], 5) == Fate.FUTURE
    assert sync.keep_validate(b"a", messages[5], 5) == Fate.FUTURE, "that one is for now"
    assert sync.keep_validate(b"a", messages[9], 5) == Fate.FUTURE, "more than was asked for"
    assert [sync.keep_validate(b"a", messages[height], 5) for height in (6, 7, 8)] == [Fate.EARLY] * 3
    assert sync.keep_validate(b"a", messages[6], 5) == Fate.DUPLICATE
    assert sync.begin(6, 10) == [(b"a", messages[6])]
    assert sync.begin(8, 20) == [(b"a", messages[8])]
    assert sync._final == {}


def test_what_a_second_peer_answers_replaces_what_the_first_one_said() -> None:
    sync = Sync(RESEND_MS)
    sync.note(b"liar", 8, 5, 0)
    sync.note(b"honest", 8, 5, 0)
    lie, truth = final(6, round_=1), final(6)
    sync.due(5, 0)
    assert sync.keep_validate(b"liar", lie, 5) == Fate.EARLY
    sync.due(5, RESEND_MS)
    assert sync.keep_validate(b"honest", truth, 5) == Fate.EARLY
    assert sync.keep_validate(b"liar", lie, 5) == Fate.FUTURE
    assert sync.begin(6, 150) == [(b"honest", truth)]


def test_early_messages_are_handed_over_once_and_bounded() -> None:
    sync = Sync(RESEND_MS)
    message = ballot()
    assert not sync.has_early((1, 0, Phase.PREPARE))
    assert sync.keep_early((1, 0, Phase.PREPARE), b"a", message) == Fate.EARLY
    assert sync.has_early((1, 0, Phase.PREPARE))
    assert sync.begin(2, 0) == [(b"a", message)]
    assert sync.begin(3, 0) == []
    fates = [sync.keep_early((number, 0, Phase.PREPARE), b"a", message) for number in range(EARLY_MAX + 1)]
    assert fates == [Fate.EARLY] * EARLY_MAX + [Fate.FUTURE]


def test_two_seals_are_kept_early_beside_any_number_of_votes() -> None:
    sync = Sync(RESEND_MS)
    message = ballot()
    for number in range(3):
        sync.keep_early((number, 0, Phase.PREPARE), b"a", message)
    fates = [sync.keep_early((bytes([number]),), b"p", message) for number in range(3)]
    assert fates == [Fate.EARLY, Fate.EARLY, Fate.FUTURE]
    assert sync.keep_early((3, 0, Phase.PREPARE), b"a", message) == Fate.EARLY


def test_a_peer_is_served_once_in_a_while() -> None:
    sync = Sync(RESEND_MS)
    assert [sync.may_serve(b"a", now_ms) for now_ms in (0, 49, 50, 99, 100)] == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert sync.may_serve(b"b", 100)
    assert not sync.may_serve(b"a", 149)
