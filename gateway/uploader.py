"""From the spool to the store to the chain: what is sealed is stored, proven, anchored and forgotten.

Runs on CPython.  One pass does what can be done now and is safe to repeat after a crash at any point:

    segments  -> put into the store, read back, marked
    u of them -> an upload
    upload    -> manifest put into the store; signed anchor kept in the spool, then sent;
                 its evidence verified and put into the store; only then removed from the spool

The store and the node may fail, be full, be away for days or lie: the spool keeps what is not proven,
and passes become rarer until they succeed again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from chain_node.wire import ChainError, TransactionEvidence
from gateway.anchor import Anchorer, Settled
from gateway.archive import evidence_name, manifest_name
from gateway.disk import DiskFull
from gateway.errors import AnchorError, EvidenceError, SpoolError, StoreError
from gateway.evidence import decode_evidence
from gateway.manifest import Manifest
from gateway.sensors.source import Clock
from gateway.spool import Spool, SpooledUpload
from gateway.store import ChunkStore
from gateway.troubles import NS_PER_MS, Troubles, duration_text

log = logging.getLogger("cpc.gateway")
Result = TypeVar("Result")

ANCHOR_COUNT_MAX = 16
"""Uploads that are signed, sent and asked after at once; after an outage the others wait their turn."""
RETRY_MS_MAX = 30_000
"""How long a pass waits at most after one that failed."""
PATIENCE_MS = 600_000
"""How long an anchor may take while the node answers, until that is trouble."""

TROUBLES = (AnchorError, ChainError, DiskFull, EvidenceError, SpoolError, StoreError)
"""What may pass by itself, or when somebody repairs store, node or disk: the spool waits."""


class Threads(Protocol):
    """Where blocking work is done; see gateway.app."""

    async def in_spool_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, which uses the spool."""

    async def in_store_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, which uses the store."""


class Uploader:
    """Moves what the spool holds to the store and to the chain."""

    def __init__(
        self,
        threads: Threads,
        spool: Spool,
        store: ChunkStore,
        anchorer: Anchorer,
        upload_segments: Mapping[bytes, int],
        poll_ms: int,
        clock: Clock,
    ) -> None:
        """upload_segments: u of each stream by stream id; of any other stream, what is there is uploaded."""
        self.anchored_count = 0
        """Uploads anchored since the start."""
        self._threads = threads
        self._spool = spool
        self._store = store
        self._anchorer = anchorer
        self._next_anchorer: Anchorer | None = None
        """Takes over with the next pass."""
        self._upload_segments = upload_segments
        self._poll_ms = poll_ms
        self._clock = clock
        self._troubles = Troubles(clock)
        self._is_flush = False
        self._is_failing = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._names: dict[bytes, str] = {}
        """Of the streams, by id."""
        self._refused: set[int] = set()
        """Rows of uploads that the chain has proven never to take."""
        self._oldest = (0, 0)
        """Row of the oldest upload that waits, and since when it is that."""

    def wake(self) -> None:
        """There may be something to do."""
        self._idle.clear()
        self._wake.set()

    def flush(self) -> None:
        """From now on uploads are formed of however few segments there are, and no pass is put off."""
        self._is_flush = True
        self.wake()

    async def wait_idle(self) -> None:
        """Returns when a pass has found nothing left that can be stored or anchored."""
        await self._idle.wait()

    def use(self, anchorer: Anchorer, poll_ms: int) -> None:
        """Asks another node from the next pass on."""
        self._next_anchorer = anchorer
        self._poll_ms = poll_ms
        self.wake()

    async def close(self) -> None:
        """Closes the connection to the node."""
        await self._anchorer.close()
        if self._next_anchorer is not None:
            await self._next_anchorer.close()

    async def run(self) -> None:
        """Passes for ever: when woken, and every poll while something waits."""
        # A node that is of no use is told of at once, not with the first upload.
        await self._attempt("anchor", self._ask)
        wait_ms = self._poll_ms
        while True:
            self._wake.clear()
            if await self.run_once() and not self._wake.is_set():
                self._idle.set()
                await self._wake.wait()
            wait_ms = (
                min(2 * wait_ms, max(RETRY_MS_MAX, self._poll_ms)) if self._is_failing else self._poll_ms
            )
            await self._pause(wait_ms)

    async def run_once(self) -> bool:
        """One pass; whether nothing is left to do."""
        self._is_failing = False
        if self._next_anchorer is not None:
            before, self._anchorer, self._next_anchorer = self._anchorer, self._next_anchorer, None
            await before.close()
        return await self._attempt("store", self._store_segments) and await self._attempt(
            "anchor", self._upload
        )

    async def _pause(self, wait_ms: int) -> None:
        # Also when woken: a bus at full load wakes us twenty times a second.
        end_ns = self._clock.monotonic_ns() + wait_ms * NS_PER_MS
        while (left_ns := end_ns - self._clock.monotonic_ns()) > 0:
            await self._clock.sleep(min(left_ns, self._poll_ms * NS_PER_MS) / 1e9)
            if self._is_flush:
                return

    async def _attempt(self, what: str, work: Callable[[], Awaitable[bool]]) -> bool:
        """The result of `work`; False when there is trouble, which is over when `work` has said so."""
        try:
            return await work()
        except TROUBLES as error:
            self._is_failing = True
            self._troubles.happened(what, error, "; the spool keeps what waits")
            return False

    # ------------------------------------------------------------------ store

    async def _store_segments(self) -> bool:
        while (found := await self._threads.in_spool_thread(self._spool.next_unstored)) is not None:
            segment, chunks = found
            for chunk_id in segment.damaged:
                log.error(
                    "chunk %s was damaged on the disk before it could be stored; its records are lost, "
                    "cpc read names them",
                    chunk_id.hex()[:16],
                )
            await self._threads.in_store_thread(partial(self._put, chunks))
            await self._threads.in_spool_thread(partial(self._spool.mark_stored, segment))
            self._troubles.over("store")
        return True

    def _put(self, chunks: Mapping[bytes, bytes]) -> None:
        self._store.put(chunks)
        for chunk_id in chunks:
            # A store that says yes and keeps nothing, or something else, is found out here.
            self._store.get(chunk_id)

    def _put_named(self, name: str, data: bytes) -> None:
        self._store.put_named(name, data)
        if self._store.get_named(name) != data:
            raise StoreError(f"the store has taken {name} and does not give it back; repair or replace it")

    # ------------------------------------------------------------------ chain

    async def _ask(self) -> bool:
        await self._anchorer.account()
        return True

    async def _upload(self) -> bool:
        await self._threads.in_spool_thread(self._form_uploads)
        count_max = ANCHOR_COUNT_MAX + len(self._refused)
        found = await self._threads.in_spool_thread(partial(self._spool.uploads, count_max))
        uploads = [upload for upload in found if upload.row not in self._refused]
        is_done = not uploads or await self._anchor(uploads)
        await self._threads.in_store_thread(self._anchorer.save_head)
        return is_done and len(uploads) < ANCHOR_COUNT_MAX

    def _form_uploads(self) -> None:
        for stream in self._spool.streams():
            self._names[stream.stream_id] = stream.name
            count = self._upload_segments.get(stream.stream_id)
            while self._spool.form_upload(stream, count or 1, self._is_flush or count is None):
                pass

    async def _anchor(self, uploads: list[SpooledUpload]) -> bool:
        """Brings each upload as far as it can be brought now; whether none is left."""
        # Those first that a crash has kept from being forgotten: for them no node is needed.
        uploads = [upload for upload in uploads if not await self._is_proven_already(upload)]
        if not uploads:
            return True
        nonce = (await self._anchorer.account()).nonce
        waiting = []
        for upload in uploads:
            if upload.tx is None:
                await self._threads.in_store_thread(partial(self._put_manifest, upload.manifest))
            elif await self._settle(upload, await self._anchorer.evidence(upload)):
                nonce = max(nonce, self._anchorer.nonce_after(upload))
                continue
            waiting.append(upload)
        signed = {}
        for upload, tx in self._anchorer.sign(waiting, nonce):
            signed[upload.row] = await self._keep(upload, tx)
        left = [
            upload
            for upload in waiting
            if not await self._settle(upload, await self._anchorer.send(signed.get(upload.row, upload)))
        ]
        if left:
            self._check_patience(left[0])
        self._troubles.over("anchor")
        return not left

    async def _settle(self, upload: SpooledUpload, settled: Settled) -> bool:
        """Does what `settled` asks for; whether nothing is left to be done for the upload."""
        if settled.replacement is not None:
            await self._keep(upload, settled.replacement)
        if settled.refusal is not None:
            self._refused.add(upload.row)
            log.error("%s: %s", self._name(upload), settled.refusal)
            return True
        if settled.evidence is None:
            return False
        await self._threads.in_store_thread(partial(self._put_evidence, upload.manifest, settled.evidence))
        await self._forget(upload, settled.evidence)
        return True

    async def _is_proven_already(self, upload: SpooledUpload) -> bool:
        evidence = await self._threads.in_store_thread(partial(self._evidence, upload.manifest))
        if evidence is not None:
            await self._forget(upload, evidence)
        return evidence is not None

    async def _forget(self, upload: SpooledUpload, evidence: TransactionEvidence) -> None:
        await self._threads.in_spool_thread(partial(self._spool.finish_upload, upload))
        self.anchored_count += 1
        chunk_count = sum(len(segment.chunks) for segment in upload.manifest.segments)
        height = evidence.link.header.height
        log.info("%s: %d chunks anchored in block %d", self._name(upload), chunk_count, height)

    async def _keep(self, upload: SpooledUpload, tx: bytes) -> SpooledUpload:
        """Makes the signed anchor durable before it is sent: after a crash the same one is sent again."""
        return await self._threads.in_spool_thread(partial(self._spool.set_transaction, upload, tx))

    def _check_patience(self, oldest: SpooledUpload) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._oldest[0] != oldest.row:
            self._oldest = (oldest.row, now_ns)
        waited_ms = (now_ns - self._oldest[1]) // NS_PER_MS
        if waited_ms >= PATIENCE_MS:
            raise AnchorError(
                f"the node answers, and yet {self._name(oldest)} has waited for {duration_text(waited_ms)}: "
                "ask its operator, or take another node"
            )

    def _put_manifest(self, manifest: Manifest) -> None:
        digest = manifest.digest
        self._put({digest: manifest.encode()})
        self._put_named(manifest_name(manifest.stream_id, manifest.upload_index), digest)

    def _evidence(self, manifest: Manifest) -> TransactionEvidence | None:
        """What the store has of an upload, verified."""
        data = self._store.get_named(evidence_name(manifest.stream_id, manifest.upload_index))
        if data is None:
            return None
        evidence = decode_evidence(data)
        self._anchorer.check(evidence, manifest)
        return evidence

    def _put_evidence(self, manifest: Manifest, evidence: TransactionEvidence) -> None:
        self._put_named(evidence_name(manifest.stream_id, manifest.upload_index), evidence.encode())

    def _name(self, upload: SpooledUpload) -> str:
        manifest = upload.manifest
        return f"upload {manifest.upload_index} of stream {self._names[manifest.stream_id]}"
