"""Status lists: the draft's vectors, what a hostile one cannot do, and when one is too old."""

import base64
import random
import zlib
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor, cose, cwt, status_list
from puf.ed25519 import SigningKey
from puf.errors import CredentialError, DecodeError, SignatureError
from puf.status_list import StatusList

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
URI = "did:cpc:zGateway#status"
NOW_MS = 1_725_244_200_000
HOUR_MS = 3_600_000
# Source: draft-ietf-oauth-status-list-21, sections 4.1 to 4.3 and appendix C.1.
ONE_BIT = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]
TWO_BITS = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]
C_1_SET = (0, 1993, 25460, 159495, 495669, 554353, 645645, 723232, 854545, 934534, 1000345)
C_1 = (
    "eNrt3AENwCAMAEGogklACtKQPg9LugC9k_ACvreiogEAAKkeCQAAAAAAAAAAAAAAAAAAAIBylgQAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAXG9IAAAAAAAAAPwsJAAAAAAAAAAAAAAAvhsSAAAAAAAAAAAA7KpLAAAAAAAAAAAA"
    "AAAAAAAAAJsLCQAAAAAAAAAAADjelAAAAAAAAAAAKjDMAQAAAACAZC8L2AEb"
)


def lst(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_lists_of_the_draft() -> None:
    # The draft writes its keys in the order of its text; our bytes have the one order of RFC 8949, 4.2.1.
    one = StatusList.decode(dict(cbor2.loads(bytes.fromhex("a2646269747301636c73744a78dadbb918000217015d"))))
    assert [one.get(index) for index in range(one.size)] == ONE_BIT
    assert one.array == bytes.fromhex("b9a3")
    assert one.encode() == {"bits": 1, "lst": bytes.fromhex("78dadbb918000217015d")}
    two = StatusList.decode({"bits": 2, "lst": lst("eNo76fITAAPfAgc")})
    assert [two.get(index) for index in range(two.size)] == TWO_BITS
    written = StatusList(bytes(3), 2)
    for index, status in enumerate(TWO_BITS):
        written.put(index, 3)
        written.put(index, status)
    assert written.array == two.array == bytes.fromhex("c944f9")
    large = StatusList.decode({"bits": 1, "lst": lst(C_1)})
    assert large.size == 1 << 20
    assert tuple(index for index in range(large.size) if large.get(index)) == C_1_SET


def signed(*revoked: int, key: SigningKey = KEY, now_ms: int = NOW_MS) -> bytes:
    statuses = StatusList(bytes(status_list.ENTRIES // 8))
    for index in revoked:
        statuses.put(index, status_list.INVALID)
    return status_list.sign(statuses, URI, key, now_ms, HOUR_MS)


GOLDEN = (
    "d2845843a3012704582003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b810781a617070"
    "6c69636174696f6e2f7374617475736c6973742b637774a0583fa402776469643a6370633a7a47617465776179237374"
    "61747573061a66d5232819fffda2636c73744a78dadbb918000217015d64626974730119fffe190e105840e132c0732d"
    "124f12c968f93a24533415da5ac314e6f337ca2b34fe360f00341bf045a7d6c313c79c2812b186952427dc80a4d47b0f"
    "115e1f1f067039f8a2bf0a"
)


def test_the_wire_format_is_golden() -> None:
    """Read, not written: what zlib makes of the bits is not the same with every zlib."""
    token = status_list.open_list(bytes.fromhex(GOLDEN), URI, KEY.public)
    assert (token.issued_ms, token.ttl_ms, bytes(token.statuses.array)) == (
        NOW_MS,
        HOUR_MS,
        bytes.fromhex("b9a3"),
    )


def refused(index: int = 7, now_ms: int = NOW_MS, grace_ms: int = 0, uri: str = URI) -> str:
    token = status_list.open_list(signed(7, 4000), URI, KEY.public)
    with pytest.raises(CredentialError) as caught:
        status_list.check_status(status_list.reference(index, uri), token, now_ms, grace_ms)
    return caught.value.reason


def test_a_signed_list_says_who_is_revoked() -> None:
    data = signed(7, 4000)
    token = status_list.open_list(data, URI, KEY.public)
    assert (token.issued_ms, token.ttl_ms, token.statuses.size) == (NOW_MS, HOUR_MS, 1 << 16)
    assert [index for index in range(1 << 16) if token.statuses.get(index)] == [7, 4000]
    status_list.check_status(status_list.reference(8, URI), token, NOW_MS)
    assert refused() == "revoked"
    assert refused(4000) == "revoked"
    assert len(data) < 400
    claims = cbor2.loads(cbor2.loads(data).value[2])
    assert set(claims) == {2, 6, 65534, 65533}


def test_a_list_that_is_too_old_of_the_future_or_of_another_counts_as_none() -> None:
    assert refused(8, NOW_MS + HOUR_MS) == "stale"
    assert refused(8, NOW_MS - 60_001) == "list"
    assert refused(8, uri="did:cpc:zElse#status") == "list"
    assert refused(1 << 16) == "list"
    token = status_list.open_list(signed(7), URI, KEY.public)
    late_ms = NOW_MS + HOUR_MS + 5_000
    status_list.check_status(status_list.reference(8, URI), token, late_ms, grace_ms=5_001)
    assert refused(7, late_ms, 5_001) == "revoked"
    for uri, issuer in ((URI, OTHER.public), (URI + "2", KEY.public)):
        with pytest.raises(CredentialError) as caught:
            status_list.open_list(signed(), uri, issuer)
        assert caught.value.reason == "list"


def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(1 << 26), 9)
    assert len(bomb) < 1 << 17
    with pytest.raises(DecodeError, match="more than 131072 bytes"):
        StatusList.decode({"bits": 1, "lst": bomb})
    assert StatusList.decode({"bits": 1, "lst": zlib.compress(bytes(1 << 17))}).size == 1 << 20


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"bits": 1},
        {"bits": 1, "lst": b""},
        {"bits": 1, "lst": zlib.compress(b"")},
        {"bits": 1, "lst": zlib.compress(b"x") + b"y"},
        {"bits": 1, "lst": zlib.compress(b"x")[:-1]},
        {"bits": 1, "lst": b"nonsense"},
        {"bits": 3, "lst": zlib.compress(b"x")},
        {"bits": True, "lst": zlib.compress(b"x")},
        {"bits": 1, "lst": "x"},
        {"bits": 1, "lst": zlib.compress(b"x"), "aggregation_uri": "x"},
    ],
)
def test_other_lists_are_refused(value: Any) -> None:
    with pytest.raises(DecodeError):
        StatusList.decode(value)


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        {"status_list": {}},
        {"status_list": {"idx": -1, "uri": URI}},
        {"status_list": {"idx": True, "uri": URI}},
        {"status_list": {"idx": 1 << 20, "uri": URI}},
        {"status_list": {"idx": 1, "uri": 5}},
        {"status_list": {"idx": 1, "uri": URI}, "x": 1},
    ],
)
def test_other_references_are_refused(status: Any) -> None:
    with pytest.raises(DecodeError):
        status_list.read_reference(status)


@pytest.mark.parametrize("change", [{65534: 0}, {65534: "x"}, {65533: None}, {99: 1}, {6: None}])
def test_tokens_of_other_claims_are_refused(change: Any) -> None:
    claims = cbor.decode(cose.open1(signed(), status_list.TYP).payload)
    assert isinstance(claims, dict)
    data = cose.sign1(status_list.TYP, cbor.encode(claims | change), KEY)
    with pytest.raises(DecodeError):
        status_list.open_list(data, URI, KEY.public)
    with pytest.raises(DecodeError, match="type"):
        status_list.open_list(cwt.sign({1: "x"}, KEY), URI, KEY.public)


def test_a_list_with_an_end_ends_then() -> None:
    statuses = StatusList(b"\x00")
    claims: dict[int | str, object] = {2: URI, 6: 100, 4: 110, 65534: 3600, 65533: statuses.encode()}
    token = status_list.open_list(cwt.sign(claims, KEY, status_list.TYP), URI, KEY.public)
    assert (token.ttl_ms, token.expires_ms) == (3_600_000, 110_000)
    ours = status_list.reference(0, URI)
    status_list.check_status(ours, token, 109_999)
    with pytest.raises(CredentialError, match="has expired"):
        status_list.check_status(ours, token, 110_000, grace_ms=10**9)


@given(st.binary(max_size=100))
@settings(deadline=None, max_examples=200)
def test_garbage_is_refused_as_such(data: bytes) -> None:
    with pytest.raises((DecodeError, SignatureError)):
        status_list.open_list(data, URI, KEY.public)
    with pytest.raises(DecodeError):
        StatusList.decode({"bits": 1, "lst": data})


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    data = signed(7)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, SignatureError)):
            status_list.open_list(bytes(damaged), URI, KEY.public)
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            status_list.open_list(data[:size], URI, KEY.public)


def test_indices_are_drawn_at_random_and_never_twice() -> None:
    dice = random.Random(1)
    taken: set[int] = set()
    for _ in range(1000):
        taken.add(status_list.free_index(dice.randbytes, taken))
    assert len(taken) == 1000
    # Spread over the whole list: counting up would leave all of them in its first 64th.
    assert sum(index < 1 << 15 for index in taken) in range(430, 570)
    with pytest.raises(ValueError, match="begin another list"):
        status_list.free_index(bytes, {0}, 1)


def test_what_no_list_can_be_or_hold_is_our_own_mistake() -> None:
    for array, bits in ((b"", 1), (bytes(status_list.SIZE_MAX + 1), 1), (bytes(8), 3), (bytes(8), 0)):
        with pytest.raises(ValueError, match="1, 2, 4 or 8 bits"):
            StatusList(array, bits)
    statuses = StatusList(bytes(2), 2)
    for index, status in ((-1, 1), (8, 1), (0, 4), (0, -1)):
        with pytest.raises(ValueError, match="cannot become"):
            statuses.put(index, status)
    assert statuses.array == bytes(2)
    with pytest.raises(ValueError, match="a second at least"):
        status_list.sign(statuses, URI, KEY, NOW_MS, 999)
