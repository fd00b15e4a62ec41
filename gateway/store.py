"""Where sealed chunks live: content-addressed, and confirmed only when durable.

Runs on CPython; one thread at a time.  `ChunkStore` is what the gateway needs of any store, one on the
same card or an object store far away: chunks under their SHA-256, and a few named objects (the evidence
of each upload) that are written once.  A store is trusted with nothing: chunks are sealed, and `get`
checks the name against the bytes.

`LocalStore` keeps small chunks in SQLite and large ones as files named by their hash, which a copy
tool or a web server can serve as they are:

    store/store.db              index, small chunks, named objects
    store/chunks/3f/3fa9...     one large chunk
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.database import database_errors, open_database, transaction
from gateway.disk import Disk, DiskError, DiskFull, FileMissing
from gateway.errors import ChunkAltered, ChunkMissing, StoreError, StoreFull
from puf.hkdf import sha256

CHUNK_SIZE_MAX = 16 << 20
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE chunk (chunk_id BLOB PRIMARY KEY, size INTEGER NOT NULL, body BLOB) WITHOUT ROWID;
CREATE TABLE named (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""


class ChunkStore(ABC):
    """What the gateway asks of a store."""

    @abstractmethod
    def put(self, chunks: Mapping[bytes, bytes]) -> None:
        """Keeps chunks by their SHA-256; returns when all are durable.  Again is no error, and repairs.

        Raises ChunkAltered for bytes of another hash than their name, StoreFull or StoreError; some of the
        chunks may be kept then.
        """

    @abstractmethod
    def read(self, chunk_id: bytes) -> bytes:
        """The bytes kept under `chunk_id`, unchecked.  Raises ChunkMissing, StoreError."""

    @abstractmethod
    def where(self, chunk_id: bytes) -> str:
        """Where a person finds the chunk."""

    @abstractmethod
    def put_named(self, name: str, data: bytes) -> None:
        """Keeps `data` under `name`, durably.  The same again is no error, other bytes are (StoreError)."""

    @abstractmethod
    def get_named(self, name: str) -> bytes | None:
        """What `put_named` kept, or None."""

    @abstractmethod
    def names(self, prefix: str) -> list[str]:
        """Names that begin with `prefix`, sorted."""

    def get(self, chunk_id: bytes) -> bytes:
        """The chunk, its bytes checked against its name.  Raises ChunkMissing, ChunkAltered."""
        data = self.read(chunk_id)
        got = sha256(data)
        if got != chunk_id:
            raise ChunkAltered(chunk_id, got, self.where(chunk_id), data)
        return data

    def close(self) -> None:  # noqa: B027 - not every store holds something open
        """Releases what is held."""


class LocalStore(ChunkStore):
    """A store in a folder."""

    def __init__(
        self,
        path: Path,
        *,
        file_size_min: int = 64 << 10,
        is_read_only: bool = False,
        disk: Disk | None = None,
        vfs: str | None = None,
    ) -> None:
        """Opens or creates the store.  file_size_min: chunks of at least so many bytes become files."""
        self._path = path
        self.file_size_min = file_size_min
        """Chunks of at least so many bytes become files."""
        self._disk = disk or Disk()
        self._folders: set[Path] = set()
        if is_read_only and not (path / "store.db").exists():
            raise StoreError(f"{path} holds no chunk store; expected a file store.db in it")
        if not is_read_only:
            self._disk.make_directory(path)
        self._database = open_database(
            path / "store.db",
            schema=SCHEMA,
            schema_version=SCHEMA_VERSION,
            vfs=vfs,
            disk=self._disk,
            read_only=is_read_only,
        )
        if not is_read_only:
            # What a killed process has left in the log looks durable and need not be: this syncs the log.
            with transaction(self._database):
                self._database.pragma("user_version", SCHEMA_VERSION)

    def put(self, chunks: Mapping[bytes, bytes]) -> None:
        """As ChunkStore.put.  Files first, then the index: an index row promises that its file is whole."""
        rows: list[tuple[bytes, int, bytes | None]] = []
        with self._errors(f"has no room for {len(chunks)} chunks; the spool keeps them until it has"):
            for chunk_id, data in chunks.items():
                if len(data) > CHUNK_SIZE_MAX:
                    raise StoreError(f"a chunk of {len(data)} bytes is over the limit of {CHUNK_SIZE_MAX}")
                got = sha256(data)
                if got != chunk_id:
                    raise ChunkAltered(chunk_id, got, "what was to be stored", data)
                if self._is_whole(chunk_id):
                    continue
                is_file = len(data) >= self.file_size_min
                if is_file:
                    self._make_folder(self._file(chunk_id).parent)
                    self._disk.write_file_atomic(self._file(chunk_id), data)
                rows.append((chunk_id, len(data), None if is_file else data))
            if rows:
                with transaction(self._database):
                    self._database.executemany(
                        "INSERT OR REPLACE INTO chunk (chunk_id, size, body) VALUES (?, ?, ?)", rows
                    )

    def read(self, chunk_id: bytes) -> bytes:
        """As ChunkStore.read."""
        rows = self._query("SELECT body FROM chunk WHERE chunk_id = ?", (chunk_id,))
        if not rows:
            raise ChunkMissing(chunk_id, str(self._path))
        if rows[0][0] is not None:
            return bytes(rows[0][0])
        try:
            return self._disk.read_file(self._file(chunk_id), CHUNK_SIZE_MAX)
        except FileMissing as error:
            raise ChunkMissing(chunk_id, str(self._file(chunk_id))) from error
        except DiskError as error:
            raise StoreError(f"chunk {chunk_id.hex()[:16]} cannot be read: {error}") from error

    def where(self, chunk_id: bytes) -> str:
        """As ChunkStore.where."""
        file = self._file(chunk_id)
        return str(file) if file.exists() else f"{self._path / 'store.db'}, table chunk"

    def put_named(self, name: str, data: bytes) -> None:
        """As ChunkStore.put_named."""
        kept = self.get_named(name)
        if kept is not None:
            if kept != data:
                raise StoreError(f"{name} is in {self._path} already, with other content; it is written once")
            return
        with self._errors(f"has no room for {name}"), transaction(self._database):
            self._database.execute("INSERT INTO named (name, body) VALUES (?, ?)", (name, data))

    def get_named(self, name: str) -> bytes | None:
        """As ChunkStore.get_named."""
        rows = self._query("SELECT body FROM named WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def names(self, prefix: str) -> list[str]:
        """As ChunkStore.names."""
        # Text compares by code points, and there is none behind the last.
        rows = self._query(
            "SELECT name FROM named WHERE name >= ? AND name < ? ORDER BY name",
            (prefix, prefix + "\U0010ffff"),
        )
        return [name for (name,) in rows]

    def chunk_ids(self) -> Iterator[bytes]:
        """The names of all chunks."""
        with self._errors(""):
            for (chunk_id,) in self._database.execute("SELECT chunk_id FROM chunk ORDER BY chunk_id"):
                yield bytes(chunk_id)

    def close(self) -> None:
        """Closes the index."""
        self._database.close()

    def _query(self, sql: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._errors(""):
            return self._database.execute(sql, arguments).fetchall()

    @contextmanager
    def _errors(self, no_room: str) -> Iterator[None]:
        """A store's errors for the disk's."""
        try:
            with database_errors(self._database):
                yield
        except DiskFull as error:
            raise StoreFull(f"{self._path} {no_room}") from error
        except DiskError as error:
            raise StoreError(f"the store has failed: {error}") from error

    def _file(self, chunk_id: bytes) -> Path:
        name = chunk_id.hex()
        return self._path / "chunks" / name[:2] / name

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._folders:
            self._disk.make_directory(folder)
            # What a power cut has left unfinished would stay for ever.
            self._disk.delete_parts(folder)
            self._folders.add(folder)

    def _is_whole(self, chunk_id: bytes) -> bool:
        # A repeated put also repairs what has rotted meanwhile.
        try:
            return sha256(self.read(chunk_id)) == chunk_id
        except StoreError:
            return False
