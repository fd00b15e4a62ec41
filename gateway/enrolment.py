"""Enrolment: from readouts in a trusted place to a name on the chain, and back again.

Runs on CPython.  What happens, in this order; after a crash anywhere the same call goes on from there:

    readouts -> judged -> helper data, keys      nothing is kept yet, and the root is gone when this returns
    planned       one transaction of the registry (gateway/devices.py)
    registered    the gateway's own name, then the device's, each proven by the light client
    enrolled

A strong device's document has its own keys, with the gateway as controller, who can end the name; a weak
one's has none, and its gateway vouches.  Revocation: the entry in the status list and the row first, so that
it counts here at once; then the name is ended; then the list, with its version, is signed, anchored and
proven.

A region of a chip bears one key ever.  A second one, even after the first is revoked, would show two offsets
of the same cells, and from their sum each would be easier to guess: an enrolment anew takes the next region.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from chain_node.wire import Anchor, DidDeactivate, DidEntry, DidRegister, Refused, TransactionEvidence
from gateway import enrolment_chip
from gateway.devices import ENROLLED, PLANNED, REVOKED, REVOKING, Device, Devices, Published
from gateway.enrolment_chip import READOUTS, STRENGTH_BITS, Chosen, PufSource
from gateway.errors import EnrolmentRefused, GatewayError
from gateway.status_anchor import anchor_of
from puf import did_document, fuzzy_extractor, helper_signature, keys, status_list
from puf.cwt import SKEW_MS
from puf.did import ED25519, X25519, did_cpc
from puf.did_document import AGREEMENT, ASSERTION, AUTHENTICATION, INVOCATION, SIGNING, Document
from puf.ed25519 import SigningKey
from puf.errors import PufError
from puf.fast_path_keys import Pairing
from puf.hkdf import sha256
from puf.status_list import StatusList
from puf.x25519 import PrivateKey

TTL_MS = 3_600_000
"""How long a status list is used before a newer one is looked for."""


class RegistryConflict(GatewayError):
    """The chain says something else of a name than this site does."""


class Registrar(Protocol):
    """The chain, as far as enrolment needs it.  What it returns is proven; every call is safe to repeat."""

    async def entry(self, name: bytes) -> tuple[DidEntry | None, int]:
        """The name as it is now, and the block after which that is so."""

    async def apply(self, body: "DidRegister | DidDeactivate | Anchor") -> TransactionEvidence:
        """A transaction that is final and had its effect."""


@dataclass(frozen=True, slots=True)
class Site:
    """Who enrols.  random: so many random bytes; os.urandom.  now_ms: the clock."""

    key: SigningKey
    """The gateway's."""
    devices: Devices
    random: Callable[[int], bytes]
    now_ms: Callable[[], int]

    @property
    def document(self) -> Document:
        """The first document of the gateway's own name."""
        return gateway_document(self.key.public)

    @property
    def did(self) -> bytes:
        """The gateway's name on the chain, 32 bytes."""
        return self.document.name()

    @property
    def status_uri(self) -> str:
        """The address of this site's status list."""
        return f"{did_cpc(self.did)}#status"


def gateway_document(public: bytes) -> Document:
    """The first document of the gateway with this key; its hash is the gateway's name."""
    return did_document.make([did_document.Key(ED25519, SIGNING, public)])


async def enrol(
    site: Site,
    name: str,
    source: Callable[[], PufSource],
    registrar: Registrar,
    is_weak: bool = False,
    is_debiased: bool = False,
    readout_count: int = READOUTS,
    chosen: Chosen | None = None,
) -> Device:
    """The device `name`, enrolled; goes on with an enrolment that was interrupted.

    source: opened only if readouts are still needed; chosen: those that were taken already.
    Raises EnrolmentRefused, PufError, DatabaseError, and
    what the registrar raises: the same call goes on then.
    """
    device = site.devices.live(name)
    if device is None:
        chosen = chosen or choose(site, name, source(), is_debiased, readout_count)
        device = plan(site, name, chosen, is_weak, is_debiased)
    if device.state == REVOKING:
        raise EnrolmentRefused(f"{name} is being revoked; finish that first: cpc device revoke {name}")
    if device.is_weak != is_weak:
        kind = "weak" if device.is_weak else "strong"
        raise EnrolmentRefused(f"{name} is enrolled as a {kind} device; revoke it first to change that")
    if device.state == PLANNED:
        await register(registrar, site.document)
        tx_hash, height = await register(registrar, did_document.decode(device.document))
        site.devices.enrolled(device.ident, tx_hash, height)
        device = replace(device, state=ENROLLED, tx_hash=tx_hash, height=height)
    return device


def choose(
    site: Site, name: str, source: PufSource, is_debiased: bool = False, readout_count: int = READOUTS
) -> Chosen:
    """The readouts of a region that can bear a key; nothing is kept.  Raises EnrolmentRefused, PufError."""
    known = site.devices.all()
    return enrolment_chip.choose(site.key.public, name, source, is_debiased, readout_count, known)


def plan(site: Site, name: str, chosen: Chosen, is_weak: bool, is_debiased: bool) -> Device:
    """All of an enrolment that needs the chip, kept.  Raises EnrolmentRefused, PufError."""
    address, parts = chosen.address, chosen.parts.readouts
    secret = site.random(fuzzy_extractor.secret_bytes(STRENGTH_BITS))
    helper, root = fuzzy_extractor.enrol(parts, secret, address, STRENGTH_BITS, is_debiased)
    ident = site.random(16)
    document = did_document.make(
        [] if is_weak else device_keys(root), controller=site.did, salt=sha256(ident)[:16]
    )
    pairing = Pairing(
        site.did, document.name(), keys.derive(keys.pairwise(root, site.did, 0), keys.FAST_PATH)
    )
    device = Device(
        ident=ident,
        name=name,
        state=PLANNED,
        is_weak=is_weak,
        address=address,
        size=chosen.size,
        helper=helper_signature.sign(helper, site.key),
        document=document.encode(),
        did=document.name(),
        status_index=status_list.free_index(site.random, site.devices.taken()),
        quality=chosen.quality,
        planned_ms=site.now_ms(),
        tx_hash=None,
        height=None,
    )
    site.devices.plan(device, pairing.encode())
    return device


def device_keys(root: bytes) -> list[did_document.Key]:
    """The keys in the document of a device with this root: one to sign with, one to agree on secrets with."""
    signing = SigningKey(keys.derive(root, keys.IDENTITY)).public
    agreement = PrivateKey(keys.derive(root, keys.EDHOC)).public
    return [
        did_document.Key(ED25519, AUTHENTICATION | ASSERTION | INVOCATION, signing),
        did_document.Key(X25519, AGREEMENT, agreement),
    ]


async def revoke(site: Site, name: str, registrar: Registrar) -> Device:
    """The device `name`, ended for ever; goes on with a revocation that was interrupted.

    Raises UnknownDevice, DatabaseError, and what the registrar raises: the same call goes on then.
    """
    device = site.devices.latest(name)
    if device.state != REVOKED:
        site.devices.revoking(device.ident)
        entry, _ = await registrar.entry(device.did)
        if entry is not None and not entry.is_deactivated:
            await registrar.apply(DidDeactivate(device.did))
        await publish(site, registrar)
        site.devices.revoked(device.ident)
    return replace(device, state=REVOKED)


async def publish(site: Site, registrar: Registrar, ttl_ms: int = TTL_MS) -> Published:
    """The site's status list as it is now, signed and anchored."""
    array = site.devices.revoked_array()
    newest = site.devices.published()
    if newest is None or newest.evidence is not None or not _is_usable(newest, site, array, ttl_ms):
        # A version that never reached the chain is not used again: a mirror may have it all the same.
        version = newest.version + 1 if newest else 1
        token = status_list.sign(StatusList(array), site.status_uri, site.key, site.now_ms(), ttl_ms)
        site.devices.publish(version, token)
        newest = Published(version, token, None)
    evidence = (await registrar.apply(anchor_of(newest.token, site.status_uri, newest.version))).encode()
    site.devices.anchored(newest.version, evidence)
    return replace(newest, evidence=evidence)


def _is_usable(published: Published, site: Site, array: bytes, ttl_ms: int) -> bool:
    """Whether a list that was made and not anchored says what is so now, and would count for a while yet."""
    try:
        token = status_list.open_list(published.token, site.status_uri, site.key.public)
    except PufError:
        # The disk has altered it.
        return False
    age_ms = site.now_ms() - token.issued_ms
    return bytes(token.statuses.array) == array and -SKEW_MS <= age_ms < ttl_ms


async def register(registrar: Registrar, document: Document) -> tuple[bytes | None, int]:
    """Makes sure that this document's name is registered.  Its transaction, if it took one, and the block."""
    name = document.name()
    entry, height = await registrar.entry(name)
    if entry is not None:
        if entry.is_deactivated:
            raise RegistryConflict(f"{did_cpc(name)} has been ended on the chain, by whoever holds its keys")
        return entry.tx_hash, height
    try:
        evidence = await registrar.apply(DidRegister(document))
    except Refused:
        # One that was sent before, and given up, may have become final between the two questions.
        entry, height = await registrar.entry(name)
        if entry is None or entry.is_deactivated:
            raise
        return entry.tx_hash, height
    return sha256(evidence.transaction), evidence.link.header.height
