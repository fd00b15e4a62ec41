"""RFC 9162 trees against transparency-dev's vectors, a slow model from the standard's text, and tampering."""

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import merkle_tree
from puf.errors import ProofError
from puf.merkle_tree import MerkleTree, leaf_hash, node_hash, verify_consistency, verify_inclusion

VECTORS = Path(__file__).parents[2] / ".." / "shared" / "data" / "vectors" / "merkle_rfc9162.json"

# The eight leaves with which certificate transparency's implementations test themselves.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def load(kind: str) -> list[dict[str, Any]]:
    if not VECTORS.exists():
        pytest.skip("shared/data/vectors/merkle_rfc9162.json is not beside this checkout")
    cases: list[dict[str, Any]] = json.loads(VECTORS.read_text())[kind]
    assert len(cases) == 66
    return cases


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def is_accepted(check: Callable[[], None]) -> bool:
    try:
        check()
    except ProofError:
        return False
    return True


def test_inclusion_vectors_of_others_get_their_verdict() -> None:
    for case in load("inclusion"):
        proof = [raw(part) for part in case["proof"] or []]
        accepted = is_accepted(
            lambda case=case, proof=proof: verify_inclusion(  # type: ignore[misc]  # lambda with defaults
                raw(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, raw(case["root"])
            )
        )
        assert accepted is not case["wantErr"], case["file"]


def test_consistency_vectors_of_others_get_their_verdict() -> None:
    for case in load("consistency"):
        proof = [raw(part) for part in case["proof"] or []]
        accepted = is_accepted(
            lambda case=case, proof=proof: verify_consistency(  # type: ignore[misc]  # lambda with defaults
                case["size1"], case["size2"], raw(case["root1"]), raw(case["root2"]), proof
            )
        )
        assert accepted is not case["wantErr"], case["file"]


def test_golden_roots() -> None:
    assert [merkle_tree.root(HASHES[:size]).hex() for size in range(9)] == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]


def model_root(hashes: list[bytes]) -> bytes:
    """The definition, word for word: split at the largest power of two below n.  RFC 9162, section 2.1.1."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node_hash(model_root(hashes[:split]), model_root(hashes[split:]))


def model_path(index: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 9162, section 2.1.3.1, word for word."""
    if len(hashes) == 1:
        return []
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    if index < split:
        return [*model_path(index, hashes[:split]), model_root(hashes[split:])]
    return [*model_path(index - split, hashes[split:]), model_root(hashes[:split])]


def model_subproof(size: int, hashes: list[bytes], is_whole: bool) -> list[bytes]:
    """RFC 9162, section 2.1.4.1, word for word."""
    if size == len(hashes):
        return [] if is_whole else [model_root(hashes)]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    if size <= split:
        return [*model_subproof(size, hashes[:split], is_whole), model_root(hashes[split:])]
    return [*model_subproof(size - split, hashes[split:], False), model_root(hashes[:split])]


def test_every_tree_up_to_40_leaves_is_that_of_the_standards_text() -> None:
    hashes = [leaf_hash(bytes([i])) for i in range(40)]
    for size in range(1, 41):
        tree = MerkleTree(hashes[:size])
        assert tree.size == size
        assert tree.root == merkle_tree.root(hashes[:size]) == model_root(hashes[:size])
        for index in range(size):
            proof = tree.inclusion_proof(index)
            assert proof == model_path(index, hashes[:size])
            verify_inclusion(hashes[index], index, size, proof, tree.root)
        for old_size in range(1, size + 1):
            proof = tree.consistency_proof(old_size)
            assert proof == model_subproof(old_size, hashes[:size], True)
            verify_consistency(old_size, size, model_root(hashes[:old_size]), tree.root, proof)


def test_a_tree_of_100000_leaves_needs_no_recursion() -> None:
    hashes = [leaf_hash(i.to_bytes(4, "big")) for i in range(100_000)]
    proof = merkle_tree.inclusion_proof(hashes, 99_999)
    assert len(proof) == 10
    tree_root = merkle_tree.root(hashes)
    verify_inclusion(hashes[99_999], 99_999, 100_000, proof, tree_root)
    grown = merkle_tree.consistency_proof(hashes, 65_537)
    verify_consistency(65_537, 100_000, merkle_tree.root(hashes[:65_537]), tree_root, grown)


def test_asking_for_a_leaf_that_is_not_there_is_the_callers_mistake() -> None:
    with pytest.raises(IndexError, match="leaf 8 of a tree with 8 leaves"):
        merkle_tree.inclusion_proof(HASHES, 8)
    with pytest.raises(IndexError, match="leaf 0 of a tree with 0 leaves"):
        merkle_tree.inclusion_proof([], 0)
    with pytest.raises(IndexError, match="first 0 leaves"):
        merkle_tree.consistency_proof(HASHES, 0)
    with pytest.raises(IndexError, match="first 9 leaves"):
        merkle_tree.consistency_proof(HASHES, 9)


def test_a_refusal_says_what_is_wrong() -> None:
    proof = merkle_tree.inclusion_proof(HASHES, 3)
    tree_root = merkle_tree.root(HASHES)
    with pytest.raises(ProofError, match="leaf 3 of 8 does not lead to this root"):
        verify_inclusion(HASHES[2], 3, 8, proof, tree_root)
    with pytest.raises(ProofError, match="too short for leaf 3 of 8"):
        verify_inclusion(HASHES[3], 3, 8, proof[:-1], tree_root)
    with pytest.raises(ProofError, match="too long for leaf 3 of 8"):
        verify_inclusion(HASHES[3], 3, 8, [*proof, proof[0]], tree_root)
    with pytest.raises(ProofError, match="leaf -1 is not in a tree of 8 leaves"):
        verify_inclusion(HASHES[3], -1, 8, proof, tree_root)
    with pytest.raises(ProofError, match="a hash of the proof is not 32 bytes"):
        verify_inclusion(HASHES[3], 3, 8, [proof[0][:31], *proof[1:]], tree_root)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[bytes], int, int]:
    """Leaf hashes, the index of one, and an old size."""
    size = draw(st.integers(1, 70))
    hashes = [leaf_hash(i.to_bytes(2, "big")) for i in range(size)]
    return hashes, draw(st.integers(0, size - 1)), draw(st.integers(1, size))


def flip(data: bytes, bit: int) -> bytes:
    return bytes(byte ^ (1 << (bit & 7) if place == bit >> 3 else 0) for place, byte in enumerate(data))


@settings(deadline=None)
@given(trees(), st.data())
def test_no_tampered_inclusion_proof_is_accepted(
    tree: tuple[list[bytes], int, int], data: st.DataObject
) -> None:
    hashes, index, _ = tree
    size = len(hashes)
    leaf, proof, tree_root = (
        hashes[index],
        merkle_tree.inclusion_proof(hashes, index),
        merkle_tree.root(hashes),
    )
    verify_inclusion(leaf, index, size, proof, tree_root)
    bit = data.draw(st.integers(0, 255), label="bit")
    kinds = ["leaf", "root", "index", "longer"]
    if proof:
        kinds += ["hash", "shorter", "swapped"] if len(set(proof)) > 1 else ["hash", "shorter"]
    kind = data.draw(st.sampled_from(kinds), label="what is tampered with")
    if kind == "leaf":
        leaf = flip(leaf, bit)
    elif kind == "root":
        tree_root = flip(tree_root, bit)
    elif kind == "index":
        index = data.draw(st.integers(-3, size + 3).filter(lambda other: other != index))
    elif kind == "longer":
        proof.insert(data.draw(st.integers(0, len(proof))), data.draw(st.sampled_from(hashes)))
    elif kind == "shorter":
        proof.pop(data.draw(st.integers(0, len(proof) - 1)))
    elif kind == "hash":
        place = data.draw(st.integers(0, len(proof) - 1))
        proof[place] = flip(proof[place], bit)
    else:
        proof.append(proof.pop(0))
    with pytest.raises(ProofError):
        verify_inclusion(leaf, index, size, proof, tree_root)


@settings(deadline=None)
@given(trees(), st.data())
def test_no_tampered_consistency_proof_is_accepted(
    tree: tuple[list[bytes], int, int], data: st.DataObject
) -> None:
    hashes, _, old_size = tree
    size = len(hashes)
    proof = merkle_tree.consistency_proof(hashes, old_size)
    old_root, new_root = merkle_tree.root(hashes[:old_size]), merkle_tree.root(hashes)
    verify_consistency(old_size, size, old_root, new_root, proof)
    bit = data.draw(st.integers(0, 255), label="bit")
    kind = data.draw(st.sampled_from(["old root", "new root", "longer"] + ["hash", "shorter"] * bool(proof)))
    if kind == "old root":
        old_root = flip(old_root, bit)
    elif kind == "new root":
        new_root = flip(new_root, bit)
    elif kind == "longer":
        proof.insert(data.draw(st.integers(0, len(proof))), data.draw(st.sampled_from(hashes)))
    elif kind == "shorter":
        proof.pop(data.draw(st.integers(0, len(proof) - 1)))
    else:
        place = data.draw(st.integers(0, len(proof) - 1))
        proof[place] = flip(proof[place], bit)
    with pytest.raises(ProofError):
        verify_consistency(old_size, size, old_root, new_root, proof)


@settings(deadline=None)
@given(
    st.integers(-2, 1 << 70),
    st.integers(-2, 1 << 70),
    st.lists(st.binary(max_size=40), max_size=80),
    st.binary(max_size=40),
)
def test_arbitrary_proofs_raise_only_proof_errors(
    first: int, second: int, proof: list[bytes], value: bytes
) -> None:
    with pytest.raises(ProofError):
        verify_inclusion(value, first, second, proof, b"\x00" * 32)
    if first != second:
        with pytest.raises(ProofError):
            verify_consistency(first, second, value, b"\x00" * 32, proof)
