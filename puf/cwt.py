"""CBOR Web Tokens: signed claims about somebody, with a time in which they count.

Runs on CPython and MicroPython.  A CWT is a statement of puf/cose.py of type "application/cwt" (or a more
special one) whose payload is the map of claims, keys and values as IANA registers them:

    1 iss   2 sub   3 aud   4 exp   5 nbf   6 iat   7 cti   8 cnf   39 cnonce   65535 status

Times are whole Unix seconds on the wire, as the standard has them, and milliseconds at our interfaces.
Strict: one encoding, no floats as times, no tag 61 around (the type says what it is).  Raises DecodeError
for what is no such token, SignatureError when nobody signed it, CredentialError when it is genuine and yet
does not count.
Source: RFC 8392, sections 3 and 7; RFC 8747, section 3 (cnf); RFC 9596 (typ).
"""

from collections import namedtuple

from puf import cbor, cose
from puf.ed25519 import SigningKey
from puf.errors import CredentialError, DecodeError

TYP = "application/cwt"
ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF = 1, 2, 3, 4, 5, 6, 7, 8
CNONCE = 39
STATUS = 65535
"""Where a token's status is told.  Source: draft-ietf-oauth-status-list-21, section 6.3."""
COSE_KEY = 1
"""In `cnf`: a public key.  Source: RFC 8747, section 3.2."""
KTY, CRV, X = 1, -1, -2
OKP, ED25519 = 1, 6
"""Source: RFC 9053, sections 7.1 and 7.2."""
SIZE_MAX = 1 << 16
"""Bytes of a token that are looked at unless the caller says otherwise."""
DEPTH_MAX = 8
TEXT_SIZE_MAX = 255
"""Bytes of an issuer's, a subject's or an audience's name."""
SECONDS_MAX = 253_402_300_799
"""9999-12-31T23:59:59Z: later is a mistake, not a time."""
SKEW_MS = 60_000
"""How much two clocks may differ unless the caller says otherwise."""


class Cwt(namedtuple("Cwt", ("kid", "typ", "claims"))):
    """A token whose signature holds.  Whether `kid` had the right to say it is for the caller to decide.

    kid: bytes, 32, the public key that signed; typ: str; claims: dict.
    """

    __slots__ = ()
    KIND = "cwt"


def sign(claims: dict[int | str, object], key: SigningKey, typ: str = TYP) -> bytes:
    """A token of these claims.  Raises ValueError for claims that no reader would take."""
    try:
        check_claims(claims)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return cose.sign1(typ, cbor.encode(claims, DEPTH_MAX), key)


def open_cwt(data: bytes, typ: str = TYP, size_max: int = SIZE_MAX) -> Cwt:
    """The token that `data` is, its signature checked with the key it names.  Its times are not looked at.

    Raises DecodeError, SignatureError.
    """
    signed = cose.open1(data, typ, size_max=size_max)
    return Cwt(signed.kid, typ, read_claims(signed.payload, size_max))


def read_claims(payload: bytes, size_max: int = SIZE_MAX) -> dict[int | str, object]:
    """The claims that these bytes are.  Raises DecodeError."""
    claims = cbor.decode(payload, size_max, DEPTH_MAX)
    check_claims(claims)
    return claims  # type: ignore[return-value]


def check_claims(claims: object) -> None:
    """Raises DecodeError unless registered claims have the types they are registered with."""
    if not isinstance(claims, dict):
        raise DecodeError("the claims of a token are a map")
    for key in claims:
        value = claims[key]
        if isinstance(key, bytes):
            raise DecodeError("the claims of a token have integers and texts as keys")
        if key in (ISS, SUB, AUD) and not _is_text(value):
            raise DecodeError(f"claim {key} of a token is a text of 1 to {TEXT_SIZE_MAX} bytes")
        if key in (EXP, NBF, IAT) and (type(value) is not int or not 0 <= value <= SECONDS_MAX):
            raise DecodeError(f"claim {key} of a token is a whole number of seconds")
        if key in (CTI, CNONCE) and not (isinstance(value, bytes) and 1 <= len(value) <= 64):
            raise DecodeError(f"claim {key} of a token is 1 to 64 bytes")
        if key == CNF:
            confirmation_key(value)


def confirmation(public: bytes) -> dict[int, object]:
    """The claim `cnf` for the holder of this Ed25519 key.  Source: RFC 8747, section 3.2."""
    return {COSE_KEY: {KTY: OKP, CRV: ED25519, X: public}}


def confirmation_key(value: object) -> bytes:
    """The Ed25519 key (bytes, 32) that a claim `cnf` names.  Raises DecodeError."""
    key = value.get(COSE_KEY) if isinstance(value, dict) and len(value) == 1 else None
    public = key.get(X) if isinstance(key, dict) else None
    if not isinstance(public, bytes) or len(public) != 32 or cbor.encode(value) != _confirmation(public):
        raise DecodeError("cnf is not one Ed25519 key of 32 bytes")
    return public


def _confirmation(public: bytes) -> bytes:
    return cbor.encode(confirmation(public))


def check_times(claims: dict[int | str, object], now_ms: int, skew_ms: int = SKEW_MS) -> None:
    """Raises CredentialError when these claims do not count yet, or no more, or never.

    now_ms: Unix milliseconds; skew_ms: how far our clock and the issuer's may be apart.
    """
    expiry, begin, issued = claims.get(EXP), claims.get(NBF), claims.get(IAT)
    for first, last in ((begin, expiry), (issued, expiry)):
        if isinstance(first, int) and isinstance(last, int) and first >= last:
            raise CredentialError("time", "the token ends before it begins")
    if isinstance(expiry, int) and now_ms >= expiry * 1000 + skew_ms:
        raise CredentialError("expired", f"the token ended {now_ms // 1000 - expiry} s ago; fetch a new one")
    for first in (begin, issued):
        if isinstance(first, int) and now_ms < first * 1000 - skew_ms:
            raise CredentialError(
                "early", f"the token counts in {first - now_ms // 1000} s only; check both clocks"
            )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value.encode("utf-8")) <= TEXT_SIZE_MAX
