"""`python -m tests.faults --kills 12 --silence-s 40`: kills gateways while their broker fails in every way.

Runs on CPython, on Linux.  A gateway sends what it takes in to a broker, through a proxy; all three are
processes or tasks of their own.  Something is wrong all the time:

    well       nothing
    sigterm    the broker is ended and started again
    sigkill    the same, without a word
    half-open  connections stay, and nothing comes through, until the gateway has given up; and for so long
    one-way    what the gateway sends arrives, and no answer does: all of it will be sent again
    disk full  the gateway's own databases find no room

and meanwhile the gateway gets SIGKILL again and again, at moments that come from a seed, counted in batches
that it has acknowledged.  The last one is left to send everything, and then every record that was promised to
the source is at the broker, once after a receiver has dropped what it knows by its key; else it ends with 1.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing.connection
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from gateway.cli_gateway import make_site
from tests import mqtt_kill_victim
from tests.chain_node.world import genesis_of
from tests.fault_broker import BrokerProcess, context
from tests.gateway.stalling_proxy import StallingProxy
from tests.mqtt_kill_victim import Part

CONFIG = """\
[chain]
node_url = "http://127.0.0.1:9"

[uplink]
url = "mqtt://127.0.0.1:{port}"
version = "{version}"
batch_ms = 20
batch_records_max = 25
window = 8
ack_timeout_ms = {ack_timeout_ms}

[[stream]]
name = "up"
source = "counting:up"
block_ms = 200
segment_blocks = 5
"""
BATCHES_MAX = 80
"""That a gateway acknowledges before it is killed, at most, where it need not live long."""
BATCHES_A_SECOND = 250
"""That it acknowledges, about: in a story of silences, some gateways must live as long as one."""
SILENT = ("half-open", "one-way")
MESSAGES_MAX = 15
"""That a broker takes before the next fault, at most."""
LAST_TIMEOUT_S = 120.0


@dataclass
class Counts:
    """What a story came to."""

    kills: int = 0
    faults: int = 0
    """Times that it was ended, silent, or full."""
    acknowledged: int = 0
    """Records, to the source."""
    arrived: int = 0
    """At the receiver, after it dropped what it knew by its key."""
    lost: int = 0
    """Acknowledged, and not arrived."""
    duplicated: int = 0
    """Records that came under two keys."""
    repeated: int = 0
    """Messages that the receiver dropped."""

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, each.name)} {each.name}" for each in fields(self))


@dataclass
class World:
    """What can go wrong, and how it is told."""

    broker: BrokerProcess
    proxy: StallingProxy
    moments: random.Random
    silence_s: float
    faults: int = 0
    promised: dict[int, int] = field(default_factory=dict)
    """Records that each boot has acknowledged."""

    async def messages(self) -> None:
        """Returns when the broker has taken some more."""
        wanted = len(self.broker.taken) + self.moments.randint(1, MESSAGES_MAX)
        while len(self.broker.taken) < wanted:
            self.broker.news.clear()
            await self.broker.news.wait()

    async def counted(self, count: Callable[[], int]) -> None:
        """Returns when a count of the proxy has grown."""
        before = count()
        while count() <= before:
            self.proxy.news.clear()
            await self.proxy.news.wait()


async def well(world: World) -> None:
    """Nothing is wrong."""
    await asyncio.Event().wait()


async def _ended(world: World, number: signal.Signals) -> None:
    while True:
        await world.messages()
        noticed = asyncio.ensure_future(world.counted(lambda: world.proxy.refused_count))
        await world.broker.end(number)
        world.faults += 1
        # Until a gateway has found nobody there.
        await noticed
        await world.broker.start()


async def _silent(world: World, *, is_one_way: bool) -> None:
    while True:
        await world.messages()
        noticed = asyncio.ensure_future(world.counted(lambda: world.proxy.given_up_count))
        world.proxy.stall(is_one_way=is_one_way)
        world.faults += 1
        await asyncio.gather(noticed, asyncio.sleep(world.silence_s))
        # What was on its way arrives after all, or never does.
        world.moments.choice((world.proxy.flow, world.proxy.cut))()


FAULTS: dict[str, Callable[[World], Awaitable[None]]] = {
    "well": well,
    "sigterm": lambda world: _ended(world, signal.SIGTERM),
    "sigkill": lambda world: _ended(world, signal.SIGKILL),
    "half-open": lambda world: _silent(world, is_one_way=False),
    "one-way": lambda world: _silent(world, is_one_way=True),
    "disk full": well,
}


async def killed_gateways(
    site: Path, version: str, fault: str, *, kills: int, seed: int, silence_s: float, ack_timeout_ms: int
) -> Counts:
    """One story.  silence_s: how long a silence lasts at least."""
    broker = BrokerProcess()
    await broker.start()
    async with StallingProxy(broker.port) as proxy:
        world = World(broker, proxy, random.Random(seed), silence_s)
        text = CONFIG.format(port=proxy.port, version=version, ack_timeout_ms=ack_timeout_ms)
        make_site(site, text, genesis_of(), False)
        try:
            async with _suffering(world, fault):
                for number in range(kills):
                    batches_max = int(silence_s * BATCHES_A_SECOND) if fault in SILENT else 0
                    batches = world.moments.randint(0, max(batches_max, BATCHES_MAX))
                    full_seed = number if fault == "disk full" else None
                    await _gateway(site, world, Part(full_seed=full_seed), batches)
                    world.faults += full_seed is not None
            async with asyncio.timeout(LAST_TIMEOUT_S):
                await _gateway(site, world, Part(is_last=True), None)
        finally:
            await broker.end(signal.SIGTERM)
    return tally(broker.taken, world, kills)


@contextlib.asynccontextmanager
async def _suffering(world: World, fault: str) -> AsyncIterator[None]:
    task = asyncio.ensure_future(FAULTS[fault](world))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        world.proxy.flow()
        if not world.broker.is_running:
            await world.broker.start()


async def _gateway(site: Path, world: World, part: Part, batches: int | None) -> None:
    """One gateway, until it has acknowledged so many batches; None: until it ends by itself."""
    ours, theirs = context().Pipe(duplex=False)
    process = context().Process(target=mqtt_kill_victim.run, args=(site, theirs, part), daemon=True)
    process.start()
    theirs.close()
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours.fileno(), _read, ours, lines)
    boot = count = 0
    while (line := await lines.get()) is not None:
        word, *values = line.split()
        if word == "boot":
            boot = int(values[0])
            world.promised[boot] = 0
        else:
            if world.promised[boot] != int(values[0]):
                raise RuntimeError(f"boot {boot}: batches were acknowledged out of order")
            world.promised[boot] += int(values[1])
            count += 1
        if batches is not None and count >= batches:
            # What it says from now until it is dead counts, too.
            process.kill()
            batches = None
    await asyncio.to_thread(process.join)
    if process.exitcode != (0 if part.is_last else -signal.SIGKILL):
        raise RuntimeError(f"a gateway has ended with {process.exitcode}")


def _read(pipe: multiprocessing.connection.Connection, lines: asyncio.Queue[str | None]) -> None:
    try:
        lines.put_nowait(pipe.recv())
    except (EOFError, ConnectionResetError):
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        pipe.close()
        lines.put_nowait(None)


def tally(taken: list[tuple[str, bytes]], world: World, kills: int) -> Counts:
    """What a receiver has that drops what it knows by its key, beside what was promised."""
    counts = Counts(kills, world.faults)
    seen: set[str] = set()
    arrived: Counter[tuple[int, int]] = Counter()
    for topic, payload in taken:
        if topic != "cpc/gateway/up":
            continue
        message = json.loads(payload)
        if message["key"] in seen:
            counts.repeated += 1
            continue
        seen.add(message["key"])
        for place, (_, value) in enumerate(message["records"]):
            if value != {"n": message["seq"] + place}:
                raise RuntimeError(f"{message['key']}: record {place} is {value}")
            arrived[message["boot"], message["seq"] + place] += 1
    counts.arrived = len(arrived)
    counts.duplicated = sum(count - 1 for count in arrived.values())
    for boot, count in world.promised.items():
        counts.acknowledged += count
        counts.lost += sum((boot, seq) not in arrived for seq in range(count))
    return counts


def main(arguments: list[str] | None = None) -> int:
    """Every fault, at length."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=12, help="gateways killed in each story [12]")
    parser.add_argument("--seed", type=int, default=1, help="of all moments [1]")
    parser.add_argument("--silence-s", type=float, default=40.0, help="how long a link is half-open [40]")
    parser.add_argument("--ack-timeout-ms", type=int, default=20_000, help="of the gateway [20000]")
    parser.add_argument("--only", choices=tuple(FAULTS), action="append", help="this fault; may be repeated")
    args = parser.parse_args(arguments)
    is_bad = False
    for place, fault in enumerate(args.only or FAULTS):
        version = ("5", "3.1.1")[place % 2]
        with tempfile.TemporaryDirectory(prefix="cpc-faults-") as name:
            counts = asyncio.run(
                killed_gateways(
                    Path(name) / "site",
                    version,
                    fault,
                    kills=args.kills,
                    seed=args.seed,
                    silence_s=args.silence_s,
                    ack_timeout_ms=args.ack_timeout_ms,
                )
            )
        print(f"{fault}, MQTT {version}: {counts}", flush=True)
        is_bad |= bool(counts.lost or counts.duplicated)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
