"""What the tests of anchoring share: a gateway's second half, with a clock and a node that a test commands.

Runs on CPython.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from chain_node.wire import Anchor, Reason, Transaction
from gateway.anchor import Anchorer
from gateway.evidence import anchor_of, check, decode_evidence
from gateway.sensors.source import Batch, Clock
from gateway.spool import Spool
from gateway.store import LocalStore
from gateway.uploader import Uploader
from tests.gateway.anchored import LabNode
from tests.gateway.telemetry import NOON_NS, OWNER, can_batch, open_archive, open_pipeline, open_spool

Result = TypeVar("Result")


class Hours:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.now_ns = NOON_NS
        self.naps = 0
        """How often somebody has waited."""
        self.on_nap: Callable[[], None] = lambda: None
        """Called after every wait."""
        self.clock = Clock(lambda: self.now_ns, lambda: self.now_ns, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        self.naps += 1
        self.on_nap()
        await asyncio.sleep(0)


class Inline:
    """Does at once what the gateway does in threads; a test may fail any step."""

    def __init__(self) -> None:
        self.before: Callable[[Any], None] = lambda work: None

    async def in_spool_thread(self, work: Callable[[], Result]) -> Result:
        self.before(work)
        return work()

    async def in_store_thread(self, work: Callable[[], Result]) -> Result:
        self.before(work)
        return work()


class Half:
    """Spool, store, anchorer and uploader over one folder; `reopen` is a restart."""

    def __init__(self, folder: Path, node: LabNode, fee_ucpc: int = 0, poll_ms: int = 500) -> None:
        self.folder = folder
        self.node = node
        self.fee_ucpc = fee_ucpc
        self.poll_ms = poll_ms
        self.hours = Hours()
        self.threads = Inline()
        self.store_class: type[LocalStore] = LocalStore
        self._open()

    def _open(self) -> None:
        self.spool: Spool = open_spool(self.folder)
        self.store = self.store_class(self.folder / "store")
        self.anchorer = Anchorer(
            OWNER, self.node.genesis, self.node.url, self.fee_ucpc, 5_000, self.folder / "head.cbor"
        )
        self.uploader = Uploader(
            self.threads,
            self.spool,
            self.store,
            self.anchorer,
            {stream.stream_id: 1 for stream in self.spool.streams()},
            self.poll_ms,
            self.hours.clock,
        )

    async def close(self) -> None:
        await self.uploader.close()
        self.store.close()
        self.spool.close()

    async def reopen(self) -> None:
        await self.close()
        self._open()

    def take_in(self, seconds: int = 20, name: str = "can0", from_ns: int = NOON_NS) -> None:
        """Records of so many seconds, ten a second; a segment, and so an upload, each five."""
        self.take_in_batch(can_batch(10 * seconds, from_ns, step_ns=100_000_000), name)

    def take_in_batch(self, batch: Batch, name: str = "can0") -> None:
        pipeline = open_pipeline(self.spool, name)
        pipeline.accept(batch, 0)
        pipeline.flush()

    async def passes(self, count_max: int = 50) -> int:
        """Passes until one finds nothing left to do: how many."""
        for count in range(1, count_max + 1):
            if await self.uploader.run_once():
                return count
        raise AssertionError(f"still busy after {count_max} passes")


@contextlib.asynccontextmanager
async def half_of(folder: Path, **options: Any) -> AsyncIterator[Half]:
    """A gateway's half, with a node of its own."""
    async with LabNode(folder / "chain") as node:
        half = Half(folder, node, **options)
        try:
            yield half
        finally:
            await half.close()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def assert_all_anchored(half: Half, count: int, name: str = "can0") -> None:
    """So many uploads are proven, once each and in order, and nothing is left in the spool."""
    archive = open_archive(half.store, name)
    assert archive.upload_indexes() == list(range(count))
    heights = []
    for index in range(count):
        evidence = decode_evidence(archive.evidence(index) or b"")
        check(evidence, OWNER.public, half.node.genesis, anchor_of(archive.manifest(index)))
        heights.append((evidence.link.header.height, evidence.proof.index))
    assert heights == sorted(heights)
    assert half.spool.uploads() == []
    counts = half.spool.counts()
    assert (counts.records, counts.segments, counts.uploads) == (0, 0, 0)


def anchors_on(node: LabNode) -> Counter[int]:
    """How many transactions had each upload's anchor as their effect."""
    storage = node.dev.node.storage
    applied: Counter[int] = Counter()
    for height in range(1, node.height + 1):
        block = storage.block(height)
        assert block is not None
        for data, receipt in zip(block.transactions, block.receipts, strict=True):
            body = Transaction.decode(data).body
            if receipt.reason is Reason.APPLIED and isinstance(body, Anchor):
                applied[body.upload] += 1
    return applied
