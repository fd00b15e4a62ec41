"""A day without a broker, in simulated time, with and without gateways that are killed meanwhile."""

import asyncio
import random
from pathlib import Path

import pytest

from gateway import uplink
from gateway.config_uplink import UplinkSection
from gateway.sensors.source import BLOCK, DROP_NEWEST, DROP_OLDEST, Batch, Clock
from gateway.uplink_handover import StreamTap
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.telemetry import NOON_NS, can_batch
from tests.gateway.test_uplink import Site, cancelled, open_site, received, run

POLL_MS = 30_000
BACK_OFF_MS = (200, 10_000, 600_000)
"""Attempts to connect are real, and a day of them is long."""


class SimulatedTime:
    """A clock that moves only when told, and wakes whoever sleeps till then."""

    def __init__(self) -> None:
        self._ns = NOON_NS
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []
        self.clock = Clock(lambda: self._ns, lambda: self._ns, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._ns + int(seconds * 1e9), woken))
        await woken

    async def pass_ms(self, duration_ms: int) -> None:
        """Step by step, so that nobody wakes late."""
        end_ns = self._ns + duration_ms * 1_000_000
        while due := [at_ns for at_ns, woken in self._sleepers if at_ns <= end_ns and not woken.done()]:
            self._ns = max(self._ns, min(due))
            for at_ns, woken in self._sleepers:
                if at_ns <= self._ns and not woken.done():
                    woken.set_result(None)
            self._sleepers = [each for each in self._sleepers if not each[1].done()]
            for _ in range(5):
                await asyncio.sleep(0)
        self._ns = end_ns


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "size_max"), [(BLOCK, 1 << 20), (DROP_OLDEST, 20_000), (DROP_NEWEST, 20_000)]
)
def test_a_day_without_a_broker(
    tmp_path: Path,
    policy: str,
    size_max: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the outbox can hold arrives; what it had to drop is told, in the stream and to the receiver."""

    # Timers are looked at five times a second, which makes a day of them long.
    monkeypatch.setattr(uplink, "POLL_MS", POLL_MS)
    monkeypatch.setattr(uplink, "BACK_OFF_MS", BACK_OFF_MS)

    async def story() -> None:
        async with TestBroker() as broker:
            port = broker.port
        time = SimulatedTime()
        section = UplinkSection(url=f"mqtt://127.0.0.1:{port}", batch_ms=50_000, batch_records_max=10)
        site = open_site(tmp_path, section, policy, size_max, time.clock)
        task = asyncio.ensure_future(site.uplink.run())
        count = 0
        # Twenty records every four minutes.  Attempts to connect are real and end at once: some are let out.
        for _ in range(360):
            site.accept(can_batch(20, time.clock.now_ns()))
            count += 20
            await time.pass_ms(240_000)
        await site.uplink.settle()
        count += tell_losses(site)
        assert site.uplink.stats.connections == 0
        async with TestBroker(port=port) as broker:

            async def tick() -> None:
                while True:
                    await time.pass_ms(POLL_MS)
                    await asyncio.sleep(0)

            ticking = asyncio.ensure_future(tick())
            await site.uplink.settle()
            await site.uplink.wait_idle()
            await cancelled(ticking)
            got = received(broker)
            told = [record[2] for record in got.records.values() if len(record) == 3]
            lost = sum(gap["count"] for gap in told)
            with capsys.disabled():
                print(
                    f"\na day without a broker, {policy}: {count} records, {len(got.records)} arrived, "
                    f"{lost} told as dropped, {got.repeated} messages repeated"
                )
            assert len(got.records) + lost == count
            if policy == BLOCK:
                assert lost == 0
            else:
                # In one range, and it says which: the receiver need not guess.
                (gap,) = told
                first, last = (0, lost - 1) if policy == DROP_OLDEST else (7_200 - lost, 7_199)
                assert gap["reason"] == f"uplink: 1/{first}-{last} not sent: the outbox was full"
                assert lost > 1_000
            assert site.outbox.counts().losses == 0
        await cancelled(task)
        site.close()

    run(story)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "size_max"), [(BLOCK, 1 << 20), (DROP_OLDEST, 20_000), (DROP_NEWEST, 20_000)]
)
def test_a_day_without_a_broker_and_with_gateways_that_are_killed(
    tmp_path: Path,
    policy: str,
    size_max: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a killed one had only in memory is taken up from the spool, and told again."""
    monkeypatch.setattr(uplink, "POLL_MS", POLL_MS)
    monkeypatch.setattr(uplink, "BACK_OFF_MS", BACK_OFF_MS)
    moments = random.Random(1)

    async def story() -> None:
        async with TestBroker() as broker:
            port = broker.port
        time = SimulatedTime()
        section = UplinkSection(url=f"mqtt://127.0.0.1:{port}", batch_ms=50_000, batch_records_max=10)
        site = open_site(tmp_path, section, policy, size_max, time.clock)
        task = asyncio.ensure_future(site.uplink.run())
        given = kills = told_count = 0
        for _ in range(360):
            site.accept(can_batch(20, time.clock.now_ns()))
            given += 20
            if moments.random() < 0.1:
                await time.pass_ms(moments.randint(0, 240_000))
                await killed(site, task)
                kills += 1
                site = open_site(tmp_path, section, policy, size_max, time.clock)
                task = asyncio.ensure_future(site.uplink.run())
            elif moments.random() < 0.1:
                told_count += tell_losses(site)
            await time.pass_ms(240_000)
        await site.uplink.settle()
        told_count += tell_losses(site)
        assert kills > 20
        async with TestBroker(port=port) as broker:

            async def tick() -> None:
                while True:
                    await time.pass_ms(POLL_MS)
                    await asyncio.sleep(0)

            ticking = asyncio.ensure_future(tick())
            await site.uplink.settle()
            await site.uplink.wait_idle()
            await cancelled(ticking)
            got = received(broker)
            records = [record for record in got.records.values() if len(record) == 2]
            lost = sum(record[2]["count"] for record in got.records.values() if len(record) == 3)
            with capsys.disabled():
                print(
                    f"\na day without a broker and with {kills} kills, {policy}: {given} records, "
                    f"{len(records)} arrived, {lost} told as dropped in {told_count} gap records, "
                    f"0 under two keys, {got.repeated} messages repeated"
                )
            assert (lost == 0) is (policy == BLOCK)
            assert len(records) + lost == given
            assert site.outbox.counts().losses == 0
        await cancelled(task)
        site.close()

    run(story)


async def killed(site: Site, task: asyncio.Task[None]) -> None:
    """As by SIGKILL: the databases stay as they were synced last."""
    await cancelled(task)
    site.spool.close()
    site.outbox._database.close()


def tell_losses(site: Site) -> int:
    """As the gateway does once a minute: how many were told."""
    tap = site.pipeline.tap
    assert isinstance(tap, StreamTap)
    losses = tap.new_losses()
    for gap in losses:
        site.accept(Batch([], [], [(0, gap)]))
        tap.told(gap)
    return len(losses)
