"""Evidence as bytes: golden, strict, and nothing but WireError from anything else."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.entry import account_key
from chain_node.errors import WireError
from chain_node.evidence import InclusionProof, StateEvidence, TransactionEvidence
from chain_node.transaction import Transfer
from puf import cbor
from tests.chain_node.world import ALICE, BOB, Chain

CHAIN = Chain()
CHAIN.extend(*(CHAIN.sign(ALICE, Transfer(BOB.public, 1), nonce=nonce) for nonce in range(3)))
TRANSACTION = CHAIN.transaction_evidence(1, 2)
STATE = CHAIN.state_evidence(account_key(ALICE.public))


def test_golden_transaction_evidence() -> None:
    """A change here makes kept evidence unreadable, and is a line in CHANGELOG.md."""
    link = TRANSACTION.link
    parts = [
        ("01", link.header.data),
        ("02", link.certificate.encode()),
        ("03", TRANSACTION.transaction),
        ("04", 2),
        ("05", list(TRANSACTION.proof.hashes)),
        ("06", TRANSACTION.receipt),
        ("07", list(TRANSACTION.receipt_proof.hashes)),
    ]
    assert TRANSACTION.encode().hex() == "a7" + "".join(
        key + cbor.encode(value).hex() for key, value in parts
    )
    assert TransactionEvidence.decode(TRANSACTION.encode()) == TRANSACTION


def test_golden_state_evidence() -> None:
    parts = [
        ("01", STATE.link.header.data),
        ("02", STATE.link.certificate.encode()),
        ("03", STATE.proof),
    ]
    assert STATE.encode().hex() == "a3" + "".join(key + cbor.encode(value).hex() for key, value in parts)
    assert StateEvidence.decode(STATE.encode()) == STATE


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (1, b"", "no header"),
        (1, bytes(513), "header is not at most 512 bytes"),
        (2, b"\xf6", "no certificate: it is no map"),
        (3, None, "transaction is not at most 65536 bytes"),
        (4, -1, "index is not from 0"),
        (5, [bytes(32)] * 65, "proof of the transaction is not a list of at most 64"),
        (5, [bytes(31)], "proof of the transaction is not 32 bytes"),
        (6, bytes(129), "receipt is not at most 128 bytes"),
        (7, [b""], "proof of the receipt is not 32 bytes"),
        (8, 0, "handovers is not a list"),
        (8, [], "it is empty; it must be left out"),
        (8, [0], "no state evidence: it is no byte string"),
        (9, 0, "unknown fields"),
    ],
)
def test_evidence_out_of_bounds_is_none(field: int, value: object, message: str) -> None:
    fields: Any = cbor.decode(TRANSACTION.encode())
    with pytest.raises(WireError, match=message):
        TransactionEvidence.decode(cbor.encode(fields | {field: value}))


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.dictionaries(st.integers(0, 8), st.integers() | st.binary() | st.lists(st.binary(max_size=32))).map(
        cbor.encode
    ),
    st.sampled_from([TransactionEvidence, StateEvidence]),
)
def test_arbitrary_bytes_raise_only_wire_errors(data: bytes, kind: Any) -> None:
    with pytest.raises(WireError):
        kind.decode(data)


def test_the_index_is_that_of_both_proofs() -> None:
    other = replace(TRANSACTION, receipt_proof=InclusionProof(1, TRANSACTION.receipt_proof.hashes))
    assert TransactionEvidence.decode(other.encode()).receipt_proof.index == 2
