"""Nodes on loopback with real sockets: blocks, gossip by detours, twins, floods, garbage, updates."""

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chain_node.block import Phase, Vote
from chain_node.errors import PortInUse
from chain_node.messages import Ballot, Relay, WantBlock
from chain_node.peer import COSTS, Cost
from chain_node.peer_address import Address
from chain_node.peer_admission import Limits
from chain_node.peer_frame import SIZES_MAX
from chain_node.peer_gossip import RELAY_SIZE_MAX, parts
from chain_node.peer_network import Peering, PeerNetwork
from chain_node.transaction import TX_SIZE_LIMIT, Transaction, Transfer
from chain_node.upgrade import Upgrade
from puf.ed25519 import SigningKey
from tests.chain_node.peering import Net, running, until
from tests.chain_node.world import ALICE, BOB, PROPOSER, VALIDATORS, genesis_of, key


def pay(net: Net, nonce: int = 0) -> Transaction:
    return Transaction.sign(ALICE, net.genesis.chain_id, nonce, Transfer(BOB.public, 5), 1_000)


def linked(net: Net, name: str) -> set[str]:
    """With whom a node is connected."""
    return {peer.program for peer in net[name].network.peers()}


async def committed(net: Net, transaction: Transaction, *names: str) -> None:
    """Wait until these nodes, or all, have a transaction in a final block."""
    await until(
        lambda: all(
            net[name].node.storage.find_transaction(transaction.tx_hash) for name in names or net.members
        )
    )


def test_a_committee_makes_blocks_and_every_node_hears_of_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee()
            await net.start("observer", key("observer"), ["v0"])
            net["observer"].node.submit(pay(net).data)
            await committed(net, pay(net))
            hashes = {net[name].node.storage.certified(1, 1)[0][0].header.block_hash for name in net.members}
            assert len(hashes) == 1
            assert linked(net, "v0") == {"v1", "v2", "v3", "p", "observer"}
            roles = [(peer.program, peer.role) for peer in net["observer"].network.peers()]
            assert roles == [("v0", "validator")]
            fates = net["v1"].node.replica.core.fates
            assert fates[5:] == [0, 0, 0, 0], "nothing foreign, forged, contradicting or unasked"

    asyncio.run(story())


def test_a_transaction_goes_through_plain_nodes_and_the_block_comes_back(tmp_path: Path) -> None:
    """far -> near -> p, which is the only member that a plain node is connected with."""

    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee()
            await net.start("near", key("near"), ["p"])
            await net.start("far", key("far"), ["near"])
            await until(lambda: linked(net, "far") == {"near"} and linked(net, "near") == {"p", "far"})
            net["far"].node.submit(pay(net).data)
            await committed(net, pay(net))

    asyncio.run(story())


def test_validators_that_are_not_connected_hear_each_other_through_others(tmp_path: Path) -> None:
    """A line: v0 - v1 - v2 - p, and v3 hangs on a plain node that hangs on v0 and v1."""

    async def story() -> None:
        async with running(tmp_path) as net:
            for name, signer, dial in (
                ("v0", VALIDATORS[0], []),
                ("v1", VALIDATORS[1], ["v0"]),
                ("v2", VALIDATORS[2], ["v1"]),
                ("p", PROPOSER, ["v2"]),
                ("bridge", key("bridge"), ["v0", "v1"]),
                ("v3", VALIDATORS[3], ["bridge"]),
            ):
                await net.start(name, signer, dial)
            net["v3"].node.submit(pay(net).data)
            await committed(net, pay(net))
            await net.stop("v0")
            height = net["p"].node.head.height
            await net.reach(height + 2, "v1", "v2", "v3", "p")

    asyncio.run(story())


def test_who_comes_late_catches_up_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, heartbeat_ms=50) as net:
            await net.committee()
            await net.reach(12, "v0")
            await net.start("late", key("late"), ["v3"])
            await net.reach(12, "late")
            blocks = [net[name].node.storage.certified(7, 1)[0][0] for name in ("late", "v0")]
            assert blocks[0] == blocks[1]

    asyncio.run(story())


def test_blocks_go_on_without_one_validator_and_it_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee()
            await net.reach(2)
            await net.stop("v2")
            height = net["v0"].node.head.height
            await net.reach(height + 3, "v0", "v1", "v3")
            await net.start("v2", VALIDATORS[2], ["v0", "v1", "v3", "p"])
            await net.reach(net["v0"].node.head.height + 2)

    asyncio.run(story())


# Two connections, two nodes


def test_of_two_connections_between_the_same_two_one_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            first, second = sorted((ALICE, BOB), key=lambda each: each.public)
            with socket.create_server(("127.0.0.1", 0)) as reserved:
                port = reserved.getsockname()[1]
            await net.start("low", first, [Address("127.0.0.1", port)])
            settings = Peering(Address("127.0.0.1", port), (net["low"].address,), program="high")
            await _start_at(net, "high", second, settings)
            await until(lambda: linked(net, "low") == {"high"} and linked(net, "high") == {"low"})
            await until(
                lambda: net["low"].network.connection_count == net["high"].network.connection_count == 1
            )
            low, high = net["low"].network.peers()[0], net["high"].network.peers()[0]
            assert low.is_dialled != high.is_dialled

    asyncio.run(story())


@pytest.mark.parametrize("is_low", [True, False])
def test_which_of_two_connections_is_kept_is_the_same_on_both_sides(is_low: bool) -> None:
    """Each side sees one that it has dialled and one that the other has, in any order."""
    low, high = sorted((ALICE, BOB), key=lambda each: each.public)
    ours, theirs = (low, high) if is_low else (high, low)
    network = PeerNetwork(ours, genesis_of(), Peering())
    dialled: Any = SimpleNamespace(public=theirs.public, dialled=Address("127.0.0.1", 1))
    taken: Any = SimpleNamespace(public=theirs.public, dialled=None)
    assert network._replaces(dialled, taken) == is_low
    assert network._replaces(taken, dialled) != is_low
    assert network._replaces(taken, taken), "who dials again knows that the first one is dead"
    assert network._replaces(dialled, dialled)


async def _start_at(net: Net, name: str, signer: SigningKey, settings: Peering) -> None:
    """As Net.start, at a port of the test's choice."""
    await net.start(name, signer, settings.dial)
    await net.stop(name)
    assert settings.listen
    network = PeerNetwork(signer, net.genesis, settings)
    member = await net.start(name, signer)
    await member.network.__aexit__(None, None, None)
    network.attach(member.node)
    member.node._network = network
    member.network = network
    await network.__aenter__()


def test_a_second_node_with_our_key_is_told_of_loudly_and_neither_gets_in(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee()
            await net.start("twin", VALIDATORS[0], ["v0"])
            await until(lambda: bool(net["v0"].network.trouble and net["twin"].network.trouble))
            assert net["v0"].network.trouble == (
                "another node at 127.0.0.1 runs with this node's key; stop one of them"
            )
            assert "twin" not in linked(net, "v0")
            await net.reach(net["v0"].node.head.height + 2, "v0", "v1")

    asyncio.run(story())


def test_who_dials_itself_is_not_troubled(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            await net.start("v1", VALIDATORS[1], ["v0"])
            await until(lambda: linked(net, "v0") == {"v1"})
            network = net["v0"].network
            task = asyncio.create_task(network._dialler.run(net["v0"].address))
            await until(lambda: network.connection_count == 3)
            await until(lambda: network.connection_count == 1)
            task.cancel()
            assert (network.trouble, linked(net, "v0")) == ("", {"v1"})

    asyncio.run(story())


def test_a_node_of_another_chain_does_not_get_in(tmp_path: Path) -> None:
    async def story() -> None:
        other = tmp_path / "other"
        other.mkdir()
        async with running(tmp_path) as net, running(other, fee_min_ucpc=7) as foreign:
            await net.start("v0", VALIDATORS[0])
            await foreign.start("stranger", BOB, [net["v0"].address])
            stranger = foreign["stranger"].network
            await until(lambda: stranger.connection_count == 1)
            await until(lambda: stranger.connection_count == net["v0"].network.connection_count == 0)
            assert (stranger.peers(), net["v0"].network.peers()) == ([], [])

    asyncio.run(story())


def test_an_address_that_names_a_key_takes_nobody_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            wrong = Address("127.0.0.1", net["v0"].address.port, BOB.public)
            await net.start("v1", VALIDATORS[1], [wrong])
            await until(lambda: net["v1"].network.connection_count == 1)
            await until(lambda: net["v1"].network.connection_count == 0)
            assert net["v1"].network.peers() == []

    asyncio.run(story())


def test_a_port_in_use_is_a_declared_error(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            async with running(tmp_path) as net:
                member = await net.start("v0", VALIDATORS[0])
                port = taken.getsockname()[1]
                network = PeerNetwork(BOB, net.genesis, Peering(Address("127.0.0.1", port)))
                network.attach(member.node)
                with pytest.raises(PortInUse, match=f"port {port} of 127.0.0.1 is in use"):
                    await network.__aenter__()

    asyncio.run(story())


# Limits


def test_a_thousand_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee(3)
            port = net["v0"].address.port
            idle = [await idle_connection(port) for _ in range(1_000)]
            await until(lambda: net["v0"].network.door.admission.refused_count > 800)
            assert net["v0"].network.connection_count <= 3 + Limits().unproven_by_address_max
            height = net["v0"].node.head.height
            await net.start("v3", VALIDATORS[3], ["v1", "v2", "p", "v0"])
            await net.reach(height + 3)
            await until(lambda: "v3" in linked(net, "v0"))
            for each in idle:
                each.close()

    asyncio.run(story())


async def idle_connection(port: int) -> socket.socket:
    """A connection that says nothing; it may be reset already."""
    made = socket.socket()
    made.setblocking(False)
    with suppress(ConnectionResetError):
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    return made


def test_strangers_are_bounded_and_members_always_get_in(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0], limits=Limits(strangers_max=2))
            for name in ("a", "b", "c"):
                await net.start(name, key(name), ["v0"])
            await until(lambda: len(linked(net, "v0")) == 2)
            await net.start("v1", VALIDATORS[1], ["v0"])
            await until(lambda: "v1" in linked(net, "v0"))
            assert len(linked(net, "v0") & {"a", "b", "c"}) == 2

    asyncio.run(story())


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000, b"\x80" * 9]
)
def test_arbitrary_bytes_to_the_port_end_that_connection_alone(tmp_path: Path, data: bytes) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            await net.start("v1", VALIDATORS[1], ["v0"])
            reader, writer = await asyncio.open_connection("127.0.0.1", net["v0"].address.port)
            writer.write(data)
            writer.write_eof()
            try:
                while await reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
            writer.close()
            await until(lambda: net["v0"].network.connection_count == 1)
            assert linked(net, "v0") == {"v1"}

    asyncio.run(story())


def test_a_client_of_pythons_own_without_a_certificate_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            reader, writer = await asyncio.open_connection("127.0.0.1", net["v0"].address.port, ssl=context)
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1 << 16)
            writer.close()

    asyncio.run(story())


def test_who_forges_is_dropped_and_kept_away(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee()
            await net.reach(1)
            await net.start("liar", key("liar"), ["v0"])
            await until(lambda: "liar" in linked(net, "v0") and "v0" in linked(net, "liar"))
            liar = net["liar"].network
            for round_ in range(4):
                liar.send(liar.public, VALIDATORS[0].public, _forged(net, round_))
            await until(lambda: "liar" not in linked(net, "v0"))
            assert net["v0"].network.door.admission.is_banned(liar.public, net["v0"].network.steady_ms())
            assert net["v0"].node.replica.core.fates[6] == 4
            # Meanwhile it has dialled again, in vain.
            await net.reach(net["v0"].node.head.height + 6, "v0")
            assert "liar" not in linked(net, "v0")

    asyncio.run(story())


def _forged(net: Net, round_: int) -> Ballot:
    """A ballot of this height that its voter has not signed."""
    height = net["v0"].node.head.height + 1
    vote = Vote.sign(VALIDATORS[1], net.genesis.chain_id, height, round_, Phase.COMMIT, bytes(32))
    return Ballot(replace(vote, data=vote.data[:-1] + bytes([vote.data[-1] ^ 1])))


def test_who_asks_too_often_is_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            await net.start("greedy", key("greedy"), ["v0"])
            await until(lambda: "greedy" in linked(net, "v0") and "v0" in linked(net, "greedy"))
            greedy = net["greedy"].network
            for _ in range(200):
                greedy.send(greedy.public, VALIDATORS[0].public, WantBlock(1, bytes(32)))
            await until(lambda: "greedy" not in linked(net, "v0"))

    asyncio.run(story())


def test_plain_nodes_together_cost_no_more_than_a_few_would(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            names = ("a", "b", "c", "d")
            for name in names:
                await net.start(name, key(name), ["v0"])
            await until(lambda: all("v0" in linked(net, name) for name in names))
            await until(lambda: linked(net, "v0") == set(names))
            for name in names:
                network = net[name].network
                for _ in range(50):
                    network.send(network.public, VALIDATORS[0].public, WantBlock(1, bytes(32)))
            await until(lambda: sum(peer.lost_count for peer in net["v0"].network.peers()) >= 100)
            assert all(peer.score == 0 for peer in net["v0"].network.peers())

    asyncio.run(story())


def test_many_transactions_travel_in_messages_that_every_peer_takes() -> None:
    long = [
        Transaction.sign(ALICE, genesis_of().chain_id, 1_000 + nonce, Transfer(BOB.public, 5), 1_000)
        for nonce in range(1_000)
    ]
    split = parts(Relay(tuple(long)))
    assert [each for part in split for each in part.transactions] == long
    sizes = [sum(len(each.data) for each in part.transactions) for part in split]
    assert len(sizes) == -(-len(long) // (RELAY_SIZE_MAX // len(long[500].data)))
    assert max(sizes) <= RELAY_SIZE_MAX
    assert COSTS[Relay.KIND].burst << 10 > 2 * RELAY_SIZE_MAX, "the burst of a plain node takes some"
    assert SIZES_MAX[Relay.KIND] > TX_SIZE_LIMIT + RELAY_SIZE_MAX


def test_a_plain_node_that_floods_is_read_no_faster_than_it_may_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        monkeypatch.setattr("chain_node.peer_door.COST_BYTES", Cost(1, 1 << 16))
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            await net.start("flood", key("flood"), ["v0"])
            await net.start("v1", VALIDATORS[1], ["v0"])
            await until(lambda: linked(net, "v0") == {"flood", "v1"})
            await until(lambda: "v0" in linked(net, "flood") and "v0" in linked(net, "v1"))
            relay = Relay(tuple(pay(net, nonce) for nonce in range(1_000)))
            (flood,) = [each for each in net["v0"].network._open.values() if each.index is None]
            (v1,) = [each for each in net["v0"].network._open.values() if each.index is not None]
            for name in ("flood", "v1"):
                network = net[name].network
                network.send(network.public, VALIDATORS[0].public, relay)
            slow, fast = flood._transport, v1._transport
            assert isinstance(slow, asyncio.Transport)
            assert isinstance(fast, asyncio.Transport)
            await until(lambda: not slow.is_reading())
            await until(lambda: v1._received_size > 150_000)
            assert fast.is_reading(), "a member is not held up"

    asyncio.run(story())


def test_who_says_too_much_before_it_says_who_it_is_is_dropped(tmp_path: Path) -> None:
    """Records of TLS that no handshake needs, and that its rules let pass."""

    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            _reader, writer = await asyncio.open_connection("127.0.0.1", net["v0"].address.port)
            await until(lambda: net["v0"].network.connection_count == 1)
            (connection,) = net["v0"].network._connections
            connection.peer.feed = lambda data, now_ms: iter(())  # type: ignore[method-assign]
            writer.write(bytes(1 << 18))
            await until(lambda: net["v0"].network.connection_count == 0)
            assert str(await connection.closed) == "it says too much before it says who it is"
            writer.close()

    asyncio.run(story())


def test_a_slow_reader_does_not_slow_the_others(tmp_path: Path) -> None:
    """Its socket is never read again; what waits for it is bounded."""

    async def story() -> None:
        async with running(tmp_path) as net:
            await net.committee(3)
            await net.start("v3", VALIDATORS[3], ["v0", "v1", "v2"])
            await net.reach(1)
            for connection in net["v3"].network._open.values():
                assert connection._transport
                connection._transport.pause_reading()
            relay = Relay(tuple(pay(net, nonce) for nonce in range(1_000)))
            for _ in range(40):
                net["v0"].network.send(VALIDATORS[0].public, VALIDATORS[3].public, relay)
            height = net["v0"].node.head.height
            await net.reach(height + 3, "v0", "v1", "v2", "p")
            (slow,) = [peer for peer in net["v0"].network.peers() if peer.program == "v3"]
            assert slow.role == "validator"

    asyncio.run(story())


# Updates


def test_a_node_that_is_too_old_says_so_and_stops_voting_from_the_height_on(tmp_path: Path) -> None:
    new = Upgrade(2, 6)

    async def story() -> None:
        async with running(tmp_path, proposers=(VALIDATORS[3].public,)) as net:
            for index in range(3):
                dial = [f"v{other}" for other in range(index)]
                await net.start(f"v{index}", VALIDATORS[index], dial, rules=new)
            await net.start("old", VALIDATORS[3], ["v0", "v1", "v2"])
            await until(lambda: net["old"].network.trouble != "")
            assert net["old"].network.trouble == (
                "this program is too old: rules 2 hold from block 6 on, it knows rules 1; upgrade it"
            )
            assert net["v0"].network.trouble == ""
            await net.reach(7, "v0", "v1", "v2", "old")
            assert net["old"].node.trouble == net["old"].network.trouble
            for height in (6, 7):
                block, certificate = net["v0"].node.storage.certified(height, 1)[0]
                assert block.header.round == 1, "its proposer has not proposed"
                assert 3 not in dict(certificate.signatures)
            block, _ = net["v0"].node.storage.certified(5, 1)[0]
            assert block.header.round == 0

    asyncio.run(story())


def test_one_faulty_validator_and_any_stranger_cannot_retire_a_node(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as net:
            await net.start("v0", VALIDATORS[0])
            await net.start("v1", VALIDATORS[1], ["v0"], rules=Upgrade(2, 1))
            for name in ("a", "b"):
                await net.start(name, key(name), ["v0"], rules=Upgrade(2, 1))
            await until(lambda: linked(net, "v0") == {"v1", "a", "b"})
            assert (net["v0"].network.trouble, net["v0"].node.trouble) == ("", "")

    asyncio.run(story())


def test_a_genesis_of_the_tests_names_its_committee() -> None:
    network = PeerNetwork(PROPOSER, genesis_of(), Peering())
    assert (network.role, network.address) == ("proposer", None)
