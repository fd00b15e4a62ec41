"""Credentials in batches, on a chain in memory: each reason to refuse one, and what a crash leaves behind."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain_node.wire import Anchor, DidDeactivate, DidRegister
from gateway import credentials
from gateway.credential_exchange import Request, make_request, open_question, open_request
from gateway.credential_registry import KEPT_MS, QUESTIONS_MAX, CredentialRegistry
from gateway.credentials import DAY_MS, CredentialRefused, Verified, check
from gateway.database import open_database
from gateway.devices import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, Devices
from gateway.enrolment import TTL_MS, Site, gateway_document
from gateway.errors import AnchorError, EvidenceError
from gateway.status_anchor import anchor_of
from gateway.status_keeper import list_state
from puf import cwt, sd_cwt, status_list
from puf.did import did_cpc
from puf.did_pairwise import pairwise_key
from puf.ed25519 import SigningKey
from puf.errors import CredentialError, DecodeError, SignatureError
from tests.gateway.anchored import chain_with
from tests.gateway.enrolling import KEY, NOW_MS, LedgerRegistrar, open_devices, site_of

ROOT = b"r" * 32
CLAIMS: dict[int | str, object] = {"contract": b"DE*ABC*123456", "plate": "B-XY 77", "plug": "CCS2"}


class Clock:
    """Of a site."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(tmp_path: Path, clock: Clock) -> Iterator[Site]:
    with open_devices(tmp_path) as made:
        yield replace(site_of(made), now_ms=clock)


@pytest.fixture
def registrar() -> LedgerRegistrar:
    return LedgerRegistrar()


def keys_for(count: int, site: str = "any") -> list[SigningKey]:
    return [pairwise_key(ROOT, site, 0, index) for index in range(1, count + 1)]


def request_for(site: Site, count: int = 3, first: int = 0) -> Request:
    keys = keys_for(count + first)[first:]
    return open_request(make_request(did_cpc(site.did), keys))


def issued(
    site: Site, registrar: LedgerRegistrar, count: int = 3, first: int = 0, days: int = 7
) -> list[bytes]:
    made = asyncio.run(
        credentials.issue(site, request_for(site, count, first), "car7", "vehicle/1", CLAIMS, days, registrar)
    )
    return [each.credential for each in made]


def ask(site: Site, *claims: str, schema: str = "vehicle/1", issuers: tuple[str, ...] = ()) -> Any:
    return credentials.ask(site, schema, claims, issuers or (did_cpc(site.did),))[0]


def present(credential: bytes, question: Any, *claims: str, number: int = 0, now_ms: int = NOW_MS) -> bytes:
    key = keys_for(number + 1)[number]
    return sd_cwt.present(credential, claims, key, question.audience, question.nonce, now_ms)


def verify(site: Site, data: bytes, registrar: LedgerRegistrar, **other: Any) -> Verified:
    return asyncio.run(credentials.verify(site, data, registrar, registrar.chain.genesis, **other))


def refused(site: Site, data: bytes, registrar: LedgerRegistrar, **other: Any) -> str:
    with pytest.raises(CredentialError) as caught:
        verify(site, data, registrar, **other)
    # Whatever was wrong, the question is used up.
    with pytest.raises(CredentialError, match="nobody was asked"):
        verify(site, data, registrar, **other)
    return caught.value.reason


def test_a_car_is_known_by_what_it_shows_and_taken_once(site: Site, registrar: LedgerRegistrar) -> None:
    first, *_ = issued(site, registrar)
    assert [type(body) for body in registrar.bodies] == [DidRegister, Anchor]
    question = ask(site, "plug")
    data = present(first, question, "plug")
    found = verify(site, data, registrar)
    assert found.presented.claims["plug"] == "CCS2"
    assert "contract" not in found.presented.claims
    assert (found.issuer, found.version, found.newest_version) == (did_cpc(site.did), 1, 1)
    with pytest.raises(CredentialError) as caught:
        verify(site, data, registrar)
    assert caught.value.reason == "nonce"


def test_printing_what_was_issued_shows_no_claim(site: Site, registrar: LedgerRegistrar) -> None:
    issued(site, registrar)
    (kept, *_) = CredentialRegistry(site.devices).all()
    assert b"B-XY 77" in kept.credential
    assert "B-XY 77" not in repr(kept)


def test_each_credential_has_a_key_salts_and_a_place_of_its_own(
    site: Site, registrar: LedgerRegistrar
) -> None:
    made = [sd_cwt.open_credential(data) for data in issued(site, registrar, 5)]
    places = {status_list.read_reference(each.claims[cwt.STATUS]) for each in made}
    assert (
        len(places)
        == len({each.holder for each in made})
        == len({each.claims[cwt.SUB] for each in made})
        == 5
    )
    salts = {data[2:18] for each in made for data, _ in each.disclosures.values()}
    assert len(salts) == 5 * len(CLAIMS)
    # What all of a day have alike tells no two of them apart: the times are those of midnight.
    assert {each.claims[cwt.IAT] for each in made} == {NOW_MS // DAY_MS * DAY_MS // 1000}
    assert {each.claims[cwt.EXP] for each in made} == {(NOW_MS // DAY_MS + 7) * DAY_MS // 1000}


def test_each_reason_to_refuse_is_named(site: Site, registrar: LedgerRegistrar, clock: Clock) -> None:
    made = issued(site, registrar, 4)
    assert refused(site, present(made[0], ask(site, "plate"), "plug"), registrar) == "withheld"
    other = ask(site, schema="driver/1")
    assert refused(site, present(made[0], other), registrar) == "schema"
    stranger = did_cpc(b"x" * 32)
    assert refused(site, present(made[0], ask(site, issuers=(stranger,))), registrar) == "issuer"
    question = ask(site)
    elsewhere = replace(question, audience=stranger)
    assert refused(site, present(made[0], elsewhere), registrar) == "audience"
    # Another key than the one it is bound to; and another signature than the issuer's.
    with pytest.raises(CredentialError, match="another key"):
        present(made[0], ask(site), number=1)
    with pytest.raises(SignatureError):
        verify(site, present(made[0], ask(site))[:-1] + b"\0", registrar)
    # Too late: the question, the list, the credential.
    question = ask(site)
    clock.now_ms += question.valid_ms
    assert refused(site, present(made[0], question, now_ms=clock.now_ms), registrar) == "nonce"
    clock.now_ms = NOW_MS + TTL_MS
    assert refused(site, present(made[0], ask(site), now_ms=clock.now_ms), registrar) == "stale"
    clock.now_ms = NOW_MS + 8 * DAY_MS
    assert refused(site, present(made[0], ask(site), now_ms=clock.now_ms), registrar) == "expired"
    clock.now_ms = NOW_MS
    count, listed = asyncio.run(credentials.revoke_credentials(site, "car7", registrar))
    assert (count, listed.version) == (4, 2)
    assert refused(site, present(made[0], ask(site)), registrar) == "revoked"


def test_an_issuer_is_believed_only_as_the_chain_has_it_now(site: Site, registrar: LedgerRegistrar) -> None:
    first, *_ = issued(site, registrar)
    # Signed by somebody else in the issuer's name.
    thief, holder = SigningKey(b"t" * 32), keys_for(1)[0]
    opened = sd_cwt.open_credential(first)
    shown = {key: value for key, value in opened.claims.items() if key != cwt.CNF}
    forged = sd_cwt.issue(shown, {}, holder.public, thief, [])
    assert refused(site, present(forged, ask(site)), registrar) == "issuer"
    # Its name has ended.
    asyncio.run(registrar.apply(DidDeactivate(site.did)))
    assert refused(site, present(first, ask(site)), registrar) == "issuer"
    # It never was there.
    nobody = LedgerRegistrar()
    assert refused(site, present(first, ask(site)), nobody) == "issuer"


def test_a_status_list_counts_only_when_it_is_the_issuers_on_the_chain_and_none_older_than_seen(
    site: Site, registrar: LedgerRegistrar, tmp_path: Path, clock: Clock
) -> None:
    first, *_ = issued(site, registrar)
    old = site.devices.published()
    assert old
    assert old.evidence
    asyncio.run(credentials.revoke_credentials(site, "car7", registrar))
    new = site.devices.published()
    assert new
    assert new.evidence
    (tmp_path / "gate").mkdir()
    with Devices(tmp_path / "gate" / "devices.sqlite", type(KEY)(b"v" * 32)) as devices:
        gate = Site(SigningKey(b"v" * 32), devices, random.Random(7).randbytes, clock)

        def shown() -> bytes:
            return present(first, ask(gate, issuers=(did_cpc(site.did),)))

        # Never seen; then the old one, as a mirror may hand it on; the chain has it, and a newer one.
        assert refused(gate, shown(), registrar) == "list"
        found = verify(gate, shown(), registrar, listed=(old.token, old.evidence))
        assert (found.version, found.newest_version) == (1, 2)
        # A list that is not on the chain, or whose evidence is another's.
        with pytest.raises(EvidenceError):
            verify(gate, shown(), registrar, listed=(new.token, old.evidence))
        unsigned = status_list.sign(
            status_list.StatusList(bytes(8192)), site.status_uri, gate.key, NOW_MS, TTL_MS
        )
        assert refused(gate, shown(), registrar, listed=(unsigned, old.evidence)) == "list"
        assert refused(gate, shown(), registrar, listed=(new.token, new.evidence)) == "revoked"
        # Who has seen the new one is not shown the old one again; and the new one needs no file any more.
        with pytest.raises(EvidenceError, match="newest version"):
            verify(gate, shown(), registrar, listed=(old.token, old.evidence))
        assert refused(gate, shown(), registrar) == "revoked"


def test_an_issuer_cannot_spoil_the_status_list_of_another(site: Site, tmp_path: Path, clock: Clock) -> None:
    """Both are trusted; one signs and anchors a late version at the address of the other's list."""
    rival = SigningKey(b"v" * 32)
    chain = chain_with(KEY.identity, rival)
    chain.extend()
    registrar = LedgerRegistrar(chain)
    own, *_ = issued(site, registrar)
    listed = site.devices.published()
    assert listed
    assert listed.evidence
    name = gateway_document(rival.public)
    assert chain.tell(rival, DidRegister(name)) == "applied"
    uri = site.status_uri
    array = status_list.StatusList(bytes(status_list.ENTRIES // 8))
    late = status_list.sign(array, uri, rival, NOW_MS, TTL_MS)
    assert chain.tell(rival, anchor_of(late, uri, 1 << 40)) == "applied"
    evidence = chain.transaction_evidence(chain.head.height, 0).encode()
    shown = sd_cwt.open_credential(own).claims | {cwt.ISS: did_cpc(name.name())}
    del shown[cwt.CNF]
    lured = sd_cwt.issue(shown, {}, keys_for(1)[0].public, rival, [])
    (tmp_path / "gate").mkdir()
    with Devices(tmp_path / "gate" / "devices.sqlite", type(KEY)(b"u" * 32)) as devices:
        gate = Site(SigningKey(b"u" * 32), devices, random.Random(7).randbytes, clock)
        both = (did_cpc(site.did), did_cpc(name.name()))
        question = ask(gate, issuers=both)
        assert refused(gate, present(lured, question), registrar, listed=(late, evidence)) == "list"
        answer = present(own, ask(gate, issuers=both))
        assert verify(gate, answer, registrar, listed=(listed.token, listed.evidence)).version == 1


def test_a_question_can_be_asked_also_when_the_clock_was_set_back(site: Site, clock: Clock) -> None:
    registry = CredentialRegistry(site.devices)
    site.devices.connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO question SELECT randomblob(16), ?, x'00' FROM n",
        (QUESTIONS_MAX, NOW_MS),
    )
    clock.now_ms = NOW_MS - DAY_MS
    assert registry.asked(ask(site).nonce)


def test_only_so_many_questions_are_open(site: Site, registrar: LedgerRegistrar) -> None:
    issued(site, registrar)
    oldest = ask(site)
    registry = CredentialRegistry(site.devices)
    question, data = credentials.ask(site, "vehicle/1", (), (did_cpc(site.did),))
    assert open_question(data) == question
    for number in range(3):
        registry.ask(number.to_bytes(16, "big"), NOW_MS + 1, data)
    assert registry.take(oldest.nonce)
    oldest = ask(site)
    site.devices.connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO question SELECT randomblob(16), ?, x'00' FROM n",
        (QUESTIONS_MAX, NOW_MS + 2),
    )
    ask(site)
    assert registry.take(oldest.nonce) is None
    count = site.devices.connection.execute("SELECT count(*) FROM question").get
    assert count == QUESTIONS_MAX


def test_what_was_cut_off_goes_on_with_the_same_credentials(site: Site, registrar: LedgerRegistrar) -> None:
    class Cut(Exception):
        pass

    def cut(what: str) -> None:
        raise Cut

    for when in ("DidRegister", "Anchor"):
        registrar.before = lambda what, when=when: cut(what) if what == when else None  # type: ignore[misc]
        with pytest.raises(Cut):
            issued(site, registrar)
    registrar.before = lambda what: None
    made = issued(site, registrar)
    assert len(CredentialRegistry(site.devices).all()) == 3
    assert issued(site, registrar) == made
    assert verify(site, present(made[0], ask(site)), registrar).version == 1
    # A revocation that is cut off counts here at once, and is published by the same command.
    registrar.before = cut
    with pytest.raises(Cut):
        asyncio.run(credentials.revoke_credentials(site, "car7", registrar))
    assert all(each.is_revoked for each in CredentialRegistry(site.devices).all("car7"))
    registrar.before = lambda what: None
    count, listed = asyncio.run(credentials.revoke_credentials(site, "car7", registrar))
    assert (count, listed.version) == (0, 2)
    assert refused(site, present(made[0], ask(site)), registrar) == "revoked"


def test_one_batch_is_revoked_and_another_is_not(site: Site, registrar: LedgerRegistrar) -> None:
    one, two = issued(site, registrar, 2), issued(site, registrar, 2, first=2)
    batches = {each.batch for each in CredentialRegistry(site.devices).all()}
    ident = CredentialRegistry(site.devices).of_holders([keys_for(1)[0].public])[keys_for(1)[0].public].batch
    assert len(batches) == 2
    count, _ = asyncio.run(credentials.revoke_credentials(site, "car7", registrar, ident[:4]))
    assert count == 2
    assert refused(site, present(one[0], ask(site)), registrar) == "revoked"
    assert verify(site, present(two[0], ask(site), number=2), registrar).presented.holder
    for about, begin in (("car8", b""), ("car7", b"no such batch")):
        with pytest.raises(CredentialRefused, match="there are: car7"):
            asyncio.run(credentials.revoke_credentials(site, about, registrar, begin))


def test_entries_are_taken_once_and_free_again_a_day_after_the_end(
    site: Site, registrar: LedgerRegistrar, clock: Clock
) -> None:
    issued(site, registrar, 4, days=1)
    asyncio.run(credentials.revoke_credentials(site, "car7", registrar))
    ends_ms = (NOW_MS // DAY_MS + 1) * DAY_MS
    clock.now_ms = ends_ms + KEPT_MS
    issued(site, registrar, 1, first=10)
    assert len(site.devices.taken()) == 5
    clock.now_ms += 1
    issued(site, registrar, 1, first=11)
    assert len(site.devices.taken()) == 2
    # What was revoked in them is gone with them: whoever has the entry next is not revoked.
    assert not any(site.devices.revoked_array())
    taken = set(range(status_list.ENTRIES))
    with pytest.raises(CredentialRefused, match="of the 65536 entries"):
        credentials.batch(site, [keys_for(1)[0].public], "x", "s", {}, 1, taken)
    with pytest.raises(CredentialRefused, match="no credential can be made"):
        credentials.batch(site, [keys_for(1)[0].public], "x", "s", {cwt.EXP: 1}, 1, set())
    few = set(range(status_list.ENTRIES)) - set(range(0, status_list.ENTRIES, 1024))
    holders = [key.public for key in keys_for(40)]
    assert len({each.status_index for each in credentials.batch(site, holders, "x", "s", {}, 1, few)}) == 40


def test_a_request_is_answered_for_its_issuer_and_never_in_part(
    site: Site, registrar: LedgerRegistrar
) -> None:
    issued(site, registrar, 2)
    with pytest.raises(CredentialRefused, match="has a credential already"):
        issued(site, registrar, 3)
    for about, schema in (("car8", "vehicle/1"), ("car7", "driver/1")):
        with pytest.raises(CredentialRefused, match="was answered before, for another holder or kind"):
            asyncio.run(credentials.issue(site, request_for(site, 2), about, schema, CLAIMS, 7, registrar))
    request = replace(request_for(site), issuer=did_cpc(b"x" * 32))
    with pytest.raises(CredentialRefused, match="this request is for"):
        asyncio.run(credentials.issue(site, request, "car7", "vehicle/1", CLAIMS, 7, registrar))


def test_a_node_that_is_away_costs_no_credential_and_two_answers_at_once_are_one(
    site: Site, registrar: LedgerRegistrar
) -> None:
    first, *_ = issued(site, registrar)
    data = present(first, ask(site))

    def away(what: str) -> None:
        raise AnchorError("the node is away")

    registrar.before = away
    with pytest.raises(AnchorError):
        verify(site, data, registrar)
    registrar.before = lambda what: None
    assert verify(site, data, registrar).version == 1

    # While one looks the issuer up, the same answer has come a second time, and was taken.
    again = present(first, ask(site))

    def taken(what: str) -> None:
        CredentialRegistry(site.devices).take(sd_cwt.read_presentation(again)[1])

    registrar.before = taken
    with pytest.raises(CredentialError, match="nobody was asked"):
        verify(site, again, registrar)


def test_a_registry_of_before_is_read_as_it_is_and_gains_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    open_database(path, schema=SCHEMA, schema_version=SCHEMA_VERSION, application_id=APPLICATION_ID).close()
    with Devices(path, KEY, is_read_only=True) as old:
        assert CredentialRegistry(old).all() == []
        assert list_state(old.connection).failures == 0
        assert not old.has_credentials
    with Devices(path, KEY) as made:
        assert made.has_credentials
        assert CredentialRegistry(made).all() == []
        assert CredentialRegistry(made).take(b"n") is None


def test_every_bit_of_a_presentation_counts(site: Site, registrar: LedgerRegistrar) -> None:
    first, *_ = issued(site, registrar)
    question = ask(site, "plug")
    data = present(first, question, "plug")
    keys = [site.key.public]
    assert check(data, question, keys, NOW_MS).claims["plug"] == "CCS2"
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        with pytest.raises((DecodeError, SignatureError, CredentialError)):
            check(bytes(flipped), question, keys, NOW_MS)
