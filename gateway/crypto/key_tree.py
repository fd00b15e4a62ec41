"""The key tree of a stream: 2^30 leaf keys from one root, any range of them in a handful of seeds.

Runs on CPython.  Pure: a root goes in, keys come out.  The tree is that of Goldreich, Goldwasser and
Micali, "How to construct random functions", J. ACM 33(4), 1986, section 3: a node's two children are the
two halves of a pseudorandom generator at that node, so who holds a node can compute every leaf below it,
and nothing about any other.

The generator is `HMAC-SHA-256(node, "cpc/ggm/0")` for the left half and `"cpc/ggm/1"` for the right.
One bare SHA-256 over a fixed prefix and the node would cost a fifth of that, but its security then rests
on the compression function keyed through its message, which nobody has promised; HMAC is a PRF under the
standard assumption (Bellare, CRYPTO 2006), which is all that the GGM proof asks for, and neighbouring
leaves share their path, so a leaf costs two HMACs on average, however deep the tree.

A range of leaves is disclosed as its canonical cover: the roots of the largest subtrees inside of it.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.crypto.errors import CoverDamaged, KeyNotGranted, Range, SizeRefused, SlotRefused
from puf import cbor
from puf.errors import DecodeError
from puf.hkdf import hmac_sha256

DEPTH = 30
SLOT_COUNT = 1 << DEPTH
"""How many leaves a tree has."""
KEY_SIZE = 32
COVER_SEED_COUNT_MAX = 1024
"""Enough for 17 worst ranges in one cover; bounds what a stranger's bytes make us build."""
COVER_SIZE_MAX = COVER_SEED_COUNT_MAX * 48

_VERSION = 1
_LABELS = (b"cpc/ggm/0", b"cpc/ggm/1")


def _child(key: bytes, bit: int) -> bytes:
    return hmac_sha256(key, _LABELS[bit])


def cover_seed_count_max(leaf_count: int) -> int:
    """The most seeds that a cover of `leaf_count` consecutive leaves, or fewer, can have.

    1 for one leaf, and at most 2 log2(n) for n >= 2.  Proof: from left to right the subtrees of a
    canonical cover first strictly grow, then strictly shrink, the largest size standing at most twice
    (two equal ones that are not siblings; two growing neighbours of equal size would be siblings or leave
    room for a larger one).  So 2k seeds hold at least 2(1 + 2 + ... + 2^(k-1)) = 2^(k+1) - 2 leaves, and
    2k+1 seeds at least 2^(k+1) - 2 + 2^k = 3 * 2^k - 2.  Turned around, that is what is computed here.
    Both are reached, by the leaves 1..2^(k+1) - 2 and 1..3 * 2^k - 2.
    """
    even = 2 * (((leaf_count + 2) // 2).bit_length() - 1)
    odd = 2 * (((leaf_count + 2) // 3).bit_length() - 1) + 1
    return min(max(even, odd), 2 * (DEPTH - 1))


def _check_slot(index: int) -> None:
    if not 0 <= index < SLOT_COUNT:
        raise SlotRefused(f"slot {index} is not in 0..{SLOT_COUNT - 1}, the leaves of a key tree")


@dataclass(frozen=True, slots=True)
class Seed:
    """One node of a tree: the key to every leaf below it."""

    depth: int
    """0 is the root, DEPTH a leaf."""
    index: int
    """Which node of that depth, from the left."""
    key: bytes = field(repr=False)
    """32 bytes, secret."""

    def __post_init__(self) -> None:
        if not 0 <= self.depth <= DEPTH:
            raise CoverDamaged(f"a seed at depth {self.depth}, where 0..{DEPTH} exist")
        if not 0 <= self.index < 1 << self.depth:
            raise CoverDamaged(f"seed {self.index} at depth {self.depth}, which has {1 << self.depth}")
        if len(self.key) != KEY_SIZE:
            raise CoverDamaged(f"a seed of {len(self.key)} bytes, not {KEY_SIZE}")

    @property
    def first(self) -> int:
        """The leftmost leaf that it opens."""
        return self.index << (DEPTH - self.depth)

    @property
    def last(self) -> int:
        """The rightmost leaf that it opens."""
        return ((self.index + 1) << (DEPTH - self.depth)) - 1


class _Walk:
    """Computes leaves below one seed, and keeps the path to the last, which neighbours share."""

    __slots__ = ("_latest", "_seed")

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        # One tuple, replaced as a whole: threads that share a tree see either path, never half of one.
        self._latest: tuple[int, tuple[bytes, ...]] = (seed.first, (seed.key,))

    def leaf(self, index: int) -> bytes:
        latest, path = self._latest
        top = self._seed.depth
        depth_shared = DEPTH - (index ^ latest).bit_length()
        kept = list(path[: depth_shared - top + 1])
        for depth in range(top + len(kept), DEPTH + 1):
            kept.append(_child(kept[-1], (index >> (DEPTH - depth)) & 1))
        self._latest = (index, tuple(kept))
        return kept[-1]


class KeyTree:
    """All leaf keys of a stream; what its owner holds.

    root: bytes, 32, secret and uniformly random.  Raises SizeRefused for another length.
    """

    __slots__ = ("_root", "_walk")

    def __init__(self, root: bytes) -> None:
        if len(root) != KEY_SIZE:
            raise SizeRefused("the root of a key tree", len(root), KEY_SIZE)
        self._root = Seed(0, 0, bytes(root))
        self._walk = _Walk(self._root)

    def __repr__(self) -> str:
        return f"KeyTree(depth={DEPTH}, root hidden)"

    def leaf(self, index: int) -> bytes:
        """The key of leaf `index`: bytes, 32.  Raises SlotRefused outside of 0..SLOT_COUNT-1."""
        _check_slot(index)
        return self._walk.leaf(index)

    def cover(self, first: int, last: int) -> tuple[Seed, ...]:
        """The seeds of leaves `first` to `last`, both included: the fewest there are, left to right.

        At most `cover_seed_count_max(last - first + 1)`.  Raises SlotRefused for an empty range or one
        that leaves the tree.
        """
        _check_slot(first)
        _check_slot(last)
        if first > last:
            raise SlotRefused(f"slots {first}..{last} are no range: the first lies after the last")
        seeds: list[Seed] = []
        todo = [self._root]
        while todo:
            seed = todo.pop()
            if seed.last < first or seed.first > last:
                continue
            if first <= seed.first and seed.last <= last:
                seeds.append(seed)
                continue
            depth, index = seed.depth + 1, seed.index * 2
            todo.append(Seed(depth, index + 1, _child(seed.key, 1)))
            todo.append(Seed(depth, index, _child(seed.key, 0)))
        return tuple(seeds)


class Cover:
    """Some leaves of a tree whose root is not known; what a reader holds.

    seeds: left to right, without overlap, and no two siblings (their parent says the same in one), so
    that one set of leaves has exactly one cover.  Raises CoverDamaged for anything else.
    """

    __slots__ = ("_firsts", "_walks", "ranges", "seeds")

    def __init__(self, seeds: Iterable[Seed]) -> None:
        self.seeds = tuple(seeds)
        if not 1 <= len(self.seeds) <= COVER_SEED_COUNT_MAX:
            raise CoverDamaged(f"{len(self.seeds)} seeds, where 1..{COVER_SEED_COUNT_MAX} may stand")
        ranges: list[Range] = [(self.seeds[0].first, self.seeds[0].last)]
        for left, right in zip(self.seeds, self.seeds[1:], strict=False):
            if right.first <= left.last:
                raise CoverDamaged("its seeds overlap or are out of order")
            if left.depth == right.depth and left.index ^ 1 == right.index:
                raise CoverDamaged("two siblings stand where their parent would do")
            if right.first == left.last + 1:
                ranges[-1] = (ranges[-1][0], right.last)
            else:
                ranges.append((right.first, right.last))
        self.ranges: tuple[Range, ...] = tuple(ranges)
        """The leaves it opens, as inclusive ranges, left to right, with a gap between each two."""
        self._firsts = [seed.first for seed in self.seeds]
        self._walks: dict[int, _Walk] = {}

    def __repr__(self) -> str:
        return f"Cover(ranges={self.ranges}, {len(self.seeds)} seeds hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cover) and self.seeds == other.seeds

    def __hash__(self) -> int:
        return hash(self.ranges)

    def leaf(self, index: int) -> bytes:
        """The key of leaf `index`: bytes, 32.  Raises KeyNotGranted where no seed reaches it."""
        at = bisect_right(self._firsts, index) - 1
        if at < 0 or index > self.seeds[at].last:
            raise KeyNotGranted(index, self.ranges)
        walk = self._walks.get(at)
        if walk is None:
            walk = self._walks.setdefault(at, _Walk(self.seeds[at]))
        return walk.leaf(index)

    def encode(self) -> bytes:
        """Deterministic CBOR: `[1, [[depth, index, key], ...]]`.  Secret: it holds the keys."""
        return cbor.encode([_VERSION, [[seed.depth, seed.index, seed.key] for seed in self.seeds]])

    @classmethod
    def decode(cls, data: bytes) -> "Cover":
        """The cover that `encode` wrote.  Raises CoverDamaged for all other bytes."""
        try:
            value = cbor.decode(data, size_max=COVER_SIZE_MAX, depth_max=3)
        except DecodeError as error:
            raise CoverDamaged(str(error)) from error
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[1], list)):
            raise CoverDamaged("it is not [version, seeds]")
        # `type(...) is int`, for to Python a CBOR `true` would be the integer 1.
        if not (type(value[0]) is int and value[0] == _VERSION):
            raise CoverDamaged(f"its version is not {_VERSION}, the one this program reads")
        seeds = []
        for item in value[1]:
            if not (isinstance(item, list) and [type(part) for part in item] == [int, int, bytes]):
                raise CoverDamaged("a seed is not [depth, index, key]")
            seeds.append(Seed(*item))
        return cls(seeds)
