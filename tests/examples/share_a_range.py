"""Seal two segments, grant one of them to a reader, and see that the other one stays closed.

    python tests/examples/share_a_range.py

What `cpc grant` and `cpc read` do, reduced to the keys: no spool, no store, no chain.
"""

import os

from gateway.crypto.errors import KeyNotGranted
from gateway.crypto.grant import make_grant, open_grant
from gateway.crypto.seal import open_segment, seal_segment
from gateway.crypto.stream import StreamKeys
from puf.ed25519 import SigningKey
from puf.x25519 import PrivateKey

SLOT_MS = 5_000
MONDAY, TUESDAY = 1_000, 18_280
"""Two slots of the stream."""


def main() -> None:
    """Owner and reader in one program."""
    owner = SigningKey.generate()
    keys = StreamKeys(os.urandom(32), owner.public, "can0", SLOT_MS)
    sealed = {}
    for slot, text in ((MONDAY, b"parked"), (TUESDAY, b"driving")):
        segment_id = os.urandom(16)
        key = keys.segment_key(slot, segment_id)
        sealed[slot] = segment_id, seal_segment(key, keys.stream_id, slot, segment_id, [text])

    reader = PrivateKey.generate()
    data = make_grant(
        owner, keys.tree, keys.stream_id, "can0", SLOT_MS, TUESDAY, TUESDAY, reader.public, note="Tuesday"
    )
    grant = open_grant(data, reader, owner.public)
    print(f"a grant of {len(data)} bytes, remark: {grant.note}")
    for slot, (segment_id, segment) in sealed.items():
        try:
            key = grant.segment_key(slot, keys.stream_id, segment_id)
        except KeyNotGranted as error:
            print(f"slot {slot}: {error}")
        else:
            print(f"slot {slot}: {open_segment(key, segment.chunks)[0].decode()}")


if __name__ == "__main__":
    main()
