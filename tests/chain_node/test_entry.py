"""Entries of the state: golden bytes of keys and values, strictly read."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.entry import (
    Account,
    AnchorEntry,
    Conduct,
    EquivocationEntry,
    StreamEntry,
    account_key,
    anchor_key,
    conduct_key,
    equivocation_key,
    stream_key,
)
from chain_node.errors import WireError
from chain_node.transaction import SUPPLY_UCPC
from puf import cbor
from tests.chain_node.world import anchor

ONE, TWO = b"\x01" * 32, b"\x02" * 32
ENTRY = AnchorEntry(3, ONE, TWO, ONE, TWO, 7)


def test_golden_keys() -> None:
    """A change here moves every entry of every chain, and is a line in CHANGELOG.md."""
    assert account_key(ONE).hex() == "8267" + b"account".hex() + "5820" + ONE.hex()
    assert anchor_key(ONE, TWO, 300).hex() == (
        "8466" + b"anchor".hex() + "5820" + ONE.hex() + "5820" + TWO.hex() + "19012c"
    )
    assert stream_key(ONE, TWO).hex() == ("8366" + b"stream".hex() + "5820" + ONE.hex() + "5820" + TWO.hex())
    assert conduct_key(ONE).hex() == "8267" + b"conduct".hex() + "5820" + ONE.hex()
    assert equivocation_key(ONE, 300).hex() == (
        "836c" + b"equivocation".hex() + "5820" + ONE.hex() + "19012c"
    )


def test_golden_values() -> None:
    assert Account(5, 6, 7, 8).encode().hex() == "a40105020603070408"
    assert Account(5, 6, 7, 8, 9).encode().hex() == "a501050206030704080509"
    assert StreamEntry(9).encode().hex() == "a10109"
    assert Conduct(1, 2, 3).encode().hex() == "a3010102020303"
    assert EquivocationEntry(1, 2, ONE, 4).encode().hex() == "a401010202035820" + ONE.hex() + "0404"
    assert ENTRY.encode().hex() == (
        "a60103" "025820" + ONE.hex() + "035820" + TWO.hex()
        + "045820" + ONE.hex() + "055820" + TWO.hex() + "0607"
    )  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [
        Account(),
        Account(SUPPLY_UCPC, 6, 7, 8),
        Account(0, 6, 7, 8, SUPPLY_UCPC),
        ENTRY,
        StreamEntry(0),
        Conduct(),
        Conduct(5, 6, 7),
        EquivocationEntry(0, 1, ONE, 1),
    ],
)
def test_entries_come_back(entry: Any) -> None:
    assert type(entry).decode(entry.encode()) == entry


def test_an_account_that_has_locked_nothing_does_not_say_so() -> None:
    with pytest.raises(WireError, match="locked_ucpc is not from 1"):
        Account.decode(bytes.fromhex("a501050206030704080500"))


def test_the_quota_of_one_day_does_not_count_on_another() -> None:
    account = Account(balance_ucpc=1, quota_day=19_675, quota_used=3)
    assert [account.quota_used_on(day) for day in (19_674, 19_675, 19_676)] == [0, 3, 0]


def test_an_entry_is_of_the_anchor_with_the_same_content_only() -> None:
    first = anchor(content=b"one")
    entry = AnchorEntry(first.chunk_count, first.cipher_root, first.plain_root, first.manifest_hash, ONE, 1)
    assert entry.is_of(first)
    assert entry.is_of(anchor(upload=5, content=b"one"))
    assert not entry.is_of(anchor(content=b"two"))


@settings(deadline=None)
@given(
    st.binary(max_size=100)
    | st.dictionaries(st.integers(0, 7), st.integers(-1, 2**60) | st.binary()).map(cbor.encode),
    st.sampled_from([Account, AnchorEntry, StreamEntry, Conduct, EquivocationEntry]),
)
def test_arbitrary_bytes_raise_only_wire_errors(data: bytes, kind: Any) -> None:
    try:
        entry = kind.decode(data)
    except WireError:
        return
    assert entry.encode() == data
