"""A Merkle map: one hash for a whole dictionary, and a short proof of what it holds or lacks.

Runs on CPython and MicroPython.  A binary trie over path = SHA-256(key), most
significant bit first, in which a subtree that holds one entry is that entry's
leaf, and an empty subtree is 32 zero bytes.  The shape depends on the entries
alone, so the root does not depend on the order of updates.  Hashes:

    leaf    SHA-256(0x02, path, SHA-256(value))
    branch  SHA-256(0x03, left, right)

The first bytes differ from those of RFC 9162 trees (0x00, 0x01), so no node of
one kind of tree can be shown as a node of the other.  A leaf does not hold its
depth, so an entry whose neighbours come and go is not written again.

Nodes live in a store, anything like a dict from hash to node bytes: a leaf is
0x02, path, value and a branch is 0x03, left, right.  An update adds nodes and
names those that the new root no longer needs.  The recursion of an update is as
deep as the longest beginning that two paths share, about 2 log2 n for n entries.

A proof is CBOR, one encoding only: [depth, bitmap, siblings, end].  Bit i of
`bitmap`, first bit first, says that the sibling at depth i is not empty; those
hashes stand in `siblings` from the root down; `end` is the value (bytes), null
for an empty subtree, or [path, SHA-256(value)] of the other entry there.
"""

from hashlib import sha256

from puf import cbor
from puf.errors import DecodeError, ProofError, PufError

EMPTY = bytes(32)
"""The root of an empty map, and the hash of any empty subtree."""

VALUE_SIZE_MAX = 1 << 16
"""Bytes of the longest value."""

DEPTH_MAX = 256
"""Bits of a path."""

PROOF_SIZE_MAX = VALUE_SIZE_MAX + 32 * DEPTH_MAX + 64
"""No proof is longer: longest value, all siblings, and the CBOR around them."""

_LEAF = 0x02
_BRANCH = 0x03
_NODE_SIZE_MIN = 33
_BRANCH_SIZE = 65


class NodeMissing(PufError):
    """The node store has lost or damaged a node that the root needs.

    node_hash: bytes, 32, of the node; restore the store from a copy or a peer.
    """

    def __init__(self, node_hash: bytes) -> None:
        super().__init__(
            f"node {node_hash.hex()} of the Merkle map is missing from its store or damaged there"
        )
        self.node_hash = node_hash


class MerkleMap:
    """A map from bytes to bytes with one root, whose nodes live in `nodes`.

    nodes: anything like a dict from hash to node bytes; a plain dict by default.
    root: bytes, 32: a root that was reached before with these nodes.
    """

    def __init__(self, nodes: dict[bytes, bytes] | None = None, root: bytes = EMPTY) -> None:
        self.nodes: dict[bytes, bytes] = {} if nodes is None else nodes
        self.root = root
        self.stale: set[bytes] = set()
        """Hashes of nodes that former roots needed and the present one does not, since the last `prune`."""
        # Not in `stale` until the update succeeds: one that fails must not name nodes still needed.
        self._replaced: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None when the map has no such key.  Raises NodeMissing."""
        path = sha256(key).digest()
        _, end = self._descend(path)
        if end is not None and end[1:33] == path:
            return end[33:]
        return None

    def update(self, changes: dict[bytes, bytes | None]) -> bytes:
        """Set every key to its value, or remove it where the value is None.  Returns the new root.

        Costs in proportion to the changes times the depth, not to the size of the map.
        Raises ValueError for a value longer than VALUE_SIZE_MAX, NodeMissing; the root is then unchanged.
        """
        items = []
        for key in changes:
            value = changes[key]
            path = sha256(key).digest()
            if value is None:
                items.append((path, EMPTY))
                continue
            if len(value) > VALUE_SIZE_MAX:
                raise ValueError(f"a value of {len(value)} bytes; the most is {VALUE_SIZE_MAX}")
            items.append((path, self._put(_leaf_hash(path, sha256(value).digest()), b"\x02" + path + value)))
        items.sort()
        self._replaced = []
        self.root = self._write(self.root, 0, items)
        self.stale.update(self._replaced)
        return self.root

    def prune(self) -> None:
        """Delete the stale nodes from the store: from then on only the present root can be read."""
        for node_hash in self.stale:
            if node_hash in self.nodes:
                del self.nodes[node_hash]
        self.stale = set()

    def prove(self, key: bytes) -> bytes:
        """The proof that `verify` takes, of what the present root says about `key`.  Raises NodeMissing."""
        path = sha256(key).digest()
        siblings, end = self._descend(path)
        bitmap = bytearray((len(siblings) + 7) // 8)
        for depth in range(len(siblings)):
            if siblings[depth] != EMPTY:
                bitmap[depth >> 3] |= 0x80 >> (depth & 7)
        last: bytes | list[bytes] | None = None
        if end is not None:
            last = end[33:] if end[1:33] == path else [end[1:33], sha256(end[33:]).digest()]
        hashes = b"".join([sibling for sibling in siblings if sibling != EMPTY])
        return cbor.encode([len(siblings), bytes(bitmap), hashes, last])

    def below(self, node_hash: bytes) -> tuple[bytes, ...]:
        """What is below a node, for who walks the whole map from its root: the value alone of a leaf, the
        hashes on the left and on the right of a branch.  Raises NodeMissing.
        """
        node = self._load(node_hash)
        return (node[33:],) if node[0] == _LEAF else (node[1:33], node[33:])

    def _descend(self, path: bytes) -> tuple[list[bytes], bytes | None]:
        """The siblings on the way down, root first, and the leaf node met there, if any."""
        siblings: list[bytes] = []
        node_hash = self.root
        while node_hash != EMPTY:
            node = self._load(node_hash)
            if node[0] == _LEAF:
                return siblings, node
            if _bit(path, len(siblings)):
                siblings.append(node[1:33])
                node_hash = node[33:]
            else:
                siblings.append(node[33:])
                node_hash = node[1:33]
        return siblings, None

    def _load(self, node_hash: bytes) -> bytes:
        try:
            node = self.nodes[node_hash]
        except KeyError:
            raise NodeMissing(node_hash) from None
        # A flipped bit on a disk must not become a fork: every node is checked as it is read.
        if len(node) < _NODE_SIZE_MIN or _node_hash(node) != node_hash:
            raise NodeMissing(node_hash)
        return node

    def _put(self, node_hash: bytes, node: bytes) -> bytes:
        self.nodes[node_hash] = node
        self.stale.discard(node_hash)
        return node_hash

    def _write(self, node_hash: bytes, depth: int, items: list[tuple[bytes, bytes]]) -> bytes:
        """The hash of this subtree after `items`: sorted (path, leaf hash or EMPTY), all of them below it."""
        if not items:
            return node_hash
        if node_hash != EMPTY:
            node = self._load(node_hash)
            if node[0] == _BRANCH:
                split = _split(items, depth)
                left = self._write(node[1:33], depth + 1, items[:split])
                right = self._write(node[33:], depth + 1, items[split:])
                if left == node[1:33] and right == node[33:]:
                    return node_hash
                self._replaced.append(node_hash)
                return self._join(left, right)
            path = node[1:33]
            fate = [item for item in items if item[0] == path]
            if not fate:
                items = sorted([(path, node_hash)] + items)  # noqa: RUF005 - MicroPython has no [a, *b]
            elif fate[0][1] != node_hash:
                self._replaced.append(node_hash)
        return self._build([item for item in items if item[1] != EMPTY], depth)

    def _build(self, items: list[tuple[bytes, bytes]], depth: int) -> bytes:
        """The hash of a subtree at `depth` that holds exactly these leaves."""
        if not items:
            return EMPTY
        if len(items) == 1:
            return items[0][1]
        split = _split(items, depth)
        return self._join(self._build(items[:split], depth + 1), self._build(items[split:], depth + 1))

    def _join(self, left: bytes, right: bytes) -> bytes:
        """The subtree over two: a branch, unless what is left of them is one leaf or nothing."""
        if left == EMPTY or right == EMPTY:
            only = left if right == EMPTY else right
            if only == EMPTY or self._load(only)[0] == _LEAF:
                return only
        node = b"\x03" + left + right
        return self._put(sha256(node).digest(), node)


def verify(root: bytes, key: bytes, proof: bytes) -> bytes | None:
    """What the map with this root says about `key`: its value, or None if it proves to be absent.

    root: bytes, 32, from a trusted header.  proof: bytes, as `MerkleMap.prove` gives it.
    Raises ProofError when the proof is malformed, is not in its one encoding, or leads to another root.
    """
    depth, bitmap, hashes, end = _decode(proof)
    path = sha256(key).digest()
    value: bytes | None = None
    if end is None:
        here = EMPTY
    elif isinstance(end, bytes):
        value = end
        here = _leaf_hash(path, sha256(value).digest())
    else:
        if end[0] == path:
            raise ProofError("the proof shows an entry of this very key as another one's")
        if not _shares(end[0], path, depth):
            raise ProofError(
                f"the other entry in the proof does not lie at depth {depth} on the way to this key"
            )
        here = _leaf_hash(end[0], end[1])
    position = len(hashes)
    for level in range(depth - 1, -1, -1):
        sibling = EMPTY
        if _bit(bitmap, level):
            position -= 32
            sibling = hashes[position : position + 32]
        if _bit(path, level):
            here = sha256(b"\x03" + sibling + here).digest()
        else:
            here = sha256(b"\x03" + here + sibling).digest()
    if here != root:
        raise ProofError(f"the proof leads to root {here.hex()}, not to {root.hex()}")
    return value


def open_node(node_hash: bytes, node: bytes) -> list[bytes]:
    """The nodes right below `node`, left one first, empty ones left out: none below a leaf.

    For who copies a map node by node from somebody he does not trust, or looks for damage.
    Raises NodeMissing when these are not the bytes of the node with this hash.
    """
    if not _NODE_SIZE_MIN <= len(node) <= _NODE_SIZE_MIN + VALUE_SIZE_MAX or _node_hash(node) != node_hash:
        raise NodeMissing(node_hash)
    if node[0] == _LEAF:
        return []
    return [child for child in (node[1:33], node[33:]) if child != EMPTY]


def _decode(proof: bytes) -> tuple[int, bytes, bytes, bytes | list[bytes] | None]:
    try:
        parts = cbor.decode(proof, PROOF_SIZE_MAX, 3)
    except DecodeError as error:
        raise ProofError(f"the proof is not one: {error}") from None
    if not isinstance(parts, list) or len(parts) != 4:
        raise ProofError("a proof is a list of four")
    depth, bitmap, hashes, end = parts
    if type(depth) is not int or not 0 <= depth <= DEPTH_MAX:
        raise ProofError(f"the proof's depth is not a number from 0 to {DEPTH_MAX}")
    if not isinstance(bitmap, bytes) or len(bitmap) != (depth + 7) // 8:
        raise ProofError(f"the proof's bitmap is not {(depth + 7) // 8} bytes")
    if depth & 7 and bitmap[-1] & (0xFF >> (depth & 7)):
        raise ProofError("the proof's bitmap has bits beyond its depth")
    count = sum([_bit(bitmap, level) for level in range(depth)])
    if not isinstance(hashes, bytes) or len(hashes) != 32 * count:
        raise ProofError(f"the proof's siblings are not {count} hashes")
    for position in range(0, len(hashes), 32):
        if hashes[position : position + 32] == EMPTY:
            raise ProofError("the proof spells out an empty sibling")
    if isinstance(end, list):
        if len(end) != 2 or not all(isinstance(part, bytes) and len(part) == 32 for part in end):
            raise ProofError("the other entry in the proof is not a path and a hash")
    elif end is not None and not isinstance(end, bytes):
        raise ProofError("the proof ends with neither a value, nothing, nor another entry")
    elif end is not None and len(end) > VALUE_SIZE_MAX:
        raise ProofError(f"the proof's value has more than {VALUE_SIZE_MAX} bytes")
    return depth, bitmap, hashes, end


def _leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\x02" + path + value_hash).digest()


def _node_hash(node: bytes) -> bytes:
    """The hash under which a store keeps `node`; nonsense for bytes that are no node."""
    if node[0] == _LEAF:
        return _leaf_hash(node[1:33], sha256(node[33:]).digest())
    return sha256(node).digest() if node[0] == _BRANCH and len(node) == _BRANCH_SIZE else EMPTY


def _bit(path: bytes, depth: int) -> int:
    return path[depth >> 3] >> (7 - (depth & 7)) & 1


def _split(items: list[tuple[bytes, bytes]], depth: int) -> int:
    """How many of the sorted items go left at `depth`."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if _bit(items[middle][0], depth):
            high = middle
        else:
            low = middle + 1
    return low


def _shares(left: bytes, right: bytes, bits: int) -> bool:
    """Whether two paths begin with the same `bits` bits."""
    whole = bits >> 3
    if left[:whole] != right[:whole]:
        return False
    return bits & 7 == 0 or (left[whole] ^ right[whole]) >> (8 - (bits & 7)) == 0
