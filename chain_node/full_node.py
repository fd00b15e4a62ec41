"""A node with all that belongs to it, from a folder: its file, its peers, and JSON-RPC for its users.

Runs on CPython, on Linux.  What the folder holds is in node_folder.py.
"""

import asyncio
from pathlib import Path
from types import TracebackType

from chain_node import rpc_blocks
from chain_node.dev import Treasury
from chain_node.explorer import Explorer
from chain_node.node import Node, steady_clock_ms
from chain_node.node_folder import OpenFolder, Settings, open_folder
from chain_node.peer_network import Peering, PeerNetwork
from chain_node.rpc import Dispatcher
from chain_node.rpc_http import RpcServer
from chain_node.rpc_network import methods
from chain_node.storage import Storage


class FullNode:
    """One node on its folder, made by `open`.  Runs inside `async with`, once."""

    def __init__(self, folder: OpenFolder, storage: Storage, program: str) -> None:
        settings = folder.settings
        self._folder = folder
        peering = Peering(settings.listen, settings.dial, settings.limits, program)
        self.network = PeerNetwork(folder.key, folder.genesis, peering)
        self.node = Node(storage, folder.key, self.network)
        self.network.attach(self.node)
        treasury = Treasury(self.node, folder.treasury) if folder.treasury else None
        more = {**methods(self.node, self.network), **rpc_blocks.methods(self.node)}
        dispatcher = Dispatcher(self.node, treasury, more)
        door, clock = self.network.door, steady_clock_ms
        self._server = RpcServer(
            dispatcher,
            settings.rpc.host,
            settings.rpc.port,
            Explorer().routes(),
            busy_ms=lambda is_local: door.busy_ms(clock(), is_local=is_local),
            blamed=lambda: door.refused(clock()),
        )
        self._tasks = asyncio.TaskGroup()
        self._running: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, path: Path, settings: Settings, program: str) -> "FullNode":
        """The node of this folder.  program: what it calls itself to its peers.

        Raises DataDirInUse, DataDirDamaged, DevNodeError, StorageError.
        """
        folder = open_folder(path, settings)
        try:
            storage = Storage.open(path / settings.database, folder.genesis, retention=settings.retention)
            return cls(folder, storage, program)
        except BaseException:
            folder.lock.close()
            raise

    @property
    def url(self) -> str:
        """Where its JSON-RPC listens."""
        return self._server.url

    async def __aenter__(self) -> "FullNode":
        """Listen, dial and take part.  Raises PortInUse."""
        try:
            await self._server.start()
            await self.network.__aenter__()
        except BaseException:
            await self._server.stop()
            self._close()
            raise
        await self._tasks.__aenter__()
        self._running = self._tasks.create_task(self.node.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and give the folder free.  What ends the node cancels the body, and is raised here."""
        if self._running:
            self._running.cancel()
        try:
            await self._server.stop()
            await self.network.__aexit__(kind, error, trace)
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if group.exceptions[0] is not error:
                raise group.exceptions[0] from None
        finally:
            self._close()

    def _close(self) -> None:
        self.node.storage.close()
        self._folder.lock.close()
