"""Whatever a killed gateway had acknowledged to its source arrives at the broker, once by its key.

Gateways are killed at random moments, while the broker is well, stalls, dies or tells nobody what it has got.
The counts are printed.
"""

import asyncio
import contextlib
import json
import multiprocessing
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli_gateway import CONFIG_NAME, make_site
from tests import mqtt_kill_victim
from tests.chain_node.world import genesis_of
from tests.gateway.mqtt_broker import TestBroker

CONFIG = """\
[chain]
node_url = "http://127.0.0.1:9"

[uplink]
url = "mqtt://127.0.0.1:{port}"
version = "{version}"
batch_ms = 50
batch_records_max = 25
window = 8
ack_timeout_ms = 1000

[[stream]]
name = "up"
source = "counting:up"
block_ms = 200
segment_blocks = 5
"""
KILLS = 5
MOMENT_MAX_S = 1.2
"""After the start, which takes half a second."""
LAST_TIMEOUT_S = 60.0


@dataclass
class Counts:
    """What a story came to."""

    kills: int = 0
    acknowledged: int = 0
    """To the source."""
    arrived: int = 0
    """At the receiver, after it dropped what it knew by its key."""
    lost: int = 0
    duplicated: int = 0
    """Records that came under two keys."""
    repeated: int = 0
    """Messages that the receiver dropped."""


async def well(broker: TestBroker) -> None:
    await asyncio.Event().wait()


async def stalling(broker: TestBroker) -> None:
    """Half-open: connections stay, nothing is read or answered."""
    while True:
        await asyncio.sleep(0.5)
        broker.alive.clear()
        await asyncio.sleep(0.7)
        broker.alive.set()


async def dying(broker: TestBroker) -> None:
    """As by SIGKILL, and started again."""
    while True:
        await asyncio.sleep(0.6)
        await broker.stop()
        await asyncio.sleep(0.3)
        await broker.start()


async def mute(broker: TestBroker) -> None:
    """Takes messages, and tells nobody: everything will be sent again."""
    while True:
        await asyncio.sleep(0.4)
        broker.is_acking = not broker.is_acking


FAULTS = {"well": well, "stalling": stalling, "dying": dying, "mute": mute}


def promised(journal: str) -> dict[int, int]:
    """How many records each boot has acknowledged; a line that was cut is none."""
    counts: dict[int, int] = {}
    boot = 0
    for line in journal.split("\n")[:-1]:
        word, *values = line.split()
        if word == "boot":
            boot = int(values[0])
            counts[boot] = 0
        else:
            assert counts[boot] == int(values[0]), "batches were acknowledged out of order"
            counts[boot] += int(values[1])
    return counts


def tally(broker: TestBroker, journal: str, kills: int) -> Counts:
    counts = Counts(kills)
    seen: set[str] = set()
    arrived: Counter[tuple[int, int]] = Counter()
    for publish in broker.published:
        if publish.topic != "cpc/gateway/up":
            continue
        message = json.loads(publish.payload)
        if message["key"] in seen:
            counts.repeated += 1
            continue
        seen.add(message["key"])
        for place, (_, value) in enumerate(message["records"]):
            assert value == {"n": message["seq"] + place}
            arrived[message["boot"], message["seq"] + place] += 1
    counts.arrived = len(arrived)
    counts.duplicated = sum(count - 1 for count in arrived.values())
    for boot, count in promised(journal).items():
        counts.acknowledged += count
        counts.lost += sum((boot, seq) not in arrived for seq in range(count))
    return counts


@contextlib.asynccontextmanager
async def suffering(broker: TestBroker, fault: str) -> AsyncIterator[None]:
    task = asyncio.ensure_future(FAULTS[fault](broker))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if not broker.is_listening:
            await broker.start()


async def killed_gateways(site: Path, version: str, fault: str, seed: int) -> Counts:
    context = multiprocessing.get_context("spawn")
    moments = random.Random(seed)
    journal = site.with_suffix(".journal")
    async with TestBroker() as broker:
        text = CONFIG.format(port=broker.port, version=version)
        make_site(site, text, genesis_of(), False)
        assert (site / CONFIG_NAME).read_text() == text

        async def gateway(is_last: bool, for_s: float) -> None:
            process = context.Process(target=mqtt_kill_victim.run, args=(site, journal, is_last))
            process.start()
            await asyncio.to_thread(process.join, for_s)
            if process.is_alive():
                assert not is_last, "the last gateway does not end"
                process.kill()
            await asyncio.to_thread(process.join)
            assert is_last is (process.exitcode == 0)

        async with suffering(broker, fault):
            for _ in range(KILLS):
                await gateway(False, 0.4 + moments.random() * MOMENT_MAX_S)
        broker.is_acking = True
        broker.alive.set()
        await gateway(True, LAST_TIMEOUT_S)
        return tally(broker, journal.read_text(), KILLS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "version"), [("well", "5"), ("stalling", "5"), ("dying", "3.1.1"), ("mute", "5")]
)
def test_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, fault: str, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = asyncio.run(killed_gateways(tmp_path / "site", version, fault, seed=1))
    with capsys.disabled():
        print(
            f"\nbroker {fault}, MQTT {version}: {counts.kills} kills, "
            f"{counts.acknowledged} records acknowledged, {counts.arrived} arrived, "
            f"{counts.lost} lost, {counts.duplicated} duplicated, "
            f"{counts.repeated} messages repeated and dropped by key"
        )
    assert counts.acknowledged > 200
    assert (counts.lost, counts.duplicated) == (0, 0)
    # What was durable when a kill came, and acknowledged to nobody, may arrive, too.
    assert counts.acknowledged <= counts.arrived
