"""One connection: hello, messages, glances, limits, silence, slow readers, garbage; two ends in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node import messages
from chain_node.block import Block, Phase, Vote
from chain_node.errors import PeerError
from chain_node.lbft_states import Fate
from chain_node.messages import (
    NODE_SIZE_MAX,
    NODES_COUNT_MAX,
    NODES_SIZE_MAX,
    Ballot,
    Links,
    Message,
    Proposal,
    Relay,
    StateNodes,
    Validate,
    WantBlock,
    WantChain,
    WantLinks,
    WantNodes,
)
from chain_node.peer import (
    BUSY_SIZE,
    COSTS,
    FORGIVEN_MS,
    HANDSHAKE_MS,
    PING_MS,
    QUEUE_SIZE_MAX,
    SILENCE_MS,
    Bucket,
    Cost,
    OtherChain,
    PeerDropped,
    PeerMisbehaved,
)
from chain_node.peer_frame import HEADER_SIZE, HELLO, PING, SIZES_MAX, FrameError, encode_beat, frame
from chain_node.transaction import Transaction, Transfer
from puf import cbor
from tests.chain_node.peering import CHAIN, Desk, Pair, hello_of
from tests.chain_node.world import ALICE, BOB, PROPOSER, VALIDATORS, Chain, certificate_of

WORLD = Chain(CHAIN)
PAY = WORLD.sign(ALICE, Transfer(BOB.public, 5))
WORLD.extend(PAY)
BLOCK = WORLD.blocks[0]
SEAL = Vote.sign(PROPOSER, CHAIN.chain_id, 1, 0, Phase.PROPOSE, BLOCK.header.block_hash)
FINAL = certificate_of(CHAIN, BLOCK.header)
VOTE = Vote.sign(VALIDATORS[0], CHAIN.chain_id, 1, 0, Phase.PREPARE, BLOCK.header.block_hash)


def framed(message: Message) -> bytes:
    return frame(message.KIND, messages.encode(message))


def say(pair: Pair, *said: Message) -> None:
    """Alice sends these to Bob."""
    for message in said:
        pair.alice.send(message.KIND, framed(message))
    pair.settle()


def test_both_say_hello_and_know_each_other_then() -> None:
    pair = Pair(hello_of(height=7, program="bob 2")).settle()
    assert (pair.alice.public, pair.bob.public) == (BOB.public, ALICE.public)
    assert pair.at_alice[0] == hello_of(height=7, program="bob 2")
    assert (pair.alice.height, pair.bob.height) == (7, 0)


def test_messages_come_as_they_were_sent() -> None:
    pair = Pair().settle()
    said = (
        Ballot(VOTE),
        Proposal(BLOCK, SEAL),
        Validate(FINAL, BLOCK),
        WantBlock(1, bytes(32)),
        Relay((PAY,)),
    )
    for message in said:
        say(pair, message)
    assert pair.at_bob[-5:] == list(said)
    assert pair.bob.height == 1, "it has shown block 1"


def test_states_and_headers_for_who_joins_late_come_as_they_were_sent() -> None:
    pair = Pair().settle()
    said = (WantNodes(True, (bytes(32),)), StateNodes(bytes(32), (b"node",)), WantLinks(0, 1), Links(1, ()))
    for message in said:
        say(pair, message)
    assert pair.at_bob[-4:] == list(said)


def test_the_longest_answers_to_who_joins_fit_their_frames() -> None:
    nodes = StateNodes(bytes(32), (bytes(NODES_SIZE_MAX // NODES_COUNT_MAX),) * NODES_COUNT_MAX)
    one = StateNodes(bytes(32), (bytes(NODE_SIZE_MAX),))
    want = WantNodes(True, (bytes(32),) * NODES_COUNT_MAX)
    for message in (nodes, one, want):
        assert len(framed(message)) <= HEADER_SIZE + SIZES_MAX[message.KIND]


def test_what_is_urgent_overtakes_what_is_not() -> None:
    pair = Pair().settle()
    say(pair, Relay((PAY,)), Validate(FINAL), Proposal(BLOCK, SEAL), Ballot(VOTE))
    kinds = [type(item) for item in pair.at_bob if not isinstance(item, int)][1:]
    assert kinds == [Ballot, Proposal, Validate, Relay]


def test_a_block_that_nobody_wants_costs_no_signature() -> None:
    """The transaction's signature is wrong, which whoever reads it finds."""
    wrong = PAY.data[:-1] + bytes([PAY.data[-1] ^ 1])
    header = BLOCK.header
    body = cbor.encode([cbor.decode(header.data), [wrong]])
    payload = cbor.encode([Proposal.KIND, body, SEAL.data])
    for fate, score in ((Fate.DUPLICATE, 0), (Fate.UNASKED, 1), (Fate.FOREIGN, 5), (Fate.FORGED, 25)):
        pair = Pair(desk=Desk(fate)).settle()
        before = len(pair.at_bob)
        pair.alice.send(Proposal.KIND, frame(Proposal.KIND, payload))
        pair.settle()
        assert (pair.desk.glances, pair.bob.score) == ([(header, SEAL)], score)
        assert [item for item in pair.at_bob[before:] if not isinstance(item, int)] == []
    pair = Pair().settle()
    pair.alice.send(Proposal.KIND, frame(Proposal.KIND, payload))
    with pytest.raises(PeerMisbehaved, match="not those of the header's tx_root"):
        pair.settle()


def test_of_a_late_or_early_block_only_its_height_is_heard() -> None:
    for fate in (Fate.LATE, Fate.FUTURE):
        pair = Pair(desk=Desk(fate)).settle()
        pair.at_bob.clear()
        say(pair, Proposal(BLOCK, SEAL))
        assert pair.at_bob == [1]


def test_of_a_final_block_that_is_not_wanted_the_certificate_stays() -> None:
    pair = Pair(desk=Desk(Fate.FUTURE)).settle()
    say(pair, Validate(FINAL, BLOCK))
    assert pair.at_bob[-1] == Validate(FINAL)


def test_known_transactions_are_not_verified_again() -> None:
    known = PAY._replace(fee_ucpc=PAY.fee_ucpc)
    pair = Pair(desk=Desk(known={PAY.tx_hash: known})).settle()
    say(pair, Relay((PAY,)))
    relay = pair.at_bob[-1]
    assert isinstance(relay, Relay)
    assert relay.transactions[0] is known


# Who is not wanted


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chain_id": bytes(32)}, f"it is of chain {CHAIN.chain_id.hex()}, this is {bytes(32).hex()}"),
        (
            {"version": 9, "oldest": 2},
            "it speaks versions 2 to 9 of the protocol, this program 1 to 1; upgrade",
        ),
    ],
)
def test_another_chain_and_a_hard_update_of_the_protocol_are_told_apart(
    changes: dict[str, object], why: str
) -> None:
    with pytest.raises(OtherChain, match=why):
        Pair(hello_of(**changes)).settle()


def test_a_newer_version_that_still_speaks_ours_is_welcome() -> None:
    pair = Pair(hello_of(version=9, oldest=1)).settle()
    say(pair, Ballot(VOTE))
    assert pair.at_bob[-1] == Ballot(VOTE)


def spoken(*frames: bytes) -> Pair:
    """Alice says these instead of what a Peer would say."""
    pair = Pair()
    pair.alice._channel._waiting.clear()
    for data in frames:
        pair.alice._channel.write(data)
    return pair


HELLO_FRAME = frame(HELLO, hello_of().encode())


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([framed(Ballot(VOTE))], "it speaks before it says hello"),
        ([HELLO_FRAME, HELLO_FRAME], "it says hello twice"),
        ([HELLO_FRAME, frame(2, messages.encode(WantBlock(1, bytes(32))))], "no message of kind 2"),
        ([HELLO_FRAME, frame(2, cbor.encode([2, 1, 1]))], "it sent no message: the vote is not at most"),
        ([frame(HELLO, b"x")], "it sent no hello"),
        ([HELLO_FRAME, frame(9, b"x")], "it sent no links"),
    ],
)
def test_who_does_not_keep_to_the_protocol_is_told_off(frames: list[bytes], why: str) -> None:
    with pytest.raises(PeerMisbehaved, match=why):
        spoken(*frames).settle()


def test_an_oversized_frame_ends_it_by_its_header() -> None:
    with pytest.raises(FrameError, match="kind 2 with 4294967295 bytes"):
        spoken(HELLO_FRAME + b"\x02\xff\xff\xff\xff").settle()


def test_a_peer_that_hangs_up_says_so() -> None:
    pair = Pair().settle()
    data = pair.alice.close()
    with pytest.raises(PeerDropped, match="it has hung up"):
        list(pair.bob.feed(data, 0))


# Limits


def test_more_than_anybody_needs_is_dropped_and_held_against_it() -> None:
    pair = Pair().settle()
    burst = COSTS[WantBlock.KIND].burst
    before = len(pair.at_bob)
    say(pair, *[WantBlock(1, bytes(32))] * (burst + 3))
    assert (len(pair.at_bob) - before, pair.bob.lost_count, pair.bob.score) == (burst, 3, 15)
    with pytest.raises(PeerMisbehaved, match="too often; at last: it sent more frames of kind 4"):
        say(pair, *[WantBlock(1, bytes(32))] * 17)


def test_tokens_come_back_with_time() -> None:
    pair = Pair().settle()
    cost = COSTS[WantBlock.KIND]
    say(pair, *[WantBlock(1, bytes(32))] * cost.burst)
    pair.now_ms += 1_000
    before = len(pair.at_bob)
    say(pair, *[WantBlock(1, bytes(32))] * (cost.rate + 1))
    assert (len(pair.at_bob) - before, pair.bob.lost_count) == (cost.rate, 1)


def test_transactions_are_charged_by_size_and_a_member_may_hand_on_more() -> None:
    size = 64 << 10
    relay = frame(Relay.KIND, cbor.encode([Relay.KIND, [b"x"], None]).ljust(size, b"\0"))
    for is_member, lost_count in ((False, 97), (True, 22)):
        pair = Pair().settle()
        if is_member:
            pair.bob.trust(0)
        pair.bob._on_frame = lambda *_: iter(())  # type: ignore[method-assign]  # what it costs comes before
        pair.bob.blame = lambda *_: None  # type: ignore[method-assign]
        for _ in range(100):
            pair.alice.send(Relay.KIND, relay)
            pair.settle()
        assert pair.bob.lost_count == lost_count


def test_bytes_are_owed_and_paid_back_with_time() -> None:
    bucket = Bucket(Cost(rate=1_000, burst=500), 0)
    assert [bucket.owe(size, 0) for size in (500, 0, 100, 400)] == [0, 0, 100, 500]
    assert bucket.owe(0, 300) == 200
    assert bucket.owe(0, 500) == 0
    assert [bucket.owe(500, 9_000), bucket.owe(1, 9_000)] == [0, 1]


def test_what_plain_nodes_cost_together_is_bounded_whoever_they_are_and_members_are_none() -> None:
    pair = Pair(desk=Desk(room=2)).settle()
    before = len(pair.at_bob)
    say(pair, *[WantBlock(1, bytes(32))] * 3)
    assert (len(pair.at_bob) - before, pair.bob.lost_count, pair.bob.score) == (2, 1, 0)
    say(pair, Ballot(VOTE))
    assert (pair.bob.lost_count, pair.bob.score) == (2, 0), "votes through plain nodes are bounded, too"
    pair.bob.trust(0)
    say(pair, Ballot(VOTE), WantBlock(1, bytes(32)))
    assert pair.at_bob[-2:] == [Ballot(VOTE), WantBlock(1, bytes(32))], "what members want is not"


def test_a_transaction_that_is_forged_is_held_against_who_hands_it_on() -> None:
    forged = Transaction.sign(ALICE, CHAIN.chain_id, 9, Transfer(BOB.public, 1), 1_000).data[:-1] + b"\0"
    pair = Pair().settle()
    relay = frame(Relay.KIND, cbor.encode([Relay.KIND, [forged], None]))
    for score in (25, 50, 75):
        pair.alice.send(Relay.KIND, relay)
        pair.settle()
        assert pair.bob.score == score
    pair.alice.send(Relay.KIND, relay)
    with pytest.raises(PeerMisbehaved, match="at last: it sent no message: a transaction in it is refused"):
        pair.settle()


def test_points_are_forgiven_with_time() -> None:
    pair = Pair().settle()
    pair.bob.blame(10, "a test")
    pair.bob.tick(0, 3 * FORGIVEN_MS)
    assert pair.bob.score == 7
    pair.bob.tick(0, 4 * FORGIVEN_MS - 1)
    assert pair.bob.score == 7
    pair.bob.tick(0, 20 * FORGIVEN_MS)
    assert pair.bob.score == 0


# Slow and silent ones


def test_a_slow_reader_loses_what_is_least_urgent_and_oldest() -> None:
    pair = Pair().settle()
    megabyte = bytes(1 << 20)
    pair.alice.send(Ballot.KIND, framed(Ballot(VOTE)))
    for number in range(60):
        pair.alice.send(Validate.KIND, bytes([number]) + megabyte)
    pair.alice.send(Ballot.KIND, framed(Ballot(VOTE)))
    assert pair.alice.queue_size <= QUEUE_SIZE_MAX
    assert pair.alice.lost_count == 13
    assert pair.alice._queues[2][0][0] == 13, "the oldest ones are gone"
    assert list(pair.alice._queues[0]) == [framed(Ballot(VOTE))] * 2


@pytest.mark.parametrize("want", [WantChain(1, 16), WantNodes(True, (bytes(32),)), WantLinks(0, 1)])
def test_who_does_not_read_what_it_asked_for_is_given_no_more_of_it(want: Message) -> None:
    pair = Pair().settle()
    pair.bob.send(Validate.KIND, bytes(BUSY_SIZE + 1))
    before = len(pair.at_bob)
    pair.alice.send(want.KIND, framed(want))
    pair.at_bob += pair.bob.feed(pair.alice.take(0), 0)
    assert (len(pair.at_bob) - before, pair.bob.lost_count) == (0, 1)


def test_who_reads_nothing_for_long_is_dropped() -> None:
    pair = Pair().settle()
    pair.alice.send(Ballot.KIND, framed(Ballot(VOTE)))
    pair.alice._heard_ms = SILENCE_MS
    with pytest.raises(PeerDropped, match="it has read nothing for 45000 ms"):
        pair.alice.tick(0, SILENCE_MS)


def test_who_does_not_say_hello_is_dropped_in_time() -> None:
    pair = Pair()
    pair.bob.tick(0, HANDSHAKE_MS - 1)
    with pytest.raises(PeerDropped, match="it did not say who it is within 5000 ms"):
        pair.bob.tick(0, HANDSHAKE_MS)


def test_a_half_open_link_is_noticed_by_its_silence_and_an_idle_one_lives() -> None:
    pair = Pair().settle()
    for now_ms in range(0, 3 * SILENCE_MS, 1_000):
        pair.now_ms = now_ms
        pair.alice.tick(0, now_ms)
        pair.settle()
    pong_ms = 8 * PING_MS
    assert pong_ms <= pair.now_ms < pong_ms + PING_MS
    pair.alice.tick(0, pong_ms + SILENCE_MS - 1)
    with pytest.raises(PeerDropped, match="nothing was heard of it for 45000 ms"):
        pair.alice.tick(0, pong_ms + SILENCE_MS)


def test_a_ping_tells_heights_and_how_long_it_took() -> None:
    pair = Pair().settle()
    pair.bob.tick(9, 5)
    pair.alice.tick(4, 5)
    to_bob = pair.alice.take(5)
    pair.at_bob.clear()
    pair.at_bob += pair.bob.feed(to_bob, 20)
    pair.at_alice.clear()
    pair.at_alice += pair.alice.feed(pair.bob.take(20), 35)
    assert (pair.at_bob, pair.bob.height) == ([5], 4)
    assert (pair.at_alice[-1], pair.alice.height, pair.alice.latency_ms) == (10, 9, 30)


def test_news_of_our_height_do_not_wait_for_the_next_ping() -> None:
    pair = Pair().settle()
    sent = []
    for now_ms in range(0, 6_000, 1_000):
        pair.alice.tick(now_ms // 3_000, now_ms)
        sent.append(bool(pair.alice.take(now_ms)))
        pair.alice._heard_ms = now_ms
    assert sent == [True, False, False, True, False, False]
    pair.alice.tick(1, 3_000 + PING_MS)
    assert pair.alice.take(0)


# Garbage


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_within_tls_are_messages_or_a_declared_error(data: bytes) -> None:
    pair = spoken(HELLO_FRAME + data)
    try:
        pair.settle()
    except PeerError:
        return
    assert pair.at_bob[0] == hello_of()


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([Proposal(BLOCK, SEAL), Validate(FINAL, BLOCK), Relay((PAY,)), Ballot(VOTE, FINAL)]),
    st.data(),
)
def test_any_damaged_message_is_another_one_or_a_declared_error(
    message: Message, data: st.DataObject
) -> None:
    payload = bytearray(messages.encode(message))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    pair = spoken(HELLO_FRAME + frame(message.KIND, bytes(payload)))
    try:
        pair.settle()
    except PeerError:
        return
    read = [item for item in pair.at_bob[1:] if not isinstance(item, int)]
    assert message not in read


def test_many_tiny_values_in_a_long_message_are_refused_before_they_are_made() -> None:
    flood = cbor.encode([1] * 100_000)
    for payload in (cbor.encode([6, [0] * 100_000, None]), b"\x83\x01" + flood + b"\xf6"):
        pair = spoken(HELLO_FRAME + frame(payload[1], payload))
        try:
            pair.settle()
        except PeerMisbehaved as error:
            assert "holds more than it may" in str(error)  # noqa: PT017 - a Relay is only blamed
        else:
            assert pair.bob.score == 25
    body = b"\x82" + BLOCK.encode()[1 : -len(PAY.data) - 3] + flood
    with pytest.raises(PeerError):
        Block.decode(body)


def test_pings_beyond_measure_are_dropped() -> None:
    pair = spoken(HELLO_FRAME + frame(PING, encode_beat(1, 1)) * 12).settle()
    assert pair.at_bob[1:] == [2] * 10
    assert pair.bob.score == 10
