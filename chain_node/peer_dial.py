"""Dialling: each address that a node was told, again and again, ever less often, and never all at once.

Runs on CPython, in an asyncio loop.
"""

import asyncio
import logging
import random
from typing import Protocol

from chain_node.errors import PeerError
from chain_node.peer import HANDSHAKE_MS, OtherChain
from chain_node.peer_address import Address
from chain_node.peer_connection import Connection, Host

FIRST_MS = 500
LAST_MS = 15_000
"""The shortest and the longest wait before an address is dialled again."""
STEADY_MS = 30_000
"""A connection that lasted so long was a good one: the waits begin anew."""
FAR_MS = 3_600_000
"""The wait where dialling again cannot help: another chain, another protocol, ourselves."""
LINKED_MS = 1_000
"""How often is looked whether a node that has dialled us is still connected."""

log = logging.getLogger(__name__)


class DialHost(Host, Protocol):
    """The network, as the dialler sees it."""

    def is_linked(self, public: bytes) -> bool:
        """Whether there is a connection with this node."""

    def is_hopeless(self, why: PeerError | None) -> bool:
        """Whether dialling again cannot help."""


class Backoff:
    """Waits that grow, each of them a little random, so that nodes that start together dial apart."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._wait_ms = FIRST_MS

    def next_ms(self) -> int:
        """The next wait."""
        wait_ms = self._wait_ms
        self._wait_ms = min(2 * wait_ms, LAST_MS)
        return wait_ms // 2 + self._random.randrange(wait_ms // 2 + 1)

    def reset(self) -> None:
        """All went well."""
        self._wait_ms = FIRST_MS


class Dialler:
    """Keeps a network connected with the addresses that it was told."""

    def __init__(self, network: DialHost, source: random.Random) -> None:
        self._network = network
        self._random = source

    async def run(self, address: Address) -> None:
        """Keep one address connected, until cancelled."""
        backoff = Backoff(self._random)
        public = address.public
        said = ""
        while True:
            if public and self._network.is_linked(public):
                await asyncio.sleep(LINKED_MS / 1000)
                continue
            since_ms = self._network.steady_ms()
            try:
                connection = await self._connect(address)
            except OSError as error:
                why: PeerError | None = None
                words = f"{address} cannot be reached: {error.strerror or error or type(error).__name__}"
            else:
                why = await connection.closed
                if connection.is_open:
                    public = connection.public
                words = f"{address} hung up: {why or 'the connection broke'}"
                if self._network.steady_ms() >= since_ms + STEADY_MS:
                    backoff.reset()
            if words != said:
                # Once for each reason: an address may be away for days.
                log.info("%s", words)
                said = words
            is_hopeless = isinstance(why, OtherChain) or self._network.is_hopeless(why)
            await asyncio.sleep((FAR_MS if is_hopeless else backoff.next_ms()) / 1000)

    async def _connect(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(HANDSHAKE_MS / 1000):
            _, connection = await loop.create_connection(
                lambda: Connection(self._network, address), address.host, address.port
            )
        return connection
