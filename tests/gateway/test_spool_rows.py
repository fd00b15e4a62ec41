"""Entries of the spool: golden bytes, and no alteration that goes unnoticed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.block import NO_BLOCK, Samples
from gateway.manifest import NO_MANIFEST
from gateway.spool_rows import EntryKey, SpooledStream, first_entry
from tests.gateway.telemetry import SPOOL_KEY, samples

STREAM = SpooledStream(1, b"\x05" * 32, "temp", "reading", 1_000, 5, 0, NO_BLOCK, 0, 0, 0, NO_MANIFEST)
CAN_STREAM = SpooledStream(1, b"\x05" * 32, "can0", "can", 1_000, 5, 0, NO_BLOCK, 0, 0, 0, NO_MANIFEST)
SALT = b"\x07" * 16
KEY = EntryKey(SPOOL_KEY, SALT)
ROW = first_entry(3) + 2


def test_the_golden_entry() -> None:
    """Short enough that every version of zstd keeps it as it is."""
    row = KEY.seal(STREAM, ROW, Samples(3, 7, [1_000, 1_005], [21.5, {"a": b"x"}]))
    assert row[:-1] == (1, (3 << 40) + 2, 7, 9, 1_000, 1_005)
    assert (
        row[-1].hex()
        == "7e083a1e93d43aa9f1cb81c77c6631862a6b4bfc9fbcaee1e36e027b21689eea3cbc2c540a631dd38c32ef947e86d300"
    )


@given(samples())
@settings(deadline=None, max_examples=50)
def test_an_entry_opens_with_its_own_facts_only(given_samples: Samples) -> None:
    _, *facts, body = KEY.seal(CAN_STREAM, ROW, given_samples)
    assert KEY.open(CAN_STREAM, tuple(facts), body) == given_samples
    for place in range(len(facts)):
        other = list(facts)
        other[place] ^= 1
        assert KEY.open(CAN_STREAM, tuple(other), body) is None


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_a_flipped_bit_keeps_an_entry_closed(data: st.DataObject) -> None:
    _, *facts, body = KEY.seal(STREAM, ROW, Samples(3, 7, [1, 2], [1, "x"]))
    flipped = bytearray(body)
    flipped[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert KEY.open(STREAM, tuple(facts), bytes(flipped)) is None


@pytest.mark.parametrize("body", [b"", bytes(15), bytes(16), bytes(1_000)])
def test_what_is_no_entry_stays_closed(body: bytes) -> None:
    assert KEY.open(STREAM, (ROW, 7, 9, 1_000, 1_005), body) is None


def test_neither_another_stream_nor_another_boot_opens_it() -> None:
    _, *facts, body = KEY.seal(STREAM, ROW, Samples(3, 7, [1, 2], [1, "x"]))
    other = SpooledStream(1, b"\x06" * 32, "temp", "reading", 1_000, 5, 0, NO_BLOCK, 0, 0, 0, NO_MANIFEST)
    assert KEY.open(other, tuple(facts), body) is None
    assert EntryKey(SPOOL_KEY, b"\x08" * 16).open(STREAM, tuple(facts), body) is None
    assert KEY.open(STREAM, tuple(facts), body) is not None
