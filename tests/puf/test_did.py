"""The documents of the did:key method's own vectors, and every way to get a name wrong."""

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf.did import ALPHABET, ED25519, X25519, base58_decode, base58_encode, did_key, document, parse_did_key
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, KeyFormatError
from puf.x25519 import PrivateKey
from tests.puf import vectors

# Golden: the name of the key whose seed is 32 zero bytes; the first of the method's vectors.
ZERO_DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def _documents() -> list[tuple[str, dict[str, Any]]]:
    signing = vectors.load("did_key_ed25519-x25519")
    agreement = vectors.load("did_key_x25519")["didDocument"]
    return [(name, case["didDocument"]) for name, case in signing.items()] + list(agreement.items())


def _keys(found: dict[str, Any]) -> dict[str, bytes]:
    """The public keys of a document by their ids, in whichever form it has them."""
    keys = {}
    for method in found["verificationMethod"]:
        if "publicKeyBase58" in method:
            keys[method["id"]] = base58_decode(method["publicKeyBase58"])
        else:
            keys[method["id"]] = urlsafe_b64decode(method["publicKeyJwk"]["x"] + "=")
    return keys


def test_documents_are_those_of_the_methods_vectors() -> None:
    whole = 0
    for name, expected in _documents():
        ours: Any = document(name)
        if "publicKeyJwk" in json.dumps(expected):
            # The same keys under the same ids, which the vector writes as JWK; we write one form only.
            assert _keys(ours) == _keys(expected)
            for purpose in set(expected) - {"@context", "verificationMethod"}:
                assert ours[purpose] == expected[purpose]
        else:
            whole += 1
            assert ours == expected
    assert whole == 7


def test_names_and_key_pairs_of_the_vectors_come_from_their_seeds() -> None:
    for name, case in vectors.load("did_key_ed25519-x25519").items():
        key = SigningKey(bytes.fromhex(case["seed"]))
        assert did_key(key.public) == name
        assert parse_did_key(name) == (ED25519, key.public)
        agreement = case["keyAgreementKeyPair"]
        if "privateKeyBase58" in agreement:
            private = PrivateKey(base58_decode(agreement["privateKeyBase58"]))
            assert private.public == base58_decode(agreement["publicKeyBase58"])
            assert "#" + did_key(private.public, X25519).removeprefix("did:key:") == agreement["id"]


def test_the_name_of_a_key_is_golden() -> None:
    assert did_key(SigningKey(bytes(32)).public) == ZERO_DID
    assert did_key(bytes(32), X25519) == "did:key:z6LSbgBAXJos6Tik6PNmXeWxKbDUr9Y7hcB9syigVTeXiNmm"


@given(st.binary(min_size=32, max_size=32), st.sampled_from([ED25519, X25519]))
@settings(deadline=None)
def test_a_name_gives_back_its_key(public: bytes, codec: int) -> None:
    name = did_key(public, codec)
    assert name.startswith("did:key:z6Mk" if codec == ED25519 else "did:key:z6LS")
    assert len(name) == 56
    assert parse_did_key(name) == (codec, public)


@given(st.binary(max_size=40))
@settings(deadline=None)
def test_base58_gives_back_what_it_was_given(data: bytes) -> None:
    assert base58_decode(base58_encode(data)) == data


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", ""),
        ("1", "00"),
        ("112", "000001"),
        ("2NEpo7TZRRrLZSi2U", "48656c6c6f20576f726c6421"),
        ("5Q", "ff"),
    ],
)
def test_base58_is_that_of_everyone(text: str, data: str) -> None:
    assert base58_encode(bytes.fromhex(data)) == text
    assert base58_decode(text).hex() == data


@pytest.mark.parametrize("bad", ["0", "O", "I", "l", "z z", "z\n", "é", "+"])
def test_what_is_not_base58_is_refused_with_its_place(bad: str) -> None:
    with pytest.raises(DecodeError, match="character 2"):
        base58_decode("zz" + bad.replace("z", ""))


def test_a_long_text_is_refused_before_it_costs_anything() -> None:
    with pytest.raises(DecodeError, match="1000000 characters"):
        base58_decode("z" * 1_000_000)
    with pytest.raises(DecodeError, match="at most 64"):
        parse_did_key("did:key:z" + "z" * 65)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "did:key:",
        "did:key:z",
        "did:web:example.com",
        "did:key:u7QE",
        "DID:KEY:" + ZERO_DID[8:],
        ZERO_DID[1:],
        ZERO_DID[:-1],
        ZERO_DID + "1",
        ZERO_DID + "#" + ZERO_DID[8:],
        "did:key:z1" + ZERO_DID[9:],
        # secp256k1 and P-256, which are not ours.
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",
        # The Ed25519 codec before 31 and 33 bytes, and a second byte that is no varint's end.
        "did:key:z" + base58_encode(b"\xed\x01" + bytes(31)),
        "did:key:z" + base58_encode(b"\xed\x01" + bytes(33)),
        "did:key:z" + base58_encode(b"\xed\x81" + bytes(32)),
    ],
)
def test_what_names_no_key_of_ours_is_refused(name: str) -> None:
    with pytest.raises((DecodeError, KeyFormatError)):
        parse_did_key(name)
    with pytest.raises((DecodeError, KeyFormatError)):
        document(name)


@given(st.text(max_size=80))
@settings(deadline=None)
def test_arbitrary_text_is_refused(text: str) -> None:
    for name in (text, "did:key:" + text, "did:key:z" + text):
        with pytest.raises((DecodeError, KeyFormatError)):
            parse_did_key(name)


@given(st.text(ALPHABET, min_size=46, max_size=50))
@settings(deadline=None)
def test_a_name_that_parses_is_the_only_one_of_its_key(text: str) -> None:
    name = "did:key:z" + text
    try:
        codec, public = parse_did_key(name)
    except KeyFormatError:
        return
    assert did_key(public, codec) == name


@pytest.mark.parametrize("y", [0, 1, 2, 2**255 - 19 - 1, 2**255 - 1])
def test_an_ed25519_name_of_no_point_has_no_document(y: int) -> None:
    name = did_key(y.to_bytes(32, "little"))
    with pytest.raises(KeyFormatError, match="not an Ed25519 public key"):
        document(name)


def test_a_key_of_the_wrong_length_or_kind_has_no_name() -> None:
    with pytest.raises(KeyFormatError, match="not 31"):
        did_key(bytes(31))
    with pytest.raises(ValueError, match="codec"):
        did_key(bytes(32), 0xE7)
