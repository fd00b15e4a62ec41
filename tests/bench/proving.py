"""Verifying the whole proof of a record, from its bytes in a file to the validators' signatures.

Runs on CPython.  The proofs are those of a gateway that has just anchored the bench's frames, one record
of each block.  Peer: the primitives that no verifier can do without, on the same bytes.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard
from nacl.signing import VerifyKey

from chain_node.block import VOTE_TYP
from chain_node.transaction import TX_TYP
from chain_node.wire import Genesis, Phase, vote_payload
from gateway.cli_gateway import CONFIG_NAME
from gateway.crypto.chunk import SegmentKey, parse_chunk
from gateway.evidence import decode_evidence
from gateway.proof import Proof, collect
from gateway.record import Record, RecordName
from gateway.site import open_as_owner
from puf import cbor, cose
from tests.bench import frames, ingest
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of
from tests.bench.ready_source import ready
from tests.node_process import NodeProcess

FRAME_COUNT = {"tiny": 6_000, FULL: 60_000}
ROUNDS = {"tiny": 1, FULL: 7}


def bench_verify(size: str) -> list[Row]:
    """One record's proof, decoded and verified link by link."""
    proofs, genesis = _proofs(size)
    encoded = [proof.encode() for proof in proofs]
    bare_work = [_bare_work(proof, genesis) for proof in proofs]

    def ours() -> Lap:
        links: list[tuple[str, bool]] = []
        records: list[Record] = []
        with Stopwatch() as watch:
            for data in encoded:
                proof = Proof.decode(data)
                links += [(link.name, link.is_ok) for link in proof.links(genesis, records.append)]
        assert all(is_ok for _, is_ok in links)
        values = [[str(record.name), record.taken_ns, list(record.value)] for record in records]
        return Lap(watch.cpu_us, len(encoded), digest_of(links, values))

    def bare() -> Lap:
        with Stopwatch() as watch:
            sizes = [_bare_verify(work) for work in bare_work]
        return Lap(watch.cpu_us, len(bare_work), digest_of(sizes))

    return compare(
        "proof",
        "whole proof of a record",
        ours,
        {"its bare primitives": bare},
        ROUNDS[size],
        note=lambda ours_us: f"{1e6 / ours_us:,.0f} a second",
    )


def _proofs(size: str) -> tuple[list[Proof], Genesis]:
    with (
        tempfile.TemporaryDirectory(prefix="cpc-bench-") as name,
        NodeProcess(Path(name, "chain")) as node,
        ready(frames.batches(FRAME_COUNT[size])) as url,
    ):
        site = ingest.make_bench_site(Path(name, "site"), node, url, size)
        asyncio.run(ingest.run_site(site))
        reader = open_as_owner(site / CONFIG_NAME, None)
        try:
            names = [
                RecordName("can0", chunk.boot, chunk.first_seq + chunk.count // 2)
                for index in reader.archive.upload_indexes()
                for _, _, chunk in reader.archive.manifest(index).chunks()
            ]
            return [collect(reader.archive, reader.owner, record) for record in names], node.genesis
        finally:
            reader.archive.store.close()


@dataclass(frozen=True, slots=True)
class _BareWork:
    """What verifying one proof works on, taken apart beforehand."""

    proof: Proof
    signatures: tuple[tuple[bytes, bytes, bytes], ...]
    """(public key, message, signature): the transaction's and those of the certificate."""
    node_count: int
    """Hashes of pairs, in all four inclusion proofs."""


def _bare_work(proof: Proof, genesis: Genesis) -> _BareWork:
    evidence = decode_evidence(proof.evidence)
    certificate = evidence.link.certificate
    signed = cose.open1(evidence.transaction, TX_TYP)
    vote = vote_payload(
        genesis.chain_id, certificate.height, certificate.round, Phase.COMMIT, certificate.block_hash
    )
    return _BareWork(
        proof,
        (
            (
                signed.kid,
                cose.sig_structure(TX_TYP, signed.kid, signed.payload),
                evidence.transaction[-64:],
            ),
            *(
                (
                    genesis.validators[index],
                    cose.sig_structure(VOTE_TYP, genesis.validators[index], vote),
                    signature,
                )
                for index, signature in certificate.signatures
            ),
        ),
        len(proof.cipher_proof)
        + len(proof.plain_proof)
        + len(evidence.proof.hashes)
        + len(evidence.receipt_proof.hashes),
    )


def _bare_verify(work: _BareWork) -> int:
    """Bytes of the block's columns."""
    proof = work.proof
    if sha256(proof.chunk).digest() != proof.chunk_id:
        raise AssertionError("a chunk is not what it was")
    header = parse_chunk(proof.chunk)
    key = SegmentKey.from_bytes(proof.segment_key)
    nonce = key.nonce(header.index, header.is_last)
    block = key.cipher(header.aead).decrypt(nonce, header.ciphertext, header.aad())
    leaf = sha256(key.leaf_salt(header.index) + block).digest()
    for _ in range(work.node_count):
        leaf = sha256(b"\x01" + leaf + leaf).digest()
    for public, message, signature in work.signatures:
        VerifyKey(public).verify(message, signature)
    fields: Any = cbor.decode(block)
    return len(zstandard.decompress(fields[-1][1:]))
