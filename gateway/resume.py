"""Going on after a spool was lost, and noticing that a store was.

Runs on CPython.  A spool that a dying card has taken is replaced by an empty one.  Were it to begin at
0 again, records would get the names of others, and neither the store nor the chain would take its
uploads: what they have under a name never changes.
"""

from gateway.archive import Archive, stored_streams
from gateway.block import block_hash
from gateway.errors import SpoolError
from gateway.spool import Spool
from gateway.store import ChunkStore


def resume_stream(
    spool: Spool,
    archive: Archive,
    kind: str,
    block_ms: int,
    segment_blocks: int,
    *,
    may_skip_boots: bool = True,
) -> bool:
    """Lets a stream that is new to the spool go on behind its last upload in the store; True when it did.

    archive: the stream, opened with its owner's keys.  To be called before its pipeline is made.
    may_skip_boots: no other stream of this boot has been opened yet.  Raises SpoolError when one has, and the
    boot would have to be another; StoreError, EvidenceError, CryptoError or BlockError when its last block
    cannot be read.
    """
    if any(stream.stream_id == archive.stream_id for stream in spool.streams()):
        return False
    indexes = archive.upload_indexes()
    if not indexes:
        return False
    manifest = archive.manifest(indexes[-1])
    segment, last = manifest.segments[-1], manifest.last_chunk
    head = block_hash(archive.open_plain(segment, len(segment.chunks) - 1))
    if last.boot >= spool.boot and not may_skip_boots:
        raise SpoolError(
            f"the spool is newer than what the store has of stream {archive.name}: restart the gateway for it"
        )
    spool.skip_boots(last.boot)
    spool.open_stream(
        archive.stream_id,
        archive.name,
        kind,
        block_ms,
        segment_blocks,
        (last.block_index + 1, head, manifest.upload_index + 1, manifest.digest),
    )
    return True


def missing_upload_count(spool: Spool, store: ChunkStore) -> int:
    """How many uploads the store confirmed once and does not know any more."""
    # What still is in the spool may not have been published yet.
    confirmed = sum(stream.next_upload for stream in spool.streams()) - spool.counts().uploads
    return max(confirmed - sum(map(len, stored_streams(store).values())), 0)
