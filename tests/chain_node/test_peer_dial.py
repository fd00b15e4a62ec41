"""Dialling: waits that grow, apart from each other; hopeless addresses left alone."""

import asyncio
import random
from collections.abc import Callable

import pytest

from chain_node.errors import PeerError
from chain_node.peer import OtherChain, PeerDropped
from chain_node.peer_address import Address
from chain_node.peer_connection import Connection
from chain_node.peer_dial import FAR_MS, FIRST_MS, LAST_MS, LINKED_MS, STEADY_MS, Backoff, Dialler

HERE = Address("127.0.0.1", 1, bytes(32))


def test_waits_double_up_to_a_bound_and_begin_anew() -> None:
    backoff = Backoff(random.Random(1))
    waits = [backoff.next_ms() for _ in range(9)]
    bounds = [min(FIRST_MS << step, LAST_MS) for step in range(9)]
    assert all(bound // 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    backoff.reset()
    assert backoff.next_ms() <= FIRST_MS


def test_two_nodes_that_start_together_wait_apart() -> None:
    first, second = (Backoff(random.Random(seed)) for seed in (1, 2))
    assert [first.next_ms() for _ in range(5)] != [second.next_ms() for _ in range(5)]


class Network:
    """Answers a dialler; `ends` says how each connection ends, an OSError that it cannot be made."""

    def __init__(self, ends: list[PeerError | OSError | None], lasting_ms: int = 0) -> None:
        self.ends = ends
        self.now_ms = 0
        self.lasting_ms = lasting_ms
        self.linked = 0
        self.waits_ms: list[int] = []

    def steady_ms(self) -> int:
        return self.now_ms

    def is_linked(self, public: bytes) -> bool:
        self.linked -= 1
        return self.linked >= 0

    def is_hopeless(self, why: PeerError | None) -> bool:
        return False

    def run(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The waits, in ms, until the ends are used up."""
        over = asyncio.CancelledError

        async def sleep(wait: float) -> None:
            self.waits_ms.append(round(wait * 1_000))

        async def connect(dialler: object, address: Address) -> Connection:
            if not self.ends:
                raise over
            end = self.ends.pop(0)
            if isinstance(end, OSError):
                raise end
            self.now_ms += self.lasting_ms
            connection: Connection = object.__new__(Connection)
            connection.is_open = False
            connection.closed = asyncio.get_running_loop().create_future()
            connection.closed.set_result(end)
            return connection

        monkeypatch.setattr("chain_node.peer_dial.asyncio.sleep", sleep)
        monkeypatch.setattr(Dialler, "_connect", connect)
        dial: Callable[[], object] = lambda: asyncio.run(  # noqa: E731 - one call
            Dialler(self, random.Random(1)).run(HERE)  # type: ignore[arg-type]  # no more than it asks for
        )
        with pytest.raises(over):
            dial()
        return self.waits_ms


def test_an_address_that_is_away_is_dialled_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Network([ConnectionRefusedError(1, "refused")] * 8).run(monkeypatch)
    assert len(waits) == 8
    assert waits[0] <= FIRST_MS
    assert LAST_MS // 2 <= waits[-1] <= LAST_MS


def test_a_node_of_another_chain_is_left_alone_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Network([OtherChain("it is of another chain")]).run(monkeypatch) == [FAR_MS]


def test_a_good_connection_that_broke_is_dialled_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Network([PeerDropped("it has hung up")] * 8, lasting_ms=STEADY_MS).run(monkeypatch)
    assert max(waits) <= FIRST_MS


def test_who_has_dialled_us_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network([])
    network.linked = 3
    assert network.run(monkeypatch) == [LINKED_MS] * 3
