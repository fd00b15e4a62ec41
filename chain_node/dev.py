"""A development chain in one folder: one validator or several in this process, a treasury, and an RPC port.

Runs on CPython, on Linux.  All validators take turns to propose.  The first one answers JSON-RPC; any
other can be killed and revived while the chain goes on.  The folder is described in dev_folder.py.  Not
for money that is worth any: the treasury gives to everybody who asks, and one machine holds all keys.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from chain_node import rpc_blocks
from chain_node.dev_folder import DevFolder, Rules, open_folder
from chain_node.errors import DevNodeError
from chain_node.explorer import Explorer
from chain_node.genesis import Genesis
from chain_node.local_network import LocalNetwork
from chain_node.node import Node, steady_clock_ms, wall_clock_ms
from chain_node.rpc import Dispatcher
from chain_node.rpc_http import LOOPBACK, RpcServer
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from puf.ed25519 import SigningKey

DEFAULT_PORT = 7545
BLOCK_PERIOD_MS = 1_000
TIMEOUT_MS = 5_000
HEARTBEAT_MS = 10_000


class Treasury:
    """Pays from the development chain's treasury, through the pool like everybody."""

    def __init__(self, node: Node, key: SigningKey) -> None:
        self._node = node
        self._key = key

    def fund(self, account: bytes, amount_ucpc: int) -> bytes:
        """Submit a transfer to `account`; its hash.  Raises Refused."""
        nonce = self._node.next_nonce(self._key.public)
        fee_ucpc = self._node.genesis.fee_min_ucpc
        transaction = Transaction.sign(
            self._key, self._node.genesis.chain_id, nonce, Transfer(account, amount_ucpc), fee_ucpc
        )
        return self._node.submit(transaction.data)


class DevNode:
    """A development chain on a folder, made by `create_or_open`.

    Runs inside `async with`, or until cancelled by `run`; either way once.
    """

    def __init__(
        self,
        folder: DevFolder,
        *,
        host: str,
        port: int,
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._network = LocalNetwork()
        self._nodes: list[Node | None] = [None] * len(folder.validators)
        self._running: dict[int, asyncio.Task[None]] = {}
        try:
            for index in range(len(folder.validators)):
                self._open(index)
        except BaseException:
            self._close_files()
            raise
        treasury = Treasury(self.node, folder.treasury)
        dispatcher = Dispatcher(self.node, treasury, rpc_blocks.methods(self.node))
        self._server = RpcServer(dispatcher, host, port, Explorer().routes())
        self._tasks = asyncio.TaskGroup()

    @classmethod
    def create_or_open(
        cls,
        data_dir: str | os.PathLike[str],
        port: int = DEFAULT_PORT,
        *,
        host: str = LOOPBACK,
        name: str = "dev",
        validator_count: int | None = None,
        block_period_ms: int = BLOCK_PERIOD_MS,
        heartbeat_ms: int = HEARTBEAT_MS,
        timeout_ms: int = TIMEOUT_MS,
        clock_ms: Callable[[], int] = wall_clock_ms,
        steady_ms: Callable[[], int] = steady_clock_ms,
    ) -> "DevNode":
        """The chain of this folder; a folder without a chain gets a new one.

        port: 0 takes any free one.  name, validator_count, block_period_ms, heartbeat_ms, timeout_ms: of a
        new chain; an old one keeps its own, and refuses another number of validators.  A block period longer
        than the heartbeat lengthens that.
        Raises DataDirInUse, DataDirDamaged, DevNodeError, StorageError.
        """
        rules = Rules(name, validator_count, block_period_ms, heartbeat_ms, timeout_ms)
        folder = open_folder(Path(data_dir), rules, clock_ms())
        try:
            return cls(folder, host=host, port=port, clock_ms=clock_ms, steady_ms=steady_ms)
        except BaseException:
            folder.lock.close()
            raise

    @property
    def data_dir(self) -> Path:
        """The folder."""
        return self._folder.path

    @property
    def genesis(self) -> Genesis:
        """What the chain began with."""
        return self._folder.genesis

    @property
    def node(self) -> Node:
        """The first validator, which answers JSON-RPC."""
        node = self._nodes[0]
        assert node, "the first one is never killed"  # noqa: S101 - see `kill`
        return node

    @property
    def nodes(self) -> tuple[Node | None, ...]:
        """All validators; None for one that is dead."""
        return tuple(self._nodes)

    @property
    def url(self) -> str:
        """Where its JSON-RPC listens."""
        return self._server.url

    async def __aenter__(self) -> "DevNode":
        """Listen, and begin to make blocks.  Raises PortInUse."""
        try:
            await self._server.start()
        except BaseException:
            self.close()
            raise
        await self._tasks.__aenter__()
        for index in range(len(self._nodes)):
            self._run(index)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and give the folder free.

        What ends the making of blocks cancels the body of the `async with` and is raised here.
        """
        for task in self._running.values():
            task.cancel()
        try:
            await self._server.stop()
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            # One body and tasks that end together: the first error is what happened.
            if group.exceptions[0] is not error:
                raise group.exceptions[0] from None
        finally:
            self.close()

    async def run(self) -> None:
        """Run until cancelled.  Raises PortInUse, StorageError."""
        async with self:
            await asyncio.Event().wait()

    async def kill(self, index: int) -> None:
        """End a validator between two of its steps, as a power cut does; its file stays as it is.

        Raises DevNodeError for the first one, which answers JSON-RPC, and for one that is dead.
        """
        node = self._nodes[index]
        if index == 0 or node is None:
            raise DevNodeError(str(self.data_dir), f"validator {index + 1} cannot be killed, or is dead")
        task = self._running.pop(index)
        task.cancel()
        await asyncio.wait([task])
        self._network.leave(node)
        node.storage.close()
        self._nodes[index] = None

    def revive(self, index: int) -> Node:
        """Start a dead validator from its file.  Raises DevNodeError, StorageError."""
        if self._nodes[index] is not None:
            raise DevNodeError(str(self.data_dir), f"validator {index + 1} is alive")
        node = self._open(index)
        self._run(index)
        return node

    def close(self) -> None:
        """Give the folder free; for a chain that was never run."""
        self._close_files()
        self._folder.lock.close()

    def _open(self, index: int) -> Node:
        storage = Storage.open(self._folder.chain_path(index), self._folder.genesis)
        node = Node(
            storage,
            self._folder.validators[index],
            self._network,
            clock_ms=self._clock_ms,
            steady_ms=self._steady_ms,
        )
        self._nodes[index] = node
        self._network.join(node)
        return node

    def _run(self, index: int) -> None:
        node = self._nodes[index]
        assert node  # noqa: S101 - just opened
        self._running[index] = self._tasks.create_task(node.run())

    def _close_files(self) -> None:
        for node in self._nodes:
            if node:
                node.storage.close()
