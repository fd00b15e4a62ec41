"""The chain's file as a file: made for its owner only, synced with its name, and its errors told apart.

Runs on CPython.  What SQLite and the kernel raise becomes a StorageError that says what to do.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from chain_node.errors import (
    CertificateError,
    Refused,
    StorageDamaged,
    StorageError,
    StorageFull,
    WireError,
)
from puf.merkle_map import NodeMissing

FULL = "the disk is full; free some space"


def checkpoint_every(pages_max: int) -> Callable[[apsw.Connection, str, int], int]:
    """What SQLite does by itself (sqlite3WalDefaultHook), but we decide what becomes of its errors."""

    def after_commit(connection: apsw.Connection, _: str, pages: int) -> int:
        if pages >= pages_max:
            # The commit is durable, so it must not be reported as failed: the block is there, and the head
            # in memory would stay behind it. Nothing is lost: the log still has all of it, the next commit
            # tries again, and a log that cannot grow any more is an error there.
            with contextlib.suppress(apsw.Error):
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK

    return after_commit


def create_private(path: str) -> None:
    """An empty file that only its owner may read, unless there is one already; its name is durable then."""
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # Also when it was there: whoever made it may have died before the sync.
        sync_directory(Path(path).parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(path, FULL) from error
        raise StorageError(path, f"cannot be made: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Make the names in this folder as durable as the files: they are lost separately.  Source: fsync(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(path: str, connection: apsw.Connection | None = None) -> Iterator[None]:
    """Our errors for SQLite's, where the disk or the file is what is wrong, and not the statement."""
    try:
        yield
    except apsw.FullError as error:
        raise StorageFull(path, FULL) from error
    # UnicodeDecodeError: what should be bytes calls itself text; only a flipped bit makes it so.
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as error:
        raise StorageDamaged(
            path, f"damaged: {error}; restore it, or delete it and sync from peers"
        ) from error
    except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        # A -wal or -shm file that finds no space ends here; SQLite keeps the kernel's number.
        if connection and connection.system_errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(path, FULL) from error
        raise StorageError(path, f"{error}; check its permissions and the disk") from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise StorageError(path, "another process holds it; stop that one") from error
    except NodeMissing as error:
        raise StorageDamaged(path, f"{error}; restore it, or delete it and sync from peers") from error


@contextlib.contextmanager
def decoding(path: str) -> Iterator[None]:
    """What we wrote ourselves and cannot read any more is damage, not a peer's fault."""
    try:
        yield
    except (WireError, CertificateError, Refused) as error:
        raise StorageDamaged(path, f"what it holds is {error}; restore it, or delete it and sync") from error
