"""A disk whose power is cut: record one run of the real code, then crash it at every point.

Runs on CPython, on Linux. The code under test works on real files below one directory, through
`CrashLog.disk` (plain files) and `CrashLog.vfs` (SQLite), which append every operation to one ordered log.
The test adds marks: "this is acknowledged now". `image` then writes what the disk may hold when power fails
just before any operation of the log (tests/crash_model.py says what that is), and the test lets the real
code recover from it. A `CrashLog` on an image records the recovery in turn, to be cut as well. Nothing is
really synced, so a run costs no disk time.

    with CrashLog(root) as log:
        connection = open_database(root / "db", schema=..., schema_version=1, vfs=log.vfs, disk=log.disk)
        ...                                       # work; log.mark("acknowledged", payload); close
        for point in log.points(500):             # ascending: the state only moves forward
            image = log.image(point, seed=1, directory=tmp_path / f"{point}")
            ...                                   # recover from image.directory; compare with image.marks

What SQLite's own VFS does below the calls that we see is imitated: it syncs the directory at the first sync
of a -wal or -journal file, and after a delete when told to. Source:
https://sqlite.org/src/file/src/os_unix.c, unixSync and unixDelete; strace shows the same. Renamed
directories and memory-mapped writes cannot be recorded.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import apsw

from gateway.disk import Disk, Syscalls
from tests.crash_model import (
    DIRECTORY,
    Create,
    Delete,
    DiskState,
    Mark,
    Operation,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Write,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

_VFS_NUMBER = itertools.count()
_HAS_DIRECTORY_SYNC = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL


@dataclass(frozen=True, slots=True)
class Image:
    """What one power cut left."""

    directory: Path
    """Where the files lie."""
    marks: tuple[Mark, ...]
    """The marks set before the cut."""
    story: str
    """Says how to make this image again, for the message of a failing test."""

    def payloads(self, name: str) -> list[object]:
        """What the marks of this name carry, in order."""
        return [mark.payload for mark in self.marks if mark.name == name]


class CrashLog:
    """All that happened to the files below `root`, in order; what is there at first counts as synced."""

    def __init__(self, root: str | os.PathLike[str], *, fsync_persists_name: bool = True) -> None:
        self.root = os.path.realpath(root)
        self.operations: list[Operation] = []
        self.fault: Callable[[Operation], None] | None = None
        """Called before each operation; an OSError that it raises is what the disk answers (ENOSPC, EIO).

        APSW passes it on even where SQLite takes an error for harmless: as a connection is closed, for one.
        """
        self._lock = threading.RLock()
        self._fsync_persists_name = fsync_persists_name
        self._start = _read_tree(self.root)
        self._first_names = list(self._start)
        self._inodes = {
            path: DIRECTORY if content is None else inode
            for inode, (path, content) in enumerate(self._start.items())
        }
        self._state = self._first_state()
        self._state_at = 0
        self._state_marks: list[Mark] = []
        self._vfs = _RecordingVfs(self, f"crash-disk-{next(_VFS_NUMBER)}")
        self.vfs = self._vfs.name
        """The name of the SQLite VFS that records."""
        self.syscalls: Syscalls = _RecordingSyscalls(self)
        """The kernel that records, for a Disk of the test's own."""
        self.disk = Disk(self.syscalls)
        """The plain files that are recorded."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._vfs.unregister()

    # ----------------------------------------------------------------- record

    def mark(self, name: str, payload: object = None) -> None:
        """Note in the log that the code under test has come this far."""
        with self._lock:
            self.operations.append(Mark(name, payload))

    @contextlib.contextmanager
    def recording(self, operation: Operation) -> Iterator[None]:
        """Around one thing done to the real files: logs it, in the order in which they happen."""
        with self._lock:
            if self.fault is not None:
                self.fault(operation)
            yield
            self.operations.append(operation)
            match operation:
                case Create(inode, path):
                    self._inodes[path] = inode
                case Delete(path):
                    del self._inodes[path]
                case Rename(inode, old, new):
                    del self._inodes[old]
                    self._inodes[new] = inode

    def relative(self, path: str | os.PathLike[str]) -> str | None:
        """The path as the log has it: "" is the root, None is anything outside."""
        directory, name = os.path.split(os.path.abspath(path))
        relative = os.path.relpath(os.path.join(os.path.realpath(directory), name), self.root)
        if relative.split(os.sep)[0] == os.pardir:
            return None
        return "" if relative == os.curdir else relative

    def below_root(self, path: str | os.PathLike[str]) -> str:
        """The path as the log has it.  ValueError when nothing there is recorded."""
        relative = self.relative(path)
        if not relative:
            raise ValueError(f"{os.fspath(path)} is not below {self.root}, so the log would miss it")
        return relative

    def inode(self, path: str) -> int | None:
        """The inode that has this name now."""
        return self._inodes.get(path)

    def new_inode(self, path: str) -> int:
        """A number for a file that is about to be made."""
        self._first_names.append(path)
        return len(self._first_names) - 1

    # ------------------------------------------------------------------ crash

    def points(self, count: int | None = None, seed: int = 0) -> list[int]:
        """Where to cut: before each operation and at the end, or `count` of these, ascending.

        Not before a mark: the disk is the same just after it, where more is promised.
        """
        every = [
            index for index, operation in enumerate(self.operations) if not isinstance(operation, Mark)
        ] + [len(self.operations)]
        if count is None or count >= len(every):
            return every
        return sorted(random.Random(seed).sample(every, count))

    def image(self, at_op: int, seed: int | None, directory: str | os.PathLike[str]) -> Image:
        """Write into `directory`, new or empty, what a cut just before operation `at_op` may leave.

        The same log, point and seed give the same bytes.  seed None: nothing is lost, which is what the death
        of the process alone leaves.  Points are best asked for in ascending order.
        """
        if at_op < self._state_at:
            self._state, self._state_at, self._state_marks = self._first_state(), 0, []
        for operation in itertools.islice(self.operations, self._state_at, at_op):
            self._state.apply(operation)
            if isinstance(operation, Mark):
                self._state_marks.append(operation)
        self._state_at = at_op
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise FileExistsError(f"{target} is not empty")
        rng = None if seed is None else random.Random(f"{seed}/{at_op}")
        for path, content in self._state.crashed(rng).items():
            if content is None:
                (target / path).mkdir()
            else:
                (target / path).write_bytes(content)
        story = f"power cut with seed {seed} at {at_op}, before {self.describe(at_op)}"
        return Image(target, tuple(self._state_marks), story)

    def describe(self, at_op: int) -> str:
        """One operation in words."""
        if at_op == len(self.operations):
            return "nothing more"
        operation = self.operations[at_op]
        text = type(operation).__name__.lower()
        match operation:
            case Write(inode, offset, data):
                return f"{text} of {len(data)} bytes at {offset} of {self._first_names[inode]}"
            case Truncate(inode, size):
                return f"{text} to {size} bytes of {self._first_names[inode]}"
            case Sync(inode):
                return f"{text} of {self._first_names[inode]}"
            case Rename(_, old, new):
                return f"{text} of {old} to {new}"
            case Mark(name, _):
                return f"{text} {name}"
            case Create(_, path) | Delete(path) | SyncDirectory(path):
                return f"{text} of {path or '.'}"

    def differences(self) -> list[str]:
        """Where the log and the real files disagree now; anything here is a hole in the recording."""
        state = self._first_state()
        for operation in self.operations:
            state.apply(operation)
        logged, real = state.crashed(None), _read_tree(self.root)
        return sorted(
            path for path in logged.keys() | real.keys() if logged.get(path, 0) != real.get(path, 0)
        )

    def _first_state(self) -> DiskState:
        return DiskState(self._start, self._fsync_persists_name)


def _read_tree(root: str) -> dict[str, bytes | None]:
    """Path -> content (None for a directory) of all that can be recorded, parents first."""
    tree: dict[str, bytes | None] = {}
    for directory, subdirectories, files in os.walk(root):
        inside = os.path.relpath(directory, root)
        for name in subdirectories:
            tree[os.path.normpath(os.path.join(inside, name))] = None
        for name in files:
            if not name.endswith("-shm"):
                tree[os.path.normpath(os.path.join(inside, name))] = Path(directory, name).read_bytes()
    return dict(sorted(tree.items()))


class SpaceLeft:
    """A fault: the disk takes `space_bytes` more bytes, rewritten ones counted as well, and is full then."""

    def __init__(self, space_bytes: int) -> None:
        self.space_bytes = space_bytes

    def __call__(self, operation: Operation) -> None:
        needed_bytes = len(operation.data) if isinstance(operation, Write) else isinstance(operation, Create)
        if needed_bytes > self.space_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if isinstance(operation, Write):
            self.space_bytes -= needed_bytes


class _RecordingSyscalls(Syscalls):
    """The kernel of `gateway.disk`, with a log; nothing is really synced."""

    def __init__(self, log: CrashLog) -> None:
        self._log = log
        self._files: dict[int, int] = {}
        self._directories: dict[int, str | None] = {}

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_DIRECTORY:
            descriptor = super().open(path, flags, mode)
            self._directories[descriptor] = self._log.relative(path)
            return descriptor
        relative = self._log.below_root(path)
        inode = self._log.inode(relative)
        if inode is None and flags & os.O_CREAT:
            inode = self._log.new_inode(relative)
            with self._log.recording(Create(inode, relative)):
                descriptor = super().open(path, flags, mode)
        elif inode is not None and flags & os.O_TRUNC:
            with self._log.recording(Truncate(inode, 0)):
                descriptor = super().open(path, flags, mode)
        else:
            descriptor = super().open(path, flags, mode)
        if inode is None:
            raise ValueError(f"{path} was made behind the log's back")
        self._files[descriptor] = inode
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
            offset = os.fstat(descriptor).st_size
        else:
            offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        with self._log.recording(Write(self._files[descriptor], offset, bytes(data))):
            rest = data
            while rest:
                rest = rest[super().write(descriptor, rest) :]
        return len(data)

    def fsync(self, descriptor: int) -> None:
        if descriptor in self._files:
            with self._log.recording(Sync(self._files[descriptor])):
                pass
        else:
            directory = self._directories[descriptor]
            if directory is not None:
                with self._log.recording(SyncDirectory(directory)):
                    pass

    def close(self, descriptor: int) -> None:
        self._files.pop(descriptor, None)
        self._directories.pop(descriptor, None)
        super().close(descriptor)

    def rename(self, old: str, new: str) -> None:
        relative = self._log.below_root(old)
        inode = self._log.inode(relative)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        with self._log.recording(Rename(inode, relative, self._log.below_root(new))):
            super().rename(old, new)

    def unlink(self, path: str) -> None:
        with self._log.recording(Delete(self._log.below_root(path))):
            super().unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        with self._log.recording(Create(DIRECTORY, self._log.below_root(path))):
            super().mkdir(path, mode)


class _RecordingVfs(apsw.VFS):
    """SQLite's own way to its files, with a log; nothing is really synced.  Shared memory is not recorded."""

    def __init__(self, log: CrashLog, name: str) -> None:
        super().__init__(name, base="")
        self.name = name
        self._log = log
        self.errno = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or flags[0] & apsw.SQLITE_OPEN_DELETEONCLOSE:
            return apsw.VFSFile("", name, flags)
        return _RecordingFile(self, self._log, name, path, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        relative = self._log.below_root(filename)
        with self.sqlite_errors(apsw.SQLITE_IOERR_DELETE), self._log.recording(Delete(relative)):
            super().xDelete(filename, False)
        if syncdir:
            self.sync_directory(relative)

    def xGetLastError(self) -> tuple[int, str | None]:
        return (self.errno, os.strerror(self.errno)) if self.errno else super().xGetLastError()

    def sync_directory(self, path: str) -> None:
        """Sync the directory that this is in."""
        with (
            self.sqlite_errors(apsw.SQLITE_IOERR_DIR_FSYNC),
            self._log.recording(SyncDirectory(os.path.dirname(path))),
        ):
            pass

    @contextlib.contextmanager
    def sqlite_errors(self, code: int) -> Iterator[None]:
        """Say in SQLite's words what a fault said in the kernel's."""
        try:
            yield
        except OSError as error:
            self.errno = error.errno or 0
            is_full = error.errno == errno.ENOSPC and code == apsw.SQLITE_IOERR_WRITE
            said = apsw.exception_for(apsw.SQLITE_FULL if is_full else code)
            said.args = ("database or disk is full" if is_full else "disk I/O error",)
            raise said from error


class _RecordingFile(apsw.VFSFile):
    def __init__(
        self,
        vfs: _RecordingVfs,
        log: CrashLog,
        name: str | apsw.URIFilename | None,
        path: str,
        flags: list[int],
    ) -> None:
        self._vfs = vfs
        self._log = log
        self._path = log.below_root(path)
        inode = log.inode(self._path)
        if inode is None:
            inode = log.new_inode(self._path)
            with vfs.sqlite_errors(apsw.SQLITE_CANTOPEN), log.recording(Create(inode, self._path)):
                super().__init__("", name, flags)
        else:
            super().__init__("", name, flags)
        self._inode = inode
        self._must_sync_directory = bool(
            flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _HAS_DIRECTORY_SYNC
        )

    def xWrite(self, data: Buffer, offset: int) -> None:
        content = bytes(data)
        with (
            self._vfs.sqlite_errors(apsw.SQLITE_IOERR_WRITE),
            self._log.recording(Write(self._inode, offset, content)),
        ):
            super().xWrite(content, offset)

    def xTruncate(self, newsize: int) -> None:
        with (
            self._vfs.sqlite_errors(apsw.SQLITE_IOERR_TRUNCATE),
            self._log.recording(Truncate(self._inode, newsize)),
        ):
            super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        with self._vfs.sqlite_errors(apsw.SQLITE_IOERR_FSYNC), self._log.recording(Sync(self._inode)):
            pass
        if self._must_sync_directory:
            self._must_sync_directory = False
            self._vfs.sync_directory(self._path)
