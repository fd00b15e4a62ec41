"""Signed statements: a payload, who signed it, and what kind of statement it is.

Runs on CPython and MicroPython.  A COSE_Sign1 with Ed25519 that any COSE library can check:

    18([ << {1: -8, 4: kid, 16: typ} >>, {}, payload, signature ])

`kid` is the signer's 32-byte public key.  `typ` ("cpc/tx", "cpc/vote", ...) separates domains: a vote
can never pass for a transaction, since the reader says which one it expects.  Statements have one
encoding; everything else is refused.
Source: RFC 9052, sections 3, 4.2 and 4.4; RFC 9053, section 2.2; RFC 9596 (typ).
"""

from collections import namedtuple

from puf import cbor
from puf.ed25519 import SigningKey, verify
from puf.errors import DecodeError, SignatureError

ALG, CRIT, KID, TYP = 1, 2, 4, 16
"""Labels of header parameters.  Source: IANA, COSE Header Parameters."""
EDDSA = -8
"""Source: RFC 9053, section 2.2."""
COSE_SIGN1 = 18
"""The tag of a COSE_Sign1.  Source: RFC 9052, section 2."""
HEADER_SIZE_MAX = 256
"""Bytes of a protected header; also keeps what a stranger wrote there from flooding an error message."""
SIZE_MAX = 1 << 20
"""Bytes of a whole statement that are looked at unless the caller says otherwise."""


class Signed(namedtuple("Signed", ("kid", "typ", "payload"))):
    """A statement whose signature holds.

    `kid`: bytes, 32, the public key that signed; `typ`: str; `payload`: bytes.
    Whether that key had the *right* to say it is for the caller to decide.
    """

    __slots__ = ()
    KIND = "signed"


class Parsed(namedtuple("Parsed", ("kid", "typ", "payload", "message", "signature"))):
    """A statement whose signature nobody has checked yet: `signature` should be `kid`'s on `message`."""

    __slots__ = ()
    KIND = "parsed"


def _protected(typ: str, kid: bytes) -> bytes:
    header = cbor.encode({ALG: EDDSA, KID: kid, TYP: typ})
    if len(header) > HEADER_SIZE_MAX:
        raise ValueError("the type of a statement is a short name, such as cpc/tx")
    return header


def to_be_signed(protected: bytes, payload: bytes, external_aad: bytes = b"") -> bytes:
    """The bytes that are signed, whatever the protected header says.  Source: RFC 9052, section 4.4."""
    return cbor.encode(["Signature1", protected, external_aad, payload])


def sig_structure(typ: str, kid: bytes, payload: bytes, external_aad: bytes = b"") -> bytes:
    """The bytes that are signed.  Source: RFC 9052, section 4.4.

    Lets a certificate carry many signatures on one statement without repeating the statement.
    """
    return to_be_signed(_protected(typ, kid), payload, external_aad)


def sign1(typ: str, payload: bytes, key: SigningKey, external_aad: bytes = b"") -> bytes:
    """`payload`, signed by `key` as a statement of kind `typ`.

    `external_aad` is signed along but not carried; the reader must supply the same bytes.
    """
    protected = _protected(typ, key.public)
    signature = key.sign(to_be_signed(protected, payload, external_aad))
    return cbor.encode(cbor.Tag(COSE_SIGN1, [protected, {}, payload, signature]))


def open1(data: bytes, typ: str, external_aad: bytes = b"", size_max: int = SIZE_MAX) -> Signed:
    """The statement of kind `typ` that `data` is, its signature checked with the key it names.

    Raises DecodeError for anything but such a statement, SignatureError when the signature does not hold.
    """
    parsed = parse1(data, typ, external_aad, size_max)
    if not verify(parsed.kid, parsed.message, parsed.signature):
        raise SignatureError(f"the signature on this {typ} is not that of key {parsed.kid.hex()}")
    return Signed(parsed.kid, typ, parsed.payload)


def parse1(data: bytes, typ: str, external_aad: bytes = b"", size_max: int = SIZE_MAX) -> Parsed:
    """The statement of kind `typ` that `data` has the form of, for who checks its signature later.

    Raises DecodeError as `open1` does.
    """
    return _exact(data, typ, external_aad, size_max) or _explained(data, typ, external_aad, size_max)


_AROUND: dict[str, tuple[bytes, bytes]] = {}
"""By type of statement: what stands before the key id, and between it and the payload."""


def _around(typ: str) -> tuple[bytes, bytes]:
    if typ not in _AROUND:
        begin = cbor.encode(cbor.Tag(COSE_SIGN1, [_protected(typ, bytes(32)), {}]))
        # Of four items, not of two.
        begin = begin[:1] + b"\x84" + begin[2:]
        before, after = begin.split(bytes(32))
        _AROUND[typ] = (before, after)
    return _AROUND[typ]


def _exact(data: bytes, typ: str, external_aad: bytes, size_max: int) -> "Parsed | None":
    """The statement, read by the places at which all must stand; None when something stands elsewhere."""
    before, after = _around(typ)
    kid_end = len(before) + 32
    at = kid_end + len(after)
    end = len(data) - 66
    if len(data) > size_max or end < at or data[: len(before)] != before or data[kid_end:at] != after:
        return None
    start = at + 1
    size = data[at] - 0x40
    if 24 <= size <= 26:
        start += 1 << (size - 24)
        least = (24, 0x100, 0x10000)[size - 24]
        size = int.from_bytes(data[at + 1 : start], "big")
        if size < least:
            return None
    if size != end - start or data[end : end + 2] != b"\x58\x40":
        return None
    # What is signed has the same parts: the header without the empty map after it, and the payload.
    aad = cbor.encode(external_aad) if external_aad else b"\x40"
    message = b"\x84\x6aSignature1" + data[2 : at - 1] + aad + data[at:end]
    return Parsed(data[len(before) : kid_end], typ, data[start:end], message, data[end + 2 :])


def _explained(data: bytes, typ: str, external_aad: bytes, size_max: int) -> "Parsed":
    """What is wrong with a statement, part by part.  Raises DecodeError."""
    statement = cbor.decode(data, size_max)
    if not isinstance(statement, cbor.Tag) or statement.number != COSE_SIGN1:
        raise DecodeError("not a COSE_Sign1 (tag 18)")
    parts = statement.value
    if not isinstance(parts, list) or len(parts) != 4:
        raise DecodeError("a COSE_Sign1 is an array of four")
    protected, unprotected, payload, signature = parts
    if not isinstance(protected, bytes):
        raise DecodeError("the protected header is not a byte string")
    kid = _check_protected(protected, typ)
    if unprotected != {}:
        raise DecodeError("the unprotected header is not empty; nothing in it would be signed")
    if payload is None:
        raise DecodeError("the payload is detached; it must be inside")
    if not isinstance(payload, bytes):
        raise DecodeError("the payload is not a byte string")
    if not isinstance(signature, bytes) or len(signature) != 64:
        raise DecodeError("an Ed25519 signature is 64 bytes")
    return Parsed(kid, typ, payload, to_be_signed(protected, payload, external_aad), signature)


def _check_protected(data: bytes, typ: str) -> bytes:
    """The key id of a protected header that says what it must, and nothing else."""
    try:
        header = cbor.decode(data, HEADER_SIZE_MAX)
    except DecodeError as error:
        raise DecodeError(f"in the protected header: {error}") from None
    if not isinstance(header, dict):
        raise DecodeError("the protected header is not a map")
    if header.get(ALG) != EDDSA:
        raise DecodeError(f"the algorithm is {header.get(ALG)!r}, only EdDSA (-8) is taken")
    if CRIT in header:
        raise DecodeError("the protected header has critical parameters; none is understood here")
    if header.get(TYP) != typ:
        raise DecodeError(f"this is a statement of type {header.get(TYP)!r}, not {typ!r}")
    kid = header.get(KID)
    if not isinstance(kid, bytes) or len(kid) != 32:
        raise DecodeError("the key id is not a 32-byte public key")
    # Not just the number of parameters: -8.0 equals -8, but is other bytes.
    if data != _protected(typ, kid):
        raise DecodeError("the protected header is not exactly algorithm, key id and type")
    return kid
