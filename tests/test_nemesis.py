"""A network of processes bears faults; and each check of its history finds what it is there to find."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chain_node.reason import Reason
from chain_node.transaction import SUPPLY_UCPC, Receipt, Transaction, Transfer
from puf.ed25519 import SigningKey
from tests.chain_node.world import genesis_of
from tests.nemesis import history
from tests.nemesis.__main__ import run
from tests.nemesis.history import ChainBlock, keep_books
from tests.nemesis.links import HOST, Links
from tests.nemesis.operations import History, Pay, Read
from tests.nemesis.schedule import Kind, schedule

VALIDATORS = [f"validator-{number}" for number in range(1, 5)]
OTHERS = ["proposer-1", "proposer-2", "observer-1"]
ANN, BEN = (SigningKey(bytes([number]) * 32) for number in (101, 102))
COLLECTOR = bytes([9]) * 32
FEE_UCPC = 1_000
GENESIS = replace(
    genesis_of(),
    balances=tuple(sorted(((ANN.public, 1_000_000), (BEN.public, SUPPLY_UCPC - 1_000_000)))),
)


# Processes


@pytest.mark.slow
def test_a_network_of_processes_bears_faults_and_keeps_what_it_accepted(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = asyncio.run(run(tmp_path / "net", 5, 2, said.append, is_short=True, client_count=3))
    assert outcome.problems == []
    assert outcome.transfers > 5
    assert outcome.searched == 3
    assert len([line for line in said if line.startswith("  ")]) >= 5, "faults and stories were told"


# The schedule


def test_a_seed_gives_one_schedule_and_every_kind_comes_before_any_comes_again() -> None:
    faults = schedule(7, 20, VALIDATORS, OTHERS, "validator-4", has_interfaces=True)
    assert faults == schedule(7, 20, VALIDATORS, OTHERS, "validator-4", has_interfaces=True)
    assert faults != schedule(8, 20, VALIDATORS, OTHERS, "validator-4", has_interfaces=True)
    assert {fault.kind for fault in faults[:11]} == set(Kind)
    assert {fault.kind for fault in schedule(7, 20, VALIDATORS, OTHERS)} == set(Kind) - {
        Kind.DISK,
        Kind.UNPLUGGED,
    }
    for fault in faults:
        hurt = [name for name in fault.targets if name in VALIDATORS]
        assert len(hurt) == (2 if fault.kind is Kind.SPLIT else 1)


# The history


def block(*transactions: Transaction, reason: Reason = Reason.APPLIED, name: int = 0) -> ChainBlock:
    receipts = tuple(Receipt(each.tx_hash, reason, each.fee_ucpc) for each in transactions)
    return ChainBlock(bytes([name]) * 32, COLLECTOR, tuple(each.data for each in transactions), receipts)


def transfer(nonce: int, amount_ucpc: int) -> Transaction:
    return Transaction.sign(ANN, GENESIS.chain_id, nonce, Transfer(BEN.public, amount_ucpc), FEE_UCPC)


FIRST, SECOND = transfer(0, 100), transfer(1, 200)


def pay_of(transaction: Transaction, called_ns: int, returned_ns: int | None) -> Pay:
    assert isinstance(transaction.body, Transfer)
    return Pay(
        client=0,
        tx_hash=transaction.tx_hash,
        payer=ANN.public,
        payee=BEN.public,
        amount_ucpc=transaction.body.amount_ucpc,
        fee_ucpc=FEE_UCPC,
        called_ns=called_ns,
        accepted_ns=called_ns + 1,
        returned_ns=returned_ns,
        sent_count=1,
    )


def read_of(balance_ucpc: int, height: int, called_ns: int, *, is_settled: bool = True) -> Read:
    return Read(1, ANN.public, balance_ucpc, height, called_ns, called_ns + 5, is_settled)


AFTER_FIRST_UCPC = 1_000_000 - 100 - FEE_UCPC
AFTER_BOTH_UCPC = AFTER_FIRST_UCPC - 200 - FEE_UCPC


def good() -> History:
    """Both transfers, one after the other, and a read after each."""
    return History(
        pays=[pay_of(FIRST, 10, 20), pay_of(SECOND, 30, 40)],
        reads=[read_of(AFTER_FIRST_UCPC, 1, 22), read_of(AFTER_BOTH_UCPC, 2, 50)],
    )


def problems(seen: History, *blocks: ChainBlock) -> list[str]:
    return history.check(seen, keep_books(GENESIS, blocks), SUPPLY_UCPC).problems


def test_the_books_of_a_chain_are_kept_and_a_history_that_fits_is_no_problem() -> None:
    books = keep_books(GENESIS, [block(FIRST), block(SECOND)])
    assert books.balances[1] == {
        ANN.public: AFTER_FIRST_UCPC,
        BEN.public: SUPPLY_UCPC - 1_000_000 + 100,
        COLLECTOR: FEE_UCPC,
    }
    assert books.places == {FIRST.tx_hash: [(1, 0)], SECOND.tx_hash: [(2, 0)]}
    verdict = history.check(good(), books, SUPPLY_UCPC)
    assert verdict == history.Verdict([], searched=2, not_searched=0)


def test_one_that_was_refused_in_its_block_costs_its_fee_only() -> None:
    books = keep_books(GENESIS, [block(FIRST, reason=Reason.BALANCE_TOO_LOW)])
    assert books.balances[1][ANN.public] == 1_000_000 - FEE_UCPC


def test_a_transfer_that_was_accepted_and_is_nowhere_is_lost() -> None:
    seen = good()
    seen.reads.clear()
    assert problems(seen, block(FIRST)) == [
        f"lost: transfer {SECOND.tx_hash.hex()[:16]} of client 0 was shown as final and is in no block"
    ]
    seen.pays[1].returned_ns = None
    assert "was accepted and is in no block" in problems(seen, block(FIRST))[0]
    seen.pays[1].accepted_ns = None
    assert problems(seen, block(FIRST)) == []


def test_a_transfer_that_is_there_twice_is_found() -> None:
    seen = History(pays=[pay_of(FIRST, 10, 20)])
    assert problems(seen, block(FIRST), block(FIRST)) == [
        f"twice: transfer {FIRST.tx_hash.hex()[:16]} of client 0 is in 2 places of the chain"
    ]


def test_a_balance_that_was_never_there_is_found() -> None:
    seen = good()
    seen.reads[1] = read_of(AFTER_BOTH_UCPC + 1, 2, 50)
    found = problems(seen, block(FIRST), block(SECOND))
    assert [line.partition(":")[0] for line in found] == ["read", "linearizability"]
    assert problems(History(reads=[read_of(1, 9, 5, is_settled=False)])) == [
        "read: client 1 was shown block 9, which there is not"
    ]


def test_what_returned_before_another_was_called_comes_before_it() -> None:
    seen = good()
    seen.reads.clear()
    found = problems(seen, block(SECOND), block(FIRST))
    first, second = FIRST.tx_hash.hex()[:16], SECOND.tx_hash.hex()[:16]
    assert found == [
        f"order: transfer {second} in block 1 was called after transfer {first} in block 2 had returned"
    ]


def test_an_old_balance_is_a_problem_where_it_had_to_be_new_and_only_there() -> None:
    seen = good()
    seen.reads[1] = read_of(AFTER_FIRST_UCPC, 1, 50, is_settled=False)
    assert problems(seen, block(FIRST), block(SECOND)) == []
    seen.reads[1] = read_of(AFTER_FIRST_UCPC, 1, 50)
    found = problems(seen, block(FIRST), block(SECOND))
    assert [line.partition(":")[0] for line in found] == ["order", "linearizability"]


def test_a_search_takes_any_order_that_the_times_allow() -> None:
    pays = [pay_of(FIRST, 10, 60), pay_of(SECOND, 10, None)]
    shown = (1_000_000, AFTER_FIRST_UCPC, AFTER_BOTH_UCPC, 1_000_000 - 200 - FEE_UCPC)
    assert [history.search(ANN.public, 1_000_000, pays, [read_of(each, 1, 20)]) for each in shown] == [
        True
    ] * 4
    assert history.search(ANN.public, 1_000_000, pays, [read_of(1_000_000, 1, 70)]) is False
    two = [read_of(AFTER_FIRST_UCPC, 1, 20), read_of(1_000_000, 1, 40)]
    assert history.search(ANN.public, 1_000_000, pays, two) is False


def test_chains_that_part_are_a_fork_and_one_that_is_behind_is_none() -> None:
    chains = {"a": [b"1", b"2", b"3"], "b": [b"1", b"2"], "c": [b"1", b"x"]}
    assert history.check_prefixes(chains) == ["fork: block 2 is 78 at c, 32 at a"]


# The links


class Echo(asyncio.Protocol):
    """Says back what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def linked(story: Callable[[Links, int, int], Awaitable[None]]) -> None:
    """Tell a story about links from a, and from c, to b, who says back what it hears: their ports."""

    async def tell() -> None:
        links = Links()
        server = await asyncio.get_running_loop().create_server(Echo, HOST, 0)
        try:
            port = server.sockets[0].getsockname()[1]
            ports = [await links.listen(name, "b", (HOST, port)) for name in ("a", "c")]
            async with asyncio.timeout(60):
                await story(links, *ports)
        finally:
            server.close()
            await links.close()

    asyncio.run(tell())


async def ask(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(data)
        return await reader.readexactly(len(data))
    finally:
        writer.close()


async def meanwhile(port: int) -> None:
    """Questions over another link in the same loop are answered; so long anything had the time to arrive."""
    for _ in range(20):
        assert await ask(port, b"x") == b"x"


def test_a_link_passes_bytes_and_one_that_is_cut_resets_old_and_new_connections() -> None:
    async def story(links: Links, port: int, other: int) -> None:
        assert await ask(port, b"one") == b"one"
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        links.cut([("b", "a")])
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await ask(port, b"three")
        links.heal()
        assert await ask(port, b"four") == b"four"

    linked(story)


@pytest.mark.parametrize("direction", [("a", "b"), ("b", "a")])
def test_a_half_open_link_takes_bytes_and_its_connection_never_recovers(direction: tuple[str, str]) -> None:
    async def story(links: Links, port: int, other: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        links.swallow([direction])
        writer.write(b"lost")
        await meanwhile(other)
        links.heal(is_reset=False)
        writer.write(b"late")
        await meanwhile(other)
        assert not reader._buffer  # type: ignore[attr-defined]
        links.heal()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        assert await ask(port, b"two") == b"two"

    linked(story)


def test_a_slow_link_keeps_the_order() -> None:
    async def story(links: Links, port: int, other: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        links.delay([("a", "b")], 300)
        writer.write(b"slow ")
        await meanwhile(other)
        links.heal()
        writer.write(b"fast")
        assert await reader.readexactly(9) == b"slow fast"
        writer.close()

    linked(story)
