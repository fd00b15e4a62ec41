"""Files of a node's folder: keys and what else must be whole or not there, and who may use the folder now.

Runs on CPython, on Linux.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from chain_node.errors import DataDirDamaged, DataDirInUse, DevNodeError
from chain_node.rpc_format import from_hex
from chain_node.storage_file import sync_directory
from puf.ed25519 import SigningKey

KEY_FILE_SIZE = 65
"""64 hex digits, and the end of the line."""


def make_folder(folder: Path) -> None:
    """Make a folder for its owner only, unless it is there."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        sync_directory(folder.parent)


def lock_folder(folder: Path) -> IO[bytes]:
    """The open lock file; closing it, or dying, gives the folder free.  Raises DataDirInUse."""
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise DataDirInUse(str(folder), "a node runs on this folder; stop it, or take another one") from None
    return lock


def new_key(path: Path) -> SigningKey:
    """A new key, in a file readable by its owner only."""
    key = SigningKey.generate()
    write_file(path, key.seed.hex().encode() + b"\n")
    return key


def read_key(path: Path, advice: str) -> SigningKey:
    """The key in a file.  advice: what to do where there is none.  Raises DataDirDamaged."""
    if not path.exists():
        raise DataDirDamaged(str(path.parent), f"{path.name} is missing; {advice}")
    seed = from_hex(read_file(path, KEY_FILE_SIZE).decode("ascii", "replace").rstrip("\n"), 32, 32)
    if seed is None:
        raise DataDirDamaged(str(path.parent), f"{path.name} is not 64 hex digits; {advice}")
    return SigningKey(seed)


def read_file(path: Path, size_max: int) -> bytes:
    """A file's bytes, one more than `size_max` of a longer one."""
    with path.open("rb") as file:
        return file.read(size_max + 1)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is either whole or not there, readable by its owner only."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    part.rename(path)
    sync_directory(path.parent)


@contextlib.contextmanager
def file_errors(folder: Path) -> Iterator[None]:
    """Turns what the system says into DevNodeError."""
    try:
        yield
    except OSError as error:
        why = f"{error.strerror} ({error.filename}); check its owner, its permissions and the disk"
        raise DevNodeError(str(folder), why) from error
