"""`python -m tests.bench.floods`: what a flood costs the node that it is for, and everybody else.

Runs on CPython, on Linux.  Four validators and a proposer run as `cpc node run`; a steady load of transfers,
well below what they can do, goes to all but the first validator, and that is attacked, by one kind of flood
after the other, each from an address of its own.  Measured against a calm phase of the same run are:

    kept      transfers that became final, of those accepted meanwhile, against the same of the calm phase
    victim    processor time of the victim a second beyond that of the calm phase: what the attacker costs it
    others    the same of the other nodes, on average

The attacker is held to a share of one core (flood_attacks.py), and its own use is printed: with all on one
machine that much is gone for everybody, whatever the nodes do.

`--overload` measures instead what becomes of throughput when more comes than can be done: the most that nodes
made final of an endless offer, and the same at twice as much offered a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import aiohttp

from chain_node.light_http import NodeClient
from chain_node.rpc_format import BATCH_MAX
from chain_node.transaction import Transaction, Transfer
from tests.bench import chain_network
from tests.bench.chain_network import ACCOUNTS, NO_PROPOSER, Bench, NodeUnderLoad, Plan
from tests.bench.flood_attacks import ATTACKS
from tests.bench.measure import Row, digest_of, table
from tests.nemesis.processes import die_with_parent

VICTIM = 0
STEP_MS = 100
"""How often the steady load sends what is due."""
PAUSE_S = 3.0
"""Between floods, so that each begins with what strangers may cost unused."""
FIFTH = 0.8


@dataclass(frozen=True, slots=True)
class Phase:
    """One flood, or calm."""

    name: str
    transfers_per_second: float
    """Final, by the blocks' own times."""
    accepted_per_second: float
    """Of the steady load; what sends it needs time as well, and gets less on a busy machine."""
    interval_ms_max: int
    """The longest between two blocks."""
    impeached: int
    victim_ms: float
    """Processor time of the victim a second."""
    others_ms: float
    """Of the others, on average."""
    memory_mib: float
    """The most that the victim ever had."""
    members: int
    """That the victim was connected with at the end."""
    is_shut: bool
    """Whether the victim was shut at the end."""
    attacker: dict[str, int]
    """What the attacker did."""


class FloodBench(Bench):
    """One network, flooded.  phase_seconds: of each flood, and of calm."""

    def __init__(self, folder: Path, plan: Plan, phase_seconds: float, share: float) -> None:
        super().__init__(folder, plan)
        self.phase_seconds, self.share = phase_seconds, share
        self.accepted = 0

    async def measure(self, names: Sequence[str]) -> list[Phase]:
        """Calm, and then each of these.  All that was accepted is final in the end, or TimeoutError."""
        phases = []
        try:
            self.nodes = [NodeUnderLoad(folder, None) for folder in self.folders]
            self.clients = [NodeClient(url, timeout_ms=60_000) for url in self.urls]
            await self._until(self._is_connected)
            first = (await self.clients[1].chain_info()).height + 1
            stop = asyncio.Event()
            load = asyncio.create_task(self._load(stop))
            await self._next_head((await self.clients[1].chain_info()).height + 2)
            phases.append(await self._phase("calm", None))
            for number, name in enumerate(names):
                await asyncio.sleep(PAUSE_S * min(self.phase_seconds / 5, 1))
                phases.append(await self._phase(name, f"127.0.0.{number + 10}"))
            stop.set()
            await load
            others = [index for index in range(len(self.nodes)) if index != VICTIM]
            await self._until(lambda: self._holds_all(first, others))
            await self._until(self._is_connected)
        finally:
            for client in self.clients:
                await client.close()
            for node in self.nodes:
                node.end(signal.SIGTERM)
        return phases

    async def _phase(self, name: str, source: str | None) -> Phase:
        height = await self._next_head(0)
        accepted, since = self.accepted, time.monotonic()
        before, begin = [node.usage().cpu_ms for node in self.nodes], time.monotonic()
        told: dict[str, int] = {}
        if source:
            told = await self._attack(name, source)
        else:
            await asyncio.sleep(self.phase_seconds)
        seconds = time.monotonic() - begin
        used = [node.usage().cpu_ms - old for node, old in zip(self.nodes, before, strict=True)]
        top = await self._next_head(0)
        accepted_per_second = (self.accepted - accepted) / (time.monotonic() - since)
        headers = [header for header in await self._headers(height) if header.height <= top]
        spans = [b.time_ms - a.time_ms for a, b in pairwise(headers)]
        status = await self.clients[VICTIM].ask("node_status")
        return Phase(
            name=name,
            transfers_per_second=sum(each.tx_count for each in headers[1:]) * 1000 / sum(spans),
            accepted_per_second=accepted_per_second,
            interval_ms_max=max(spans),
            impeached=sum(each.proposer == NO_PROPOSER for each in headers[1:]),
            victim_ms=used[VICTIM] / seconds,
            others_ms=sum(used[VICTIM + 1 :]) / (len(used) - 1) / seconds,
            memory_mib=self.nodes[VICTIM].memory_mib(),
            members=int(str(status["member_count"])),
            is_shut=bool(status.get("shut")),
            attacker=told,
        )

    async def _attack(self, name: str, source: str) -> dict[str, int]:
        settings = (self.folders[VICTIM] / "node.toml").read_text()
        peer_port = int(settings.split('listen = "')[1].split('"')[0].rsplit(":", 1)[1])
        rpc_port = int(self.urls[VICTIM].rsplit(":", 1)[1])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.flood_attacks", name),
            *("--genesis", str(self.folders[VICTIM] / "genesis.cbor"), "--source", source),
            *("--ports", str(peer_port), str(rpc_port)),
            *("--seconds", str(self.phase_seconds), "--share", str(self.share)),
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the attacker ended with {process.returncode}")
        told: dict[str, int] = json.loads(out)
        return told

    async def _load(self, stop: asyncio.Event) -> None:
        """The plan's rate, to all but the victim, each account's at one node; counts what is accepted."""
        nodes = [index for index in range(len(self.nodes)) if index != VICTIM]
        async with aiohttp.ClientSession() as session:
            begin, sent = time.monotonic(), 0
            while not stop.is_set():
                due = int((time.monotonic() - begin) * self.plan.rate)
                places = range(sent, due)
                sent = due
                shares = {
                    node: [place for place in places if nodes[place % ACCOUNTS % len(nodes)] == node]
                    for node in nodes
                }
                await asyncio.gather(*(self._submit(session, node, share) for node, share in shares.items()))
                with suppress(TimeoutError):
                    async with asyncio.timeout(STEP_MS / 1000):
                        await stop.wait()

    async def _submit(self, session: aiohttp.ClientSession, node: int, places: Sequence[int]) -> None:
        for at in range(0, len(places), BATCH_MAX):
            batch = [
                {
                    "jsonrpc": "2.0",
                    "id": place,
                    "method": "tx_submit",
                    "params": {"tx": self._transfer(place)},
                }
                for place in places[at : at + BATCH_MAX]
            ]
            async with session.post(self.urls[node], json=batch) as response:
                answers = json.loads(await response.read())
            refused = [answer["error"] for answer in answers if "error" in answer]
            if refused:
                raise RuntimeError(f"a transfer of the steady load is refused: {refused[0]}")
            self.accepted += len(answers)

    def _transfer(self, place: int) -> str:
        """Signed as it is due: signing many at once would stop the load."""
        key, other = self.keys[place % ACCOUNTS], self.keys[(place + 1) % ACCOUNTS]
        body, fee_ucpc = Transfer(other.public, 1 + place), self.genesis.fee_min_ucpc
        return Transaction.sign(key, self.genesis.chain_id, place // ACCOUNTS, body, fee_ucpc).data.hex()

    async def _holds_all(self, first: int, nodes: Sequence[int]) -> bool:
        return await self._holds(first, self.accepted, nodes)

    async def _next_head(self, height: int) -> int:
        """The next block's height, as soon as it is there; at least `height`."""
        height = max(height, (await self.clients[1].chain_info()).height + 1)

        async def is_there() -> bool:
            return (await self.clients[1].chain_info()).height >= height

        await self._until(is_there)
        return height


def rows_of(phases: Sequence[Phase]) -> list[Row]:
    """A bench's rows; the first phase is calm."""
    calm = phases[0]
    rows = []
    digest = digest_of([phase.name for phase in phases])
    for phase in phases:
        kept = _share(phase) / _share(calm)
        did = ", ".join(f"{name} {count}" for name, count in phase.attacker.items())
        parts = (
            f"of {phase.accepted_per_second:.0f} accepted",
            f"victim {phase.victim_ms - calm.victim_ms:+.0f} ms/s (calm {calm.victim_ms:.0f})",
            f"others {phase.others_ms - calm.others_ms:+.0f} ms/s",
            f"longest interval {phase.interval_ms_max} ms",
            f"{phase.impeached} impeached",
            f"victim {phase.memory_mib:.0f} MiB",
            f"{phase.members} members",
            *(["shut"] if phase.is_shut else []),
            f"attacker: {did or 'none'}",
        )
        note = "; ".join(parts)
        rate, calm_rate = phase.transfers_per_second, calm.transfers_per_second
        rows.append(Row("flood", phase.name, "tx/s", rate, "calm", calm_rate, kept, digest, note=note))
    return rows


def _share(phase: Phase) -> float:
    return phase.transfers_per_second / phase.accepted_per_second


def flood(plan: Plan, names: Sequence[str], phase_seconds: float, share: float) -> list[Phase]:
    """One network, in a folder of its own that goes away when all went well."""
    folder = Path(tempfile.mkdtemp(prefix="cpc-bench-flood-"))
    phases = asyncio.run(FloodBench(folder / "net", plan, phase_seconds, share).measure(names))
    shutil.rmtree(folder)
    return phases


def overload(seconds: float, period_ms: int, offer: int) -> list[Row]:
    """Throughput at an endless offer, at as much as that gave, and at twice as much."""
    rows = []
    most = chain_network.run(Plan(seconds, offer, period_ms=period_ms))
    peak = most.tx_per_second
    print(f"offered {offer} a second: {peak:.0f} final", flush=True)
    for factor in (1, 2):
        rate = max(round(factor * most.tx_per_second), 1)
        figures = chain_network.run(Plan(seconds, rate, period_ms=period_ms))
        peak = max(peak, figures.tx_per_second) if factor == 1 else peak
        print(f"offered {rate} a second: {figures.tx_per_second:.0f} final", flush=True)
        rows.append(
            Row(
                "overload",
                f"offered {factor} x capacity",
                "tx/s",
                figures.tx_per_second,
                "peak",
                peak,
                figures.tx_per_second / peak,
                figures.digest,
                note=f"{rate} offered a second, all {figures.transfers} accepted and final, busy "
                f"{figures.busy} times, {figures.impeached} impeached; "
                f"{'met' if figures.tx_per_second >= FIFTH * peak else 'MISSED'}: 0.8 of the peak",
            )
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.floods")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each flood [10]")
    parser.add_argument("--rate", type=int, default=100, help="transfers a second of the steady load [100]")
    parser.add_argument("--period-ms", type=int, default=1_000, help="between blocks [1000]")
    parser.add_argument("--share", type=float, default=0.3, help="of one core that the attacker uses [0.3]")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS), metavar="KIND")
    parser.add_argument("--overload", action="store_true", help="twice the load instead of floods")
    parser.add_argument("--offer", type=int, default=3_000, help="with --overload: what is endless [3000]")
    args = parser.parse_args(arguments)
    if args.overload:
        rows = overload(args.seconds, args.period_ms, args.offer)
    else:
        plan = Plan(rate=args.rate, period_ms=args.period_ms)
        rows = rows_of(flood(plan, args.only, args.seconds, args.share))
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores, nodes included")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
