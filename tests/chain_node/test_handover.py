"""Who trusts the genesis follows validators who change, by headers or in leaps, and believes no others."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.block import certify
from chain_node.errors import CertificateError, EvidenceError, ForkFound, HeaderError, TrustError, WireError
from chain_node.evidence import Link, StateEvidence, TransactionEvidence
from chain_node.handover import Handovers, verify_certificate
from chain_node.light_client import LightClient
from chain_node.transaction import Transfer
from chain_node.validator_set import ENTRY_KEY, NOTICE_BLOCKS
from puf import cbor
from puf.ed25519 import SigningKey
from tests.chain_node.world import (
    ALICE,
    BOB,
    NEWCOMERS,
    VALIDATORS,
    Chain,
    sign_commits,
)

FIVE = (*VALIDATORS, NEWCOMERS[0])


def grown(*sets: tuple[SigningKey, ...], after: int = 3) -> tuple[Chain, list[StateEvidence]]:
    """A chain through these sets, and what every block's state says of validators."""
    chain, shown = Chain(), []

    def extend() -> None:
        chain.extend()
        shown.append(chain.state_evidence(ENTRY_KEY))

    extend()
    for keys in sets:
        assert chain.tell(ALICE, chain.change(*keys)) == "applied"
        shown.append(chain.state_evidence(ENTRY_KEY))
        while chain.standing.pending(chain.head.height):
            extend()
        for _ in range(after):
            extend()
    return chain, shown


@cache
def world() -> tuple[Chain, list[StateEvidence]]:
    """4 -> 5 -> 4 others -> 4: block 2 decides that set 1 certifies from block 18 on, and so forth."""
    return grown(FIVE, NEWCOMERS, VALIDATORS)


def handovers() -> list[StateEvidence]:
    """The evidence after each block that took a change in."""
    chain, shown = world()
    found = []
    known = Handovers(chain.genesis)
    for evidence in shown:
        known_count = known.sets.newest.number
        if known.learn(evidence).number > known_count:
            found.append(evidence)
    return found


def test_headers_are_followed_across_every_change() -> None:
    chain, _ = world()
    client, leaping = LightClient(chain.genesis), LightClient(chain.genesis)
    proofs = {evidence.link.header.height: evidence for evidence in handovers()}
    for link in chain.links:
        client.follow([link])
        if evidence := proofs.get(link.header.height):
            assert client.learn(evidence).number == len(client.validators.proofs())
    for evidence in proofs.values():
        leaping.learn(evidence)
    leaping.leap(world()[1][-1])
    assert client.head == leaping.head
    assert client.export() == leaping.export()
    assert [each.from_height for each in client.validators.sets] == [0, 18, 38, 58]
    assert [len(each.keys) for each in client.validators.sets] == [4, 5, 4, 4]


def test_what_is_kept_goes_on_after_a_restart() -> None:
    chain, shown = world()
    client = LightClient(chain.genesis)
    for evidence in handovers():
        client.learn(evidence)
    client.leap(shown[39])
    again = LightClient.restore(chain.genesis, client.export())
    again.follow(chain.links[39:])
    assert again.head.height == chain.head.height
    assert again.export().startswith(b"\xa5")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 59), unique=True, max_size=12), st.data())
def test_any_mixture_of_steps_and_leaps_ends_in_the_same_trust(stops: list[int], data: st.DataObject) -> None:
    chain, shown = world()
    client = LightClient(chain.genesis)
    for stop in [*sorted(stops), len(shown) - 1]:
        for evidence in handovers()[client.validators.sets.newest.number :]:
            if evidence.link.header.height <= stop + 1:
                client.learn(evidence)
        if shown[stop].link.header.height <= client.head.height:
            continue
        if data.draw(st.booleans()):
            client.leap(shown[stop])
        else:
            client.follow(chain.links[client.head.height : stop + 1])
        assert client.head.height == stop + 1
    assert client.head.block_hash == chain.head.block_hash
    assert [each.from_height for each in client.validators.sets] == [0, 18, 38, 58]
    for link in chain.links:
        client.validators.verify(link)


# Lies


def certified(header: Any, signers: Any, validators: Any) -> Link:
    votes = sign_commits(world()[0].genesis, header, signers)
    return Link(header, certify(votes, [each.public for each in validators]))


def test_a_change_that_is_withheld_is_missed_at_once() -> None:
    chain, shown = world()
    client = LightClient(chain.genesis)
    with pytest.raises(
        HeaderError, match=r"header of block 18: .* another set, if there is one, was not shown"
    ):
        client.follow(chain.links)
    assert client.head.height == 17
    client.learn(handovers()[0])
    client.follow(chain.links[17:37])
    with pytest.raises(
        HeaderError, match=r"set 1 from block 18 on; another set, if there is one, was not shown"
    ):
        client.follow(chain.links[37:])
    with pytest.raises(HeaderError, match="header of block 50: it names validators"):
        client.leap(shown[49])


def test_a_leap_back_to_the_same_keys_does_not_hide_what_was_between() -> None:
    chain, shown = world()
    assert chain.links[-1].header.validators_hash == chain.genesis.validators_hash
    with pytest.raises(EvidenceError, match="of validators number 3; the change to number 1 was not shown"):
        LightClient(chain.genesis).leap(shown[-1])


def test_whoever_has_seen_the_end_of_a_set_believes_it_no_more() -> None:
    chain, _ = world()
    client = LightClient(chain.genesis)
    client.learn(handovers()[0])
    client.follow(chain.links[:17])
    eighteen = replace(chain.links[17].header, validators_hash=chain.genesis.validators_hash)
    by_old = certified(eighteen, VALIDATORS[:3], VALIDATORS)
    verify_certificate(chain.genesis, by_old)
    with pytest.raises(HeaderError, match="it is by set 0, whose time ended before this block"):
        client.follow([by_old])
    early = replace(chain.links[16].header, validators_hash=chain.links[17].header.validators_hash)
    with pytest.raises(HeaderError, match="it is by set 1, whose time begins only later"):
        client.check(certified(early, FIVE[:4], FIVE))


def test_an_old_quorum_cannot_rewrite_what_was_followed() -> None:
    chain, _ = world()
    client = LightClient(chain.genesis)
    client.learn(handovers()[0])
    client.follow(chain.links[:20])
    other = certified(replace(chain.links[4].header, state_root=bytes(32)), VALIDATORS[1:], VALIDATORS)
    with pytest.raises(ForkFound):
        client.check(other)


def test_a_state_that_contradicts_what_was_shown_is_named() -> None:
    chain, _ = world()
    other = Chain(chain.genesis)
    other.extend()
    other.extend(other.sign(ALICE, other.change(*FIVE[1:])))
    known = Handovers(chain.genesis, handovers())
    with pytest.raises(EvidenceError, match="has another set 1 than was shown before"):
        known.learn(other.state_evidence(ENTRY_KEY))
    later = Chain(chain.genesis)
    later.extend()
    later.extend(later.sign(ALICE, later.change(*FIVE, lead=NOTICE_BLOCKS + 2)))
    while later.head.height < 21:
        later.extend()
    with pytest.raises(
        EvidenceError, match="set 1 in force from block 20 on, known is set 1 from block 18 on"
    ):
        Handovers(chain.genesis, handovers()[:1]).learn(later.state_evidence(ENTRY_KEY))


def test_a_handover_needs_its_certificate_and_its_proof() -> None:
    chain, shown = world()
    good = handovers()[0]
    signatures = good.link.certificate.signatures
    short = replace(good.link.certificate, signatures=signatures[:2])
    with pytest.raises(CertificateError, match="2 of 4 validators signed"):
        Handovers(chain.genesis).learn(StateEvidence(Link(good.link.header, short), good.proof))
    with pytest.raises(EvidenceError, match="state proof against block 2"):
        Handovers(chain.genesis).learn(replace(good, proof=shown[0].proof))
    forged = certified(replace(good.link.header, state_root=bytes(32)), NEWCOMERS[:3], NEWCOMERS)
    with pytest.raises(CertificateError):
        Handovers(chain.genesis).learn(StateEvidence(forged, good.proof))


def test_a_leap_goes_forward() -> None:
    chain, shown = world()
    client = LightClient(chain.genesis)
    client.leap(shown[9])
    with pytest.raises(HeaderError, match="it is not beyond the trusted block 10"):
        client.leap(shown[9])
    assert client.validators.shown_height == 10


def test_evidence_carries_the_changes_before_it() -> None:
    chain, _ = grown(FIVE, NEWCOMERS)
    chain.extend(chain.sign(BOB, Transfer(ALICE.public, 5)))
    client = LightClient(chain.genesis)
    evidence = chain.transaction_evidence(chain.head.height, 0)
    for handover in handovers()[:2]:
        client.learn(handover)
    client.leap(chain.state_evidence(ENTRY_KEY))
    client.confirm_transaction(evidence)
    whole = TransactionEvidence.decode(client.completed(evidence).encode())
    assert len(whole.handovers) == 2
    stranger = Handovers(chain.genesis, whole.handovers)
    stranger.verify(whole.link)
    with pytest.raises(HeaderError):
        Handovers(chain.genesis, whole.handovers[:1]).verify(whole.link)
    early = chain.transaction_evidence(2, 0)
    assert client.completed(early).handovers == ()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_garbage_is_refused_with_declared_errors(data: st.DataObject) -> None:
    good = handovers()[data.draw(st.integers(0, 2))].encode()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    try:
        evidence = StateEvidence.decode(bad)
        newest = Handovers(world()[0].genesis).learn(evidence)
    except (WireError, TrustError):
        return
    assert bad == good or newest.number == 0


def test_kept_handovers_that_do_not_hold_are_refused() -> None:
    chain, _ = world()
    client = LightClient(chain.genesis)
    for handover in handovers():
        client.learn(handover)
    fields: Any = cbor.decode(client.export(), 1 << 20)
    for bad in (fields[5][1:], [*fields[5][:1], fields[5][2]], [], [0]):
        with pytest.raises(WireError):
            LightClient.restore(chain.genesis, cbor.encode(fields | {5: bad}))


def test_the_notice_is_long_enough_for_who_asks_now_and_then() -> None:
    chain, shown = world()
    known = Handovers(chain.genesis)
    for at in range(0, len(shown), NOTICE_BLOCKS):
        known.learn(shown[at])
    assert known.sets.newest.number == 3
