"""What a node shows to monitors: whether it is well, and its figures in the text format of Prometheus.

Runs on CPython; knows no sockets.  Figures are read when somebody asks for them; only calls are counted as
they come.  Labels are of fixed sets, so that nobody outside can make them grow.  By hand: the
format is lines of text, and prometheus_client would bring a registry, threads' locks and 5 MiB for it.

Source: Prometheus, "Exposition formats", text format 0.0.4.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from chain_node.errors import StorageError
from chain_node.lbft_states import Fate, State
from chain_node.node import Node
from chain_node.rpc import Dispatcher
from chain_node.state import State as ChainState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_US = (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
"""Upper ends of the histogram's buckets."""
BEHIND_MAX = 3
"""Blocks that a healthy node may be behind its peers: one on its way, and two while it is busy."""
LATE_FACTOR = 4
"""A head older than its next block's latest moment and so many timeouts says that the chain stands still."""

Sample = tuple[dict[str, str], int | float]


class Metrics:
    """The figures of one node.  Listens to the dispatcher's calls from now on."""

    def __init__(self, node: Node, dispatcher: Dispatcher, clock_ms: Callable[[], int]) -> None:
        self._node, self._dispatcher, self._clock_ms = node, dispatcher, clock_ms
        self.limited_count = 0
        """Requests and connections turned away for lack of tokens or room."""
        self.socket_count = 0
        """WebSockets that are open."""
        self.subscription_count = 0
        self.slow_count = 0
        """Subscribers that were dropped for not reading."""
        self._calls: Counter[tuple[str, str]] = Counter()
        self._buckets = [0] * (len(BUCKETS_US) + 1)
        self._sum_us = 0
        dispatcher.watch = self._called

    def problems(self) -> list[dict[str, object]]:
        """Why the node is not well, each with a label that does not change; empty when it is."""
        node, status = self._node, self._status()
        found: list[dict[str, object]] = []
        if trouble := status.get("trouble") or node.trouble:
            found.append({"reason": "trouble", "message": trouble})
        behind = status.get("behind", 0)
        if isinstance(behind, int) and behind > BEHIND_MAX:
            found.append({"reason": "behind", "message": f"peers have {behind} blocks more"})
        if status.get("peer_count") == 0 and self._needs_peers:
            found.append({"reason": "no_peers", "message": "it is connected with nobody"})
        genesis = node.genesis
        age_max_ms = genesis.heartbeat_ms + LATE_FACTOR * genesis.timeout_ms
        if node.head.height and self._age_ms > age_max_ms:
            found.append(
                {"reason": "head_old", "message": f"the last block is {self._age_ms} ms old, of {age_max_ms}"}
            )
        return found

    def health(self) -> dict[str, object]:
        """What /health answers; `is_well` decides over its HTTP status."""
        problems = self.problems()
        return {
            "is_well": not problems,
            "problems": problems,
            "height": self._node.head.height,
            "head_age_ms": self._age_ms,
        }

    def text(self) -> str:
        """All figures."""
        return "".join(self._lines())

    @property
    def _age_ms(self) -> int:
        """How old the head is by this machine's clock; not negative, whatever that shows."""
        return max(self._clock_ms() - self._node.head.time_ms, 0)

    @property
    def _needs_peers(self) -> bool:
        return set(self._node.committee) != {self._node.public}

    def _status(self) -> dict[str, object]:
        return self._dispatcher.ask("node_status") or {}

    def _called(self, method: str, outcome: str, took_us: int) -> None:
        self._calls[method, outcome] += 1
        self._buckets[bisect_left(BUCKETS_US, took_us)] += 1
        self._sum_us += took_us

    def _lines(self) -> Iterable[str]:
        node, status = self._node, self._status()
        yield from _family("height", "gauge", "Height of the last final block.", node.head.height)
        yield from _family("head_age_seconds", "gauge", "Age of that block.", self._age_ms / 1000)
        core = node.replica.core
        # Before the first step there is no height that is being decided.
        if node.is_started:
            current = core.current
            yield from _family("round", "gauge", "Round of the height being decided.", current.round)
            states = [({"state": each.name.lower()}, int(each == current.state)) for each in State]
            yield from _families("state", "gauge", "1 for the state that the node is in.", states)
        yield from _family("is_well", "gauge", "Whether /health answers 200.", int(not self.problems()))
        yield from _family("pool_transactions", "gauge", "Transactions that wait.", len(node.pool))
        if "peer_count" in status:
            yield from _family("peers", "gauge", "Peers connected with.", _whole(status, "peer_count"))
            yield from _family("behind_blocks", "gauge", "Blocks a peer has more.", _whole(status, "behind"))
        if "shut" in status:
            yield from _family(
                "is_shut", "gauge", "Whether only the committee is let in.", int(bool(status["shut"]))
            )
            yield from _family("shut_total", "counter", "Times it was so.", _whole(status, "shut_count"))
            help_ = "Connections of peers refused before any handshake."
            yield from _family("turned_away_total", "counter", help_, _whole(status, "turned_away_count"))
        votes = [({"fate": each.name.lower()}, node.vote_fates[each]) for each in Fate]
        yield from _families("votes_total", "counter", "Votes received, by what became of them.", votes)
        help_ = "Impeachments on the chain, by whom they were against."
        yield from _families("impeachments_total", "counter", help_, self._impeachments())
        sizes = [({"file": name}, size) for name, size in self._sizes()]
        yield from _families("storage_bytes", "gauge", "Size of the chain's files.", sizes)
        calls = [
            ({"method": method or "unknown", "outcome": outcome}, count)
            for (method, outcome), count in sorted(self._calls.items())
        ]
        yield from _families("rpc_calls_total", "counter", "JSON-RPC calls, by outcome.", calls)
        yield from self._histogram()
        help_ = "Requests and connections turned away by a limit."
        yield from _family("rpc_limited_total", "counter", help_, self.limited_count)
        yield from _family("websockets", "gauge", "WebSockets that are open.", self.socket_count)
        yield from _family("subscriptions", "gauge", "Subscriptions on them.", self.subscription_count)
        help_ = "Subscribers dropped because they did not read."
        yield from _family("subscribers_dropped_total", "counter", help_, self.slow_count)

    def _impeachments(self) -> list[Sample]:
        node = self._node
        with node.storage.errors():
            state = ChainState(node.storage.entries(node.head.state_root)) if node.head.height else None
            return [
                ({"proposer": each.hex()}, state.conduct(each).impeached_count if state else 0)
                for each in node.genesis.proposers
            ]

    def _sizes(self) -> Iterable[tuple[str, int]]:
        for name, suffix in (("database", ""), ("log", "-wal")):
            try:
                yield name, Path(self._node.storage.path + suffix).stat().st_size
            except FileNotFoundError:
                # A log is not there before the first commit, nor on a disk that a test made.
                yield name, 0
            except OSError as error:
                raise StorageError(self._node.storage.path, f"its size cannot be read: {error}") from error

    def _histogram(self) -> Iterable[str]:
        name = "cpc_rpc_duration_seconds"
        yield f"# HELP {name} Time that JSON-RPC calls took.\n# TYPE {name} histogram\n"
        total = 0
        for bound_us, count in zip((*BUCKETS_US, None), self._buckets, strict=True):
            total += count
            bound = "+Inf" if bound_us is None else f"{bound_us / 1_000_000:g}"
            yield f'{name}_bucket{{le="{bound}"}} {total}\n'
        yield f"{name}_sum {self._sum_us / 1_000_000:g}\n{name}_count {total}\n"


def _family(name: str, kind: str, help_: str, value: int | float) -> Iterable[str]:
    return _families(name, kind, help_, [({}, value)])


def _families(name: str, kind: str, help_: str, samples: Iterable[Sample]) -> Iterable[str]:
    yield f"# HELP cpc_{name} {help_}\n# TYPE cpc_{name} {kind}\n"
    for labels, value in samples:
        shown = ",".join(f'{label}="{text}"' for label, text in labels.items())
        yield f"cpc_{name}{{{shown}}} {value}\n" if shown else f"cpc_{name} {value}\n"


def _whole(status: dict[str, object], name: str) -> int:
    value = status.get(name)
    return value if isinstance(value, int) else 0
