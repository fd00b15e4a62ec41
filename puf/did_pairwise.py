"""Pairwise names: who a vehicle is to one site in one epoch, so that no two sites can link it.

Runs on CPython and MicroPython.

    key(site, epoch, index)     = Ed25519 of derive(root, "pairwise name", << [site's name, epoch, index] >>)
    name                        = did:key of that key

The root is a wallet's seed or the root of a vehicle's own chip.  Index 0 is the name itself, 1 and on are the
holder keys of single-use credentials (puf/sd_cwt.py).  Who knows any number of these keys learns nothing of
the root or of the others; the same root gives them again, so none is stored.
"""

from puf import cbor
from puf.did import did_key
from puf.ed25519 import SigningKey
from puf.keys import derive

LABEL = "pairwise name"
"""Not below `keys.pairwise`: its secrets are given to peers, who must not sign as the holder."""


def pairwise_key(root: bytes, site: str, epoch: int, index: int = 0) -> SigningKey:
    """The key that the holder of `root` (bytes, 32) shows to `site` (its DID) in `epoch`, and to nobody else.

    Raises ValueError for a root too short, and for an epoch or an index below 0.
    """
    if index < 0:
        raise ValueError(f"an index is 0 or more, not {index}")
    if epoch < 0:
        raise ValueError(f"an epoch is 0 or more, not {epoch}")
    return SigningKey(derive(root, LABEL, cbor.encode([site, epoch, index])))


def pairwise_did(root: bytes, site: str, epoch: int) -> str:
    """The name, did:key:z6Mk..., under which `site` knows the holder of `root` in `epoch`."""
    return did_key(pairwise_key(root, site, epoch).public)
