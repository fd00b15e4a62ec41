"""A gateway whose spool was lost goes on behind what the store has."""

from pathlib import Path

import pytest

from gateway.errors import ChunkMissing
from gateway.resume import resume_stream
from gateway.store import LocalStore
from tests.gateway.telemetry import (
    NOON_NS,
    can_batch,
    drain,
    open_archive,
    open_pipeline,
    open_spool,
    read_all,
)

SECOND_NS = 10**9


def run(folder: Path, store: LocalStore, number: int) -> bool:
    """One life of a gateway: whether it had to resume."""
    folder.mkdir(exist_ok=True)
    spool = open_spool(folder)
    is_resumed = resume_stream(spool, open_archive(store), "can", 1_000, 5)
    taking = open_pipeline(spool)
    taking.accept(can_batch(20, NOON_NS + 60 * number * SECOND_NS), 0)
    taking.flush()
    drain(spool, store, 1)
    spool.close()
    return is_resumed


def test_numbers_and_chain_go_on_after_the_spool_was_lost(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    lives = [run(tmp_path / folder, store, number) for number, folder in enumerate(["a", "a", "b", "b", "c"])]
    assert lives == [False, False, True, False, True]
    archive = open_archive(store)
    # read_all checks that uploads and blocks are numbered and chained without a break.
    names = [(record.name.boot, record.name.seq) for record in read_all(archive)]
    assert names == [(boot, seq) for boot in (1, 2, 3, 4, 5) for seq in range(20)]
    assert archive.upload_indexes() == [0, 1, 2, 3, 4]
    assert [archive.manifest(index).first_block for index in range(5)] == [0, 1, 2, 3, 4]
    store.close()


def test_a_last_block_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store", file_size_min=1)
    run(tmp_path / "a", store, 0)
    chunk_id = open_archive(store).manifest(0).last_chunk.chunk_id
    Path(store.where(chunk_id)).unlink()
    spool = open_spool(tmp_path)
    with pytest.raises(ChunkMissing):
        resume_stream(spool, open_archive(store), "can", 1_000, 5)
    assert spool.streams() == []
    spool.close()
    store.close()
