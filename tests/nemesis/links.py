"""The links between nodes, each through a TCP proxy of ours, so that any of them can fail in any direction.

Runs on CPython, in an asyncio loop.  One listener for each pair of who dials and who is dialled; what a link
does holds for all connections between its two nodes, whoever has dialled:

    pass       bytes go through
    cut        connections are reset, and new ones, too
    swallow    bytes are taken and never arrive: a half-open link, in one direction or in both
    delay      bytes arrive later, in order

TCP does not bear a hole in a stream: a connection that has lost bytes stays dead in that direction.  `heal`
resets it, or leaves it so for its nodes to notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

HOST = "127.0.0.1"


class Half(asyncio.Protocol):
    """One end of a proxied connection: what `source` says is written to the other half."""

    def __init__(self, links: Links, source: str, sink: str) -> None:
        self.source, self.sink = source, sink
        self.other: Half | None = None
        self.transport: asyncio.Transport | None = None
        self.has_lost = False
        """Bytes of it were swallowed: nothing after them is of use."""
        self._links = links
        self._early: list[bytes] = []
        self._due_s = 0.0
        """When the last delayed bytes arrive; later ones do not overtake them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._links.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.has_lost or (self.source, self.sink) in self._links.swallowing:
            self.has_lost = True
            return
        delay_ms = self._links.delays_ms.get((self.source, self.sink), 0)
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._due_s = max(self._due_s, now_s + delay_ms / 1000)
        if self._due_s > now_s:
            loop.call_at(self._due_s, self._write, data)
        else:
            self._write(data)

    def connect(self, other: Half) -> None:
        """The other end is there."""
        self.other, other.other = other, self
        for half in (self, other):
            early, half._early = half._early, []
            for data in early:
                half._write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.closed(self)
        # Over a link that swallows, also the end of a connection is not heard of.
        if self.has_lost or (self.source, self.sink) in self._links.swallowing:
            return
        if self.other and self.other.transport:
            # What was sent before still arrives.
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def abort(self) -> None:
        """Reset it."""
        if self.transport:
            self.transport.abort()

    def _write(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        elif self.other.transport and not self.other.transport.is_closing():
            self.other.transport.write(data)


@dataclass
class Links:
    """All links of a network; `listen` for each pair, `close` at the end."""

    swallowing: set[tuple[str, str]] = field(default_factory=set)
    """(from, to)."""
    delays_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    """By (from, to)."""
    _cuts: set[frozenset[str]] = field(default_factory=set)
    _halves: dict[Half, None] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _dials: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen(self, dialler: str, target: str, at: tuple[str, int], host: str = HOST) -> int:
        """Where `dialler` is to reach `target`, which is `at` that host and port; a port of `host`."""

        def accept() -> Half:
            half = Half(self, dialler, target)
            task = asyncio.get_running_loop().create_task(self._dial(half, at))
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)
            return half

        server = await asyncio.get_running_loop().create_server(accept, host, 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """End all of it."""
        for server in self._servers:
            server.close()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for half in tuple(self._halves):
            half.abort()

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Reset all connections between each two, and every new one."""
        self._cuts.update(frozenset(pair) for pair in pairs)
        for half in tuple(self._halves):
            if self._is_cut(half):
                half.abort()

    def swallow(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Let nothing arrive from the first of each to the second, and nobody know."""
        self.swallowing.update(pairs)

    def delay(self, pairs: Iterable[tuple[str, str]], delay_ms: int) -> None:
        """Let everything from the first of each to the second arrive later."""
        self.delays_ms.update(dict.fromkeys(pairs, delay_ms))

    def heal(self, *, is_reset: bool = True) -> None:
        """All passes again.  is_reset: connections that have lost bytes are reset, else they stay silent."""
        self._cuts.clear()
        self.swallowing.clear()
        self.delays_ms.clear()
        if is_reset:
            for half in tuple(self._halves):
                if half.has_lost:
                    half.abort()
                    if half.other:
                        half.other.abort()

    def opened(self, half: Half) -> None:
        """A connection has begun."""
        self._halves[half] = None
        if self._is_cut(half):
            half.abort()

    def closed(self, half: Half) -> None:
        """A connection has ended."""
        self._halves.pop(half, None)

    def _is_cut(self, half: Half) -> bool:
        return frozenset((half.source, half.sink)) in self._cuts

    async def _dial(self, half: Half, at: tuple[str, int]) -> None:
        try:
            _, ahead = await asyncio.get_running_loop().create_connection(
                lambda: Half(self, half.sink, half.source), *at
            )
        except OSError:
            # Nobody listens there: the dialler learns it as from any network.
            half.abort()
            return
        half.connect(ahead)
        if half.transport is None or half.transport.is_closing() or self._is_cut(half):
            half.abort()
            ahead.abort()
