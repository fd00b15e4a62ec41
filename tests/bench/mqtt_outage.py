"""`python -m tests.bench.mqtt_outage`: what is lost, and what comes twice, when the broker fails for a while.

Runs on CPython, on Linux.  Messages come at a steady rate from one broker, which is well; the gateway, ours
as `cpc run` runs it or thingsboard-gateway, sends them on to another one, through a proxy.  The same happens
to both, one after the other:

    well, SIGKILL to the broker and some time without it, well, half-open for some time and then cut, well

What the second broker took, which it told before it acknowledged, is counted by the part in which a message
was published.  A receiver of ours drops what it knows by its key; the peer's messages have none.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from gateway.cli_gateway import make_site
from gateway.sensors.mqtt_broker import Broker
from gateway.sensors.mqtt_link import Link
from tests.bench import mqtt_peer
from tests.fault_broker import BrokerProcess
from tests.gateway.stalling_proxy import StallingProxy
from tests.gateway_process import GatewayProcess
from tests.node_process import NodeProcess

CONFIG = """\
[chain]
node_url = "{node_url}"

[uplink]
url = "mqtt://127.0.0.1:{server_port}"

[[stream]]
name = "m"
source = "mqtt://127.0.0.1:{port}/peer?payload=text"
"""
KILLED = "broker killed"
SILENT = "half-open"
FIRST = 10_000_000
"""The first value."""
TIMES_MS = 1_800_000_000_000
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens, and how long it takes."""

    rate_hz: int = 100
    well_s: float = 10.0
    down_s: float = 10.0
    silence_s: float = 40.0
    quiet_s: float = 60.0
    """When nothing more has come for so long, what is missing is lost."""

    @property
    def parts(self) -> tuple[tuple[str, float], ...]:
        """(name, seconds), in their order."""
        return (
            ("well at first", self.well_s),
            (KILLED, self.down_s),
            ("well between", self.well_s),
            (SILENT, self.silence_s),
            ("well at last", self.well_s),
        )


@dataclass
class Outcome:
    """What came of it."""

    published: Counter[str]
    """By part."""
    lost: Counter[str]
    duplicated: int
    """Records that a receiver would count twice."""
    repeated: int
    """Messages that a receiver can drop, by their key."""

    def lines(self, who: str) -> Iterator[str]:
        """For people."""
        total, lost = self.published.total(), self.lost.total()
        yield (
            f"{who}: {total} records, {lost} lost, {self.duplicated} duplicated, "
            f"{self.repeated} messages repeated and dropped by key"
        )
        for part, count in self.published.items():
            yield f"    published, {part}: {count}, of these lost: {self.lost[part]}"


Runs = Callable[[Path, int, int], AbstractContextManager[object]]
"""(folder, port, server port) -> the gateway, while it runs."""


@contextlib.contextmanager
def ours(folder: Path, port: int, server_port: int) -> Iterator[object]:
    """Our gateway, and the chain that it anchors on."""
    with NodeProcess(folder / "chain") as node:
        text = CONFIG.format(node_url=node.url, port=port, server_port=server_port)
        make_site(folder / "site", text, node.genesis, False)
        with GatewayProcess(folder / "site") as process:
            yield process


def theirs(folder: Path, port: int, server_port: int) -> AbstractContextManager[object]:
    """thingsboard-gateway."""
    return mqtt_peer.running(folder, port, server_port, "5")


async def outage(runs: Runs, plan: Plan, answer: Callable[[str], tuple[str, bytes] | None] | None) -> Outcome:
    """One gateway's."""
    source, server = BrokerProcess(), BrokerProcess(answer=answer)
    await source.start()
    await server.start()
    try:
        async with StallingProxy(server.port) as proxy:
            with tempfile.TemporaryDirectory(prefix="cpc-outage-") as name:
                running = runs(Path(name), source.port, proxy.port)
                await asyncio.to_thread(running.__enter__)
                try:
                    async with _publisher(source.port) as link:
                        await _started(link, server)
                        published = await _suffer(link, plan, proxy, server)
                        await _quiet(server, published, plan.quiet_s)
                finally:
                    await asyncio.to_thread(running.__exit__, None, None, None)
    finally:
        await source.end(signal.SIGTERM)
        await server.end(signal.SIGTERM)
    return tally(server.taken, published)


@contextlib.asynccontextmanager
async def _publisher(port: int) -> AsyncIterator[Link]:
    link = Link(Broker("127.0.0.1", port), "bench-publisher")
    await link.open()
    try:
        yield link
    finally:
        link.close()


async def _started(link: Link, server: BrokerProcess) -> None:
    """Until what is published arrives: gateways tell nobody that they have started."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while not any(_values(topic, payload)[1] for topic, payload in server.taken):
            _publish(link, 0)
            await asyncio.sleep(1)


def _publish(link: Link, value: int) -> None:
    # A time of its own for each: of several in one millisecond the peer keeps one, also when all is well.
    link.publish("peer", b'{"ts":%d,"sensor":7,"value":%d}' % (TIMES_MS + value, value))


async def _suffer(link: Link, plan: Plan, proxy: StallingProxy, server: BrokerProcess) -> list[str]:
    """The part in which each value was published."""
    published: list[str] = []
    for part, duration_s in plan.parts:
        if part == KILLED:
            await server.end(signal.SIGKILL)
        elif part == SILENT:
            proxy.stall()
        began_s = time.monotonic()
        done = 0
        while (passed_s := time.monotonic() - began_s) < duration_s:
            if done < passed_s * plan.rate_hz:
                _publish(link, FIRST + len(published))
                published.append(part)
                done += 1
            await asyncio.sleep(0.001)
        if not server.is_running:
            await server.start()
        if part == SILENT:
            proxy.cut()
    return published


async def _quiet(server: BrokerProcess, published: list[str], quiet_s: float) -> None:
    """Until all has arrived, or nothing more does."""
    wanted = {FIRST + number for number in range(len(published))}
    seen = 0
    while wanted:
        for topic, payload in server.taken[seen:]:
            wanted.difference_update(_values(topic, payload)[1])
        seen = len(server.taken)
        server.news.clear()
        try:
            async with asyncio.timeout(quiet_s):
                # Births and deaths are no news of what is missing.
                while len(server.taken) == seen and wanted:
                    await server.news.wait()
                    server.news.clear()
        except TimeoutError:
            return


def _values(topic: str, payload: bytes) -> tuple[str, list[int]]:
    """(key, values) of a message of either gateway."""
    if topic == mqtt_peer.TELEMETRY.decode():
        return "", [value for value in mqtt_peer.values_of(payload) if isinstance(value, int)]
    if topic != "cpc/gateway/m":
        return "", []
    message = json.loads(payload)
    values = [record[1]["payload"] for record in message["records"] if record[1] is not None]
    return message["key"], [json.loads(value)["value"] for value in values]


def tally(taken: list[tuple[str, bytes]], published: list[str]) -> Outcome:
    """What a receiver has, beside what was published."""
    keys: set[str] = set()
    arrived: Counter[int] = Counter()
    repeated = 0
    for topic, payload in taken:
        key, values = _values(topic, payload)
        if key and key in keys:
            repeated += 1
            continue
        keys.add(key)
        arrived.update(value for value in values if value >= FIRST)
    lost = Counter(part for number, part in enumerate(published) if not arrived[FIRST + number])
    return Outcome(Counter(published), lost, sum(count - 1 for count in arrived.values()), repeated)


def main(arguments: list[str] | None = None) -> int:
    """Both, in one run."""
    plan = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.mqtt_outage", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rate-hz", type=int, default=plan.rate_hz, help=f"[{plan.rate_hz}]")
    parser.add_argument("--down-s", type=float, default=plan.down_s, help=f"without broker [{plan.down_s:g}]")
    parser.add_argument("--silence-s", type=float, default=plan.silence_s, help=f"[{plan.silence_s:g}]")
    args = parser.parse_args(arguments)
    plan = Plan(args.rate_hz, down_s=args.down_s, silence_s=args.silence_s)
    mine = asyncio.run(outage(ours, plan, None))
    print(*mine.lines("cpc"), sep="\n", flush=True)
    if mqtt_peer.is_installed():
        print(*asyncio.run(outage(theirs, plan, peer_answer)).lines(mqtt_peer.NAME), sep="\n", flush=True)
    else:
        print(f"{mqtt_peer.NAME} is not there; make bench-peers fetches it", file=sys.stderr)
    return int(bool(mine.lost or mine.duplicated))


def peer_answer(topic: str) -> tuple[str, bytes] | None:
    """Of the peer's server."""
    return mqtt_peer.answer(topic) if topic.startswith(mqtt_peer.REQUEST.decode()) else None


if __name__ == "__main__":
    sys.exit(main())
