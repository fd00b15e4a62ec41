"""The local store: what it confirms is there, what has rotted is noticed, and nobody else can look."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from gateway.disk import PART_SUFFIX, Disk, DiskFull, Syscalls
from gateway.errors import ChunkAltered, ChunkMissing, StoreError, StoreFull
from gateway.store import CHUNK_SIZE_MAX, LocalStore
from puf.hkdf import sha256

SMALL, LARGE = b"small", bytes(range(256)) * 4
FILE_SIZE_MIN = 1_000


def named(*chunks: bytes) -> dict[bytes, bytes]:
    return {sha256(chunk): chunk for chunk in chunks}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    opened = LocalStore(tmp_path / "store", file_size_min=FILE_SIZE_MIN)
    yield opened
    opened.close()


def file_of(folder: Path, chunk: bytes) -> Path:
    name = sha256(chunk).hex()
    return folder / "store" / "chunks" / name[:2] / name


def test_small_chunks_lie_in_the_index_and_large_ones_in_files(store: LocalStore, tmp_path: Path) -> None:
    store.put(named(SMALL, LARGE))
    assert file_of(tmp_path, LARGE).read_bytes() == LARGE
    assert not file_of(tmp_path, SMALL).exists()
    assert [store.get(sha256(chunk)) for chunk in (SMALL, LARGE)] == [SMALL, LARGE]
    assert store.where(sha256(LARGE)) == str(file_of(tmp_path, LARGE))
    assert "store.db" in store.where(sha256(SMALL))
    assert sorted(store.chunk_ids()) == sorted(named(SMALL, LARGE))


@pytest.mark.parametrize(("size", "is_file"), [(FILE_SIZE_MIN - 1, False), (FILE_SIZE_MIN, True)])
def test_the_limit_between_them(store: LocalStore, tmp_path: Path, size: int, is_file: bool) -> None:
    store.put(named(bytes(size)))
    assert file_of(tmp_path, bytes(size)).exists() is is_file


def test_everything_is_there_after_reopening_also_for_a_reader_beside(tmp_path: Path) -> None:
    writer = LocalStore(tmp_path / "store", file_size_min=FILE_SIZE_MIN)
    writer.put(named(SMALL, LARGE))
    writer.put_named("a", b"1")
    reader = LocalStore(tmp_path / "store", is_read_only=True)
    assert (reader.get(sha256(LARGE)), reader.get_named("a")) == (LARGE, b"1")
    writer.put_named("b", b"2")
    assert reader.names("") == ["a", "b"]
    reader.close()
    writer.close()
    again = LocalStore(tmp_path / "store")
    assert [again.get(sha256(chunk)) for chunk in (SMALL, LARGE)] == [SMALL, LARGE]
    again.close()


def test_a_reader_does_not_make_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"expected a file store\.db"):
        LocalStore(tmp_path / "nothing", is_read_only=True)
    assert not (tmp_path / "nothing").exists()


def test_putting_again_changes_nothing(store: LocalStore, tmp_path: Path) -> None:
    store.put(named(SMALL, LARGE))
    before = file_of(tmp_path, LARGE).stat().st_ino
    store.put(named(LARGE, SMALL))
    assert file_of(tmp_path, LARGE).stat().st_ino == before
    assert len(list(store.chunk_ids())) == 2


class TestLies:
    """What the disk does to a chunk behind the store's back."""

    @pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
    def test_a_file_gone_or_emptied(
        self, store: LocalStore, tmp_path: Path, harm: Callable[[Path], object]
    ) -> None:
        store.put(named(LARGE))
        harm(file_of(tmp_path, LARGE))
        with pytest.raises((ChunkMissing, ChunkAltered), match=sha256(LARGE).hex()[:16]):
            store.get(sha256(LARGE))
        store.put(named(LARGE))
        assert store.get(sha256(LARGE)) == LARGE

    @pytest.mark.parametrize("chunk", [SMALL, LARGE])
    def test_one_flipped_bit_is_named_and_repaired_by_putting_again(
        self, store: LocalStore, tmp_path: Path, chunk: bytes
    ) -> None:
        store.put(named(chunk))
        flipped = bytes([chunk[0] ^ 1]) + chunk[1:]
        if chunk is LARGE:
            file_of(tmp_path, chunk).write_bytes(flipped)
        else:
            other = apsw.Connection(str(tmp_path / "store" / "store.db"))
            other.execute("UPDATE chunk SET body = ?", (flipped,))
            other.close()
        assert store.read(sha256(chunk)) == flipped
        with pytest.raises(ChunkAltered) as caught:
            store.get(sha256(chunk))
        assert (caught.value.chunk_id, caught.value.got, caught.value.data) == (
            sha256(chunk),
            sha256(flipped),
            flipped,
        )
        assert caught.value.where == store.where(sha256(chunk))
        store.put(named(chunk))
        assert store.get(sha256(chunk)) == chunk

    def test_a_chunk_that_never_was(self, store: LocalStore) -> None:
        with pytest.raises(ChunkMissing, match="is not in"):
            store.get(bytes(32))

    def test_a_folder_in_the_place_of_a_chunk_is_an_error_of_the_store(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        store.put(named(LARGE))
        file_of(tmp_path, LARGE).unlink()
        file_of(tmp_path, LARGE).mkdir()
        with pytest.raises(StoreError, match="cannot be read"):
            store.get(sha256(LARGE))

    def test_a_damaged_index_is_an_error_of_the_store(self, tmp_path: Path) -> None:
        writer = LocalStore(tmp_path / "store")
        for number in range(50):
            writer.put(named(number.to_bytes(4, "big") * 500))
        writer.close()
        path = tmp_path / "store" / "store.db"
        data = bytearray(path.read_bytes())
        data[4_096:] = bytes(len(data) - 4_096)
        path.write_bytes(data)
        reader = LocalStore(tmp_path / "store", is_read_only=True)
        with pytest.raises(StoreError, match="damaged"):
            reader.get(sha256((7).to_bytes(4, "big") * 500))
        with pytest.raises(StoreError, match="damaged"):
            reader.names("")
        reader.close()

    def test_bytes_of_another_hash_are_never_kept(self, store: LocalStore) -> None:
        with pytest.raises(ChunkAltered):
            store.put({sha256(SMALL): b"other"})
        with pytest.raises(ChunkMissing):
            store.get(sha256(SMALL))


class TestNamed:
    def test_what_is_named_is_written_once(self, store: LocalStore) -> None:
        store.put_named("evidence/1", b"x")
        store.put_named("evidence/1", b"x")
        with pytest.raises(StoreError, match=r"evidence/1 is in .* already"):
            store.put_named("evidence/1", b"y")
        assert store.get_named("evidence/1") == b"x"
        assert store.get_named("evidence/2") is None

    def test_names_are_found_by_what_they_begin_with(self, store: LocalStore) -> None:
        for name in ("a/2", "a/10", "a%/1", "a_/1", "ab", "b", "a/\U0010fffe", "A/1"):
            store.put_named(name, b"")
        assert store.names("a/") == ["a/10", "a/2", "a/\U0010fffe"]
        assert store.names("a_") == ["a_/1"]
        assert store.names("a%") == ["a%/1"]
        assert store.names("") == sorted(["a/2", "a/10", "a%/1", "a_/1", "ab", "b", "a/\U0010fffe", "A/1"])
        assert store.names("c") == []


class TestNoRoom:
    def test_a_full_index_says_so_and_takes_the_chunks_later(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path / "store")
        store.put(named(SMALL))
        pages = store._database.pragma("page_count")
        store._database.pragma("max_page_count", pages)
        chunks = named(*(bytes([number]) * 3_000 for number in range(10)))
        with pytest.raises(StoreFull, match="no room for 10 chunks; the spool keeps them"):
            store.put(chunks)
        assert list(store.chunk_ids()) == list(named(SMALL))
        with pytest.raises(StoreFull, match="no room for evidence"):
            store.put_named("evidence", bytes(100_000))
        assert store.get_named("evidence") is None
        store._database.pragma("max_page_count", 1 << 20)
        store.put(chunks)
        assert [store.get(name) for name in chunks] == list(chunks.values())
        store.close()

    def test_a_full_disk_leaves_no_index_row_without_its_file(self, tmp_path: Path) -> None:
        disk = FullDisk()
        store = LocalStore(tmp_path / "store", file_size_min=FILE_SIZE_MIN, disk=disk)
        disk.is_full = True
        with pytest.raises(StoreFull):
            store.put(named(SMALL, LARGE))
        assert list(store.chunk_ids()) == []
        disk.is_full = False
        store.put(named(SMALL, LARGE))
        assert store.get(sha256(LARGE)) == LARGE
        store.close()

    def test_a_chunk_over_the_limit_is_refused(self, store: LocalStore) -> None:
        with pytest.raises(StoreError, match="over the limit"):
            store.put({bytes(32): bytes(CHUNK_SIZE_MAX + 1)})


class FullDisk(Disk):
    """Takes files until it is full."""

    is_full = False

    def write_file_atomic(self, path: str | os.PathLike[str], data: bytes, mode: int = 0o600) -> None:
        if self.is_full:
            raise DiskFull(path)
        super().write_file_atomic(path, data, mode)


def test_files_that_a_power_cut_left_unfinished_are_removed(tmp_path: Path) -> None:
    folder = file_of(tmp_path, LARGE).parent
    folder.mkdir(parents=True)
    (folder / f".0{PART_SUFFIX}").write_bytes(b"half")
    store = LocalStore(tmp_path / "store", file_size_min=FILE_SIZE_MIN)
    store.put(named(LARGE))
    assert [path.name for path in folder.iterdir()] == [sha256(LARGE).hex()]
    store.close()


def test_only_the_owner_can_look(store: LocalStore, tmp_path: Path) -> None:
    store.put(named(SMALL, LARGE))
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


def test_opening_syncs_what_a_killed_process_may_have_left_unsynced(tmp_path: Path) -> None:
    """Its commits look durable, being in the page cache; a repeated put would confirm them without a sync."""
    store = LocalStore(tmp_path / "store")
    store.put(named(SMALL))
    log = tmp_path / "store" / "store.db-wal"
    before = log.stat().st_size
    other = LocalStore(tmp_path / "store")
    # A commit, which syncs the log up to itself.
    assert log.stat().st_size > before
    other.close()
    store.close()


def test_syscalls_are_the_seam_for_all_files(tmp_path: Path) -> None:
    """The crash tests see everything only if nothing goes past the disk that was given."""
    opened: list[str] = []

    class Watched(Syscalls):
        def open(self, path: str, flags: int, mode: int = 0o600) -> int:
            opened.append(path)
            return super().open(path, flags, mode)

    store = LocalStore(tmp_path / "store", file_size_min=FILE_SIZE_MIN, disk=Disk(Watched()))
    store.put(named(LARGE))
    store.close()
    written = [path for path in opened if path.endswith((PART_SUFFIX, "store.db"))]
    assert len(written) == 2
