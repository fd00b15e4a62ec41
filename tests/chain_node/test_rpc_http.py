"""JSON-RPC over HTTP: one address, one content type, bounded bodies."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chain_node.errors import PortInUse
from chain_node.node import Node
from chain_node.rpc import Dispatcher
from chain_node.rpc_format import BODY_SIZE_MAX
from chain_node.rpc_http import RpcServer
from chain_node.storage import Storage
from tests.chain_node.world import VALIDATORS, genesis_of

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
