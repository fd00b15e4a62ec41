"""What monitors see: whether a node is well, why not, and its figures as Prometheus reads them."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chain_node.block import Phase, Vote
from chain_node.messages import Ballot
from chain_node.metrics import BUCKETS_US, CONTENT_TYPE, Metrics
from chain_node.node import Node
from chain_node.rpc import Dispatcher
from chain_node.rpc_http import RpcServer
from chain_node.storage import Storage
from tests.chain_node import stepping
from tests.chain_node.world import STRANGERS, VALIDATORS, genesis_of

GENESIS = genesis_of([VALIDATORS[0]], proposers=(VALIDATORS[0].public,))
LINE = re.compile(
    r"(?:# HELP \w+ .+\.|# TYPE (\w+) (?:counter|gauge|histogram)"
    r'|(\w+)(?:\{(\w+="[^"\\\n]*"(?:,\w+="[^"\\\n]*")*)\})? (-?[0-9.e+-]+))'
)


class Rig:
    """A node whose clock and status a test sets."""

    def __init__(self, storage: Storage) -> None:
        self.clock = stepping.Clock()
        self.status: dict[str, object] = {"behind": 0, "peer_count": 1, "trouble": ""}
        self.node = Node(storage, VALIDATORS[0], clock_ms=self.clock.wall, steady_ms=self.clock.steady)
        self.dispatcher = Dispatcher(self.node, None, {"node_status": lambda params: self.status})
        self.metrics = Metrics(self.node, self.dispatcher, self.clock.wall)

    def figures(self) -> dict[str, float]:
        """By name and labels; every line is one that Prometheus reads."""
        found: dict[str, float] = {}
        typed = ""
        for line in self.metrics.text().splitlines():
            match = LINE.fullmatch(line)
            assert match, line
            typed = match[1] or typed
            if match[2]:
                assert re.fullmatch(f"{typed}(_bucket|_sum|_count)?", match[2]), line
                name = f"{match[2]}{{{match[3]}}}" if match[3] else match[2]
                assert name not in found
                found[name] = float(match[4])
        return found

    def reasons(self) -> list[object]:
        return [each["reason"] for each in self.metrics.problems()]

    def produce(self) -> None:
        assert asyncio.run(stepping.produce(self.node, self.clock))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Storage.open(tmp_path / "chain.sqlite", GENESIS)) as storage:
        yield Rig(storage)


def test_a_node_that_is_well_says_so(rig: Rig) -> None:
    rig.produce()
    rig.clock.now_ms = rig.node.head.time_ms + 100
    assert rig.metrics.health() == {"is_well": True, "problems": [], "height": 1, "head_age_ms": 100}


def test_each_way_of_being_unwell_has_its_reason(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.produce()
    rig.clock.now_ms = rig.node.head.time_ms
    rig.status = {"behind": 3, "peer_count": 0, "trouble": ""}
    # The only validator needs nobody, and three blocks are no delay.
    assert rig.reasons() == []
    rig.status = {"behind": 4, "peer_count": 0, "trouble": "the disk is full"}
    rig.node.public = STRANGERS[0].public
    rig.clock.now_ms = rig.node.head.time_ms + GENESIS.heartbeat_ms + 4 * GENESIS.timeout_ms
    assert rig.reasons() == ["trouble", "behind", "no_peers"]
    rig.clock.now_ms += 1
    assert rig.metrics.problems()[-1] == {
        "reason": "head_old",
        "message": "the last block is 10161 ms old, of 10160",
    }


def test_a_clock_that_jumps_back_makes_no_figure_negative(rig: Rig) -> None:
    rig.produce()
    rig.clock.now_ms = 0
    assert (rig.metrics.health()["head_age_ms"], rig.figures()["cpc_head_age_seconds"]) == (0, 0.0)


def test_the_figures_are_those_of_the_node(rig: Rig) -> None:
    before = rig.figures()
    assert before["cpc_height"] == 0
    assert "cpc_round" not in before
    assert "cpc_is_shut" not in before
    rig.status |= {"shut": "closed to all", "shut_count": 2, "turned_away_count": 9}
    rig.produce()
    stranger = STRANGERS[0]
    for _ in range(2):
        vote = Vote.sign(stranger, GENESIS.chain_id, 2, 0, Phase.PREPARE, bytes(32))
        rig.node.deliver(stranger.public, Ballot(vote, None))
    asyncio.run(rig.node.advance())
    rig.clock.now_ms = rig.node.head.time_ms + 1_500
    figures = rig.figures()
    assert figures["cpc_height"] == 1
    assert figures["cpc_head_age_seconds"] == 1.5
    assert (figures["cpc_round"], figures['cpc_state{state="idle"}']) == (0, 1)
    assert sum(value for name, value in figures.items() if name.startswith("cpc_state{")) == 1
    assert (figures["cpc_is_well"], figures["cpc_peers"], figures["cpc_pool_transactions"]) == (1, 1, 0)
    shut = [figures[f"cpc_{name}"] for name in ("is_shut", "shut_total", "turned_away_total")]
    assert shut == [1, 2, 9]
    assert figures['cpc_votes_total{fate="foreign"}'] == 2
    assert figures[f'cpc_impeachments_total{{proposer="{VALIDATORS[0].public.hex()}"}}'] == 0
    assert figures['cpc_storage_bytes{file="database"}'] == Path(rig.node.storage.path).stat().st_size


def test_calls_are_counted_by_outcome_and_time_and_no_caller_makes_up_a_label(rig: Rig) -> None:
    for body in (
        b'{"jsonrpc":"2.0","id":1,"method":"chain_info"}',
        b'[{"jsonrpc":"2.0","id":1,"method":"chain_info"},{"jsonrpc":"2.0","method":"genesis","params":1}]',
        b'{"jsonrpc":"2.0","id":1,"method":"made\\"up"}',
        b'{"jsonrpc":"2.0","id":1,"method":["a"]}',
        b"{",
    ):
        rig.dispatcher.dispatch(body)
    figures = rig.figures()
    calls = {name: value for name, value in figures.items() if name.startswith("cpc_rpc_calls_total")}
    assert calls == {
        'cpc_rpc_calls_total{method="chain_info",outcome="ok"}': 2,
        'cpc_rpc_calls_total{method="genesis",outcome="params"}': 1,
        'cpc_rpc_calls_total{method="unknown",outcome="method"}': 1,
        'cpc_rpc_calls_total{method="unknown",outcome="request"}': 1,
        'cpc_rpc_calls_total{method="unknown",outcome="json"}': 1,
    }
    assert figures["cpc_rpc_duration_seconds_count"] == 6


def test_the_histogram_adds_up_from_bucket_to_bucket(rig: Rig) -> None:
    for took_us in (0, BUCKETS_US[0], BUCKETS_US[0] + 1, 1_000_000, 2_000_000):
        rig.dispatcher.watch("genesis", "ok", took_us)
    figures = rig.figures()
    bounds = [name for name in figures if name.startswith("cpc_rpc_duration_seconds_bucket")]
    counts = [figures[name] for name in bounds]
    assert bounds[0] == 'cpc_rpc_duration_seconds_bucket{le="0.0001"}'
    assert (counts[:2], counts[-2:], counts == sorted(counts)) == ([2, 3], [4, 5], True)
    assert figures["cpc_rpc_duration_seconds_sum"] == 3.0002


def test_health_and_figures_over_http(rig: Rig) -> None:
    async def run() -> None:
        server = RpcServer(rig.dispatcher, clock_ms=rig.clock.wall)
        await server.start()

        async def get(path: str) -> tuple[int, str, Any]:
            async with aiohttp.ClientSession() as session, session.get(server.url + path) as response:
                return response.status, response.headers["Content-Type"], await response.text()

        try:
            status, _, text = await get("health")
            assert (status, text) == (
                200,
                '{"is_well":true,"problems":[],"height":0,"head_age_ms":1000}',
            )
            rig.status["trouble"] = "the disk is full"
            status, _, text = await get("health")
            assert status == 503
            assert '"problems":[{"reason":"trouble","message":"the disk is full"}]' in text
            status, kind, text = await get("metrics")
            assert (status, kind) == (200, CONTENT_TYPE)
            assert "\ncpc_is_well 0\n" in text
        finally:
            await server.stop()

    asyncio.run(run())
