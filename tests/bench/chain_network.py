"""`python -m tests.bench.chain_network --seconds 120`: what a network of nodes bears, and what it costs.

Runs on CPython, on Linux.  One proposer and some validators run as `cpc node run` on this machine, connected
with each other directly, and a sender gives them individually signed transfers of many accounts at a steady
rate.  All of them are signed before; what a node refuses as busy is sent again.  Measured is what stands in
blocks, by the blocks' own times; CPU, disk and memory are the kernel's figures of each process.  In the end
every transfer has to be final, once, and one validator, which was away meanwhile, at the head again.

The peer is what the machine could do if nodes did nothing but verify each signature once:
cores / (nodes x cost of one verification).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import aiohttp
from nacl.signing import VerifyKey

from chain_node.block import Header
from chain_node.errors import NodeUnavailable
from chain_node.genesis import Genesis
from chain_node.light_http import NodeClient
from chain_node.node_folder import TIMEOUTS, TestNetwork, init_network, to_toml
from chain_node.peer_address import Address
from chain_node.rpc_format import BATCH_MAX
from chain_node.transaction import SUPPLY_UCPC, Transaction, Transfer
from puf.ed25519 import SigningKey
from tests.bench.measure import Row, digest_of, table
from tests.gateway_process import COMMAND
from tests.nemesis.links import HOST
from tests.nemesis.network import free_ports
from tests.nemesis.processes import die_with_parent

ACCOUNTS = 400
SENDERS, CROWD = 3, 40
"""Requests that wait for an answer of one node at a time; and when it is to be more than the node can do."""
DEADLINE_S = 240.0
POLL_S = 0.25
"""Between two looks at what has become final, which cost the nodes something, too."""
AWAY_POLL_S = 0.05
NO_PROPOSER = bytes(32)
CLOCK_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    seconds: float = 120.0
    """For how long transfers are sent."""
    rate: int = 2_000
    """Transfers a second that are sent."""
    validators: int = 4
    period_ms: int = 3_000
    away_seconds: float = 0.0
    """How long one validator is away afterwards, while transfers go on; 0: this is left out."""
    profile: Path | None = None
    """Where the profile of one validator goes."""
    senders: int = SENDERS


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes have used since they began, as the kernel counts."""

    cpu_ms: int
    written: int
    """Bytes that they have had written to disks."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of it."""

    plan: Plan
    nodes: int
    transfers: int
    """Final, each once; all that were sent."""
    tx_per_second: float
    """From the first block with transfers to the last that came while they were sent."""
    bound_per_second: float
    """Of verifying alone."""
    intervals_ms: list[int]
    """Between blocks meanwhile."""
    impeached: int
    busy: int
    """Times that a node had a transfer sent again."""
    cpu_us: float
    """A transfer and node."""
    written: float
    """Bytes a transfer and node."""
    memory_mib: list[float]
    """The most of each node."""
    restart_ms: float | None
    """From a validator's start, after it was away, until it has the others' head."""
    away_blocks: int
    digest: str

    def rows(self) -> list[Row]:
        """As a bench's rows."""
        name = f"network {self.plan.validators}+1"
        interval_ms = median(self.intervals_ms) if self.intervals_ms else float("nan")
        spread = f"{min(self.intervals_ms)} to {max(self.intervals_ms)}" if self.intervals_ms else "none"
        rows = [
            Row(
                name,
                "final transfers",
                "tx/s",
                self.tx_per_second,
                "verifying alone",
                self.bound_per_second,
                self.tx_per_second / self.bound_per_second,
                self.digest,
                note=f"{self.transfers} sent at {self.plan.rate} a second, {self.busy} times busy",
            ),
            Row(
                name,
                "block interval, median",
                "ms",
                interval_ms,
                "the period",
                self.plan.period_ms,
                interval_ms / self.plan.period_ms,
                self.digest,
                note=f"{spread} ms, {self.impeached} impeachments",
            ),
        ]
        for what, unit, value, note in (
            ("CPU of a transfer and node", "us", self.cpu_us, ""),
            ("disk of a transfer and node", "bytes", self.written, ""),
            ("memory of a node, most", "MiB", max(self.memory_mib), f"least {min(self.memory_mib):.0f}"),
        ):
            rows.append(Row(name, what, unit, value, "", None, None, self.digest, note=note))
        if self.restart_ms is not None:
            note = f"{self.away_blocks} blocks were missed in {self.plan.away_seconds:.0f} s"
            rows.append(
                Row(name, "restart to head", "ms", self.restart_ms, "", None, None, self.digest, note=note)
            )
        return rows


class NodeUnderLoad:
    """`cpc node run` on a folder, as a user starts it."""

    def __init__(self, folder: Path, profile: Path | None) -> None:
        command = [sys.executable, "-c", COMMAND]
        if profile:
            command = [sys.executable, "-m", "cProfile", "-o", str(profile), "-m", "gateway"]
        with folder.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "node", "run", str(folder)],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def end(self, number: int) -> None:
        """With this signal; it is gone afterwards."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def usage(self) -> Usage:
        """Source: proc(5), /proc/pid/stat and /proc/pid/io."""
        proc = Path(f"/proc/{self.process.pid}")
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        io = dict(line.split(": ") for line in (proc / "io").read_text().splitlines())
        return Usage((int(fields[11]) + int(fields[12])) * 1000 // CLOCK_HZ, int(io["write_bytes"]))

    def memory_mib(self) -> float:
        """The most it ever had.  Source: proc(5), VmHWM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024


class Bench:
    """One network under load."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self.folder = folder
        self.keys = [SigningKey(index.to_bytes(32, "big")) for index in range(1, ACCOUNTS + 1)]
        self.nodes: list[NodeUnderLoad] = []
        self.clients: list[NodeClient] = []
        self.busy = 0
        self._found: dict[int, list[Header]] = {}
        """Headers by the first of their heights."""
        self.genesis, self.folders, self.urls = self._make()

    async def run(self) -> Figures:
        """Measure.  Raises TimeoutError when transfers do not become final, with the heights."""
        plan = self.plan
        count, later = round(plan.rate * plan.seconds), round(plan.rate * plan.away_seconds)
        bodies = self._signed(count + later)
        try:
            for index, folder in enumerate(self.folders):
                self.nodes.append(NodeUnderLoad(folder, plan.profile if index == 1 else None))
            self.clients = [NodeClient(url, timeout_ms=60_000) for url in self.urls]
            await self._until(self._is_connected)
            first = (await self.clients[0].chain_info()).height + 1
            before = [node.usage() for node in self.nodes]
            await self._send(bodies, 0, count, range(len(self.nodes)))
            last = (await self.clients[0].chain_info()).height
            await self._until(lambda: self._holds(first, count))
            after = [node.usage() for node in self.nodes]
            memory = [node.memory_mib() for node in self.nodes]
            headers = await self._headers(first)
            restart_ms, away_blocks = None, 0
            if later:
                restart_ms, away_blocks = await self._go_away(bodies, count, later, first)
            digest = await self._digest()
        finally:
            for client in self.clients:
                await client.close()
            for node in self.nodes:
                node.end(signal.SIGTERM)
        meanwhile = [header for header in headers if header.height <= last and header.tx_count]
        spans = [b.time_ms - a.time_ms for a, b in pairwise(meanwhile)]
        moved = sum(header.tx_count for header in meanwhile[1:])
        cpu_ms = sum(new.cpu_ms - old.cpu_ms for new, old in zip(after, before, strict=True))
        written = sum(new.written - old.written for new, old in zip(after, before, strict=True))
        return Figures(
            plan=plan,
            nodes=len(self.nodes),
            transfers=count + later,
            tx_per_second=moved * 1000 / sum(spans) if spans else count / plan.seconds,
            bound_per_second=bound_per_second(len(self.nodes)),
            intervals_ms=spans,
            impeached=sum(header.proposer == NO_PROPOSER for header in headers),
            busy=self.busy,
            cpu_us=cpu_ms * 1000 / count / len(self.nodes),
            written=written / count / len(self.nodes),
            memory_mib=memory,
            restart_ms=restart_ms,
            away_blocks=away_blocks,
            digest=digest,
        )

    # Load

    def _signed(self, count: int) -> list[str]:
        """Transfers in hex; that of place p is of account p % ACCOUNTS."""
        fee_ucpc, chain_id = self.genesis.fee_min_ucpc, self.genesis.chain_id
        publics = [key.public for key in self.keys]
        return [
            Transaction.sign(
                self.keys[place % ACCOUNTS],
                chain_id,
                place // ACCOUNTS,
                Transfer(publics[(place + 1) % ACCOUNTS], 1 + place),
                fee_ucpc,
            ).data.hex()
            for place in range(count)
        ]

    async def _send(self, bodies: Sequence[str], first: int, count: int, nodes: Sequence[int]) -> None:
        """Send these at the plan's rate, each account's at one node and in order; until all are accepted."""
        begin_s = time.monotonic()
        loads: dict[int, list[int]] = {node: [] for node in nodes}
        for place in range(first, first + count):
            loads[nodes[place % ACCOUNTS % len(nodes)]].append(place)
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for node, places in loads.items():
                for sender in range(self.plan.senders):
                    # An account's transfers stay with one sender, and so in order.
                    mine = [
                        place
                        for place in places
                        if place % ACCOUNTS // len(nodes) % self.plan.senders == sender
                    ]
                    due = [begin_s + (place - first) / self.plan.rate for place in mine]
                    group.create_task(self._send_some(session, self.urls[node], bodies, mine, due))

    async def _send_some(
        self,
        session: aiohttp.ClientSession,
        url: str,
        bodies: Sequence[str],
        places: Sequence[int],
        due: Sequence[float],
    ) -> None:
        at = 0
        while at < len(places):
            # Pace: the rate is what is measured with, so time is what is waited for.
            await asyncio.sleep(max(due[at] - time.monotonic(), 0))
            last = min(bisect_right(due, max(time.monotonic(), due[at])), at + BATCH_MAX) - 1
            batch = [
                {"jsonrpc": "2.0", "id": place, "method": "tx_submit", "params": {"tx": bodies[place]}}
                for place in places[at : last + 1]
            ]
            async with session.post(url, json=batch) as response:
                answers = {answer["id"]: answer for answer in json.loads(await response.read())}
            for place in places[at : last + 1]:
                error = answers[place].get("error")
                if error is None:
                    at += 1
                    continue
                if "retry_after_ms" not in error.get("data", {}):
                    raise RuntimeError(f"a transfer is refused: {error}")
                self.busy += 1
                await asyncio.sleep(error["data"]["retry_after_ms"] / 1000)
                break

    async def _go_away(
        self, bodies: Sequence[str], first: int, count: int, first_height: int
    ) -> tuple[float, int]:
        """(ms, blocks): what the last validator needs to catch up after it was away."""
        away = self.plan.validators - 1
        before = (await self.clients[away].chain_info()).height
        self.nodes[away].end(signal.SIGTERM)
        others = [index for index in range(len(self.nodes)) if index != away]
        await self._send(bodies, first, count, others)
        await self._until(lambda: self._holds(first_height, first + count, others))
        top = (await self.clients[0].chain_info()).height
        begin_s = time.monotonic()
        self.nodes[away] = NodeUnderLoad(self.folders[away], None)

        async def is_there() -> bool:
            return (await self.clients[away].chain_info()).height >= top

        await self._until(is_there, AWAY_POLL_S)
        return (time.monotonic() - begin_s) * 1000, top - before

    # Looking

    async def _until(self, done: Callable[[], Awaitable[bool]], poll_s: float = POLL_S) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                if await done():
                    return
            except NodeUnavailable:
                # It starts, or has too much to do to answer.
                if gone := [node for node in self.nodes if node.process.poll() not in (None, 0)]:
                    raise RuntimeError(f"a node has ended; see the logs in {self.folder}: {gone}") from None
            if time.monotonic() > end_s:
                heights = [(await client.chain_info()).height for client in self.clients]
                raise TimeoutError(f"not within {DEADLINE_S:.0f} s; heights are {heights}")
            await asyncio.sleep(poll_s)

    async def _is_connected(self) -> bool:
        for client in self.clients:
            if (await client.ask("node_status"))["member_count"] != len(self.nodes) - 1:
                return False
        return True

    async def _headers(self, first: int) -> list[Header]:
        """Those from `first` on; what was asked for before is not asked for again."""
        found = self._found.setdefault(first, [])
        while more := await self.clients[0].headers(first + len(found)):
            found += [link.header for link in more]
        return found

    async def _holds(self, first: int, count: int, nodes: Sequence[int] | None = None) -> bool:
        """Whether so many transfers are final, and these nodes, or all, know."""
        headers = await self._headers(first)
        found = sum(header.tx_count for header in headers)
        assert found <= count, f"{found} transfers are final, of {count}"
        asked = range(len(self.nodes)) if nodes is None else nodes
        infos = [await self.clients[index].chain_info() for index in asked]
        return found == count and all(info.height >= headers[-1].height for info in infos)

    async def _digest(self) -> str:
        """Of all balances: the same for every run that sends as much."""
        balances = []
        for key in self.keys:
            answer = await self.clients[0].get_account(key.public)
            balances.append(answer.next_nonce)
        return digest_of(balances)

    # Making

    def _make(self) -> tuple[Genesis, list[Path], list[str]]:
        plan = self.plan
        network = TestNetwork("bench", plan.validators, 1, 0, 1_024, plan.period_ms)
        made, folders = init_network(self.folder, network, time.time_ns() // 1_000_000)
        share_ucpc, rest_ucpc = divmod(SUPPLY_UCPC, ACCOUNTS)
        assert rest_ucpc == 0
        genesis = replace(
            made,
            balances=tuple((public, share_ucpc) for public in sorted(key.public for key in self.keys)),
            timeout_ms=TIMEOUTS * plan.period_ms,
            heartbeat_ms=plan.period_ms,
        )
        ports = free_ports(2 * len(folders))
        moved = {settings.listen.port: ports[i] for i, (_, settings) in enumerate(folders) if settings.listen}
        urls = []
        for index, (path, settings) in enumerate(folders):
            told = replace(
                settings,
                listen=Address(HOST, ports[index]),
                dial=tuple(Address(HOST, moved[each.port], each.public) for each in settings.dial),
                rpc=Address(HOST, ports[len(folders) + index]),
                treasury_file="",
            )
            (path / "node.toml").write_text(to_toml(told))
            (path / told.genesis).write_bytes(genesis.data)
            urls.append(f"http://{told.rpc}")
        return genesis, [path for path, _ in folders], urls


def bound_per_second(node_count: int) -> float:
    """Transfers a second that this machine could do if each node did nothing but verify each of them once."""
    key = SigningKey(bytes([7]) * 32)
    message = bytes(200)
    signature, verifier = key.sign(message), VerifyKey(key.public)
    costs_ns = []
    for _ in range(9):
        begin_ns = time.process_time_ns()
        for _ in range(50):
            verifier.verify(message, signature)
        costs_ns.append((time.process_time_ns() - begin_ns) / 50)
    cores = len(os.sched_getaffinity(0))
    return cores * 1e9 / (node_count * median(costs_ns))


def run(plan: Plan) -> Figures:
    """One network, in a folder of its own that goes away when all went well."""
    folder = Path(tempfile.mkdtemp(prefix="cpc-bench-chain-"))
    figures = asyncio.run(Bench(folder / "net", plan).run())
    shutil.rmtree(folder)
    return figures


def twice(figures: Figures) -> Plan:
    """Twice what these nodes have done, sent without waiting until they answer."""
    rate = round(2 * figures.tx_per_second)
    return replace(figures.plan, rate=rate, senders=CROWD, away_seconds=0.0, profile=None)


def overload_rows(peak: Figures, over: Figures) -> list[Row]:
    """What is left of the peak under twice its load."""
    return [
        Row(
            f"network {over.plan.validators}+1",
            "final transfers at twice that load",
            "tx/s",
            over.tx_per_second,
            "its peak",
            peak.tx_per_second,
            over.tx_per_second / peak.tx_per_second,
            over.digest,
            note=f"{over.transfers} sent at {over.plan.rate} a second, {over.busy} times busy, "
            f"{over.impeached} impeachments, memory {max(over.memory_mib):.0f} MiB",
        )
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures of each size of committee."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.chain_network")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long transfers are sent [120]")
    parser.add_argument("--rate", type=int, default=2_000, help="transfers a second that are sent [2000]")
    parser.add_argument("--period-ms", type=int, default=3_000, help="between blocks [3000]")
    parser.add_argument("--validators", type=int, nargs="+", default=[4], help="sizes of the committee [4]")
    parser.add_argument("--away-seconds", type=float, default=0.0, help="then one validator is away [0: not]")
    parser.add_argument("--twice", action="store_true", help="then send twice what it could do, to new nodes")
    parser.add_argument("--profile", type=Path, help="where to write the profile of one validator")
    args = parser.parse_args(arguments)
    rows = []
    for count in args.validators:
        plan = Plan(args.seconds, args.rate, count, args.period_ms, args.away_seconds, args.profile)
        print(f"{count} validators, {plan.rate} transfers a second, {plan.seconds:.0f} s ...", flush=True)
        figures = run(plan)
        rows += figures.rows()
        if args.twice:
            rows += overload_rows(figures, run(twice(figures)))
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores, nodes included")
    print(table(rows))
    if args.profile:
        pstats.Stats(str(args.profile)).sort_stats("tottime").print_stats(25)
    return 0


if __name__ == "__main__":
    sys.exit(main())
