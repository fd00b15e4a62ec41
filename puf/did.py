"""Names: `did:key`, which is its own public key, and `did:cpc`, whose keys stand on the chain and may change.

Runs on CPython and MicroPython.

    did:key:z + base58btc(codec + key)    Ed25519 and X25519 keys; nobody need be asked whose it is
    did:cpc:z + base58btc(hash)           SHA-256 of the name's first document (puf/did_document.py)

Source: the did:key method of the W3C Credentials Community Group; multicodec and multibase tables.
"""

from puf.errors import DecodeError, KeyFormatError
from puf.x25519 import public_from_ed25519

ED25519 = 0xED
"""Multicodec of an Ed25519 public key; its varint is ed 01."""
X25519 = 0xEC
"""Multicodec of an X25519 public key; its varint is ec 01."""

PREFIX = "did:key:"
CPC_PREFIX = "did:cpc:"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
TEXT_LENGTH_MAX = 64
"""Characters of base58 that are looked at: decoding takes quadratic time, and a key takes 48."""


def base58_encode(data: bytes) -> str:
    """`data` in base58btc, without the multibase prefix."""
    number = int.from_bytes(data, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    zeros = 0
    while zeros < len(data) and data[zeros] == 0:
        zeros += 1
    return ALPHABET[0] * zeros + text


def base58_decode(text: str) -> bytes:
    """The bytes of base58btc `text`.  Raises DecodeError for other characters or over 64 of them."""
    if len(text) > TEXT_LENGTH_MAX:
        raise DecodeError(f"{len(text)} characters of base58, at most {TEXT_LENGTH_MAX} are taken")
    number = 0
    for position, character in enumerate(text):
        digit = ALPHABET.find(character)
        if digit < 0:
            raise DecodeError(f"character {position} is not base58")
        number = number * 58 + digit
    zeros = 0
    while zeros < len(text) and text[zeros] == ALPHABET[0]:
        zeros += 1
    size = 0
    while number >> (8 * size):
        size += 1
    return bytes(zeros) + number.to_bytes(size, "big")


def multikey(public: bytes, codec: int) -> str:
    """A public key as multibase text: `z6Mk...` (Ed25519) or `z6LS...` (X25519).

    Raises KeyFormatError when the key has not 32 bytes.
    """
    if codec not in (ED25519, X25519):
        raise ValueError(f"the codec is ED25519 or X25519, not {codec}")
    if len(public) != 32:
        raise KeyFormatError(f"a public key has 32 bytes, not {len(public)}")
    return "z" + base58_encode(bytes((codec, 1)) + bytes(public))


def did_key(public: bytes, codec: int = ED25519) -> str:
    """The name of a public key: `did:key:z6Mk...` (Ed25519) or `did:key:z6LS...` (X25519).

    Raises KeyFormatError when the key has not 32 bytes.
    """
    return PREFIX + multikey(public, codec)


def parse_did_key(did: str) -> tuple[int, bytes]:
    """The codec (ED25519 or X25519) and the 32-byte key that `did` names.

    Raises DecodeError for what is no did:key in base58, KeyFormatError for one whose key is of
    another kind or length.
    """
    if not did.startswith(PREFIX + "z"):
        raise DecodeError("a key's name starts with did:key:z")
    raw = base58_decode(did[len(PREFIX) + 1 :])
    if len(raw) != 34 or raw[1] != 1 or raw[0] not in (ED25519, X25519):
        raise KeyFormatError("did:key of no Ed25519 or X25519 key")
    return raw[0], raw[2:]


def did_cpc(name: bytes) -> str:
    """The text of a registered name: `did:cpc:z...`.  name: bytes, 32, the hash of its first document.

    Raises KeyFormatError for another length.
    """
    if len(name) != 32:
        raise KeyFormatError(f"a did:cpc is a hash of 32 bytes, not of {len(name)}")
    return CPC_PREFIX + "z" + base58_encode(bytes(name))


def parse_did_cpc(did: str) -> bytes:
    """The 32 bytes that `did` names.  Raises DecodeError for what is no did:cpc in its one spelling."""
    if not did.startswith(CPC_PREFIX + "z"):
        raise DecodeError("a registered name starts with did:cpc:z")
    name = base58_decode(did[len(CPC_PREFIX) + 1 :])
    if len(name) != 32:
        raise DecodeError(f"a did:cpc is a hash of 32 bytes, not of {len(name)}")
    return name


def document(did: str) -> dict[str, object]:
    """The DID document that `did` stands for, as the method's own vectors write it.

    An Ed25519 key also yields its X25519 twin for key agreement.  Raises as `parse_did_key` does, and
    KeyFormatError for an Ed25519 key that is no point.
    """
    codec, public = parse_did_key(did)
    contexts = ["https://www.w3.org/ns/did/v1"]
    methods: list[dict[str, str]] = []
    out: dict[str, object] = {"@context": contexts, "id": did, "verificationMethod": methods}
    agreement = public
    if codec == ED25519:
        contexts.append("https://w3id.org/security/suites/ed25519-2018/v1")
        agreement = public_from_ed25519(public)
        signer = f"{did}#{did[len(PREFIX) :]}"
        methods.append(_method(signer, "Ed25519VerificationKey2018", did, public))
        for purpose in ("assertionMethod", "authentication", "capabilityInvocation", "capabilityDelegation"):
            out[purpose] = [signer]
    contexts.append("https://w3id.org/security/suites/x25519-2019/v1")
    receiver = f"{did}#{multikey(agreement, X25519)}"
    methods.append(_method(receiver, "X25519KeyAgreementKey2019", did, agreement))
    out["keyAgreement"] = [receiver]
    return out


def _method(name: str, kind: str, controller: str, public: bytes) -> dict[str, str]:
    return {"id": name, "type": kind, "controller": controller, "publicKeyBase58": base58_encode(public)}
