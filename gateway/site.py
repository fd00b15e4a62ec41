"""What the reading commands open: a gateway's own archive, or one that a grant opens a part of.

Runs on CPython.  An owner reads with the gateway's key file; anybody else with a grant and the reader
key it was made for, from wherever the store lies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from gateway.archive import Archive, ReadReport, stored_streams
from gateway.config import GatewayConfig, StreamConfig, load
from gateway.crypto.grant import GRANT_SIZE_MAX, Grant, open_grant
from gateway.crypto.key_file import GatewayKey, load_gateway_key, load_reader_key
from gateway.crypto.stream import StreamKeys
from gateway.disk import Disk
from gateway.errors import EvidenceError, StoreError
from gateway.sensors.dbc import DbcDecoder
from gateway.store import LocalStore


@dataclass(frozen=True, slots=True)
class Reader:
    """One stream, opened for reading.  Use as `with`, or close its `archive.store`."""

    archive: Archive
    owner: bytes
    """Public key of the gateway whose stream it is, 32 bytes."""
    slot_ms: int
    dbc_paths: tuple[Path, ...]
    """Files that say what the frames mean."""

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.archive.store.close()

    def span_ns(
        self, progress: Callable[[int, int], None] | None = None, report: ReadReport | None = None
    ) -> tuple[int, int]:
        """(first, last) moment of what the store has of the stream; (0, 0) when it has nothing.

        Uploads whose manifest cannot be read are left out, and named in `report`.
        progress: called with (uploads done, uploads in all).
        """
        spans = []
        indexes = self.archive.upload_indexes()
        for done, upload_index in enumerate(indexes):
            if progress is not None:
                progress(done, len(indexes))
            try:
                chunks = [chunk for _, _, chunk in self.archive.manifest(upload_index).chunks()]
            except (StoreError, EvidenceError) as error:
                if report is not None:
                    report.problems.append(f"upload {upload_index}: {error}")
                continue
            spans.append((min(chunk.first_ns for chunk in chunks), max(chunk.last_ns for chunk in chunks)))
        return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else (0, 0)

    def decoder(self) -> DbcDecoder | None:
        """What decodes its frames, if there are DBC files.  Raises SourceError."""
        return DbcDecoder.load(self.dbc_paths) if self.dbc_paths else None


def stream_keys(key: GatewayKey, stream: StreamConfig) -> StreamKeys:
    """The owner's keys of one stream."""
    return StreamKeys(key.data_root, key.identity.public, stream.name, stream.slot_ms)


def stream_of(config: GatewayConfig, name: str | None) -> StreamConfig:
    """The stream of that name; the first one when no name is given.  Raises UnknownStream."""
    return config.streams[0] if name is None else config.stream(name)


def open_as_owner(config_path: Path, stream_name: str | None) -> Reader:
    """The owner's view of a stream; of the first one when no name is given.

    Raises ConfigError, UnknownStream, KeyFileError, StoreError.
    """
    config = load(config_path)
    stream = stream_of(config, stream_name)
    key = load_gateway_key(config.key_path)
    keys = stream_keys(key, stream)
    store = LocalStore(config.store_path, is_read_only=True)
    stored = stored_streams(store)
    if stored and not any(stream_keys(key, each).stream_id in stored for each in config.streams):
        # Else every record would seem never to have existed.
        store.close()
        raise StoreError(
            f"{config.store_path} has {len(stored)} stream(s), but none of this configuration under the key "
            f"in {config.key_path}: put the right key file back, or the stream's former name, block_ms and "
            "segment_blocks"
        )
    archive = Archive(store, keys.stream_id, stream.name, keys.segment_key)
    return Reader(archive, key.identity.public, stream.slot_ms, config.dbc_paths(stream))


def open_as_reader(
    grant_path: Path, key_path: Path, store_path: Path, dbc_paths: tuple[Path, ...]
) -> tuple[Reader, Grant]:
    """A reader's view of the stream that the grant names.  Raises GrantError, KeyFileError, StoreError."""
    reader_key = load_reader_key(key_path)
    grant = open_grant(Disk().read_file(grant_path, GRANT_SIZE_MAX), reader_key, None)
    store = LocalStore(store_path, is_read_only=True)
    archive = Archive(
        store,
        grant.stream_id,
        grant.name,
        lambda slot, segment_id: grant.segment_key(slot, grant.stream_id, segment_id),
    )
    return Reader(archive, grant.owner, grant.slot_ms, dbc_paths), grant
