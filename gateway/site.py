"""What the reading commands open: a gateway's own archive, or one that a grant opens a part of.

Runs on CPython.  An owner reads with the gateway's key file; anybody else with a grant and the reader
key it was made for, from wherever the store lies.
"""

from dataclasses import dataclass
from pathlib import Path

from gateway.archive import Archive
from gateway.config import StreamConfig, load
from gateway.crypto.grant import Grant, open_grant
from gateway.crypto.key_file import GatewayKey, load_gateway_key, load_reader_key
from gateway.crypto.stream import StreamKeys
from gateway.disk import Disk
from gateway.sensors.dbc import DbcDecoder
from gateway.store import LocalStore

GRANT_FILE_SIZE_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Reader:
    """One stream, opened for reading."""

    archive: Archive
    owner: bytes
    """Public key of the gateway whose stream it is, 32 bytes."""
    slot_ms: int
    dbc_paths: tuple[Path, ...]
    """Files that say what the frames mean."""

    def span_ns(self) -> tuple[int, int]:
        """(first, last) moment of what the store has of the stream; (0, 0) when it has nothing."""
        first_ns, last_ns = [], []
        for upload_index in self.archive.upload_indexes():
            for _, _, chunk in self.archive.manifest(upload_index).chunks():
                first_ns.append(chunk.first_ns)
                last_ns.append(chunk.last_ns)
        return (min(first_ns), max(last_ns)) if first_ns else (0, 0)

    def decoder(self) -> DbcDecoder | None:
        """What decodes its frames, if there are DBC files.  Raises SourceError."""
        return DbcDecoder.load(self.dbc_paths) if self.dbc_paths else None


def stream_keys(key: GatewayKey, stream: StreamConfig) -> StreamKeys:
    """The owner's keys of one stream."""
    return StreamKeys(key.data_root, key.identity.public, stream.name, stream.slot_ms)


def open_as_owner(config_path: Path, stream_name: str | None) -> Reader:
    """The owner's view of a stream; of the first one when no name is given.

    Raises ConfigError, UnknownStream, KeyFileError, StoreError.
    """
    config = load(config_path)
    stream = config.streams[0] if stream_name is None else config.stream(stream_name)
    key = load_gateway_key(config.key_path)
    keys = stream_keys(key, stream)
    store = LocalStore(config.store_path, is_read_only=True)
    archive = Archive(store, keys.stream_id, stream.name, keys.segment_key)
    return Reader(archive, key.identity.public, stream.slot_ms, config.dbc_paths(stream))


def open_as_reader(
    grant_path: Path, key_path: Path, store_path: Path, dbc_paths: tuple[Path, ...]
) -> tuple[Reader, Grant]:
    """A reader's view of the stream that the grant names.  Raises GrantError, KeyFileError, StoreError."""
    reader_key = load_reader_key(key_path)
    grant = open_grant(Disk().read_file(grant_path, GRANT_FILE_SIZE_MAX), reader_key, None)
    store = LocalStore(store_path, is_read_only=True)
    archive = Archive(
        store,
        grant.stream_id,
        grant.name,
        lambda slot, segment_id: grant.segment_key(slot, grant.stream_id, segment_id),
    )
    return Reader(archive, grant.owner, grant.slot_ms, dbc_paths), grant
