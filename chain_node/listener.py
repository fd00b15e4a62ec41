"""A listening port that asks whether an address is welcome before a connection costs anything.

Runs on CPython, in an asyncio loop.  asyncio's own servers take every connection there is, and make
transport, protocol and task for it; here one that is not welcome is reset before any of that, and no more
than ACCEPTS_MAX are taken in ACCEPT_MS, so the rest wait or fail in the kernel, which costs a node nothing.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable

ACCEPTS_MAX = 16
ACCEPT_MS = 20
OUT_OF_FILES_MS = 1_000
"""How long nothing is taken when the process has no file or memory left for it."""
RESET = struct.pack("ii", 1, 0)
"""Linger for no time: close resets and leaves nothing in the kernel.  Source: socket(7), SO_LINGER."""

log = logging.getLogger(__name__)


class Listener:
    """Listens on a socket, from `start` to `close`.

    welcomes: whether a connection of this address is worth anything.  make: the protocol of one that is.
    """

    def __init__(
        self,
        listening: socket.socket,
        welcomes: Callable[[str], bool],
        make: Callable[[], asyncio.BaseProtocol],
    ) -> None:
        self._socket = listening
        self._welcomes = welcomes
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0
        self._since = 0.0
        listening.setblocking(False)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self) -> None:
        """Take connections from now on."""
        self._timer = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Take no more, and end those that are only half taken."""
        if self._timer:
            self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        now = self._loop.time()
        if now >= self._since + ACCEPT_MS / 1000:
            self._since, self._count = now, 0
        while self._count < ACCEPTS_MAX:
            try:
                taken, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("takes no connections for %d ms: %s", OUT_OF_FILES_MS, error)
                self._rest(OUT_OF_FILES_MS / 1000)
                return
            self._count += 1
            if self._welcomes(str(address[0])):
                self._take(taken)
            else:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                taken.close()
        self._rest(self._since + ACCEPT_MS / 1000 - now)

    def _take(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._make, taken))
        self._tasks.add(task)
        task.add_done_callback(self._taken)

    def _taken(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # A peer that goes away at once is no news, and nobody waits for this one.
            log.debug("a connection has ended before it began: %s", error)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._timer = self._loop.call_later(seconds, self.start)


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens there.  Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening
