"""The Merkle map against a dictionary, and its proofs against tampering."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor, merkle_map
from puf.errors import ProofError
from puf.merkle_map import EMPTY, MerkleMap, NodeMissing, verify

KEYS = st.binary(max_size=2)
VALUES = st.binary(max_size=40)


def filled(count: int) -> MerkleMap:
    tree = MerkleMap()
    tree.update({b"key %d" % i: b"value %d" % i for i in range(count)})
    return tree


def reachable(tree: MerkleMap) -> set[bytes]:
    """Every node hash under the present root."""
    found: set[bytes] = set()
    todo = [tree.root]
    while todo:
        node_hash = todo.pop()
        if node_hash == EMPTY:
            continue
        found.add(node_hash)
        node = tree.nodes[node_hash]
        if node[0] == 3:
            todo += [node[1:33], node[33:]]
    return found


def model_root(entries: list[tuple[bytes, bytes]], depth: int = 0) -> bytes:
    """The definition, word for word; entries are (path, value)."""
    if not entries:
        return bytes(32)
    if len(entries) == 1:
        path, value = entries[0]
        return sha256(b"\x02" + path + sha256(value).digest()).digest()
    sides: tuple[list[tuple[bytes, bytes]], ...] = ([], [])
    for path, value in entries:
        sides[int(f"{int.from_bytes(path, 'big'):0256b}"[depth])].append((path, value))
    return sha256(b"\x03" + model_root(sides[0], depth + 1) + model_root(sides[1], depth + 1)).digest()


# Formats: a change here is a change of the chain's state format, and a line in CHANGELOG.md.


def test_golden_roots() -> None:
    assert MerkleMap().root == bytes(32)
    assert filled(1).root.hex() == "d8106df8a7cc5c961a6371c0f70fe16e4c3c123a9c1459aed7f9ae99876ac3ef"
    assert filled(2).root.hex() == "c64ab450c0cd21d1fe47df1cb697ec7bd5c7c8c9ee1ccd17d4002d16a6d9c24d"
    assert filled(100).root.hex() == "097a8004d7b81b649696a0c1207866548c4a8ea7eaf5e6eb2f3ef2eefde19e6c"


def test_golden_proofs() -> None:
    tree = filled(3)
    assert tree.root.hex() == "269787c9d2966b222ccee07a760337cb1f3118cbe55a8e11bee3607a37d097c0"
    siblings = (
        "d8106df8a7cc5c961a6371c0f70fe16e4c3c123a9c1459aed7f9ae99876ac3ef"
        "ca053b6c5a48b3455cdad4474ea7c70b49c33d02337fc8e34581cda718b4e0df"
    )
    # Present at depth 3, where the sibling at depth 0 is empty;
    assert tree.prove(b"key 1").hex() == "840341605840" + siblings + "47" + b"value 1".hex()
    # absent, since another entry lies there;
    assert tree.prove(b"key 3").hex() == (
        "8403" "4160" "5840" + siblings + "82"
        "5820" "227ba5f2c6c9109fe5c44a0696f393379607493a377f522ee27d9a7ae3227d89"
        "5820" "65da867639080176b5998c77219e2745474aa518a04268522467322f06fbd9d9"
    )  # fmt: skip
    # absent, since nothing does; and absent from a map without entries.
    assert tree.prove(b"key 4").hex() == (
        "8401" "4180" "5820" "11ed597a0a1fd2b0419055f64489e600377f62b5d88e20f08f8c87198ebdcf4e" "f6"
    )  # fmt: skip
    assert MerkleMap().prove(b"key 3").hex() == "84004040f6"


# Against a dictionary


@settings(deadline=None)
@given(st.lists(st.dictionaries(KEYS, st.none() | VALUES, max_size=12), max_size=6))
def test_a_map_holds_what_a_dictionary_holds_and_its_root_is_the_definition(
    batches: list[dict[bytes, bytes | None]],
) -> None:
    tree, model = MerkleMap(), dict[bytes, bytes]()
    for batch in batches:
        tree.update(batch)
        for key, value in batch.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        tree.prune()
        assert set(tree.nodes) == reachable(tree)
        assert tree.root == model_root([(sha256(key).digest(), value) for key, value in model.items()])
    for key in {key for batch in batches for key in batch} | {b"never set"}:
        assert tree.get(key) == model.get(key)
        assert verify(tree.root, key, tree.prove(key)) == model.get(key)


@settings(deadline=None, max_examples=15)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=1), st.none() | VALUES, max_size=30), st.integers(0, 255)
)
def test_paths_that_share_almost_all_their_bits_are_no_trouble(
    batch: dict[bytes, bytes | None], start: int
) -> None:
    """Nobody can grind such paths; the walk to depth 256 must hold all the same."""

    class NearlyEqual:
        def __init__(self, data: bytes) -> None:
            # Keys are one byte; all else that is hashed keeps its real hash.
            self._digest = bytes(31) + data if len(data) == 1 else sha256(data).digest()

        def digest(self) -> bytes:
            return self._digest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merkle_map, "sha256", NearlyEqual)
        tree, first = MerkleMap(), dict[bytes, bytes | None]({bytes([start]): b"a value"})
        tree.update(first)
        tree.update(batch)
        model = first | batch
        for key in map(bytes, zip(range(256), strict=True)):
            proof = tree.prove(key)
            assert verify(tree.root, key, proof) == model.get(key)
            assert len(proof) < 32 * 10 + 120, "siblings that are empty cost one bit"


def test_a_batch_costs_in_proportion_to_its_changes() -> None:
    class Counting(dict[bytes, bytes]):
        reads = 0

        def __getitem__(self, node_hash: bytes) -> bytes:
            self.reads += 1
            return super().__getitem__(node_hash)

    tree = MerkleMap(Counting())
    tree.update({b"%d" % i: b"v" for i in range(20_000)})
    written = len(tree.nodes)
    tree.nodes.reads = 0  # type: ignore[attr-defined]  # it is the Counting above
    tree.update({b"7": b"w"})
    # log2(20,000) is 14.3; no path in this map is longer than 30.
    assert tree.nodes.reads <= 30  # type: ignore[attr-defined]  # as above
    assert len(tree.nodes) - written <= 31


def test_an_update_that_changes_nothing_writes_nothing() -> None:
    tree = filled(50)
    root, nodes = tree.root, dict(tree.nodes)
    tree.update({b"key 7": b"value 7", b"key 99": None})
    assert (tree.root, tree.nodes, tree.stale) == (root, nodes, set())


def test_removing_all_leaves_the_empty_map() -> None:
    tree = filled(50)
    tree.update({b"key %d" % i: None for i in range(50)})
    tree.prune()
    assert (tree.root, tree.nodes) == (EMPTY, {})


def test_whoever_walks_down_finds_every_value() -> None:
    tree = MerkleMap()
    tree.update({bytes([number]): bytes([number, 7]) for number in range(50)})
    waiting = [tree.root]
    found: list[bytes] = []
    while waiting:
        below = tree.below(waiting.pop())
        if len(below) == 1:
            found += below
        else:
            waiting += [node_hash for node_hash in below if node_hash != EMPTY]
    assert sorted(found) == [bytes([number, 7]) for number in range(50)]
    del tree.nodes[tree.root]
    with pytest.raises(NodeMissing):
        tree.below(tree.root)


def test_a_value_that_comes_back_is_no_longer_stale() -> None:
    tree = filled(50)
    root = tree.root
    tree.update({b"key 7": b"other"})
    assert tree.stale
    tree.update({b"key 7": b"value 7"})
    tree.prune()
    assert tree.root == root
    assert set(tree.nodes) == reachable(tree)


def test_a_former_root_can_be_read_until_its_nodes_are_pruned() -> None:
    tree = filled(50)
    former = MerkleMap(tree.nodes, tree.root)
    tree.update({b"key 7": b"other"})
    assert (former.get(b"key 7"), tree.get(b"key 7")) == (b"value 7", b"other")
    tree.prune()
    with pytest.raises(NodeMissing):
        former.get(b"key 7")


def test_a_lost_or_damaged_node_is_named_and_nothing_changes() -> None:
    tree = filled(50)
    root, nodes = tree.root, dict(tree.nodes)
    a_leaf = next(node_hash for node_hash, node in nodes.items() if node[0] == 2)
    for node_hash in (root, a_leaf):
        for damaged in (None, b"", nodes[node_hash][:-1] + b"\xff", b"\x04" + nodes[node_hash][1:]):
            if damaged is None:
                del tree.nodes[node_hash]
            else:
                tree.nodes[node_hash] = damaged
            with pytest.raises(NodeMissing, match=node_hash.hex()) as caught:
                tree.update({b"key %d" % i: b"another value" for i in range(50)})
            assert caught.value.node_hash == node_hash
            assert (tree.root, tree.stale) == (root, set())
            tree.nodes.clear()
            tree.nodes.update(nodes)
    assert tree.get(b"key 49") == b"value 49"


def test_a_value_too_long_is_the_callers_mistake() -> None:
    tree = MerkleMap()
    with pytest.raises(ValueError, match="a value of 65537 bytes; the most is 65536"):
        tree.update({b"key": bytes(65_537)})
    tree.update({b"key": bytes(65_536)})
    assert verify(tree.root, b"key", tree.prove(b"key")) == bytes(65_536)


# Proofs


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 45), st.data())
def test_no_flipped_bit_in_a_proof_goes_unseen(count: int, number: int, data: st.DataObject) -> None:
    tree, key = filled(count), b"key %d" % number
    proof = tree.prove(key)
    bit = data.draw(st.integers(0, len(proof) * 8 - 1))
    tampered = bytearray(proof)
    tampered[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(ProofError):
        verify(tree.root, key, bytes(tampered))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 45), KEYS, VALUES)
def test_a_proof_is_of_one_key_and_one_root(
    count: int, number: int, other: int, key: bytes, value: bytes
) -> None:
    tree = filled(count)
    proof = tree.prove(b"key %d" % number)
    if other != number:
        # Absence may be shared: two absent keys under one empty subtree have one proof.
        try:
            assert verify(tree.root, b"key %d" % other, proof) is None
            assert other >= count
        except ProofError:
            pass
    changed = MerkleMap(tree.nodes, tree.root)
    changed.update({key: value})
    with pytest.raises(ProofError, match="leads to root"):
        verify(changed.root, b"key %d" % number, proof)


def test_an_entry_cannot_be_hidden_behind_another_ones_leaf() -> None:
    tree = filled(8)
    hidden = next(i for i in range(8) if tree.prove(b"key %d" % i)[1] >= 2)
    shown: Any = cbor.decode(tree.prove(b"key %d" % hidden))
    path = sha256(b"key %d" % hidden).digest()
    leaf = [path, sha256(shown[3]).digest()]
    with pytest.raises(ProofError, match="of this very key"):
        verify(tree.root, b"key %d" % hidden, cbor.encode([*shown[:3], leaf]))
    absent = next(i for i in range(100, 999) if sha256(b"key %d" % i).digest()[0] >> 7 != path[0] >> 7)
    with pytest.raises(ProofError, match="does not lie at depth"):
        verify(tree.root, b"key %d" % absent, cbor.encode([*shown[:3], leaf]))


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 255), st.integers(0, 256))
def test_two_paths_share_the_bits_before_the_first_that_differs(path: bytes, differs: int, bits: int) -> None:
    other = bytearray(path)
    other[differs >> 3] ^= 0x80 >> (differs & 7)
    assert merkle_map._shares(path, bytes(other), bits) is (bits <= differs)
    assert merkle_map._shares(path, path, bits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: -1}, "depth is not a number"),
        ({0: 257}, "depth is not a number"),
        ({0: True}, "depth is not a number"),
        ({1: b"\xff\xff"}, "bitmap is not 1 bytes"),
        ({1: b"\xff"}, "bits beyond its depth"),
        ({2: b""}, "siblings are not"),
        ({2: None}, "siblings are not"),
        ({2: bytes(96)}, "spells out an empty sibling"),
        ({2: b"\1" * 64 + bytes(32)}, "spells out an empty sibling"),
        ({3: 7}, "ends with neither"),
        ({3: [b"", b""]}, "not a path and a hash"),
        ({3: [bytes(32)]}, "not a path and a hash"),
        ({3: bytes(65_537)}, "more than 65536 bytes"),
        ({4: 0}, "a list of four"),
    ],
)
def test_a_proof_has_one_form(change: dict[int, object], message: str) -> None:
    tree = filled(8)
    proof = next(tree.prove(b"key %d" % i) for i in range(8) if tree.prove(b"key %d" % i)[1] == 3)
    shown: Any = cbor.decode(proof)
    parts = dict(enumerate(shown)) | change
    with pytest.raises(ProofError, match=message):
        verify(tree.root, b"key 0", cbor.encode([parts[i] for i in range(len(parts))]))


@settings(deadline=None)
@given(
    st.binary(max_size=200) | st.recursive(st.integers() | st.binary() | st.none(), st.lists).map(cbor.encode)
)
def test_arbitrary_bytes_raise_only_proof_errors(proof: bytes) -> None:
    try:
        verify(b"\x11" * 32, b"key", proof)
    except ProofError:
        return
    pytest.fail("no root was given that a proof could lead to")
