"""Who is who in EDHOC: a CWT Claims Set that holds a static key, and how messages name it.

Runs on CPython and MicroPython.

    CCS = {2: subject, 8: {1: {1: kty, 2: key id, -1: crv, -2: x}}}

In a message stands either the key id alone (one byte where it can) or, by value, {14: CCS}.  A CCS is not
signed: that it is whose it says, the reader must know from elsewhere (a DID, a grant).
Source: RFC 9528, sections 3.3.2, 3.5.2 and 3.5.3; RFC 8392; RFC 8747; RFC 9053, section 7.
"""

from collections import namedtuple

from puf import cbor
from puf.edhoc_keys import SUITE_0, Suite
from puf.errors import DecodeError, KeyFormatError

SUBJECT, CONFIRMATION, COSE_KEY = 2, 8, 1
"""Claims of a CCS, and the one way to confirm that is taken."""
KTY, KEY_ID, CRV, X, D = 1, 2, -1, -2, -4
"""Parameters of a COSE_Key."""
KID, KCCS = 4, 14
"""COSE header parameters by which a credential is named or carried."""
CCS_SIZE_MAX = 512
"""Bytes of a credential that are looked at."""


class Credential(namedtuple("Credential", ("ccs", "public", "kid", "subject"))):
    """One party's name and static public key.

    `ccs`: bytes, the CCS exactly as both parties hash it; `public`: bytes, its key; `kid`: bytes, or None
    when it has none and can travel by value only; `subject`: str, or None.
    """

    __slots__ = ()
    KIND = "credential"


def make(public: bytes, kid: bytes, subject: str = "", suite: Suite = SUITE_0) -> Credential:
    """The credential of a bare public key.  Raises KeyFormatError when the key has another length.

    kid: bytes; one that is a CBOR integer of one byte (00 to 17, 20 to 37) is named by that byte alone.
    """
    if len(public) != suite.public_size:
        raise KeyFormatError(f"a key of suite {suite.number} has {suite.public_size} bytes")
    key = {KTY: suite.kty, KEY_ID: kid, CRV: suite.crv, X: public}
    claims: dict[int, object] = {CONFIRMATION: {COSE_KEY: key}}
    if subject:
        claims[SUBJECT] = subject
    return Credential(cbor.encode(claims), public, kid, subject or None)


def parse(ccs: bytes, suite: Suite = SUITE_0) -> Credential:
    """The credential that `ccs` is the one encoding of.

    Raises DecodeError for what is no such CCS or has a key of another curve, or a private one.
    """
    claims = cbor.decode(ccs, CCS_SIZE_MAX)
    if not isinstance(claims, dict):
        raise DecodeError("a CCS is a map")
    confirmation = claims.get(CONFIRMATION)
    if not isinstance(confirmation, dict) or len(confirmation) != 1:
        raise DecodeError("a CCS confirms one COSE_Key (claim 8)")
    key = confirmation.get(COSE_KEY)
    if not isinstance(key, dict):
        raise DecodeError("a CCS confirms one COSE_Key (claim 8)")
    kid, public, subject = key.get(KEY_ID), key.get(X), claims.get(SUBJECT)
    if D in key:
        raise DecodeError("the COSE_Key shows its private part; replace that key")
    if not cbor.is_int(key.get(KTY), suite.kty, suite.kty) or not cbor.is_int(
        key.get(CRV), suite.crv, suite.crv
    ):
        raise DecodeError(f"the COSE_Key is of another curve than suite {suite.number}")
    if not isinstance(public, bytes) or len(public) != suite.public_size:
        raise DecodeError(f"the COSE_Key's x has not {suite.public_size} bytes")
    if kid is not None and not isinstance(kid, bytes):
        raise DecodeError("the key id is not a byte string")
    if subject is not None and not isinstance(subject, str):
        raise DecodeError("the subject is not text")
    return Credential(bytes(ccs), public, kid, subject)


# Identifiers: of connections and of keys


def encode_id(identifier: bytes) -> bytes:
    """One byte where the identifier is itself a CBOR integer, else a byte string.  Source: section 3.3.2."""
    if len(identifier) == 1 and (identifier[0] < 0x18 or 0x20 <= identifier[0] < 0x38):
        return bytes(identifier)
    return cbor.encode(identifier)


def decode_id(item: object) -> bytes:
    """The identifier that a decoded item stands for.  Raises DecodeError for another type or spelling."""
    if isinstance(item, int) and not isinstance(item, bool) and -24 <= item <= 23:
        return cbor.encode(item)
    if not isinstance(item, bytes):
        raise DecodeError("an identifier is a byte string, or an integer from -24 to 23")
    if len(item) == 1 and len(encode_id(item)) == 1:
        raise DecodeError("an identifier of one byte that has a shorter form")
    return item


# ID_CRED_x: a name or the thing itself


class Named(namedtuple("Named", ("kid", "ccs"))):
    """How a message names its sender: by `kid`, bytes, or by value, `ccs`, bytes; the other one is None."""

    __slots__ = ()
    KIND = "named"


def id_cred(named: Named) -> bytes:
    """ID_CRED_x, the whole map, as MACs cover it."""
    kid, ccs = named
    if ccs is not None:
        return b"\xa1\x0e" + bytes(ccs)
    return cbor.encode({KID: kid})


def encode_named(named: Named) -> bytes:
    """ID_CRED_x as it stands in a plaintext: of a key id, the value alone.  Source: section 3.5.3.2."""
    return id_cred(named) if named.ccs is not None else encode_id(named.kid)


def decode_named(item: object) -> "Named | None":
    """Who a decoded item names; None when it names somebody in a way that is not known here.

    Raises DecodeError for a key id in any other spelling than its one.
    """
    if not isinstance(item, dict):
        return Named(decode_id(item), None)
    if list(item) == [KID]:
        raise DecodeError("a key id alone stands without its map")
    if list(item) != [KCCS]:
        return None
    return Named(None, cbor.encode(item[KCCS]))
