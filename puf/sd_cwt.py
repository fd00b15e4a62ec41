"""Credentials that show only what is asked: SD-CWT, bound to a holder's key, shown to one verifier once.

Runs on CPython and MicroPython.  A profile of SD-CWT for Ed25519 and SHA-256:

    SD-CWT  18([ << {1: -19, 4: issuer, 16: 293} >>, {? 17: [<< disclosure >>, ...]}, << claims >>, signature
    ]) claims  {1 iss, 4 exp, 6 iat, 8 cnf, ... , ? simple(59): [hash, ...]}
    SD-KBT  18([ << {1: -19, 13: SD-CWT, 16: 294} >>, {}, << {3: audience, 6: iat, 39: nonce} >>, signature ])

A disclosure is << [salt, value, claim] >>; the issuer signs the SHA-256 of its byte string in its place.
The holder leaves out what it does not show, and signs the rest with the key in `cnf`, so nobody else can
show it, and nobody can show it elsewhere or twice.  Claims are redacted at the top level only: redaction
deeper inside, tags, decoys and encrypted disclosures are refused.  A credential is used once: issuer's
signature, holder's key, salts and index in the status list would link two uses, so a holder has a batch of
them (gateway/credentials.py).

Raises DecodeError for what is no such token, SignatureError, CredentialError.
Source: draft-ietf-spice-sd-cwt-08, sections 5 to 9; RFC 9864 (-19 is Ed25519); RFC 8747.
"""

from collections import namedtuple

from puf import cbor, cwt
from puf.cbor_pure import head
from puf.cose import COSE_SIGN1, to_be_signed
from puf.ed25519 import SigningKey, verify
from puf.errors import CredentialError, DecodeError, SignatureError
from puf.hkdf import is_equal, sha256

ALG, KID, KCWT, TYP, SD_CLAIMS = 1, 4, 13, 16, 17
"""Labels of header parameters.  Source: IANA; section 5."""
ED25519 = -19
SD_CWT, KB_CWT = 293, 294
"""CoAP content formats, as `typ`."""
SALT_BYTES = 16
CLAIMS_MAX = 32
"""Redacted claims of one credential."""
SIZE_MAX = 8192
"""Bytes of a presentation: a car shows it over Bluetooth."""
NEVER_REDACTED = (cwt.ISS, cwt.AUD, cwt.EXP, cwt.NBF, cwt.IAT, cwt.CTI, cwt.CNF, cwt.CNONCE, cwt.STATUS)
"""Source: section 7, table of claim requirements; the status is ours."""
AGE_MS_MAX = 120_000
"""How old a presentation may be unless the verifier says otherwise."""
_REDACTED_KEYS = b"\xf8\x3b"
"""The map key simple(59), which sorts behind all integers and texts."""


class Credential(namedtuple("Credential", ("issuer", "holder", "claims", "hidden", "disclosures"))):
    """A credential whose issuer's signature holds.

    issuer, holder: Ed25519 keys, bytes, 32; claims: dict of those that are not redacted; hidden: hashes of
    those that are; disclosures: those of them that came along, {claim: (bytes of the disclosure, value)}.
    """

    __slots__ = ()
    KIND = "credential"


class Presented(namedtuple("Presented", ("issuer", "holder", "claims"))):
    """What a verifier may believe: claims: dict, redacted and disclosed ones in one."""

    __slots__ = ()
    KIND = "presented"


def issue(
    claims: dict[int | str, object],
    redacted: dict[int | str, object],
    holder: bytes,
    key: SigningKey,
    salts: list[bytes] | tuple[bytes, ...],
) -> bytes:
    """A credential about the holder of the Ed25519 key `holder`, with all its disclosures.

    claims: what everybody sees; redacted: what the holder may show or not; salts: one for each of these, 16
    random bytes, never used before.  Raises ValueError for what no reader would take.
    """
    if (
        len(salts) != len(redacted)
        or len(redacted) > CLAIMS_MAX
        or len({bytes(salt) for salt in salts}) != len(salts)
    ):
        raise ValueError(f"one salt of its own for each redacted claim, of which {CLAIMS_MAX} are the most")
    shown = dict(claims)
    shown[cwt.CNF] = cwt.confirmation(holder)
    disclosures = []
    for (claim, value), salt in zip(redacted.items(), salts):  # noqa: B905  MicroPython's zip is never strict
        if len(salt) != SALT_BYTES:
            raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
        disclosures.append(cbor.encode([salt, value, claim], cwt.DEPTH_MAX))
    # Sorted by hash, so that the order tells nothing of the claims.
    disclosures.sort(key=_hash)
    payload = _payload(shown, [_hash(each) for each in disclosures])
    protected = cbor.encode({ALG: ED25519, KID: key.public, TYP: SD_CWT})
    signature = key.sign(to_be_signed(protected, payload))
    unprotected: dict[int, object] = {SD_CLAIMS: disclosures} if disclosures else {}
    data = cbor.encode(cbor.Tag(COSE_SIGN1, [protected, unprotected, payload, signature]))
    try:
        open_credential(data)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return data


def open_credential(data: bytes) -> Credential:
    """The credential that `data` is.  Raises DecodeError, SignatureError.  Its times are not looked at."""
    return _credential(cbor.decode(data, SIZE_MAX, cwt.DEPTH_MAX))


def present(
    data: bytes,
    claims: list[int | str] | tuple[int | str, ...],
    holder: SigningKey,
    audience: str,
    nonce: bytes,
    now_ms: int,
) -> bytes:
    """The credential `data`, shown to `audience` (the verifier's DID) with these of its redacted claims.

    nonce: the verifier's, 8 to 64 bytes; now_ms: Unix milliseconds.  Raises CredentialError with reason
    "holder" when `holder` is not the key it is bound to, ValueError for a claim that it has not.
    """
    credential = open_credential(data)
    if credential.holder != holder.public:
        raise CredentialError("holder", "this credential is bound to another key; take the one of its index")
    for claim in claims:
        if claim not in credential.disclosures:
            raise ValueError(f"this credential has no redacted claim {claim!r}")
    shown = [credential.disclosures[claim][0] for claim in claims]
    shown.sort(key=_hash)
    parts = list(cbor.decode(data, SIZE_MAX, cwt.DEPTH_MAX).value)  # type: ignore[attr-defined]
    parts[1] = {SD_CLAIMS: shown} if shown else {}
    protected = cbor.encode({ALG: ED25519, KCWT: cbor.Tag(COSE_SIGN1, parts), TYP: KB_CWT})
    payload = cbor.encode({cwt.AUD: audience, cwt.IAT: now_ms // 1000, cwt.CNONCE: nonce})
    return cbor.encode(
        cbor.Tag(COSE_SIGN1, [protected, {}, payload, holder.sign(to_be_signed(protected, payload))])
    )


def read_presentation(data: bytes) -> "tuple[str, bytes]":
    """Issuer and nonce that a presentation says; nothing is checked: to look up keys and question by.

    Raises DecodeError.
    """
    header, _, payload, _ = _binding(data)
    nonce = cwt.read_claims(payload, SIZE_MAX).get(cwt.CNONCE)
    issuer = _read_payload(_parts(header[KCWT])[2])[0].get(cwt.ISS)
    if not isinstance(issuer, str) or not isinstance(nonce, bytes):
        raise DecodeError("a presentation names its issuer, and the nonce that it answers")
    return issuer, nonce


def verify_presentation(
    data: bytes,
    issuers: list[bytes] | tuple[bytes, ...],
    audience: str,
    nonce: bytes,
    now_ms: int,
    required: list[int | str] | tuple[int | str, ...] = (),
    age_ms_max: int = AGE_MS_MAX,
) -> Presented:
    """What may be believed of a presentation.

    issuers: Ed25519 keys that are trusted; audience, nonce: ours, the nonce fresh and to be forgotten
    whatever comes of this; required: claims without which it is of no use here.  The status is looked up by
    the caller.
    Raises DecodeError, SignatureError, CredentialError, whose reason says what does not fit.
    """
    header, protected, payload, signature = _binding(data)
    credential = _credential(header[KCWT])
    if not any(is_equal(credential.issuer, issuer) for issuer in issuers):
        raise CredentialError("issuer", f"issuer {credential.issuer.hex()} is none that is trusted here")
    if not verify(credential.holder, to_be_signed(protected, payload), signature):
        raise SignatureError("who shows this credential does not hold the key that it is bound to")
    binding = cwt.read_claims(payload, SIZE_MAX)
    if set(binding) != {cwt.AUD, cwt.IAT, cwt.CNONCE}:
        raise DecodeError("the claims of a key binding token are audience, time and nonce")
    if binding[cwt.AUD] != audience or credential.claims.get(cwt.AUD, audience) != audience:
        raise CredentialError(
            "audience", f"it is for {str(binding[cwt.AUD])[:80]!r}, not for us, {audience!r}"
        )
    if not is_equal(bytes(binding[cwt.CNONCE]), nonce):  # type: ignore[call-overload]
        raise CredentialError("nonce", "it answers another question than ours; it may have been heard before")
    _check_times(credential.claims, binding[cwt.IAT], now_ms, age_ms_max)
    claims = dict(credential.claims)
    for claim in credential.disclosures:
        claims[claim] = credential.disclosures[claim][1]
    for claim in required:
        if claim not in claims:
            raise CredentialError("withheld", f"claim {claim!r} is needed here and was not shown")
    return Presented(credential.issuer, credential.holder, claims)


def _binding(data: bytes) -> "tuple[dict[object, object], bytes, bytes, bytes]":
    """Header, its bytes, payload and signature of a key binding token.  Raises DecodeError."""
    protected, unprotected, payload, signature = _parts(cbor.decode(data, SIZE_MAX, 2 * cwt.DEPTH_MAX))
    if unprotected != {}:
        raise DecodeError("a key binding token has nothing unprotected")
    header = cbor.decode(protected, SIZE_MAX, 2 * cwt.DEPTH_MAX)
    if not isinstance(header, dict) or set(header) != {ALG, KCWT, TYP} or not _is_typ(header, KB_CWT):
        raise DecodeError("not the protected header of a key binding token with Ed25519")
    return header, protected, payload, signature


def _check_times(claims: dict[int | str, object], shown: object, now_ms: int, age_ms_max: int) -> None:
    cwt.check_times(claims, now_ms)
    assert isinstance(shown, int)  # noqa: S101  read_claims has looked
    if now_ms >= shown * 1000 + age_ms_max or now_ms < shown * 1000 - cwt.SKEW_MS:
        raise CredentialError("age", f"it was shown at {shown}, now is {now_ms // 1000}; ask for it anew")
    expiry = claims.get(cwt.EXP)
    if isinstance(expiry, int) and shown >= expiry:
        raise CredentialError("expired", "it was shown after its end")
    for key in (cwt.NBF, cwt.IAT):
        begin = claims.get(key)
        if isinstance(begin, int) and shown < begin:
            raise CredentialError("early", "it was shown before its beginning")


def _credential(statement: object) -> Credential:
    protected, unprotected, payload, signature = _parts(statement)
    header = cbor.decode(protected, 256, 1)
    if not isinstance(header, dict) or set(header) != {ALG, KID, TYP} or not _is_typ(header, SD_CWT):
        raise DecodeError("not the protected header of an SD-CWT with Ed25519")
    issuer = header[KID]
    if not isinstance(issuer, bytes) or len(issuer) != 32:
        raise DecodeError("the key id of an SD-CWT is its issuer's 32-byte key")
    if not verify(issuer, to_be_signed(protected, payload), signature):
        raise SignatureError(f"the signature on this credential is not that of issuer {issuer.hex()}")
    claims, hashes = _read_payload(payload)
    if cwt.ISS not in claims or cwt.CNF not in claims:
        raise DecodeError("a credential names its issuer and is bound to a key")
    disclosures = {}
    for data in _disclosed(unprotected):
        hashed = _hash(data)
        if hashed not in hashes:
            raise DecodeError("what is disclosed is not in the credential")
        claim, value = _read_disclosure(data)
        if claim in claims or claim in disclosures:
            raise DecodeError(f"claim {claim!r} is there twice")
        disclosures[claim] = (data, value)
    return Credential(issuer, cwt.confirmation_key(claims[cwt.CNF]), claims, hashes, disclosures)


def _disclosed(unprotected: object) -> list[bytes]:
    if unprotected == {}:
        return []
    if not isinstance(unprotected, dict) or set(unprotected) != {SD_CLAIMS}:
        raise DecodeError("the unprotected header of an SD-CWT has disclosures and nothing else")
    found = unprotected[SD_CLAIMS]
    if not isinstance(found, list) or not 1 <= len(found) <= CLAIMS_MAX:
        raise DecodeError(f"disclosures are a list of 1 to {CLAIMS_MAX}")
    if not all(isinstance(each, bytes) for each in found) or len(set(found)) != len(found):
        raise DecodeError("disclosures are byte strings, none of them twice")
    return found


def _read_disclosure(data: bytes) -> tuple[int | str, object]:
    parts = cbor.decode(data, SIZE_MAX, cwt.DEPTH_MAX)
    if not isinstance(parts, list) or len(parts) != 3:
        raise DecodeError("a disclosure is a list of salt, value and claim")
    salt, value, claim = parts
    if not isinstance(salt, bytes) or len(salt) != SALT_BYTES:
        raise DecodeError(f"the salt of a disclosure has {SALT_BYTES} bytes")
    if type(claim) is not int and not isinstance(claim, str):
        raise DecodeError("the claim of a disclosure is an integer or a text")
    if claim in NEVER_REDACTED:
        raise DecodeError(f"claim {claim} may not be redacted")
    _check_plain(value)
    cwt.check_claims({claim: value})
    return claim, value


def _payload(claims: dict[int | str, object], hashes: list[bytes]) -> bytes:
    """The claims with the hashes under simple(59), which comes last: no key in puf/cbor.py may be simple."""
    encoded = cbor.encode(claims, cwt.DEPTH_MAX)
    if not hashes:
        return encoded
    body = encoded[len(head(5, len(claims))) :]
    return head(5, len(claims) + 1) + body + _REDACTED_KEYS + cbor.encode(hashes)


def _read_payload(payload: bytes) -> tuple[dict[int | str, object], tuple[bytes, ...]]:
    claims, hashes = _split(payload)
    cwt.check_claims(claims)
    _check_plain(claims)
    if len(set(hashes)) != len(hashes):
        raise DecodeError("a credential has a redacted claim twice")
    if _payload(claims, list(hashes)) != payload:
        raise DecodeError("the claims of a credential are not in their one encoding")
    return claims, hashes


def _split(payload: bytes) -> tuple[dict[int | str, object], tuple[bytes, ...]]:
    """Claims and hashes; at most one of the counts tried can fit, since CBOR has one reading."""
    if len(payload) > 2 and payload[0] >> 5 == 5:
        count, start = payload[0] & 31, 1
        if count == 24:
            count, start = payload[1], 2
        for number in range(1, CLAIMS_MAX + 1):
            tail = _REDACTED_KEYS + head(4, number)
            at = len(payload) - len(tail) - 34 * number
            if at < start or count < 1 or payload[at : at + len(tail)] != tail:
                continue
            rest = payload[at + len(tail) :]
            if any(rest[index : index + 2] != b"\x58\x20" for index in range(0, len(rest), 34)):
                continue
            claims = cbor.decode(head(5, count - 1) + payload[start:at], SIZE_MAX, cwt.DEPTH_MAX)
            hashes = tuple([rest[index + 2 : index + 34] for index in range(0, len(rest), 34)])
            return claims, hashes  # type: ignore[return-value]
    return cbor.decode(payload, SIZE_MAX, cwt.DEPTH_MAX), ()  # type: ignore[return-value]


def _check_plain(value: object) -> None:
    """Raises DecodeError for what may stand for redacted things deeper inside."""
    if isinstance(value, (cbor.Tag, cbor.Simple)):
        raise DecodeError("tags and simple values deeper inside of a credential are not taken here")
    if isinstance(value, dict):
        for key in value:
            _check_plain(value[key])
    elif isinstance(value, list):
        for item in value:
            _check_plain(item)


def _parts(statement: object) -> tuple[bytes, object, bytes, bytes]:
    if not isinstance(statement, cbor.Tag) or statement.number != COSE_SIGN1:
        raise DecodeError("not a COSE_Sign1 (tag 18)")
    parts = statement.value
    if not isinstance(parts, list) or len(parts) != 4:
        raise DecodeError("a COSE_Sign1 is an array of four")
    protected, unprotected, payload, signature = parts
    if not isinstance(protected, bytes) or not isinstance(payload, bytes):
        raise DecodeError("protected header and payload of a COSE_Sign1 are byte strings")
    if not isinstance(signature, bytes) or len(signature) != 64:
        raise DecodeError("an Ed25519 signature is 64 bytes")
    return protected, unprotected, payload, signature


def _is_typ(header: dict[object, object], typ: int) -> bool:
    algorithm, kind = header[ALG], header[TYP]
    return type(algorithm) is int and algorithm == ED25519 and type(kind) is int and kind == typ


def _hash(disclosure: bytes) -> bytes:
    """The hash that stands for a disclosure: over the byte string, its length included."""
    return sha256(cbor.encode(disclosure))
