"""The few file operations that must survive a power cut, done right once.

Runs on CPython, on Linux.  When a method of `Disk` that changes something returns, the change is durable: the
data and the name of a file are synced separately, because they are lost separately.  Raises only the errors
below; the reason of the kernel is their `__cause__`.

    DiskError            the disk did not do it; names the path and says what to do
    |- DiskFull          no space, no inode or no quota left; nothing that was there before is lost
    |- FileMissing       nothing of this name
    `- FileTooLarge      longer than the caller is willing to hold in memory

Source: fsync(2) ("does not necessarily ensure that the entry in the directory containing the file has also
reached disk"), rename(2); T. S. Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, table 3.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

PART_SUFFIX = ".part"
"""Ends the name of a file that was not finished; such a file never holds the only copy of anything."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_BYTES = 1 << 20


class DiskError(Exception):
    """The disk did not do what was asked.  What was durable before is still durable."""

    path: str
    """The file or directory it happened to."""
    errno: int | None
    """The kernel's reason, None where it gave none."""

    def __init__(
        self, path: str | os.PathLike[str], problem: str, advice: str, errno: int | None = None
    ) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}; {advice}")
        self.path = os.fspath(path)
        self.errno = errno


class DiskFull(DiskError):
    """No space, no inode or no quota is left.  What was written before is intact, and stays readable."""

    def __init__(self, path: str | os.PathLike[str], errno: int | None = None) -> None:
        super().__init__(path, "the disk is full", "free some space, or give it a larger disk", errno)


class FileMissing(DiskError):
    """Nothing of this name is there."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "no such file or directory", "check the path", errno.ENOENT)


class FileTooLarge(DiskError):
    """The file is longer than the caller is willing to hold in memory."""

    size_max: int
    """The bytes the caller would have taken."""

    def __init__(self, path: str | os.PathLike[str], size_max: int) -> None:
        super().__init__(
            path, f"longer than {size_max} bytes", "this is not the file it should be", errno.EFBIG
        )
        self.size_max = size_max


class Syscalls:
    """The kernel, as `Disk` uses it: the seam at which tests record, and cut the power."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """open(2): a new descriptor."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def write(self, descriptor: int, data: memoryview) -> int:
        """write(2): how many bytes were taken, which may be fewer than given."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """fsync(2) of a file or a directory."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """close(2)."""
        os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        """rename(2): `new` is replaced if it exists."""
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        """unlink(2)."""
        os.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        """mkdir(2)."""
        os.mkdir(path, mode)


class Disk:
    """Durable file operations.  Safe to share between threads."""

    def __init__(self, syscalls: Syscalls | None = None) -> None:
        self._syscalls = Syscalls() if syscalls is None else syscalls
        # A counter, not a random name: the same run makes the same names, so a failure replays.
        self._parts = itertools.count()

    # ------------------------------------------------------------------ write

    def write_file_atomic(self, path: str | os.PathLike[str], data: bytes, mode: int = 0o600) -> None:
        """Make `path` hold `data`; after a power cut it holds the old content or the new, whole.

        mode: permissions of the new file, less the umask.  The directory must exist.  Raises DiskError and
        DiskFull: `path` then still holds the old content, except when the very last step, syncing the
        directory, failed; then it reads as the new one, and either may be there after a power cut.
        """
        path = os.fspath(path)
        directory = os.path.dirname(path) or "."
        with _errors(path):
            part, descriptor = self._open_part(directory, mode)
            try:
                try:
                    self._write_all(descriptor, data)
                    # Before the rename: else the new name may survive a power cut with nothing in it.
                    self._syscalls.fsync(descriptor)
                finally:
                    self._syscalls.close(descriptor)
                self._syscalls.rename(part, path)
            except BaseException:
                # What failed is raised; a part that cannot be removed either is removed at the next start.
                with contextlib.suppress(OSError):
                    self._syscalls.unlink(part)
                raise
            self._sync_directory(directory)

    def create_file(self, path: str | os.PathLike[str], mode: int = 0o600) -> bool:
        """Make an empty file with these permissions, unless one is there: True when it was made."""
        path = os.fspath(path)
        with _errors(path):
            try:
                descriptor = self._syscalls.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            except FileExistsError:
                # Whoever made it may have died before the sync.
                self._sync_directory(os.path.dirname(path) or ".")
                return False
            try:
                self._syscalls.fsync(descriptor)
            finally:
                self._syscalls.close(descriptor)
            self._sync_directory(os.path.dirname(path) or ".")
        return True

    def delete_file(self, path: str | os.PathLike[str]) -> None:
        """Remove a file, so that no power cut brings it back.  One that is not there is as good as that."""
        self.delete_files([path])

    def delete_files(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Remove many files; each of their directories is synced once."""
        directories: dict[str, None] = {}
        for path in (os.fspath(each) for each in paths):
            # Also when it is gone already: the one who removed it may have died before the sync.
            directories[os.path.dirname(path) or "."] = None
            with _errors(path), contextlib.suppress(FileNotFoundError):
                self._syscalls.unlink(path)
        for directory in directories:
            self.sync_directory(directory)

    def make_directory(self, path: str | os.PathLike[str], mode: int = 0o700) -> None:
        """Make a directory and what is missing above it; one that is there keeps its permissions."""
        path = os.path.abspath(path)
        missing: list[str] = []
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise DiskError(path, "is not a directory", "move it away, or choose another path", errno.ENOTDIR)
        # Whoever made the lowest one that exists may have died before the sync. One made where we may not
        # even look was not made by us, and is not ours to keep.
        with _errors(path), contextlib.suppress(PermissionError):
            self._sync_directory(os.path.dirname(path))
        for new in reversed(missing):
            with _errors(new):
                with contextlib.suppress(FileExistsError):
                    self._syscalls.mkdir(new, mode)
                self._sync_directory(os.path.dirname(new))

    def sync_directory(self, path: str | os.PathLike[str]) -> None:
        """Make durable what was created, renamed or deleted directly in this directory."""
        with _errors(os.fspath(path)):
            self._sync_directory(os.fspath(path))

    def delete_parts(self, directory: str | os.PathLike[str]) -> int:
        """Remove what writers left that a power cut ended: how many.  Only when nobody writes here."""
        parts = [name for name in self._names(directory) if name.endswith(PART_SUFFIX)]
        if parts:
            self.delete_files(os.path.join(directory, name) for name in parts)
        return len(parts)

    # ------------------------------------------------------------------- read

    def read_file(self, path: str | os.PathLike[str], size_max: int) -> bytes:
        """The whole content.  Raises FileMissing, FileTooLarge and DiskError."""
        path = os.fspath(path)
        with _errors(path):
            # Non-blocking, or a pipe put in the place of a file would hold the caller for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise DiskError(path, "is not a file", "check the path", errno.EINVAL)
                content = bytearray()
                while chunk := os.read(descriptor, min(_READ_BYTES, size_max + 1 - len(content))):
                    content += chunk
                    if len(content) > size_max:
                        raise FileTooLarge(path, size_max)
            finally:
                os.close(descriptor)
        return bytes(content)

    def names(self, directory: str | os.PathLike[str]) -> list[str]:
        """What is in a directory, sorted; unfinished files are not shown."""
        return [name for name in self._names(directory) if not name.endswith(PART_SUFFIX)]

    def free_bytes(self, path: str | os.PathLike[str]) -> int:
        """Bytes that we (not root) may still write on the disk that holds `path`, which exists."""
        with _errors(os.fspath(path)):
            status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    # ------------------------------------------------------------------ inner

    def _open_part(self, directory: str, mode: int) -> tuple[str, int]:
        while True:
            part = os.path.join(directory, f".{next(self._parts)}{PART_SUFFIX}")
            # Taken: by another process, or left by one that a power cut ended. Both are none of ours.
            with contextlib.suppress(FileExistsError):
                return part, self._syscalls.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    def _write_all(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._syscalls.write(descriptor, rest) :]

    def _sync_directory(self, directory: str) -> None:
        descriptor = self._syscalls.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._syscalls.fsync(descriptor)
        finally:
            self._syscalls.close(descriptor)

    def _names(self, directory: str | os.PathLike[str]) -> list[str]:
        with _errors(os.fspath(directory)):
            return sorted(os.listdir(Path(directory)))


def disk_error(path: str | os.PathLike[str], error: OSError) -> DiskError:
    """Ours for the kernel's."""
    if error.errno in _FULL:
        return DiskFull(path, error.errno)
    if error.errno == errno.ENOENT:
        return FileMissing(path)
    if error.errno == errno.EROFS:
        advice = "the disk is read-only: it may be dying; check the kernel's log"
    elif error.errno == errno.EIO:
        # No retry: after a failed fsync the kernel takes the lost pages for clean, and the next one succeeds.
        advice = "the disk may be dying: check the kernel's log, and copy off what can be read"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = "check its owner and permissions"
    else:
        advice = "check the path and the disk"
    return DiskError(path, error.strerror or type(error).__name__, advice, error.errno)


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error
