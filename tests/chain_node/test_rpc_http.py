"""JSON-RPC over HTTP: one address, one content type, bounded bodies."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chain_node import rpc_gate, rpc_http
from chain_node.errors import NodeBusy, PortInUse
from chain_node.light_http import NodeClient
from chain_node.node import Node
from chain_node.rate_limit import Rate, RateLimit
from chain_node.rpc import Dispatcher
from chain_node.rpc_format import BODY_SIZE_MAX
from chain_node.rpc_http import RpcServer
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.peering import until
from tests.chain_node.stepping import Clock
from tests.chain_node.world import ALICE, BOB, VALIDATORS, genesis_of

GENESIS = genesis_of(VALIDATORS[:1])
INFO = b'{"jsonrpc":"2.0","id":1,"method":"chain_info"}'
JSON = {"Content-Type": "application/json"}


def serve(path: Path, story: Callable[[str], Awaitable[Any]], port: int = 0) -> Any:
    """Run `story` with the URL of a server."""

    async def run() -> Any:
        storage = Storage.open(path / "chain.sqlite", GENESIS)
        with closing(storage):
            node = Node(storage, VALIDATORS[0])
            server = RpcServer(Dispatcher(node), port=port)
            await server.start()
            try:
                return await story(server.url)
            finally:
                await server.stop()

    return asyncio.run(run())


async def post(url: str, data: bytes, headers: dict[str, str] = JSON) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as response:
        return response.status, await response.read()


def test_it_answers_on_loopback_at_a_free_port(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        assert url.startswith("http://127.0.0.1:")
        assert url != "http://127.0.0.1:0/"
        status, body = await post(url, INFO)
        assert status == 200
        assert body.startswith(b'{"jsonrpc":"2.0","id":1,"result":{"name":"test"')

    serve(tmp_path, story)


def test_notifications_get_no_content(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        assert await post(url, b'{"jsonrpc":"2.0","method":"chain_info"}') == (204, b"")

    serve(tmp_path, story)


def test_a_web_page_cannot_ask_without_asking_first(tmp_path: Path) -> None:
    """A page of another origin may send text/plain unasked, but application/json only after a preflight."""

    async def story(url: str) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            status, _ = await post(url, INFO, {"Content-Type": kind})
            assert status == 415
        async with aiohttp.ClientSession() as session, session.options(url) as response:
            assert response.status == 405
            assert not [name for name in response.headers if name.startswith("Access-Control")]
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 405

    serve(tmp_path, story)


def test_a_body_too_long_is_not_read(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        status, _ = await post(url, b" " * (BODY_SIZE_MAX + 1))
        assert status == 413

    serve(tmp_path, story)


def test_garbage_over_the_socket_harms_nobody(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        port = int(url.rsplit(":", 1)[1].rstrip("/"))
        for garbage in (b"\x00\xff" * 50, b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"GET"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(garbage)
            writer.write_eof()
            await writer.drain()
            writer.close()
        assert (await post(url, INFO))[0] == 200

    serve(tmp_path, story)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        raise AssertionError("it must not start")

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} of 127.0.0.1 is in use; stop the other") as caught:
            serve(tmp_path, story, port)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)


# Limits


def served(
    path: Path,
    story: Callable[[RpcServer], Awaitable[Any]],
    limit: RateLimit | None = None,
    **options: Any,
) -> None:
    async def run() -> None:
        with closing(Storage.open(path / "chain.sqlite", GENESIS)) as storage:
            server = RpcServer(Dispatcher(Node(storage, VALIDATORS[0])), limit=limit, **options)
            await server.start()
            try:
                async with asyncio.timeout(20):
                    await story(server)
            finally:
                await server.stop()

    asyncio.run(run())


def test_who_asks_too_much_is_told_when_to_come_again(tmp_path: Path) -> None:
    """Each call takes one token for its body and one for itself, of four."""
    clock = Clock()
    limit = RateLimit(clock.steady, local=Rate(per_second=1, burst=4))

    async def story(server: RpcServer) -> None:
        assert [(await post(server.url, INFO))[0] for _ in range(2)] == [200, 200]
        async with (
            aiohttp.ClientSession() as session,
            session.post(server.url, data=INFO, headers=JSON) as response,
        ):
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
            error = (await response.json())["error"]
        assert (error["code"], error["data"]) == (-32005, {"reason": "rate_limited", "retry_after_ms": 1_000})
        async with NodeClient(server.url) as client:
            with pytest.raises(NodeBusy, match="too many requests; wait 1000 ms") as busy:
                await client.chain_info()
            assert (busy.value.retry_after_ms, busy.value.is_retryable) == (1_000, True)
        async with (
            aiohttp.ClientSession() as session,
            session.get(server.url + "metrics") as response,
        ):
            assert response.status == 429
        clock.steady_ms += 3_000
        # A batch is answered call by call: one of body, two of calls, and there is none left for the third.
        status, body = await post(server.url, b"[" + b",".join([INFO] * 3) + b"]")
        answers = json.loads(body)
        assert (status, ["result" in each for each in answers]) == (200, [True, True, False])
        assert answers[2]["error"]["data"]["reason"] == "rate_limited"
        assert server.metrics.limited_count == 4

    served(tmp_path, story, limit)


def test_a_long_body_and_a_costly_method_take_more(tmp_path: Path) -> None:
    clock = Clock()
    limit = RateLimit(clock.steady, local=Rate(per_second=1_000, burst=1_000))

    async def left(server: RpcServer, body: bytes) -> int:
        clock.steady_ms += 1_000_000
        await post(server.url, body)
        return next(n for n in range(1_001) if limit.take("127.0.0.1", 1_000 - n) == 0)

    async def story(server: RpcServer) -> None:
        assert await left(server, INFO) == 2
        assert await left(server, INFO + b" " * (1 << 14)) == 3
        history = b'{"jsonrpc":"2.0","id":1,"method":"account_history","params":{}}'
        assert await left(server, history) == 21

    served(tmp_path, story, limit)


def test_bodies_that_come_slowly_are_bounded_in_number_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_http, "READING_MAX", 4)
    monkeypatch.setattr(rpc_http, "READ_MS", 300)
    head = (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )

    async def story(server: RpcServer) -> None:
        port = int(server.url.rsplit(":", 1)[1].rstrip("/"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"{")
        while True:
            await asyncio.sleep(0)
            if server._reading:
                break
        async with NodeClient(server.url) as client:
            with pytest.raises(NodeBusy, match="too many requests at once") as busy:
                await client.chain_info()
            assert busy.value.retry_after_ms == 1_000
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        assert (await post(server.url, INFO))[0] == 200
        assert not server._reading

    served(tmp_path, story)


def test_idle_connections_are_bounded_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_gate, "LOCAL_MAX", 3)
    monkeypatch.setattr(rpc_gate, "FIRST_BYTE_MS", 200)

    async def story(server: RpcServer) -> None:
        port = int(server.url.rsplit(":", 1)[1].rstrip("/"))
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await until(lambda: len(server._doorman._gates) == 3)  # type: ignore[union-attr]
        # The fourth is turned away at once, the others after their time.
        with pytest.raises(ConnectionResetError):
            await first_bytes(port)
        assert server.metrics.limited_count == 1
        for reader, _ in idle:
            assert await reader.read() == b""
        assert (await post(server.url, INFO))[0] == 200
        for _, writer in idle:
            writer.close()

    served(tmp_path, story)


async def first_bytes(port: int) -> bytes:
    """What a connection is told that says nothing."""
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    return await reader.read()


def signed_wrongly(number: int) -> bytes:
    """A transaction whose signature is wrong, as a request."""
    data = Transaction.sign(ALICE, GENESIS.chain_id, number, Transfer(BOB.public, 1), 1_000).data
    wrong = (data[:-1] + bytes([data[-1] ^ 1])).hex()
    call = {"jsonrpc": "2.0", "id": number, "method": "tx_submit", "params": {"tx": wrong}}
    return json.dumps(call).encode()


def test_who_sends_what_is_refused_is_read_no_faster_than_that_may_cost(tmp_path: Path) -> None:
    """Three may be refused; then nothing is looked at, and the address is not read for as long as told."""
    clock = Clock()
    refused = RateLimit(clock.steady, local=Rate(per_second=1, burst=3))
    seen: list[str] = []

    async def story(server: RpcServer) -> None:
        server._dispatcher.watch = lambda method, outcome, took_us: seen.append(outcome)
        doorman = server._doorman
        assert doorman
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):

            async def ask(data: bytes) -> tuple[int, dict[str, Any]]:
                async with session.post(server.url, data=data, headers=JSON) as response:
                    return response.status, await response.json()

            batch = b"[" + b",".join(map(signed_wrongly, range(6))) + b"]"
            status, answers = await ask(batch)
            # The fourth takes what was not there any more, and the rest are not verified.
            assert (status, seen) == (200, ["bad_signature"] * 4 + ["rate_limited"] * 2)
            assert answers[4]["error"]["data"] == {"reason": "rate_limited", "retry_after_ms": 1_000}  # type: ignore[index]
            assert set(doorman._resting) == {"127.0.0.1"}
            (gate,) = doorman._gates
            assert not gate._transport.is_reading()  # type: ignore[union-attr]
            # aiohttp does this of itself after some requests.
            gate._transport.resume_reading()  # type: ignore[union-attr]
            asking = asyncio.create_task(ask(INFO))
            await until(lambda: gate._held != b"")
            assert not gate._transport.is_reading()  # type: ignore[union-attr]
            clock.steady_ms += 60_000
            doorman.rest("127.0.0.1", 0)
            assert (await asking)[0] == 200
            await until(lambda: not doorman._resting)
            clock.steady_ms += 60_000
            assert (await ask(INFO))[0] == 200
            # What is not asked by JSON-RPC counts as well.
            for _ in range(4):
                async with session.get(server.url + "nowhere") as response:
                    assert response.status == 404
            assert set(doorman._resting) == {"127.0.0.1"}

    served(tmp_path, story, refused=refused)


def test_a_connection_that_begins_while_its_address_rests_is_not_read_until_that_is_over(
    tmp_path: Path,
) -> None:
    async def story(server: RpcServer) -> None:
        doorman = server._doorman
        assert doorman
        doorman.rest("127.0.0.1", 3_600_000)
        asking = asyncio.create_task(post(server.url, INFO))
        await until(lambda: len(doorman._gates) == 1)
        (gate,) = doorman._gates
        assert not gate._transport.is_reading()  # type: ignore[union-attr]
        doorman.rest("127.0.0.1", 0)
        assert (await asking)[0] == 200
        await until(lambda: not doorman._gates)
        assert doorman._counts == {}

    served(tmp_path, story)


def test_who_takes_nothing_of_its_answers_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_gate, "STUCK_MS", 100)
    ask = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'
    head = (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(ask)}"
    )

    async def story(server: RpcServer) -> None:
        port = int(server.url.rsplit(":", 1)[1].rstrip("/"))
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        doorman = server._doorman
        assert doorman
        await until(lambda: len(doorman._gates) == 1)
        writer.write((f"{head}Content-Length: {len(ask)}\r\n\r\n".encode() + ask) * 400)
        await until(lambda: not doorman._gates)
        writer.close()

    served(tmp_path, story)


def test_connections_of_an_address_come_no_faster_than_a_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_http, "CONNECTS_LOCAL", Rate(per_second=1, burst=2))
    monkeypatch.setattr(rpc_http, "steady_clock_ms", lambda: 0)

    async def story(server: RpcServer) -> None:
        assert [(await post(server.url, INFO))[0] for _ in range(2)] == [200, 200]
        with pytest.raises(aiohttp.ClientError):
            await post(server.url, INFO)

    served(tmp_path, story)


def test_while_it_is_shut_transactions_are_told_to_come_again_and_all_else_is_answered(
    tmp_path: Path,
) -> None:
    asked: list[bool] = []
    blamed: list[None] = []

    def busy_ms(is_local: bool) -> int:
        asked.append(is_local)
        return 7_000

    async def story(server: RpcServer) -> None:
        status, body = await post(server.url, signed_wrongly(0))
        error = json.loads(body)["error"]
        assert (status, error["data"]) == (200, {"reason": "busy", "retry_after_ms": 7_000})
        assert error["message"].startswith(
            "this validator is flooded, and takes no transactions of strangers"
        )
        assert (await post(server.url, INFO))[0] == 200
        assert (asked, blamed) == ([True], [])
        await post(server.url, b"{")
        assert blamed == [None], "what is refused for what it is, is told"

    served(tmp_path, story, busy_ms=busy_ms, blamed=lambda: blamed.append(None))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "1.2.3.4", ""])
def test_on_loopback_no_other_name_is_answered(tmp_path: Path, host: str) -> None:
    """Whose DNS says that a name of theirs is 127.0.0.1 could let their pages ask this node."""

    async def story(server: RpcServer) -> None:
        status, body = await post(server.url, INFO, JSON | {"Host": host})
        assert (status, body) == (421, b"ask for this address by its number, or as localhost\n")

    served(tmp_path, story)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:7545", "LOCALHOST", "[::1]:80", "[::1]", "127.9.9.9:1"]
)
def test_names_that_are_loopbacks(host: str) -> None:
    assert rpc_http.is_loopback_name(host)


def test_a_page_of_another_origin_is_told_nothing(tmp_path: Path) -> None:
    async def story(server: RpcServer) -> None:
        assert (await post(server.url, INFO, JSON | {"Origin": "http://evil.example"}))[0] == 403
        assert (await post(server.url, INFO, JSON | {"Origin": server.url.rstrip("/")}))[0] == 200

    served(tmp_path, story)


def test_the_document_is_a_file_too(tmp_path: Path) -> None:
    async def story(server: RpcServer) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.get(server.url + "openrpc.json") as response,
        ):
            found = await response.json()
        asked = await post(server.url, b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}')
        assert found == json.loads(asked[1])["result"]

    served(tmp_path, story)
