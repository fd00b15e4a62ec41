"""Contradicting votes as evidence: on chain once, free when true and new, and worthless otherwise."""

from typing import Any

import pytest

from chain_node import ledger
from chain_node.block import VOTE_SIZE_MAX, Phase, Vote
from chain_node.entry import Conduct, EquivocationEntry
from chain_node.equivocation import AGE_MAX, accused, check
from chain_node.errors import Refused
from chain_node.genesis import TX_SIZE_LEAST
from chain_node.mempool import Pool
from chain_node.reason import Reason
from chain_node.schedule import TakeTurns
from chain_node.transaction import SHOWN_VOTE_SIZE_MAX, Equivocation, Transaction, Transfer
from puf.ed25519 import SigningKey
from tests.chain_node.world import ALICE, BOB, PROPOSER, STRANGERS, VALIDATORS, Chain, genesis_of

LIAR = VALIDATORS[2]
ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
GENESIS = genesis_of()
TURNS = TakeTurns(GENESIS.proposers)


def vote(
    key: SigningKey = LIAR,
    block_hash: bytes = ONE,
    height: int = 1,
    round_: int = 0,
    phase: Phase = Phase.PREPARE,
    chain_id: bytes = GENESIS.chain_id,
) -> bytes:
    return Vote.sign(key, chain_id, height, round_, phase, block_hash).data


def evidence(**both: Any) -> Equivocation:
    return Equivocation(vote(block_hash=ONE, **both), vote(block_hash=TWO, **both))


def refusal(body: Equivocation, height: int = 1) -> str:
    with pytest.raises(Refused) as caught:
        check(body, GENESIS, TURNS, height)
    assert caught.value.reason == Reason.EVIDENCE_INVALID
    return str(caught.value).removeprefix("no evidence of equivocation: ")


# What is evidence


@pytest.mark.parametrize(
    ("key", "round_", "phase"),
    [
        (PROPOSER, 0, Phase.PROPOSE),
        (LIAR, 0, Phase.PREPARE),
        (LIAR, 0, Phase.COMMIT),
        (LIAR, 3, Phase.PREPARE),
        (LIAR, 3, Phase.COMMIT),
        (LIAR, 3, Phase.COORDINATE),
    ],
)
def test_two_votes_for_different_blocks_are_evidence(key: SigningKey, round_: int, phase: Phase) -> None:
    body = evidence(key=key, round_=round_, phase=phase)
    found = check(body, GENESIS, TURNS, 1)
    assert (found.voter, found.round, found.phase) == (key.public, round_, phase)
    assert accused(body) == (key.public, 1)


def test_what_proves_nothing_is_none() -> None:
    told = [
        (Equivocation(b"", vote()), "no vote: "),
        (Equivocation(vote(), vote()), "both votes are for the same block"),
        (evidence(chain_id=THREE), "a vote is of another chain"),
        (Equivocation(vote(), vote(block_hash=TWO, chain_id=THREE)), "a vote is of another chain"),
        (Equivocation(vote(), vote(VALIDATORS[1], TWO)), "not of one voter, height, round and phase"),
        (Equivocation(vote(), vote(block_hash=TWO, height=2)), "not of one voter, height, round and phase"),
        (Equivocation(vote(), vote(block_hash=TWO, round_=1)), "not of one voter, height, round and phase"),
        (
            Equivocation(vote(), vote(block_hash=TWO, phase=Phase.COMMIT)),
            "not of one voter, height, round and phase",
        ),
        (evidence(round_=2, phase=Phase.ROUND), "ROUND may be said again"),
        (evidence(key=STRANGERS[0]), f"{STRANGERS[0].public.hex()} is no validator of this chain"),
        (evidence(key=PROPOSER), f"{PROPOSER.public.hex()} is no validator of this chain"),
        (evidence(phase=Phase.PROPOSE), f"it was not the turn of {LIAR.public.hex()} to propose block 1"),
    ]
    for body, why in told:
        assert why in refusal(body)


def test_a_forged_vote_accuses_nobody() -> None:
    forged = vote(block_hash=TWO)[:-1] + bytes([vote(block_hash=TWO)[-1] ^ 1])
    for body in (Equivocation(vote(), forged), Equivocation(forged, vote())):
        assert refusal(body) == f"{LIAR.public.hex()} did not sign both votes"


def test_a_proposer_answers_for_its_own_turns_only() -> None:
    turns = TakeTurns((PROPOSER.public, ALICE.public))
    body = evidence(key=PROPOSER, phase=Phase.PROPOSE, height=3)
    assert check(body, GENESIS, turns, 4).height == 3
    with pytest.raises(Refused, match="it was not the turn"):
        check(evidence(key=PROPOSER, phase=Phase.PROPOSE, height=2), GENESIS, turns, 4)


def test_heights_that_are_too_old_or_not_there_yet_do_not_count() -> None:
    assert (
        refusal(evidence(height=8), height=7) == "the votes are of height 8; in block 7 it counts from 1 to 7"
    )
    assert check(evidence(height=7), GENESIS, TURNS, 7).height == 7
    assert check(evidence(height=5), GENESIS, TURNS, 5 + AGE_MAX).height == 5
    assert "counts from 6 to" in refusal(evidence(height=5), height=6 + AGE_MAX)


def test_the_longest_evidence_fits_on_every_chain() -> None:
    most = (1 << 53) - 1
    body = evidence(height=most, round_=most, phase=Phase.COORDINATE)
    size = len(Transaction.sign(ALICE, GENESIS.chain_id, most, body, most // 10, most).data)
    assert size <= TX_SIZE_LEAST
    assert SHOWN_VOTE_SIZE_MAX == VOTE_SIZE_MAX


# In the ledger


def show(chain: Chain, body: Equivocation, who: SigningKey = STRANGERS[0], fee_ucpc: int = 0) -> Transaction:
    return chain.sign(who, body, fee_ucpc=fee_ucpc)


def why_not(chain: Chain, transaction: Transaction) -> Reason:
    state, before = chain.state(), chain.head.state_root
    with pytest.raises(Refused) as caught:
        ledger.apply(state, transaction, chain.place())
    assert state.commit() == before
    return caught.value.reason


def test_somebody_without_money_shows_an_equivocation_and_it_stays_on_the_liars_account() -> None:
    chain = Chain()
    transaction = show(chain, evidence())
    (receipt,) = chain.extend(transaction)
    assert (receipt.reason, receipt.fee_ucpc) == (Reason.APPLIED, 0)
    state = chain.state()
    assert state.conduct(LIAR.public) == Conduct(0, 1, 1)
    assert state.equivocation(LIAR.public, 1) == EquivocationEntry(0, 1, transaction.tx_hash, 1)
    assert state.equivocation(LIAR.public, 2) is None
    sender = state.account(STRANGERS[0].public)
    assert (sender.balance_ucpc, sender.nonce, sender.quota_used) == (0, 1, 0)


def test_an_equivocation_counts_once_whoever_shows_it_and_in_which_form() -> None:
    chain = Chain()
    chain.extend(show(chain, evidence()))
    for body in (
        evidence(),
        Equivocation(vote(block_hash=TWO), vote(block_hash=ONE)),
        Equivocation(vote(block_hash=ONE), vote(block_hash=THREE)),
        evidence(phase=Phase.COMMIT),
        evidence(round_=1),
    ):
        for who, fee_ucpc in ((STRANGERS[0], 0), (BOB, 0), (ALICE, 1_000)):
            assert why_not(chain, show(chain, body, who, fee_ucpc)) == Reason.EVIDENCE_KNOWN
    chain.extend(show(chain, evidence(height=2)), show(chain, evidence(key=VALIDATORS[0]), BOB))
    assert chain.state().conduct(LIAR.public) == Conduct(0, 2, 2)
    assert chain.state().conduct(VALIDATORS[0].public) == Conduct(0, 1, 2)


def test_two_that_show_the_same_in_one_block_do_not_both_stand() -> None:
    chain = Chain()
    both = [show(chain, evidence(), who) for who in (STRANGERS[0], STRANGERS[1])]
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, chain.place(), both)
    assert execution.transactions == (both[0],)
    assert [error.reason for _, error in execution.refused] == [Reason.EVIDENCE_KNOWN]


def test_false_evidence_cannot_enter_a_block_even_for_a_fee() -> None:
    chain = Chain()
    false = evidence(key=STRANGERS[3])
    for who, fee_ucpc in ((STRANGERS[0], 0), (ALICE, 0), (ALICE, 1_000)):
        assert why_not(chain, show(chain, false, who, fee_ucpc)) == Reason.EVIDENCE_INVALID
    assert not Reason.EVIDENCE_INVALID >= 32
    assert not Reason.EVIDENCE_KNOWN >= 32


def test_evidence_with_a_fee_pays_it_and_uses_no_quota() -> None:
    chain = Chain()
    assert why_not(chain, show(chain, evidence(), ALICE, 999)) == Reason.FEE_TOO_LOW
    assert why_not(chain, show(chain, evidence(), STRANGERS[0], 1_000)) == Reason.FEE_NOT_COVERED
    chain.extend(show(chain, evidence(), ALICE, 1_000))
    assert chain.balance(PROPOSER) == 1_000
    chain.extend(show(chain, evidence(height=2), ALICE))
    account = chain.state().account(ALICE.public)
    assert (account.nonce, account.quota_used) == (2, 0)


def test_conduct_keeps_what_a_proposer_did_in_both_ways() -> None:
    chain = Chain()
    chain.impeach()
    chain.extend(show(chain, evidence(key=PROPOSER, phase=Phase.PROPOSE)))
    assert chain.state().conduct(PROPOSER.public) == Conduct(1, 1, 2)


# In the pool


def offer(pool: Pool, chain: Chain, transaction: Transaction) -> Reason:
    try:
        pool.add(transaction, chain.state(), chain.place())
    except Refused as error:
        return error.reason
    return Reason.APPLIED


def test_the_pool_takes_each_equivocation_once_and_only_what_can_enter_the_next_block() -> None:
    chain, pool = Chain(), Pool()
    ahead = chain.sign(STRANGERS[1], evidence(), nonce=1, fee_ucpc=0)
    assert offer(pool, chain, ahead) == Reason.NONCE_AHEAD
    assert offer(pool, chain, show(chain, evidence(key=STRANGERS[3]))) == Reason.EVIDENCE_INVALID
    first = show(chain, evidence())
    assert offer(pool, chain, first) == Reason.APPLIED
    assert offer(pool, chain, first) == Reason.APPLIED, "the same again is no error"
    for copy in STRANGERS[1:]:
        assert offer(pool, chain, show(chain, evidence(round_=1), copy)) == Reason.EVIDENCE_KNOWN
    assert offer(pool, chain, show(chain, evidence(key=VALIDATORS[0]), BOB)) == Reason.APPLIED
    assert len(pool) == 2


def test_evidence_that_another_has_shown_in_a_block_leaves_the_pool() -> None:
    chain, pool = Chain(), Pool()
    waiting = show(chain, evidence())
    offer(pool, chain, waiting)
    included = show(chain, evidence(round_=1), BOB)
    chain.extend(included)
    state = chain.state()
    pool.settle([included], lambda public: state.account(public).nonce, chain.head.height)
    assert len(pool) == 0
    refused = pool.refusal(waiting.tx_hash)
    assert refused is not None
    assert refused.reason == Reason.EVIDENCE_KNOWN
    assert offer(pool, chain, show(chain, evidence(height=2))) == Reason.APPLIED


def test_evidence_that_is_in_a_block_or_given_up_makes_room_for_the_next() -> None:
    chain, pool = Chain(), Pool()
    transaction = show(chain, evidence())
    offer(pool, chain, transaction)
    pool.give_up([(transaction, Refused(Reason.EVIDENCE_INVALID, "too old"))])
    assert offer(pool, chain, show(chain, evidence(), BOB)) == Reason.APPLIED
    assert len(pool) == 1


def test_evidence_leaves_the_quota_of_its_sender_alone() -> None:
    chain, pool = Chain(), Pool()
    offer(pool, chain, show(chain, evidence(), ALICE))
    for nonce in (1, 2, 3):
        free = chain.sign(ALICE, Transfer(BOB.public, 1), nonce=nonce, fee_ucpc=0)
        assert offer(pool, chain, free) == Reason.APPLIED
    last = chain.sign(ALICE, Transfer(BOB.public, 1), nonce=4, fee_ucpc=0)
    assert offer(pool, chain, last) == Reason.QUOTA_USED_UP


def test_evidence_is_taken_from_who_has_used_up_its_quota() -> None:
    chain, pool = Chain(), Pool()
    chain.extend(*(chain.sign(ALICE, Transfer(BOB.public, 1), nonce=n, fee_ucpc=0) for n in range(3)))
    free = chain.sign(ALICE, Transfer(BOB.public, 1), fee_ucpc=0)
    assert offer(pool, chain, free) == Reason.QUOTA_USED_UP
    transaction = show(chain, evidence(height=2), ALICE)
    assert offer(pool, chain, transaction) == Reason.APPLIED
    chain.extend(transaction)
