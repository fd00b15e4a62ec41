"""A TCP proxy on 127.0.0.1 that can fall silent without closing anything: what a half-open link is like.

Runs on CPython.  While it is silent it still takes what is sent, as kernels and networks do.  Afterwards that
is delivered, also from a side that has given up meanwhile, or lost, as the test wants.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

CHUNK_BYTES = 1 << 16


@dataclass
class StallingProxy:
    """`async with StallingProxy(port) as proxy:` listens on `proxy.port`."""

    target_port: int
    port: int = 0
    refused_count: int = 0
    """Connections for which there was nobody at the other end."""
    given_up_count: int = 0
    """Connections that a client has ended while the proxy was silent."""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, nothing reaches the server."""
    down: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, nothing reaches the clients."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a count has changed."""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _pumps: set[asyncio.Future[None]] = field(default_factory=set)

    async def __aenter__(self) -> StallingProxy:
        self.flow()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall(self, *, is_one_way: bool = False) -> None:
        """From now on nothing comes through; is_one_way: to the clients."""
        self.down.clear()
        if not is_one_way:
            self.up.clear()

    def flow(self) -> None:
        """From now on everything comes through, beginning with what was held back."""
        self.up.set()
        self.down.set()

    def cut(self) -> None:
        """As flow, but nothing of what was held back arrives, and its connections are over."""
        for pump in self._pumps:
            pump.cancel()
        self.flow()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Also a client that connects while nothing comes through must wait for its answer.
            await self.up.wait()
            try:
                ahead, behind = await asyncio.open_connection("127.0.0.1", self.target_port)
            except OSError:
                self.refused_count += 1
                self.news.set()
                return
            pumps = [
                asyncio.ensure_future(self._pump(reader, behind, self.up, is_client=True)),
                asyncio.ensure_future(self._pump(ahead, writer, self.down, is_client=False)),
            ]
            self._pumps.update(pumps)
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._pumps.difference_update(pumps)
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                behind.close()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        may_pass: asyncio.Event,
        *,
        is_client: bool,
    ) -> None:
        """Until one side has ended, and all that it had said has been delivered."""
        held: asyncio.Queue[bytes] = asyncio.Queue()
        delivering = asyncio.ensure_future(self._deliver(held, writer, may_pass))
        try:
            try:
                while data := await reader.read(CHUNK_BYTES):
                    held.put_nowait(data)
            except OSError:
                # Cut off: what was sent before was sent.
                data = b""
            if is_client and not (self.up.is_set() and self.down.is_set()):
                self.given_up_count += 1
                self.news.set()
            held.put_nowait(b"")
            await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    async def _deliver(
        self, held: asyncio.Queue[bytes], writer: asyncio.StreamWriter, may_pass: asyncio.Event
    ) -> None:
        while data := await held.get():
            await may_pass.wait()
            if writer.is_closing():
                return
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                # The other side has gone; whoever sends will learn it as from any network.
                return
        await may_pass.wait()
