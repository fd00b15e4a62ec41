"""Credentials of vehicles, drivers, devices: issued in batches of single-use ones, asked for, checked once.

Runs on CPython.  The issuer (a gateway, a fleet) signs as many credentials as the holder will need; each is
bound to a key of its own, with salts and a place in the status list of its own, and times rounded so that
all of a day have the same: two of them share nothing but issuer, schema and status list.  The holder derives
the keys (puf/did_pairwise.py) and uses each once (gateway/credential_wallet.py).  The verifier hands out
questions and forgets each when it is answered.  What a verifier believes, and by what:

    issuer       its document on the chain, proven now: not ended, the signing key may assert
    status       its list's signature, the hash of that on the chain, its time, and no older version than seen
    holder       the signature with the key in `cnf`, over audience, time and the question's nonce
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chain_node.wire import DidEntry, Genesis
from gateway import credential_exchange
from gateway.credential_exchange import NONCE_BYTES, Question, Request
from gateway.credential_registry import CredentialRegistry, Issued
from gateway.devices import Published
from gateway.enrolment import Registrar, Site, publish, register
from gateway.errors import GatewayError
from gateway.status_anchor import open_anchored, stream_of
from gateway.status_keeper import is_due
from puf import cose, cwt, sd_cwt, status_list
from puf.did import did_cpc, did_key, parse_did_cpc
from puf.did_document import ASSERTION
from puf.errors import CredentialError
from puf.sd_cwt import Presented

DAY_MS = 86_400_000
DAYS_MAX = 366
VALID_MS = 120_000
"""How long an answer to a question is taken unless told otherwise."""
SCHEMA = "schema"
"""The claim that says what kind of credential it is."""

Random = Callable[[int], bytes]
"""So many random bytes; os.urandom."""


class CredentialRefused(GatewayError):
    """These credentials cannot be issued or revoked; the text says why and what to do."""


class Names(Protocol):
    """The chain, as far as a verifier needs it.  What it returns is proven."""

    async def entry(self, name: bytes) -> tuple[DidEntry | None, int]:
        """The name as it is now, and the block after which that is so."""

    async def newest(self, owner: bytes, stream: bytes) -> int:
        """The number of the last upload of this owner's stream that is anchored; 0: none."""


# ------------------------------------------------------------------ issuer


def batch(
    site: Site,
    holders: Sequence[bytes],
    about: str,
    schema: str,
    claims: dict[int | str, object],
    days: int,
    taken: set[int],
) -> list[Issued]:
    """One credential for each of these holder keys; nothing of it is kept yet.

    claims: all of them redacted, for the holder to show or not; schema: what kind of credential it is, shown
    always; days: how long it counts, from the last midnight; taken: entries of the status list in use.
    Raises CredentialRefused.
    """
    now_ms = site.now_ms()
    begin_ms = now_ms // DAY_MS * DAY_MS
    expires_ms = begin_ms + days * DAY_MS
    in_use = set(taken)
    ident = site.random(16)
    issued = []
    for holder in holders:
        try:
            index = status_list.free_index(site.random, in_use)
            in_use.add(index)
            shown: dict[int | str, object] = {
                cwt.ISS: did_cpc(site.did),
                cwt.SUB: did_key(holder),
                cwt.EXP: expires_ms // 1000,
                cwt.IAT: begin_ms // 1000,
                cwt.STATUS: status_list.reference(index, site.status_uri),
                SCHEMA: schema,
            }
            salts = [site.random(sd_cwt.SALT_BYTES) for _ in claims]
            credential = sd_cwt.issue(shown, claims, holder, site.key, salts)
        except ValueError as error:
            raise CredentialRefused(f"no credential can be made of that: {error}") from None
        issued.append(Issued(ident, about, schema, holder, index, now_ms, expires_ms, credential))
    return issued


async def issue(
    site: Site,
    request: Request,
    about: str,
    schema: str,
    claims: dict[int | str, object],
    days: int,
    registrar: Registrar,
) -> list[Issued]:
    """The answer to a request, kept before it is given; the same again for the same request.

    Raises CredentialRefused, DatabaseError, and what the registrar raises: the same call goes on then.
    """
    if request.issuer != did_cpc(site.did):
        raise CredentialRefused(f"this request is for {request.issuer}, and this site is {did_cpc(site.did)}")
    registry = CredentialRegistry(site.devices)
    known = registry.of_holders(request.keys)
    if known and {(each.about, each.schema) for each in known.values()} != {(about, schema)}:
        raise CredentialRefused(
            "this request was answered before, for another holder or kind; let the holder make another one"
        )
    if known and len(known) < len(request.keys):
        raise CredentialRefused("a key of this request has a credential already; let the holder ask anew")
    if not known:
        registry.forget_ended(site.now_ms())
        made = batch(site, request.keys, about, schema, claims, days, site.devices.taken())
        registry.add(made)
        known = {each.holder: each for each in made}
    # Without a name on the chain and a status list nobody could believe them.
    await register(registrar, site.document)
    if is_due(site):
        await publish(site, registrar)
    return [known[holder] for holder in request.keys]


async def revoke_credentials(
    site: Site, about: str, registrar: Registrar, begin: bytes = b""
) -> tuple[int, Published]:
    """No credential of this holder counts any more; how many that ends, and the list that says so.

    begin: only of batches whose name begins so.  Raises CredentialRefused, and what the registrar raises:
    the same call goes on then.
    """
    registry = CredentialRegistry(site.devices)
    known = registry.all()
    if not any(each.about == about and each.batch.startswith(begin) for each in known):
        names = ", ".join(sorted({each.about for each in known})) or "nobody has any"
        raise CredentialRefused(f"no such credential was issued to {about!r}; there are: {names}")
    count = registry.revoke(about, begin)
    if is_due(site):
        return count, await publish(site, registrar)
    newest = site.devices.published()
    assert newest  # noqa: S101 - a list that is not due is there
    return count, newest


# ------------------------------------------------------------------ verifier


def ask(
    site: Site, schema: str, claims: Sequence[str], issuers: Sequence[str], valid_ms: int = VALID_MS
) -> tuple[Question, bytes]:
    """A question for a holder, signed and kept; it serves once.  Raises CredentialRefused."""
    question = Question(
        did_cpc(site.did),
        site.random(NONCE_BYTES),
        site.now_ms() // 1000 * 1000,
        valid_ms,
        tuple(issuers),
        schema,
        tuple(claims),
    )
    try:
        data = credential_exchange.make_question(question, site.document, site.key)
    except ValueError as error:
        raise CredentialRefused(f"nobody would take this question: {error}") from None
    CredentialRegistry(site.devices).ask(question.nonce, question.asked_ms, data)
    return question, data


@dataclass(frozen=True, slots=True)
class Verified:
    """A presentation that holds."""

    presented: Presented
    issuer: str
    """Its DID."""
    height: int
    """The block after which the issuer's keys are so."""
    version: int
    """Of the status list it was looked up in."""
    newest_version: int
    """Of that list, on the chain now."""


async def verify(
    site: Site, presentation: bytes, names: Names, genesis: Genesis, listed: tuple[bytes, bytes] | None = None
) -> Verified:
    """What may be believed of an answer to a question of this site, which is used up by any answer to it.

    listed: a status list and the evidence that it is on the chain; None: the one of this site, or the newest
    that was seen.  Raises DecodeError, SignatureError, EvidenceError, CredentialError, whose reason says what
    does not fit, and what `names` raises.
    """
    registry = CredentialRegistry(site.devices)
    issuer, nonce = sd_cwt.read_presentation(presentation)
    question = _question(registry.asked(nonce))
    try:
        if issuer not in question.issuers:
            raise CredentialError("issuer", f"issuer {issuer[:80]!r} is none that is trusted here")
        # Before the question is used up: a node that is away must not cost the holder a credential.
        keys, height = await assertion_keys(issuer, names)
    except CredentialError:
        registry.take(nonce)
        raise
    _question(registry.take(nonce))
    presented = check(presentation, question, keys, site.now_ms())
    uri = status_list.read_reference(presented.claims[cwt.STATUS])[1]
    if not uri.startswith(f"{issuer}#"):
        # Else one issuer could publish a late version at the address of another, whose own lists, with
        # earlier versions, would be refused here from then on.
        raise CredentialError("list", f"the status list {uri[:100]!r} is none of its issuer, {issuer}")
    found = listed or _known_list(site, registry, uri)
    signer = cose.parse1(found[0], status_list.TYP, size_max=status_list.TOKEN_SIZE_MAX).kid
    if signer not in keys:
        raise CredentialError("list", f"the status list is signed by {signer.hex()}, no key of its issuer")
    seen = registry.seen(uri)
    anchored = open_anchored(*found, uri, signer, genesis, seen.version if seen else 0)
    registry.see(uri, Published(anchored.version, *found))
    newest = await names.newest(signer, stream_of(uri))
    status_list.check_status(presented.claims[cwt.STATUS], anchored.token, site.now_ms())
    return Verified(presented, issuer, height, anchored.version, newest)


def _question(asked: bytes | None) -> Question:
    """The question that was kept.  Raises CredentialError when there is none."""
    if asked is None:
        raise CredentialError("nonce", "nobody was asked with this nonce, or it was answered already")
    return credential_exchange.open_question(asked)


async def assertion_keys(issuer: str, names: Names) -> tuple[list[bytes], int]:
    """The keys with which this name may sign credentials, and the block after which that is so.

    Raises DecodeError, CredentialError, and what `names` raises.
    """
    entry, height = await names.entry(parse_did_cpc(issuer))
    if entry is None or entry.is_deactivated:
        what = "is not on the chain" if entry is None else "has ended"
        raise CredentialError("issuer", f"the issuer {issuer} {what}, proven after block {height}")
    keys = [key.public for key in entry.document.keys if key.purposes & ASSERTION]
    return keys, height


def check(presentation: bytes, question: Question, keys: Sequence[bytes], now_ms: int) -> Presented:
    """All of an answer but its status.  keys: the issuer's.  Pure.

    Raises DecodeError, SignatureError, CredentialError.
    """
    if now_ms >= question.asked_ms + question.valid_ms:
        raise CredentialError(
            "nonce", f"the question was good for {question.valid_ms // 1000} s, which are over; ask anew"
        )
    presented = sd_cwt.verify_presentation(
        presentation,
        list(keys),
        question.audience,
        question.nonce,
        now_ms,
        [SCHEMA, cwt.STATUS, *question.claims],
        question.valid_ms,
    )
    if presented.claims[SCHEMA] != question.schema:
        raise CredentialError(
            "schema", f"it is a {str(presented.claims[SCHEMA])[:64]!r}, and {question.schema!r} was asked for"
        )
    return presented


def _known_list(site: Site, registry: CredentialRegistry, uri: str) -> tuple[bytes, bytes]:
    """The newest list of that address which this site has, with its evidence.  Raises CredentialError."""
    known = site.devices.anchored_list() if uri == site.status_uri else registry.seen(uri)
    if known is None or known.evidence is None:
        raise CredentialError(
            "list", f"the status list {uri[:100]} was never seen here; get it of its issuer, or of a mirror"
        )
    return known.token, known.evidence
