"""The status list on the chain: its hash is anchored, so a verifier need trust neither a server nor a mirror.

Runs on CPython; pure.  The anchor is one like those of telemetry (kind 2), of a stream of its own:

    stream          SHA-256 of "cpc/status-list" and the list's address
    upload          the list's version: the chain takes rising ones only, so no older one is anchored later
    chunk_count 1, cipher_root and plain_root  the RFC 9162 leaf of the token; manifest_hash  its SHA-256

A verifier checks list -> hash -> transaction -> block -> certificate (gateway/evidence.py), remembers the
highest version that it has seen, and takes none below: a mirror cannot turn a revocation back.
"""

from dataclasses import dataclass

from chain_node.wire import Anchor, ChainError, Genesis, Transaction
from gateway.errors import EvidenceError
from gateway.evidence import check, decode_evidence
from puf import merkle_tree
from puf.hkdf import sha256
from puf.status_list import StatusToken, open_list

LABEL = b"cpc/status-list\x00"


def stream_of(uri: str) -> bytes:
    """The stream of the list at this address."""
    return sha256(LABEL + uri.encode())


def anchor_of(token: bytes, uri: str, version: int) -> Anchor:
    """What the chain is to keep of a version of the list."""
    leaf = merkle_tree.leaf_hash(token)
    return Anchor(stream_of(uri), version, 1, leaf, leaf, sha256(token))


@dataclass(frozen=True, slots=True)
class Anchored:
    """A status list that is proven to be on the chain."""

    token: StatusToken
    version: int
    height: int
    """The block that has its hash."""


def open_anchored(
    token: bytes, evidence: bytes, uri: str, issuer: bytes, genesis: Genesis, version_min: int = 0
) -> Anchored:
    """The status list of that address, checked down to the validators' signatures.

    issuer: the gateway's Ed25519 key, which signed list and anchor; version_min: the highest version that was
    seen before.  Raises DecodeError, SignatureError, CredentialError, and EvidenceError with the link that
    fails.
    """
    opened = open_list(token, uri, issuer)
    proof = decode_evidence(evidence)
    try:
        body = Transaction.decode(proof.transaction).body
    except ChainError as error:
        raise EvidenceError("roots in the transaction", str(error)) from error
    version = body.upload if isinstance(body, Anchor) else 0
    check(proof, issuer, genesis, anchor_of(token, uri, version))
    if version < version_min:
        raise EvidenceError(
            "newest version", f"version {version} of the status list is older than {version_min}, seen before"
        )
    return Anchored(opened, version, proof.link.header.height)
