"""The folder of a node: what it is told, its key, its chain; and the folders of a test network.

Runs on CPython, on Linux.  One folder:

    node.toml       what it is told; read by who starts it
    node.key        its Ed25519 seed, hex, readable by the owner only
    genesis.cbor    the genesis
    chain.sqlite    the chain
    lock            held while a node runs here

Of a test network there is one folder each, and beside them the treasury's key and the genesis.  The
genesis is written last: whatever moment the power is cut at, what is there is either whole or made anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from chain_node.errors import DataDirDamaged, DevNodeError, WireError
from chain_node.folder_files import (
    file_errors,
    lock_folder,
    make_folder,
    new_key,
    read_file,
    read_key,
    write_file,
)
from chain_node.genesis import GENESIS_SIZE_MAX, Genesis
from chain_node.peer_address import PORT_MAX, Address
from chain_node.peer_admission import Limits
from chain_node.pruning import ARCHIVE, PLAIN, Retention
from chain_node.transaction import SUPPLY_UCPC
from puf.ed25519 import SigningKey

CONFIG_NAME = "node.toml"
LOOPBACK = "127.0.0.1"
PORT = 7600
"""Where a node listens for its peers."""
RPC_PORT = 7545
RPC = Address(LOOPBACK, RPC_PORT)
RPC_OFFSET = 100
"""Between a test node's port for peers and its port for users."""
NODES_MAX = 100
FEE_MIN_UCPC = 1_000
FREE_TX_PER_DAY = 100
BLOCK_TX_MAX = 10_000
TX_SIZE_MAX = 4_096
HEARTBEATS = 10
"""A chain without transactions makes a block every so many periods."""
TIMEOUTS = 3
"""Periods that validators wait for a block that is due."""
TIMEOUT_MIN_MS = 2_000
_RESTORE = "restore it from a copy, or make another folder with cpc node init"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node is told."""

    name: str = "node"
    """For people, and for its peers."""
    key_file: str = "node.key"
    """Relative to the folder, as the other files."""
    genesis: str = "genesis.cbor"
    database: str = "chain.sqlite"
    listen: Address | None = None
    """Where it listens for peers; None: it only dials."""
    dial: tuple[Address, ...] = ()
    """Peers that it keeps connected with."""
    limits: Limits = field(default_factory=Limits)
    retention: Retention = PLAIN
    """What it keeps of the past; a file says it in a table of its own, [storage]."""
    rpc: Address = RPC
    """Where it answers JSON-RPC, without asking who asks."""
    treasury_file: str = ""
    """Key of a treasury that gives money to everybody who asks; empty: there is none.  For tests only."""


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """An open folder; close `lock` to give it free."""

    lock: IO[bytes]
    settings: Settings
    genesis: Genesis
    key: SigningKey
    treasury: SigningKey | None


@dataclass(frozen=True, slots=True)
class TestNetwork:
    """What a test network is made of.  Every proposer is one of its own; none: the validators take turns."""

    __test__ = False

    name: str
    validator_count: int
    proposer_count: int
    observer_count: int
    base_port: int
    block_period_ms: int


def open_folder(path: Path, settings: Settings) -> OpenFolder:
    """Take a folder into use.  Raises DataDirInUse, DataDirDamaged, DevNodeError."""
    with file_errors(path):
        lock = lock_folder(path)
        try:
            genesis = read_genesis(path / settings.genesis)
            key = read_key(path / settings.key_file, _RESTORE)
            treasury = read_key(path / settings.treasury_file, _RESTORE) if settings.treasury_file else None
        except BaseException:
            lock.close()
            raise
    return OpenFolder(lock, settings, genesis, key, treasury)


def read_genesis(path: Path) -> Genesis:
    """The genesis in a file.  Raises DataDirDamaged, OSError."""
    try:
        return Genesis.decode(read_file(path, GENESIS_SIZE_MAX))
    except WireError as error:
        raise DataDirDamaged(str(path.parent), f"{path.name} is {error}; {_RESTORE}") from error


def init_node(path: Path, genesis: Genesis, settings: Settings) -> SigningKey:
    """Make the folder of one node, with a new key.  Raises DevNodeError when there is one."""
    with file_errors(path):
        if (path / CONFIG_NAME).exists():
            raise DevNodeError(str(path), f"{CONFIG_NAME} is there already; take another folder")
        make_folder(path)
        key_path = path / settings.key_file
        key = read_key(key_path, _RESTORE) if key_path.exists() else new_key(key_path)
        _finish_node(path, genesis, settings)
    return key


def init_network(path: Path, plan: TestNetwork, now_ms: int) -> tuple[Genesis, list[tuple[Path, Settings]]]:
    """Make the folders of a test network, all on this machine.  Raises DevNodeError."""
    names = [f"validator-{number}" for number in range(1, plan.validator_count + 1)]
    names += [f"proposer-{number}" for number in range(1, plan.proposer_count + 1)]
    committee_count = len(names)
    names += [f"observer-{number}" for number in range(1, plan.observer_count + 1)]
    if plan.validator_count < 1 or len(names) > NODES_MAX:
        raise DevNodeError(
            str(path), f"a test network has at least 1 validator, and at most {NODES_MAX} nodes"
        )
    if plan.base_port < 1 or plan.base_port + RPC_OFFSET + len(names) > PORT_MAX:
        raise DevNodeError(str(path), f"there are no {len(names)} ports from {plan.base_port} on, twice")
    with file_errors(path):
        if (path / "genesis.cbor").exists():
            raise DevNodeError(str(path), "a network is there already; take another folder")
        make_folder(path)
        keys = []
        for name in names:
            make_folder(path / name)
            key_path = path / name / "node.key"
            keys.append(read_key(key_path, _RESTORE) if key_path.exists() else new_key(key_path))
        treasury_path = path / "treasury.key"
        treasury = read_key(treasury_path, _RESTORE) if treasury_path.exists() else new_key(treasury_path)
        genesis = _genesis(plan, keys[:committee_count], treasury, now_ms)
        folders = []
        for index, name in enumerate(names):
            dial = tuple(
                Address(LOOPBACK, plan.base_port + other, keys[other].public)
                for other in range(committee_count)
                if other != index
            )
            settings = Settings(
                name=name,
                listen=Address(LOOPBACK, plan.base_port + index),
                dial=dial,
                rpc=Address(LOOPBACK, plan.base_port + RPC_OFFSET + index),
                treasury_file="../treasury.key" if index == 0 else "",
            )
            _finish_node(path / name, genesis, settings)
            folders.append((path / name, settings))
        write_file(path / "genesis.cbor", genesis.data)
    return genesis, folders


def to_toml(settings: Settings) -> str:
    """The text of a node.toml that says this."""
    limits = settings.limits
    listen = _quoted(str(settings.listen)) if settings.listen else '""'
    dial = "".join(f"    {_quoted(str(each))},\n" for each in settings.dial)
    treasury = (
        "\n# Gives money to everybody who asks: for tests only.\ntreasury_file = "
        + _quoted(settings.treasury_file)
        if settings.treasury_file
        else ""
    )
    return f"""\
# A node of the main chain: cpc node run FOLDER.  Paths are relative to this file.

[node]
name = {_quoted(settings.name)}
key_file = {_quoted(settings.key_file)}
genesis = {_quoted(settings.genesis)}
database = {_quoted(settings.database)}

[peers]
# Where other nodes connect; "" to dial only.
listen = {listen}
# Nodes to stay connected with: "host:port", or "key@host:port" to insist on who answers.
dial = [
{dial}]
# Plain nodes that may connect; members of the committee always may.
strangers_max = {limits.strangers_max}
strangers_by_address_max = {limits.strangers_by_address_max}

[storage]
# "plain": the last gigabyte of transactions, a million headers; "archive": everything, for ever.
keep = "{"archive" if settings.retention == ARCHIVE else "plain"}"

[rpc]
# JSON-RPC over HTTP, for wallets and gateways.  It does not ask who asks: keep it on this machine.
listen = {_quoted(str(settings.rpc))}{treasury}
"""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _finish_node(path: Path, genesis: Genesis, settings: Settings) -> None:
    write_file(path / settings.genesis, genesis.data)
    write_file(path / CONFIG_NAME, to_toml(settings).encode())


def _genesis(plan: TestNetwork, keys: Sequence[SigningKey], treasury: SigningKey, now_ms: int) -> Genesis:
    publics = tuple(key.public for key in keys)
    validators = publics[: plan.validator_count]
    return Genesis(
        name=plan.name,
        time_ms=now_ms,
        validators=validators,
        proposers=publics[plan.validator_count :] or validators,
        balances=((treasury.public, SUPPLY_UCPC),),
        fee_min_ucpc=FEE_MIN_UCPC,
        free_tx_per_day=FREE_TX_PER_DAY,
        block_period_ms=plan.block_period_ms,
        block_tx_max=BLOCK_TX_MAX,
        tx_size_max=TX_SIZE_MAX,
        timeout_ms=max(TIMEOUTS * plan.block_period_ms, TIMEOUT_MIN_MS),
        heartbeat_ms=HEARTBEATS * plan.block_period_ms,
    )
