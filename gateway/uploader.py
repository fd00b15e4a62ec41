"""From the spool to the store to the chain: what is sealed is stored, proven, anchored and forgotten.

Runs on CPython.  One pass does what can be done now and is safe to repeat after a crash at any point:

    segments  -> put into the store, read back, marked
    u of them -> an upload
    upload    -> manifest put into the store; signed anchor kept in the spool, then sent;
                 its evidence verified and put into the store; only then removed from the spool

The store and the node may fail, be full, be away for days or lie: the spool keeps what is not proven,
and each trouble is said once when it begins and once when it is over.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from chain_node.wire import ChainError, TransactionEvidence
from gateway.anchor import Anchorer
from gateway.archive import evidence_name, manifest_name
from gateway.errors import AnchorError, EvidenceError, StoreError
from gateway.manifest import Manifest
from gateway.spool import Spool, SpooledUpload
from gateway.store import ChunkStore

log = logging.getLogger("cpc.gateway")
Result = TypeVar("Result")

ANCHOR_COUNT_MAX = 64
"""Uploads that are signed, sent and asked after at once; after an outage the others wait their turn."""

TROUBLES = (AnchorError, ChainError, EvidenceError, StoreError)
"""What may pass by itself, or when somebody repairs the store or the node: the spool waits."""


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
    ) -> None:
        """upload_segments: u of each stream by stream id; of any other stream, what is there is uploaded."""
        self.anchored_count = 0
        """Uploads anchored since the start."""
        self._threads = threads
        self._spool = spool
        self._store = store
        self._anchorer = anchorer
        self._upload_segments = upload_segments
        self._poll_ms = poll_ms
        self._is_flush = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._troubles: dict[str, str] = {}

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def flush(self) -> None:
        """From now on uploads are formed of however few segments there are."""
        self._is_flush = True
        self._idle.clear()
        self._wake.set()

    async def wait_idle(self) -> None:
        """Returns when nothing is left to be stored or anchored."""
        await self._idle.wait()

    async def close(self) -> None:
        """Closes the connection to the node."""
        await self._anchorer.close()

    async def run(self) -> None:
        """Passes for ever: when woken, and every poll while something waits."""
        while True:
            self._wake.clear()
            if await self.run_once() and not self._wake.is_set():
                self._idle.set()
                await self._wake.wait()
            # Also when woken: a bus at full load wakes us twenty times a second.
            await asyncio.sleep(self._poll_ms / 1000)

    async def run_once(self) -> bool:
        """One pass; whether nothing is left to do."""
        if not await self._attempt("store", self._store_segments):
            return False
        await self._threads.in_spool_thread(self._form_uploads)
        uploads = await self._threads.in_spool_thread(self._spool.uploads)
        if not uploads:
            return True
        is_done = await self._attempt("anchor", partial(self._anchor, uploads[:ANCHOR_COUNT_MAX]))
        return is_done and len(uploads) <= ANCHOR_COUNT_MAX

    async def _attempt(self, what: str, work: Callable[[], Awaitable[bool]]) -> bool:
        """The result of `work`; False when there is trouble, which is logged when it is new."""
        try:
            result = await work()
        except TROUBLES as error:
            if self._troubles.get(what) != str(error):
                self._troubles[what] = str(error)
                log.error("%s: %s; the spool keeps what waits", what, error)
            return False
        if self._troubles.pop(what, None) is not None:
            log.warning("%s: works again", what)
        return result

    async def _store_segments(self) -> bool:
        while (found := await self._threads.in_spool_thread(self._spool.next_unstored)) is not None:
            segment, chunks = found
            await self._threads.in_store_thread(partial(self._put, chunks))
            await self._threads.in_spool_thread(partial(self._spool.mark_stored, segment))
        return True

    def _put(self, chunks: Mapping[bytes, bytes]) -> None:
        self._store.put(chunks)
        for chunk_id in chunks:
            # A store that says yes and keeps nothing, or something else, is found out here.
            self._store.get(chunk_id)

    def _form_uploads(self) -> None:
        for stream in self._spool.streams():
            count = self._upload_segments.get(stream.stream_id)
            while self._spool.form_upload(stream, count or 1, self._is_flush or count is None):
                pass

    async def _anchor(self, uploads: list[SpooledUpload]) -> bool:
        """Brings each upload as far as it can be brought now; whether all are anchored."""
        for upload in uploads:
            if upload.tx is None:
                await self._threads.in_store_thread(partial(self._put_manifest, upload.manifest))
        signed = {}
        for upload, tx in await self._anchorer.sign(uploads):
            signed[upload.row] = await self._keep(upload, tx)
        is_done = True
        for upload in uploads:
            settled = await self._anchorer.settle(signed.get(upload.row, upload))
            if settled.replacement is not None:
                await self._keep(upload, settled.replacement)
            if settled.evidence is None:
                is_done = False
                continue
            await self._threads.in_store_thread(
                partial(self._put_evidence, upload.manifest, settled.evidence)
            )
            await self._threads.in_spool_thread(partial(self._spool.finish_upload, upload))
            self.anchored_count += 1
            log.info(
                "upload %d of stream %s: %d chunks anchored in block %d",
                upload.manifest.upload_index,
                upload.manifest.stream_id.hex()[:16],
                sum(len(segment.chunks) for segment in upload.manifest.segments),
                settled.evidence.link.header.height,
            )
        return is_done

    async def _keep(self, upload: SpooledUpload, tx: bytes) -> SpooledUpload:
        """Makes the signed anchor durable before it is sent: after a crash the same one is sent again."""
        return await self._threads.in_spool_thread(partial(self._spool.set_transaction, upload, tx))

    def _put_manifest(self, manifest: Manifest) -> None:
        digest = manifest.digest
        self._put({digest: manifest.encode()})
        self._store.put_named(manifest_name(manifest.stream_id, manifest.upload_index), digest)

    def _put_evidence(self, manifest: Manifest, evidence: TransactionEvidence) -> None:
        self._store.put_named(evidence_name(manifest.stream_id, manifest.upload_index), evidence.encode())
