"""Merkle trees over lists: one hash for many leaves, short proofs for one of them.

Runs on CPython and MicroPython.  Leaf hashes go in; roots and proofs, which are
lists of 32-byte hashes, come out.  Nothing here recurses.  A tree is built from
the bottom: neighbours are joined, and a last node without a neighbour rises
unchanged, which gives the same root as the split at the largest power of two
that the standard describes.  Source: RFC 9162, sections 2.1.1 to 2.1.4.
"""

from hashlib import sha256

from puf.errors import ProofError

HASH_SIZE = 32
"""Bytes of one hash."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf: SHA-256 of 0x00 and `data`.  Source: RFC 9162, section 2.1.1."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256 of 0x01 and both children.  Source: RFC 9162, section 2.1.1."""
    return sha256(b"\x01" + left + right).digest()


EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves: the hash of nothing.  Source: RFC 9162, section 2.1.1."""


def root(leaf_hashes: list[bytes]) -> bytes:
    """The root of a tree with these leaf hashes, in O(n) time and O(n) room.

    leaf_hashes: 32 bytes each, as `leaf_hash` gives them, in order.
    Source: RFC 9162, section 2.1.1.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_proof(leaf_hashes: list[bytes], index: int) -> list[bytes]:
    """The siblings on the way from leaf `index` to the root, lowest first, in O(n).

    For many proofs from the same leaves take `MerkleTree`, which keeps the levels.
    Raises IndexError when there is no such leaf.  Source: RFC 9162, section 2.1.3.1.
    """
    return MerkleTree(leaf_hashes).inclusion_proof(index)


def consistency_proof(leaf_hashes: list[bytes], old_size: int) -> list[bytes]:
    """Proof that the tree of the first `old_size` leaves is a beginning of this one, in O(n).

    Raises IndexError unless 1 <= old_size <= number of leaves.  Source: RFC 9162, section 2.1.4.1.
    """
    return MerkleTree(leaf_hashes).consistency_proof(old_size)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes], tree_root: bytes) -> None:
    """Check that `leaf` (its hash, 32 bytes) is leaf number `index` of the `size` leaves under `tree_root`.

    `size` must come from where the root comes from: a proof alone does not fix it.
    Raises ProofError, which says what is wrong.  Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")
    _check_hash(leaf, "the leaf hash")
    first, last = index, size - 1
    value = leaf
    for sibling in proof:
        _check_hash(sibling, "a hash of the proof")
        if last == 0:
            raise ProofError(f"the proof is too long for leaf {index} of {size}")
        if first & 1 or first == last:
            value = node_hash(sibling, value)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        first >>= 1
        last >>= 1
    if last:
        raise ProofError(f"the proof is too short for leaf {index} of {size}")
    if value != tree_root:
        raise ProofError(f"leaf {index} of {size} does not lead to this root")


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: list[bytes]
) -> None:
    """Check that the tree of `new_size` leaves begins with the `old_size` leaves of the old one.

    An empty old tree proves nothing and is refused.
    Raises ProofError, which says what is wrong.  Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 < old_size <= new_size:
        raise ProofError(f"no tree of {new_size} leaves can have begun with one of {old_size}")
    if old_size == new_size:
        if proof:
            raise ProofError(f"two trees of {new_size} leaves need no proof, and this one is not empty")
        if old_root != new_root:
            raise ProofError(f"two trees of {new_size} leaves have different roots")
        return
    if not proof:
        raise ProofError(f"the proof from {old_size} to {new_size} leaves is empty")
    # A complete old tree is itself a node of the new one, so the prover leaves it out.
    path = proof
    if old_size & (old_size - 1) == 0:
        path = list(proof)
        path.insert(0, old_root)
    first, last = old_size - 1, new_size - 1
    while first & 1:
        first >>= 1
        last >>= 1
    _check_hash(path[0], "a hash of the proof")
    old_value = new_value = path[0]
    for position in range(1, len(path)):
        sibling = path[position]
        _check_hash(sibling, "a hash of the proof")
        if last == 0:
            raise ProofError(f"the proof from {old_size} to {new_size} leaves is too long")
        if first & 1 or first == last:
            old_value = node_hash(sibling, old_value)
            new_value = node_hash(sibling, new_value)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            new_value = node_hash(new_value, sibling)
        first >>= 1
        last >>= 1
    if last:
        raise ProofError(f"the proof from {old_size} to {new_size} leaves is too short")
    if old_value != old_root:
        raise ProofError(f"the proof does not lead to the root of the first {old_size} leaves")
    if new_value != new_root:
        raise ProofError(f"the proof does not lead to the root of all {new_size} leaves")


class MerkleTree:
    """A tree that keeps its levels: building is O(n), every proof after that O(log n).

    Takes about 64 bytes a leaf beside the leaf hashes.  Source: RFC 9162, section 2.1.
    """

    def __init__(self, leaf_hashes: list[bytes]) -> None:
        self._levels = [list(leaf_hashes)]
        while len(self._levels[-1]) > 1:
            self._levels.append(_parents(self._levels[-1]))

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        """The root: 32 bytes."""
        return self._levels[-1][0] if self.size else EMPTY_ROOT

    def inclusion_proof(self, index: int) -> list[bytes]:
        """As the function of the same name."""
        if not 0 <= index < self.size:
            raise IndexError(f"leaf {index} of a tree with {self.size} leaves")
        proof = []
        for level in self._levels:
            sibling = index ^ 1
            if sibling < len(level):
                proof.append(level[sibling])
            index >>= 1
        return proof

    def consistency_proof(self, old_size: int) -> list[bytes]:
        """As the function of the same name."""
        if not 0 < old_size <= self.size:
            raise IndexError(f"first {old_size} leaves of a tree with {self.size} leaves")
        if old_size == self.size:
            return []
        # From the old tree's last leaf up to the largest subtree that ends with it: there the proof starts.
        node, height = old_size - 1, 0
        while node & 1:
            node >>= 1
            height += 1
        proof = [self._levels[height][node]] if node else []
        for level in self._levels[height:]:
            sibling = node ^ 1
            if sibling < len(level):
                proof.append(level[sibling])
            node >>= 1
        return proof


def _parents(level: list[bytes]) -> list[bytes]:
    """The next level up: neighbours joined, a last odd one raised as it is."""
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        above.append(level[-1])
    return above


def _check_hash(value: bytes, name: str) -> None:
    if not isinstance(value, bytes) or len(value) != HASH_SIZE:
        raise ProofError(f"{name} is not {HASH_SIZE} bytes")
