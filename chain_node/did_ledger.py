"""Names that the chain keeps: `did:cpc` registered, changed, ended, and every document one ever had.

Runs on CPython; pure.  puf/did_document.py says what a document is.  Bodies of transactions:

    kind 4  register    1 document                        its hash becomes the name
    kind 5  rotate      1 name   2 version   3 document   of that version, in place of its document
    kind 6  deactivate  1 name                            for ever

Entries of the state:

    ["did", name]                1 document   2 version   3 created_ms   4 updated_ms   5 since height
                                 6 is deactivated (0 or 1)   7 tx hash
    ["did version", name, n]     1 document   2 since height   3 until height   4 since_ms   5 tx hash

The present document stands under the name; one that was replaced, or ended, moves under its version.  So
one proof shows which keys a name had at a height: a document is valid from block `since` on, and until the
block before `until`.

Who may change a name are its controlling keys: those for invocation in its own document, or in its
controller's, one step and no further.  The recovery key may, too, and only it may set another recovery key
or take it out, so that whoever steals a controlling key can end a name, but not keep it.  The signer of the
transaction must be one of these keys; no other signature is needed.  That the other keys of a document are
its author's is not proven here: whoever is shown a name lets its holder sign something.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar

from chain_node.book import ENTRY_SIZE_MAX, Book, Call
from chain_node.errors import Refused, WireError
from chain_node.fields import Fields, read
from chain_node.reason import Reason
from puf import cbor, did_document
from puf.did import did_cpc
from puf.did_document import CONTEXTS, DOCUMENT_SIZE_MAX, INVOCATION, Document
from puf.errors import DecodeError

CONTENT_TYPE = "application/did+ld+json"
LAST_MS = 253_402_300_799_000
"""9999-12-31T23:59:59Z."""


def did_key(name: bytes) -> bytes:
    """Where the present document of this name stands.  name: bytes, 32, of a did:cpc."""
    return cbor.encode(["did", name])


def did_version_key(name: bytes, version: int) -> bytes:
    """Where the name's document of this version stands once another has taken its place."""
    return cbor.encode(["did version", name, version])


@dataclass(frozen=True, slots=True)
class DidEntry:
    """A name as it is now."""

    document: Document
    """The present one; the last one, when the name is deactivated."""
    version: int
    """1 for the first document; each rotation and the deactivation add one."""
    created_ms: int
    """Time of the block that registered it."""
    updated_ms: int
    """Time of the block that made this version."""
    since_height: int
    """The first block for which this version counts."""
    is_deactivated: bool
    """It has no valid key any more, and never will."""
    tx_hash: bytes
    """The transaction that made this version."""

    def encode(self) -> bytes:
        """The entry's bytes."""
        return cbor.encode(
            {
                1: self.document.encode(),
                2: self.version,
                3: self.created_ms,
                4: self.updated_ms,
                5: self.since_height,
                6: int(self.is_deactivated),
                7: self.tx_hash,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "DidEntry":
        """Raises WireError."""
        fields = Fields(read(data, "did entry", ENTRY_SIZE_MAX), "did entry")
        entry = cls(
            document=_document(fields, 1, "did entry"),
            version=fields.integer(2, "version", 1),
            created_ms=fields.integer(3, "created_ms"),
            updated_ms=fields.integer(4, "updated_ms"),
            since_height=fields.integer(5, "since height", 1),
            is_deactivated=bool(fields.integer(6, "is deactivated", 0, 1)),
            tx_hash=fields.blob(7, "tx hash"),
        )
        fields.done()
        return entry

    def resolve(self, name: bytes) -> dict[str, object]:
        """The DID resolution result: W3C's document and its metadata.

        Source: W3C Decentralized Identifiers 1.0, sections 7.1.2 and 7.1.3.
        """
        shown = self.document.to_json(name)
        if self.is_deactivated:
            shown = {"@context": list(CONTEXTS), "id": did_cpc(name)}
        metadata: dict[str, object] = {"created": _moment(self.created_ms), "versionId": str(self.version)}
        if self.version > 1:
            metadata["updated"] = _moment(self.updated_ms)
        if self.is_deactivated:
            metadata["deactivated"] = True
        return {
            "didDocument": shown,
            "didDocumentMetadata": metadata,
            "didResolutionMetadata": {"contentType": CONTENT_TYPE},
        }


@dataclass(frozen=True, slots=True)
class DidVersion:
    """A document that a name had, and when."""

    document: Document
    since_height: int
    """The first block for which it counted."""
    until_height: int
    """The first block for which it did not count any more."""
    since_ms: int
    """Time of the block that brought it."""
    tx_hash: bytes
    """The transaction that brought it."""

    def encode(self) -> bytes:
        """The entry's bytes."""
        return cbor.encode(
            {
                1: self.document.encode(),
                2: self.since_height,
                3: self.until_height,
                4: self.since_ms,
                5: self.tx_hash,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "DidVersion":
        """Raises WireError."""
        fields = Fields(read(data, "did version", ENTRY_SIZE_MAX), "did version")
        entry = cls(
            document=_document(fields, 1, "did version"),
            since_height=fields.integer(2, "since height", 1),
            until_height=fields.integer(3, "until height", 1),
            since_ms=fields.integer(4, "since_ms"),
            tx_hash=fields.blob(5, "tx hash"),
        )
        fields.done()
        return entry

    def resolve(self, name: bytes, version: int) -> dict[str, object]:
        """The DID resolution result for this version."""
        metadata: dict[str, object] = {
            "updated": _moment(self.since_ms),
            "versionId": str(version),
            "nextVersionId": str(version + 1),
        }
        return {
            "didDocument": self.document.to_json(name),
            "didDocumentMetadata": metadata,
            "didResolutionMetadata": {"contentType": CONTENT_TYPE},
        }

    def is_valid_at(self, height: int) -> bool:
        """Whether the document's keys counted for what was anchored in block `height`."""
        return self.since_height <= height < self.until_height


@dataclass(frozen=True, slots=True)
class DidRegister:
    """Kind 4: a new name.  Signed by a key that controls it."""

    KIND: ClassVar[int] = 4
    document: Document
    """The first one; its hash is the name."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.document.encode()}

    @classmethod
    def from_map(cls, value: object) -> "DidRegister":
        """Raises WireError."""
        fields = Fields(value, "did register")
        body = cls(_document(fields, 1, "did register"))
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with DID_KNOWN, DID_NOT_CONTROLLER, or DID_UNKNOWN of the controller."""
        name = self.document.name()
        if book.read(did_key(name), DidEntry):
            raise Refused(Reason.DID_KNOWN, f"{did_cpc(name)} is registered already")
        if not _controls(book, self.document, call.signer):
            raise Refused(
                Reason.DID_NOT_CONTROLLER, f"{call.signer.hex()} is no key that controls {did_cpc(name)}"
            )
        entry = DidEntry(
            document=self.document,
            version=1,
            created_ms=call.time_ms,
            updated_ms=call.time_ms,
            since_height=call.height,
            is_deactivated=False,
            tx_hash=call.tx_hash,
        )
        book.write(did_key(name), entry)


@dataclass(frozen=True, slots=True)
class DidRotate:
    """Kind 5: another document for a name: other keys, services, or another controller."""

    KIND: ClassVar[int] = 5
    name: bytes
    """32 bytes, of the did:cpc."""
    version: int
    """The one that it replaces; so two changes at a time cannot undo each other unseen."""
    document: Document

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.name, 2: self.version, 3: self.document.encode()}

    @classmethod
    def from_map(cls, value: object) -> "DidRotate":
        """Raises WireError."""
        fields = Fields(value, "did rotate")
        body = cls(
            name=fields.blob(1, "name"),
            version=fields.integer(2, "version", 1),
            document=_document(fields, 3, "did rotate"),
        )
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with one of the reasons of DIDs."""
        entry = _active(book, self.name)
        if entry.version != self.version:
            raise Refused(
                Reason.DID_VERSION,
                f"{did_cpc(self.name)} is at version {entry.version}, this replaces version {self.version}",
            )
        _check_signer(book, entry, self.name, call.signer)
        old, new = entry.document, self.document
        if old.recovery is not None and new.recovery != old.recovery and call.signer != old.recovery:
            raise Refused(
                Reason.DID_RECOVERY_KEY,
                f"only the recovery key of {did_cpc(self.name)} itself sets another or takes it out",
            )
        if new.controller is not None:
            _active(book, new.controller)
        _succeed(book, self.name, entry, call, replace(entry, document=new))


@dataclass(frozen=True, slots=True)
class DidDeactivate:
    """Kind 6: the end of a name.  It is never registered again, and nobody can undo it."""

    KIND: ClassVar[int] = 6
    name: bytes
    """32 bytes, of the did:cpc."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.name}

    @classmethod
    def from_map(cls, value: object) -> "DidDeactivate":
        """Raises WireError."""
        fields = Fields(value, "did deactivate")
        body = cls(fields.blob(1, "name"))
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with one of the reasons of DIDs."""
        entry = _active(book, self.name)
        _check_signer(book, entry, self.name, call.signer)
        _succeed(book, self.name, entry, call, replace(entry, is_deactivated=True))


def _succeed(book: Book, name: bytes, entry: DidEntry, call: Call, follower: DidEntry) -> None:
    """Put `follower` in the place of `entry`, which moves under its version."""
    past = DidVersion(
        entry.document, entry.since_height, call.height, since_ms=entry.updated_ms, tx_hash=entry.tx_hash
    )
    book.write(did_version_key(name, entry.version), past)
    made = replace(
        follower,
        version=entry.version + 1,
        updated_ms=call.time_ms,
        since_height=call.height,
        tx_hash=call.tx_hash,
    )
    book.write(did_key(name), made)


def _active(book: Book, name: bytes) -> DidEntry:
    entry = book.read(did_key(name), DidEntry)
    if entry is None:
        raise Refused(Reason.DID_UNKNOWN, f"{did_cpc(name)} is not registered")
    if entry.is_deactivated:
        raise Refused(
            Reason.DID_DEACTIVATED, f"{did_cpc(name)} is deactivated since block {entry.since_height}"
        )
    return entry


def _controls(book: Book, document: Document, signer: bytes) -> bool:
    """Whether `signer` is a controlling key.  Raises Refused when the controller is unknown or ended."""
    if document.controller is None:
        return document.may(signer, INVOCATION)
    return _active(book, document.controller).document.may(signer, INVOCATION)


def _check_signer(book: Book, entry: DidEntry, name: bytes, signer: bytes) -> None:
    # The recovery key first: it must work when the controller is gone.
    if signer == entry.document.recovery or _controls(book, entry.document, signer):
        return
    raise Refused(Reason.DID_NOT_CONTROLLER, f"{signer.hex()} is no key that controls {did_cpc(name)}")


def _document(fields: Fields, key: int, what: str) -> Document:
    try:
        return did_document.decode(fields.blob_up_to(key, "document", DOCUMENT_SIZE_MAX))
    except DecodeError as error:
        raise WireError(what, str(error)) from None


def _moment(time_ms: int) -> str:
    """As W3C writes it: UTC, whole seconds; later than there are dates is the last second of them."""
    return datetime.fromtimestamp(min(time_ms, LAST_MS) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
