"""The document behind a `did:cpc` name: its keys, what each may do, who controls it, and where to find it.

Runs on CPython and MicroPython.  Deterministic CBOR, at most DOCUMENT_SIZE_MAX bytes, so that a transaction
that carries one fits into every chain; a map:

    1 keys        [[codec, purposes, public key], ...], at most KEYS_MAX
    2 controller  hash of the did:cpc whose keys may change this one; absent: its own
    3 recovery    an Ed25519 key kept in a safe place, which may change the document when the others are lost
    4 services    [[id, type, endpoint], ...], at most SERVICES_MAX
    5 salt        at most 32 bytes: tells apart documents that are alike, as those of devices without keys

All but 1 are left out when there is none.  The SHA-256 of a name's first document is the name, for ever.  Who
may change the document are the Ed25519 keys for INVOCATION: its own, or its controller's.  A document without
a controller therefore has at least one such key.

Source: W3C Decentralized Identifiers 1.0, sections 5 and 9; W3C Controlled Identifiers 1.0, section 2.2.2.
"""

from collections import namedtuple
from hashlib import sha256

from puf import cbor
from puf.did import ED25519, X25519, did_cpc, multikey
from puf.errors import DecodeError

AUTHENTICATION = 1
"""May log in as the subject."""
ASSERTION = 2
"""May sign what the subject says: records, receipts, credentials."""
AGREEMENT = 4
"""X25519: what is sealed for the subject is sealed for this key."""
INVOCATION = 8
"""May use what the subject may use; first of all, change this document."""
DELEGATION = 16
"""May hand on what the subject may do."""
SIGNING = AUTHENTICATION | ASSERTION | INVOCATION | DELEGATION
"""All that an Ed25519 key may be for."""

RELATIONS = (
    (AUTHENTICATION, "authentication"),
    (ASSERTION, "assertionMethod"),
    (AGREEMENT, "keyAgreement"),
    (INVOCATION, "capabilityInvocation"),
    (DELEGATION, "capabilityDelegation"),
)
"""Each purpose and what W3C calls it."""

CONTEXTS = ("https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1")
DOCUMENT_SIZE_MAX = 704
KEYS_MAX = 8
SERVICES_MAX = 4
SERVICE_ID_MAX = 32
SERVICE_TYPE_MAX = 64
ENDPOINT_SIZE_MAX = 200
SALT_SIZE_MAX = 32
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
"""Of which a service's id is made."""


class Key(namedtuple("Key", ("codec", "purposes", "public"))):
    """A public key of a document.

    codec: ED25519 or X25519; purposes: sum of all it is for; public: bytes, 32.
    """

    __slots__ = ()
    KIND = "key"


class Service(namedtuple("Service", ("ident", "type", "endpoint"))):
    """Where the subject can be found.  ident: the part after the '#'; endpoint: a URI."""

    __slots__ = ()
    KIND = "service"


class Document(namedtuple("Document", ("keys", "controller", "recovery", "services", "salt"))):
    """A document.  Made by `make` or `decode`, so that it is always one that can be registered.

    keys: tuple of Key; controller, recovery: bytes, 32, or None; services: tuple of Service; salt: bytes.
    """

    __slots__ = ()
    KIND = "document"

    def encode(self) -> bytes:
        """The document's bytes."""
        fields: dict[int, object] = {1: [[key.codec, key.purposes, key.public] for key in self.keys]}
        if self.controller is not None:
            fields[2] = self.controller
        if self.recovery is not None:
            fields[3] = self.recovery
        if self.services:
            fields[4] = [[each.ident, each.type, each.endpoint] for each in self.services]
        if self.salt:
            fields[5] = self.salt
        return cbor.encode(fields)

    def name(self) -> bytes:
        """The 32 bytes of the name whose first document this is."""
        return sha256(self.encode()).digest()

    def may(self, public: bytes, purpose: int) -> bool:
        """Whether this public key is one of the document's for `purpose`."""
        return any(key.public == public and key.purposes & purpose for key in self.keys)

    def to_json(self, name: bytes) -> dict[str, object]:
        """The document as W3C writes it, for the subject `name`."""
        did = did_cpc(name)
        out: dict[str, object] = {"@context": list(CONTEXTS), "id": did}
        if self.controller is not None:
            out["controller"] = did_cpc(self.controller)
        methods: list[dict[str, str]] = []
        relations: dict[str, list[str]] = {}
        for key in self.keys:
            text = multikey(key.public, key.codec)
            ident = did + "#" + text
            methods.append({"id": ident, "type": "Multikey", "controller": did, "publicKeyMultibase": text})
            for purpose, relation in RELATIONS:
                if key.purposes & purpose:
                    if relation not in relations:
                        relations[relation] = []
                    relations[relation].append(ident)
        if methods:
            out["verificationMethod"] = methods
        out.update(relations)
        if self.services:
            out["service"] = [
                {"id": did + "#" + each.ident, "type": each.type, "serviceEndpoint": each.endpoint}
                for each in self.services
            ]
        return out


def make(
    keys: list[Key] | tuple[Key, ...],
    controller: bytes | None = None,
    recovery: bytes | None = None,
    services: list[Service] | tuple[Service, ...] = (),
    salt: bytes = b"",
) -> Document:
    """A document of these parts.  keys: of Key; services: of Service.

    Raises ValueError when it could not be registered, and says why.
    """
    made = Document(tuple(keys), controller, recovery, tuple(services), salt)
    try:
        return decode(made.encode())
    except DecodeError as error:
        raise ValueError(str(error)) from None


def decode(data: bytes) -> Document:
    """The document that these bytes are.  Raises DecodeError."""
    fields = cbor.decode(data, DOCUMENT_SIZE_MAX, 4)
    if not isinstance(fields, dict) or any(number not in (1, 2, 3, 4, 5) for number in fields):
        raise DecodeError("a DID document is a map of fields 1 to 5")
    keys = tuple([_key(item) for item in _items(fields.get(1), "keys", 0, KEYS_MAX)])
    if len({key.public for key in keys}) != len(keys):
        raise DecodeError("a DID document has a key twice")
    services: tuple[Service, ...] = ()
    if 4 in fields:
        services = tuple([_service(item) for item in _items(fields[4], "services", 1, SERVICES_MAX)])
    if len({each.ident for each in services}) != len(services):
        raise DecodeError("a DID document has two services of one id")
    for number, what in ((2, "controller"), (3, "recovery")):
        if number in fields and not _is_blob(fields[number], 32):
            raise DecodeError("the " + what + " of a DID document is 32 bytes")
    salt = fields.get(5, b"-")
    if not isinstance(salt, bytes) or not 1 <= len(salt) <= SALT_SIZE_MAX:
        raise DecodeError(f"the salt of a DID document is 1 to {SALT_SIZE_MAX} bytes")
    document = Document(keys, fields.get(2), fields.get(3), services, fields.get(5, b""))
    if document.controller is None and not any(key.purposes & INVOCATION for key in keys):
        raise DecodeError(
            "a DID document without controller has a key for invocation, or nobody could change it"
        )
    return document


def _key(item: object) -> Key:
    if not isinstance(item, list) or len(item) != 3:
        raise DecodeError("a key of a DID document is a list of codec, purposes and key")
    codec, purposes, public = item
    if type(codec) is not int or type(purposes) is not int or not _is_blob(public, 32):
        raise DecodeError("a key of a DID document is a list of codec, purposes and 32 bytes")
    if codec == X25519:
        is_right = purposes == AGREEMENT
    elif codec == ED25519:
        is_right = purposes > 0 and purposes | SIGNING == SIGNING
    else:
        raise DecodeError("a key of a DID document is an Ed25519 or an X25519 key")
    if not is_right:
        raise DecodeError("an X25519 key is for agreement only, an Ed25519 key for something else")
    return Key(codec, purposes, public)


def _service(item: object) -> Service:
    if not isinstance(item, list) or len(item) != 3 or not all(isinstance(part, str) for part in item):
        raise DecodeError("a service of a DID document is a list of id, type and endpoint")
    ident, kind, endpoint = item
    if not 1 <= len(ident) <= SERVICE_ID_MAX or any(letter not in LETTERS for letter in ident):
        raise DecodeError(f"the id of a service is 1 to {SERVICE_ID_MAX} of A-Z a-z 0-9 - _ .")
    if not _is_plain(kind, SERVICE_TYPE_MAX):
        raise DecodeError(f"the type of a service is 1 to {SERVICE_TYPE_MAX} plain letters without blanks")
    if not _is_plain(endpoint, ENDPOINT_SIZE_MAX) or ":" not in endpoint[1:]:
        raise DecodeError(f"the endpoint of a service is a URI of at most {ENDPOINT_SIZE_MAX} plain letters")
    return Service(ident, kind, endpoint)


def _items(value: object, what: str, least: int, most: int) -> list[object]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise DecodeError(f"the {what} of a DID document are a list of {least} to {most}")
    return value


def _is_blob(value: object, size: int) -> bool:
    return isinstance(value, bytes) and len(value) == size


def _is_plain(text: str, size_max: int) -> bool:
    """Whether it is ASCII without blanks and controls, so that it reads the same everywhere."""
    return 1 <= len(text) <= size_max and all(0x21 <= ord(letter) <= 0x7E for letter in text)
