"""A node's port for users: JSON-RPC over HTTP and WebSocket, health, figures, and pages of an explorer.

    POST /              JSON-RPC 2.0, as application/json
    GET /ws             the same over a WebSocket, with subscriptions (rpc_ws.py)
    GET /health         200, or 503 when the node is not well; JSON that says why
    GET /metrics        figures for Prometheus (metrics.py)
    GET /openrpc.json   the document that describes it all (rpc_document.py)
    GET anything else   what the composition root hands in: the explorer

Runs on CPython with aiohttp.  Listens on 127.0.0.1 unless told otherwise: there is no authentication here.
No web page of another origin can use it, whatever browser it is opened in, so none can spend from a
development treasury: POST takes application/json only, which such a page cannot send unasked; a WebSocket
must come from a page of ours or from no page at all; and on loopback the name asked for must be loopback's,
lest somebody's DNS points a name of theirs here.

Everybody is bounded: connections (rpc_gate.py), tokens by address (rate_limit.py; too few: status 429 with
Retry-After), requests that are being read, their bytes, and how long that may take.  An address that has too
many requests refused, or does not wait as it is told, is read no faster than those may cost.
"""

import asyncio
import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import WSCloseCode, web

from chain_node.errors import PortInUse, StorageError
from chain_node.listener import Listener
from chain_node.metrics import CONTENT_TYPE, Metrics
from chain_node.node import steady_clock_ms, wall_clock_ms
from chain_node.rate_limit import (
    CONNECTS_LOCAL,
    CONNECTS_REMOTE,
    REFUSED_LOCAL,
    REFUSED_REMOTE,
    RateLimit,
    owner_of,
)
from chain_node.rpc import Dispatcher, answer, encode
from chain_node.rpc_call import Caller, RpcError
from chain_node.rpc_document import document
from chain_node.rpc_events import Hub
from chain_node.rpc_format import BODY_SIZE_MAX, RATE_LIMITED
from chain_node.rpc_gate import Doorman
from chain_node.rpc_ws import Sockets, is_own_origin

LOOPBACK = "127.0.0.1"
BACKLOG = 128
READING_MAX = 64
"""Bodies that are read at once; of one address a quarter."""
READ_MS = 10_000
"""How long a body may take to come."""
RETRY_MS = 1_000
KEEP_OPEN_MS = 30_000
"""How long a connection may be idle between requests."""
STOP_MS = 3_000

log = logging.getLogger(__name__)

Busy = Callable[[bool], int]
"""How many milliseconds transactions are not taken; True: of this machine's own programs."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RpcServer:
    """Serves one dispatcher at http://host:port/.

    port: 0 takes any free one; `url` says which, once started.  pages: what GET answers, the explorer's.
    limit: how much each address may ask.  refused: how much of it may be refused.
    clock_ms: Unix milliseconds, to tell how old the head is.
    busy_ms: see Busy.  blamed: is told of each request that was looked at, and refused for what it is.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        host: str = LOOPBACK,
        port: int = 0,
        pages: Sequence[web.RouteDef] = (),
        *,
        limit: RateLimit | None = None,
        refused: RateLimit | None = None,
        clock_ms: Callable[[], int] = wall_clock_ms,
        busy_ms: Busy = lambda is_local: 0,
        blamed: Callable[[], None] = lambda: None,
    ) -> None:
        self._dispatcher = dispatcher
        self._pages = pages
        self._host = host
        self._port = port
        self._limit = limit or RateLimit(steady_clock_ms)
        self._refused = refused or RateLimit(steady_clock_ms, REFUSED_REMOTE, REFUSED_LOCAL)
        self._busy_ms, self._blamed = busy_ms, blamed
        self.metrics = Metrics(dispatcher.node, dispatcher, clock_ms)
        self._hub = Hub(dispatcher.node, dispatcher)
        self._sockets = Sockets(self._hub, dispatcher, self.metrics)
        self._reading: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._doorman: Doorman | None = None
        self._listening: Listener | None = None
        self._telling: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    async def start(self) -> None:
        """Listen.  Raises PortInUse, OSError for an address that is not this machine's."""
        listener = self._bind()
        application = web.Application(client_max_size=BODY_SIZE_MAX, middlewares=[self._guard])
        application.router.add_routes(
            [
                web.post("/", self._post),
                web.get("/ws", self._socket),
                web.get("/health", self._health),
                web.get("/metrics", self._figures),
                web.get("/openrpc.json", self._document),
                *self._pages,
            ]
        )
        runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=KEEP_OPEN_MS / 1000,
            shutdown_timeout=STOP_MS / 1000,
        )
        await runner.setup()
        self._runner = runner

        def server() -> web.Server:
            assert runner.server  # noqa: S101 - it is set up
            return runner.server

        connects = RateLimit(steady_clock_ms, CONNECTS_REMOTE, CONNECTS_LOCAL)
        self._doorman = Doorman(server, connects, self._count_limited)
        self._listening = Listener(listener, self._doorman.welcomes, self._doorman.gate)
        self._listening.start()
        self._telling = asyncio.create_task(self._hub.run())
        self._telling.add_done_callback(self._told)

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._telling:
            self._telling.cancel()
            self._telling = None
        if self._listening and self._doorman:
            self._listening.close()
            self._doorman.close()
            self._listening = None
        self._sockets.close(WSCloseCode.GOING_AWAY, "the node stops")
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def _told(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            # What broke it ends the node, too, which tells its operator; subscribers must not wait for ever.
            log.error("tells subscribers no more: %s", error)
            self._sockets.close(WSCloseCode.INTERNAL_ERROR, "the node cannot use its file")

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(self._host, self._port) from error
            raise
        self._port = listener.getsockname()[1]
        return listener

    # Every request

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await self._let_in(request, handler)
        except web.HTTPClientError:
            self._owe(request.remote or "", 1)
            raise

    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        here = request.transport and request.transport.get_extra_info("sockname")
        if here and owner_of(str(here[0]))[1] and not is_loopback_name(request.host):
            raise web.HTTPMisdirectedRequest(text="ask for this address by its number, or as localhost\n")
        if not is_own_origin(request.headers.get("Origin"), request.headers.get("Host")):
            raise web.HTTPForbidden(text="a web page of another origin may not use this\n")
        if request.method == "POST":
            return await handler(request)
        if wait_ms := self._limit.take(request.remote or "", 1):
            self._count_limited()
            raise web.HTTPTooManyRequests(
                headers=_retry_after(wait_ms), text=f"too many requests; wait {wait_ms} ms\n"
            )
        try:
            return await handler(request)
        except StorageError as error:
            # The path is the operator's business, not the caller's.
            log.error("%s", error)
            raise web.HTTPInternalServerError(text="the node cannot use its file\n") from error

    def _caller(self, request: web.Request) -> Caller:
        address = request.remote or ""
        is_local = owner_of(address)[1]
        return Caller(
            lambda tokens: self._limit.take(address, tokens),
            owe=lambda count: self._owe(address, count),
            busy_ms=lambda: self._busy_ms(is_local),
        )

    def _owe(self, address: str, count: int) -> int:
        wait_ms = self._refused.owe(address, count)
        if count and not wait_ms:
            self._blamed()
        if count and wait_ms and self._doorman:
            self._doorman.rest(address, wait_ms)
        return wait_ms

    def _count_limited(self) -> None:
        self.metrics.limited_count += 1

    # Routes

    async def _post(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="POST JSON-RPC 2.0 as application/json\n")
        owner = owner_of(request.remote or "")[0]
        if self._reading.total() >= READING_MAX or self._reading[owner] >= READING_MAX // 4:
            self._count_limited()
            error = RpcError(RATE_LIMITED, "too many requests at once", "too_many_at_once", RETRY_MS)
            return _response(encode(answer(None, error)), 503, RETRY_MS)
        self._reading[owner] += 1
        try:
            async with asyncio.timeout(READ_MS / 1000):
                body = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(text=f"the body must come within {READ_MS} ms\n") from None
        finally:
            self._reading[owner] -= 1
            if not self._reading[owner]:
                del self._reading[owner]
        caller = self._caller(request)
        data = self._dispatcher.dispatch(body, caller)
        if caller.retry_after_ms is not None:
            self._count_limited()
        if data is None:
            return web.Response(status=204)
        # In a batch each answer says for itself what became of it.
        if caller.retry_after_ms is not None and data.startswith(b"{"):
            return _response(data, 429, caller.retry_after_ms)
        return web.Response(body=data, content_type="application/json")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await self._sockets.serve(request, self._caller(request))

    async def _health(self, request: web.Request) -> web.Response:
        try:
            health = self.metrics.health()
        except RpcError as error:
            health = {"is_well": False, "problems": [{"reason": error.reason, "message": str(error)}]}
        status = 200 if health["is_well"] else 503
        return web.Response(status=status, body=encode(health), content_type="application/json")

    async def _figures(self, request: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text().encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _document(self, request: web.Request) -> web.Response:
        found = document(self._dispatcher.method_names)
        return web.Response(body=encode(found), content_type="application/json")


def is_loopback_name(host: str) -> bool:
    """Whether a Host header means this machine by a name that nobody else's DNS can give away."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _response(data: bytes, status: int, wait_ms: int) -> web.Response:
    return web.Response(
        status=status, body=data, content_type="application/json", headers=_retry_after(wait_ms)
    )


def _retry_after(wait_ms: int) -> dict[str, str]:
    return {"Retry-After": str(-(-wait_ms // 1000))}
