"""What nodes say to each other: golden vectors, round trips, and a declared error for everything else."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.block import NO_BLOCK, Block, Certificate, Header, Phase, Vote, list_root
from chain_node.errors import WireError
from chain_node.messages import (
    BALLOT_PHASES,
    CHAIN_COUNT_MAX,
    MESSAGE_SIZE_MAX,
    RELAY_COUNT_MAX,
    Ballot,
    ConsensusMessage,
    Message,
    Proposal,
    Relay,
    Validate,
    WantBlock,
    WantChain,
    decode,
    decode_wanted,
    encode,
)
from chain_node.transaction import Transaction, Transfer
from puf import cbor
from tests.chain_node.lbft_committee import Committee
from tests.chain_node.world import ALICE, BOB, PROPOSER, VALIDATORS, Chain, anchor

CHAIN = Chain()
CHAIN.extend(CHAIN.sign(ALICE, Transfer(BOB.public, 5)), CHAIN.sign(BOB, anchor()))
BLOCK = CHAIN.blocks[0]
COMMITTEE = Committee()
SEAL = COMMITTEE.vote("p", Phase.PROPOSE, 0, BLOCK.header.block_hash)
SHOWN = COMMITTEE.certificate(Phase.PREPARE, 1, BLOCK.header.block_hash)
FINAL = COMMITTEE.certificate(Phase.COMMIT, 1, BLOCK.header.block_hash)

# Of no chain's rules, so that only the format of messages changes these bytes.
CHAIN_ID = bytes(range(32))
PLAIN = Transaction.sign(ALICE, CHAIN_ID, 7, Transfer(BOB.public, 5), 1_000)
HEADER = Header(
    chain_id=CHAIN_ID,
    height=1,
    round=0,
    parent_hash=CHAIN_ID,
    time_ms=1_700_000_000_000,
    proposer=PROPOSER.public,
    tx_count=1,
    tx_root=list_root([PLAIN.data]),
    receipts_root=bytes(32),
    state_root=bytes(32),
    validators_hash=bytes(32),
)
HASH = HEADER.block_hash
PLAIN_SEAL = Vote.sign(PROPOSER, CHAIN_ID, 1, 0, Phase.PROPOSE, HASH)
PLAIN_VOTE = Vote.sign(VALIDATORS[0], CHAIN_ID, 1, 0, Phase.COMMIT, HASH)
PLAIN_CERTIFICATE = Certificate(1, 0, HASH, ((0, PLAIN_VOTE.signature),))

MESSAGES: dict[str, Message] = {
    "plain proposal": Proposal(Block(HEADER, (PLAIN,)), PLAIN_SEAL),
    "plain ballot": Ballot(PLAIN_VOTE, PLAIN_CERTIFICATE),
    "plain validate": Validate(PLAIN_CERTIFICATE),
    "plain want block": WantBlock(1, HASH),
    "plain relay": Relay((PLAIN,)),
    "proposal": Proposal(BLOCK, SEAL),
    "proposal without its seal": Proposal(BLOCK, None),
    **{
        phase.name: Ballot(COMMITTEE.vote("v1", phase, 2, BLOCK.header.block_hash), SHOWN)
        for phase in BALLOT_PHASES
    },
    "ballot that shows nothing": Ballot(COMMITTEE.vote("v1", Phase.ROUND, 2, NO_BLOCK)),
    "validate": Validate(FINAL, BLOCK),
    "validate without the block": Validate(FINAL),
    "want block": WantBlock(1, BLOCK.header.block_hash),
    "want chain": WantChain(1, 16),
    "relay": Relay(BLOCK.transactions),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_comes_back_as_it_was(name: str) -> None:
    message = MESSAGES[name]
    data = encode(message)
    assert len(data) <= MESSAGE_SIZE_MAX
    assert decode(data) == message
    assert decode(data, {each.tx_hash: each for each in BLOCK.transactions}) == message
    if isinstance(message, ConsensusMessage):
        assert message.height == 1


GOLDEN = {
    "plain proposal": (
        "83015901d882ac0101025820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f03010400"
        "055820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f061b0000018bcfe56800075820"
        "d04421767979266615fe3ef7335f47a394f36982cb86c62de1f766bcfbbc032008010958206123b93e22680b51067405"
        "a7366c6c0776747217dc398a438568e02dbc88c9870a5820000000000000000000000000000000000000000000000000"
        "00000000000000000b582000000000000000000000000000000000000000000000000000000000000000000c58200000"
        "0000000000000000000000000000000000000000000000000000000000008158ccd284582ea3012704582038088e4c2a"
        "e82f5c45c6808a61a6490d3c612ce1da235714466fc748fbc4cbbb10666370632f7478a05855a5015820000102030405"
        "060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0207031903e8050106a3015820dd756040fdd5145e2b"
        "f9832d264dd080e4b3e73016bdf6574b4cd87eaa697f5e02050340584032fd7146199b2885bcbee96d1b4685816989bb"
        "062e4c3f9d127923927fa62313dbb890a2750e44024c498b9f1fa1e58074e3fba21684f41a4c602ddee6a4d00458c6d2"
        "845830a30127045820d04421767979266615fe3ef7335f47a394f36982cb86c62de1f766bcfbbc032010686370632f76"
        "6f7465a0584da5015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f020103000400"
        "055820d36e5e9888ce4e506252736bc0827e2ff964ab484539f0a03e9f36f3f6194fad5840a8f29cc704b0fadd0aa8d3"
        "f6d4c607515252ed144ebf4018ddc10325e0f4f02a25407ddec8ded50d9bd55a3826707483d14487675ea33e84f86e1f"
        "12266a1f05"
    ),
    "plain ballot": (
        "830258c6d2845830a301270458200180288910c237f16a33691223dbab16d4227786e28a414b30b091a213f274aa1068"
        "6370632f766f7465a0584da5015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f02"
        "0103000402055820d36e5e9888ce4e506252736bc0827e2ff964ab484539f0a03e9f36f3f6194fad58401f0ec9f0a07c"
        "149cd0d992918c886afd7a72091078ed25ac840708f9b0683a6486afe0ef5a1c21be1146b0f747c409dcac960cd8aa5f"
        "5ef2cf935cdfc6997707586ea401010200035820d36e5e9888ce4e506252736bc0827e2ff964ab484539f0a03e9f36f3"
        "f6194fad0481820058401f0ec9f0a07c149cd0d992918c886afd7a72091078ed25ac840708f9b0683a6486afe0ef5a1c"
        "21be1146b0f747c409dcac960cd8aa5f5ef2cf935cdfc6997707"
    ),
    "plain validate": (
        "8303586ea401010200035820d36e5e9888ce4e506252736bc0827e2ff964ab484539f0a03e9f36f3f6194fad04818200"
        "58401f0ec9f0a07c149cd0d992918c886afd7a72091078ed25ac840708f9b0683a6486afe0ef5a1c21be1146b0f747c4"
        "09dcac960cd8aa5f5ef2cf935cdfc6997707f6"
    ),
    "plain want block": ("8304015820d36e5e9888ce4e506252736bc0827e2ff964ab484539f0a03e9f36f3f6194fad"),
    "want chain": ("83050110"),
    "plain relay": (
        "83068158ccd284582ea3012704582038088e4c2ae82f5c45c6808a61a6490d3c612ce1da235714466fc748fbc4cbbb10"
        "666370632f7478a05855a5015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0207"
        "031903e8050106a3015820dd756040fdd5145e2bf9832d264dd080e4b3e73016bdf6574b4cd87eaa697f5e0205034058"
        "4032fd7146199b2885bcbee96d1b4685816989bb062e4c3f9d127923927fa62313dbb890a2750e44024c498b9f1fa1e5"
        "8074e3fba21684f41a4c602ddee6a4d004f6"
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_are_those_of_the_golden_vector(name: str) -> None:
    data = encode(MESSAGES[name])
    assert data.hex() == GOLDEN[name]
    assert decode(bytes.fromhex(GOLDEN[name])) == MESSAGES[name]


def test_there_is_a_golden_vector_of_each_kind() -> None:
    assert {MESSAGES[name].KIND for name in GOLDEN} == {1, 2, 3, 4, 5, 6}
    assert {bytes.fromhex(GOLDEN[name])[:2] for name in GOLDEN} == {
        bytes([0x83, kind]) for kind in range(1, 7)
    }


def test_a_known_transaction_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {each.tx_hash: each for each in BLOCK.transactions}
    message = Proposal(BLOCK, SEAL)
    relay, proposal = encode(Relay(BLOCK.transactions)), encode(message)

    def never(data: bytes) -> Transaction:
        raise AssertionError(data)

    monkeypatch.setattr(Transaction, "decode", never)
    assert decode(relay, known) == Relay(BLOCK.transactions)
    assert decode(proposal, known) == message


def test_a_block_that_is_not_wanted_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Header, object]] = []

    def never(header: Header, proof: object) -> bool:
        asked.append((header, proof))
        return False

    proposal, final = encode(Proposal(BLOCK, SEAL)), encode(Validate(FINAL, BLOCK))

    def unread(data: bytes, known: object = None) -> Block:
        raise AssertionError(data)

    monkeypatch.setattr(Block, "decode", unread)
    assert decode_wanted(proposal, None, never) is None
    assert decode_wanted(final, None, never) == Validate(FINAL)
    assert asked == [(BLOCK.header, SEAL), (BLOCK.header, FINAL)]


VOTE = COMMITTEE.vote("v1", Phase.PREPARE, 0, BLOCK.header.block_hash)
TRANSACTION = BLOCK.transactions[0].data
BAD_SIGNATURE = TRANSACTION[:-1] + bytes([TRANSACTION[-1] ^ 1])
NOT_A_MESSAGE: list[tuple[object, str]] = [
    (None, "it is not a list of a kind and two parts"),
    ({1: 2}, "it is not a list of a kind and two parts"),
    ([], "it is not a list of a kind and two parts"),
    ([5, 1], "it is not a list of a kind and two parts"),
    ([5, 1, 1, 1], "it is not a list of a kind and two parts"),
    ([0, 1, 1], "its kind is none of 1 to 6"),
    ([7, 1, 1], "its kind is none of 1 to 6"),
    (["5", 1, 1], "its kind is none of 1 to 6"),
    ([1, None, None], "the block is not at most"),
    ([1, b"", None], "block"),
    ([1, BLOCK.encode(), 1], "the seal is not at most"),
    ([1, BLOCK.encode(), bytes(513)], "the seal is not at most"),
    ([1, BLOCK.encode(), b"x"], "vote"),
    ([2, None, None], "the vote is not at most"),
    ([2, bytes(513), None], "the vote is not at most"),
    ([2, b"x", None], "vote"),
    ([2, SEAL.data, None], "a seal stands where a vote must"),
    ([2, VOTE.data, 1], "the certificate is not at most"),
    ([2, VOTE.data, b"x"], "certificate"),
    ([3, None, None], "the certificate is not at most"),
    ([3, bytes(9_000), None], "the certificate is not at most"),
    ([3, FINAL.encode(), 1], "the block is not at most"),
    ([3, FINAL.encode(), b"x"], "block"),
    ([4, 0, bytes(32)], "height is not from 1"),
    ([4, True, bytes(32)], "height is not a number"),
    ([4, 1, bytes(31)], "the block hash is not 32 bytes"),
    ([5, 0, 1], "first height is not from 1"),
    ([5, 1, 0], "count is not from 1"),
    ([5, 1, CHAIN_COUNT_MAX + 1], "count is not from 1"),
    ([6, [], None], "does not carry 1 to 1024 transactions"),
    ([6, [TRANSACTION] * (RELAY_COUNT_MAX + 1), None], "does not carry 1 to 1024 transactions"),
    ([6, TRANSACTION, None], "does not carry 1 to 1024 transactions"),
    ([6, [1], None], "a transaction is not at most"),
    ([6, [BAD_SIGNATURE], None], "a transaction in it is refused"),
    ([6, [TRANSACTION], 1], "its kind is none of 1 to 6"),
]


@pytest.mark.parametrize(("value", "why"), NOT_A_MESSAGE)
def test_what_is_no_message_is_refused_by_name(value: object, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(cbor.encode(value))


def test_a_relay_of_the_most_transactions_is_one() -> None:
    assert decode(cbor.encode([6, [TRANSACTION] * RELAY_COUNT_MAX, None])) == Relay(
        (BLOCK.transactions[0],) * RELAY_COUNT_MAX
    )


# Garbage


def refused_or_read(data: bytes) -> Message | None:
    try:
        return decode(data)
    except WireError:
        return None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_declared_error(data: bytes) -> None:
    message = refused_or_read(data)
    assert message is None or encode(message) == data


def _parts() -> st.SearchStrategy[object]:
    return st.one_of(
        st.none(),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.binary(max_size=40),
        st.sampled_from([BLOCK.encode(), VOTE.data, SEAL.data, FINAL.encode(), TRANSACTION]),
        st.lists(st.one_of(st.binary(max_size=9), st.just(TRANSACTION)), max_size=3),
    )


@settings(deadline=None)
@given(st.integers(0, 7), _parts(), _parts())
def test_any_parts_are_a_message_or_a_declared_error(kind: int, first: object, second: object) -> None:
    data = cbor.encode([kind, first, second])
    message = refused_or_read(data)
    assert message is None or encode(message) == data


def _flip(data: bytes, at: int, bits: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def _cut(data: bytes, at: int, bits: int) -> bytes:
    return data[: at % len(data)]


def _insert(data: bytes, at: int, bits: int) -> bytes:
    at %= len(data) + 1
    return data[:at] + bytes([bits]) + data[at:]


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(list(MESSAGES)),
    st.sampled_from([_flip, _cut, _insert]),
    st.integers(0, 1 << 16),
    st.integers(1, 255),
)
def test_a_damaged_message_is_another_one_or_a_declared_error(
    name: str, damage: Callable[[bytes, int, int], bytes], at: int, bits: int
) -> None:
    data = damage(encode(MESSAGES[name]), at, bits)
    message = refused_or_read(data)
    assert message is None or (message != MESSAGES[name] and encode(message) == data)
