"""JSON-RPC over a WebSocket: subscriptions, and what becomes of who does not read, or must not be here."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from jsonschema import Draft202012Validator

from chain_node import rpc_events, rpc_network, rpc_ws
from chain_node.block import Header
from chain_node.errors import Refused, StorageFull
from chain_node.node import Node
from chain_node.peer_admission import Limits
from chain_node.peer_network import Peering, PeerNetwork
from chain_node.reason import Reason
from chain_node.rpc import Dispatcher
from chain_node.rpc_document_socket import EVENTS
from chain_node.rpc_format import BODY_SIZE_MAX
from chain_node.rpc_http import RpcServer
from chain_node.rpc_ws import is_own_origin
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node import stepping
from tests.chain_node.world import ALICE, BOB, CAROL, VALIDATORS, genesis_of

GENESIS = genesis_of([VALIDATORS[0]], proposers=(VALIDATORS[0].public,))


class World:
    """A node whose blocks the test makes, its server, and one client."""

    def __init__(self, node: Node, clock: stepping.Clock, server: RpcServer) -> None:
        self.node, self.clock, self.server = node, clock, server
        self.session = aiohttp.ClientSession()
        self._ident = 0

    @property
    def url(self) -> str:
        return self.server.url + "ws"

    async def connect(self, **options: Any) -> Any:
        return await self.session.ws_connect(self.url, **options)

    async def call(self, socket: aiohttp.ClientWebSocketResponse, method: str, **params: Any) -> Any:
        """The result; no event may come before it."""
        self._ident += 1
        await socket.send_json({"jsonrpc": "2.0", "id": self._ident, "method": method, "params": params})
        answer = await socket.receive_json()
        assert answer["id"] == self._ident, answer
        return answer.get("result") or answer["error"]

    async def event(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[str, Any]:
        """(subscription, event), which is of its topic's schema."""
        message = await socket.receive_json()
        assert message.keys() == {"jsonrpc", "method", "params"}, message
        params = message["params"]
        assert (message["method"], params.keys()) == ("subscription", {"subscription", "topic", "event"})
        Draft202012Validator(EVENTS[params["topic"]]).validate(params["event"])
        return params["subscription"], params["event"]

    async def produce(self) -> None:
        assert await stepping.produce(self.node, self.clock)

    def pay(self, nonce: int) -> str:
        made = Transaction.sign(ALICE, GENESIS.chain_id, nonce, Transfer(BOB.public, 1), 1_000)
        return self.node.submit(made.data).hex()


def serve(
    path: Path, story: Callable[[World], Awaitable[Any]], is_peering: bool = False, unread_max: int = 256
) -> None:
    async def run() -> None:
        clock = stepping.Clock()
        with closing(Storage.open(path / "chain.sqlite", GENESIS)) as storage:
            node = Node(storage, VALIDATORS[0], clock_ms=clock.wall, steady_ms=clock.steady)
            network = PeerNetwork(VALIDATORS[0], GENESIS, Peering(None, (), Limits(), "test"))
            network.attach(node)
            more = rpc_network.methods(node, network) if is_peering else {}
            server = RpcServer(Dispatcher(node, None, more))
            server._sockets._unread_max = unread_max
            await server.start()
            world = World(node, clock, server)
            try:
                async with asyncio.timeout(20):
                    await story(world)
            finally:
                await world.session.close()
                await server.stop()

    asyncio.run(run())


def test_blocks_come_with_their_certificates_as_they_are_made(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with await world.connect() as socket:
            assert (await world.call(socket, "chain_info"))["height"] == 0
            assert await world.call(socket, "subscribe", topic="blocks") == {"subscription": "1"}
            for height in (1, 2):
                await world.produce()
                ident, event = await world.event(socket)
                header = Header.decode(bytes.fromhex(event["header"]))
                assert (ident, event["height"], header.height) == ("1", height, height)
                assert event["block_hash"] == header.block_hash.hex()
                assert (event["signers"], event["impeachment"], event["tx_count"]) == ([0], None, 0)
                assert event["proposer"] == VALIDATORS[0].public.hex()
            assert await world.call(socket, "unsubscribe", subscription="1") == {"subscription": "1"}
            await world.produce()
            assert (await world.call(socket, "chain_info"))["height"] == 3
            error = await world.call(socket, "unsubscribe", subscription="1")
            assert (error["code"], error["data"]) == (-32602, {"reason": "params"})

    serve(tmp_path, story)


def test_transactions_of_an_account_and_the_fate_of_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with await world.connect() as socket:
            await world.call(socket, "subscribe", topic="transactions", account=BOB.public.hex())
            await world.call(socket, "subscribe", topic="transactions", account=CAROL.public.hex())
            name = world.pay(0)
            await world.call(socket, "subscribe", topic="transactions", tx_hash=name)
            assert (await world.event(socket))[1]["status"] == "pending"
            await world.produce()
            ident, event = await world.event(socket)
            assert (ident, event["tx_hash"], event["height"], event["reason"]) == ("1", name, 1, "applied")
            ident, event = await world.event(socket)
            assert (ident, event["status"], event["height"]) == ("3", "final", 1)
            # It has ended by itself.
            assert len(world.server._hub) == 2
            error = await world.call(socket, "unsubscribe", subscription="3")
            assert error["code"] == -32602

            other = Transaction.sign(ALICE, GENESIS.chain_id, 1, Transfer(BOB.public, 1), 1_000)
            name = other.tx_hash.hex()
            await world.call(socket, "subscribe", topic="transactions", tx_hash=name)
            assert await world.event(socket) == ("4", {"status": "unknown"})
            world.node.pool.give_up([(other, Refused(Reason.EXPIRED, "late"))])
            world.server._hub.tell()
            assert (await world.event(socket))[1] == {
                "status": "refused",
                "reason": "expired",
                "message": "late",
            }

    serve(tmp_path, story)


def test_status_and_peers_come_at_once_and_when_they_change(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with await world.connect() as socket:
            await world.call(socket, "subscribe", topic="status")
            assert (await world.event(socket))[1]["height"] == 0
            await world.call(socket, "subscribe", topic="peers")
            assert await world.event(socket) == ("2", {"peers": []})
            world.server._hub.tell()
            await world.produce()
            ident, event = await world.event(socket)
            assert (ident, event["height"], event["peer_count"]) == ("1", 1, 0)

    serve(tmp_path, story, is_peering=True)


def test_a_node_without_peers_has_a_status_and_no_topic_peers(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with await world.connect() as socket:
            await world.call(socket, "subscribe", topic="status")
            assert (await world.event(socket))[1]["quorum"] == 1
            for params in (
                {"topic": "peers"},
                {"topic": "weather"},
                {},
                {"topic": "transactions"},
                {"topic": "transactions", "account": "00" * 32, "tx_hash": "00" * 32},
                {"topic": "blocks", "account": "00" * 32},
            ):
                error = await world.call(socket, "subscribe", **params)
                assert (error["code"], error["data"]["reason"]) == (-32602, "params"), params

    serve(tmp_path, story)


def test_an_impeachment_says_against_whom_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        await world.produce()
        link = world.node.storage.link(1)
        assert link
        monkeypatch.setattr(rpc_events, "NO_PROPOSER", link.header.proposer)
        event = world.server._hub._block_event(link)
        assert event["proposer"] is None
        assert event["impeachment"] == {
            "proposer": VALIDATORS[0].public.hex(),
            "round": 0,
            "reason": None,
            "detail": "",
        }

    serve(tmp_path, story)


def test_who_does_not_read_is_told_and_dropped_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with await world.connect() as slow, await world.connect() as quick:
            for _ in range(2):
                await world.call(slow, "subscribe", topic="blocks")
            await world.call(quick, "subscribe", topic="blocks")
            # Two events at once, before any task can send one: more than may lie unread.
            await world.produce()
            assert (await world.event(quick))[1]["height"] == 1
            message = json.loads((await slow.receive()).data)
            while "error" not in message["params"]:
                message = json.loads((await slow.receive()).data)
            assert message["params"]["error"]["code"] == -32006
            assert message["params"]["error"]["data"] == {"reason": "too_slow"}
            assert (await slow.receive()).type == WSMsgType.CLOSE
            assert slow.close_code == 1013
            await world.produce()
            assert (await world.event(quick))[1]["height"] == 2
            assert world.server.metrics.slow_count == 1
            assert len(world.server._hub) == 1

    serve(tmp_path, story, unread_max=1)


def test_who_does_not_even_take_its_last_message_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_ws, "CLOSE_MS", 50)

    async def story(world: World) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(world.server.url.split(":")[2][:-1]))
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        assert b"101 Switching" in await reader.readuntil(b"\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}).encode()
        frame = b"\x81" + bytes([0x80 | len(request)]) + bytes(4) + request
        # Each answer has tens of kilobytes: the kernel's buffers are soon full, and then the outbox.
        while world.server.metrics.slow_count == 0:
            writer.write(frame * 20)
            await asyncio.sleep(0)
        assert world.server.metrics.socket_count == 0
        writer.close()

    serve(tmp_path, story, unread_max=4)


def test_pings_are_sent_and_who_answers_none_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_ws, "PING_MS", 40)

    async def story(world: World) -> None:
        async with await world.connect(autoping=False) as silent:
            assert (await silent.receive()).type == WSMsgType.PING
            assert (await silent.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)

    serve(tmp_path, story)


def test_connections_and_subscriptions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_ws, "CONNECTIONS_BY_OWNER_MAX", 2)
    monkeypatch.setattr(rpc_ws, "SUBSCRIPTIONS_MAX", 2)

    async def story(world: World) -> None:
        first, second = await world.connect(), await world.connect()
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await world.connect()
        assert caught.value.status == 503
        for number in (1, 2):
            assert await world.call(first, "subscribe", topic="blocks") == {"subscription": str(number)}
        error = await world.call(first, "subscribe", topic="blocks")
        assert (error["code"], error["data"]["reason"]) == (-32602, "subscriptions")
        await world.call(first, "unsubscribe", subscription="1")
        assert await world.call(first, "subscribe", topic="blocks") == {"subscription": "3"}
        await second.close()
        async with await world.connect() as third:
            await world.call(third, "chain_info")
        await first.close()

    serve(tmp_path, story)


def test_what_is_no_text_or_too_long_ends_the_connection(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with await world.connect() as socket:
            await socket.send_str("{")
            assert (await socket.receive_json())["error"]["code"] == -32700
            await socket.send_bytes(b"{}")
            assert (await socket.receive()).type == WSMsgType.CLOSE
            assert socket.close_code == 1003
        async with await world.connect() as socket:
            await socket.send_str(" " * (BODY_SIZE_MAX + 1))
            assert (await socket.receive()).type == WSMsgType.CLOSE
            assert socket.close_code == 1009
        async with await world.connect() as socket:
            assert (await world.call(socket, "genesis"))["genesis"] == GENESIS.data.hex()

    serve(tmp_path, story)


def test_no_page_of_another_origin_gets_a_socket(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        own = world.server.url.rstrip("/")
        async with await world.connect(headers={"Origin": own}) as socket:
            await world.call(socket, "chain_info")
        for origin in ("http://evil.example", "null", own + "0", "http://localhost"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await world.connect(headers={"Origin": origin})
            assert caught.value.status == 403, origin
        # Whose DNS says that evil.example is 127.0.0.1 has one origin with us.
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await world.connect(headers={"Origin": "http://evil.example", "Host": "evil.example"})
        assert caught.value.status == 421

    serve(tmp_path, story)


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        (None, "127.0.0.1:7545", True),
        ("http://127.0.0.1:7545", "127.0.0.1:7545", True),
        ("https://Node.example", "node.example", True),
        ("http://[::1]:7545", "[::1]:7545", True),
        ("http://127.0.0.1:7546", "127.0.0.1:7545", False),
        ("file://", "", False),
        ("", "", False),
        ("http://127.0.0.1:7545", None, False),
    ],
)
def test_whose_origin_is_ours(origin: str | None, host: str | None, is_own: bool) -> None:
    assert is_own_origin(origin, host) is is_own


def test_when_the_server_stops_or_cannot_go_on_sockets_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        async with await world.connect() as socket:
            await world.call(socket, "subscribe", topic="blocks")

            def broken(*_: object) -> None:
                raise StorageFull("/secret/path", "the disk is full")

            monkeypatch.setattr(rpc_events.Hub, "tell", broken)
            await world.produce()
            assert (await socket.receive()).type == WSMsgType.CLOSE
            assert socket.close_code == 1011
        async with await world.connect() as socket:
            await world.call(socket, "chain_info")
            message, _ = await asyncio.gather(socket.receive(), world.server.stop())
            assert message.type == WSMsgType.CLOSE
            assert socket.close_code == 1001

    serve(tmp_path, story)


def test_a_node_that_catches_up_tells_of_the_newest_blocks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_events, "BLOCKS_MAX", 2)

    async def story(world: World) -> None:
        heights = []
        hub = world.server._hub

        def note(_: object, event: dict[str, Any], __: bool) -> None:
            heights.append(event["height"])

        hub.add(rpc_events.Subscription("1", "blocks", note))
        monkeypatch.setattr(hub, "_height", 0)
        world.server._telling.cancel()  # type: ignore[union-attr]
        for _ in range(4):
            await world.produce()
        hub.tell()
        hub.tell()
        assert heights == [3, 4]

    serve(tmp_path, story)
