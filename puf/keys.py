"""One root, any number of keys: each is derived from the root by its label, and none is stored.

Runs on CPython and MicroPython.  The root comes from the chip itself (puf/fuzzy_extractor.py).

    derive(key, label, context, size) = HKDF-Expand(key, << ["cpc/puf", 1, label, context] >>, size)

Label and context are CBOR text and bytes with their lengths before them, so no two pairs give one info.
Who knows a child learns nothing of the root or of other children.  Source: RFC 5869, sections 2.3 and 3.2.
"""

from puf import cbor
from puf.hkdf import hkdf_expand

IDENTITY = "identity"
"""Label of the seed of the device's Ed25519 key, 32 bytes: who it is."""
EDHOC = "edhoc"
"""Label of the device's static X25519 key, 32 bytes: how it proves that at a first meeting."""
RESUMPTION = "resumption"
"""Label of secrets that make the next meeting a short one."""
STORAGE = "storage"
"""Label of the key under which a device keeps its own notes in flash."""
PAIRWISE = "pairwise"
"""Label of secrets with one peer in one epoch: see `pairwise`."""
FAST_PATH = "fast path"
"""Label, under a pairwise secret, of the first key of a pairing.  It is overwritten at each meeting, so
nothing that is kept longer may be the same key, or give it."""
GRANT = "grant"
"""Label, under a pairwise secret, of the key of grants and times, which is kept for its whole epoch."""

ROOT_BYTES = 32
"""Length of the root, and the least that a key to derive from may have."""
SCHEME = "cpc/puf"
VERSION = 1


def derive(key: bytes, label: str, context: bytes = b"", size: int = 32) -> bytes:
    """`size` bytes (at most 8,160) that belong to `label` and `context`, and that only `key` gives.

    `key`: bytes, 32 or more, uniform: a root, or a child of one.  Raises ValueError for a shorter key or a
    size that cannot be given.
    """
    if len(key) < ROOT_BYTES:
        raise ValueError(f"a key to derive from has {ROOT_BYTES} bytes or more, not {len(key)}")
    return hkdf_expand(key, cbor.encode([SCHEME, VERSION, label, context]), size)


def pairwise(root: bytes, peer: bytes, epoch: int) -> bytes:
    """The 32-byte secret of this device and `peer` (the peer's name or key, as bytes) in one `epoch` >= 0.

    Whoever enrolled the device can be given it; the next epoch's cannot be computed from it.
    """
    if epoch < 0:
        raise ValueError(f"an epoch is 0 or more, not {epoch}")
    return derive(root, PAIRWISE, cbor.encode([peer, epoch]))
