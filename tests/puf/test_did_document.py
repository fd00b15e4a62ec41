"""Documents of did:cpc names: golden bytes, W3C's form, and every way to get one wrong."""

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor, did_document
from puf.did import ED25519, X25519, base58_encode, did_cpc, parse_did_cpc
from puf.did_document import (
    AGREEMENT,
    ASSERTION,
    AUTHENTICATION,
    DELEGATION,
    DOCUMENT_SIZE_MAX,
    INVOCATION,
    SIGNING,
    Document,
    Key,
    Service,
)
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, KeyFormatError
from puf.x25519 import PrivateKey
from tests.micropython import run
from tests.puf import documents

SIGNER = SigningKey(bytes(32)).public
SEALED = PrivateKey(bytes(32)).public
ONE, TWO = b"\x01" * 32, b"\x02" * 32
FULL = did_document.make(
    [Key(ED25519, AUTHENTICATION | INVOCATION, SIGNER), Key(X25519, AGREEMENT, SEALED)],
    controller=ONE,
    recovery=TWO,
    services=[Service("telemetry", "CpcGateway", "https://gateway.example:7545/")],
    salt=b"lot 7",
)
PLAIN = did_document.make([Key(ED25519, SIGNING, SIGNER)])

# Golden: a change here renames everybody, and is a line in CHANGELOG.md.
GOLDEN_PLAIN = "a1018183" + "18ed" + "181b" + "5820" + SIGNER.hex()
GOLDEN_FULL = (
    "a5018283" + "18ed09" + "5820" + SIGNER.hex() + "83" + "18ec04" + "5820" + SEALED.hex()
    + "025820" + ONE.hex() + "035820" + TWO.hex()
    + "048183" + "69" + b"telemetry".hex() + "6a" + b"CpcGateway".hex()
    + "781d" + b"https://gateway.example:7545/".hex() + "0545" + b"lot 7".hex()
)  # fmt: skip
GOLDEN_NAME = "did:cpc:zDwiZAp7EzTvFhdHR87VSN2sbc1ERqu2HUexmkxMLuBtM"


def test_golden_documents_and_the_name_of_one() -> None:
    assert PLAIN.encode().hex() == GOLDEN_PLAIN
    assert FULL.encode().hex() == GOLDEN_FULL
    assert PLAIN.name() == sha256(bytes.fromhex(GOLDEN_PLAIN)).digest()
    assert did_cpc(PLAIN.name()) == GOLDEN_NAME
    for document in (PLAIN, FULL):
        assert did_document.decode(document.encode()) == document


def test_a_document_in_the_words_of_w3c() -> None:
    did = did_cpc(ONE)
    signer = did + "#z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
    sealed = did + "#z6LSeu9HkTHSfLLeUs2nnzUSNedgDUevfNQgQjQC23ZCit6F"
    expected: dict[str, Any] = {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "controller": did,
        "verificationMethod": [
            {"id": method, "type": "Multikey", "controller": did, "publicKeyMultibase": method.split("#")[1]}
            for method in (signer, sealed)
        ],
        "authentication": [signer],
        "capabilityInvocation": [signer],
        "keyAgreement": [sealed],
        "service": [
            {
                "id": did + "#telemetry",
                "type": "CpcGateway",
                "serviceEndpoint": "https://gateway.example:7545/",
            }
        ],
    }
    assert FULL.to_json(ONE) == expected
    plain = PLAIN.to_json(TWO)
    assert set(plain) == {
        "@context",
        "id",
        "verificationMethod",
        "authentication",
        "assertionMethod",
        "capabilityInvocation",
        "capabilityDelegation",
    }
    assert json.loads(json.dumps(plain)) == plain


def test_a_device_without_keys_is_named_by_its_salt() -> None:
    devices = [did_document.make([], controller=ONE, salt=bytes([number])) for number in (1, 2)]
    assert devices[0].name() != devices[1].name()
    assert devices[0].to_json(TWO) == {
        "@context": list(did_document.CONTEXTS),
        "id": did_cpc(TWO),
        "controller": did_cpc(ONE),
    }


def test_a_key_may_do_what_it_is_for() -> None:
    allowed = [
        purpose
        for purpose in (AUTHENTICATION, ASSERTION, AGREEMENT, INVOCATION, DELEGATION)
        if FULL.may(SIGNER, purpose)
    ]
    assert allowed == [AUTHENTICATION, INVOCATION]
    assert FULL.may(SEALED, AGREEMENT)
    assert not FULL.may(ONE, INVOCATION)


def test_the_largest_document_is_taken_and_no_larger_one() -> None:
    keys = [Key(ED25519, SIGNING, bytes([number]) * 32) for number in range(8)]
    services = [Service(name, "b", "c:" + "d" * 150) for name in ("a", "b")]
    size = len(did_document.make(keys, recovery=ONE, services=services).encode())
    services[1] = Service("b", "b", "c:" + "d" * (150 + DOCUMENT_SIZE_MAX - size))
    assert size < DOCUMENT_SIZE_MAX
    document = did_document.make(keys, recovery=ONE, services=services)
    assert len(document.encode()) == DOCUMENT_SIZE_MAX
    with pytest.raises(ValueError, match=f"{DOCUMENT_SIZE_MAX}"):
        did_document.make(
            keys, recovery=ONE, services=[Service("ab", "b", services[0].endpoint), services[1]]
        )


def fields(**changes: Any) -> dict[int, Any]:
    """A good document's fields, some changed by number (f1=...)."""
    good: Any = cbor.decode(FULL.encode())
    return {**good} | {int(name[1:]): value for name, value in changes.items()}


KEY = [ED25519, INVOCATION, SIGNER]
SERVICE = ["a", "b", "c:d"]
BAD: list[tuple[Any, str]] = [
    ([], "a map of fields 1 to 5"),
    (fields(f6=0), "a map of fields 1 to 5"),
    ({1: [KEY], "1": 0}, "a map of fields 1 to 5"),
    ({}, "the keys of a DID document are a list of 0 to 8"),
    (fields(f1=[[ED25519, INVOCATION, bytes([n]) * 32] for n in range(9)]), "the keys of a DID document"),
    (fields(f1=[KEY, KEY]), "a key twice"),
    (fields(f1=[KEY, [X25519, AGREEMENT, SIGNER]]), "a key twice"),
    (fields(f1=[KEY[:2]]), "a list of codec, purposes and key"),
    (fields(f1=[[ED25519, True, SIGNER]]), "a list of codec, purposes and 32 bytes"),
    (fields(f1=[[ED25519, 8, SIGNER[1:]]]), "a list of codec, purposes and 32 bytes"),
    (fields(f1=[[0xE7, 8, SIGNER]]), "is an Ed25519 or an X25519 key"),
    (fields(f1=[[ED25519, 0, SIGNER]]), "for agreement only"),
    (fields(f1=[[ED25519, 32, SIGNER]]), "for agreement only"),
    (fields(f1=[[ED25519, -1, SIGNER]]), "for agreement only"),
    (fields(f1=[[ED25519, AGREEMENT | INVOCATION, SIGNER]]), "for agreement only"),
    (fields(f1=[[X25519, AGREEMENT | ASSERTION, SEALED]]), "for agreement only"),
    (fields(f2=None), "the controller of a DID document is 32 bytes"),
    (fields(f2=ONE[1:]), "the controller of a DID document is 32 bytes"),
    (fields(f3="x" * 32), "the recovery of a DID document is 32 bytes"),
    (fields(f4=[]), "the services of a DID document are a list of 1 to 4"),
    (fields(f4=[[f"s{n}", "b", "c:d"] for n in range(5)]), "the services of a DID document"),
    (fields(f4=[SERVICE, SERVICE]), "two services of one id"),
    (fields(f4=[["a", "b"]]), "a list of id, type and endpoint"),
    (fields(f4=[["a", "b", b"c:d"]]), "a list of id, type and endpoint"),
    (fields(f4=[["", "b", "c:d"]]), "the id of a service"),
    (fields(f4=[["a#b", "b", "c:d"]]), "the id of a service"),
    (fields(f4=[["a" * 33, "b", "c:d"]]), "the id of a service"),
    (fields(f4=[["a", "b\n", "c:d"]]), "the type of a service"),
    (fields(f4=[["a", "", "c:d"]]), "the type of a service"),
    (fields(f4=[["a", "b c", "c:d"]]), "the type of a service"),
    (fields(f4=[["a", "b", "c: d"]]), "the endpoint of a service"),
    (fields(f4=[["a", "b", "c:\x7f"]]), "the endpoint of a service"),
    (fields(f4=[["a", "b", "nowhere"]]), "the endpoint of a service"),
    (fields(f4=[["a", "b", ":d"]]), "the endpoint of a service"),
    (fields(f4=[["a", "b", "c:é"]]), "the endpoint of a service"),
    (fields(f5=b""), "the salt of a DID document is 1 to 32 bytes"),
    (fields(f5=bytes(33)), "the salt of a DID document is 1 to 32 bytes"),
    (fields(f5="salt"), "the salt of a DID document is 1 to 32 bytes"),
    ({1: []}, "has a key for invocation"),
    ({1: [[ED25519, AUTHENTICATION, SIGNER]], 3: ONE}, "has a key for invocation"),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_what_could_not_be_registered_is_no_document(value: Any, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        did_document.decode(cbor.encode(value))


def test_our_own_mistake_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="has a key for invocation"):
        did_document.make([])


def test_documents_under_micropython() -> None:
    lines = [FULL.encode().hex(), PLAIN.encode().hex(), *(cbor.encode(value).hex() for value, _ in BAD)]
    lines += [GOLDEN_NAME, "did:cpc:z", GOLDEN_NAME + "1"]
    there = run(Path(documents.__file__), stdin="\n".join(lines) + "\n").splitlines()
    here = io.StringIO()
    for line in lines:
        documents.tell(line, here)
    assert there == here.getvalue().splitlines()
    assert sum(each.startswith("DecodeError: ") for each in there) == len(BAD) + 2
    assert "keyAgreement=did:cpc:z" in there[0]


ANY_KEY = st.builds(
    Key,
    st.just(ED25519),
    st.integers(1, 31).filter(lambda n: not n & AGREEMENT),
    st.binary(min_size=32, max_size=32),
) | st.builds(Key, st.just(X25519), st.just(AGREEMENT), st.binary(min_size=32, max_size=32))


@settings(deadline=None)
@given(
    st.lists(ANY_KEY, max_size=4, unique_by=lambda key: key.public),
    st.binary(min_size=32, max_size=32),
    st.none() | st.binary(min_size=32, max_size=32),
    st.binary(max_size=32),
)
def test_a_document_comes_back(
    keys: list[Key], controller: bytes, recovery: bytes | None, salt: bytes
) -> None:
    made = did_document.make(keys, controller, recovery, salt=salt)
    assert did_document.decode(made.encode()) == made
    assert len(made.to_json(ONE).get("verificationMethod", [])) == len(keys)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    st.binary(max_size=120)
    | st.dictionaries(st.integers(0, 6), st.binary(max_size=33) | st.lists(st.integers()) | st.text()).map(
        cbor.encode
    )
)
def test_arbitrary_bytes_raise_only_decode_errors(data: bytes) -> None:
    try:
        document = did_document.decode(data)
    except DecodeError:
        return
    assert document.encode() == data


# Names


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_a_name_has_one_spelling(name: bytes) -> None:
    text = did_cpc(name)
    assert text.startswith("did:cpc:z")
    assert parse_did_cpc(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with did:cpc:z"),
        ("did:key:z6Mk", "starts with did:cpc:z"),
        ("did:cpc:" + GOLDEN_NAME[9:], "starts with did:cpc:z"),
        (GOLDEN_NAME + "#key", "not base58"),
        (GOLDEN_NAME + "1", "of 33"),
        ("did:cpc:z1" + GOLDEN_NAME[9:], "of 33"),
        ("did:cpc:z" + base58_encode(bytes(31)), "of 31"),
        ("did:cpc:z" + "2" * 65, "at most 64"),
    ],
)
def test_what_is_no_did_cpc_is_refused(text: str, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        parse_did_cpc(text)


def test_a_hash_of_another_length_has_no_name() -> None:
    with pytest.raises(KeyFormatError, match="of 31"):
        did_cpc(bytes(31))


def test_a_whole_document_is_a_document() -> None:
    assert isinstance(FULL, Document)
    assert (FULL.KIND, FULL.keys[0].KIND, FULL.services[0].KIND) == ("document", "key", "service")
