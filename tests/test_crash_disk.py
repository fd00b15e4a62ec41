"""The power-cut disk finds what it must find, and does not cry wolf.

The facts it has to reproduce were measured on ext4 in a virtual machine that lost its power: SQLite in WAL
mode with synchronous=FULL lost nothing, NORMAL lost acknowledged commits, DELETE with FULL the last one at
most, and a rename was durable only after its directory was synced.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from gateway.database import DatabaseDamaged, check_database, open_database, transaction
from gateway.disk import Disk
from tests.crash_disk import CrashLog, Image
from tests.crash_model import Create, DiskState, Mark, Operation, Sync, Write

SCHEMA = "CREATE TABLE entry (number INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT"

# --------------------------------------------------------------------- SQLite


def content_of(number: int) -> bytes:
    """Long and short ones, so that some go to overflow pages; each can be told from every other."""
    return hashlib.shake_128(b"%d" % number).digest(number * 37 % 6_000)


def commit_entries(log: CrashLog, count: int, **pragmas: str) -> None:
    connection = open_entries(Path(log.root), log)
    for name, value in pragmas.items():
        connection.pragma(name, value)
    for number in range(count):
        log.mark("begun", number)
        with transaction(connection):
            connection.execute("INSERT INTO entry VALUES (?, ?)", (number, content_of(number)))
        log.mark("acknowledged", number)
    connection.close()
    assert log.differences() == []


def open_entries(directory: Path, log: CrashLog) -> apsw.Connection:
    return open_database(
        directory / "entries.db",
        schema=SCHEMA,
        schema_version=1,
        vfs=log.vfs,
        disk=log.disk,
        # Few, so that the log is copied back, and begun anew, many times.
        checkpoint_pages=30,
    )


def recover(log: CrashLog, image: Image) -> int:
    """How many acknowledged commits are missing.  All else that is wrong is an assertion here."""
    connection = open_entries(image.directory, log)
    try:
        check_database(connection)
        rows = list(connection.execute("SELECT number, content FROM entry ORDER BY number"))
    finally:
        connection.close()
    assert rows == [(number, content_of(number)) for number in range(len(rows))], image.story
    assert len(rows) <= len(image.payloads("begun")), image.story
    return max(0, len(image.payloads("acknowledged")) - len(rows))


def lost_at(log: CrashLog, points: list[int], directory: Path, seed: int = 1) -> list[int]:
    lost = []
    for point in points:
        image = log.image(point, seed, directory / "image")
        with CrashLog(image.directory) as recovery:
            lost.append(recover(recovery, image))
        shutil.rmtree(image.directory)
    return lost


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "real"
    made.mkdir()
    return made


def test_wal_with_full_loses_no_acknowledged_commit_at_any_point(root: Path, tmp_path: Path) -> None:
    with CrashLog(root) as log:
        commit_entries(log, 120)
        points = log.points()
        assert len(points) > 700
        lost = lost_at(log, points, tmp_path)
    assert {point: count for point, count in zip(points, lost, strict=True) if count} == {}


def test_every_commit_is_synced_before_it_is_acknowledged(root: Path) -> None:
    with CrashLog(root) as log:
        commit_entries(log, 40)
        wal = next(
            each.inode
            for each in log.operations
            if isinstance(each, Create) and each.path == "entries.db-wal"
        )
        unsynced, acknowledged = 0, 0
        for operation in log.operations:
            match operation:
                case Write(inode) if inode == wal:
                    unsynced += 1
                case Sync(inode) if inode == wal:
                    unsynced = 0
                case Mark("acknowledged"):
                    acknowledged += 1
                    assert unsynced == 0
        assert acknowledged == 40


def test_wal_with_normal_loses_acknowledged_commits_but_stays_whole(root: Path, tmp_path: Path) -> None:
    with CrashLog(root) as log:
        commit_entries(log, 100, synchronous="NORMAL")
        lost = lost_at(log, log.points(200), tmp_path)
    assert sum(count > 0 for count in lost) > 50
    assert max(lost) >= 5


@pytest.mark.parametrize(("synchronous", "lost_max"), [("FULL", 1), ("EXTRA", 0)])
def test_delete_mode_loses_at_most_the_last_commit_and_extra_not_even_that(
    root: Path, tmp_path: Path, synchronous: str, lost_max: int
) -> None:
    # FULL does not sync the directory once the journal is deleted, and a journal that is back rolls back.
    with CrashLog(root) as log:
        commit_entries(log, 50, journal_mode="DELETE", synchronous=synchronous)
        lost = lost_at(log, log.points(300), tmp_path)
    assert max(lost) == lost_max


def test_without_any_sync_the_database_is_damaged(root: Path, tmp_path: Path) -> None:
    damaged = 0
    with CrashLog(root) as log:
        commit_entries(log, 50, synchronous="OFF")
        for point in log.points(60):
            try:
                lost_at(log, [point], tmp_path / f"{point}")
            except (DatabaseDamaged, AssertionError):
                damaged += 1
    assert damaged > 10


def test_a_log_that_is_there_in_part_is_recovered_up_to_its_last_whole_commit(
    root: Path, tmp_path: Path
) -> None:
    partial = 0
    with CrashLog(root) as log:
        commit_entries(log, 30)
        for point in log.points():
            whole = log.image(point, None, tmp_path / "whole")
            image = log.image(point, 7, tmp_path / "cut")
            wal = [each.directory / "entries.db-wal" for each in (whole, image)]
            if all(each.exists() for each in wal) and wal[0].read_bytes() != wal[1].read_bytes():
                partial += 1
                with CrashLog(image.directory) as recovery:
                    assert recover(recovery, image) == 0, image.story
            shutil.rmtree(whole.directory)
            shutil.rmtree(image.directory)
    assert partial > 50


def test_a_recovery_that_is_cut_as_well_loses_nothing(root: Path, tmp_path: Path) -> None:
    cuts = 0
    with CrashLog(root) as log:
        commit_entries(log, 40)
        for point in log.points(40, seed=2):
            first = log.image(point, 3, tmp_path / "first")
            with CrashLog(first.directory) as recovery:
                assert recover(recovery, first) == 0, first.story
                for again in recovery.points(8):
                    second = recovery.image(again, 4, tmp_path / "second")
                    second = Image(second.directory, first.marks, f"{first.story}; then {second.story}")
                    with CrashLog(second.directory) as last:
                        assert recover(last, second) == 0, second.story
                    shutil.rmtree(second.directory)
                    cuts += 1
            shutil.rmtree(first.directory)
    assert cuts > 200


# ---------------------------------------------------------------- plain files

Writer = Callable[[CrashLog, str, bytes], None]


def write_atomic(log: CrashLog, path: str, data: bytes) -> None:
    log.disk.write_file_atomic(path, data)


def write_without_directory_sync(log: CrashLog, path: str, data: bytes) -> None:
    part = path + ".part"
    _write(log, part, data, is_synced=True)
    log.syscalls.rename(part, path)


def write_without_sync(log: CrashLog, path: str, data: bytes) -> None:
    part = path + ".part"
    _write(log, part, data, is_synced=False)
    log.syscalls.rename(part, path)
    log.disk.sync_directory(os.path.dirname(path))


def write_in_place(log: CrashLog, path: str, data: bytes) -> None:
    _write(log, path, data, is_synced=True)
    log.disk.sync_directory(os.path.dirname(path))


def _write(log: CrashLog, path: str, data: bytes, is_synced: bool) -> None:
    descriptor = log.syscalls.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    log.syscalls.write(descriptor, memoryview(data))
    if is_synced:
        log.syscalls.fsync(descriptor)
    log.syscalls.close(descriptor)


def version(number: int) -> bytes:
    return b"%d " % number * (1_500 - 100 * number)


def faults_of(writer: Writer, root: Path, tmp_path: Path) -> dict[str, int]:
    """What power cuts do to one file that is written five times and then deleted."""
    faults = {"cut": 0, "lost": 0, "torn": 0, "back": 0}
    path = os.path.join(root, "key")
    with CrashLog(root) as log:
        for number in range(5):
            log.mark("begun", number)
            writer(log, path, version(number))
            log.mark("acknowledged", number)
        log.mark("deleting")
        log.disk.delete_file(path)
        log.mark("deleted")
        assert log.differences() == []
        for seed in range(20):
            for point in log.points():
                image = log.image(point, seed, tmp_path / "image")
                begun, acknowledged = image.payloads("begun"), image.payloads("acknowledged")
                faults["cut"] += 1
                if "key" not in Disk().names(image.directory):
                    faults["lost"] += bool(acknowledged) and not image.payloads("deleting")
                else:
                    found = Disk().read_file(image.directory / "key", 10_000)
                    allowed = range(len(acknowledged) - 1, len(begun))
                    faults["back"] += bool(image.payloads("deleted"))
                    if found not in [version(number) for number in range(5)]:
                        faults["torn"] += 1
                    elif found not in [version(number) for number in allowed if number >= 0]:
                        faults["lost"] += 1
                shutil.rmtree(image.directory)
    return faults


def test_a_file_written_atomically_is_never_lost_or_torn_and_a_deleted_one_never_back(
    root: Path, tmp_path: Path
) -> None:
    faults = faults_of(write_atomic, root, tmp_path)
    assert faults.pop("cut") > 500
    assert faults == {"lost": 0, "torn": 0, "back": 0}


def test_a_rename_without_a_sync_of_the_directory_loses_the_file(root: Path, tmp_path: Path) -> None:
    faults = faults_of(write_without_directory_sync, root, tmp_path)
    assert faults["lost"] > 20
    assert faults["torn"] == 0


def test_a_rename_without_a_sync_of_the_file_tears_it(root: Path, tmp_path: Path) -> None:
    assert faults_of(write_without_sync, root, tmp_path)["torn"] > 20


def test_a_file_written_in_place_is_torn_or_lost_until_it_is_synced(root: Path, tmp_path: Path) -> None:
    faults = faults_of(write_in_place, root, tmp_path)
    assert faults["torn"] > 20


def test_new_directories_are_kept_with_what_is_in_them(root: Path, tmp_path: Path) -> None:
    with CrashLog(root) as log:
        log.disk.make_directory(root / "a" / "b")
        log.mark("made")
        log.disk.write_file_atomic(root / "a" / "b" / "key", b"x")
        log.mark("written")
        for seed in range(10):
            for point in log.points():
                image = log.image(point, seed, tmp_path / f"{seed}-{point}")
                assert (image.directory / "a" / "b").is_dir() or not image.payloads("made"), image.story
                assert (image.directory / "a/b/key").is_file() or not image.payloads("written"), image.story


# -------------------------------------------------------------------- the log


def test_the_same_seed_gives_the_same_image_in_any_order_of_points(root: Path, tmp_path: Path) -> None:
    with CrashLog(root) as log:
        commit_entries(log, 15)
        points = log.points(25)

        def images(order: list[int], seed: int) -> dict[int, dict[str, bytes]]:
            found = {}
            for point in order:
                image = log.image(point, seed, tmp_path / "image")
                found[point] = {each.name: each.read_bytes() for each in image.directory.iterdir()}
                shutil.rmtree(image.directory)
            return found

        forward = images(points, 1)
        assert images(points[::-1], 1) == forward
        assert images(points, 2) != forward


def test_the_log_moves_forward_once_for_all_points(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = 0
    apply = DiskState.apply

    def counting(self: DiskState, operation: Operation) -> None:
        nonlocal applied
        applied += 1
        apply(self, operation)

    with CrashLog(root) as log:
        commit_entries(log, 15)
        monkeypatch.setattr(DiskState, "apply", counting)
        for point in log.points():
            shutil.rmtree(log.image(point, 1, tmp_path / "image").directory)
        assert applied == len(log.operations)


def test_the_death_of_the_process_alone_loses_nothing(root: Path, tmp_path: Path) -> None:
    with CrashLog(root) as log:
        commit_entries(log, 10)
        log.syscalls.write(log.syscalls.open(str(root / "x"), os.O_WRONLY | os.O_CREAT), memoryview(b"1"))
        image = log.image(len(log.operations), None, tmp_path / "image")
    left, real = ({each.name: each.read_bytes() for each in d.iterdir()} for d in (image.directory, root))
    assert left == real
    assert real["x"] == b"1"


def test_a_log_tells_its_operations_in_words(root: Path) -> None:
    with CrashLog(root) as log:
        log.disk.make_directory(root / "d")
        log.disk.write_file_atomic(root / "d" / "key", b"secret")
        log.mark("acknowledged", 1)
        log.disk.delete_file(root / "d" / "key")
        descriptor = log.syscalls.open(str(root / "x"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for data in (b"one", b"two"):
            log.syscalls.write(descriptor, memoryview(data))
        log.syscalls.close(log.syscalls.open(str(root / "x"), os.O_WRONLY | os.O_TRUNC))
        told = [log.describe(index) for index in range(len(log.operations) + 1)]
    assert told == [
        "create of d",
        "syncdirectory of .",
        "create of d/.0.part",
        "write of 6 bytes at 0 of d/.0.part",
        "sync of d/.0.part",
        "rename of d/.0.part to d/key",
        "syncdirectory of d",
        "mark acknowledged",
        "delete of d/key",
        "syncdirectory of d",
        "create of x",
        "write of 3 bytes at 0 of x",
        "write of 3 bytes at 3 of x",
        "truncate to 0 bytes of x",
        "nothing more",
    ]
    assert log.points() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]
    assert log.points(3) == sorted(log.points(3))


def test_what_the_log_would_miss_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "before").write_bytes(b"1")
    with CrashLog(root) as log:
        (root / "behind").write_bytes(b"2")
        assert log.differences() == ["behind"]
        with pytest.raises(ValueError, match="made behind the log's back"):
            log.syscalls.open(str(root / "behind"), os.O_WRONLY)
        log.syscalls.close(log.syscalls.open(str(root / "before"), os.O_WRONLY))
        with pytest.raises(ValueError, match="is not below"):
            log.disk.write_file_atomic(tmp_path / "outside", b"3")
        (tmp_path / "image").mkdir()
        (tmp_path / "image" / "old").touch()
        with pytest.raises(FileExistsError):
            log.image(0, 1, tmp_path / "image")
