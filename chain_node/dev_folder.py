"""The folder of a development chain: keys, genesis, and who may use it now.

Runs on CPython, on Linux.  Made on the first start:

    genesis.cbor      the genesis
    validator.key     the first validator's Ed25519 seed, hex, readable by the owner only
    validator-2.key   the second one's, and so on
    treasury.key      the treasury's
    chain.sqlite      the first validator's chain; chain-2.sqlite the second one's, and so on
    lock              held while a node runs here

Keys are written before the genesis that names them, each file whole and synced before its name is
there: whatever moment the power is cut at, the next start goes on.
"""

from dataclasses import dataclass
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
from chain_node.transaction import SUPPLY_UCPC
from puf.ed25519 import SigningKey

FEE_MIN_UCPC = 1_000
FREE_TX_PER_DAY = 10_000
BLOCK_TX_MAX = 10_000
TX_SIZE_MAX = 4_096
VALIDATORS_MAX = 16
"""In one process; a chain with more is for more machines."""
_RESTORE = "restore it from a copy, or delete the folder to begin a new chain"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a new chain begins with."""

    name: str
    validator_count: int | None
    """None: one, or as many as an old chain has."""
    block_period_ms: int
    heartbeat_ms: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class DevFolder:
    """An open folder; close `lock` to give it free."""

    path: Path
    lock: IO[bytes]
    genesis: Genesis
    validators: tuple[SigningKey, ...]
    """In the order of the genesis."""
    treasury: SigningKey

    def chain_path(self, index: int) -> Path:
        """The file of one validator's chain."""
        return self.path / _numbered("chain", index, "sqlite")


def open_folder(path: Path, rules: Rules, now_ms: int) -> DevFolder:
    """The chain of this folder; one without a chain gets a new one by these rules.

    Raises DataDirInUse, DataDirDamaged, DevNodeError.
    """
    if rules.validator_count is not None and not 1 <= rules.validator_count <= VALIDATORS_MAX:
        raise DevNodeError(str(path), f"a development chain has 1 to {VALIDATORS_MAX} validators")
    with file_errors(path):
        make_folder(path)
        lock = lock_folder(path)
    try:
        with file_errors(path):
            genesis, validators, treasury = _open_chain(path, rules, now_ms)
    except BaseException:
        lock.close()
        raise
    return DevFolder(path, lock, genesis, validators, treasury)


def _open_chain(
    folder: Path, rules: Rules, now_ms: int
) -> tuple[Genesis, tuple[SigningKey, ...], SigningKey]:
    """Genesis, validators' keys and treasury's key, made where this is the first start."""
    path = folder / "genesis.cbor"
    if not path.exists():
        validators = _open_keys(folder, rules.validator_count or 1, is_new=True)
        treasury = _open_key(folder / "treasury.key", is_new=True)
        genesis = _new_genesis(rules, validators, treasury, now_ms)
        write_file(path, Genesis.decode(genesis.data).data)
        return genesis, validators, treasury
    try:
        genesis = Genesis.decode(read_file(path, GENESIS_SIZE_MAX))
    except WireError as error:
        raise DataDirDamaged(str(folder), f"genesis.cbor is {error}; {_RESTORE}") from error
    treasury = _open_key(folder / "treasury.key", is_new=False)
    validators = _open_keys(folder, len(genesis.validators), is_new=False)
    is_ours = genesis.validators == tuple(key.public for key in validators)
    if not is_ours or treasury.public not in dict(genesis.balances):
        raise DataDirDamaged(str(folder), f"the keys are not those of genesis.cbor; {_RESTORE}")
    if rules.validator_count not in (None, len(validators)):
        why = f"this chain has {len(validators)} validators, which never changes; take another folder"
        raise DevNodeError(str(folder), why)
    return genesis, validators, treasury


def _new_genesis(
    rules: Rules, validators: tuple[SigningKey, ...], treasury: SigningKey, now_ms: int
) -> Genesis:
    publics = tuple(key.public for key in validators)
    return Genesis(
        name=rules.name,
        # A period old, so that the first block, which all proofs need, is due at once.
        time_ms=now_ms - rules.block_period_ms,
        validators=publics,
        proposers=publics,
        balances=((treasury.public, SUPPLY_UCPC),),
        fee_min_ucpc=FEE_MIN_UCPC,
        free_tx_per_day=FREE_TX_PER_DAY,
        block_period_ms=rules.block_period_ms,
        block_tx_max=BLOCK_TX_MAX,
        tx_size_max=TX_SIZE_MAX,
        timeout_ms=rules.timeout_ms,
        heartbeat_ms=max(rules.heartbeat_ms, rules.block_period_ms),
    )


def _open_keys(folder: Path, count: int, *, is_new: bool) -> tuple[SigningKey, ...]:
    names = [_numbered("validator", index, "key") for index in range(count)]
    # A genesis of another folder may name more than there are keys; the first that is missing says so.
    return tuple(_open_key(folder / name, is_new=is_new) for name in names)


def _numbered(stem: str, index: int, suffix: str) -> str:
    return f"{stem}.{suffix}" if index == 0 else f"{stem}-{index + 1}.{suffix}"


def _open_key(path: Path, *, is_new: bool) -> SigningKey:
    return new_key(path) if is_new and not path.exists() else read_key(path, _RESTORE)
