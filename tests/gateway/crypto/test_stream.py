"""Ids and roots of streams."""

import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.crypto.errors import SizeRefused, SlotRefused, StreamRefused
from gateway.crypto.key_tree import KeyTree
from gateway.crypto.seal import segment_key, slot_key
from gateway.crypto.slot import SLOT_MAX
from gateway.crypto.stream import NAME_SIZE_MAX, StreamKeys, stream_id, stream_root
from puf import cbor

OWNER, ROOT = bytes([5] * 32), bytes([6] * 32)


def test_the_golden_stream_id_stays_as_it_is() -> None:
    assert (
        stream_id(OWNER, "can0", 60_000).hex()
        == "c3b727d4f590270977cb69a9f9918390b43f23766632830d3ec3c5bf0899519e"
    )


def test_the_golden_stream_root_stays_as_it_is() -> None:
    assert (
        stream_root(ROOT, stream_id(OWNER, "can0", 60_000)).hex()
        == "dc6516cc27cd4848ce26837b37c807d47a773b6d9cab280e983ead97423bf20f"
    )


def test_a_stream_id_is_the_hash_that_is_promised() -> None:
    by_hand = b"\x85\x6acpc/stream\x01\x58\x20" + OWNER + b"\x64can0\x19\xea\x60"
    assert cbor.encode(["cpc/stream", 1, OWNER, "can0", 60_000]) == by_hand
    assert stream_id(OWNER, "can0", 60_000) == hashlib.sha256(by_hand).digest()


def test_a_stream_root_is_derived_by_its_label() -> None:
    prk = hmac.digest(bytes(32), ROOT, "sha256")
    assert stream_root(ROOT, OWNER) == hmac.digest(prk, b"cpc/stream-root/1/" + OWNER + b"\x01", "sha256")


def test_owner_name_and_slot_length_each_make_another_stream() -> None:
    ids = {
        stream_id(OWNER, "can0", 60_000),
        stream_id(bytes(32), "can0", 60_000),
        stream_id(OWNER, "can1", 60_000),
        stream_id(OWNER, "can0", 60_001),
    }
    assert len(ids) == 4
    assert len({stream_root(ROOT, one) for one in ids}) == 4


@settings(deadline=None)
@given(st.integers(0, SLOT_MAX), st.binary(min_size=16, max_size=16))
def test_the_owner_has_the_key_of_every_slot(slot: int, segment_id: bytes) -> None:
    keys = StreamKeys(ROOT, OWNER, "can0", 60_000)
    tree = KeyTree(stream_root(ROOT, keys.stream_id))
    want = slot_key(tree.leaf(slot), tree.leaf(slot + 1), keys.stream_id)
    assert keys.slot_key(slot) == want
    assert keys.segment_key(slot, segment_id).export() == segment_key(want, segment_id).export()


@pytest.mark.parametrize("slot", [-1, SLOT_MAX + 1])
def test_a_slot_without_a_key_is_refused(slot: int) -> None:
    with pytest.raises(SlotRefused, match=f"slot {slot} has no key"):
        StreamKeys(ROOT, OWNER, "can0", 60_000).segment_key(slot, bytes(16))


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31mred", "\ud800", "x" * (NAME_SIZE_MAX + 1), "é" * 65])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(StreamRefused):
        stream_id(OWNER, name, 60_000)


def test_the_longest_name_stands() -> None:
    assert len(stream_id(OWNER, "é" * 64, 60_000)) == 32


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(SizeRefused):
        stream_id(OWNER[1:], "can0", 60_000)
    with pytest.raises(SlotRefused):
        stream_id(OWNER, "can0", 999)
    with pytest.raises(SizeRefused):
        stream_root(ROOT[1:], OWNER)
    with pytest.raises(SizeRefused):
        stream_root(ROOT, OWNER[1:])


def test_no_repr_shows_a_key() -> None:
    keys = StreamKeys(ROOT, OWNER, "can0", 60_000)
    shown = repr(keys)
    assert "can0" in shown
    assert ROOT.hex() not in shown
    assert stream_root(ROOT, keys.stream_id).hex() not in shown
