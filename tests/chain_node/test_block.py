"""Headers, blocks, votes and certificates: golden bytes, and every forged certificate refused by name."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.block import (
    NO_PROPOSER,
    Block,
    Certificate,
    Header,
    Phase,
    Vote,
    certify,
    form,
    list_root,
    vote_payload,
)
from chain_node.errors import CertificateError, WireError
from chain_node.transaction import Transaction, Transfer
from chain_node.validator_set import validators_hash
from puf import cbor, cose, merkle_tree
from tests.chain_node.world import (
    ALICE,
    BOB,
    STRANGERS,
    VALIDATORS,
    Chain,
    certificate_of,
    genesis_of,
    sign_commits,
)

HEADER = Header(
    chain_id=bytes(range(32)),
    height=7,
    round=0,
    parent_hash=b"\x01" * 32,
    time_ms=1_700_000_000_000,
    proposer=b"\x02" * 32,
    tx_count=2,
    tx_root=b"\x03" * 32,
    receipts_root=b"\x04" * 32,
    state_root=b"\x05" * 32,
    validators_hash=b"\x06" * 32,
)
KEYS = [validator.public for validator in VALIDATORS]
GENESIS = genesis_of()
CHAIN = Chain(GENESIS)
CHAIN.extend(
    CHAIN.sign(ALICE, Transfer(BOB.public, 5)),
    CHAIN.sign(ALICE, Transfer(BOB.public, 6), nonce=1),
    CHAIN.sign(BOB, Transfer(ALICE.public, 7)),
)
BLOCK = CHAIN.blocks[0]
GOOD = CHAIN.links[0].certificate

# Golden vectors: a change here breaks every chain, and is a line in CHANGELOG.md.


def test_golden_header() -> None:
    assert HEADER.data.hex() == (
        "ac0101025820" + bytes(range(32)).hex() + "0307" + "0400" + "055820" + "01" * 32
        + "061b0000018bcfe56800" + "075820" + "02" * 32 + "0802" + "095820" + "03" * 32
        + "0a5820" + "04" * 32 + "0b5820" + "05" * 32 + "0c5820" + "06" * 32
    )  # fmt: skip
    assert HEADER.block_hash.hex() == "03e9e97c3de4e3734363507faaf7332d65c68662772df5d856d1c08a1acf66a8"
    assert Header.decode(HEADER.data) == HEADER


def test_golden_vote_and_certificate() -> None:
    vote = Vote.sign(VALIDATORS[0], HEADER.chain_id, 7, 1, Phase.COMMIT, HEADER.block_hash)
    assert vote.data.hex() == (
        "d2845830a301270458200180288910c237f16a33691223dbab16d4227786e28a414b30b091a213f274aa10686370632f"
        "766f7465a0584da5015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0207030104"
        "0205582003e9e97c3de4e3734363507faaf7332d65c68662772df5d856d1c08a1acf66a8584028e272603dee16e6baf7"
        "dc6cadeff5ecc7542b7b0d444b3c12ec4527c2f096baadda47a124754188d3cfb7e5ee2447641e6766ce3ecd37e2c1ef"
        "7de33255d70e"
    )
    assert Vote.decode(vote.data) == vote
    certificate = certify([vote], [VALIDATORS[0].public])
    assert certificate.encode().hex() == (
        "a4" "0107" "0201" "035820" + HEADER.block_hash.hex() + "0481" "8200" "5840" + vote.signature.hex()
    )  # fmt: skip
    assert Certificate.decode(certificate.encode()) == certificate


def test_golden_hashes_of_validators_and_of_lists() -> None:
    assert (
        validators_hash([b"\x01" * 32, b"\x02" * 32]).hex()
        == "ab8c3e2ae6d6b14a5f9c7a1f3003ca5b8ebcf3d9cba43e45b16bdb222213588a"
    )
    assert list_root([b"a", b"b"]) == merkle_tree.node_hash(
        merkle_tree.leaf_hash(b"a"), merkle_tree.leaf_hash(b"b")
    )
    assert vote_payload(b"\x01" * 32, 7, 1, Phase.PREPARE, b"\x02" * 32).hex() == (
        "a5015820" + "01" * 32 + "0207" + "0301" + "0401" + "055820" + "02" * 32
    )


def test_the_largest_of_everything_is_within_its_bounds() -> None:
    most = (1 << 53) - 1
    header = replace(HEADER, height=most, round=most, time_ms=most, tx_count=20_000)
    assert Header.decode(header.data) == header
    vote = Vote.sign(VALIDATORS[0], HEADER.chain_id, most, most, Phase.COMMIT, HEADER.block_hash)
    assert Vote.decode(vote.data) == vote
    signatures = tuple((index, bytes([index]) * 64) for index in range(100))
    certificate = Certificate(most, most, HEADER.block_hash, signatures)
    assert Certificate.decode(certificate.encode()) == certificate


# Headers and blocks


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (1, 2, "version is not from 1 to 1"),
        (2, b"", "chain id is not 32 bytes"),
        (3, 0, "height is not from 1"),
        (4, -1, "round is not from 0"),
        (6, 1 << 60, "time_ms is not from 0"),
        (8, 20_001, "tx_count is not from 0 to 20000"),
        (12, None, "validators_hash is not 32 bytes"),
        (13, 0, "unknown fields"),
    ],
)
def test_a_header_out_of_bounds_is_none(field: int, value: object, message: str) -> None:
    fields: Any = cbor.decode(HEADER.data)
    with pytest.raises(WireError, match=message):
        Header.decode(cbor.encode(fields | {field: value}))


def test_a_block_comes_back_and_known_transactions_are_not_verified_again() -> None:
    assert Block.decode(BLOCK.encode()) == BLOCK
    marked = BLOCK.transactions[1]._replace(fee_ucpc=77)
    again = Block.decode(BLOCK.encode(), {marked.tx_hash: marked})
    assert again.transactions == (BLOCK.transactions[0], marked, BLOCK.transactions[2])


def with_items(items: list[Any], *, has_root: bool) -> bytes:
    """The block's header, if wanted with the root of these items, and the items."""
    root = list_root([item if isinstance(item, bytes) else b"" for item in items])
    header = replace(BLOCK.header, tx_root=root) if has_root else BLOCK.header
    return cbor.encode([cbor.decode(header.data), items])


@pytest.mark.parametrize(("at", "message"), [(2, "cut off"), (-1, "cut off"), (None, "bytes follow it")])
def test_a_block_of_another_length_is_none(at: int | None, message: str) -> None:
    data = BLOCK.encode()
    with pytest.raises(WireError, match=message):
        Block.decode(data[:at] if at else data + b"\0")


def test_a_block_with_other_transactions_than_its_header_says_is_none() -> None:
    items: list[Any] = [transaction.data for transaction in BLOCK.transactions]
    for others, message in (
        (items[:2], "not a list of 3"),
        ([*items[:2], items[1]], "not those of the header's tx_root"),
        ([items[1], items[0], items[2]], "not those of the header's tx_root"),
        # Nor is any signature looked at before.
        ([bytes(60), *items[1:]], "not those of the header's tx_root"),
    ):
        with pytest.raises(WireError, match=message):
            Block.decode(with_items(others, has_root=False))
    for others, message in (
        (
            [*items[:2], items[2][:-1] + bytes([items[2][-1] ^ 1])],
            "transaction 2: the signature on this cpc/tx is not that of",
        ),
        ([*items[:2], b""], "transaction 2: not a signed transaction"),
        ([*items[:2], bytes(65_537)], "transaction 2 is not at most 65536 bytes"),
        ([*items[:2], None], "transaction 2 is not at most 65536 bytes"),
    ):
        with pytest.raises(WireError, match=message):
            Block.decode(with_items(others, has_root=True))


def test_a_transaction_with_a_longer_head_than_it_needs_is_none() -> None:
    data = BLOCK.encode()
    first = BLOCK.transactions[0].data
    assert len(first) < 256
    head = b"\x58" + bytes([len(first)])
    assert data.count(head + first) == 1
    longer = data.replace(head + first, b"\x59\x00" + bytes([len(first)]) + first)
    with pytest.raises(WireError, match="transaction 0 is not at most"):
        Block.decode(longer)


def test_nobody_proposes_an_impeachment_block() -> None:
    assert bytes(32) == NO_PROPOSER
    assert Header.decode(replace(HEADER, proposer=NO_PROPOSER).data).proposer == NO_PROPOSER


# Votes


def test_a_vote_is_of_its_type_and_in_its_bounds() -> None:
    payload: Any = cbor.decode(vote_payload(HEADER.chain_id, 7, 0, Phase.COMMIT, HEADER.block_hash))
    for typ, fields, message in (
        ("cpc/tx", payload, "this is a statement of type 'cpc/tx'"),
        ("cpc/vote", payload | {4: 5}, "phase is not from 0 to 4"),
        ("cpc/vote", payload | {4: 0, 3: 1}, "the round of a PROPOSE is not from 0 to 0"),
        ("cpc/vote", payload | {4: 3}, "the round of a ROUND is not from 1 to"),
        ("cpc/vote", payload | {4: 4}, "the round of a COORDINATE is not from 1 to"),
        ("cpc/vote", payload | {2: 0}, "height is not from 1"),
        ("cpc/vote", payload | {6: 0}, "unknown fields"),
    ):
        with pytest.raises(WireError, match=message):
            Vote.decode(cose.sign1(typ, cbor.encode(fields), ALICE))


def test_the_phases_have_their_numbers_for_ever_and_a_vote_says_its_form_in_words() -> None:
    assert {phase.name: int(phase) for phase in Phase} == {
        "PROPOSE": 0,
        "PREPARE": 1,
        "COMMIT": 2,
        "ROUND": 3,
        "COORDINATE": 4,
    }
    told = [
        (0, Phase.PROPOSE, "PROPOSE"),
        (0, Phase.PREPARE, "PREPARE"),
        (0, Phase.COMMIT, "COMMIT"),
        (1, Phase.PREPARE, "IMPEACH PREPARE"),
        (7, Phase.COMMIT, "IMPEACH COMMIT"),
        (2, Phase.ROUND, "ROUND"),
        (2, Phase.COORDINATE, "COORDINATE"),
    ]
    for round_, phase, words in told:
        vote = Vote.sign(ALICE, HEADER.chain_id, 7, round_, phase, HEADER.block_hash)
        assert vote.form == form(round_, phase) == words
        assert Vote.decode(vote.data) == vote


def test_a_vote_can_be_read_first_and_checked_later() -> None:
    vote = Vote.sign(ALICE, HEADER.chain_id, 7, 0, Phase.PREPARE, HEADER.block_hash)
    assert vote.is_genuine()
    assert Vote.read(vote.data) == vote
    forged = vote.data[:-1] + bytes([vote.data[-1] ^ 1])
    read = Vote.read(forged)
    assert (read.voter, read.phase, read.data) == (ALICE.public, Phase.PREPARE, forged)
    assert not read.is_genuine()
    with pytest.raises(
        WireError, match=f"the signature on this cpc/vote is not that of key {read.voter.hex()}"
    ):
        Vote.decode(forged)
    in_another_phase = replace(vote, phase=Phase.COMMIT)
    assert not in_another_phase.is_genuine()


# Certificates: who signed what


def test_three_of_four_validators_make_a_certificate_whichever_they_are() -> None:
    for absent in range(4):
        signers = [validator for validator in VALIDATORS if validator is not VALIDATORS[absent]]
        certificate = certificate_of(GENESIS, BLOCK.header, signers)
        certificate.verify(GENESIS.chain_id, KEYS)
        assert [index for index, _ in certificate.signatures] == [each for each in range(4) if each != absent]
    certificate_of(GENESIS, BLOCK.header, VALIDATORS).verify(GENESIS.chain_id, KEYS)


def test_certify_takes_votes_in_any_order_and_each_validators_once() -> None:
    votes = sign_commits(GENESIS, BLOCK.header, VALIDATORS[:3])
    assert certify([votes[2], votes[0], votes[2], votes[1]], KEYS) == GOOD


@pytest.mark.parametrize("phase", [Phase.PROPOSE, Phase.ROUND, Phase.COORDINATE])
def test_votes_that_are_counted_nowhere_make_no_certificate(phase: Phase) -> None:
    votes = [Vote.sign(each, GENESIS.chain_id, 1, 1, phase, HEADER.block_hash) for each in VALIDATORS]
    with pytest.raises(ValueError, match="a certificate is made of PREPARE or of COMMIT votes for one block"):
        certify(votes, KEYS)
    signatures = tuple((index, vote.signature) for index, vote in enumerate(votes))
    forged = Certificate(1, 1, HEADER.block_hash, signatures)
    for counted in (Phase.PREPARE, Phase.COMMIT):
        with pytest.raises(CertificateError, match="signature 1 is not by key"):
            forged.verify(GENESIS.chain_id, KEYS, counted)


def test_votes_for_different_things_make_no_certificate() -> None:
    votes = sign_commits(GENESIS, BLOCK.header, VALIDATORS[:3])
    others: list[dict[str, Any]] = [
        {"block_hash": bytes(32)},
        {"phase": Phase.PREPARE},
        {"round": 1},
        {"height": 2},
    ]
    for changes in others:
        with pytest.raises(ValueError, match="votes for one block, not of"):
            certify([*votes, replace(votes[0], **changes)], KEYS)


def test_a_p_certificate_and_a_c_certificate_do_not_pass_for_each_other() -> None:
    prepares = [
        Vote.sign(each, GENESIS.chain_id, 1, 2, Phase.PREPARE, HEADER.block_hash) for each in VALIDATORS[1:]
    ]
    shown = Certificate.decode(certify(prepares, KEYS).encode())
    shown.verify(GENESIS.chain_id, KEYS, Phase.PREPARE)
    assert refusal(shown).startswith(f"signature 1 is not by key {KEYS[1].hex()}, validator 1")
    GOOD.verify(GENESIS.chain_id, KEYS, Phase.COMMIT)
    with pytest.raises(CertificateError, match="signature 1 is not by key"):
        GOOD.verify(GENESIS.chain_id, KEYS, Phase.PREPARE)


def refusal(certificate: Certificate) -> str:
    with pytest.raises(CertificateError) as caught:
        certificate.verify(GENESIS.chain_id, KEYS)
    assert caught.value.height == 1
    return str(caught.value).removeprefix("certificate of block 1: ")


def with_signatures(*signatures: tuple[int, bytes]) -> Certificate:
    return replace(GOOD, signatures=tuple(signatures))


def test_one_signature_copied_three_times_is_one_signature() -> None:
    first = GOOD.signatures[0]
    assert refusal(with_signatures(first, first, first)) == (
        "signature 2 is by validator 0, who has signed already"
    )


def test_one_signature_under_three_names_is_one_signature() -> None:
    _, signature = GOOD.signatures[0]
    assert refusal(with_signatures((0, signature), (1, signature), (2, signature))) == (
        f"signature 2 is not by key {KEYS[1].hex()}, validator 1 of this chain: "
        "a stranger signed, or something else was signed"
    )


def test_strangers_signatures_are_named_with_the_key_they_should_be_of() -> None:
    votes = sign_commits(GENESIS, BLOCK.header, STRANGERS)
    forged = with_signatures(*((index, vote.signature) for index, vote in enumerate(votes)))
    assert refusal(forged).startswith(f"signature 1 is not by key {KEYS[0].hex()}, validator 0 of this chain")
    one_stranger = with_signatures(*GOOD.signatures[:2], (2, votes[2].signature))
    assert refusal(one_stranger).startswith(f"signature 3 is not by key {KEYS[2].hex()}, validator 2")


def test_a_stranger_beyond_the_quorum_spoils_it_too() -> None:
    forged = with_signatures(
        *GOOD.signatures, (3, sign_commits(GENESIS, BLOCK.header, STRANGERS)[3].signature)
    )
    assert refusal(forged).startswith("signature 4 is not by key")


def test_two_of_four_are_no_quorum() -> None:
    assert refusal(with_signatures(*GOOD.signatures[:2])) == "2 of 4 validators signed, 3 must"
    assert refusal(with_signatures()) == "0 of 4 validators signed, 3 must"


def test_a_validator_that_is_not_there_cannot_have_signed() -> None:
    assert refusal(with_signatures(*GOOD.signatures[:2], (4, GOOD.signatures[2][1]))) == (
        "signature 3 is by validator 4; this chain has 4, from 0"
    )


def test_signatures_have_one_order() -> None:
    assert refusal(with_signatures(*reversed(GOOD.signatures))) == (
        "signature 2 is not in the order of the validators' indexes"
    )


def test_votes_for_another_block_height_round_phase_or_chain_do_not_count() -> None:
    header = BLOCK.header
    for change in (
        replace(GOOD, block_hash=b"\x01" * 32),
        replace(GOOD, round=1),
    ):
        assert refusal(change).startswith("signature 1 is not by key")
    with pytest.raises(CertificateError, match="certificate of block 2: signature 1 is not by key"):
        replace(GOOD, height=2).verify(GENESIS.chain_id, KEYS)
    with pytest.raises(CertificateError, match="signature 1 is not by key"):
        GOOD.verify(b"\x01" * 32, KEYS)
    prepares = [
        Vote.sign(each, GENESIS.chain_id, 1, 0, Phase.PREPARE, header.block_hash) for each in VALIDATORS[:3]
    ]
    assert refusal(certify(prepares, KEYS)).startswith("signature 1 is not by key")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(range(5)), max_size=7), st.lists(st.booleans(), min_size=7, max_size=7))
def test_nothing_but_a_quorum_of_distinct_validators_verifies(indexes: list[int], forged: list[bool]) -> None:
    votes = sign_commits(GENESIS, BLOCK.header, VALIDATORS)
    signatures = tuple(
        (index, bytes(64) if is_forged or index == 4 else votes[index].signature)
        for index, is_forged in zip(indexes, forged, strict=False)
    )
    is_good = indexes == sorted(set(indexes)) and len(indexes) >= 3 and 4 not in indexes
    certificate = replace(GOOD, signatures=signatures)
    if is_good and not any(forged[: len(indexes)]):
        certificate.verify(GENESIS.chain_id, KEYS)
    else:
        refusal(certificate)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (1, 0, "height is not from 1"),
        (3, b"", "block hash is not 32 bytes"),
        (4, None, "signatures is not a list of at most 100"),
        (4, [[0, bytes(64)]] * 101, "signatures is not a list of at most 100"),
        (4, [[0]], "a signature is not a list of index and bytes"),
        (4, [[-1, bytes(64)]], "the index of a validator is not from 0 to 99"),
        (4, [[0, bytes(63)]], "a signature is not 64 bytes"),
        (5, 0, "unknown fields"),
    ],
)
def test_a_certificate_out_of_bounds_is_none(field: int, value: object, message: str) -> None:
    fields: Any = cbor.decode(GOOD.encode())
    with pytest.raises(WireError, match=re.escape(message)):
        Certificate.decode(cbor.encode(fields | {field: value}))


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([Header, Block, Vote, Certificate]))
def test_arbitrary_bytes_raise_only_wire_errors(data: bytes, kind: Any) -> None:
    with pytest.raises(WireError):
        kind.decode(data)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.binary() | st.just(bytes(32)),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 13), inner, max_size=13),
        max_leaves=20,
    ),
    st.sampled_from([Header, Block, Certificate]),
)
def test_arbitrary_values_raise_only_wire_errors(value: object, kind: Any) -> None:
    try:
        made = kind.decode(cbor.encode(value))
    except WireError:
        return
    assert kind is Certificate, "only a certificate is so simple that chance could make one"
    assert made.encode() == cbor.encode(value)


def test_transactions_of_the_block_are_those_that_were_signed() -> None:
    assert all(isinstance(each, Transaction) for each in BLOCK.transactions)
    assert BLOCK.header.tx_root == list_root([each.data for each in BLOCK.transactions])
