"""The whole proof of one record: it holds, and no forgery of any of its fields does."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.wire import Genesis
from gateway.block import Block
from gateway.columns import TIME_END_NS
from gateway.crypto.seal import open_chunk, plain_leaf
from gateway.errors import ChunkMissing, EvidenceError
from gateway.evidence import decode_evidence
from gateway.manifest import Manifest
from gateway.proof import VERSION, Link, Proof, collect
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from gateway.store import LocalStore
from puf import cbor
from puf.did import did_key
from tests.chain_node.world import STRANGERS, Chain, certificate_of, genesis_of
from tests.gateway.anchored import Anchored, anchored_archive, store_uploads
from tests.gateway.telemetry import NOON_NS, OWNER, can_batch, open_archive, stream_keys

LINKS = [
    "chunk",
    "decrypted with this key",
    "record in the block",
    "leaf of the ciphertext tree",
    "leaf of the plaintext tree",
    "roots in the transaction",
    "transaction in the block",
    "block certified",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anchored]:
    world = anchored_archive(tmp_path_factory.mktemp("world"))
    yield world
    world.store.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anchored]:
    """Another stream of the same gateway, on a chain of the same validators."""
    world = anchored_archive(tmp_path_factory.mktemp("other"), name="can1")
    yield world
    world.store.close()


def checked(proof: Proof, genesis: Genesis) -> tuple[list[Link], list[Record]]:
    found: list[Record] = []
    return list(proof.links(genesis, found.append)), found


def first_failure(proof: Proof, genesis: Genesis) -> Link:
    """The link that does not hold; it must be the last."""
    *before, last = checked(proof, genesis)[0]
    assert all(link.is_ok for link in before)
    assert not last.is_ok
    assert [link.name for link in (*before, last)] == LINKS[: len(before) + 1]
    return last


def test_a_proof_holds_link_by_link_and_shows_the_record(world: Anchored) -> None:
    proof = world.proof(42)
    links, found = checked(proof, world.genesis)
    assert [link.name for link in links] == LINKS
    assert all(link.is_ok for link in links)
    batch = can_batch(200, step_ns=100_000_000)
    assert found == [Record(RecordName("can0", 1, 42), batch.taken_ns[42], batch.values[42])]
    signed = links[5].detail
    assert signed.startswith("upload 0, transaction ")
    assert signed.endswith(did_key(OWNER.public))
    assert links[7].detail.startswith("by 3 of the 4 validators of chain test: ")


def test_every_record_of_an_archive_has_a_proof(world: Anchored) -> None:
    for seq in range(0, 200, 13):
        links, (record,) = checked(world.proof(seq), world.genesis)
        assert links[-1].is_ok
        assert (record.name.seq, record.taken_ns) == (seq, NOON_NS + seq * 100_000_000)


def test_a_gap_is_proven_like_any_record(tmp_path: Path) -> None:
    batch = can_batch(5)
    batch.gaps.append((2, Gap("the bus was down", 7, NOON_NS, NOON_NS + 1)))
    world = anchored_archive(tmp_path, [batch])
    links, (record,) = checked(world.proof(2), world.genesis)
    assert links[-1].is_ok
    assert record.value == batch.gaps[0][1]
    world.store.close()


def test_a_proof_file_carries_all_of_it(world: Anchored) -> None:
    proof = world.proof(42)
    data = proof.encode()
    assert Proof.decode(data) == proof
    assert data.startswith(
        bytes.fromhex("94 69 6370632f70726f6f66 01 69 63616e302f312f3432 5820") + OWNER.public
    )


def test_the_bytes_of_a_proof_file_are_pinned() -> None:
    proof = Proof(
        record=RecordName("can0", 1, 42),
        owner=b"o" * 32,
        slot_ms=5_000,
        upload_index=2,
        slot=100_000_000,
        segment_id=b"s" * 16,
        place=3,
        leaf=4,
        leaf_count=10,
        segment_key=b"k" * 32,
        chunk_id=b"i" * 32,
        chunk=b"chunk",
        manifest_hash=b"m" * 32,
        cipher_root=b"c" * 32,
        cipher_proof=(b"1" * 32, b"2" * 32),
        plain_root=b"p" * 32,
        plain_proof=(),
        evidence=b"evidence",
    )
    golden = (
        "94 69 6370632f70726f6f66 01 69 63616e302f312f3432 5820" + "6f" * 32 + "191388 02 1a05f5e100"
        "50" + "73" * 16 + "03 04 0a 5820" + "6b" * 32 + "5820" + "69" * 32 + "45 6368756e6b"
        "5820" + "6d" * 32 + "5820" + "63" * 32 + "82 5820" + "31" * 32 + "5820" + "32" * 32 + ""
        "5820" + "70" * 32 + "80 48 65766964656e6365"
    )
    assert proof.encode() == bytes.fromhex(golden)
    assert Proof.decode(bytes.fromhex(golden)) == proof


def test_a_proof_opens_one_segment_and_shows_its_key_nowhere(world: Anchored) -> None:
    proof = world.proof(42)
    links, _ = checked(proof, world.genesis)
    shown = repr(proof) + "".join(map(repr, links))
    assert proof.segment_key.hex() not in shown
    assert repr(proof.segment_key) not in shown
    segments = {segment.segment_id: segment for segment in world.archive.manifest(0).segments}
    assert len(segments) == 2
    del segments[proof.segment_id]
    (stranger,) = segments.values()
    with pytest.raises(Exception, match="does not open"):
        open_chunk(
            proof._key(),
            world.store.read(stranger.chunks[0].chunk_id),
            proof.stream_id,
            stranger.slot,
            stranger.segment_id,
            0,
            stranger.chunks[0].chunk_id,
        )


# ------------------------------------------------------------------ forgeries

FIRST_FAILURE_OF = {
    "record": "decrypted with this key",
    "owner": "decrypted with this key",
    "slot_ms": "decrypted with this key",
    "upload_index": "roots in the transaction",
    "slot": "decrypted with this key",
    "segment_id": "decrypted with this key",
    "place": "decrypted with this key",
    "leaf": "leaf of the ciphertext tree",
    "leaf_count": "roots in the transaction",
    "segment_key": "decrypted with this key",
    "chunk_id": "chunk",
    "chunk": "chunk",
    "manifest_hash": "roots in the transaction",
    "cipher_root": "leaf of the ciphertext tree",
    "cipher_proof": "leaf of the ciphertext tree",
    "plain_root": "leaf of the plaintext tree",
    "plain_proof": "leaf of the plaintext tree",
    "evidence": "roots in the transaction",
}


def changed(value: Any) -> Any:
    """The nearest other value of the same kind."""
    match value:
        case RecordName():
            return replace(value, stream="can7")
        case int():
            return value + 1
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case tuple():
            return (changed(value[0]), *value[1:])
    raise AssertionError(value)


def test_the_table_of_forgeries_is_complete() -> None:
    assert [field.name for field in fields(Proof)] == list(FIRST_FAILURE_OF)


@pytest.mark.parametrize("field", FIRST_FAILURE_OF)
def test_a_field_that_was_changed_fails_at_its_link(world: Anchored, field: str) -> None:
    proof = world.proof(42)
    forged = replace(proof, **{field: changed(getattr(proof, field))})
    assert first_failure(forged, world.genesis).name == FIRST_FAILURE_OF[field]


@pytest.mark.parametrize("field", FIRST_FAILURE_OF)
@pytest.mark.parametrize("seq", [57, 142])
def test_a_field_of_another_record_s_proof_does_not_hold(world: Anchored, field: str, seq: int) -> None:
    """57 lies in the next block of the same segment and upload, 142 in another upload."""
    proof, donor = world.proof(42), world.proof(seq)
    forged = replace(proof, **{field: getattr(donor, field)})
    if forged != proof:
        expected = "record in the block" if field == "record" else FIRST_FAILURE_OF[field]
        assert first_failure(forged, world.genesis).name == expected


@settings(max_examples=200, deadline=None)
@given(taken=st.sets(st.sampled_from(list(FIRST_FAILURE_OF)), min_size=1, max_size=17), data=st.data())
def test_no_mixture_of_two_proofs_holds(
    world: Anchored, other: Anchored, taken: set[str], data: st.DataObject
) -> None:
    proof = world.proof(42)
    donor = data.draw(st.sampled_from([world.proof(57), world.proof(142), other.proof(42)]))
    forged = replace(proof, **{field: getattr(donor, field) for field in taken})
    links, found = checked(forged, world.genesis)
    if links[-1].is_ok:
        # What does hold proves what it says: it is one of the honest proofs.
        assert forged in (proof, donor)
        assert found[0] == next(record for record in forged.block().records() if record.name == forged.record)


def test_another_record_of_the_same_block_is_a_proof_of_that_record(world: Anchored) -> None:
    forged = replace(world.proof(42), record=RecordName("can0", 1, 43))
    links, (record,) = checked(forged, world.genesis)
    assert links[-1].is_ok
    assert record.name.seq == 43
    assert record.taken_ns == NOON_NS + 43 * 100_000_000


def test_a_record_that_never_was_fails_by_name(world: Anchored) -> None:
    forged = replace(world.proof(42), record=RecordName("can0", 2, 42))
    assert first_failure(forged, world.genesis).detail == "block 4 of stream can0 has no can0/2/42"


def test_other_plaintext_under_the_same_hash_of_ciphertext_is_impossible_to_anchor(world: Anchored) -> None:
    # The owner commits to the plaintext as well: a leaf of other bytes leads to another root.
    proof = world.proof(42)
    manifest: Manifest = world.archive.manifest(0)
    assert plain_leaf(proof._key(), proof.place, b"other") not in {
        chunk.plain_leaf for _, _, chunk in manifest.chunks()
    }


def test_a_certificate_of_strangers_fails_at_the_last_link(world: Anchored) -> None:
    proof = world.proof(42)
    strangers = Chain(replace(world.genesis, validators=genesis_of(STRANGERS).validators))
    assert first_failure(proof, strangers.genesis).name == "roots in the transaction"
    evidence = decode_evidence(proof.evidence)
    header = evidence.link.header
    certificate = certificate_of(genesis_of(STRANGERS), header, STRANGERS[:3])
    forged = replace(evidence, link=replace(evidence.link, certificate=certificate))
    failure = first_failure(replace(proof, evidence=forged.encode()), world.genesis)
    assert failure.name == "block certified"
    assert "a stranger signed" in failure.detail


def test_one_flipped_bit_is_named(world: Anchored) -> None:
    proof = world.proof(42)
    damaged = bytearray(proof.chunk)
    damaged[100] ^= 1 << 6
    failure = first_failure(replace(proof, chunk=bytes(damaged)), world.genesis)
    assert failure.detail == (
        f"chunk {proof.chunk_id.hex()} is altered: "
        f"bit 6 of byte 100 (of {len(proof.chunk)}) is flipped, and nothing else"
    )


def test_two_flipped_bits_and_a_cut_are_told_from_one(world: Anchored) -> None:
    proof = world.proof(42)
    damaged = bytearray(proof.chunk)
    damaged[100] ^= 3
    assert first_failure(replace(proof, chunk=bytes(damaged)), world.genesis).detail.endswith(
        "more than one bit differs"
    )
    assert first_failure(replace(proof, chunk=proof.chunk[:-1]), world.genesis).name == "chunk"


def test_a_chunk_too_long_for_the_search_is_still_refused(world: Anchored) -> None:
    proof = replace(world.proof(42), chunk=bytes(2_000_000))
    assert first_failure(proof, world.genesis).detail.endswith("(too long to look for a flipped bit)")


# --------------------------------------------------------------- proof files


def encoded(*values: Any) -> bytes:
    return cbor.encode(["cpc/proof", VERSION, *values])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a proof: "),
        (b'{"record": "can0/1/2"}', "not a proof"),
        (cbor.encode([]), "not a proof; cpc prove writes one"),
        (cbor.encode(["cpc/proof"]), "version []; this program reads version 1"),
        (cbor.encode(["cpc/proof", 2]), "version [2]; this program reads version 1"),
        (encoded(), "its fields have wrong types"),
    ],
)
def test_what_is_no_proof_file_says_so(data: bytes, why: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        Proof.decode(data)
    assert caught.value.link == "proof file"
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", bytes(31)),
        ("slot_ms", -1),
        ("leaf_count", 1 << 63),
        ("segment_key", bytes(33)),
        ("cipher_proof", (bytes(31),)),
        ("plain_proof", (bytes(32),) * 65),
    ],
)
def test_impossible_fields_are_refused_when_read(world: Anchored, field: str, value: Any) -> None:
    data = replace(world.proof(42), **{field: value}).encode()
    with pytest.raises(EvidenceError, match="impossible values"):
        Proof.decode(data)


@pytest.mark.parametrize("name", ["can0/1/042", " can0/1/42", "CAN0/1/42", "can0/1"])
def test_a_record_has_one_name_only(world: Anchored, name: str) -> None:
    values: Any = cbor.decode(world.proof(42).encode(), size_max=1 << 20)
    values[2] = name
    with pytest.raises(EvidenceError, match="proof file: "):
        Proof.decode(cbor.encode(values))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_proof(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        Proof.decode(data)


@given(st.recursive(st.integers() | st.binary() | st.text() | st.booleans(), st.lists, max_leaves=30))
def test_arbitrary_values_are_no_proof(value: Any) -> None:
    with pytest.raises(EvidenceError):
        Proof.decode(encoded(*(value if isinstance(value, list) else [value])))


@settings(max_examples=300, deadline=None)
@given(place=st.integers(min_value=0), mask=st.integers(1, 255))
def test_a_proof_file_with_a_changed_byte_proves_nothing_else(world: Anchored, place: int, mask: int) -> None:
    proof = world.proof(42)
    data = bytearray(proof.encode())
    data[place % len(data)] ^= mask
    try:
        forged = Proof.decode(bytes(data))
    except EvidenceError:
        return
    links, found = checked(forged, world.genesis)
    if links[-1].is_ok:
        # Only the name can have become that of another record of this very block, which is then proven.
        assert replace(forged, record=proof.record) == proof
        assert found[0].name == forged.record


# ------------------------------------------------------------------ collecting


def test_a_record_that_is_not_anchored_yet_has_no_proof(tmp_path: Path) -> None:
    store, _ = store_uploads(tmp_path, [can_batch(20)])
    with pytest.raises(EvidenceError, match="roots in the transaction: upload 0 is not anchored yet"):
        collect(open_archive(store), OWNER.public, RecordName("can0", 1, 7))
    with pytest.raises(EvidenceError, match="record: no upload in the store has can0/1/20"):
        collect(open_archive(store), OWNER.public, RecordName("can0", 1, 20))
    store.close()


def test_a_store_that_lost_the_chunk_is_named(tmp_path: Path) -> None:
    world = anchored_archive(tmp_path, file_size_min=1)
    chunk_id = world.archive.locate(RecordName("can0", 1, 42)).chunk.chunk_id
    Path(world.store.where(chunk_id)).unlink()
    with pytest.raises(ChunkMissing, match=chunk_id.hex()[:16]):
        world.proof(42)
    assert checked(world.proof(57), world.genesis)[0][-1].is_ok
    world.store.close()


class SwappingStore(LocalStore):
    """Gives another chunk of the same store for each that it is asked for."""

    swaps: dict[bytes, bytes]

    def read(self, chunk_id: bytes) -> bytes:
        return super().read(self.swaps.get(chunk_id, chunk_id))


def test_a_store_that_gives_another_chunk_is_named(tmp_path: Path) -> None:
    world = anchored_archive(tmp_path)
    mine, its = (world.archive.locate(RecordName("can0", 1, seq)).chunk.chunk_id for seq in (42, 57))
    world.store.close()
    lying = SwappingStore(tmp_path / "store", is_read_only=True)
    lying.swaps = {mine: its}
    world.archive.store = lying
    failure = first_failure(world.proof(42), world.genesis)
    assert (failure.name, "is altered" in failure.detail) == ("chunk", True)
    lying.close()


def test_a_wrong_key_is_named(world: Anchored) -> None:
    location = world.archive.locate(RecordName("can0", 1, 42))
    stranger = stream_keys("can1").segment_key(location.segment.slot, location.segment.segment_id)
    failure = first_failure(replace(world.proof(42), segment_key=stranger.export()), world.genesis)
    assert failure.name == "decrypted with this key"
    assert "this key does not open it" in failure.detail


def test_clocks_that_jump_a_year_leave_every_record_provable(tmp_path: Path) -> None:
    year_ns = 365 * 86_400 * 10**9
    moments = [NOON_NS, NOON_NS + year_ns, NOON_NS + 5_000_000, NOON_NS - year_ns, 0, TIME_END_NS - 10**9]
    world = anchored_archive(tmp_path, [can_batch(5, moment) for moment in moments])
    for seq in range(30):
        links, (record,) = checked(world.proof(seq), world.genesis)
        assert links[-1].is_ok
        assert record.taken_ns == moments[seq // 5] + seq % 5 * 1_000_000
    world.store.close()


def test_the_block_of_a_proof_has_all_its_records(world: Anchored) -> None:
    block: Block = world.proof(42).block()
    assert [record.name.seq for record in block.records()] == list(range(40, 50))
