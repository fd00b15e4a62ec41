"""A network to torment: validators, proposers and plain nodes as processes, every link through a proxy.

Runs on CPython, on Linux, in an asyncio loop.

    async with Network(folder) as network:
        await network.reach(3)
        network["validator-2"].kill()
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import apsw

from chain_node.errors import NodeUnavailable
from chain_node.genesis import Genesis
from chain_node.light_http import NodeClient
from chain_node.node_folder import CONFIG_NAME, TestNetwork, init_network, to_toml
from chain_node.peer_address import Address
from chain_node.storage import Storage
from chain_node.transaction import SUPPLY_UCPC
from puf.ed25519 import SigningKey
from tests.nemesis.links import HOST, Links
from tests.nemesis.namespaces import Namespaces, NotPermitted
from tests.nemesis.processes import NodeProcess

BLOCK_PERIOD_MS = 100
HEARTBEAT_MS = 300
TIMEOUT_MS = 1_500
DEADLINE_S = 90.0
"""For what must happen at last.  A loaded machine is slow, and who is away is dialled every 15 s."""
POLL_S = 0.03
DISK_SIZE = 24 << 20
FULL_NODE_NAME = "validator-4"
"""Whose disk is one of its own, where that is permitted, so that it can be full."""


class NemesisError(Exception):
    """The network has not done what it must: the message says what, and where to look."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many nodes there are."""

    validators: int = 4
    proposers: int = 2
    observers: int = 2


class Network:
    """All nodes in one new folder.  accounts: who has money from the start, in equal shares."""

    def __init__(self, folder: Path, accounts: Iterable[SigningKey] = (), shape: Shape | None = None) -> None:
        self.folder = folder
        self.shape = shape or Shape()
        self.links = Links()
        self.accounts = list(accounts) or [SigningKey(bytes([200]) * 32)]
        self.nodes: dict[str, NodeProcess] = {}
        self.clients: dict[str, NodeClient] = {}
        self.genesis: Genesis
        self.disk: Path | None = None
        """A small disk that only FULL_NODE_NAME uses; None where mounting is not permitted."""
        self.namespaces: Namespaces | None = None
        """Of each node; None where they are not permitted, or not wanted."""

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    @property
    def names(self) -> list[str]:
        """All, validators first."""
        return list(self.nodes)

    @property
    def validators(self) -> list[str]:
        """By index."""
        return self.names[: self.shape.validators]

    @property
    def running(self) -> list[str]:
        """Those that can answer."""
        return [name for name, node in self.nodes.items() if node.is_running and not node.is_stopped]

    async def __aenter__(self) -> Network:
        try:
            await self._make()
            for node in self.nodes.values():
                node.start()
            await self.reach(1)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for node in self.nodes.values():
            node.kill()
        for client in self.clients.values():
            await client.close()
        await self.links.close()
        self._unmount()
        if self.namespaces:
            self.namespaces.close()

    # Faults

    def pairs(self, some: Iterable[str]) -> list[tuple[str, str]]:
        """(from, to) of all links between these nodes and the rest, in both directions."""
        inside = set(some)
        return [pair for pair in permutations(self.names, 2) if (pair[0] in inside) != (pair[1] in inside)]

    def fill_disk(self) -> None:
        """Leave no room on the small disk."""
        assert self.disk
        with (self.disk / "ballast").open("wb", buffering=0) as file:
            size = 1 << 16
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def free_disk(self) -> None:
        """Give all room back."""
        assert self.disk
        (self.disk / "ballast").unlink()

    # Looking

    async def height(self, name: str) -> int | None:
        """Of a node's chain; None when it does not answer."""
        try:
            return (await self.clients[name].chain_info()).height
        except NodeUnavailable:
            return None

    async def heights(self, names: Iterable[str] = ()) -> dict[str, int]:
        """Of those that answer, of these or of all that run."""
        asked = list(names) or self.running
        answers = await asyncio.gather(*(self.height(name) for name in asked))
        return {name: height for name, height in zip(asked, answers, strict=True) if height is not None}

    async def top(self) -> int:
        """The highest block that anybody shows."""
        return max((await self.heights()).values(), default=0)

    async def reach(self, height: int, names: Iterable[str] = ()) -> None:
        """Wait until these nodes, or all that run, have this block.  Raises NemesisError."""
        asked = list(names) or self.running

        async def done() -> bool:
            heights = await self.heights(asked)
            return len(heights) == len(asked) and min(heights.values()) >= height

        await self.until(done, f"{', '.join(asked)} at block {height}", asked)

    async def until(self, done: Callable[[], Awaitable[bool]], what: str, names: Iterable[str] = ()) -> None:
        """Wait for something.  Raises NemesisError after DEADLINE_S, or when a node ends by itself."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not await done():
            if gone := [name for name in names if not self.nodes[name].is_running]:
                raise NemesisError(f"{gone[0]} has ended by itself:\n{self.nodes[gone[0]].log[-2_000:]}")
            if time.monotonic() > deadline_s:
                raise NemesisError(
                    f"not within {DEADLINE_S:.0f} s: {what}; heights are {await self.heights()}; "
                    f"logs are in {self.folder}"
                )
            await asyncio.sleep(POLL_S)

    def round_of(self, name: str, height: int) -> int:
        """The highest round for which a node has kept a vote at this height; -1 for none.  It may run."""
        connection = apsw.Connection(
            str(self.nodes[name].folder / "chain.sqlite"), flags=apsw.SQLITE_OPEN_READONLY
        )
        try:
            connection.set_busy_timeout(10_000)
            found: int | None = connection.execute(
                "SELECT max(round) FROM vote WHERE height = ?", (height,)
            ).get
        finally:
            connection.close()
        return -1 if found is None else found

    def storage(self, name: str) -> Storage:
        """The file of a node that does not run; close it."""
        assert not self.nodes[name].is_running
        return Storage.open(self.nodes[name].folder / "chain.sqlite", self.genesis)

    # Making

    async def _make(self) -> None:
        shape = self.shape
        count = shape.validators + shape.proposers + shape.observers
        ports = free_ports(2 * count)
        self._mount()
        plan = TestNetwork(
            "nemesis", shape.validators, shape.proposers, shape.observers, 1_024, BLOCK_PERIOD_MS
        )
        made, folders = init_network(self.folder, plan, time.time_ns() // 1_000_000)
        share_ucpc, rest_ucpc = divmod(SUPPLY_UCPC, len(self.accounts))
        amounts = [share_ucpc + (index < rest_ucpc) for index in range(len(self.accounts))]
        publics = sorted(key.public for key in self.accounts)
        self.genesis = replace(
            made,
            balances=tuple(zip(publics, amounts, strict=True)),
            timeout_ms=TIMEOUT_MS,
            heartbeat_ms=HEARTBEAT_MS,
        )
        places = {path.name: place for place, (path, _) in enumerate(folders)}
        with suppress(NotPermitted):
            self.namespaces = Namespaces(list(places))
        by_public = {
            address.public: path.name
            for path, settings in folders
            for address in [
                Address(HOST, 0, SigningKey(bytes.fromhex((path / "node.key").read_text())).public)
            ]
        }
        for path, settings in folders:
            name, place = path.name, places[path.name]
            dial = []
            for address in settings.dial:
                assert address.public
                target = by_public[address.public]
                here = self.namespaces.outside(name) if self.namespaces else HOST
                there = (self._host(target), ports[places[target]])
                port = await self.links.listen(name, target, there, here)
                dial.append(Address(here, port, address.public))
            told = replace(
                settings,
                listen=Address(self._host(name), ports[place]),
                dial=tuple(dial),
                rpc=Address(self._host(name), ports[count + place]),
                treasury_file="",
            )
            (path / CONFIG_NAME).write_text(to_toml(told))
            (path / told.genesis).write_bytes(self.genesis.data)
            self.nodes[name] = NodeProcess(path, self.namespaces.path(name) if self.namespaces else None)
            self.clients[name] = NodeClient(f"http://{told.rpc}", timeout_ms=3_000)

    def _host(self, name: str) -> str:
        return self.namespaces.address(name) if self.namespaces else HOST

    def _mount(self) -> None:
        if self.shape.validators < 4 or os.geteuid() != 0:
            return
        disk = self.folder / FULL_NODE_NAME
        disk.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=700", "none", str(disk)],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            self.disk = disk

    def _unmount(self) -> None:
        if self.disk:
            subprocess.run(["umount", "-l", str(self.disk)], check=True)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
