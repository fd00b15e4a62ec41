"""The trees under a real MicroPython with the heap of a board: roots, proofs and verdicts as here."""

from puf import merkle_map, merkle_tree
from puf.errors import ProofError
from tests.micropython import run
from tests.puf.test_merkle_tree import load, raw

VERDICTS = """
import sys
from puf.errors import ProofError
from puf.merkle_tree import verify_consistency, verify_inclusion

def raw(text):
    return bytes.fromhex("" if text == "-" else text)

for line in sys.stdin:
    kind, first, second, left, right, *path = line.split()
    path = [raw(text) for text in path]
    try:
        if kind == "inclusion":
            verify_inclusion(raw(left), int(first), int(second), path, raw(right))
        else:
            verify_consistency(int(first), int(second), raw(left), raw(right), path)
        print("good")
    except ProofError as error:
        print(error)
"""

TREES = """
from puf.merkle_tree import MerkleTree, leaf_hash, root
for size in range(1, 20):
    hashes = [leaf_hash(bytes([i])) for i in range(size)]
    tree = MerkleTree(hashes)
    print(root(hashes).hex(), b"".join(tree.inclusion_proof(size - 1)).hex())
    print(b"".join(tree.consistency_proof((size + 1) // 2)).hex())
"""

MAPS = """
from puf.errors import ProofError
from puf.merkle_map import MerkleMap, verify
tree = MerkleMap()
for start in range(0, 24, 8):
    tree.update({b"key %d" % i: b"value %d" % i for i in range(start, start + 8)})
    tree.prune()
    print(tree.root.hex())
for i in range(30):
    proof = tree.prove(b"key %d" % i)
    print(proof.hex(), verify(tree.root, b"key %d" % i, proof), tree.get(b"key %d" % i))
    try:
        verify(tree.root, b"key %d" % (i + 1), proof)
        print("shared")
    except ProofError as error:
        print(error)
tree.update({b"key %d" % i: None for i in range(1, 30)})
tree.prune()
print(tree.root.hex(), len(tree.nodes), tree.update({b"key 0": None}).hex())
"""


def here(code: str, capture: list[str]) -> list[str]:
    exec(code, {"print": lambda *parts: capture.append(" ".join(map(str, parts)))})  # noqa: S102 - code above
    return capture


def hexes(*parts: bytes) -> str:
    return " ".join(part.hex() or "-" for part in parts)


def test_the_vectors_of_others_get_the_same_verdict_for_the_same_reason() -> None:
    lines, expected = [], []
    for case in load("inclusion"):
        leaf, root = raw(case["leafHash"]), raw(case["root"])
        proof = [raw(part) for part in case["proof"] or []]
        lines.append(f"inclusion {case['leafIdx']} {case['treeSize']} {hexes(leaf, root, *proof)}\n")
        try:
            merkle_tree.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
            expected.append("good")
        except ProofError as error:
            expected.append(str(error))
    for case in load("consistency"):
        old, new = raw(case["root1"]), raw(case["root2"])
        proof = [raw(part) for part in case["proof"] or []]
        lines.append(f"consistency {case['size1']} {case['size2']} {hexes(old, new, *proof)}\n")
        try:
            merkle_tree.verify_consistency(case["size1"], case["size2"], old, new, proof)
            expected.append("good")
        except ProofError as error:
            expected.append(str(error))
    assert (
        0
        < expected.count("good")
        == sum(not case["wantErr"] for kind in ("inclusion", "consistency") for case in load(kind))
    )
    assert run(VERDICTS, stdin="".join(lines)).splitlines() == expected


def test_trees_are_the_same() -> None:
    assert run(TREES).splitlines() == here(TREES, [])


def test_maps_and_their_proofs_are_the_same() -> None:
    lines = run(MAPS).splitlines()
    assert lines == here(MAPS, [])
    assert lines[-1] == f"{lines[-1].split()[0]} 1 {merkle_map.EMPTY.hex()}"
