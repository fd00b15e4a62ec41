"""The light client: follows what validators certified, and says exactly what is wrong with anything else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node import light_client
from chain_node.block import Certificate, Header, certify
from chain_node.entry import Conduct, account_key, anchor_key, conduct_key, stream_key
from chain_node.errors import (
    CertificateError,
    EvidenceError,
    ForkFound,
    HeaderError,
    PeerError,
    TrustError,
    WireError,
)
from chain_node.evidence import InclusionProof, Link, StateEvidence
from chain_node.light_client import LightClient, TrustedHead, verify_certificate
from chain_node.reason import Reason
from chain_node.transaction import Receipt, Transfer
from puf import cbor
from puf.ed25519 import SigningKey
from tests.chain_node.world import (
    ALICE,
    BOB,
    CAROL,
    PROPOSER,
    START_MS,
    STRANGERS,
    VALIDATORS,
    Chain,
    anchor,
    certificate_of,
    genesis_of,
    sign_commits,
)

GENESIS = genesis_of()


def grown(height: int = 5) -> Chain:
    chain = Chain(GENESIS)
    for nonce in range(height):
        chain.extend(
            chain.sign(ALICE, Transfer(BOB.public, nonce + 1)), chain.sign(BOB, anchor(upload=nonce))
        )
    return chain


CHAIN = grown()


def following(height: int = 5) -> LightClient:
    client = LightClient(GENESIS)
    client.follow(CHAIN.links[:height])
    return client


def relink(link: Link, signers: Any = VALIDATORS[:3], **changes: Any) -> Link:
    """The block changed, and certified again by these."""
    header = replace(link.header, **changes)
    return Link(header, certificate_of(GENESIS, header, signers))


# Following


def test_it_follows_from_the_genesis_and_remembers_where_it_is() -> None:
    client = LightClient(GENESIS)
    assert client.head == TrustedHead(0, GENESIS.chain_id, START_MS)
    for height, link in enumerate(CHAIN.links, 1):
        head = client.follow([link])
        assert (head.height, head.block_hash) == (height, link.header.block_hash)
    assert client.head.time_ms == START_MS + 5_000


def test_golden_trusted_head_and_a_restart() -> None:
    """A change here makes kept heads unreadable, and is a line in CHANGELOG.md."""
    client = following(3)
    assert client.export().hex() == (
        "a4015820" + GENESIS.chain_id.hex() + "0203" + "035820" + CHAIN.links[2].header.block_hash.hex()
        + "041b0000018bcfe573b8"
    )  # fmt: skip
    again = LightClient.restore(GENESIS, client.export())
    assert again.head == client.head
    again.follow(CHAIN.links[3:])
    assert again.head.height == 5


def test_a_kept_head_of_another_chain_or_of_garbage_is_not_restored() -> None:
    data = following(3).export()
    with pytest.raises(WireError, match=f"it is of chain {GENESIS.chain_id.hex()}, not "):
        LightClient.restore(genesis_of(name="other"), data)
    with pytest.raises(WireError, match="no trusted head"):
        LightClient.restore(GENESIS, data[:-1])
    fields: Any = cbor.decode(data)
    with pytest.raises(WireError, match="unknown fields"):
        LightClient.restore(GENESIS, cbor.encode(fields | {6: 0}))


def test_the_heads_own_header_may_come_again() -> None:
    client = following(3)
    client.follow(CHAIN.links[2:])
    assert client.head.height == 5


def told(links: list[Link], start: int = 2) -> tuple[TrustError, LightClient]:
    """What the client says of these links after it has followed to block `start`."""
    client = following(start)
    with pytest.raises(TrustError) as caught:
        client.follow(links)
    return caught.value, client


THIRD = CHAIN.links[2]


@pytest.mark.parametrize(
    ("link", "kind", "message"),
    [
        (CHAIN.links[3], HeaderError, "header of block 4: it does not follow the trusted block 2"),
        (CHAIN.links[0], HeaderError, "header of block 1: it does not follow the trusted block 2"),
        (
            relink(THIRD, parent_hash=b"\x01" * 32),
            HeaderError,
            f"header of block 3: its parent is {'01' * 32}, the trusted block 2 is ",
        ),
        (
            relink(THIRD, time_ms=START_MS + 2_000),
            HeaderError,
            "header of block 3: its time 1700000002000 ms is not after its parent's 1700000002000",
        ),
        (
            relink(THIRD, chain_id=b"\x01" * 32),
            HeaderError,
            f"header of block 3: it is of chain {'01' * 32}, trusted is {GENESIS.chain_id.hex()}",
        ),
        (
            relink(THIRD, validators_hash=b"\x01" * 32),
            HeaderError,
            f"header of block 3: it names validators {'01' * 32}, this chain's are ",
        ),
        (
            Link(THIRD.header, CHAIN.links[1].certificate),
            CertificateError,
            "certificate of block 3: it is for block 2, ",
        ),
        (
            Link(replace(THIRD.header, state_root=bytes(32)), THIRD.certificate),
            CertificateError,
            f"certificate of block 3: it is for block 3, {THIRD.header.block_hash.hex()}; this one is ",
        ),
        (
            Link(THIRD.header, replace(THIRD.certificate, signatures=THIRD.certificate.signatures[:2])),
            CertificateError,
            "certificate of block 3: 2 of 4 validators signed, 3 must",
        ),
        (
            relink(THIRD, VALIDATORS[:2], state_root=bytes(32)),
            CertificateError,
            "certificate of block 3: 2 of 4 validators signed, 3 must",
        ),
    ],
)
def test_what_does_not_follow_is_refused_and_the_head_stays(
    link: Link, kind: type[TrustError], message: str
) -> None:
    error, client = told([link])
    assert type(error) is kind
    assert str(error).startswith(message)
    assert client.head == following(2).head


def test_a_chain_of_strangers_is_refused_with_the_key_that_should_have_signed() -> None:
    impostors = genesis_of(STRANGERS)
    forged = Chain(impostors, STRANGERS[:3])
    forged.extend()
    with pytest.raises(HeaderError, match=f"it is of chain {impostors.chain_id.hex()}"):
        LightClient(GENESIS).follow(forged.links)
    header = replace(CHAIN.links[0].header, state_root=b"\x66" * 32)
    signed = certificate_of(impostors, header, STRANGERS[:3])
    certificate = replace(
        signed,
        signatures=tuple((index, signature) for index, (_, signature) in enumerate(signed.signatures)),
    )
    with pytest.raises(CertificateError) as caught:
        LightClient(GENESIS).follow([Link(header, certificate)])
    assert str(caught.value) == (
        f"certificate of block 1: signature 1 is not by key {VALIDATORS[0].public.hex()}, "
        "validator 0 of this chain: a stranger signed, or something else was signed"
    )


def test_what_is_right_before_an_error_is_kept() -> None:
    error, client = told([CHAIN.links[2], CHAIN.links[4]])
    assert str(error) == "header of block 5: it does not follow the trusted block 3"
    assert client.head.height == 3


def test_a_block_decided_in_a_later_round_than_it_was_proposed_is_good_but_not_in_an_earlier_one() -> None:
    client = following(2)
    client.follow([Link(THIRD.header, certificate_in_round(THIRD.header, 2))])
    assert client.head.height == 3
    proposed_late = replace(THIRD.header, round=3)
    error, _ = told([Link(proposed_late, certificate_in_round(proposed_late, 2))])
    assert str(error) == "certificate of block 3: round 2 is before the block's 3"


def certificate_in_round(header: Header, round_: int) -> Certificate:
    return certify(sign_commits(GENESIS, header, VALIDATORS[:3], round_), GENESIS.validators)


def test_two_certified_blocks_of_one_height_are_a_fork_and_both_are_named() -> None:
    twin = relink(CHAIN.links[4], state_root=b"\x07" * 32)
    client = following(5)
    for show in (client.check, lambda link: client.follow([link])):
        with pytest.raises(ForkFound) as caught:
            show(twin)
        assert (caught.value.height, caught.value.trusted_hash, caught.value.shown_hash) == (
            5,
            CHAIN.links[4].header.block_hash,
            twin.header.block_hash,
        )
    with pytest.raises(ForkFound, match="fork at block 2"):
        client.check(relink(CHAIN.links[1], state_root=b"\x07" * 32))


def test_a_header_is_checked_only_up_to_the_head() -> None:
    client = following(3)
    assert client.check(CHAIN.links[0]) == CHAIN.links[0].header
    with pytest.raises(
        HeaderError, match="header of block 4: it is beyond the trusted block 3; follow first"
    ):
        client.check(CHAIN.links[3])


# Evidence


def test_a_final_transaction_is_confirmed_with_what_became_of_it() -> None:
    client = following()
    for height in range(1, 6):
        for index in range(2):
            receipt = client.confirm_transaction(CHAIN.transaction_evidence(height, index))
            assert (receipt.reason, receipt.fee_ucpc) == (Reason.APPLIED, 1_000)
            assert receipt.tx_hash == CHAIN.blocks[height - 1].transactions[index].tx_hash


EVIDENCE = CHAIN.transaction_evidence(3, 1)
OTHER = CHAIN.transaction_evidence(3, 0)
LIE = Receipt(EVIDENCE.link.header.block_hash, Reason.APPLIED, 0).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"transaction": OTHER.transaction},
            "transaction 1 of block 3: leaf 1 of 2 does not lead to this root",
        ),
        (
            {"proof": InclusionProof(0, EVIDENCE.proof.hashes)},
            "transaction 0 of block 3: leaf 0 of 2 does not",
        ),
        (
            {"proof": InclusionProof(2, EVIDENCE.proof.hashes)},
            "transaction 2 of block 3: leaf 2 is not in a tree",
        ),
        ({"proof": InclusionProof(1, ())}, "transaction 1 of block 3: the proof is too short"),
        ({"link": CHAIN.links[3]}, "transaction 1 of block 4: leaf 1 of 2 does not lead"),
        ({"receipt": OTHER.receipt}, "receipt 1 of block 3: leaf 1 of 2 does not lead to this root"),
        ({"receipt": LIE}, "receipt 1 of block 3: leaf 1 of 2 does not lead to this root"),
        (
            {"receipt": OTHER.receipt, "receipt_proof": OTHER.receipt_proof},
            "the receipt is not that of transaction 1",
        ),
    ],
)
def test_evidence_that_does_not_lead_to_the_header_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        following().confirm_transaction(replace(EVIDENCE, **changes))
    assert str(caught.value).startswith(message)


def test_the_state_is_confirmed_present_and_absent() -> None:
    client = following()
    account = client.confirm_account(ALICE.public, CHAIN.account_evidence(ALICE))
    assert (account.nonce, account.balance_ucpc) == (5, CHAIN.balance(ALICE))
    assert client.confirm_account(CAROL.public, CHAIN.account_evidence(CAROL)).balance_ucpc == 0
    owner, stream = BOB.public, anchor().stream
    entry = client.confirm_anchor(owner, stream, 4, CHAIN.state_evidence(anchor_key(owner, stream, 4)))
    assert entry is not None
    assert entry.is_of(anchor())
    absent = CHAIN.state_evidence(anchor_key(owner, stream, 5))
    assert client.confirm_anchor(owner, stream, 5, absent) is None
    owned = client.confirm_stream(owner, stream, CHAIN.state_evidence(stream_key(owner, stream)))
    assert owned is not None
    assert owned.last_upload == 4
    nobodys = CHAIN.state_evidence(stream_key(ALICE.public, stream))
    assert client.confirm_stream(ALICE.public, stream, nobodys) is None


def test_conduct_is_confirmed_and_one_without_blame_proves_to_have_none() -> None:
    chain = Chain()
    chain.impeach()
    client = LightClient(chain.genesis)
    client.follow(chain.links)
    evidence = chain.state_evidence(conduct_key(PROPOSER.public))
    assert client.confirm_conduct(PROPOSER.public, evidence) == Conduct(1, 0, 1)
    blameless = chain.state_evidence(conduct_key(ALICE.public))
    assert client.confirm_conduct(ALICE.public, blameless) == Conduct()
    with pytest.raises(EvidenceError, match="state proof against block 1"):
        client.confirm_conduct(ALICE.public, evidence)


def test_a_squatter_of_a_stream_id_proves_only_its_own_and_the_owner_is_anchored_all_the_same() -> None:
    """Stream ids follow from what is public, so anybody may anchor to Alice's before she does."""
    chain, stream = Chain(), anchor().stream
    squat = chain.sign(BOB, anchor(upload=900, content=b"squatter"))
    chain.extend(squat)
    upload = chain.sign(ALICE, anchor(upload=0))
    assert [receipt.reason for receipt in chain.extend(upload)] == [Reason.APPLIED]
    client = LightClient(chain.genesis)
    client.follow(chain.links)

    def anchored(who: SigningKey, index: int) -> bytes | None:
        entry = client.confirm_anchor(
            who.public, stream, index, chain.state_evidence(anchor_key(who.public, stream, index))
        )
        return None if entry is None else entry.tx_hash

    def last_upload(who: SigningKey) -> int | None:
        entry = client.confirm_stream(
            who.public, stream, chain.state_evidence(stream_key(who.public, stream))
        )
        return None if entry is None else entry.last_upload

    assert (anchored(ALICE, 0), anchored(ALICE, 900), last_upload(ALICE)) == (upload.tx_hash, None, 0)
    assert (anchored(BOB, 0), anchored(BOB, 900), last_upload(BOB)) == (None, squat.tx_hash, 900)
    with pytest.raises(EvidenceError, match="state proof against block 2: the proof leads to root"):
        client.confirm_anchor(
            ALICE.public, stream, 900, chain.state_evidence(anchor_key(BOB.public, stream, 900))
        )


def test_a_proof_of_another_key_or_another_block_proves_nothing() -> None:
    client = following()
    evidence = CHAIN.account_evidence(ALICE)
    with pytest.raises(EvidenceError, match="state proof against block 5: the proof leads to root"):
        client.confirm_account(BOB.public, evidence)
    with pytest.raises(EvidenceError, match="state proof against block 4: the proof leads to root"):
        client.confirm_account(ALICE.public, StateEvidence(CHAIN.links[3], evidence.proof))
    with pytest.raises(EvidenceError, match="state proof against block 5: the proof is not one"):
        client.confirm_account(ALICE.public, StateEvidence(evidence.link, b""))


def test_evidence_can_be_checked_with_nothing_but_the_genesis() -> None:
    verify_certificate(GENESIS, EVIDENCE.link)
    header = EVIDENCE.link.header
    light_client.verify_transaction(EVIDENCE.transaction, header, EVIDENCE.proof)
    light_client.verify_receipt(EVIDENCE.receipt, EVIDENCE.transaction, header, EVIDENCE.receipt_proof)
    with pytest.raises(HeaderError):
        verify_certificate(genesis_of(name="other"), EVIDENCE.link)
    state = CHAIN.account_evidence(ALICE)
    assert light_client.verify_state(account_key(ALICE.public), state.proof, state.link.header) is not None


def test_a_receipt_is_of_the_transaction_that_was_asked_about() -> None:
    of_other = (OTHER.receipt, EVIDENCE.transaction, OTHER.link.header, OTHER.receipt_proof)
    with pytest.raises(EvidenceError, match=r"the receipt is of transaction [0-9a-f]{64}"):
        light_client.verify_receipt(*of_other)


def test_only_so_many_blocks_back_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light_client, "RECENT_MAX", 3)
    client = following()
    client.check(relink(CHAIN.links[1], state_root=b"\x07" * 32))
    with pytest.raises(ForkFound):
        client.check(relink(CHAIN.links[2], state_root=b"\x07" * 32))


def flip(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8 % len(flipped)] ^= 1 << bit % 8
    return bytes(flipped)


@settings(deadline=None)
@given(st.integers(0, 1 << 16), st.booleans())
def test_no_flipped_bit_of_a_header_or_a_certificate_goes_unseen(bit: int, is_header: bool) -> None:
    link = CHAIN.links[0]
    header, certificate = link.header.data, link.certificate.encode()
    if is_header:
        header = flip(header, bit)
    else:
        certificate = flip(certificate, bit)
    with pytest.raises(PeerError):
        LightClient(GENESIS).follow([Link.decode(header, certificate)])


@settings(deadline=None)
@given(st.integers(0, 1 << 16))
def test_no_flipped_bit_of_kept_evidence_goes_unseen(bit: int) -> None:
    decode: Callable[[bytes], Any] = type(EVIDENCE).decode
    with pytest.raises(PeerError):
        following().confirm_transaction(decode(flip(EVIDENCE.encode(), bit)))
