"""The uplink against a broker that misbehaves in every way, told as stories."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.config_uplink import UplinkSection
from gateway.errors import SpoolFull
from gateway.outbox import Outbox
from gateway.pipeline import StreamPipeline
from gateway.sensors.source import BLOCK, SYSTEM_CLOCK, Batch, Clock, Gap
from gateway.spool import Spool
from gateway.uplink import Identity, Uplink
from gateway.uplink_format import StreamFormat
from gateway.uplink_handover import Handover
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.telemetry import NOON_NS, SPOOL_KEY, can_batch, stream_keys
from tests.gateway.waiting import until

TIMEOUT_S = 20.0
DID = "did:key:z6MkTest"
Result = TypeVar("Result")


async def _turn(seconds: float) -> None:
    await asyncio.sleep(0)


EAGER = Clock(sleep=_turn)
"""Waits for nothing."""


class SameThread:
    """The spool's thread is this one."""

    async def in_spool_thread(self, work: Callable[[], Result]) -> Result:
        return work()


@dataclass
class Site:
    """A gateway's spool, outbox, one stream and the uplink."""

    spool: Spool
    outbox: Outbox
    handover: Handover
    pipeline: StreamPipeline
    uplink: Uplink

    def close(self) -> None:
        self.outbox.close()
        self.spool.close()

    def accept(self, batch: Batch) -> None:
        self.pipeline.accept(batch, 0)


def open_site(
    folder: Path,
    section: UplinkSection,
    policy: str = BLOCK,
    size_max: int = 1 << 20,
    clock: Clock = SYSTEM_CLOCK,
) -> Site:
    outbox = Outbox(folder / "outbox.db", SPOOL_KEY, stream_size_max_bytes=size_max)
    spool = Spool(folder / "spool.db", SPOOL_KEY)
    spool.skip_boots(outbox.boot_max)
    keys = stream_keys()
    handover = Handover(outbox, section.batch_records_max, section.message_size_max_kib << 10)
    stream = StreamFormat("g1", "can0", "can", keys.stream_id, "cpc/g1/can0", section.format)
    pipeline = StreamPipeline(spool, keys, "can0", "can", 1_000, 5, 0, handover.tap(stream, policy))
    identity = Identity("g1", DID, (("can0", "can", keys.stream_id),))
    uplink = Uplink(SameThread(), outbox, handover, section, identity, clock)
    return Site(spool, outbox, handover, pipeline, uplink)


def section_for(broker: TestBroker, **changes: Any) -> UplinkSection:
    values: dict[str, Any] = {
        "batch_ms": 20,
        "batch_records_max": 10,
        "url": f"mqtt://127.0.0.1:{broker.port}",
    }
    return UplinkSection(**(values | changes))


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await story()

    asyncio.run(limited())


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def data(broker: TestBroker) -> list[dict[str, Any]]:
    """The messages that carry records."""
    return [json.loads(each.payload) for each in broker.published if each.topic == "cpc/g1/can0"]


def states(broker: TestBroker) -> list[tuple[str, int]]:
    told = [each for each in broker.published if each.topic == "cpc/g1/state"]
    return [(json.loads(each.payload)["state"], json.loads(each.payload)["session"]) for each in told]


@dataclass
class Received:
    """What a receiver has that drops what it knows, by the key."""

    records: dict[tuple[int, int], Any]
    repeated: int


def received(broker: TestBroker) -> Received:
    keys: set[str] = set()
    records: dict[tuple[int, int], Any] = {}
    repeated = 0
    for message in data(broker):
        if message["key"] in keys:
            repeated += 1
            continue
        keys.add(message["key"])
        for place, record in enumerate(message["records"]):
            name = (message["boot"], message["seq"] + place)
            assert name not in records, f"{name} came under two keys"
            records[name] = record
    return Received(records, repeated)


def complete(broker: TestBroker, count: int, boot: int = 1) -> bool:
    return set(received(broker).records) >= {(boot, seq) for seq in range(count)}


@pytest.fixture(params=["5", "3.1.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_records_arrive_once_with_their_names_and_leave_the_outbox(tmp_path: Path, version: str) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            site = open_site(tmp_path, section_for(broker, version=version))
            task = asyncio.ensure_future(site.uplink.run())
            for number in range(20):
                site.accept(can_batch(37, NOON_NS + number * 10**9))
            gap = Gap("the bus was down", 0, NOON_NS, NOON_NS + 5)
            site.accept(Batch([], [], [(0, gap)]))
            await site.uplink.settle()
            await site.uplink.wait_idle()
            await cancelled(task)
            got = received(broker)
            assert list(got.records) == [(1, seq) for seq in range(741)]
            assert got.repeated == 0
            frame = can_batch(1).values[0]
            assert got.records[1, 0] == [NOON_NS, [frame.arbitration_id, 0, frame.data.hex()]]
            assert got.records[1, 740] == [
                NOON_NS,
                None,
                {"reason": "the bus was down", "count": 0, "from_ns": NOON_NS, "to_ns": NOON_NS + 5},
            ]
            assert states(broker) == [("birth", 1), ("death", 1)]
            first = next(each for each in broker.published if each.topic == "cpc/g1/can0")
            if version == "5":
                assert first.user_properties == {"cpc-key": json.loads(first.payload)["key"]}
            site.close()
            again = Outbox(tmp_path / "outbox.db", SPOOL_KEY)
            assert again.counts().messages == 0
            again.close()

    run(story)


def test_nothing_leaves_the_outbox_before_the_broker_has_said_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with TestBroker(is_acking=False) as broker:
            site = open_site(tmp_path, section_for(broker, window=4))
            task = asyncio.ensure_future(site.uplink.run())
            site.accept(can_batch(100))
            await site.uplink.settle()
            await until(lambda: len(data(broker)) == 4)
            assert site.outbox.counts().messages == 10
            # The window is full: what is sent later is no message from behind it.
            site.uplink.announce(Identity("g1", DID))
            await until(lambda: len(states(broker)) == 2)
            assert len(data(broker)) == 4
            await cancelled(task)
            site.close()

    run(story)


def test_a_broker_that_is_cut_off_gets_everything_once_by_key(tmp_path: Path) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            site = open_site(tmp_path, section_for(broker))
            task = asyncio.ensure_future(site.uplink.run())
            for number in range(30):
                site.accept(can_batch(20, NOON_NS + number * 10**9))
                if number % 10 == 5:
                    sent = site.uplink.stats.sent
                    await site.uplink.settle()
                    await until(lambda: site.uplink.stats.sent > sent)  # noqa: B023 - called at once
                    connections = site.uplink.stats.connections
                    broker.drop_all()
                    await until(lambda: site.uplink.stats.connections > connections)  # noqa: B023 - as above
            await until(lambda: complete(broker, 600))
            await site.uplink.settle()
            await site.uplink.wait_idle()
            assert len(received(broker).records) == 600
            assert site.uplink.stats.connections == 4
            # Whoever listens knows that each was another connection, and which of them is not over.
            told = states(broker)
            assert max(Counter(told).values()) == 1
            assert {("death", 1), ("death", 2), ("death", 3), ("birth", 4)} <= set(told)
            assert ("death", 4) not in told
            assert json.loads(broker.retained["cpc/g1/state"].payload)["session"] == 4
            await cancelled(task)
            site.close()

    run(story)


def test_a_half_open_link_is_noticed_by_what_it_does_not_acknowledge(tmp_path: Path) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            site = open_site(tmp_path, section_for(broker, ack_timeout_ms=100))
            task = asyncio.ensure_future(site.uplink.run())
            site.accept(can_batch(50))
            await until(lambda: complete(broker, 50))
            broker.alive.clear()
            site.accept(can_batch(50))
            await until(lambda: site.uplink.waiting_count > 0)
            # It gives up, and tries again, which here is as dead as before.
            await until(lambda: site.uplink.waiting_count == 0 or site.uplink.stats.connections > 1)
            broker.drop_all()
            broker.alive.set()
            await until(lambda: complete(broker, 100) and site.uplink.stats.connections >= 2)
            await cancelled(task)
            site.close()

    run(story)


def test_a_silent_half_open_link_is_noticed_by_keepalive(tmp_path: Path) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            site = open_site(tmp_path, section_for(broker, keepalive_ms=1_000))
            task = asyncio.ensure_future(site.uplink.run())
            await until(lambda: site.uplink.stats.connections == 1)
            broker.is_answering_pings = False
            await until(lambda: site.uplink.stats.connections == 2)
            await cancelled(task)
            site.close()

    run(story)


def test_a_message_that_is_refused_stays_and_is_sent_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            site = open_site(tmp_path, section_for(broker))
            task = asyncio.ensure_future(site.uplink.run())
            await until(lambda: site.uplink.stats.connections == 1)
            # Quota exceeded.  Source: MQTT 5.0, section 3.4.2.1.
            broker.publish_code = 0x97
            site.accept(can_batch(30))
            await until(lambda: site.uplink.stats.connections == 2)
            assert data(broker) == []
            assert site.outbox.counts().records == 30
            broker.publish_code = 0
            await until(lambda: complete(broker, 30))
            await cancelled(task)
            site.close()

    run(story)


def test_nobody_listening_is_no_refusal(tmp_path: Path) -> None:
    async def story() -> None:
        # No matching subscribers.  Source: MQTT 5.0, section 3.4.2.1.
        async with TestBroker(publish_code=0x10) as broker:
            site = open_site(tmp_path, section_for(broker))
            task = asyncio.ensure_future(site.uplink.run())
            site.accept(can_batch(30))
            await site.uplink.settle()
            await site.uplink.wait_idle()
            assert site.uplink.stats.connections == 1
            await cancelled(task)
            site.close()

    run(story)


@pytest.mark.parametrize("answer", [1, 0x84])
def test_another_version_is_never_tried(tmp_path: Path, answer: int) -> None:
    async def story() -> None:
        # Unsupported protocol version, as 3.1.1 and 5 say it.
        version = "3.1.1" if answer == 1 else "5"
        async with TestBroker(connect_code=answer) as broker:
            site = open_site(tmp_path, section_for(broker, version=version), clock=EAGER)
            task = asyncio.ensure_future(site.uplink.run())
            site.accept(can_batch(10))
            await until(lambda: len(broker.versions) == 10)
            assert set(broker.versions) == {4 if version == "3.1.1" else 5}
            assert not broker.connects
            assert not task.done()
            assert site.outbox.counts().records == 10
            await cancelled(task)
            site.close()

    run(story)


def test_a_message_larger_than_the_broker_takes_is_told_of_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with TestBroker(packet_size_max=1_000) as broker:
            site = open_site(tmp_path, section_for(broker, batch_records_max=100))
            task = asyncio.ensure_future(site.uplink.run())
            site.accept(can_batch(100))
            await until(lambda: "lower uplink.message_size_max_kib" in caplog.text)
            assert site.outbox.counts().records == 100
            await cancelled(task)
            site.close()

    run(story)


def test_a_restart_goes_on_where_the_broker_has_stopped(tmp_path: Path) -> None:
    async def story() -> None:
        async with TestBroker(is_acking=False) as broker:
            site = open_site(tmp_path, section_for(broker))
            task = asyncio.ensure_future(site.uplink.run())
            site.accept(can_batch(60))
            await until(lambda: complete(broker, 60))
            # Taken in, and neither in the outbox nor sealed when the process ends.
            site.accept(can_batch(7))
            await cancelled(task)
            site.spool.close()
            site.outbox._database.close()
            broker.is_acking = True
            again = open_site(tmp_path, section_for(broker))
            assert again.pipeline.recovered_count == 67
            task = asyncio.ensure_future(again.uplink.run())
            again.accept(can_batch(5))
            await until(lambda: complete(broker, 67) and complete(broker, 5, boot=2))
            await again.uplink.settle()
            await again.uplink.wait_idle()
            got = received(broker)
            assert len(got.records) == 72
            assert got.repeated == 6
            await cancelled(task)
            again.close()

    run(story)


def test_a_full_outbox_lets_ingest_wait_where_that_is_the_policy(tmp_path: Path) -> None:
    section = UplinkSection(url="mqtt://127.0.0.1:9", batch_records_max=10)
    site = open_site(tmp_path, section, BLOCK, 5_000)
    accepted = 0
    while site.pipeline.tap is not None and site.pipeline.tap.has_room:
        site.accept(can_batch(10, NOON_NS + accepted * 10**9))
        site.handover.settle()
        accepted += 10
    with pytest.raises(SpoolFull, match="the uplink's outbox has no room for this stream, whose policy is"):
        site.accept(can_batch(10))
    assert 50 < accepted < 1_000
    assert site.outbox.counts().records == accepted
    # Nothing of the batch that was refused is anywhere; once there is room it goes on with the next number.
    messages = site.outbox.waiting(0, 1_000)
    site.outbox.done(message.row for message in messages)
    site.handover.settle()
    site.accept(can_batch(10))
    site.handover.settle()
    assert [message.key.split("/")[2] for message in site.outbox.waiting(0, 10)] == [
        f"{accepted}-{accepted + 9}"
    ]
    site.close()
