"""Credentials in batches: two sites cannot link one car; each is taken once, in time, by its audience."""

import random

import pytest

from gateway.credentials import BATCH_MAX, NONCE_MS, Batch, Issuer, Verifier
from puf import cwt, sd_cwt, status_list
from puf.did_pairwise import pairwise_key
from puf.ed25519 import SigningKey
from puf.errors import CredentialError
from puf.status_list import StatusList

ISSUER = SigningKey(b"i" * 32)
NAME, URI = "did:cpc:zFleet", "did:cpc:zFleet#status"
NOW_MS = 1_725_244_237_123
ROOT = b"r" * 32
SITE, OTHER_SITE = "did:cpc:zSiteA", "did:cpc:zSiteB"
CLAIMS: dict[int | str, object] = {"contract": b"DE*ABC*123456", "plate": "B-XY 77", "plug": "CCS2"}
RUN = 5
"""Bytes in a row that two random strings share by accident in one of millions of tries."""


def batch(count: int = 4, taken: set[int] | None = None) -> Batch:
    issuer = Issuer(ISSUER, NAME, URI, random.Random(5).randbytes)
    holders = [pairwise_key(ROOT, SITE, 0, index).public for index in range(1, count + 1)]
    return issuer.batch(holders, "vehicle/1", CLAIMS, NOW_MS, 7, taken or set())


def verifier(*revoked: int, name: str = SITE, ttl_ms: int = 3_600_000, grace_ms: int = 0) -> Verifier:
    statuses = StatusList(bytes(status_list.ENTRIES // 8))
    for index in revoked:
        statuses.put(index, status_list.INVALID)
    made = Verifier(name, random.Random(6).randbytes, grace_ms)
    token = status_list.sign(statuses, URI, ISSUER, NOW_MS, ttl_ms)
    made.lists[ISSUER.public] = status_list.open_list(token, URI, ISSUER.public)
    return made


def show(made: Batch, number: int, nonce: bytes, *claims: str, to: str = SITE, now_ms: int = NOW_MS) -> bytes:
    return sd_cwt.present(
        made.credentials[number], claims, pairwise_key(ROOT, SITE, 0, number + 1), to, nonce, now_ms
    )


def runs(data: bytes) -> set[bytes]:
    """Every run of RUN bytes in it."""
    return {data[at : at + RUN] for at in range(len(data) - RUN + 1)}


def test_two_of_one_car_share_nothing_that_those_of_another_car_do_not() -> None:
    issuer = Issuer(ISSUER, NAME, URI, random.Random(9).randbytes)
    # Many: what a format has in common shows in one of them at least, what is a car's own in none.
    strangers = [SigningKey(f"another car {number}".encode().ljust(32)) for number in range(60)]
    made = batch()
    others = issuer.batch(
        [each.public for each in strangers],
        "vehicle/1",
        CLAIMS | {"plate": "M-AA 1", "contract": b"other"},
        NOW_MS,
        7,
        set(),
    )
    gate = verifier()
    shown = [show(made, number, gate.ask(NOW_MS), "plug") for number in range(4)]
    theirs: set[bytes] = set()
    for stranger, credential in zip(strangers, others.credentials, strict=True):
        theirs |= runs(sd_cwt.present(credential, ["plug"], stranger, SITE, gate.ask(NOW_MS), NOW_MS))
    for first in range(4):
        for second in range(first):
            alike = runs(shown[first]) & runs(shown[second])
            assert alike, "issuer and schema are the same at least"
            assert alike <= theirs, sorted(alike - theirs)
    parsed = [sd_cwt.open_credential(data) for data in made.credentials]
    assert len({each.holder for each in parsed}) == len(parsed)
    assert len(set(made.indices)) == len(parsed)
    assert len({each.claims[cwt.SUB] for each in parsed}) == len(parsed)
    salts = [data[2:18] for each in parsed for data, _ in each.disclosures.values()]
    assert len(set(salts)) == len(parsed) * len(CLAIMS)
    hashes = [hashed for each in parsed for hashed in each.hidden]
    assert len(set(hashes)) == len(hashes) == len(parsed) * len(CLAIMS)
    # The same credential twice would be found by the same measure.
    again = show(made, 0, gate.ask(NOW_MS), "plug")
    assert not runs(shown[0]) & runs(again) <= theirs


def test_a_car_is_known_by_what_it_shows_and_taken_once() -> None:
    made, gate = batch(), verifier()
    nonce = gate.ask(NOW_MS)
    presentation = show(made, 0, nonce, "plug")
    presented = gate.check(presentation, nonce, NOW_MS, ("plug",))
    assert presented.claims["plug"] == "CCS2"
    assert "contract" not in presented.claims
    assert b"DE*ABC" not in presentation
    with pytest.raises(CredentialError) as caught:
        gate.check(presentation, nonce, NOW_MS, ("plug",))
    assert caught.value.reason == "nonce"


def refused(
    gate: Verifier, number: int = 0, later_ms: int = 0, to: str = SITE, required: tuple[str, ...] = ()
) -> str:
    nonce = gate.ask(NOW_MS + later_ms)
    data = show(batch(), number, nonce, "plug", to=to, now_ms=NOW_MS + later_ms)
    with pytest.raises(CredentialError) as caught:
        gate.check(data, nonce, NOW_MS + later_ms, required)
    # Whatever was wrong, the nonce is used up.
    with pytest.raises(CredentialError, match="nobody was asked"):
        gate.check(data, nonce, NOW_MS + later_ms, required)
    return caught.value.reason


def test_each_reason_to_refuse_is_named() -> None:
    made = batch()
    assert refused(verifier(made.indices[0])) == "revoked"
    assert refused(verifier(name=OTHER_SITE)) == "audience"
    assert refused(verifier(), required=("plate",)) == "withheld"
    assert refused(verifier(), later_ms=3_600_000) == "stale"
    assert refused(verifier(ttl_ms=10**9), later_ms=8 * 86_400_000) == "expired"
    gate = verifier()
    gate.lists.clear()
    assert refused(gate) == "issuer"
    # The policy for a list that is too old is the verifier's, and said.
    late_ms = 3_600_001
    gate = verifier(grace_ms=60_000)
    nonce = gate.ask(NOW_MS + late_ms)
    gate.check(show(made, 0, nonce, now_ms=NOW_MS + late_ms), nonce, NOW_MS + late_ms)


def test_a_nonce_serves_for_two_minutes_and_only_so_many_are_out() -> None:
    made, gate = batch(), verifier()
    nonce = gate.ask(NOW_MS)
    with pytest.raises(CredentialError, match="nobody was asked"):
        gate.check(show(made, 0, nonce), nonce, NOW_MS + NONCE_MS)
    first = gate.ask(NOW_MS)
    for _ in range(4_096):
        gate.ask(NOW_MS)
    with pytest.raises(CredentialError, match="nobody was asked"):
        gate.check(show(made, 0, first), first, NOW_MS)


def test_a_credential_without_a_status_is_none() -> None:
    holder = pairwise_key(ROOT, SITE, 0, 1)
    data = sd_cwt.issue({1: NAME}, {}, holder.public, ISSUER, [])
    gate = verifier()
    nonce = gate.ask(NOW_MS)
    with pytest.raises(CredentialError, match="no status list"):
        gate.check(sd_cwt.present(data, (), holder, SITE, nonce, NOW_MS), nonce, NOW_MS)


def test_indices_in_use_are_left_alone_and_holders_differ() -> None:
    taken = set(range(0, status_list.ENTRIES, 2))
    assert not taken & set(batch(16, taken).indices)
    # Of 64 that are left, 40 drawn without care would meet.
    few = set(range(status_list.ENTRIES)) - set(range(0, status_list.ENTRIES, 1024))
    assert len(set(batch(40, few).indices)) == 40
    issuer = Issuer(ISSUER, NAME, URI, random.Random(5).randbytes)
    for holders in ([], [bytes(32)] * 2, [bytes(31)] * (BATCH_MAX + 1)):
        with pytest.raises(ValueError, match="a batch is for"):
            issuer.batch(holders, "x", CLAIMS, NOW_MS, 7, set())
