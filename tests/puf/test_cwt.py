"""CBOR Web Tokens: the standard's own claims, a foreign verdict, and every refusal by its reason."""

import itertools
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from puf import cbor, cwt, keys
from puf.did_pairwise import pairwise_did, pairwise_key
from puf.ed25519 import SigningKey
from puf.errors import CredentialError, DecodeError, SignatureError

KEY = SigningKey(bytes(range(32)))
NOW_MS = 1_725_244_237_000
RFC_8392_A_1 = bytes.fromhex(
    "a70175636f61703a2f2f61732e6578616d706c652e636f6d02656572696b77037818636f61703a2f2f6c69676874"
    "2e6578616d706c652e636f6d041a5612aeb0051a5610d9f0061a5610d9f007420b71"
)
CLAIMS: dict[int | str, object] = {1: "did:cpc:zIssuer", 4: 1_725_330_600, 6: 1_725_244_200, "bay": 7}


def test_the_claims_of_rfc_8392_read_as_it_says() -> None:
    claims = cwt.read_claims(RFC_8392_A_1)
    assert claims == {
        1: "coap://as.example.com",
        2: "erikw",
        3: "coap://light.example.com",
        4: 1444064944,
        5: 1443944944,
        6: 1443944944,
        7: bytes.fromhex("0b71"),
    }
    assert cbor.encode(claims) == RFC_8392_A_1
    cwt.check_times(claims, 1_444_000_000_000)


def test_a_foreign_library_verifies_a_token() -> None:
    tag = cbor2.loads(cwt.sign(CLAIMS, KEY))
    parts = [tag.value[0], dict(tag.value[1]), *tag.value[2:]]
    message: Any = Sign1Message.from_cose_obj(parts, allow_unknown_attributes=True)
    message.key = OKPKey(crv="ED25519", x=KEY.public)
    assert message.verify_signature() is True
    assert message.phdr[16] == "application/cwt"
    assert cbor2.loads(message.payload) == CLAIMS


def test_a_token_opens_and_names_its_signer() -> None:
    assert cwt.open_cwt(cwt.sign(CLAIMS, KEY)) == (KEY.public, "application/cwt", CLAIMS)
    with pytest.raises(DecodeError, match="type 'application/cwt'"):
        cwt.open_cwt(cwt.sign(CLAIMS, KEY), "application/statuslist+cwt")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({1: b"x"}, "claim 1"),
        ({1: ""}, "claim 1"),
        ({2: "x" * 256}, "claim 2"),
        ({3: ["a"]}, "claim 3"),
        ({4: 1.5}, "claim 4"),
        ({4: True}, "claim 4"),
        ({5: -1}, "claim 5"),
        ({6: 253_402_300_800}, "claim 6"),
        ({7: b""}, "claim 7"),
        ({39: b"x" * 65}, "claim 39"),
        ({b"x": 1}, "integers and texts"),
        ({8: {1: {1: 1, -1: 6, -2: bytes(31)}}}, "cnf"),
        ({8: {1: {1: 1, -1: 4, -2: bytes(32)}}}, "cnf"),
        ({8: {1: {1: 1, -1: 6, -2: bytes(32), -4: bytes(32)}}}, "cnf"),
        ({8: {5: bytes(32)}}, "cnf"),
    ],
)
def test_claims_of_another_type_are_refused_by_writer_and_reader(claims: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        cwt.sign(claims, KEY)
    with pytest.raises(DecodeError, match=why):
        cwt.read_claims(cbor.encode(claims))


@pytest.mark.parametrize(
    ("claims", "now_ms", "reason"),
    [
        ({4: 100}, 160_000, "expired"),
        ({5: 100}, 39_999, "early"),
        ({6: 100}, 39_999, "early"),
        ({4: 100, 5: 100}, 90_000, "time"),
        ({4: 100, 6: 101}, 90_000, "time"),
    ],
)
def test_a_token_counts_in_its_time_only(claims: Any, now_ms: int, reason: str) -> None:
    with pytest.raises(CredentialError) as caught:
        cwt.check_times(claims, now_ms)
    assert caught.value.reason == reason
    if reason != "time":
        cwt.check_times(claims, now_ms + (1 if reason == "early" else -1))


@given(st.binary(max_size=80))
@settings(deadline=None, max_examples=200)
def test_garbage_is_refused_as_such(data: bytes) -> None:
    for read in (cwt.open_cwt, cwt.read_claims):
        try:
            read(data)
        except (DecodeError, SignatureError):
            continue
        assert read is cwt.read_claims


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    data = cwt.sign({4: 1_725_330_600}, KEY)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, SignatureError)):
            cwt.open_cwt(bytes(damaged))
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            cwt.open_cwt(data[:size])


def test_two_sites_or_two_epochs_see_two_names_and_the_same_root_gives_them_again() -> None:
    root = bytes(range(32))
    names = {pairwise_did(root, site, epoch) for site in ("did:cpc:zA", "did:cpc:zB") for epoch in (0, 1)} | {
        pairwise_did(bytes(32), "did:cpc:zA", 0)
    }
    assert len(names) == 5
    # Golden: every vehicle would lose its names if this changed.
    assert pairwise_did(root, "did:cpc:zA", 0) == GOLDEN_NAME
    publics = {pairwise_key(root, "did:cpc:zA", 0, index).public for index in range(20)}
    assert len(publics) == 20
    with pytest.raises(ValueError, match="index"):
        pairwise_key(root, "did:cpc:zA", 0, -1)
    with pytest.raises(ValueError, match="epoch"):
        pairwise_key(root, "did:cpc:zA", -1)


def test_who_is_given_the_pairwise_secret_cannot_sign_as_its_holder() -> None:
    root = bytes(range(32))
    secret = keys.pairwise(root, b"did:cpc:zA", 0)
    ours = pairwise_key(root, "did:cpc:zA", 0, 1).public
    labels = (keys.IDENTITY, keys.PAIRWISE, "pairwise name")
    contexts = (cbor.encode(1), cbor.encode(["did:cpc:zA", 0, 1]))
    made = [SigningKey(keys.derive(secret, *each)).public for each in itertools.product(labels, contexts)]
    assert ours not in made


GOLDEN_NAME = "did:key:z6MkscArDtJgMehmf1jadbtEuPkSGH4SrfeEkbUhdMsEPAFC"
