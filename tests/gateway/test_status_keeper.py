"""A status list is kept fresh: on a clock that is told, through outages, and by a gateway that runs."""

import argparse
import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import cli_status_keeper
from gateway.cli_gateway import CONFIG_NAME
from gateway.cli_output import Output
from gateway.cli_registrar import held_site
from gateway.config import GatewayConfig, load
from gateway.crypto.key_file import GatewayKey, load_gateway_key
from gateway.devices import Devices
from gateway.enrolment import TTL_MS, Site, enrol, publish, revoke
from gateway.errors import AnchorError, GatewayBusy
from gateway.sensors.source import Clock
from gateway.status_keeper import (
    LOOK_MS,
    REFRESH_MS,
    RETRY_MS,
    RETRY_MS_MAX,
    ListState,
    is_due,
    keep,
    list_state,
    note_failure,
    retry_ms,
)
from puf import cwt, status_list
from tests.gateway.commands import Cpc
from tests.gateway.enrolling import KEY, NOW_MS, LedgerRegistrar, open_devices, recording, site_of
from tests.node_process import NodeProcess

FRESH = ListState(True, 1, NOW_MS, True, True, 0, 0, "")
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("changes", "due_in_ms"),
    [
        ({}, REFRESH_MS),
        ({"issued_ms": NOW_MS - REFRESH_MS + 1}, 1),
        ({"issued_ms": NOW_MS - REFRESH_MS}, 0),
        ({"is_anchored": False}, 0),
        ({"is_current": False}, 0),
        ({"version": 0, "issued_ms": 0, "is_anchored": False}, 0),
        ({"is_needed": False, "is_anchored": False}, LOOK_MS),
        # A clock that was set back: a list of the future is refused by its readers, too.
        ({"issued_ms": NOW_MS + 60_001}, 0),
        ({"issued_ms": NOW_MS + 60_000}, REFRESH_MS + 60_000),
        # After failures, from the last one on.
        ({"is_anchored": False, "failures": 1, "tried_ms": NOW_MS}, RETRY_MS),
        ({"is_anchored": False, "failures": 1, "tried_ms": NOW_MS - 5_000}, RETRY_MS - 5_000),
        ({"is_anchored": False, "failures": 3, "tried_ms": NOW_MS}, 4 * RETRY_MS),
        ({"is_anchored": False, "failures": 30, "tried_ms": NOW_MS}, RETRY_MS_MAX),
        ({"is_anchored": False, "failures": 1, "tried_ms": NOW_MS + HOUR_MS}, RETRY_MS),
        ({"is_anchored": False, "failures": 1, "tried_ms": NOW_MS - HOUR_MS}, 0),
    ],
)
def test_a_list_is_due_when_it_should_be(changes: dict[str, object], due_in_ms: int) -> None:
    assert replace(FRESH, **changes).due_in_ms(NOW_MS) == due_in_ms  # type: ignore[arg-type]


def test_waits_grow_and_end_at_a_quarter_of_an_hour() -> None:
    waits = [retry_ms(failures) for failures in range(1, 10)]
    assert waits == [15_000, 30_000, 60_000, 120_000, 240_000, 480_000, 900_000, 900_000, 900_000]


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    with open_devices(tmp_path) as made:
        yield made


class Ended(Exception):
    """The time that is played is over."""


class World:
    """A site and its chain on a clock that is told; the chain is away in these spans."""

    def __init__(self, devices: Devices, away: list[tuple[int, int]], until_ms: int) -> None:
        self.now_ms = NOW_MS
        self.until_ms = until_ms
        self.away = away
        self.devices = devices
        self.site: Site = replace(site_of(devices), now_ms=lambda: self.now_ms)
        self.registrar = LedgerRegistrar()
        self.attempts_ms: list[int] = []
        self.ages_ms: list[tuple[int, int]] = []
        """(moment, age of the newest anchored list) whenever it was looked."""
        asyncio.run(enrol(self.site, "lock1", lambda: recording(), self.registrar))
        self.registrar.bodies.clear()
        self.registrar.before = self.may_fail
        self.begin_ms = self.now_ms

    def may_fail(self, what: str) -> None:
        if any(begin <= self.now_ms - NOW_MS < end for begin, end in self.away):
            raise AnchorError("the node is away")

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_ms += max(1, round(seconds * 1000))
        if self.now_ms - NOW_MS > self.until_ms:
            raise Ended

    async def attempt(self) -> None:
        self.attempts_ms.append(self.now_ms - NOW_MS)
        try:
            await publish(self.site, self.registrar)
        except AnchorError as error:
            note_failure(self.devices.connection, self.now_ms, error)

    def look(self) -> ListState:
        state = list_state(self.devices.connection)
        anchored = self.devices.anchored_list()
        if anchored:
            token = issued_ms_of(anchored.token)
            self.ages_ms.append((self.now_ms - NOW_MS, self.now_ms - token))
        return state

    def run(self) -> None:
        clock = Clock(lambda: self.now_ms * 1_000_000, lambda: self.now_ms * 1_000_000, self.sleep)
        with pytest.raises(Ended):
            asyncio.run(keep(self.look, self.attempt, clock))


def issued_ms_of(token: bytes) -> int:
    issued = cwt.open_cwt(token, status_list.TYP, status_list.TOKEN_SIZE_MAX).claims[cwt.IAT]
    assert isinstance(issued, int)
    return 1000 * issued


def test_nobody_ever_finds_it_stale_while_the_chain_is_there(devices: Devices) -> None:
    world = World(devices, [], 6 * HOUR_MS)
    world.run()
    assert max(age for _, age in world.ages_ms) <= REFRESH_MS + 1_000
    assert len(world.attempts_ms) == len(world.registrar.bodies) == 13


def test_an_outage_of_less_than_half_an_hour_is_not_noticed_by_readers(devices: Devices) -> None:
    # It goes away a moment before the list is made anew, and is back before the list is an hour old.
    world = World(devices, [(REFRESH_MS - 1, REFRESH_MS + 840_000)], 2 * HOUR_MS)
    world.run()
    assert max(age for _, age in world.ages_ms) < TTL_MS
    during = [moment for moment in world.attempts_ms if REFRESH_MS <= moment < REFRESH_MS + 840_000]
    assert 6 <= len(during) <= 8, "it is tried again, and rarer each time"


def test_a_long_outage_is_tried_through_seldom_and_ends_with_a_list_of_the_present(devices: Devices) -> None:
    world = World(devices, [(0, 10 * HOUR_MS)], 11 * HOUR_MS)
    world.run()
    during = [moment for moment in world.attempts_ms if moment < 10 * HOUR_MS]
    assert 40 <= len(during) <= 50
    waits = [after - before for before, after in itertools.pairwise(during)]
    assert waits == sorted(waits), "each wait is as long as the one before, at least"
    assert max(waits) <= RETRY_MS_MAX + LOOK_MS
    # What was made ten hours ago would count for nothing; and it took no version for each attempt.
    first_ms, first_age_ms = world.ages_ms[0]
    assert first_ms - 10 * HOUR_MS <= RETRY_MS_MAX + LOOK_MS
    assert first_age_ms <= TTL_MS
    later = [age for moment, age in world.ages_ms if moment > first_ms + LOOK_MS]
    assert max(later) <= REFRESH_MS + 1_000
    published = devices.published()
    assert published
    assert published.version <= 14


def test_a_list_that_could_not_be_anchored_for_an_hour_is_made_anew(devices: Devices) -> None:
    world = World(devices, [(0, 2 * HOUR_MS)], 0)
    for moment_ms, version, issued_ms in ((0, 1, 0), (TTL_MS - 1, 1, 0), (TTL_MS, 2, TTL_MS)):
        world.now_ms = NOW_MS + moment_ms
        asyncio.run(world.attempt())
        published = devices.published()
        assert published
        assert (published.version, issued_ms_of(published.token) - NOW_MS) == (version, issued_ms)
    # One that the disk has altered is not sent either.
    devices.connection.execute("UPDATE published SET token = x'00' WHERE version = 2")
    assert list_state(devices.connection).due_in_ms(world.now_ms + HOUR_MS) == 0
    asyncio.run(world.attempt())
    published = devices.published()
    assert published
    assert published.version == 3


def test_what_is_revoked_is_published_soon(devices: Devices) -> None:
    world = World(devices, [], HOUR_MS)
    asyncio.run(world.attempt())
    assert not is_due(world.site)
    device = devices.live("lock1")
    assert device
    # The command that revokes it is cut off before it publishes.
    devices.revoking(device.ident)
    assert is_due(world.site)
    world.until_ms = 2 * LOOK_MS
    world.run()
    assert not is_due(world.site)
    published = devices.published()
    assert published
    assert published.version == 2
    asyncio.run(revoke(world.site, "lock1", world.registrar))


def test_failures_are_counted_and_over_with_the_next_success(devices: Devices) -> None:
    note_failure(devices.connection, 5, AnchorError("away"))
    note_failure(devices.connection, 9, AnchorError("x" * 900))
    state = list_state(devices.connection)
    assert (state.failures, state.tried_ms, state.why) == (2, 9, "x" * 500)
    # Whichever command publishes it: `cpc device status-list` as well.
    asyncio.run(publish(site_of(devices), LedgerRegistrar()))
    assert list_state(devices.connection).failures == 0


def loaded(path: Path) -> tuple[GatewayConfig, GatewayKey, Output]:
    config = load(path)
    return config, load_gateway_key(config.key_path), Output(argparse.Namespace())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("chain") / "chain") as made:
        yield made


def test_a_gateway_that_runs_publishes_and_says_how_it_stands(
    cpc: Cpc, node: NodeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c: tuple[str, Path] = ("-c", tmp_path / "site" / CONFIG_NAME)
    cpc("init", tmp_path / "site", "--node", node.url, "--source", "sim:car?seconds=1&speed=max")
    cpc("run", *c, "--anchor-timeout-ms", 60000)
    (status,) = cpc.lines("status", *c)
    assert status["status_list"] is None, "nobody has an entry in it"
    cpc("enroll", "lock1", *c, "--simulate", "chip")
    assert "status list: none was made yet" in cpc("status", *c)
    done = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    publish_once = cli_status_keeper.publish_once

    async def told(*arguments: object) -> Exception | None:
        error = await publish_once(*arguments)  # type: ignore[arg-type]
        loops[0].call_soon_threadsafe(done.set)
        return error

    monkeypatch.setattr(cli_status_keeper, "publish_once", told)
    config = loaded(c[1])

    async def until_published() -> None:
        loops.append(asyncio.get_running_loop())
        task = asyncio.create_task(
            cli_status_keeper.keep_status_list(lambda: config[0], config[1], config[2])
        )
        async with asyncio.timeout(60):
            await done.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(until_published())
    (status,) = cpc.lines("status", *c)
    shown = status["status_list"]
    assert (shown["version"], shown["is_anchored"], shown["failures"]) == (1, True, 0)
    assert "version 1, made" in cpc("status", *c)


def test_a_lock_that_is_held_is_no_success(cpc: Cpc, node: NodeProcess, tmp_path: Path) -> None:
    c: tuple[str, Path] = ("-c", tmp_path / "site" / CONFIG_NAME)
    cpc("init", tmp_path / "site", "--node", node.url)
    config, key, output = loaded(c[1])
    with held_site(config, key) as site:
        found = asyncio.run(cli_status_keeper.publish_once(config, key, output))
        assert isinstance(found, GatewayBusy)
        assert list_state(site.devices.connection).failures == 0


def test_a_command_that_is_in_the_way_ends_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    came: list[Exception | None] = [AnchorError("away"), GatewayBusy("in the way"), None]
    said: list[list[str]] = []

    async def published(*_: object) -> Exception | None:
        said.append([record.getMessage() for record in caplog.records])
        return came.pop(0)

    async def keep_three(look: object, publish: Callable[[], Awaitable[object]], clock: Clock) -> None:
        for _ in range(3):
            await publish()

    monkeypatch.setattr(cli_status_keeper, "publish_once", published)
    monkeypatch.setattr(cli_status_keeper, "keep", keep_three)
    caplog.set_level("INFO")
    config: Any = None
    asyncio.run(cli_status_keeper.keep_status_list(lambda: config, KEY, Output(argparse.Namespace())))
    said.append([record.getMessage() for record in caplog.records])
    assert said[0] == []
    assert "away" in said[1][0]
    assert said[2] == said[1], "nothing is said of a lock that is held"
    assert "works again" in said[3][-1]


def test_what_keeps_it_from_being_published_is_seen_in_the_status(
    cpc: Cpc, node: NodeProcess, tmp_path: Path
) -> None:
    c: tuple[str, Path] = ("-c", tmp_path / "site" / CONFIG_NAME)
    cpc("init", tmp_path / "site", "--node", node.url, "--source", "sim:car?seconds=1&speed=max")
    cpc("run", *c, "--anchor-timeout-ms", 60000)
    cpc("enroll", "lock1", *c, "--simulate", "chip")
    text = (tmp_path / "site" / CONFIG_NAME).read_text()
    (tmp_path / "site" / CONFIG_NAME).write_text(text.replace(node.url, "http://127.0.0.1:9"))
    config = loaded(c[1])
    error = asyncio.run(cli_status_keeper.publish_once(*config))
    assert error is not None
    text = cpc("status", *c)
    assert "publishing failed 1 times, last at " in text
    assert str(error)[:40] in text
    (status,) = cpc.lines("status", *c)
    assert status["status_list"]["failures"] == 1
