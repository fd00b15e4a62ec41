"""The genesis: golden bytes, and everything that no chain can begin with."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.errors import WireError
from chain_node.genesis import Genesis
from chain_node.transaction import SUPPLY_UCPC
from puf import cbor
from tests.chain_node.world import ALICE, BOB, VALIDATORS, genesis_of

GENESIS = genesis_of()
HALF = SUPPLY_UCPC // 2


def test_golden_genesis() -> None:
    """A change here is another chain id for the same chain, and a line in CHANGELOG.md."""
    genesis = Genesis(
        name="golden",
        time_ms=1_700_000_000_000,
        validators=(b"\x01" * 32, b"\x02" * 32),
        balances=((b"\x03" * 32, SUPPLY_UCPC),),
        fee_min_ucpc=1_000,
        free_tx_per_day=100,
        block_period_ms=10_000,
        block_tx_max=10_000,
        tx_size_max=4_096,
        proposers=(b"\x04" * 32, b"\x01" * 32),
        timeout_ms=5_000,
        heartbeat_ms=60_000,
    )
    assert genesis.data.hex() == (
        "ad0102" "0266676f6c64656e" "031b0000018bcfe56800" "04825820" + "01" * 32 + "5820" + "02" * 32
        + "0581825820" + "03" * 32 + "1b00038d7ea4c68000" "061903e8" "071864" "08192710" "09192710" "0a191000"
        + "0b825820" + "04" * 32 + "5820" + "01" * 32 + "0c191388" + "0d19ea60"
    )  # fmt: skip
    assert genesis.chain_id.hex() == "5a7bb892226a5bd1ed76e7cc93194f667697ab6f1c0f157e224a8603624dc8ee"
    assert Genesis.decode(genesis.data) == genesis


def test_a_genesis_comes_back_with_its_names() -> None:
    again = Genesis.decode(GENESIS.data)
    assert again == GENESIS
    assert (again.data, again.chain_id, again.validators_hash) == (
        GENESIS.data,
        GENESIS.chain_id,
        GENESIS.validators_hash,
    )


def test_validators_may_propose_and_a_heartbeat_may_be_every_block() -> None:
    genesis = replace(GENESIS, proposers=GENESIS.validators, heartbeat_ms=GENESIS.block_period_ms)
    assert Genesis.decode(genesis.data) == genesis


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"version": 1},
            "it is of version 1, this program reads version 2; begin a new chain, or read it with",
        ),
        ({"version": 3}, "it is of version 3, this program reads version 2; upgrade this program"),
        ({"name": "x" * 65}, "name is not a printable text of at most 64"),
        ({"name": "a\nb"}, "name is not a printable text"),
        ({"time_ms": -1}, "time_ms is not from 0"),
        ({"validators": ()}, "its validators are none, or one of them twice"),
        ({"validators": (VALIDATORS[0].public,) * 2}, "its validators are none, or one of them twice"),
        ({"validators": (b"short",)}, "a key of validators is not 32 bytes"),
        (
            {"validators": tuple(bytes([i]) * 32 for i in range(101))},
            "validators is not a list of at most 100",
        ),
        ({"proposers": ()}, "its proposers are none, or one of them twice"),
        ({"proposers": (ALICE.public, BOB.public, ALICE.public)}, "its proposers are none, or one of them"),
        ({"proposers": (b"short",)}, "a key of proposers is not 32 bytes"),
        (
            {"proposers": tuple(bytes([i]) * 32 for i in range(101))},
            "proposers is not a list of at most 100",
        ),
        ({"timeout_ms": 0}, "timeout_ms is not from 1"),
        ({"heartbeat_ms": 0}, "heartbeat_ms is not from 1"),
        ({"heartbeat_ms": 9}, "its heartbeat_ms 9 is less than its block_period_ms 10"),
        ({"balances": ()}, "its balances are 0 ucpc, not the supply of 1000000000000000"),
        ({"balances": ((ALICE.public, SUPPLY_UCPC - 1),)}, "its balances are 999999999999999 ucpc"),
        ({"balances": ((ALICE.public, SUPPLY_UCPC + 1),)}, "a balance is not from 1 to"),
        ({"balances": ((ALICE.public, 0), (BOB.public, SUPPLY_UCPC))}, "a balance is not from 1 to"),
        ({"balances": ((ALICE.public, HALF), (ALICE.public, HALF))}, "its balances are not by rising key"),
        ({"balances": tuple(reversed(GENESIS.balances))}, "its balances are not by rising key"),
        ({"fee_min_ucpc": 0}, "fee_min_ucpc is not from 1"),
        ({"block_period_ms": 0}, "block_period_ms is not from 1"),
        ({"block_tx_max": 20_001}, "block_tx_max is not from 1 to 20000"),
        ({"tx_size_max": 65_537}, "tx_size_max is not from 1024 to 65536"),
        ({"tx_size_max": 1_023}, "tx_size_max is not from 1024"),
    ],
)
def test_no_chain_begins_so(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WireError, match=message):
        Genesis.decode(replace(GENESIS, **changes).data)


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.dictionaries(st.integers(0, 14), st.integers() | st.text() | st.lists(st.binary())).map(cbor.encode)
)
def test_arbitrary_bytes_raise_only_wire_errors(data: bytes) -> None:
    with pytest.raises(WireError):
        Genesis.decode(data)
