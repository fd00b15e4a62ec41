"""Evidence of an anchored upload: what it proves, and every way in which it does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.wire import (
    Anchor,
    Certificate,
    Genesis,
    InclusionProof,
    Link,
    Reason,
    TransactionEvidence,
    Transfer,
)
from gateway.errors import EvidenceError
from gateway.evidence import (
    anchor_of,
    check,
    check_anchor,
    check_block,
    check_certificate,
    decode_evidence,
)
from puf import merkle_tree
from puf.ed25519 import SigningKey
from tests.chain_node.world import (
    ALICE,
    BOB,
    STRANGERS,
    VALIDATORS,
    Chain,
    anchor,
    certificate_of,
    genesis_of,
)
from tests.gateway.anchored import anchor_on, chain_with, store_uploads
from tests.gateway.telemetry import OWNER, can_batch

UPLOAD = anchor(upload=3)
CHAIN = chain_with(OWNER)
EVIDENCE = anchor_on(CHAIN, UPLOAD)
OTHER = anchor_on(CHAIN, anchor(upload=4, content=b"other"))
"""Of another upload of the same stream, one block later."""
GENESIS = CHAIN.genesis


def failing(evidence: TransactionEvidence, expected: Anchor = UPLOAD, genesis: Genesis = GENESIS) -> str:
    """The link that fails, and why."""
    with pytest.raises(EvidenceError) as caught:
        check(evidence, OWNER.public, genesis, expected)
    return f"{caught.value.link}: {caught.value.why}"


def resealed(evidence: TransactionEvidence, **changes: Any) -> TransactionEvidence:
    """With another header, which the validators of this chain have certified."""
    header = replace(evidence.link.header, **changes)
    return replace(evidence, link=Link(header, certificate_of(GENESIS, header)))


def certified_by(evidence: TransactionEvidence, *signers: SigningKey) -> TransactionEvidence:
    """With the signatures of others in the place of the validators'."""
    genesis = genesis_of(signers)
    header = evidence.link.header
    made = certificate_of(replace(genesis, name=GENESIS.name), header, signers)
    forged = Certificate(made.height, made.round, made.block_hash, made.signatures)
    return replace(evidence, link=Link(header, forged))


def test_evidence_proves_that_an_upload_is_anchored() -> None:
    assert check_anchor(EVIDENCE, OWNER.public, GENESIS.chain_id, UPLOAD).startswith("transaction ")
    assert check_block(EVIDENCE) == "block 1, number 3 of 3"
    signers = [validator.public.hex()[:16] for validator in VALIDATORS[:3]]
    assert check_certificate(EVIDENCE, GENESIS) == (
        f"by 3 of the 4 validators of chain test: {', '.join(signers)}"
    )
    check(EVIDENCE, OWNER.public, GENESIS, UPLOAD)
    assert decode_evidence(EVIDENCE.encode()) == EVIDENCE


def test_the_anchor_of_a_manifest_names_both_roots_and_the_manifest(tmp_path: Path) -> None:
    store, (manifest,) = store_uploads(tmp_path, [can_batch(20, step_ns=500_000_000)])
    store.close()
    chunks = [chunk for segment in manifest.segments for chunk in segment.chunks]
    assert anchor_of(manifest) == Anchor(
        stream=manifest.stream_id,
        upload=0,
        chunk_count=len(chunks),
        cipher_root=merkle_tree.root([merkle_tree.leaf_hash(chunk.chunk_id) for chunk in chunks]),
        plain_root=merkle_tree.root([merkle_tree.leaf_hash(chunk.plain_leaf) for chunk in chunks]),
        manifest_hash=manifest.digest,
    )
    assert len(chunks) == 10


@pytest.mark.parametrize(
    "field", ["stream", "upload", "chunk_count", "cipher_root", "plain_root", "manifest_hash"]
)
def test_an_anchor_of_something_else_is_named(field: str) -> None:
    value = getattr(UPLOAD, field)
    other: Any = value + 1 if isinstance(value, int) else bytes(32)
    expected = replace(UPLOAD, **{field: other})
    assert (
        failing(EVIDENCE, expected) == f"roots in the transaction: it anchors something else: other {field}"
    )


def test_a_transaction_of_another_kind_is_no_anchor() -> None:
    chain = chain_with(OWNER)
    chain.extend(chain.sign(OWNER, Transfer(BOB.public, 5)))
    why = failing(chain.transaction_evidence(1, 0), genesis=chain.genesis)
    assert why == "roots in the transaction: it anchors something else: it is a transfer"


def test_an_anchor_by_somebody_else_is_refused() -> None:
    chain = chain_with(OWNER)
    chain.extend(chain.sign(ALICE, UPLOAD))
    why = failing(chain.transaction_evidence(1, 0), genesis=chain.genesis)
    assert why.startswith(f"roots in the transaction: it is signed by {ALICE.public.hex()}")


def test_an_anchor_on_another_chain_is_refused() -> None:
    other = Chain(replace(GENESIS, name="other"))
    why = failing(anchor_on(other, UPLOAD))
    assert why == f"roots in the transaction: it is for another chain, {other.genesis.chain_id.hex()}"


def test_a_transaction_is_not_in_a_block_of_others() -> None:
    assert "transaction 2 of block 2" in failing(replace(EVIDENCE, link=OTHER.link))
    wrong_place = replace(EVIDENCE, proof=InclusionProof(1, EVIDENCE.proof.hashes))
    assert failing(wrong_place).startswith("transaction in the block: transaction 1 of block 1")


def test_a_receipt_of_another_transaction_is_refused() -> None:
    receipts = CHAIN.receipts[0]
    moved = replace(
        EVIDENCE,
        receipt=receipts[0].encode(),
        receipt_proof=CHAIN.transaction_evidence(1, 0).receipt_proof,
    )
    assert "the receipt is of transaction" in failing(moved)
    swapped = replace(EVIDENCE, receipt=OTHER.receipt)
    assert failing(swapped).startswith("transaction in the block: receipt 2 of block 1")


def test_an_anchor_without_effect_is_no_anchor() -> None:
    chain = chain_with(OWNER)
    anchor_on(chain, anchor(upload=3, content=b"first"))
    evidence = anchor_on(chain, UPLOAD)
    assert chain.receipts[1][2].reason is Reason.ANCHOR_CONFLICT
    assert failing(evidence, genesis=chain.genesis) == (
        "transaction in the block: it is in block 2 without effect: anchor_conflict"
    )


def test_content_that_was_anchored_before_counts_as_anchored() -> None:
    chain = chain_with(OWNER)
    anchor_on(chain, UPLOAD)
    evidence = anchor_on(chain, UPLOAD)
    assert chain.receipts[1][2].reason is Reason.ANCHOR_KNOWN
    check(evidence, OWNER.public, chain.genesis, UPLOAD)


# --------------------------------------------------------------- certificates


def with_signatures(*signatures: tuple[int, bytes]) -> TransactionEvidence:
    certificate = replace(EVIDENCE.link.certificate, signatures=signatures)
    return replace(EVIDENCE, link=Link(EVIDENCE.link.header, certificate))


SIGNATURES = EVIDENCE.link.certificate.signatures


def test_a_certificate_signed_by_strangers_is_refused() -> None:
    forged = certified_by(EVIDENCE, *STRANGERS)
    why = failing(forged)
    assert why.startswith("block certified: certificate of block 1: signature 1 is not by key")
    assert "a stranger signed" in why


def test_one_signature_three_times_is_no_quorum() -> None:
    why = failing(with_signatures(SIGNATURES[0], SIGNATURES[0], SIGNATURES[0]))
    assert "signature 2 is by validator 0, who has signed already" in why
    renamed = with_signatures(*((index, SIGNATURES[0][1]) for index in range(3)))
    assert "signature 2 is not by key" in failing(renamed)


def test_two_of_four_are_no_quorum() -> None:
    assert "2 of 4 validators signed, 3 must" in failing(with_signatures(*SIGNATURES[:2]))


def test_a_certificate_of_another_block_is_refused() -> None:
    moved = replace(EVIDENCE, link=Link(EVIDENCE.link.header, OTHER.link.certificate))
    assert failing(moved).startswith("block certified: certificate of block 1: it is for block 2")


def test_a_block_of_another_chain_is_refused() -> None:
    # The same validators, the same names, another genesis: as after a chain was made anew.
    other = replace(GENESIS, time_ms=GENESIS.time_ms + 1)
    with pytest.raises(EvidenceError, match="it is of chain"):
        check_certificate(EVIDENCE, other)


def test_a_block_with_other_validators_is_refused_whoever_certified_it() -> None:
    strangers = genesis_of(STRANGERS).validators_hash
    assert "it names validators" in failing(resealed(EVIDENCE, validators_hash=strangers))


def test_a_header_that_was_changed_needs_its_own_certificate() -> None:
    header = replace(EVIDENCE.link.header, time_ms=EVIDENCE.link.header.time_ms + 1)
    changed = replace(EVIDENCE, link=Link(header, EVIDENCE.link.certificate))
    assert failing(changed).startswith("block certified: ")


# -------------------------------------------------------------- arbitrary bytes


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_evidence_or_an_evidence_error(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        decode_evidence(data)


@settings(max_examples=300)
@given(st.integers(0, 8 * len(EVIDENCE.encode()) - 1))
def test_one_flipped_bit_anywhere_is_noticed(bit: int) -> None:
    data = bytearray(EVIDENCE.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EvidenceError):
        check(decode_evidence(bytes(data)), OWNER.public, GENESIS, UPLOAD)


@settings(max_examples=300)
@given(st.data())
def test_no_mixture_with_another_upload_s_evidence_holds(data: st.DataObject) -> None:
    fields = ("link", "transaction", "proof", "receipt", "receipt_proof")
    taken = data.draw(st.sets(st.sampled_from(fields), min_size=1))
    mixed = replace(EVIDENCE, **{field: getattr(OTHER, field) for field in taken})
    for expected in (UPLOAD, anchor(upload=4, content=b"other")):
        if mixed not in (EVIDENCE, OTHER) or (mixed == OTHER) == (expected == UPLOAD):
            with pytest.raises(EvidenceError):
                check(mixed, OWNER.public, GENESIS, expected)
