"""What the tests of proofs and of anchoring share: an anchored archive, and a node to lie with.

Runs on CPython.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from chain_node.dev import DevNode, Treasury
from chain_node.rpc import Dispatcher
from chain_node.transaction import SUPPLY_UCPC
from chain_node.wire import Anchor, Genesis, Reason, TransactionEvidence
from gateway.archive import Archive, evidence_name, manifest_name
from gateway.evidence import anchor_of
from gateway.manifest import Manifest
from gateway.proof import Proof, collect
from gateway.record import RecordName
from gateway.sensors.source import Batch
from gateway.store import LocalStore
from puf.ed25519 import SigningKey
from tests.chain_node.stepping import Clock, produce
from tests.chain_node.world import ALICE, Chain, genesis_of
from tests.gateway.telemetry import (
    OWNER,
    can_batch,
    open_archive,
    open_pipeline,
    open_spool,
    store_segments,
)


def chain_with(*owners: SigningKey) -> Chain:
    """A chain with a committee of four, on which these have money."""
    each = SUPPLY_UCPC // (len(owners) + 1)
    balances = [(owner.public, each) for owner in owners]
    balances.append((ALICE.public, SUPPLY_UCPC - each * len(owners)))
    return Chain(replace(genesis_of(), balances=tuple(sorted(balances))))


def anchor_on(chain: Chain, anchor: Anchor, owner: SigningKey = OWNER) -> TransactionEvidence:
    """The evidence of an anchor in a block of its own, with two transactions of another before it."""
    fillers = [
        chain.sign(ALICE, Anchor(bytes([number]) * 32, chain.head.height, 1, *[bytes(32)] * 3), nonce)
        for number, nonce in enumerate(range(2 * chain.head.height, 2 * chain.head.height + 2))
    ]
    chain.extend(*fillers, chain.sign(owner, anchor))
    return chain.transaction_evidence(chain.head.height, 2)


@dataclass
class Anchored:
    """A store whose uploads are all anchored on a chain."""

    store: LocalStore
    archive: Archive
    chain: Chain

    @property
    def genesis(self) -> Genesis:
        return self.chain.genesis

    def proof(self, seq: int, boot: int = 1) -> Proof:
        return collect(self.archive, OWNER.public, RecordName(self.archive.name, boot, seq))


def store_uploads(
    folder: Path,
    batches: list[Batch],
    *,
    name: str = "can0",
    file_size_min: int = 64 << 10,
    segment_count: int = 2,
) -> tuple[LocalStore, list[Manifest]]:
    """A store with everything but the evidence, and the manifests of its uploads."""
    folder.mkdir(parents=True, exist_ok=True)
    spool = open_spool(folder)
    store = LocalStore(folder / "store", file_size_min=file_size_min)
    pipeline = open_pipeline(spool, name)
    for batch in batches:
        pipeline.accept(batch, 0)
    pipeline.flush()
    store_segments(spool, store)
    for stream in spool.streams():
        while spool.form_upload(stream, segment_count, is_flush=True) is not None:
            pass
    manifests = []
    while uploads := spool.uploads():
        manifest = uploads[0].manifest
        store.put({manifest.digest: manifest.encode()})
        store.put_named(manifest_name(manifest.stream_id, manifest.upload_index), manifest.digest)
        spool.finish_upload(uploads[0])
        manifests.append(manifest)
    spool.close()
    return store, manifests


def anchored_archive(
    folder: Path, batches: list[Batch] | None = None, name: str = "can0", file_size_min: int = 64 << 10
) -> Anchored:
    """Records of twenty seconds (four segments, two uploads), unless others are given."""
    store, manifests = store_uploads(
        folder, batches or [can_batch(200, step_ns=100_000_000)], name=name, file_size_min=file_size_min
    )
    chain = chain_with(OWNER)
    for manifest in manifests:
        evidence = anchor_on(chain, anchor_of(manifest))
        store.put_named(evidence_name(manifest.stream_id, manifest.upload_index), evidence.encode())
    return Anchored(store, open_archive(store, name), chain)


Answer = dict[str, Any]
Lie = Callable[[str, dict[str, Any], Callable[[], Answer]], Answer | None]
"""(method, params, what asks the honest node) -> the answer given; None: none at all."""


class LabNode:
    """A node of a development chain that makes a block when it is asked something and anything waits.

    Use as `async with`.  `lie` may change its answers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_away = False
        """It accepts connections and answers nothing."""
        self.is_idle = False
        """It makes no blocks."""
        self.idle_for: set[str] = set()
        """Methods that are answered without a block being made first."""
        self.lie: Lie | None = None
        self.calls: list[str] = []
        """Methods that were called."""
        self.clock = Clock()
        self.url = ""
        self._open()

    def _open(self) -> None:
        self.dev = DevNode.create_or_open(
            self.folder, port=0, block_period_ms=10, steady_ms=self.clock.steady
        )
        treasury = SigningKey(bytes.fromhex((self.folder / "treasury.key").read_text()))
        self.treasury = Treasury(self.dev.node, treasury)
        self.dispatcher = Dispatcher(self.dev.node, self.treasury)

    @property
    def genesis(self) -> Genesis:
        return self.dev.genesis

    @property
    def height(self) -> int:
        return self.dev.node.head.height

    async def __aenter__(self) -> "LabNode":
        application = web.Application()
        application.router.add_post("/", self._handle)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        if not self.height:
            await self.produce()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        self.dev.close()

    async def produce(self, count: int = 1) -> None:
        """Makes blocks."""
        for _ in range(count):
            await produce(self.dev.node, self.clock)

    async def restart(self, is_chain_lost: bool = False) -> None:
        """As after a power cut: what waited in its pool is gone.  is_chain_lost: and its chain."""
        self.dev.close()
        if is_chain_lost:
            for file in self.folder.glob("chain.sqlite*"):
                file.unlink()
        self._open()
        if not self.height:
            await self.produce()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        question = json.loads(body)
        self.calls.append(question["method"])
        if self.is_away:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        is_idle = self.is_idle or question["method"] in self.idle_for
        if not is_idle and len(self.dev.node.pool):
            await self.produce()
        answer = (self.lie or honest)(question["method"], question["params"], lambda: self._answer(body))
        return web.Response(status=503) if answer is None else web.json_response(answer)

    def _answer(self, body: bytes) -> Answer:
        data = self.dispatcher.dispatch(body)
        assert data is not None
        answer: Answer = json.loads(data)
        return answer


def honest(method: str, params: dict[str, Any], ask: Callable[[], Answer]) -> Answer:
    """No lie."""
    return ask()


def answering(method: str, answer: Answer | None) -> Lie:
    """One method is not asked at all, and answered like that."""
    return lambda got, params, ask: answer if got == method else ask()


def refusal(reason: Reason, message: str = "the node's own words") -> Answer:
    """A node's answer to a transaction that it does not take."""
    error = {"code": -32000, "message": message, "data": {"reason": reason.label}}
    return {"jsonrpc": "2.0", "id": 1, "error": error}
