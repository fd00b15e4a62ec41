"""The chain's wire formats in one place: what a gateway needs to speak to it.

Runs on CPython.  Transactions and receipts live in transaction.py, blocks, votes and certificates in
block.py, the genesis in genesis.py, entries of the state in entry.py, evidence in evidence.py.  From
outside `chain_node/` they are imported from here only, with the errors that reading them may raise.
"""

from chain_node.block import (
    BLOCK_SIZE_MAX,
    NO_PROPOSER,
    Block,
    Certificate,
    Header,
    Phase,
    Vote,
    certify,
    list_root,
    validators_hash,
    vote_payload,
)
from chain_node.entry import Account, AnchorEntry, StreamEntry, account_key, anchor_key, stream_key
from chain_node.errors import (
    CertificateError,
    ChainError,
    EvidenceError,
    ForkFound,
    HeaderError,
    LocalError,
    NodeBusy,
    NodeError,
    NodeLied,
    NodeRefused,
    NodeUnavailable,
    PeerError,
    Refused,
    TrustError,
    WireError,
)
from chain_node.evidence import InclusionProof, Link, StateEvidence, TransactionEvidence
from chain_node.genesis import Genesis
from chain_node.reason import Reason
from chain_node.transaction import (
    KINDS,
    MEMO_SIZE_MAX,
    SUPPLY_UCPC,
    TX_SIZE_LIMIT,
    Anchor,
    Body,
    Receipt,
    Transaction,
    Transfer,
    transaction_hash,
)

UCPC_PER_CPC = 1_000_000

__all__ = [
    "BLOCK_SIZE_MAX",
    "KINDS",
    "MEMO_SIZE_MAX",
    "NO_PROPOSER",
    "SUPPLY_UCPC",
    "TX_SIZE_LIMIT",
    "UCPC_PER_CPC",
    "Account",
    "Anchor",
    "AnchorEntry",
    "Block",
    "Body",
    "Certificate",
    "CertificateError",
    "ChainError",
    "EvidenceError",
    "ForkFound",
    "Genesis",
    "Header",
    "HeaderError",
    "InclusionProof",
    "Link",
    "LocalError",
    "NodeBusy",
    "NodeError",
    "NodeLied",
    "NodeRefused",
    "NodeUnavailable",
    "PeerError",
    "Phase",
    "Reason",
    "Receipt",
    "Refused",
    "StateEvidence",
    "StreamEntry",
    "Transaction",
    "TransactionEvidence",
    "Transfer",
    "TrustError",
    "Vote",
    "WireError",
    "account_key",
    "anchor_key",
    "certify",
    "list_root",
    "stream_key",
    "transaction_hash",
    "validators_hash",
    "vote_payload",
]
