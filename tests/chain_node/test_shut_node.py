"""A shut validator: the committee stays and comes in, strangers do not, and every port still answers."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from chain_node.errors import NodeBusy
from chain_node.full_node import FullNode
from chain_node.light_http import NodeClient
from chain_node.node_folder import Settings, init_node
from chain_node.peer_address import Address
from chain_node.peer_network import Peering, PeerNetwork
from chain_node.shutter import OPEN_MIN_MS, SHUT_MIN_MS, THRESHOLDS, WINDOW, Load
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.peering import Net, running, until
from tests.chain_node.world import ALICE, BOB, PROPOSER, VALIDATORS, genesis_of, key

GARBAGE = (
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(100),
    b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000,
    b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"\x80" * 9,
)


def flood(network: PeerNetwork, load: Load = Load.POINTS) -> None:
    """As if the last seconds had brought so much; its next look at the clock shuts it."""
    now_ms = network.steady_ms()
    shutter = network.door.shutter
    shutter.changed_ms = now_ms - OPEN_MIN_MS
    shutter.note(load, 2 * WINDOW * THRESHOLDS[load].high, now_ms - 1_000)


def linked(net: Net, name: str) -> set[str]:
    return {peer.program for peer in net[name].network.peers()}


def test_a_shut_validator_keeps_the_committee_and_lets_a_member_in_and_no_stranger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee(3)
            await net.start("stranger", key("stranger"), ["v0"])
            await until(lambda: linked(net, "v0") == {"v1", "v2", "p", "stranger"})
            door = net["v0"].network.door
            flood(net["v0"].network)
            await until(lambda: door.is_shut and "stranger" not in linked(net, "v0"))
            await net.start("other", key("other"), ["v0"])
            await net.start("v3", VALIDATORS[3], ["v0"])
            await until(lambda: linked(net, "v0") == {"v1", "v2", "p", "v3"})
            await until(lambda: net["other"].network.connection_count == 0)
            await net.reach(net["v0"].node.head.height + 3, "v0", "v1", "v2", "p", "v3")
            assert linked(net, "v0") == {"v1", "v2", "p", "v3"}
            # It opens by itself once that was long enough ago.
            door.shutter.changed_ms -= SHUT_MIN_MS
            door.shutter._second -= 100
            await until(lambda: not door.is_shut)
            await until(lambda: {"stranger", "other"} <= linked(net, "v0"))

    asyncio.run(story())
    told = [record.message for record in caplog.records if record.name == "chain_node.peer_door"]
    why = "closed to all but the committee: 400 points against strangers a second"
    assert told == [
        f"{why}; opens again when that is over",
        "open to all again, as nothing more came for a while",
    ]


def full_node(path: Path) -> FullNode:
    """A validator with all its ports."""
    settings = Settings(listen=Address("127.0.0.1", 0), rpc=Address("127.0.0.1", 0))
    path.mkdir()
    (path / settings.key_file).write_text(VALIDATORS[0].seed.hex() + "\n")
    init_node(path, genesis_of(), settings)
    return FullNode.open(path, settings, "shut")


def test_a_shut_validator_says_so_and_answers_garbage_at_every_port_as_ever(tmp_path: Path) -> None:
    pay = Transaction.sign(ALICE, genesis_of().chain_id, 0, Transfer(BOB.public, 5), 1_000)

    async def story() -> None:
        async with full_node(tmp_path / "node") as node, NodeClient(node.url) as client:
            assert (await client.ask("node_status"))["shut"] == ""
            flood(node.network, Load.REFUSALS)
            await until(lambda: node.network.door.is_shut)
            status = await client.ask("node_status")
            assert status["shut"] == "closed to all but the committee: 500 refused requests a second"
            assert status["shut_count"] == 1
            with pytest.raises(
                NodeBusy, match="takes no transactions of strangers; ask a proposer, or wait"
            ) as busy:
                await client.submit(pay)
            assert 1_000 <= busy.value.retry_after_ms <= SHUT_MIN_MS
            address = node.network.address
            assert address
            for port in (address.port, int(node.url.rsplit(":", 1)[1].rstrip("/"))):
                for data in GARBAGE:
                    await say(port, data)
            assert (await client.ask("chain_info"))["height"] == 0
            await until(lambda: node.network.connection_count == 0)
            assert node.network.door.admission.refused_count > 0

    asyncio.run(story())


async def say(port: int, data: bytes) -> None:
    """All of it, and then wait until the node has had enough."""
    with suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        while await reader.read(1 << 16):
            pass
        writer.close()


def test_only_who_votes_and_does_not_propose_may_shut() -> None:
    both = genesis_of(proposers=(VALIDATORS[0].public,))
    for genesis, signer, may_shut in (
        (genesis_of(), VALIDATORS[0], True),
        (genesis_of(), PROPOSER, False),
        (genesis_of(), ALICE, False),
        (both, VALIDATORS[0], False),
    ):
        network = PeerNetwork(signer, genesis, Peering())
        flood(network)
        network.door.tick(network.steady_ms() + 1_000)
        assert network.door.is_shut == may_shut
