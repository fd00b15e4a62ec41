"""What travels between issuer, holder and verifier: golden bytes, garbage, and every way to cheat."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import credential_exchange as exchange
from gateway.credential_exchange import Question
from gateway.enrolment import gateway_document
from puf import cbor, cose, did_document
from puf.did import did_cpc
from puf.did_document import ASSERTION, AUTHENTICATION, INVOCATION
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, PufError, SignatureError

ISSUER = did_cpc(bytes(31) + b"\x01")
KEYS = [SigningKey(bytes([number]) * 32) for number in (1, 2)]
SITE = SigningKey(b"s" * 32)
DOCUMENT = gateway_document(SITE.public)
QUESTION = Question(
    did_cpc(DOCUMENT.name()), b"n" * 16, 1_725_244_237_000, 120_000, (ISSUER,), "vehicle/1", ("plug",)
)


def request() -> bytes:
    return exchange.make_request(ISSUER, KEYS)


def question(**changes: Any) -> bytes:
    return exchange.make_question(dataclasses.replace(QUESTION, **changes), DOCUMENT, SITE)


def test_the_formats_are_golden() -> None:
    assert request().hex() == GOLDEN_REQUEST
    assert exchange.make_batch([b"one", b"two"]).hex() == "820182436f6e654374776f"
    assert question().hex() == GOLDEN_QUESTION


def test_what_was_made_is_read() -> None:
    found = exchange.open_request(request())
    assert (found.issuer, found.keys) == (ISSUER, tuple(key.public for key in KEYS))
    assert exchange.open_batch(exchange.make_batch([b"one", b"two"])) == (b"one", b"two")
    assert exchange.open_question(question()) == QUESTION


@pytest.mark.parametrize(
    ("data", "read"),
    [(request(), exchange.open_request), (question(), exchange.open_question)],
    ids=["request", "question"],
)
def test_every_bit_and_every_byte_counts(data: bytes, read: Any) -> None:
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        with pytest.raises((DecodeError, SignatureError)):
            read(bytes(flipped))
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            read(data[:size])


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    for read in (exchange.open_request, exchange.open_question):
        with pytest.raises(PufError):
            read(data)


def test_nobody_asks_for_a_credential_for_a_key_of_somebody_else() -> None:
    parts = cbor.decode(request())
    assert isinstance(parts, list)
    other = SigningKey(b"o" * 32).public
    stolen = cbor.encode([1, ISSUER, [*parts[2], [other, parts[2][0][1]]]])
    with pytest.raises(SignatureError, match="does not hold it"):
        exchange.open_request(stolen)
    # A key left out, or another issuer, and the signatures of the others hold no more.
    for changed in ([1, ISSUER, parts[2][:1]], [1, did_cpc(bytes(32)), parts[2]]):
        with pytest.raises(SignatureError):
            exchange.open_request(cbor.encode(changed))


@pytest.mark.parametrize(
    "parts",
    [
        *(
            [True, ISSUER, []],
            [1.0, ISSUER, []],
            [2, ISSUER, []],
            [1, "did:key:z6Mk", []],
            [1, 5, []],
            [1, ISSUER],
        ),
        *([1, ISSUER, []], [1, ISSUER, [[bytes(32)]]], [1, ISSUER, [[bytes(31), bytes(64)]]]),
        *([1, ISSUER, [[bytes(32), bytes(63)]]], [1, ISSUER, [[bytes(32), bytes(64)]] * 2], {}),
        [1, ISSUER, [[number.to_bytes(32, "big"), bytes(64)] for number in range(257)]],
    ],
)
def test_what_is_no_request_is_refused(parts: Any) -> None:
    with pytest.raises(DecodeError):
        exchange.open_request(cbor.encode(parts))


@pytest.mark.parametrize(
    "parts", [[1, []], [1, ["text"]], [True, [b""]], [1], [2, [b""]], {}, [1, [b""] * 257], [1, b""]]
)
def test_what_is_no_batch_is_refused(parts: Any) -> None:
    with pytest.raises(DecodeError):
        exchange.open_batch(cbor.encode(parts))


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": bytes(15)},
        {"asked_ms": -1_000},
        {"valid_ms": 0},
        {"valid_ms": exchange.VALID_MS_MAX + 1_000},
        {"issuers": ()},
        {"issuers": (ISSUER, ISSUER)},
        {"issuers": ("did:key:z6Mk",)},
        {"issuers": tuple(did_cpc(bytes([number]) * 32) for number in range(9))},
        {"schema": ""},
        {"schema": "x" * 65},
        {"claims": ("plug", "plug")},
        {"claims": ("",)},
        {"claims": tuple(f"c{number}" for number in range(33))},
    ],
)
def test_a_question_that_nobody_would_take_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"question|issuers"):
        question(**changes)


@pytest.mark.parametrize("field", range(1, 8))
def test_a_field_of_another_type_is_refused(field: int) -> None:
    payload = cbor.decode(cose.open1(question(), exchange.QUESTION_TYP).payload)
    assert isinstance(payload, dict)
    others: list[object] = [None, True, 1.5, {}, [5]]
    for value in others:
        changed = cose.sign1(exchange.QUESTION_TYP, cbor.encode(payload | {field: value}), SITE)
        with pytest.raises(DecodeError):
            exchange.open_question(changed)
    del payload[field]
    with pytest.raises(DecodeError, match="fields 1 to 7"):
        exchange.open_question(cose.sign1(exchange.QUESTION_TYP, cbor.encode(payload), SITE))


def test_who_asks_is_who_signs() -> None:
    payload = cose.open1(question(), exchange.QUESTION_TYP).payload
    with pytest.raises(SignatureError, match="does not speak for"):
        exchange.open_question(cose.sign1(exchange.QUESTION_TYP, payload, KEYS[0]))
    # A key of that name that is for something else does not log in as it.
    keys = [
        did_document.Key(0xED, INVOCATION | AUTHENTICATION, SITE.public),
        did_document.Key(0xED, ASSERTION, KEYS[0].public),
    ]
    document = did_document.make(keys)
    assert exchange.open_question(exchange.make_question(QUESTION, document, SITE)).audience == did_cpc(
        document.name()
    )
    with pytest.raises(ValueError, match="does not speak for"):
        exchange.make_question(QUESTION, document, KEYS[0])


GOLDEN_REQUEST = (
    "830178296469643a6370633a7a3131313131313131313131313131313131313131313131313131313131313132828258208a"
    "88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c584083feb702443411aa0211f54f6afd6b1275"
    "fb1ea1e58ba1d3ddbf9d67960249244ae4202dadcbe319caf9c16dffbaac7faff83e87fbe9f94fa193b8209d616103825820"
    "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b3945840670f52ac4d9a0661ca532a855b0bcfd4"
    "391c394fedb563d473c440c0fffdb4ece9d1aabe97b2c782c9e8d49d32f9955fd87494e5272b90f0a2dfae37f8ac6508"
)
GOLDEN_QUESTION = (
    "d284583fa30127045820fec1428673f6afe89264b3807344ae8b269d125a503855202687db5a7128579f10776370632f6372"
    "6564656e7469616c2d7175657374696f6ea05888a701582aa101818318ed181b5820fec1428673f6afe89264b3807344ae8b"
    "269d125a503855202687db5a7128579f02506e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e031a66d5234d04187805817829646964"
    "3a6370633a7a3131313131313131313131313131313131313131313131313131313131313132066976656869636c652f3107"
    "8164706c75675840eab929ca99b3ea9759eb2ad76602a06fcfe3724646b1999858c8108db2095e98c46cf1aec2da238a1bb4"
    "90da45828773e41a9cdc2f8ad203788e42435f6d0c07"
)
