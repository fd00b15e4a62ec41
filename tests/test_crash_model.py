"""What a power cut leaves of operations on a disk: the model, told by what may and may not be left."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crash_model import (
    DIRECTORY,
    Create,
    Delete,
    DiskState,
    Operation,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Write,
)

START: dict[str, bytes | None] = {"f": b"A" * 1_024}


def outcomes(
    operations: list[Operation],
    start: dict[str, bytes | None] | None = None,
    fsync_persists_name: bool = True,
    stale_odds: float = 0.0,
) -> list[dict[str, bytes | None]]:
    """What is left after these operations and a cut, for many seeds."""
    state = DiskState(START if start is None else start, fsync_persists_name, stale_odds)
    for operation in operations:
        state.apply(operation)
    return [state.crashed(random.Random(seed)) for seed in range(1_000)]


def contents(operations: list[Operation], name: str = "f") -> list[bytes]:
    found = [tree[name] for tree in outcomes(operations)]
    return [each for each in found if each is not None]


def names(
    operations: list[Operation], start: dict[str, bytes | None], fsync_persists_name: bool = True
) -> set[str]:
    return {" ".join(tree) for tree in outcomes(operations, start, fsync_persists_name)}


def test_what_was_synced_is_there_whole() -> None:
    wrote: list[Operation] = [Write(0, 100, b"B" * 600), Truncate(0, 900), Sync(0)]
    assert set(contents(wrote)) == {b"A" * 100 + b"B" * 600 + b"A" * 200}


def test_a_write_that_was_not_synced_is_there_or_not_by_sectors_or_torn() -> None:
    found = contents([Write(0, 0, b"B" * 1_024)])
    assert all(set(each) <= set(b"AB") and len(each) == 1_024 for each in found)
    whole = {(each[:512], each[512:]) for each in found}
    old, new = b"A" * 512, b"B" * 512
    assert {(old, old), (new, new), (old, new), (new, old)} <= whole
    torn = sum(len(set(each[:512])) == 2 for each in found)
    assert 30 < torn < 500


def test_bytes_beside_a_write_are_never_damaged() -> None:
    found = contents([Write(0, 200, b"B" * 20)])
    assert {each[:200] + each[220:] for each in found} == {b"A" * 1_004}
    assert {each[200:220] for each in found} > {b"A" * 20, b"B" * 20, b"A" * 10 + b"B" * 10}


def test_of_several_versions_of_a_sector_each_may_be_there() -> None:
    found = contents([Write(0, 0, letter * 1_024) for letter in (b"B", b"C", b"D")])
    assert {letter * 1_024 for letter in (b"A", b"B", b"C", b"D")} <= set(found)
    # Torn ones are of two versions that followed each other: the page cache has no others.
    assert not [each for each in found if {*b"AC"} == set(each[:512]) or {*b"BD"} == set(each[:512])]
    assert [each for each in found if {*b"BC"} == set(each[:512])]


def test_a_file_grows_before_or_without_its_content() -> None:
    found = contents([Write(0, 1_024, b"B" * 1_024)])
    assert all(each[:1_024] == b"A" * 1_024 for each in found)
    tails = {each[1_024:] for each in found}
    assert {b"", bytes(1_024), b"B" * 1_024, bytes(512) + b"B" * 512} <= tails
    assert all(set(tail) <= {*b"\0B"} for tail in tails)


def test_a_sector_that_was_never_written_back_may_show_what_was_there_before() -> None:
    trees = outcomes([Write(0, 1_024, b"B" * 1_024)], stale_odds=0.5)
    found = [tree["f"] or b"" for tree in trees]
    assert {each[:1_024] for each in found} == {b"A" * 1_024}
    stale = [each for each in found if set(each) - {*b"\0AB"}]
    assert 50 < len(stale) < 500


def test_a_truncation_that_was_not_synced_happened_or_not_and_its_sequel_only_with_it() -> None:
    found = contents([Truncate(0, 0), Write(0, 0, b"B" * 1_024)])
    assert {b"A" * 1_024, b"", bytes(1_024), b"B" * 1_024} <= set(found)
    assert not [each for each in found if {*b"AB"} <= set(each)]


def test_what_a_truncation_left_alone_does_not_wait_for_it() -> None:
    found = contents([Truncate(0, 512), Write(0, 0, b"B" * 1_024)])
    assert b"B" * 512 + b"A" * 512 in found  # not truncated; only the first sector is new
    assert b"B" * 512 in found
    assert b"A" * 512 + b"B" * 512 in found


def test_a_truncation_in_a_sector_cuts_every_version_of_it() -> None:
    found = contents([Write(0, 0, b"B" * 512), Truncate(0, 100), Truncate(0, 300)])
    assert {len(each) for each in found} == {1_024, 100, 300}
    assert {each[100:] for each in found if len(each) == 300} == {bytes(200)}
    assert {each[:100] for each in found if len(each) == 300} >= {b"A" * 100, b"B" * 100}


def test_a_new_name_is_kept_by_its_directory_or_by_its_own_sync() -> None:
    made: list[Operation] = [Create(1, "g")]
    assert names(made, {}) == {"", "g"}
    assert names([*made, Sync(1)], {}) == {"g"}
    assert names([*made, Sync(1)], {}, fsync_persists_name=False) == {"", "g"}
    assert names([*made, SyncDirectory("")], {}) == {"g"}
    assert names([*made, SyncDirectory("elsewhere")], {}) == {"", "g"}


def test_a_deletion_is_undone_until_the_directory_is_synced() -> None:
    assert names([Delete("f")], {"f": b""}) == {"", "f"}
    assert names([Delete("f"), SyncDirectory("")], {"f": b""}) == {""}


def test_a_file_made_again_and_synced_is_not_deleted_by_what_came_before() -> None:
    again: list[Operation] = [Delete("f"), Create(1, "f"), Write(1, 0, b"new"), Sync(1)]
    assert {tree["f"] for tree in outcomes(again)} == {b"new"}


def test_a_rename_is_whole_and_not_kept_by_a_sync_of_the_file() -> None:
    renamed: list[Operation] = [Rename(0, "f", "g"), Sync(0)]
    assert names(renamed, {"f": b"", "g": b""}) == {"f g", "g"}
    assert names(renamed, {"f": b""}) == {"f", "g"}
    assert names([*renamed, SyncDirectory("")], {"f": b""}) == {"g"}


def test_a_rename_into_another_directory_needs_both_synced() -> None:
    start: dict[str, bytes | None] = {"a": None, "a/f": b"", "b": None}
    renamed: list[Operation] = [Rename(1, "a/f", "b/f")]
    assert names([*renamed, SyncDirectory("b")], start) == {"a a/f b b/f", "a b b/f"}
    assert names([*renamed, SyncDirectory("a")], start) == {"a b", "a b b/f"}
    assert names([*renamed, SyncDirectory("a"), SyncDirectory("b")], start) == {"a b b/f"}


def test_a_synced_file_is_lost_with_a_directory_that_was_not() -> None:
    made: list[Operation] = [Create(DIRECTORY, "a"), Create(1, "a/f"), Sync(1), SyncDirectory("a")]
    assert names(made, {}) == {"", "a a/f"}
    assert names([*made, SyncDirectory("")], {}) == {"a a/f"}


def test_changes_of_names_reorder_and_keep_their_order_by_seed() -> None:
    made: list[Operation] = [Create(1, "a"), Create(2, "b"), Create(3, "c")]
    assert names(made, {}) == {"", "a", "b", "c", "a b", "a c", "b c", "a b c"}


def test_shared_memory_holds_anything() -> None:
    trees = outcomes([], {"x.db-wal": b""})
    memories = {tree.get("x.db-shm") for tree in trees}
    assert None in memories
    assert len(memories) > 50


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Operations that a real kernel would have carried out, on up to three names in two directories."""
    operations: list[Operation] = [Create(DIRECTORY, "d")]
    there: dict[str, int] = {}
    paths = ("a", "b", "d/a")
    for step in range(draw(st.integers(0, 25))):
        path = draw(st.sampled_from(paths))
        kind = draw(st.sampled_from(["write", "truncate", "sync", "delete", "rename", "directory"]))
        if path not in there:
            there[path] = 100 + step
            operations.append(Create(100 + step, path))
        inode = there[path]
        if kind == "write":
            data = bytes([1 + step]) * draw(st.integers(1, 1_500))
            operations.append(Write(inode, draw(st.integers(0, 3_000)), data))
        elif kind == "truncate":
            operations.append(Truncate(inode, draw(st.integers(0, 3_000))))
        elif kind == "sync":
            operations.append(Sync(inode))
        elif kind == "delete":
            del there[path]
            operations.append(Delete(path))
        elif kind == "rename":
            other = draw(st.sampled_from([each for each in paths if each != path]))
            operations.append(Rename(there.pop(path), path, other))
            there[other] = inode
        else:
            operations.append(SyncDirectory(draw(st.sampled_from(["", "d"]))))
    return operations


def _inodes_there(operations: list[Operation]) -> list[int]:
    there: dict[str, int] = {}
    for operation in operations:
        match operation:
            case Create(inode, path):
                there[path] = inode
            case Delete(path):
                del there[path]
            case Rename(inode, old, new):
                del there[old]
                there[new] = inode
    return [inode for inode in there.values() if inode != DIRECTORY]


@settings(deadline=None, max_examples=150)
@given(operations=histories(), seed=st.integers(0, 5), persists=st.booleans())
def test_when_all_is_synced_a_cut_takes_nothing(
    operations: list[Operation], seed: int, persists: bool
) -> None:
    state = DiskState({}, persists)
    for operation in operations:
        state.apply(operation)
    before = state.crashed(None)
    for inode in _inodes_there(operations):
        state.apply(Sync(inode))
    for directory in ("", "d"):
        state.apply(SyncDirectory(directory))
    assert state.crashed(random.Random(seed)) == state.crashed(None) == before


@settings(deadline=None, max_examples=150)
@given(operations=histories(), seed=st.integers(0, 1_000))
def test_a_cut_invents_no_bytes_and_no_names(operations: list[Operation], seed: int) -> None:
    state = DiskState({}, stale_odds=0)
    for operation in operations:
        state.apply(operation)
    written = {0}.union(*(each.data for each in operations if isinstance(each, Write)))
    for path, content in state.crashed(random.Random(seed)).items():
        assert path in ("a", "b", "d", "d/a")
        assert (content is None) == (path == "d")
        assert written.issuperset(content or b"")
