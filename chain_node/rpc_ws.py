"""JSON-RPC over a WebSocket, with subscriptions.

Runs on CPython with aiohttp.  The same methods as over HTTP, and two more: `subscribe` and `unsubscribe`
(rpc_document_socket.py).  One text message is one request or one batch; answers and events come back on the
same connection.  Nothing of a subscriber makes the node wait: what it has not read lies in an outbox of
UNREAD_MAX messages and UNREAD_BYTES_MAX bytes.  Whoever lets that overflow is told so by a last message and
close code 1013, if it reads that within CLOSE_MS, and is dropped.  A peer that answers no ping is, too.
"""

import asyncio
from collections import deque

from aiohttp import WSCloseCode, WSMsgType, web

from chain_node.metrics import Metrics
from chain_node.rate_limit import owner_of
from chain_node.rpc import Dispatcher, encode
from chain_node.rpc_call import Caller, Params, RpcError
from chain_node.rpc_events import Event, Hub, Subscription
from chain_node.rpc_format import BODY_SIZE_MAX, INVALID_PARAMS, TOO_SLOW

CONNECTIONS_MAX = 64
CONNECTIONS_BY_OWNER_MAX = 16
SUBSCRIPTIONS_MAX = 16
"""Of one connection."""
UNREAD_MAX = 256
UNREAD_BYTES_MAX = 8 << 20
"""One message is let in that is longer: an answer may be."""
PING_MS = 20_000
CLOSE_MS = 2_000


class Sockets:
    """All WebSockets of one node."""

    def __init__(
        self, hub: Hub, dispatcher: Dispatcher, metrics: Metrics, unread_max: int = UNREAD_MAX
    ) -> None:
        self._hub, self._dispatcher, self._metrics = hub, dispatcher, metrics
        self._unread_max = unread_max
        self._open: dict[_Connection, str] = {}
        """Each, and whose it is."""

    async def serve(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Upgrade this request, and serve it until it ends.  Raises HTTPServiceUnavailable when full."""
        owner = owner_of(request.remote or "")[0]
        mine = sum(each == owner for each in self._open.values())
        if len(self._open) >= CONNECTIONS_MAX or mine >= CONNECTIONS_BY_OWNER_MAX:
            self._metrics.limited_count += 1
            raise web.HTTPServiceUnavailable(
                text=f"there are {len(self._open)} WebSockets, {mine} of them yours; close one, or wait\n"
            )
        socket = web.WebSocketResponse(
            heartbeat=PING_MS / 1000, max_msg_size=BODY_SIZE_MAX, compress=False, timeout=CLOSE_MS / 2000
        )
        connection = _Connection(socket, self._hub, self._dispatcher, caller, self._unread_max)
        self._open[connection] = owner
        self._metrics.socket_count = len(self._open)
        try:
            await socket.prepare(request)
            await connection.run(request)
        finally:
            del self._open[connection]
            self._metrics.socket_count = len(self._open)
            self._metrics.slow_count += connection.is_too_slow
            self._metrics.subscription_count = len(self._hub)
        return socket

    def close(self, code: int, why: str) -> None:
        """End all of them."""
        for connection in self._open:
            connection.end(code, why)


class _Connection:
    def __init__(
        self,
        socket: web.WebSocketResponse,
        hub: Hub,
        dispatcher: Dispatcher,
        caller: Caller,
        unread_max: int,
    ) -> None:
        self.is_too_slow = False
        self._socket, self._hub, self._dispatcher = socket, hub, dispatcher
        self._unread_max = unread_max
        self._caller = caller
        caller.methods = {"subscribe": self._subscribe, "unsubscribe": self._unsubscribe}
        self._subscriptions: dict[str, Subscription] = {}
        self._number = 0
        self._new: list[Subscription] = []
        """Made by the message at hand; told once its answer is in the outbox."""
        self._outbox: deque[bytes] = deque()
        self._unread_bytes = 0
        self._is_there = asyncio.Event()
        self._is_over = asyncio.Event()
        self._last: bytes | None = None
        self._code, self._why = int(WSCloseCode.OK), ""

    async def run(self, request: web.Request) -> None:
        """Until the peer closes, or `end` is called."""
        tasks = [asyncio.create_task(each) for each in (self._read(), self._write(), self._is_over.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for subscription in self._subscriptions.values():
                self._hub.remove(subscription)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        await self._close(request)
        for outcome in ended:
            # A peer that goes away in the middle of a message is no news.
            if isinstance(outcome, BaseException) and not isinstance(
                outcome, asyncio.CancelledError | ConnectionError
            ):
                raise outcome

    def end(self, code: int, why: str, last: bytes | None = None) -> None:
        """Close it, with a last message if the peer still takes one."""
        if not self._is_over.is_set():
            self._code, self._why, self._last = code, why, last
            self._is_over.set()

    async def _close(self, request: web.Request) -> None:
        try:
            # Half of it for the last message, half for the peer's own goodbye, for which aiohttp waits.
            async with asyncio.timeout(CLOSE_MS / 1000):
                if self._last is not None:
                    await self._socket.send_str(self._last.decode())
                await self._socket.close(code=self._code, message=self._why.encode())
        except (TimeoutError, ConnectionError):
            # It reads nothing, or has gone.
            if request.transport:
                request.transport.abort()

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type != WSMsgType.TEXT:
                self.end(WSCloseCode.UNSUPPORTED_DATA, "send JSON-RPC as text")
                return
            answer = self._dispatcher.dispatch(message.data.encode(), self._caller)
            if answer is not None:
                self._put(answer)
            new, self._new = self._new, []
            for subscription in new:
                self._hub.add(subscription)
            # A peer that sends without a pause must leave the others their turn.
            await asyncio.sleep(0)

    async def _write(self) -> None:
        while True:
            await self._is_there.wait()
            while self._outbox:
                data = self._outbox.popleft()
                await self._socket.send_str(data.decode())
                self._unread_bytes -= len(data)
            self._is_there.clear()

    def _put(self, data: bytes) -> None:
        if self._is_over.is_set():
            return
        is_full = self._unread_bytes and self._unread_bytes + len(data) > UNREAD_BYTES_MAX
        if is_full or len(self._outbox) >= self._unread_max:
            self.is_too_slow = True
            why = f"{len(self._outbox)} messages were not read; subscribe again, and ask for what you missed"
            error = RpcError(TOO_SLOW, why, "too_slow").to_json()
            self.end(WSCloseCode.TRY_AGAIN_LATER, "too slow", _notification({"error": error}))
            return
        self._outbox.append(data)
        self._unread_bytes += len(data)
        self._is_there.set()

    def _deliver(self, subscription: Subscription, event: Event, is_last: bool) -> None:
        if is_last:
            self._subscriptions.pop(subscription.ident, None)
        self._put(
            _notification({"subscription": subscription.ident, "topic": subscription.topic, "event": event})
        )

    def _subscribe(self, params: Params) -> dict[str, object]:
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise RpcError(
                INVALID_PARAMS, f"a connection has at most {SUBSCRIPTIONS_MAX} subscriptions", "subscriptions"
            )
        made = self._hub.parse(str(self._number + 1), params, self._deliver)
        self._number += 1
        self._subscriptions[made.ident] = made
        self._new.append(made)
        return {"subscription": made.ident}

    def _unsubscribe(self, params: Params) -> dict[str, object]:
        ident = params.text("subscription")
        params.done()
        subscription = self._subscriptions.pop(ident, None)
        if subscription is None:
            raise RpcError(INVALID_PARAMS, "there is no such subscription on this connection", "params")
        if subscription in self._new:
            self._new.remove(subscription)
        self._hub.remove(subscription)
        return {"subscription": ident}


def _notification(params: dict[str, object]) -> bytes:
    return encode({"jsonrpc": "2.0", "method": "subscription", "params": params})


def is_own_origin(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from no web page, or from one that this server itself has served.

    A page of another origin that could use it would spend from a development treasury, and read all.
    """
    if origin is None:
        return True
    scheme, separator, rest = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and rest.lower() == (host or "").lower()
