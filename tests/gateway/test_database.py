"""What gateway/database.py promises: durable settings, whole transactions, and errors that name the file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import database
from gateway.database import (
    APPLICATION_ID,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseForeign,
    DatabaseVersion,
    check_database,
    database_errors,
    open_database,
    transaction,
)
from gateway.disk import DiskError, DiskFull, FileMissing
from tests.crash_disk import CrashLog, SpaceLeft
from tests.crash_model import Create, Operation, Sync, Write

SCHEMA = """
CREATE TABLE entry (number INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
CREATE TABLE mark (number INTEGER NOT NULL REFERENCES entry) STRICT;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    made = open_database(path, schema=SCHEMA, schema_version=3)
    yield made
    made.close()


def add(connection: apsw.Connection, *numbers: int, size: int = 10) -> None:
    with transaction(connection):
        for number in numbers:
            connection.execute("INSERT INTO entry VALUES (?, zeroblob(?))", (number, size))


def numbers(connection: apsw.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT number FROM entry ORDER BY number")]


# ----------------------------------------------------------------------- open


def test_a_new_database_keeps_what_it_acknowledges_and_is_for_its_owner_only(
    path: Path, connection: apsw.Connection
) -> None:
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2  # FULL
    assert connection.pragma("foreign_keys") == 1
    assert connection.pragma("mmap_size") == 0
    assert connection.pragma("application_id") == APPLICATION_ID == int.from_bytes(b"CPCe", "big")
    assert connection.pragma("user_version") == 3
    add(connection, 1)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"spool.db": 0o600, "spool.db-wal": 0o600, "spool.db-shm": 0o600}


def test_opening_again_finds_the_rows_and_makes_nothing_anew(path: Path, connection: apsw.Connection) -> None:
    add(connection, 1, 2)
    connection.close()
    again = open_database(path, schema="this is not even SQL", schema_version=3)
    assert numbers(again) == [1, 2]
    assert again.pragma("synchronous") == 2
    again.close()


def test_a_schema_that_fails_leaves_nothing_half_made(path: Path) -> None:
    with pytest.raises(apsw.SQLError):
        open_database(
            path, schema="CREATE TABLE entry (number); CREATE TABLE entry (number)", schema_version=1
        )
    made = open_database(path, schema=SCHEMA, schema_version=1)
    assert numbers(made) == []
    made.close()


@pytest.mark.parametrize(
    ("want", "advice"), [(2, "upgrade this program"), (4, "open it with the version that made it")]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_of_another_version_says_which(
    path: Path, connection: apsw.Connection, want: int, advice: str, read_only: bool
) -> None:
    with pytest.raises(
        DatabaseVersion, match=f"schema version is 3, this program knows {want}; {advice}"
    ) as caught:
        open_database(path, schema=SCHEMA, schema_version=want, read_only=read_only)
    assert (caught.value.got, caught.value.want, caught.value.path) == (3, want, str(path))


def test_a_database_for_another_purpose_is_refused(path: Path, connection: apsw.Connection) -> None:
    with pytest.raises(DatabaseForeign, match="application id is 0x43504365, not 0x1") as caught:
        open_database(path, schema=SCHEMA, schema_version=3, application_id=1)
    assert (caught.value.got, caught.value.want) == (APPLICATION_ID, 1)


def test_a_database_of_another_program_is_refused_and_not_changed(path: Path) -> None:
    theirs = apsw.Connection(str(path))
    theirs.execute("CREATE TABLE places (url)")
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseForeign, match="application id is 0x0"):
        open_database(path, schema=SCHEMA, schema_version=3)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["spool.db"]


def test_what_is_missing_or_no_file_is_named(path: Path) -> None:
    with pytest.raises(FileMissing):
        open_database(path, schema=SCHEMA, schema_version=3, read_only=True)
    with pytest.raises(FileMissing):
        open_database(path / "spool.db", schema=SCHEMA, schema_version=3)
    path.mkdir()
    with pytest.raises(DatabaseError, match=r"spool\.db: cannot be opened"):
        open_database(path, schema=SCHEMA, schema_version=3)


def test_a_disk_without_shared_memory_is_refused(path: Path) -> None:
    class NoSharedMemory(apsw.VFS):
        def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
            return apsw.VFSFile("unix-dotfile", name, flags)

    vfs = NoSharedMemory("no-shared-memory", base="unix-dotfile")
    try:
        with pytest.raises(DatabaseError, match="journal mode is delete, not wal; use a local disk"):
            open_database(path, schema=SCHEMA, schema_version=3, vfs="no-shared-memory")
    finally:
        vfs.unregister()


# ---------------------------------------------------------------- transaction


def test_a_transaction_is_kept_whole_or_not_at_all(connection: apsw.Connection) -> None:
    add(connection, 1)
    with pytest.raises(KeyError), transaction(connection):
        connection.execute("INSERT INTO entry VALUES (:missing, x'00')", {"number": 2})
    assert not connection.in_transaction
    with pytest.raises(apsw.ConstraintError):
        add(connection, 3, 1)
    assert numbers(connection) == [1]
    with pytest.raises(apsw.ConstraintError), transaction(connection):
        connection.execute("INSERT INTO mark VALUES (99)")


def test_a_reader_beside_a_live_writer_sees_whole_transactions_and_cannot_write(
    path: Path, connection: apsw.Connection
) -> None:
    reader = open_database(path, schema=SCHEMA, schema_version=3, read_only=True)
    with transaction(connection):
        connection.execute("INSERT INTO entry VALUES (1, x'00')")
        assert numbers(reader) == []
        connection.execute("INSERT INTO entry VALUES (2, x'00')")
    assert numbers(reader) == [1, 2]
    with pytest.raises(DatabaseError, match="readonly"):
        add(reader, 3)
    reader.close()


def test_a_reader_opens_what_a_writer_has_closed(path: Path, connection: apsw.Connection) -> None:
    add(connection, 1)
    connection.close()
    reader = open_database(path, schema=SCHEMA, schema_version=3, read_only=True)
    assert numbers(reader) == [1]
    reader.close()


def test_a_reader_opens_what_lies_where_nobody_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a stick that is mounted read-only: beside the database there can be no other file."""
    folder = tmp_path / "a?b#c%20d"
    folder.mkdir()
    path = folder / "store.db"
    made = open_database(path, schema=SCHEMA, schema_version=3)
    add(made, 1, 2)
    made.close()
    # Root may write wherever the disk lets it, so the disk's word is put in its mouth.
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    reader = open_database(path, schema=SCHEMA, schema_version=3, read_only=True)
    assert numbers(reader) == [1, 2]
    assert [file.name for file in folder.iterdir()] == ["store.db"]
    with pytest.raises(DatabaseError, match=r"store\.db"), transaction(reader):
        reader.execute("INSERT INTO entry VALUES (3, x'00')")
    reader.close()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseDamaged, match=r"a\?b#c%20d/store\.db"):
        open_database(path, schema=SCHEMA, schema_version=3, read_only=True)


def test_a_log_that_holds_something_is_read_also_where_nobody_can_write(
    path: Path, connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(connection, 1, 2)
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    reader = open_database(path, schema=SCHEMA, schema_version=3, read_only=True)
    assert numbers(reader) == [1, 2]
    reader.close()


def test_a_second_writer_waits_and_then_says_that_it_is_not_alone(
    path: Path, connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 1)
    other = open_database(path, schema=SCHEMA, schema_version=3)
    with transaction(connection):
        with pytest.raises(DatabaseBusy, match="held by another process"):
            add(other, 1)
        assert not other.in_transaction
    add(other, 1)
    assert numbers(connection) == [1]
    other.close()


# ----------------------------------------------------------------- disk full


def test_a_full_disk_undoes_the_transaction_and_the_next_one_works_when_there_is_space(
    path: Path,
) -> None:
    space = SpaceLeft(1 << 20)
    with CrashLog(path.parent) as log:
        made = open_database(path, schema=SCHEMA, schema_version=3, vfs=log.vfs, disk=log.disk)
        log.fault = space
        add(made, 1)
        # Enough for a part of it: some pages are written, and then no more.
        space.space_bytes = 20_000
        with pytest.raises(DiskFull, match=r"spool\.db: the disk is full") as caught:
            add(made, 2, 3, size=50_000)
        assert caught.value.errno == errno.ENOSPC
        assert space.space_bytes < 20_000
        assert not made.in_transaction
        assert numbers(made) == [1]
        with pytest.raises(DiskFull):
            add(made, 4, size=50_000)
        space.space_bytes = 1 << 20
        add(made, 5, size=50_000)
        assert numbers(made) == [1, 5]
        check_database(made)
        made.close()
        assert log.differences() == []


def test_a_full_disk_found_while_opening_is_said_as_such(path: Path) -> None:
    with CrashLog(path.parent) as log:
        log.fault = SpaceLeft(0)
        with pytest.raises(DiskFull):
            open_database(path, schema=SCHEMA, schema_version=3, vfs=log.vfs, disk=log.disk)

        def fault(operation: Operation) -> None:
            if isinstance(operation, Create) and operation.path.endswith("-wal"):
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        log.fault = fault
        with pytest.raises(DiskFull) as caught:
            open_database(path, schema=SCHEMA, schema_version=3, vfs=log.vfs, disk=log.disk)
        assert caught.value.errno == errno.EDQUOT
        assert caught.value.path == str(path)


@pytest.mark.parametrize("kind", [Write, Sync])
def test_a_dying_disk_undoes_the_transaction_and_says_where(path: Path, kind: type[Operation]) -> None:
    with CrashLog(path.parent) as log:
        made = open_database(path, schema=SCHEMA, schema_version=3, vfs=log.vfs, disk=log.disk)
        add(made, 1)

        def fault(operation: Operation) -> None:
            if isinstance(operation, kind):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        log.fault = fault
        with pytest.raises(
            DatabaseError, match=r"spool\.db: disk I/O error \(Input/output error\); check"
        ) as caught:
            add(made, 2)
        assert caught.value.errno == errno.EIO
        log.fault = None
        assert numbers(made) == [1]
        add(made, 3)
        assert numbers(made) == [1, 3]
        made.close()


def test_a_commit_is_not_called_failed_when_copying_the_log_back_is_what_failed(path: Path) -> None:
    with CrashLog(path.parent) as log:
        made = open_database(
            path, schema=SCHEMA, schema_version=3, vfs=log.vfs, disk=log.disk, checkpoint_pages=4
        )
        inode, failed = log.inode("spool.db"), []

        def fault(operation: Operation) -> None:
            if isinstance(operation, Write) and operation.inode == inode:
                failed.append(operation)
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        log.fault = fault
        add(made, 1, size=20_000)
        add(made, 2, size=20_000)
        assert len(failed) == 2
        log.fault = None
        size = path.stat().st_size
        add(made, 3)
        assert path.stat().st_size > size + 40_000
        assert numbers(made) == [1, 2, 3]
        made.close()


# -------------------------------------------------------------------- damage


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=2, max_size=300), has_header=st.booleans())
def test_a_file_of_any_bytes_gives_one_of_our_errors(
    tmp_path: Path, content: bytes, has_header: bool
) -> None:
    # Not of one byte: to SQLite that is an empty file (os_unix.c, unixFileSize).
    path = tmp_path / "any.db"
    path.write_bytes((b"SQLite format 3\0" if has_header else b"") + content)
    try:
        made = open_database(path, schema=SCHEMA, schema_version=1)
    except DiskError as error:
        assert error.path == str(path)  # noqa: PT017 -- which error it is depends on the bytes
    else:
        made.close()
        pytest.fail("opened")


def test_a_cut_file_is_damaged(path: Path, connection: apsw.Connection) -> None:
    add(connection, *range(50), size=1_000)
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatabaseDamaged, match=r"spool\.db: damaged: .*; move it away"):
        check_database(open_database(path, schema=SCHEMA, schema_version=3))


def test_a_flipped_byte_in_the_structure_is_found_on_reading_and_by_the_check(
    path: Path, connection: apsw.Connection
) -> None:
    add(connection, *range(50), size=1_000)
    check_database(connection)
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entry'").get
    connection.close()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4_096] ^= 0xFF
    path.write_bytes(content)
    again = open_database(path, schema=SCHEMA, schema_version=3)
    with pytest.raises(DatabaseDamaged, match="damaged"), database_errors(again):
        numbers(again)
    with pytest.raises(DatabaseDamaged, match="damaged") as caught:
        check_database(again)
    assert "\n" not in str(caught.value)
    again.close()
