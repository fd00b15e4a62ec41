"""Frames: golden bytes, cut anywhere, bounded before they are read; garbage is a declared error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.errors import PeerError
from chain_node.messages import Ballot, Relay
from chain_node.peer_frame import (
    HELLO,
    LINKS,
    PING,
    SIZES_MAX,
    FrameError,
    Framer,
    Hello,
    decode_beat,
    decode_links,
    encode_beat,
    encode_links,
    frame,
)
from puf import cbor
from tests.chain_node.peering import hello_of

HELLO_HEX = (
    "a80101020103582000000000000000000000000000000000000000000000000000000000000000000407050206"
    "63637063071864084800112233445566 77"
).replace(" ", "")
GOLDEN = Hello(1, 1, bytes(32), 7, 2, "cpc", 100, bytes.fromhex("0011223344556677"))


def test_the_bytes_of_a_hello_are_fixed() -> None:
    assert GOLDEN.encode().hex() == HELLO_HEX
    assert Hello.decode(bytes.fromhex(HELLO_HEX)) == GOLDEN


def test_the_bytes_of_the_other_frames_are_fixed() -> None:
    assert frame(PING, encode_beat(5, 9)).hex() == "0700000010" + "0000000000000005" + "0000000000000009"
    assert frame(LINKS, encode_links([0, 24])).hex() == "09000000048200" + "1818"
    assert (decode_beat(encode_beat(5, 9)), decode_links(encode_links([0, 24]))) == (
        (5, 9),
        frozenset((0, 24)),
    )


def test_what_a_later_version_adds_to_hello_is_not_read() -> None:
    later = cbor.encode({**dict(enumerate_fields(GOLDEN)), 9: "news", 10: [1, 2]})
    assert Hello.decode(later) == GOLDEN


def enumerate_fields(hello: Hello) -> list[tuple[int, object]]:
    value = cbor.decode(hello.encode())
    assert isinstance(value, dict)
    return list(value.items())


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([HELLO, Ballot.KIND]), st.binary(max_size=40)), max_size=6), st.data()
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    wire = b"".join(frame(kind, payload) for kind, payload in frames)
    framer = Framer()
    read: list[tuple[int, bytes]] = []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        read += framer.feed(wire[:size])
        wire = wire[size:]
    assert read == frames
    assert framer.held_size == 0


@pytest.mark.parametrize("kind", sorted(SIZES_MAX))
def test_a_frame_that_is_too_long_is_refused_by_its_header_alone(kind: int) -> None:
    size = SIZES_MAX[kind]
    assert list(Framer().feed(bytes([kind]) + size.to_bytes(4, "big"))) == []
    with pytest.raises(FrameError, match=f"kind {kind} with {size + 1} bytes; the most is {size}"):
        list(Framer().feed(bytes([kind]) + (size + 1).to_bytes(4, "big")))


def test_a_kind_that_there_is_not_is_refused_after_what_was_right() -> None:
    frames = Framer().feed(frame(HELLO, b"x") + bytes([10, 0, 0, 0, 0]))
    assert next(frames) == (HELLO, b"x")
    with pytest.raises(FrameError, match="kind 10, which there is not"):
        next(frames)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encode_beat(1, 1)[1:], "a ping of 15 bytes"),
        (encode_beat(1, 1 << 53), "its height is 9007199254740992"),
    ],
)
def test_a_beat_that_is_none_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode_beat(data)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_payload_is_one_or_a_declared_error(data: bytes) -> None:
    for decode in (Hello.decode, decode_links, decode_beat):
        try:
            decode(data)
        except PeerError:
            continue


@settings(deadline=None)
@given(st.sampled_from([1, 2, 4, 7, 8]), st.one_of(st.none(), st.integers(), st.text(), st.binary()))
def test_a_hello_with_another_value_is_one_or_a_declared_error(key: int, value: object) -> None:
    try:
        hello = Hello.decode(cbor.encode(dict(enumerate_fields(hello_of())) | {key: value}))
    except PeerError:
        return
    assert hello.version >= 1


def test_a_megabyte_of_transactions_is_the_most_of_a_relay() -> None:
    assert SIZES_MAX[Relay.KIND] == 1 << 20
