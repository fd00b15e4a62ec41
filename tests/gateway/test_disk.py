"""What gateway/disk.py promises, seen from the calls that it makes and from the files that are left."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.disk import Disk, DiskError, DiskFull, FileMissing, FileTooLarge, Syscalls


class Kernel(Syscalls):
    """Tells what it was asked to do, takes few bytes at a time, and fails when it is told to."""

    def __init__(self, fail_at: int = -1, error: int = errno.EIO, bytes_max: int = 1 << 20) -> None:
        self.story: list[str] = []
        self.fail_at = fail_at
        self.error = error
        self.bytes_max = bytes_max
        self.names: dict[int, str] = {}

    def tell(self, what: str) -> None:
        self.story.append(what)
        if len(self.story) - 1 == self.fail_at:
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self.tell(("make " if flags & os.O_CREAT else "open ") + os.path.basename(path))
        descriptor = super().open(path, flags, mode)
        self.names[descriptor] = os.path.basename(path)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        self.tell(f"write {self.names[descriptor]}")
        return super().write(descriptor, data[: self.bytes_max])

    def fsync(self, descriptor: int) -> None:
        self.tell(f"sync {self.names[descriptor]}")
        super().fsync(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self.tell(f"close {self.names[descriptor]}")

    def rename(self, old: str, new: str) -> None:
        self.tell(f"rename {os.path.basename(old)} {os.path.basename(new)}")
        super().rename(old, new)

    def unlink(self, path: str) -> None:
        self.tell(f"delete {os.path.basename(path)}")
        super().unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        self.tell(f"mkdir {os.path.basename(path)}")
        super().mkdir(path, mode)


WRITE_STORY = """
make .0.part
write .0.part
sync .0.part
close .0.part
rename .0.part key
open d
sync d
close d
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "d"
    made.mkdir()
    return made


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---------------------------------------------------------------------- write


def test_a_file_is_synced_before_its_rename_and_its_directory_after(directory: Path) -> None:
    kernel = Kernel()
    Disk(kernel).write_file_atomic(directory / "key", b"secret")
    assert kernel.story == WRITE_STORY.split("\n")[1:-1]
    assert (directory / "key").read_bytes() == b"secret"
    assert mode_of(directory / "key") == 0o600


def test_a_replaced_file_takes_the_new_permissions(directory: Path) -> None:
    disk = Disk()
    disk.write_file_atomic(directory / "key", b"old", mode=0o644)
    assert mode_of(directory / "key") == 0o644 & ~_umask()
    disk.write_file_atomic(directory / "key", b"new")
    assert mode_of(directory / "key") == 0o600
    assert disk.read_file(directory / "key", 3) == b"new"
    assert os.listdir(directory) == ["key"]


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=5_000), bytes_max=st.integers(1, 3_000))
def test_a_kernel_that_takes_few_bytes_at_a_time_gets_them_all(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, bytes_max: int
) -> None:
    path = tmp_path_factory.mktemp("short") / "chunk"
    kernel = Kernel(bytes_max=bytes_max)
    Disk(kernel).write_file_atomic(path, data)
    assert path.read_bytes() == data
    assert kernel.story.count("write .0.part") == -(-len(data) // bytes_max)


@pytest.mark.parametrize("fail_at", range(5))
def test_a_write_that_fails_leaves_the_old_content_and_no_litter(directory: Path, fail_at: int) -> None:
    (directory / "key").write_bytes(b"old")
    with pytest.raises(DiskError, match=r"d/key: Input/output error; the disk may be dying") as caught:
        Disk(Kernel(fail_at)).write_file_atomic(directory / "key", b"new")
    assert caught.value.errno == errno.EIO
    assert caught.value.path == str(directory / "key")
    assert isinstance(caught.value.__cause__, OSError)
    assert (directory / "key").read_bytes() == b"old"
    assert os.listdir(directory) == ["key"]


def test_a_directory_that_cannot_be_synced_is_an_error_though_the_new_content_shows(directory: Path) -> None:
    (directory / "key").write_bytes(b"old")
    with pytest.raises(DiskError):
        Disk(Kernel(fail_at=6)).write_file_atomic(directory / "key", b"new")
    assert (directory / "key").read_bytes() == b"new"
    assert os.listdir(directory) == ["key"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_said_as_such(directory: Path, error: int) -> None:
    with pytest.raises(DiskFull, match=r"key: the disk is full; free some space") as caught:
        Disk(Kernel(1, error)).write_file_atomic(directory / "key", b"new")
    assert caught.value.errno == error
    assert os.listdir(directory) == []


def test_the_part_of_another_writer_is_not_touched(directory: Path) -> None:
    (directory / ".0.part").write_bytes(b"somebody is still writing this")
    Disk().write_file_atomic(directory / "key", b"new")
    assert (directory / ".0.part").read_bytes() == b"somebody is still writing this"
    assert (directory / "key").read_bytes() == b"new"


def test_litter_of_a_power_cut_is_not_shown_and_can_be_removed(directory: Path) -> None:
    disk = Disk()
    for name in (".0.part", ".7.part", "b", "a"):
        (directory / name).touch()
    assert disk.names(directory) == ["a", "b"]
    assert disk.delete_parts(directory) == 2
    assert sorted(os.listdir(directory)) == ["a", "b"]
    assert disk.delete_parts(directory) == 0


@pytest.mark.parametrize(
    ("error", "advice"),
    [(errno.EROFS, "read-only: it may be dying"), (errno.EACCES, "permissions"), (errno.ENOTDIR, "the path")],
)
def test_each_failure_says_what_to_do(directory: Path, error: int, advice: str) -> None:
    with pytest.raises(DiskError, match=advice):
        Disk(Kernel(0, error)).write_file_atomic(directory / "key", b"new")


def test_a_name_without_a_directory_is_in_the_current_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    Disk().write_file_atomic("key", b"new")
    assert Disk().read_file("key", 10) == b"new"
    Disk().delete_file("key")
    assert os.listdir() == []


# --------------------------------------------------------- create and delete


def test_an_empty_file_is_made_once_and_synced_both_times(directory: Path) -> None:
    kernel = Kernel()
    assert Disk(kernel).create_file(directory / "db") is True
    assert kernel.story == ["make db", "sync db", "close db", "open d", "sync d", "close d"]
    assert mode_of(directory / "db") == 0o600
    (directory / "db").write_bytes(b"content")
    kernel = Kernel()
    assert Disk(kernel).create_file(directory / "db") is False
    # Whoever made it may have died before this.
    assert kernel.story == ["make db", "open d", "sync d", "close d"]
    assert (directory / "db").read_bytes() == b"content"


def test_files_of_one_directory_are_deleted_with_one_sync(directory: Path) -> None:
    for name in "abc":
        (directory / name).touch()
    kernel = Kernel()
    Disk(kernel).delete_files(directory / name for name in "ab")
    assert kernel.story == ["delete a", "delete b", "open d", "sync d", "close d"]
    assert os.listdir(directory) == ["c"]


def test_deleting_what_is_gone_makes_its_absence_durable(directory: Path) -> None:
    kernel = Kernel()
    Disk(kernel).delete_file(directory / "gone")
    assert kernel.story == ["delete gone", "open d", "sync d", "close d"]


def test_a_directory_is_not_deleted_as_a_file(directory: Path) -> None:
    (directory / "inner").mkdir()
    with pytest.raises(DiskError):
        Disk().delete_file(directory / "inner")
    assert os.listdir(directory) == ["inner"]


def test_directories_are_made_from_the_top_each_with_a_sync_of_its_parent(directory: Path) -> None:
    kernel = Kernel()
    Disk(kernel).make_directory(directory / "a" / "b")
    assert kernel.story == [
        *("open " + directory.parent.name, "sync " + directory.parent.name, "close " + directory.parent.name),
        *("mkdir a", "open d", "sync d", "close d"),
        *("mkdir b", "open a", "sync a", "close a"),
    ]
    assert mode_of(directory / "a") == mode_of(directory / "a" / "b") == 0o700


def test_a_directory_that_is_there_keeps_its_permissions_and_is_synced(directory: Path) -> None:
    (directory / "a").mkdir(0o750)
    kernel = Kernel()
    Disk(kernel).make_directory(directory / "a")
    assert kernel.story == ["open d", "sync d", "close d"]
    assert mode_of(directory / "a") == 0o750 & ~_umask()


def test_a_directory_closed_to_us_does_not_hinder_what_is_made_below(directory: Path) -> None:
    (directory / "a").mkdir()
    kernel = Kernel(0, errno.EACCES)
    Disk(kernel).make_directory(directory / "a" / "b")
    assert kernel.story == ["open d", "mkdir b", "open a", "sync a", "close a"]


@pytest.mark.parametrize("inside", ["file", "file/inner", "dangling"])
def test_a_file_in_the_way_of_a_directory_is_named(directory: Path, inside: str) -> None:
    (directory / "file").touch()
    (directory / "dangling").symlink_to(directory / "nowhere")
    with pytest.raises(DiskError, match=r"is not a directory; move it away") as caught:
        Disk().make_directory(directory / inside)
    assert caught.value.path == str(directory / inside.split("/")[0])


# ----------------------------------------------------------------------- read


@pytest.mark.parametrize("size", [0, 1, 4_096, (1 << 20) + 1])
def test_a_file_is_read_whole_up_to_the_size_that_is_allowed(directory: Path, size: int) -> None:
    content = os.urandom(size)
    (directory / "chunk").write_bytes(content)
    assert Disk().read_file(directory / "chunk", size) == content
    assert Disk().read_file(directory / "chunk", size + 1) == content


def test_a_file_that_is_too_large_is_not_read(directory: Path) -> None:
    (directory / "chunk").write_bytes(b"12345")
    with pytest.raises(FileTooLarge, match=r"chunk: longer than 4 bytes") as caught:
        Disk().read_file(directory / "chunk", 4)
    assert caught.value.size_max == 4


def test_what_is_missing_is_said_as_such(directory: Path) -> None:
    disk = Disk()
    for ask in (
        lambda path: disk.read_file(path, 10),
        disk.names,
        disk.free_bytes,
        disk.sync_directory,
        lambda path: disk.write_file_atomic(path / "inner", b""),
    ):
        with pytest.raises(FileMissing, match="no such file or directory; check the path"):
            ask(directory / "gone")


def test_what_is_no_file_is_not_read_and_does_not_hold_us_up(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    for path in (directory, directory / "pipe"):
        with pytest.raises(DiskError, match="is not a file"):
            Disk().read_file(path, 10)


def test_free_space_is_what_others_than_root_may_use(directory: Path) -> None:
    status = os.statvfs(directory)
    free_bytes = Disk().free_bytes(directory)
    assert 0 < free_bytes <= status.f_blocks * status.f_frsize
    # Others write to this disk too, so not exactly.
    assert abs(free_bytes - status.f_bavail * status.f_frsize) < 1 << 30
