"""SQLite, opened the one way that keeps what it acknowledged: WAL, synchronous=FULL, owner-only files.

Runs on CPython, on Linux.  When `transaction` ends without an error, its changes survive a power cut.  When
it raises, they are undone and the connection can be used again; but if it was COMMIT that failed, the changes
may be there after a power cut all the same, so whoever repeats them makes that harmless.

    DiskError               (gateway.disk)
    |- DiskFull             (gateway.disk) the transaction is undone
    `- DatabaseError        names the database file
       |- DatabaseDamaged   the file is not what was written: bits flipped, cut, or it never was a database
       |- DatabaseForeign   a database, but of another program or purpose
       |- DatabaseVersion   a database of another version of this program
       `- DatabaseBusy      another process holds it

Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous ("WAL mode ... NORMAL
does lose durability").  What is wrong with the statements themselves stays an apsw error: that is our bug.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from urllib.parse import quote

import apsw

from gateway.disk import Disk, DiskError, DiskFull, FileMissing

APPLICATION_ID = 0x43504365
"""Marks our databases in byte 68 of their header: "CPCe"."""
BUSY_MS = 5_000
"""How long a writer waits for another."""
CHECKPOINT_PAGES = 1_000
"""4 MB: long enough to write a busy page once for many commits, short enough to open quickly after a cut."""
LOG_BYTES_MAX = 16 << 20
"""What the log shrinks back to when a slow reader let it grow."""


class DatabaseError(DiskError):
    """The database did not do what was asked."""


class DatabaseDamaged(DatabaseError):
    """The file is not what was written to it."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        super().__init__(
            path, f"damaged: {what}", "move it away, with its -wal file, and restore it; check the disk"
        )


class DatabaseForeign(DatabaseError):
    """A database, but none of this program, or one for another purpose."""

    def __init__(self, path: str | os.PathLike[str], got: int, want: int) -> None:
        super().__init__(path, f"application id is {got:#x}, not {want:#x}", "check the path")
        self.got = got
        self.want = want


class DatabaseVersion(DatabaseError):
    """A database of another version of this program."""

    def __init__(self, path: str | os.PathLike[str], got: int, want: int) -> None:
        advice = "upgrade this program" if got > want else "open it with the version that made it"
        super().__init__(path, f"schema version is {got}, this program knows {want}", advice)
        self.got = got
        self.want = want


class DatabaseBusy(DatabaseError):
    """Another process holds the database."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "held by another process", "stop the other one, or wait for it")


def open_database(
    path: str | os.PathLike[str],
    *,
    schema: str,
    schema_version: int,
    application_id: int = APPLICATION_ID,
    vfs: str | None = None,
    disk: Disk | None = None,
    read_only: bool = False,
    mode: int = 0o600,
    checkpoint_pages: int = CHECKPOINT_PAGES,
) -> apsw.Connection:
    """A connection to the database at `path`; unless `read_only`, it is made if it is missing.

    schema: the statements that make it, run once, in one transaction.  schema_version: 1 or more.
    read_only: beside a live writer, too; sees each transaction whole or not at all.
    vfs, disk: where the bytes go; the tests put a disk there that forgets.  The directory must exist.
    checkpoint_pages: length of the log, in pages of 4 KiB, at which a commit also copies it back.
    Raises FileMissing, DiskFull and the errors above.
    """
    path = os.path.abspath(path)
    disk = Disk() if disk is None else disk
    place = path
    if read_only:
        if not os.path.exists(path):
            raise FileMissing(path)
        flags = apsw.SQLITE_OPEN_READONLY
        if _is_frozen(path):
            place, flags = f"file:{quote(os.fsencode(path))}?immutable=1", flags | apsw.SQLITE_OPEN_URI
    else:
        # Made here, not by SQLite, for the permissions; its -wal and -shm files take theirs from it.
        disk.create_file(path, mode)
        flags = apsw.SQLITE_OPEN_READWRITE
    try:
        connection = apsw.Connection(place, flags=flags, vfs=vfs)
    except apsw.CantOpenError as error:
        raise DatabaseError(path, "cannot be opened", "check its owner and permissions") from error
    try:
        with database_errors(connection):
            connection.set_busy_timeout(BUSY_MS)
            # Before anything is changed in it: it may be somebody else's.
            is_new = _is_empty(connection)
            if read_only or not is_new:
                _check_identity(connection, path, schema_version, application_id)
            _configure(connection, path, read_only, is_frozen=place != path)
            connection.set_wal_hook(_checkpoint_every(checkpoint_pages))
            if is_new and not read_only:
                _create(connection, schema, schema_version, application_id)
                _check_identity(connection, path, schema_version, application_id)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[apsw.Connection]:
    """All of what is done inside becomes durable at the end, or, when anything is raised, none of it.

    Takes the write lock at the start, so that two writers queue and never fail half-way.  Not to be nested.
    Raises DiskFull, DatabaseBusy, DatabaseDamaged and DatabaseError in SQLite's stead.
    """
    with database_errors(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors (https://sqlite.org/lang_transaction.html).
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def database_errors(connection: apsw.Connection) -> Iterator[None]:
    """Around reads: our errors for SQLite's, where the disk is what is wrong, and not the statement."""
    path = connection.filename
    try:
        yield
    except apsw.FullError as error:
        raise DiskFull(path, errno.ENOSPC) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise DatabaseDamaged(path, str(error)) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise DatabaseBusy(path) from error
    except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        # Of these SQLite keeps the kernel's number; a -wal or -shm file that finds no space comes here.
        number = connection.system_errno
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path, number) from error
        problem = f"{error} ({os.strerror(number)})" if number else str(error)
        raise DatabaseError(path, problem, "check its permissions and the disk", number or None) from error


def check_database(connection: apsw.Connection) -> None:
    """Read every page and see that they fit together; about 1 s a gigabyte.  Raises DatabaseDamaged.

    The content of rows is not checked, SQLite keeps no checksum of it: what matters carries its own.
    """
    with database_errors(connection):
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise DatabaseDamaged(connection.filename, "; ".join(found).replace("\n", "; "))


def _is_frozen(path: str) -> bool:
    """Whether nobody can write here, as on a disk that is mounted read-only, and the log holds nothing.

    SQLite would want to make files that readers and writers share.
    """
    has_log = os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal") > 0
    return not has_log and not os.access(os.path.dirname(path), os.W_OK)


def _configure(connection: apsw.Connection, path: str, read_only: bool, is_frozen: bool) -> None:
    got = connection.pragma("journal_mode") if read_only else connection.pragma("journal_mode", "WAL")
    # What never changes needs no log.
    if got != "wal" and not is_frozen:
        advice = "use a local disk: WAL needs memory that processes share"
        raise DatabaseError(path, f"journal mode is {got}, not wal", advice)
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", True)
    connection.pragma("cell_size_check", True)
    connection.pragma("trusted_schema", False)
    # Memory-mapped, a dying disk would kill the process (SIGBUS) in place of an error.
    connection.pragma("mmap_size", 0)
    # Nothing of a database goes anywhere else on the disk.
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("journal_size_limit", LOG_BYTES_MAX)


def _checkpoint_every(pages_max: int) -> Callable[[apsw.Connection, str, int], int]:
    """What SQLite does by itself (sqlite3WalDefaultHook), but we decide what becomes of its errors."""

    def after_commit(connection: apsw.Connection, _: str, pages: int) -> int:
        if pages >= pages_max:
            # The commit is durable, so it must not be reported as failed. Nothing is lost: the log still has
            # all of it, the next commit tries again, and a log that cannot grow any more is an error there.
            with contextlib.suppress(apsw.Error):
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK

    return after_commit


def _is_empty(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) = 0 FROM sqlite_schema").get)


def _check_identity(connection: apsw.Connection, path: str, version: int, application_id: int) -> None:
    got_id = connection.pragma("application_id")
    if got_id != application_id:
        raise DatabaseForeign(path, got_id, application_id)
    got_version = connection.pragma("user_version")
    if got_version != version:
        raise DatabaseVersion(path, got_version, version)


def _create(connection: apsw.Connection, schema: str, version: int, application_id: int) -> None:
    with transaction(connection):
        # Again, under the lock: another process may have made it meanwhile.
        if _is_empty(connection):
            connection.execute(schema)
            connection.pragma("application_id", application_id)
            connection.pragma("user_version", version)
