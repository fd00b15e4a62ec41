"""The whole gateway, from start to stop, with sources that are fed and a node that is told what to do."""

import asyncio
import fcntl
import logging
import operator
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.app import GatewayApp
from gateway.archive import ReadReport
from gateway.cli_read import EVER_NS
from gateway.crypto.grant import make_grant
from gateway.crypto.key_file import create_reader_key
from gateway.crypto.slot import slot_end_ns, slot_of, slot_start_ns
from gateway.database import open_database
from gateway.disk import Disk, DiskError
from gateway.errors import GatewayBusy
from gateway.sensors.source import Batch, Clock, Gap, SourceUnavailable
from gateway.site import open_as_reader, stream_keys
from gateway.spool_rows import SCHEMA, SCHEMA_VERSION
from obd.can_frame import FD, CanFrame
from tests.gateway.anchored import LabNode
from tests.gateway.running import FedSource, Site, fed_sources
from tests.gateway.telemetry import NOON_NS, YEAR_NS, can_batch
from tests.gateway.waiting import until

LONG_MS = 60_000


async def hasten(seconds: float) -> None:
    """Waits for ever where the gateway gives up after long, and else not at all."""
    await (asyncio.sleep(0) if seconds < LONG_MS / 1000 else asyncio.Event().wait())


HASTY = Clock(sleep=hasten)
"""Knows the time, and loses none."""


@pytest.fixture
def sources() -> Iterator[dict[str, FedSource]]:
    with fed_sources() as opened:
        yield opened


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def batch_of(number: int, count: int = 50) -> Batch:
    """The number-th batch of a stream, two seconds after the one before."""
    return can_batch(count, NOON_NS + number * 2 * 10**9, step_ns=1_000_000)


def values_of(batches: list[Batch]) -> list[tuple[int, Any]]:
    return [item for batch in batches for item in zip(batch.taken_ns, batch.values, strict=True)]


def values_in(site: Site, stream: str = "can0") -> list[tuple[int, Any]]:
    return [(record.taken_ns, record.value) for record in site.records(stream)]


def assert_holds(site: Site, acknowledged: int, batches: list[Batch]) -> None:
    """The site has all that was acknowledged, and whatever more it has comes next, in order."""
    found, given = values_in(site), values_of(batches)
    assert len(values_of(batches[:acknowledged])) <= len(found) <= len(given)
    # Not the lists: pytest would explain at length how they differ.
    assert all(map(operator.eq, found, given))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@asynccontextmanager
async def running(app: GatewayApp, timeout_ms: int = LONG_MS) -> Any:
    """The app while it runs; waits for its end."""
    async with app:
        task = asyncio.create_task(app.run(timeout_ms))
        try:
            yield app
            await task
        finally:
            task.cancel()
            await asyncio.wait([task])


def test_what_two_sources_gave_is_proven_when_they_have_ended(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis, ("can0", "can1"))
            batches = [batch_of(number) for number in range(10)]
            async with running(site.app()) as app:
                for source in sources.values():
                    source.feed(*batches, None)
            assert [stream.pipeline.accepted_count for stream in app.streams] == [500, 500]
            for name, source in sources.items():
                assert source.acknowledged == batches
                assert values_in(site, name) == values_of(batches)

    run(story)


def test_a_batch_is_acknowledged_only_when_it_is_durable(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            durable: list[int] = []
            async with site.app() as app:

                def look(batch: Batch) -> None:
                    # The power is cut now: what another process would find.
                    database = open_read_only(site)
                    durable.append(database.execute(NEWEST).get)
                    database.close()

                sources["can0"].on_acknowledge = look
                sources["can0"].feed(*(batch_of(number) for number in range(6)), None)
                await app.run(LONG_MS)
            assert len(durable) == 6
            assert all(count >= 50 * place for place, count in enumerate(durable, 1))

    run(story)


NEWEST = "SELECT max(coalesce((SELECT max(end_seq) FROM entry), 0), sealed_seq) FROM stream"


def open_read_only(site: Site) -> apsw.Connection:
    path = site.folder / "spool" / "spool.db"
    return open_database(path, schema=SCHEMA, schema_version=SCHEMA_VERSION, read_only=True)


# -------------------------------------------------------------------- stopping


def test_stop_seals_and_anchors_what_was_taken_in(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis, upload_segments=1_000)
            async with running(site.app()) as app:
                source = sources["can0"]
                source.feed(batch_of(0), batch_of(1))
                await until(lambda: len(source.acknowledged) == 2)
                assert not app.is_stopping
                app.stop()
                app.stop()
            assert values_in(site) == values_of([batch_of(0), batch_of(1)])

    run(story)


def test_hurry_leaves_what_is_not_anchored_to_the_next_run(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            node.is_away = True
            site = Site(tmp_path / "site", node.url, node.genesis)
            async with running(site.app(), timeout_ms=10**9) as app:
                sources["can0"].feed(batch_of(0))
                await until(lambda: bool(sources["can0"].acknowledged))
                app.stop()
                await until(lambda: bool(node.calls) and app.streams[0].pipeline.is_drained)
                app.hurry()
            assert said(caplog)[-1].startswith("not everything is anchored yet; the rest stays in the spool")
            node.is_away = False
            async with running(site.app()):
                sources["can0"].feed(None)
            assert values_in(site) == values_of([batch_of(0)])

    run(story)


def test_a_run_that_is_cancelled_anywhere_loses_nothing(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            acknowledged: list[Batch] = []
            number = 0
            for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, None):
                async with site.app() as app:
                    task = asyncio.create_task(app.run(LONG_MS))
                    fed = [batch_of(number + place) for place in range(6)]
                    number += 6
                    sources["can0"].feed(*fed)
                    if turns is None:
                        await until(lambda: bool(sources["can0"].acknowledged))
                    for _ in range(turns or 0):
                        await asyncio.sleep(0)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                acknowledged += sources["can0"].acknowledged
            async with running(site.app()):
                sources["can0"].feed(None)
            found = values_in(site)
            # What was cut off before it was acknowledged may be there as well; nothing is there twice.
            assert len(set(map(repr, found))) == len(found)
            assert set(map(repr, values_of(acknowledged))) <= set(map(repr, found))
            assert acknowledged

    run(story)


def test_a_source_that_fails_does_not_end_the_others(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis, ("can0", "can1"))
            async with running(site.app()):
                sources["can0"].feed(batch_of(0), SourceUnavailable("can0", "the adapter burns"))
                sources["can1"].feed(batch_of(0))
                await until(lambda: "the adapter burns" in caplog.text)
                sources["can1"].feed(batch_of(1), None)
            assert values_in(site, "can0") == values_of([batch_of(0)])
            assert values_in(site, "can1") == values_of([batch_of(0), batch_of(1)])
            assert said(caplog) == ["stream can0 has ended: can0: the adapter burns"]

    run(story)


def test_a_bug_ends_the_gateway_and_is_not_hidden(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis, ("can0", "can1"))
            async with site.app() as app:
                sources["can0"].feed(batch_of(0), ZeroDivisionError())
                sources["can1"].feed(batch_of(0))
                with pytest.raises(ExceptionGroup) as caught:
                    await app.run(LONG_MS)
            assert caught.value.subgroup(ZeroDivisionError) is not None
            # What was accepted before is there.
            acknowledged = len(sources["can0"].acknowledged)
            async with running(site.app()):
                for source in sources.values():
                    source.feed(None)
            assert_holds(site, acknowledged, [batch_of(0)])

    run(story)


# ------------------------------------------------------------------ full disks


class SmallDisk(Disk):
    """A disk with as much room as the test says."""

    free = 1 << 40

    def free_bytes(self, path: str | os.PathLike[str]) -> int:
        return self.free


def test_ingest_stops_on_a_full_disk_says_so_and_goes_on(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis, disk_free_min_mib=64)
            disk = SmallDisk()
            batches = [batch_of(number) for number in range(8)]
            async with running(site.app(clock=HASTY, disk=disk)) as app:
                source = sources["can0"]
                source.feed(*batches[:4])
                await until(lambda: len(source.acknowledged) == 4)
                disk.free = (64 << 20) - 1
                source.feed(*batches[4:])
                await until(lambda: app.streams[0].is_full)
                # Sealing and anchoring go on meanwhile: what is there leaves the spool.
                await until(lambda: app.uploader.anchored_count >= 1)
                assert len(source.acknowledged) == 4
                disk.free = 64 << 20
                source.feed(None)
            assert_holds(site, len(batches), batches)
            full, over = said(caplog)
            assert full.startswith("stream can0: the spool takes no more records: less than 67108864 bytes")
            assert "nothing accepted is lost" in full
            assert over.startswith("stream can0: works again, after ")

    run(story)


def test_a_disk_that_is_really_full_loses_nothing_accepted(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite itself finds no room: for entries, for sealing, and for what the uploader notes."""

    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            batches = [batch_of(number, 400) for number in range(12)]
            async with running(site.app(clock=HASTY)) as app:
                source = sources["can0"]
                source.feed(*batches[:2])
                await until(lambda: len(source.acknowledged) == 2)
                database = app.spool._database
                pages = await app.in_spool_thread(lambda: database.pragma("page_count"))
                await app.in_spool_thread(lambda: database.pragma("max_page_count", pages + 1))
                source.feed(*batches[2:])
                await until(lambda: app.streams[0].is_full)
                taken = len(source.acknowledged)
                assert taken < len(batches)
                await app.in_spool_thread(lambda: database.pragma("max_page_count", 1 << 30))
                source.feed(None)
            assert_holds(site, len(batches), batches)
            assert any("the disk is full" in text for text in said(caplog))

    run(story)


def test_stop_while_the_spool_is_full_acknowledges_nothing_that_was_not_taken(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            node.is_away = True
            site = Site(tmp_path / "site", node.url, node.genesis, size_max_mib=1)
            batches = [batch_of(number, 400) for number in range(90)]
            for batch in batches:
                # Nothing that compresses.
                batch.values[:] = [CanFrame(0x100, FD, os.urandom(64)) for _ in batch.values]
            async with running(site.app(clock=HASTY), timeout_ms=0) as app:
                source = sources["can0"]
                source.feed(*batches)
                await until(lambda: app.streams[0].is_full)
                app.stop()
            taken = len(source.acknowledged)
            assert 0 < taken < len(batches) - 10
            assert "stream can0: what its source still had was not taken" in said(caplog)
            node.is_away = False
            async with running(site.app()):
                sources["can0"].feed(None)
            assert_holds(site, taken, batches[: taken + 10])

    run(story)


# ------------------------------------------------------------------- starting


def test_a_gateway_runs_once(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            async with site.app():
                with pytest.raises(GatewayBusy, match="another process runs the gateway"):
                    async with site.app():
                        pass
            async with site.app():
                pass

    run(story)


def test_a_look_at_the_lock_does_not_keep_a_gateway_from_starting(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            async with site.app():
                pass
            held = os.open(site.folder / "spool" / "gateway.lock", os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_SH)
            asyncio.get_running_loop().call_later(0.01, os.close, held)
            async with site.app():
                pass

    run(story)


@pytest.mark.parametrize("name", ["spool", "store"])
def test_a_file_in_the_place_of_a_folder_is_told(
    tmp_path: Path, sources: dict[str, FedSource], name: str
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            (site.folder / name).write_bytes(b"")
            with pytest.raises(DiskError, match="is not a directory"):
                async with site.app():
                    pass

    run(story)


def test_without_a_node_records_are_taken_in(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, LabNode(tmp_path / "other") as other:
            site = Site(tmp_path / "site", other.url, node.genesis)
            async with running(site.app(), timeout_ms=0):
                sources["can0"].feed(batch_of(0), None)
                await until(lambda: "is of another chain" in caplog.text)
            assert "account_get" in other.calls
            assert "tx_submit" not in other.calls
            site._node_url = node.url
            site.write_config("can0")
            async with running(site.app()):
                sources["can0"].feed(None)
            assert values_in(site) == values_of([batch_of(0)])

    run(story)


def test_records_of_a_stream_that_left_the_configuration_are_not_left_behind(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            async with site.app() as app:
                task = asyncio.create_task(app.run(LONG_MS))
                sources["can0"].feed(batch_of(0))
                await until(lambda: bool(sources["can0"].acknowledged))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            site.write_config("can1")
            async with running(site.app()):
                sources["can1"].feed(batch_of(1), None)
            site.write_config("can0", "can1")
            assert values_in(site, "can0") == values_of([batch_of(0)])
            assert values_in(site, "can1") == values_of([batch_of(1)])

    run(story)


def test_after_a_lost_spool_numbers_go_on(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            for number in range(3):
                async with running(site.app()):
                    sources["can0"].feed(batch_of(number), None)
                for file in (site.folder / "spool").iterdir():
                    file.unlink()
            assert values_in(site) == values_of([batch_of(number) for number in range(3)])
            names = [record.name for record in site.records()]
            assert len(set(names)) == 150
            assert names == sorted(names)
            assert said(caplog) == [
                f"stream can0: the spool is new, the store is not; going on behind upload {index}"
                for index in (0, 1)
            ]

    run(story)


def test_a_store_that_has_lost_what_it_confirmed_is_told(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            for number in range(2):
                async with running(site.app()):
                    sources["can0"].feed(batch_of(number), None)
            assert said(caplog) == []
            for file in (site.folder / "store").glob("store.db*"):
                file.unlink()
            async with running(site.app()):
                sources["can0"].feed(batch_of(2), None)
            (message,) = said(caplog)
            assert message.startswith(f"the store in {site.folder / 'store'} lacks 2 uploads that it had")

    run(story)


def test_notes_of_a_source_are_logged_as_they_come(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            async with running(site.app(clock=HASTY)):
                sources["can0"].stats.note("the bus is down")
                await until(lambda: "stream can0: the bus is down" in said(caplog))
                sources["can0"].stats.note("the bus is back")
                sources["can0"].feed(None)
            assert said(caplog) == ["stream can0: the bus is down", "stream can0: the bus is back"]

    run(story)


# --------------------------------------------------------------------- clocks


def test_a_clock_that_jumps_a_year_costs_no_record_and_no_grant_its_borders(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            now_ns = NOON_NS

            def jumping_ns() -> int:
                return now_ns

            batches = []
            async with running(site.app(clock=Clock(jumping_ns, time.monotonic_ns))):
                for jump_ns in (0, 3 * 10**9, YEAR_NS, 2 * 10**9, -2 * YEAR_NS, 0, YEAR_NS, 4 * 10**9):
                    now_ns += jump_ns
                    batch = can_batch(40, now_ns, step_ns=50_000_000)
                    batch.gaps.append((7, Gap("a frame was lost", 1, now_ns, now_ns + 10**6)))
                    batches.append(batch)
                sources["can0"].feed(*batches, None)
            records = site.records()
            assert [record.name.seq for record in records] == list(range(8 * 41))
            frames = [
                (record.taken_ns, record.value) for record in records if not isinstance(record.value, Gap)
            ]
            assert frames == values_of(batches)
            moments = sorted({slot_of(taken_ns, 5_000) for taken_ns, _ in frames})
            assert len(moments) >= 6
            for slot in moments:
                assert granted(site, slot) == [
                    record.name
                    for record in records
                    if slot_start_ns(slot, 5_000) <= record.taken_ns < slot_end_ns(slot, 5_000)
                ]

    def granted(site: Site, slot: int) -> list[Any]:
        """What a reader can open with a grant of that one slot."""
        key, stream = site.key, site.config.streams[0]
        keys = stream_keys(key, stream)
        reader_key = create_reader_key(site.folder / f"{slot}.key")
        data = make_grant(
            key.identity,
            keys.tree,
            keys.stream_id,
            stream.name,
            stream.slot_ms,
            slot,
            slot,
            reader_key.public,
        )
        path = site.folder / f"{slot}.grant"
        path.write_bytes(data)
        reader, _ = open_as_reader(path, site.folder / f"{slot}.key", site.config.store_path, ())
        with reader:
            return [record.name for record in reader.archive.records(*EVER_NS, ReadReport())]

    run(story)


def test_a_node_that_is_restarted_again_and_again_only_delays(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            batches = [batch_of(number) for number in range(30)]
            async with running(site.app()) as app:
                for number, batch in enumerate(batches):
                    sources["can0"].feed(batch)
                    if number % 5 == 4:
                        calls = len(node.calls)
                        await until(lambda: len(node.calls) > calls + 3)  # noqa: B023 - used at once
                        await node.restart()
                sources["can0"].feed(None)
            assert app.uploader.anchored_count >= 1
            assert values_in(site) == values_of(batches)

    run(story)
