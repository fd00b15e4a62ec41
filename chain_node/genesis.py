"""The genesis: what a chain is before its first block, and the name it goes by.

Runs on CPython.  SHA-256 of its bytes is the chain id; whoever knows that needs to trust nobody about
anything else.  A CBOR map:

    1 version   2 name   3 time_ms   4 validators   5 balances   6 fee_min_ucpc
    7 free_tx_per_day    8 block_period_ms   9 block_tx_max     10 tx_size_max   11 proposers
   12 timeout_ms        13 heartbeat_ms

Version 1, which had no fields 11 to 13, is not read any more.  Balances are [[public key, ucpc], ...] by
rising key and make up the whole supply.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from chain_node.block import BLOCK_TX_LIMIT
from chain_node.errors import WireError
from chain_node.fields import KEY_SIZE, Fields, check_blob, check_integer, read
from chain_node.transaction import SUPPLY_UCPC, TX_SIZE_LIMIT
from chain_node.validator_set import VALIDATORS_MAX, validators_hash
from puf import cbor

GENESIS_VERSION = 2
GENESIS_SIZE_MAX = 1 << 20
BALANCES_MAX = 10_000
PROPOSERS_MAX = 100
TX_SIZE_LEAST = 1_024
"""The least `tx_size_max`: a transaction that shows two contradicting votes must fit on every chain."""
NAME_SIZE_MAX = 64


@dataclass(frozen=True, slots=True)
class Genesis:
    """What every node and every light client of a chain must have the same bytes of."""

    name: str
    """For people, such as "dev"."""
    time_ms: int
    """Unix milliseconds; block 1 is later."""
    validators: tuple[bytes, ...]
    """Public keys of the first ones (validator_set.py has those after them); an index is a place here."""
    balances: tuple[tuple[bytes, int], ...]
    """(public key, ucpc) by rising key; together the whole supply of 1,000,000,000 CPC."""
    fee_min_ucpc: int
    """The least fee of a transaction that does not use its account's free quota."""
    free_tx_per_day: int
    """Free transactions of an account that holds money, each UTC day of the chain's time."""
    block_period_ms: int
    """The least time between blocks."""
    block_tx_max: int
    """Transactions in a block."""
    tx_size_max: int
    """Bytes of a transaction."""
    proposers: tuple[bytes, ...]
    """Public keys of those who take turns to propose; they may be validators, too.  If they are just the
    validators, those in force take turns, whoever they come to be."""
    timeout_ms: int
    """How long validators wait for a block that is due; later rounds wait multiples of it."""
    heartbeat_ms: int
    """The longest time between blocks, when there are no transactions; at least `block_period_ms`."""
    version: int = GENESIS_VERSION
    data: bytes = field(init=False, repr=False, compare=False)
    """The genesis's bytes."""
    chain_id: bytes = field(init=False, compare=False)
    """SHA-256 of `data`."""
    validators_hash: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        data = cbor.encode(
            {
                1: self.version,
                2: self.name,
                3: self.time_ms,
                4: list(self.validators),
                5: [[key, amount_ucpc] for key, amount_ucpc in self.balances],
                6: self.fee_min_ucpc,
                7: self.free_tx_per_day,
                8: self.block_period_ms,
                9: self.block_tx_max,
                10: self.tx_size_max,
                11: list(self.proposers),
                12: self.timeout_ms,
                13: self.heartbeat_ms,
            }
        )
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "chain_id", sha256(data).digest())
        object.__setattr__(self, "validators_hash", validators_hash(self.validators))

    @classmethod
    def decode(cls, data: bytes) -> "Genesis":
        """Raises WireError for anything that no chain can begin with."""
        what = "genesis"
        fields = Fields(read(data, what, GENESIS_SIZE_MAX), what)
        version = fields.integer(1, "version", 1)
        if version != GENESIS_VERSION:
            advice = (
                "begin a new chain, or read it with the release that made it"
                if version < GENESIS_VERSION
                else "upgrade this program"
            )
            raise WireError(
                what, f"it is of version {version}, this program reads version {GENESIS_VERSION}; {advice}"
            )
        name = fields.text(2, "name", NAME_SIZE_MAX)
        time_ms = fields.integer(3, "time_ms")
        validators = _read_keys(fields, 4, "validators", VALIDATORS_MAX)
        balances = []
        for pair in fields.items(5, "balances", BALANCES_MAX):
            if not isinstance(pair, list) or len(pair) != 2:
                raise WireError(what, "a balance is not a list of key and amount")
            key = check_blob(pair[0], what, "the key of a balance", KEY_SIZE)
            balances.append((key, check_integer(pair[1], what, "a balance", 1, SUPPLY_UCPC)))
        genesis = cls(
            version=version,
            name=name,
            time_ms=time_ms,
            validators=validators,
            balances=tuple(balances),
            fee_min_ucpc=fields.integer(6, "fee_min_ucpc", 1, SUPPLY_UCPC),
            free_tx_per_day=fields.integer(7, "free_tx_per_day"),
            block_period_ms=fields.integer(8, "block_period_ms", 1),
            block_tx_max=fields.integer(9, "block_tx_max", 1, BLOCK_TX_LIMIT),
            tx_size_max=fields.integer(10, "tx_size_max", TX_SIZE_LEAST, TX_SIZE_LIMIT),
            proposers=_read_keys(fields, 11, "proposers", PROPOSERS_MAX),
            timeout_ms=fields.integer(12, "timeout_ms", 1),
            heartbeat_ms=fields.integer(13, "heartbeat_ms", 1),
        )
        fields.done()
        if genesis.heartbeat_ms < genesis.block_period_ms:
            raise WireError(
                what,
                f"its heartbeat_ms {genesis.heartbeat_ms} is less than its block_period_ms "
                f"{genesis.block_period_ms}",
            )
        keys = [key for key, _ in balances]
        if keys != sorted(set(keys)):
            raise WireError(what, "its balances are not by rising key")
        total_ucpc = sum(amount_ucpc for _, amount_ucpc in balances)
        if total_ucpc != SUPPLY_UCPC:
            raise WireError(what, f"its balances are {total_ucpc} ucpc, not the supply of {SUPPLY_UCPC}")
        return genesis


def _read_keys(fields: Fields, key: int, name: str, count_max: int) -> tuple[bytes, ...]:
    items = fields.items(key, name, count_max)
    keys = tuple(check_blob(item, "genesis", f"a key of {name}", KEY_SIZE) for item in items)
    if not keys or len(set(keys)) != len(keys):
        raise WireError("genesis", f"its {name} are none, or one of them twice")
    return keys
