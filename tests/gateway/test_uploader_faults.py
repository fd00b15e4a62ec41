"""Stores and nodes that fail, lie, or are away, and disks that are full, on the way to store and chain."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from chain_node.wire import Reason
from gateway.disk import DiskFull
from gateway.errors import StoreFull
from gateway.store import LocalStore
from gateway.uploader import RETRY_MS_MAX
from tests.gateway.anchored import answering, refusal
from tests.gateway.telemetry import NOON_NS, open_archive, read_all
from tests.gateway.uploading import Half, assert_all_anchored, half_of, run

HOUR_NS = 3_600 * 10**9


class LyingStore(LocalStore):
    """Does to what it is given whatever the test wants."""

    keeps: Callable[[Mapping[bytes, bytes]], Mapping[bytes, bytes]] = staticmethod(lambda chunks: chunks)
    keeps_names = True
    is_full = False
    gives: Callable[[bytes], bytes] = staticmethod(lambda data: data)

    def put(self, chunks: Mapping[bytes, bytes]) -> None:
        if self.is_full:
            raise StoreFull("this store has no room")
        super().put(self.keeps(chunks))

    def put_named(self, name: str, data: bytes) -> None:
        if self.keeps_names:
            super().put_named(name, data)

    def read(self, chunk_id: bytes) -> bytes:
        return self.gives(super().read(chunk_id))


def flipped(data: bytes) -> bytes:
    return data[:50] + bytes([data[50] ^ 1]) + data[51:]


@pytest.mark.parametrize(
    ("lie", "value", "says"),
    [
        ("keeps", lambda chunks: {}, "is not in"),
        ("keeps", lambda chunks: dict(list(chunks.items())[:-1]), "is not in"),
        ("gives", flipped, "is altered"),
        ("gives", lambda data: data[:-1], "is altered"),
        ("is_full", True, "this store has no room"),
        ("keeps_names", False, "and does not give it back"),
    ],
    ids=["keeps nothing", "keeps some", "flips a bit", "cuts", "is full", "keeps no names"],
)
def test_a_store_that_lies_gets_nothing_forgotten(
    tmp_path: Path, lie: str, value: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.store_class = LyingStore
            half.take_in(10)
            await half.reopen()
            setattr(half.store, lie, value)
            for _ in range(5):
                assert not await half.uploader.run_once()
            assert half.uploader.anchored_count == 0
            assert half.spool.counts().segments == 2
            (text,) = [record.getMessage() for record in caplog.records]
            assert says in text
            # Repaired, it gets everything that it should have.
            half.store_class = LocalStore
            await half.reopen()
            await half.passes()
            assert_all_anchored(half, 2)
            assert len(read_all(open_archive(half.store))) == 100

    run(story)


def test_a_store_that_was_full_goes_on_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.store_class = LyingStore
            half.take_in(10)
            await half.reopen()
            assert isinstance(half.store, LyingStore)
            half.store.is_full = True
            for _ in range(3):
                await half.uploader.run_once()
                half.hours.now_ns += 30 * 10**9
            half.store.is_full = False
            await half.passes()
            assert_all_anchored(half, 2)
            assert [
                record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
            ] == [
                "store: this store has no room; the spool keeps what waits",
                "store: works again, after 1 min 30 s",
            ]

    run(story)


def test_a_full_disk_in_the_spool_is_trouble_that_passes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(10)
            path = half.folder / "spool.db"

            def full(_: object) -> None:
                raise DiskFull(path)

            # Before any of the steps; `crash_at` proves that each may be repeated.
            half.threads.before = full
            assert not await half.uploader.run_once()
            assert "the disk is full" in caplog.text
            half.threads.before = lambda work: None
            await half.passes()
            assert_all_anchored(half, 2)

    run(story)


def test_a_bug_is_not_taken_for_trouble(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:

            def bug(_: object) -> None:
                raise ZeroDivisionError

            half.threads.before = bug
            with pytest.raises(ZeroDivisionError):
                await half.uploader.run_once()

    run(story)


def test_a_chunk_that_the_disk_has_altered_is_told_and_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(10)
            database = half.spool._database
            database.execute("UPDATE chunk SET body = zeroblob(length(body)) WHERE rowid = 1")
            await half.passes()
            assert "was damaged on the disk before it could be stored" in caplog.text
            archive = open_archive(half.store)
            assert archive.evidence(0) is not None
            assert archive.evidence(1) is not None

    run(story)


# ---------------------------------------------------------------- nodes away


def test_a_node_that_is_away_for_hours_costs_little_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.node.is_away = True
            hours, start_ns = half.hours, half.hours.now_ns
            fed = 0

            def on_nap() -> None:
                nonlocal fed
                gone_ns = hours.now_ns - start_ns
                if fed < 30 and gone_ns > fed * 200 * 10**9:
                    # Five seconds of records every 200 s, all through the outage.
                    half.take_in(5, from_ns=NOON_NS + fed * 5 * 10**9)
                    half.uploader.wake()
                    fed += 1
                if gone_ns > 5 * HOUR_NS:
                    half.node.is_away = False

            hours.on_nap = on_nap
            half.take_in(5, "first")
            task = asyncio.create_task(half.uploader.run())
            await half.uploader.wait_idle()
            task.cancel()
            assert fed == 30
            # At full pace at once, from the first try that succeeds on.
            assert hours.now_ns - start_ns < 5 * HOUR_NS + 2 * RETRY_MS_MAX * 10**6
            assert_all_anchored(half, 30)
            assert_all_anchored(half, 1, "first")
            tries = half.node.calls[: half.node.calls.index("headers")]
            # No busy loop: a try every half minute, apart from the first few.
            assert len(tries) <= 5 * HOUR_NS // (RETRY_MS_MAX * 10**6) + 10
            said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            # No flood: once an hour, and once when it is over.
            assert len(said) <= 7
            assert said[-1].startswith("anchor: works again, after 5 h 0 min")
            assert all("the spool keeps what waits" in text for text in said[:-1])

    run(story)


def test_a_node_that_takes_anchors_and_makes_none_final_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(5)
            await half.uploader.run_once()
            half.node.is_idle = True
            for _ in range(10):
                assert not await half.uploader.run_once()
                half.hours.now_ns += 120 * 10**9
            (text,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            assert text.startswith("anchor: the node answers, and yet upload 0 of stream")
            half.node.is_idle = False
            await half.passes()
            assert_all_anchored(half, 1)

    run(story)


def test_one_stream_that_is_refused_for_good_holds_no_other_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(10)
            await half.passes()
            await half.close()
            # The gateway's folder is lost but for its key, and it begins anew with other records.
            for file in [half.folder / "spool.db", *(half.folder / "store").glob("store.db*")]:
                file.unlink()
            half._open()
            half.take_in(10, from_ns=NOON_NS + 10**9)
            half.take_in(20, "can1")
            await half.passes()
            assert_streams(half, refused=2)
            text = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
            assert len(text) == 2
            assert all("give the stream a new name" in each for each in text)
            # Also after a restart, when all is asked again.
            await half.reopen()
            half.take_in(10, "can1", NOON_NS + 60 * 10**9)
            await half.passes()
            assert open_archive(half.store, "can1").upload_indexes() == list(range(6))
            assert half.spool.counts().uploads == 2

    def assert_streams(half: Half, refused: int) -> None:
        assert half.spool.counts().uploads == refused
        archive = open_archive(half.store, "can1")
        assert all(archive.evidence(index) for index in range(4))

    run(story)


def test_a_node_that_lies_about_one_refusal_does_no_lasting_harm(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(10)
            half.node.lie = answering("tx_submit", refusal(Reason.ANCHOR_CONFLICT))
            for _ in range(3):
                assert not await half.uploader.run_once()
            half.node.lie = None
            await half.passes()
            assert_all_anchored(half, 2)

    run(story)
