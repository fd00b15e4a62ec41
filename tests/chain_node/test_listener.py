"""The listener: who is not welcome is reset before anything is made for it; only so many come at a time."""

import asyncio
import errno
import socket
from collections.abc import Callable

import pytest

from chain_node import listener as listener_module
from chain_node.listener import ACCEPTS_MAX, Listener, bind
from tests.chain_node.peering import until


class Greeter(asyncio.Protocol):
    """Says hello and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


def listening(welcomes: Callable[[str], bool]) -> Listener:
    made = Listener(bind("127.0.0.1", 0, 256), welcomes, Greeter)
    made.start()
    return made


async def said(port: int) -> bytes | None:
    """What a new connection is told; None: it is reset."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = await reader.read()
    except ConnectionResetError:
        return None
    writer.close()
    return data


def test_who_is_welcome_is_served_and_who_is_not_is_reset() -> None:
    async def story() -> None:
        answers = [True, False, True]
        asked: list[str] = []

        def welcomes(host: str) -> bool:
            asked.append(host)
            return answers[len(asked) - 1]

        port = listening(welcomes)
        assert [await said(port.port) for _ in answers] == [b"hello", None, b"hello"]
        assert asked == ["127.0.0.1"] * 3
        port.close()

    asyncio.run(story())


def test_only_so_many_are_taken_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pause that never ends, what comes after the first lot stays in the kernel."""
    monkeypatch.setattr(listener_module, "ACCEPT_MS", 3_600_000)

    async def story() -> None:
        taken: list[str] = []

        def welcomes(host: str) -> bool:
            taken.append(host)
            return False

        port = listening(welcomes)
        waiting = [socket.create_connection(("127.0.0.1", port.port)) for _ in range(3 * ACCEPTS_MAX)]
        await until(lambda: port._timer is not None)
        assert len(taken) == ACCEPTS_MAX
        port.close()
        for each in waiting:
            each.close()

    asyncio.run(story())


def test_without_a_file_left_it_rests_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Full(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            raise OSError(errno.EMFILE, "Too many open files")

    async def story() -> None:
        plain = bind("127.0.0.1", 0, 1)
        port = Listener(Full(fileno=plain.detach()), lambda host: True, Greeter)
        port.start()
        with socket.create_connection(("127.0.0.1", port.port)):
            await until(lambda: port._timer is not None)
        assert caplog.messages == ["takes no connections for 1000 ms: [Errno 24] Too many open files"]
        port.close()

    asyncio.run(story())


def test_a_port_in_use_is_an_error_that_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1], 1)
