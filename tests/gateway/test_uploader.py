"""From the spool to store and chain, whatever step a crash comes at, and when passes come."""

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.archive import evidence_name
from gateway.uploader import ANCHOR_COUNT_MAX
from tests.gateway.anchored import LabNode
from tests.gateway.telemetry import NOON_NS, OWNER, can_batch, open_archive, open_pipeline, read_all
from tests.gateway.uploading import Half, anchors_on, assert_all_anchored, half_of, run

HOUR_NS = 3_600 * 10**9


def test_what_was_taken_in_is_stored_anchored_and_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(20)
            await half.passes()
            assert half.uploader.anchored_count == 4
            assert_all_anchored(half, 4)
            records = read_all(open_archive(half.store))
            assert [record.taken_ns for record in records] == can_batch(200, step_ns=100_000_000).taken_ns

    run(story)


def test_uploads_wait_for_their_segments_unless_flushed(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(15)
            await half.reopen()
            half.uploader._upload_segments = {stream.stream_id: 2 for stream in half.spool.streams()}
            await half.passes()
            assert half.uploader.anchored_count == 1
            assert half.spool.counts().segments == 1
            half.uploader.flush()
            await half.passes()
            assert_all_anchored(half, 2)

    run(story)


def test_many_uploads_go_through_the_window_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            count = 2 * ANCHOR_COUNT_MAX + 3
            half.take_in(5 * count)
            # A pass that has brought a whole window through has not seen the end.
            await half.passes()
            assert half.uploader.anchored_count == count
            assert_all_anchored(half, count)

    run(story)


def test_several_streams_share_the_nonces(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            for second in range(0, 20, 5):
                for name in ("can0", "can1", "can2"):
                    half.take_in(5, name, NOON_NS + second * 10**9)
            await half.passes()
            for name in ("can0", "can1", "can2"):
                assert_all_anchored(half, 4, name)

    run(story)


# --------------------------------------------------------------------- crashes


class Crash(Exception):
    """The process ends here."""


def crash_at(half: Half, step: int) -> None:
    """Ends the process before the `step`-th use of spool, store or node from now on."""
    left = step

    def before(_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    half.threads.before = before
    client, call = half.anchorer._client, half.anchorer._client._call

    async def counted(method: str, params: dict[str, object]) -> Any:
        before(None)
        answer = await call(method, params)
        # And after it, when the node has done what it was asked and nobody knows.
        before(None)
        return answer

    client._call = counted  # type: ignore[method-assign]  # the one place that all calls go through


def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async def prepare() -> None:
        async with half_of(tmp_path / "fresh") as half:
            half.take_in(10)

    async def story(folder: Path, step: int, is_pool_lost: bool) -> bool:
        async with half_of(folder) as half:
            half.uploader.flush()
            crash_at(half, step)
            is_crashed = False
            try:
                await half.passes()
            except Crash:
                is_crashed = True
            half.threads.before = lambda work: None
            if is_pool_lost:
                await half.node.restart()
            await half.reopen()
            half.uploader.flush()
            await half.passes()
            assert_all_anchored(half, 2)
            assert anchors_on(half.node) == {0: 1, 1: 1}
            assert len(read_all(open_archive(half.store))) == 100
            return is_crashed

    asyncio.run(prepare())
    # Not at every step with a node that forgets as well, for the sake of time.
    for is_pool_lost, stride in ((False, 1), (True, 5)):
        for step in range(0, 1_000, stride):
            folder = tmp_path / "tried"
            shutil.copytree(tmp_path / "fresh", folder)
            is_crashed = asyncio.run(story(folder, step, is_pool_lost))
            shutil.rmtree(folder)
            if not is_crashed:
                break
        # The steps of two uploads from the segments on; fewer would mean that the test lost its grip.
        assert step > 40


def test_crashes_again_and_again_end_well(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(20)
            for step in range(1, 60):
                half.uploader.flush()
                crash_at(half, step)
                try:
                    await half.passes()
                except Crash:
                    await half.reopen()
                else:
                    break
            half.threads.before = lambda work: None
            await half.reopen()
            await half.passes()
            assert_all_anchored(half, 4)
            assert anchors_on(half.node) == dict.fromkeys(range(4), 1)

    run(story)


# --------------------------------------------------------------- run, idle, wake


def test_a_useless_node_is_told_of_before_there_is_anything_to_anchor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half, LabNode(tmp_path / "other") as other:
            half.anchorer._client.url = other.url
            task = asyncio.create_task(half.uploader.run())
            await half.uploader.wait_idle()
            task.cancel()
            (text,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            assert text.startswith(f"anchor: node {other.url} is of another chain")

    run(story)


def test_idle_comes_only_after_a_pass_that_saw_the_flush(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(5)
            await half.reopen()
            half.uploader._upload_segments = {stream.stream_id: 9 for stream in half.spool.streams()}
            task = asyncio.create_task(half.uploader.run())
            await half.uploader.wait_idle()
            assert half.uploader.anchored_count == 0
            half.uploader.flush()
            await half.uploader.wait_idle()
            assert half.uploader.anchored_count == 1
            # What comes after an idle moment ends it.
            half.take_in(5, from_ns=NOON_NS + 60 * 10**9)
            half.uploader.wake()
            await half.uploader.wait_idle()
            assert half.uploader.anchored_count == 2
            task.cancel()

    run(story)


def test_a_wake_during_a_pass_is_not_lost(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            is_fed = False

            def feed(work: Any) -> None:
                nonlocal is_fed
                if not is_fed and getattr(work, "func", None) == half.spool.uploads:
                    # Behind the look at what is sealed: this pass finds nothing to do, and is wrong.
                    is_fed = True
                    half.take_in(5)
                    half.uploader.wake()

            half.threads.before = feed
            task = asyncio.create_task(half.uploader.run())
            await half.uploader.wait_idle()
            task.cancel()
            assert is_fed
            assert half.uploader.anchored_count == 1

    run(story)


def test_a_flush_during_a_long_back_off_is_not_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.node.is_away = True
            half.take_in(5)
            start_ns, flushed_ns, tries = half.hours.now_ns, 0, 0

            def on_nap() -> None:
                nonlocal flushed_ns, tries
                is_new, tries = len(half.node.calls) > tries, len(half.node.calls)
                # At the beginning of a pause of half a minute.
                if half.hours.now_ns - start_ns > HOUR_NS and is_new and half.node.is_away:
                    half.node.is_away = False
                    flushed_ns = half.hours.now_ns
                    half.uploader.flush()

            half.hours.on_nap = on_nap
            task = asyncio.create_task(half.uploader.run())
            await half.uploader.wait_idle()
            task.cancel()
            assert_all_anchored(half, 1)
            assert half.hours.now_ns - flushed_ns < 5 * 10**9

    run(story)


def test_an_upload_is_signed_once_also_when_others_become_final_meanwhile(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            # The account is asked about before the block that makes the uploads before final.
            half.node.idle_for = {"account_get", "tx_submit"}
            kept = 0

            def count(work: Any) -> None:
                nonlocal kept
                kept += getattr(work, "func", None) == half.spool.set_transaction

            half.threads.before = count
            half.take_in(10)
            half.node.treasury.fund(OWNER.public, 10**6)
            await half.node.produce()
            assert not await half.uploader.run_once()
            half.take_in(10, from_ns=NOON_NS + 60 * 10**9)
            await half.passes()
            assert_all_anchored(half, 4)
            assert kept == 4

    run(story)


def test_what_is_proven_already_needs_no_node_to_be_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(5)

            def crash_before_forgetting(work: Any) -> None:
                if getattr(work, "func", None) == half.spool.finish_upload:
                    raise Crash

            half.threads.before = crash_before_forgetting
            with pytest.raises(Crash):
                await half.passes()
            half.threads.before = lambda work: None
            half.node.is_away = True
            await half.reopen()
            await half.passes()
            half.node.is_away = False
            assert_all_anchored(half, 1)

    run(story)


def test_evidence_that_the_store_has_altered_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            half.take_in(5)
            (stream,) = half.spool.streams()
            half.store.put_named(evidence_name(stream.stream_id, 0), b"anchored, honestly")
            for _ in range(3):
                assert not await half.uploader.run_once()
            assert half.uploader.anchored_count == 0
            assert half.spool.counts().uploads == 1
            assert "anchor: evidence: no transaction evidence" in caplog.text

    run(story)


def test_a_stream_that_left_the_configuration_is_uploaded_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with half_of(tmp_path) as half:
            pipeline = open_pipeline(half.spool, "gone")
            pipeline.accept(can_batch(10), 0)
            pipeline.flush()
            await half.passes()
            assert half.store.get_named(evidence_name(pipeline.row.stream_id, 0)) is not None

    run(story)
