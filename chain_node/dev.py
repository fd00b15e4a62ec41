"""A development chain in one folder: a committee of one, a treasury with all the money, and an RPC port.

Runs on CPython, on Linux.  The folder, made on the first start:

    genesis.cbor     the genesis
    validator.key    the validator's Ed25519 seed, hex, readable by the owner only
    treasury.key     the treasury's
    chain.sqlite     the chain
    lock             held while a node runs here

Keys are written before the genesis that names them, each file whole and synced before its name is
there: whatever moment the power is cut at, the next start goes on.  Not for money that is worth any.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from chain_node.consensus import CommitteeOfOne
from chain_node.errors import DataDirDamaged, DataDirInUse, DevNodeError, WireError
from chain_node.genesis import GENESIS_SIZE_MAX, Genesis
from chain_node.node import Node, wall_clock_ms
from chain_node.rpc import Dispatcher
from chain_node.rpc_format import from_hex
from chain_node.rpc_http import LOOPBACK, RpcServer
from chain_node.storage import Storage, sync_directory
from chain_node.transaction import SUPPLY_UCPC, Transaction, Transfer
from puf.ed25519 import SigningKey

DEFAULT_PORT = 7545
FEE_MIN_UCPC = 1_000
FREE_TX_PER_DAY = 10_000
BLOCK_PERIOD_MS = 1_000
TIMEOUT_MS = 5_000
HEARTBEAT_MS = 10_000
BLOCK_TX_MAX = 10_000
TX_SIZE_MAX = 4_096


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
    """A development node on a folder, made by `create_or_open`.

    Runs inside `async with`, or until cancelled by `run`; either way once.
    """

    def __init__(
        self,
        data_dir: Path,
        lock: IO[bytes],
        genesis: Genesis,
        validator: SigningKey,
        treasury: SigningKey,
        *,
        host: str,
        port: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self.data_dir = data_dir
        self.genesis = genesis
        self._lock = lock
        self._storage = Storage.open(data_dir / "chain.sqlite", genesis)
        consensus = CommitteeOfOne(genesis, validator, self._storage)
        self.node = Node(
            self._storage,
            consensus,
            validator.public,
            clock_ms=clock_ms,
            heartbeat_ms=genesis.heartbeat_ms,
        )
        self._server = RpcServer(Dispatcher(self.node, Treasury(self.node, treasury)), host, port)
        self._tasks = asyncio.TaskGroup()
        self._blocks: asyncio.Task[None] | None = None

    @classmethod
    def create_or_open(
        cls,
        data_dir: str | os.PathLike[str],
        port: int = DEFAULT_PORT,
        *,
        host: str = LOOPBACK,
        name: str = "dev",
        block_period_ms: int = BLOCK_PERIOD_MS,
        heartbeat_ms: int = HEARTBEAT_MS,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> "DevNode":
        """The node of this folder; a folder without a chain gets a new one.

        port: 0 takes any free one.  name, block_period_ms, heartbeat_ms: of a new chain; an old one keeps
        its own.  A block period longer than the heartbeat lengthens that.
        Raises DataDirInUse, DataDirDamaged, DevNodeError, StorageError.
        """
        folder = Path(data_dir)
        with _file_errors(folder):
            _make_folder(folder)
            lock = _lock(folder)
        try:
            with _file_errors(folder):
                genesis, validator, treasury = _open_chain(
                    folder, name, block_period_ms, max(heartbeat_ms, block_period_ms), clock_ms()
                )
            return cls(
                folder,
                lock,
                genesis,
                validator,
                treasury,
                host=host,
                port=port,
                clock_ms=clock_ms,
            )
        except BaseException:
            lock.close()
            raise

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
        self._blocks = self._tasks.create_task(self.node.run())
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
        if self._blocks:
            self._blocks.cancel()
        try:
            await self._server.stop()
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            # One task and one body: there is one error, and its group would only hide it.
            if group.exceptions[0] is not error:
                raise group.exceptions[0] from None
        finally:
            self.close()

    async def run(self) -> None:
        """Run until cancelled.  Raises PortInUse, StorageError."""
        async with self:
            await asyncio.Event().wait()

    def close(self) -> None:
        """Give the folder free; for a node that was never run."""
        self._storage.close()
        self._lock.close()


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        sync_directory(folder.parent)


def _lock(folder: Path) -> IO[bytes]:
    """The open lock file; closing it, or dying, gives the folder free."""
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise DataDirInUse(str(folder), "a node runs on this folder; stop it, or take another one") from None
    return lock


def _open_chain(
    folder: Path, name: str, block_period_ms: int, heartbeat_ms: int, now_ms: int
) -> tuple[Genesis, SigningKey, SigningKey]:
    """Genesis, validator's key and treasury's key, made where this is the first start."""
    path = folder / "genesis.cbor"
    is_new = not path.exists()
    validator = _open_key(folder / "validator.key", is_new)
    treasury = _open_key(folder / "treasury.key", is_new)
    if is_new:
        genesis = Genesis(
            name=name,
            time_ms=now_ms,
            validators=(validator.public,),
            balances=((treasury.public, SUPPLY_UCPC),),
            fee_min_ucpc=FEE_MIN_UCPC,
            free_tx_per_day=FREE_TX_PER_DAY,
            block_period_ms=block_period_ms,
            block_tx_max=BLOCK_TX_MAX,
            tx_size_max=TX_SIZE_MAX,
            proposers=(validator.public,),
            timeout_ms=TIMEOUT_MS,
            heartbeat_ms=heartbeat_ms,
        )
        _write_file(path, Genesis.decode(genesis.data).data)
        return genesis, validator, treasury
    try:
        genesis = Genesis.decode(_read_file(path, GENESIS_SIZE_MAX))
    except WireError as error:
        raise DataDirDamaged(str(folder), f"genesis.cbor is {error}; {_RESTORE}") from error
    if genesis.validators != (validator.public,) or treasury.public not in dict(genesis.balances):
        raise DataDirDamaged(str(folder), f"the keys are not those of genesis.cbor; {_RESTORE}")
    return genesis, validator, treasury


_RESTORE = "restore it from a copy, or delete the folder to begin a new chain"


def _open_key(path: Path, is_new: bool) -> SigningKey:
    if not path.exists():
        if not is_new:
            raise DataDirDamaged(str(path.parent), f"{path.name} is missing; {_RESTORE}")
        key = SigningKey.generate()
        _write_file(path, key.seed.hex().encode() + b"\n")
        return key
    seed = from_hex(_read_file(path, 65).decode("ascii", "replace").rstrip("\n"), 32, 32)
    if seed is None:
        raise DataDirDamaged(str(path.parent), f"{path.name} is not 64 hex digits; {_RESTORE}")
    return SigningKey(seed)


def _read_file(path: Path, size_max: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size_max + 1)


def _write_file(path: Path, data: bytes) -> None:
    """Write a file that is either whole or not there, readable by its owner only."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    part.rename(path)
    sync_directory(path.parent)


@contextlib.contextmanager
def _file_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{error.strerror} ({error.filename}); check its owner, its permissions and the disk"
        raise DevNodeError(str(folder), why) from error
