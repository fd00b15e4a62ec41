"""Statements between two who share a key: a payload, which key, and what kind of statement it is.

Runs on CPython and MicroPython.  A COSE_Mac0 with HMAC 256/256 that any COSE library can check:

    17([ << {1: 5, 4: kid, 16: typ} >>, {}, payload, tag ])

`kid` says which key, and `typ` separates domains, as in puf/cose.py.  Statements have one encoding; all else
is refused.  Either holder of the key could have made one: it convinces the other, and no third party.
Source: RFC 9052, sections 3, 6.2 and 6.3; RFC 9053, section 3.1; RFC 9596 (typ).
"""

from collections import namedtuple

from puf import cbor
from puf.errors import DecodeError, SignatureError
from puf.hkdf import hmac_sha256, is_equal

# As in puf/cose.py, which would bring the curve along.
ALG, KID, TYP = 1, 4, 16
"""Labels of header parameters.  Source: IANA, COSE Header Parameters."""
HEADER_SIZE_MAX = 256
"""Bytes of a protected header."""
HMAC_256 = 5
"""Source: RFC 9053, table 3."""
COSE_MAC0 = 17
"""The tag of a COSE_Mac0.  Source: RFC 9052, section 2."""
TAG_BYTES = 32
SIZE_MAX = 1024
"""Bytes of a whole statement that are looked at."""


class Parsed(namedtuple("Parsed", ("kid", "typ", "payload", "message", "tag"))):
    """A statement that nobody has checked yet: `check` it with the key that `kid` names."""

    __slots__ = ()
    KIND = "parsed"

    def check(self, key: bytes) -> None:
        """Raises SignatureError when `key` did not make this statement."""
        if not is_equal(self.tag, hmac_sha256(key, self.message)):
            raise SignatureError(f"the tag on this {self.typ} was not made with our key")


def _protected(typ: str, kid: bytes) -> bytes:
    return cbor.encode({ALG: HMAC_256, KID: kid, TYP: typ})


def _message(protected: bytes, external_aad: bytes, payload: bytes) -> bytes:
    return cbor.encode(["MAC0", protected, external_aad, payload])


def mac0(typ: str, payload: bytes, kid: bytes, key: bytes, external_aad: bytes = b"") -> bytes:
    """`payload` as a statement of kind `typ` under `key`, which the reader knows as `kid`.

    `external_aad` is covered by the tag but not carried; the reader must supply the same bytes.
    """
    protected = _protected(typ, kid)
    tag = hmac_sha256(key, _message(protected, external_aad, payload))
    return cbor.encode(cbor.Tag(COSE_MAC0, [protected, {}, payload, tag]))


def parse_mac0(data: bytes, typ: str, external_aad: bytes = b"") -> Parsed:
    """The statement of kind `typ` that `data` has the form of.  Raises DecodeError for all else."""
    statement = cbor.decode(data, SIZE_MAX, 3)
    if not isinstance(statement, cbor.Tag) or statement.number != COSE_MAC0:
        raise DecodeError("not a COSE_Mac0 (tag 17)")
    parts = statement.value
    if not isinstance(parts, list) or len(parts) != 4:
        raise DecodeError("a COSE_Mac0 is an array of four")
    protected, unprotected, payload, tag = parts
    if not isinstance(protected, bytes) or not isinstance(payload, bytes) or not isinstance(tag, bytes):
        raise DecodeError("protected header, payload and tag are byte strings")
    if unprotected != {}:
        raise DecodeError("the unprotected header is not empty; nothing in it would be covered by the tag")
    if len(tag) != TAG_BYTES:
        raise DecodeError(f"the tag of HMAC 256/256 has {TAG_BYTES} bytes, not {len(tag)}")
    header = cbor.decode(protected, HEADER_SIZE_MAX, 2)
    kid = header.get(KID) if isinstance(header, dict) else None
    # The one encoding of what it must say; this also refuses critical parameters and other algorithms.
    if not isinstance(kid, bytes) or protected != _protected(typ, kid):
        raise DecodeError(f"the protected header is not exactly HMAC 256/256, a key id and the type {typ}")
    return Parsed(kid, typ, payload, _message(protected, external_aad, payload), tag)
