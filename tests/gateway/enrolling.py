"""What the tests of enrolment share: a site, a chain in memory, and recorded chips.

Runs on CPython.
"""

import copy
import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain_node.light_client import verify_state
from chain_node.wire import (
    Anchor,
    DidDeactivate,
    DidEntry,
    DidRegister,
    StreamEntry,
    TransactionEvidence,
    did_key,
    stream_key,
)
from gateway.crypto.key_file import GatewayKey
from gateway.devices import Devices
from gateway.enrolment import Site
from puf.puf_simulator import SimulatedChip
from puf.puf_source import Recording
from tests.chain_node.world import Chain
from tests.gateway.anchored import chain_with

KEY = GatewayKey(b"g" * 32)
NOW_MS = 1_725_244_237_000
READOUT_BYTES = 2040


@functools.lru_cache(maxsize=8)
def readouts(seed: bytes, size: int = READOUT_BYTES, ones: float = 0.5, count: int = 9) -> bytes:
    chip = SimulatedChip(seed, size, ones=ones)
    return b"".join(chip.read() for _ in range(count))


def recording(seed: bytes = b"chip", **other: Any) -> Recording:
    return Recording(readouts(seed, **other), other.get("size", READOUT_BYTES), 0x50000000)


def site_of(devices: Devices, seed: int = 1) -> Site:
    return Site(KEY.identity, devices, random.Random(seed).randbytes, lambda: NOW_MS)


def open_devices(folder: Path, **other: Any) -> Devices:
    return Devices(folder / "devices.sqlite", KEY, **other)


class LedgerRegistrar:
    """A chain with a committee of four.  before, after: called around each thing it does, with its name."""

    def __init__(self, chain: Chain | None = None) -> None:
        if chain is None:
            chain = chain_with(KEY.identity)
            chain.extend()
        self.chain = chain
        self.bodies: list[object] = []
        self.before: Callable[[str], None] = lambda what: None
        self.after: Callable[[str], None] = lambda what: None

    def copied(self) -> "LedgerRegistrar":
        other = LedgerRegistrar(copy.deepcopy(self.chain))
        other.bodies = list(self.bodies)
        return other

    async def entry(self, name: bytes) -> tuple[DidEntry | None, int]:
        self.before("entry")
        evidence = self.chain.state_evidence(did_key(name))
        data = verify_state(did_key(name), evidence.proof, evidence.link.header)
        self.after("entry")
        return (None if data is None else DidEntry.decode(data)), evidence.link.header.height

    async def newest(self, owner: bytes, stream: bytes) -> int:
        evidence = self.chain.state_evidence(stream_key(owner, stream))
        data = verify_state(stream_key(owner, stream), evidence.proof, evidence.link.header)
        return 0 if data is None else StreamEntry.decode(data).last_upload

    async def apply(self, body: DidRegister | DidDeactivate | Anchor) -> TransactionEvidence:
        what = type(body).__name__
        self.before(what)
        (receipt,) = self.chain.extend(self.chain.sign(KEY.identity, body))
        assert receipt.reason.label in ("applied", "anchor_known"), receipt.reason.label
        self.bodies.append(body)
        self.after(what)
        return self.chain.transaction_evidence(self.chain.head.height, 0)
