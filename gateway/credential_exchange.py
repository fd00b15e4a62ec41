"""What travels between issuer, holder and verifier of credentials, beside the credentials themselves.

Runs on CPython; pure.  Three things, deterministic CBOR:

    request     [1, issuer, [[key, signature], ...]]      the holder wants credentials for these keys
    batch       [1, [SD-CWT, ...]]                        the issuer's answer
    question    COSE_Sign1 "cpc/credential-question"      the verifier asks, and says who it is
                {1 document, 2 nonce, 3 asked at, 4 good for, 5 [issuer, ...], 6 schema, 7 [claim, ...]}

Each key of a request signs issuer and all of its keys, so nobody is issued credentials for keys of others.
Times are whole seconds.  The document in a question is the first one of the verifier's name, which is its
hash: a holder knows who asks without asking a chain, as long as that name's keys were never changed.  What
answers it is an SD-KBT (puf/sd_cwt.py).  Raises DecodeError, SignatureError.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from puf import cbor, cose, did_document
from puf.did import did_cpc, parse_did_cpc
from puf.did_document import AUTHENTICATION
from puf.ed25519 import SigningKey, verify
from puf.errors import DecodeError, SignatureError

VERSION = 1
REQUEST_TYP = "cpc/credential-request"
QUESTION_TYP = "cpc/credential-question"
BATCH_MAX = 256
"""Credentials that are asked for at once."""
REQUEST_SIZE_MAX = 1 << 16
BATCH_SIZE_MAX = 1 << 22
QUESTION_SIZE_MAX = 1 << 13
NONCE_BYTES = 16
ISSUERS_MAX = 8
CLAIMS_MAX = 32
TEXT_LENGTH_MAX = 64
"""Letters of a schema or of a claim's name."""
VALID_MS_MAX = 86_400_000


@dataclass(frozen=True, slots=True)
class Request:
    """Keys of one holder, each proven to be its own."""

    issuer: str
    """The DID of whom it asks."""
    keys: tuple[bytes, ...]
    """Ed25519, 32 bytes each, no two alike."""


@dataclass(frozen=True, slots=True)
class Question:
    """Who wants to see what, by which issuers."""

    audience: str
    """The DID of who asks."""
    nonce: bytes
    """16 random bytes: this question, and no other."""
    asked_ms: int
    """When it was asked, Unix milliseconds, whole seconds."""
    valid_ms: int
    """How long an answer is taken."""
    issuers: tuple[str, ...]
    """DIDs of who is trusted to issue it."""
    schema: str
    """The kind of credential that is wanted."""
    claims: tuple[str, ...]
    """What must be shown of it."""


def make_request(issuer: str, keys: Sequence[SigningKey]) -> bytes:
    """A request for one credential for each of these keys.  Raises ValueError."""
    publics = [key.public for key in keys]
    _check_keys(publics)
    payload = cbor.encode([issuer, publics])
    items = [[key.public, key.sign(cose.sig_structure(REQUEST_TYP, key.public, payload))] for key in keys]
    return cbor.encode([VERSION, issuer, items])


def open_request(data: bytes) -> Request:
    """The request that `data` is, each of its signatures checked."""
    parts = cbor.decode(data, REQUEST_SIZE_MAX, 4)
    if (
        not isinstance(parts, list)
        or len(parts) != 3
        or type(parts[0]) is not int
        or parts[0] != VERSION
        or not _is_did(parts[1])
    ):
        raise DecodeError("a request for credentials is a list of version 1, issuer and keys")
    issuer, items = parts[1], parts[2]
    if not isinstance(items, list) or not all(_is_signed_key(item) for item in items):
        raise DecodeError("the keys of a request are pairs of 32 bytes and a signature of 64")
    keys = [item[0] for item in items]
    try:
        _check_keys(keys)
    except ValueError as error:
        raise DecodeError(str(error)) from None
    payload = cbor.encode([issuer, keys])
    for key, signature in items:
        if not verify(key, cose.sig_structure(REQUEST_TYP, key, payload), signature):
            raise SignatureError(f"who asks for a credential for key {key.hex()} does not hold it")
    return Request(issuer, tuple(keys))


def make_batch(credentials: Sequence[bytes]) -> bytes:
    """The answer to a request."""
    return cbor.encode([VERSION, list(credentials)])


def open_batch(data: bytes) -> tuple[bytes, ...]:
    """The credentials in an answer; nothing of them is checked yet."""
    parts = cbor.decode(data, BATCH_SIZE_MAX, 2)
    if not isinstance(parts, list) or len(parts) != 2 or not cbor.is_int(parts[0], VERSION, VERSION):
        raise DecodeError("a batch of credentials is a list of version 1 and credentials")
    found = parts[1]
    if not isinstance(found, list) or not 1 <= len(found) <= BATCH_MAX:
        raise DecodeError(f"a batch has 1 to {BATCH_MAX} credentials")
    if not all(isinstance(each, bytes) for each in found):
        raise DecodeError("the credentials of a batch are byte strings")
    return tuple(found)


def make_question(question: Question, document: did_document.Document, key: SigningKey) -> bytes:
    """A question, signed.  document: the first one of the name that asks.  Raises ValueError."""
    data = cose.sign1(
        QUESTION_TYP,
        cbor.encode(
            {
                1: document.encode(),
                2: question.nonce,
                3: question.asked_ms // 1000,
                4: question.valid_ms // 1000,
                5: list(question.issuers),
                6: question.schema,
                7: list(question.claims),
            }
        ),
        key,
    )
    try:
        open_question(data)
    except (DecodeError, SignatureError) as error:
        raise ValueError(str(error)) from None
    return data


def open_question(data: bytes) -> Question:
    """The question that `data` is, signed by a key of the name that it says."""
    signed = cose.open1(data, QUESTION_TYP, size_max=QUESTION_SIZE_MAX)
    fields = cbor.decode(signed.payload, QUESTION_SIZE_MAX, 2)
    if not isinstance(fields, dict) or set(fields) != {1, 2, 3, 4, 5, 6, 7}:
        raise DecodeError("a question is a map of fields 1 to 7")
    if not isinstance(fields[1], bytes):
        raise DecodeError("the document of who asks is a byte string")
    document = did_document.decode(fields[1])
    if not document.may(signed.kid, AUTHENTICATION):
        raise SignatureError(f"key {signed.kid.hex()} does not speak for {did_cpc(document.name())}")
    nonce, asked, valid = fields[2], fields[3], fields[4]
    if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES:
        raise DecodeError(f"the nonce of a question has {NONCE_BYTES} bytes")
    if not cbor.is_int(asked, 0, 1 << 40):
        raise DecodeError("the time of a question is a number of seconds")
    if not cbor.is_int(valid, 1, VALID_MS_MAX // 1000):
        raise DecodeError(f"a question is good for 1 to {VALID_MS_MAX // 1000} seconds")
    issuers = _texts(fields[5], "issuers", 1, ISSUERS_MAX)
    if not all(_is_did(issuer) for issuer in issuers):
        raise DecodeError("the issuers of a question are names such as did:cpc:z...")
    schema = _texts([fields[6]], "schema", 1, 1)[0]
    claims = _texts(fields[7], "claims", 0, CLAIMS_MAX)
    return Question(did_cpc(document.name()), nonce, 1000 * asked, 1000 * valid, issuers, schema, claims)


def _check_keys(keys: Sequence[bytes]) -> None:
    if not 1 <= len(keys) <= BATCH_MAX or len(set(keys)) != len(keys):
        raise ValueError(f"a request is for 1 to {BATCH_MAX} keys, each another one")


def _texts(value: object, what: str, least: int, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise DecodeError(f"a question has {least} to {most} {what}")
    for text in value:
        if not isinstance(text, str) or not 1 <= len(text) <= TEXT_LENGTH_MAX:
            raise DecodeError(f"the {what} of a question are texts of 1 to {TEXT_LENGTH_MAX} letters")
    if len(set(value)) != len(value):
        raise DecodeError(f"a question has one of its {what} twice")
    return tuple(value)


def _is_did(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        parse_did_cpc(text)
    except DecodeError:
        return False
    return True


def _is_signed_key(item: object) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 2
        and isinstance(item[0], bytes)
        and len(item[0]) == 32
        and isinstance(item[1], bytes)
        and len(item[1]) == 64
    )
