"""JSON-RPC over HTTP POST: the dispatcher behind an aiohttp server.

Runs on CPython.  Listens on 127.0.0.1 unless told otherwise: there is no authentication here.  Only
`Content-Type: application/json` is taken, which a web page of another origin cannot send unasked, so
no page can spend from a development treasury.
"""

import errno
import socket
from collections.abc import Sequence

from aiohttp import web

from chain_node.errors import PortInUse
from chain_node.rpc import Dispatcher
from chain_node.rpc_format import BODY_SIZE_MAX

LOOPBACK = "127.0.0.1"
BACKLOG = 128


class RpcServer:
    """Serves one dispatcher at http://host:port/.

    port: 0 takes any free one; `url` says which, once started.  pages: what GET answers, the explorer's.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        host: str = LOOPBACK,
        port: int = 0,
        pages: Sequence[web.RouteDef] = (),
    ) -> None:
        self._dispatcher = dispatcher
        self._pages = pages
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    async def start(self) -> None:
        """Listen.  Raises PortInUse, OSError for an address that is not this machine's."""
        listener = self._bind()
        application = web.Application(client_max_size=BODY_SIZE_MAX)
        application.router.add_post("/", self._handle)
        application.router.add_routes(self._pages)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=BACKLOG).start()

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

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

    async def _handle(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="POST JSON-RPC 2.0 as application/json\n")
        answer = self._dispatcher.dispatch(await request.read())
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")
