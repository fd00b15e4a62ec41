"""What a disk may hold after its power was cut: the model that the crash tests believe in.

Runs on CPython. `DiskState` takes the operations of a log one by one, and draws from a seed what is left if
power fails right then. Pure: content in, content out.

After a power cut
 1. content that was synced is there, whole, unless overwritten since (2);
 2. of a sector (512 or 4096 bytes, by seed) written since its last sync, any one of its versions since then
    is there, or two successive ones torn at any byte. Sectors are independent, so writes reorder at will,
    inside a file and between files. Bytes of a sector outside of what was written are never damaged;
 3. the size of a file is one it had since its last sync; a sector that is inside the size but was never
    written back reads as zeros, or (by seed) as whatever was on the disk before;
 4. a truncation not yet synced has happened or not, for size and content together, and what was written
    after it into the part that it cut off can be there only if it has happened;
 5. names created, renamed and deleted are durable when their directory is synced. Before that, by seed,
    either the first so many of all these changes have happened, or any of them. A rename is atomic within a
    directory. fsync of a new file keeps also its first name, unless `fsync_persists_name` is False; it
    keeps no rename, and a new directory's name is kept by nothing but the sync of its parent;
 6. a -shm file holds anything at all: it is shared memory, and nobody ever syncs it.

Sources. 2: the page cache writes pages back in any order, any number of times; M. Zheng et al.,
"Understanding the Robustness of SSDs under Power Fault", FAST 2013 (shorn and unserializable writes);
https://sqlite.org/psow.html. 3, 4: Linux, Documentation/filesystems/ext4 (data=ordered, delayed
allocation). 5: fsync(2); T. S. Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014; ext4 and
btrfs commit the creation of a file with its fsync. 6: https://sqlite.org/walformat.html, "The WAL-Index
File Format".

Not in the model: a disk that acknowledges a sync and forgets, sectors that cannot be read any more, damage
to synced neighbours (cheap flash has all three). Checksums find those; no order of syncs can.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

DIRECTORY = -1
"""Stands for the inode number of every directory."""


@dataclass(frozen=True, slots=True)
class Write:
    """`data` was written into a file; it is in the page cache."""

    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file was made this many bytes long."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """fsync of a file returned: its content and size are durable."""

    inode: int


@dataclass(frozen=True, slots=True)
class Create:
    """A file or directory was made; `path` is relative to the root, as everywhere."""

    inode: int
    path: str


@dataclass(frozen=True, slots=True)
class Delete:
    """A name was removed."""

    path: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A file got another name, taking the place of what had it."""

    inode: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """fsync of a directory returned: the names in it are durable."""

    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What the test wants to know of the past of a crash: often what the code had acknowledged."""

    name: str
    payload: object


Operation = Write | Truncate | Sync | Create | Delete | Rename | SyncDirectory | Mark


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)


@dataclass(slots=True)
class _Names:
    """Directory entries that change together: path -> inode, or None for no entry."""

    entries: dict[str, int | None]
    is_creation: bool = False


class DiskState:
    """The disk at one point of the log: what is durable, and what is only on its way there.

    start: path below the root -> content, or None for a directory; parents first, all of it durable.
    The file that stands at index i has inode number i.  stale_odds: how often point 3 shows old blocks.
    """

    def __init__(
        self, start: Mapping[str, bytes | None], fsync_persists_name: bool = True, stale_odds: float = 0.25
    ) -> None:
        self._stale_odds = stale_odds
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._pending: list[_Names] = []
        self._fsync_persists_name = fsync_persists_name
        for inode, (path, content) in enumerate(start.items()):
            self._names[path] = DIRECTORY if content is None else inode
            if content is not None:
                self._files[inode] = _File(bytearray(content))

    def apply(self, operation: Operation) -> None:
        """Let one operation happen."""
        match operation:
            case Write(inode) | Truncate(inode):
                self._files[inode].pending.append(operation)
            case Sync(inode):
                file = self._files[inode]
                _replay(file.durable, file.pending)
                file.pending.clear()
                if self._fsync_persists_name:
                    for change in self._pending:
                        if change.is_creation and inode in change.entries.values():
                            self._persist(change, list(change.entries))
            case Create(inode, path):
                if inode != DIRECTORY:
                    self._files[inode] = _File()
                self._pending.append(_Names({path: inode}, is_creation=True))
            case Delete(path):
                self._pending.append(_Names({path: None}))
            case Rename(inode, old, new):
                self._pending.append(_Names({old: None, new: inode}))
            case SyncDirectory(path):
                for change in self._pending:
                    self._persist(change, [each for each in change.entries if os.path.dirname(each) == path])
                self._pending = [change for change in self._pending if change.entries]

    def crashed(self, rng: random.Random | None) -> dict[str, bytes | None]:
        """Path -> content, None for a directory, after a cut; parents first.  rng None: nothing is lost."""
        names = self._crashed_names(rng)
        sector = 512 if rng is None or rng.random() < 0.5 else 4096
        has_stale = rng is not None and rng.random() < self._stale_odds
        contents: dict[int, bytes] = {}
        tree: dict[str, bytes | None] = {}
        for path in sorted(names):
            inode, parent = names[path], os.path.dirname(path)
            if parent and (parent not in tree or tree[parent] is not None):
                continue  # its directory is not there, so neither is it
            if inode == DIRECTORY:
                tree[path] = None
                continue
            if inode not in contents:
                file = self._files[inode]
                if rng is None:
                    content = bytearray(file.durable)
                    _replay(content, file.pending)
                else:
                    content = _crashed_content(file, rng, sector, has_stale)
                contents[inode] = bytes(content)
            tree[path] = contents[inode]
            if path.endswith("-wal") and rng is not None and rng.random() < 0.5:
                tree[path.removesuffix("-wal") + "-shm"] = rng.randbytes(32_768)
        return tree

    def _persist(self, change: _Names, paths: list[str]) -> None:
        for path in paths:
            # Once this entry is durable, an older change of the same name can no longer come after it.
            for older in self._pending:
                if older is change:
                    break
                older.entries.pop(path, None)
            _enter(self._names, path, change.entries.pop(path))

    def _crashed_names(self, rng: random.Random | None) -> dict[str, int]:
        names = dict(self._names)
        happened = [True] * len(self._pending)
        if rng is not None:
            if rng.random() < 0.5:
                count = rng.randint(0, len(happened))
                happened = [index < count for index in range(len(happened))]
            else:
                happened = [rng.random() < 0.5 for _ in happened]
        for change, is_there in zip(self._pending, happened, strict=True):
            if is_there:
                for path, inode in change.entries.items():
                    _enter(names, path, inode)
        return names


def _enter(names: dict[str, int], path: str, inode: int | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


def _replay(content: bytearray, pending: list[Write | Truncate]) -> bytearray:
    """Change `content` to what processes see: every write and truncation done."""
    for each in pending:
        if isinstance(each, Truncate):
            del content[each.size :]
            content.extend(bytes(each.size - len(content)))
        else:
            content.extend(bytes(max(0, each.offset - len(content))))
            content[each.offset : each.offset + len(each.data)] = each.data
    return content


def _crashed_content(file: _File, rng: random.Random, sector: int, has_stale: bool) -> bytearray:
    """Points 2 to 4 of the model; `versions` and `sizes` are all that there were since the last sync."""
    shrinks = _shrinks(file)
    undone_from = (*shrinks, len(file.pending))[rng.randint(0, len(shrinks))]
    limit = None  # up to here writes do not depend on a truncation that has not happened
    content, sizes = bytearray(file.durable), [len(file.durable)]
    versions: dict[int, list[bytes]] = {}
    for index, each in enumerate(file.pending):
        if isinstance(each, Write):
            data = each.data if limit is None else each.data[: max(0, limit - each.offset)]
            end = each.offset + len(data)
            for number in range(each.offset // sector, -(-end // sector)):
                start = number * sector
                if number not in versions:
                    is_stale = has_stale and start >= len(content)
                    old = rng.randbytes(sector) if is_stale else bytes(content[start : start + sector])
                    versions[number] = [old.ljust(sector, b"\0")]
                new = bytearray(versions[number][-1])
                low, high = max(each.offset, start), min(end, start + sector)
                new[low - start : high - start] = data[low - each.offset : high - each.offset]
                versions[number].append(bytes(new))
            if end > sizes[-1]:
                sizes.append(end)
        elif index not in shrinks:
            if limit is None:
                sizes.append(each.size)
        elif index >= undone_from:
            limit = each.size if limit is None else min(limit, each.size)
        else:
            del content[each.size :]
            sizes = [each.size]
            versions = {
                number: [old[: each.size - number * sector].ljust(sector, b"\0") for old in olds]
                for number, olds in versions.items()
                if number * sector < each.size
            }
    # The extremes matter most, and even odds for each would hardly ever make them.
    size = rng.choice((sizes[0], sizes[-1], rng.choice(sizes)))
    newest_odds, torn_odds = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0)), rng.choice((0.0, 0.0, 0.1, 0.5))
    content.extend(bytes(size - len(content)))
    for number, held in versions.items():
        chosen = len(held) - 1 if rng.random() < newest_odds else rng.randrange(len(held) - 1)
        found = held[chosen]
        if rng.random() < torn_odds:
            older = max(0, chosen - 1)
            found = _torn(held[older], held[older + 1], rng)
        start = number * sector
        content[start : min(start + sector, size)] = found[: max(0, size - start)]
    return content


def _torn(old: bytes, new: bytes, rng: random.Random) -> bytes:
    """The one up to some byte, and the other from there; where they are the same there is nothing to tear."""
    differing = int.from_bytes(old, "little") ^ int.from_bytes(new, "little")
    first, end = ((differing & -differing).bit_length() - 1) // 8, (differing.bit_length() + 7) // 8
    if end - first < 2:
        return new
    cut = rng.randrange(first + 1, end)
    return new[:cut] + old[cut:] if rng.random() < 0.5 else old[:cut] + new[cut:]


def _shrinks(file: _File) -> list[int]:
    """Which of the pending operations cut something off."""
    size, found = len(file.durable), []
    for index, each in enumerate(file.pending):
        if isinstance(each, Write):
            size = max(size, each.offset + len(each.data))
        else:
            if each.size < size:
                found.append(index)
            size = each.size
    return found
