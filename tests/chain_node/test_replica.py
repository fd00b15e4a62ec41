"""Replicas of a committee on real files: what is final, what is kept before it is said, what comes back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from chain_node import lbft, ledger
from chain_node.block import Block, Phase, certify
from chain_node.errors import IllicitBlock, Refused, StorageFull
from chain_node.kept import Kept
from chain_node.ledger import Head, Place
from chain_node.messages import Ballot, Message, Proposal, Relay, Validate
from chain_node.reason import Reason
from chain_node.replica import CLOCK_DRIFT_MS, FULL_RETRY_MS
from chain_node.schedule import TakeTurns
from chain_node.state import State
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.replica_mesh import Mesh
from tests.chain_node.world import ALICE, BOB, FEE_UCPC, PROPOSER, VALIDATORS


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """Four validators and a proposer that is none, blocks every second."""
    mesh = Mesh(tmp_path)
    yield mesh
    mesh.close()


def pay(mesh: Mesh, nonce: int = 0, amount_ucpc: int = 7) -> Transaction:
    body = Transfer(BOB.public, amount_ucpc)
    return Transaction.sign(ALICE, mesh.genesis.chain_id, nonce, body, FEE_UCPC)


def impeached_count(mesh: Mesh, name: str = "v0") -> int:
    replica = mesh[name]
    state = State(replica.store.entries(replica.head.state_root))
    return state.conduct(PROPOSER.public).impeached_count


def illicit(mesh: Mesh) -> Block:
    """A block of the proposer's whose state is not what its transactions make."""
    head: Head = mesh["p"].head
    place = Place(
        mesh.genesis, head.height + 1, head.time_ms + 1, PROPOSER.public, TakeTurns([PROPOSER.public])
    )
    execution = ledger.execute(mesh["p"].store.read_node, head, place, [pay(mesh)])
    block = ledger.block_of(head, place, 0, execution)
    return Block(replace(block.header, state_root=bytes(32)), block.transactions)


def test_what_any_node_is_given_is_final_on_all(mesh: Mesh) -> None:
    tx_hash = mesh.submit("v2", pay(mesh))
    mesh.wait(1_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 1)
    assert len(mesh.hashes(1)) == 1
    for name in mesh.keys:
        assert mesh.storage(name).find_transaction(tx_hash) == (1, 0)
        assert len(mesh[name].pool) == 0
        stored = mesh.storage(name).block(1)
        assert stored
        stored.certificate.verify(mesh.genesis.chain_id, mesh.genesis.validators)


def test_blocks_come_every_period_by_the_chains_own_clock(mesh: Mesh) -> None:
    mesh.wait(10_000)
    times = []
    for height in range(1, 11):
        stored = mesh.storage("v0").block(height)
        assert stored
        times.append(stored.header.time_ms - mesh.genesis.time_ms)
    assert times == [1_000 * height for height in range(1, 11)]


def test_every_vote_is_on_the_disk_before_anybody_hears_it(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, set[bytes]] = {name: set() for name in mesh.keys}
    put_votes = Storage.put_votes

    def put(storage: Storage, items: Sequence[Kept]) -> None:
        put_votes(storage, items)
        name = next(name for name in mesh.replicas if mesh.storage(name) is storage)
        kept[name] |= {item.vote.data for item in items}

    monkeypatch.setattr(Storage, "put_votes", put)
    post = mesh.post

    def check(sender: str, sends: list[tuple[bytes | None, Message]]) -> None:
        for _, message in sends:
            if isinstance(message, Proposal) and message.seal and sender == "p":
                assert message.seal.data in kept[sender]
            if isinstance(message, Ballot) and message.vote.phase != Phase.ROUND:
                assert message.vote.data in kept[sender]
        post(sender, sends)

    monkeypatch.setattr(mesh, "post", check)
    mesh.wait(3_000)
    assert mesh.heights()["v0"] == 3
    # Of each block: PREPARE and COMMIT of each validator, and the proposer's seal.
    assert {name: len(votes) for name, votes in kept.items()} == {f"v{index}": 6 for index in range(4)} | {
        "p": 3
    }


def test_a_silent_proposer_is_impeached_and_its_state_says_so(mesh: Mesh) -> None:
    mesh.kill("p")
    mesh.submit("v1", pay(mesh))
    mesh.wait(1_000 + 400)
    assert mesh.heights() == dict.fromkeys(["v0", "v1", "v2", "v3"], 1)
    stored = mesh.storage("v3").block(1)
    assert stored
    assert (stored.header.round, stored.transactions, stored.certificate.round) == (1, (), 1)
    assert stored.header.time_ms == mesh.genesis.time_ms + 1_000 + 400
    assert impeached_count(mesh) == 1
    # Back again, it takes what waits, and what it missed.
    mesh.start("p")
    mesh.wait(2_000)
    assert impeached_count(mesh, "p") == 1
    assert mesh.storage("p").find_transaction(pay(mesh).tx_hash) is not None


def test_an_illicit_block_is_impeached_without_waiting(mesh: Mesh) -> None:
    mesh.wait(500)
    core = mesh["p"].core
    ready = core.propose(illicit(mesh), mesh.now_ms)
    mesh.storage("p").put_votes(ready.persist)
    mesh.post("p", list(ready.send))
    mesh.settle()
    assert mesh.heights() == dict.fromkeys(mesh.keys, 1)
    assert impeached_count(mesh) == 1
    assert mesh.now_ms == 500


def test_transactions_of_a_lost_proposal_return_to_the_pool(mesh: Mesh) -> None:
    """The proposer alone was given it, and its block reached nobody's votes."""
    mesh.is_lost = lambda sender, receiver, message: isinstance(message, Relay | Ballot)
    mesh.submit("p", pay(mesh))
    mesh.wait(1_000)
    assert [len(mesh[name].pool) for name in ("v0", "v1", "p")] == [0, 0, 1]
    mesh.kill("p")
    mesh.is_lost = lambda sender, receiver, message: (
        isinstance(message, Relay) or (isinstance(message, Ballot) and message.vote.round == 0)
    )
    mesh.wait(500)
    assert mesh.heights() == dict.fromkeys(["v0", "v1", "v2", "v3"], 1)
    assert impeached_count(mesh) == 1
    assert [mesh[name].pool.get(pay(mesh).tx_hash) is not None for name in ("v0", "v1", "v2", "v3")] == [
        True
    ] * 4


def test_a_block_from_the_future_waits_until_its_time_has_come(mesh: Mesh) -> None:
    ahead_ms = CLOCK_DRIFT_MS + 300
    mesh.skew_ms["p"] = ahead_ms
    mesh.wait(1_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 0)
    mesh.wait(300)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 1)
    assert impeached_count(mesh) == 0


def test_a_proposer_whose_clock_is_far_ahead_is_impeached_and_the_chain_keeps_its_time(mesh: Mesh) -> None:
    mesh.skew_ms["p"] = 86_400_000
    mesh.wait(1_500)
    assert impeached_count(mesh) == 1
    assert mesh["v0"].head.time_ms == mesh.genesis.time_ms + 1_400


def test_a_chain_that_is_ahead_of_all_clocks_goes_on(mesh: Mesh) -> None:
    mesh.wait(2_000)
    mesh.skew_ms = dict.fromkeys(mesh.keys, -86_400_000)
    mesh.wait(2_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 4)
    assert mesh["v0"].head.time_ms == mesh.genesis.time_ms + 2_000 + 2


def test_a_full_disk_says_nothing_that_it_has_not_kept_and_goes_on_when_there_is_room(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, put_votes = mesh.storage("v1"), Storage.put_votes

    def put(storage: Storage, items: Sequence[Kept]) -> None:
        if storage is full:
            raise StorageFull("chain.sqlite", "the disk is full; free some space")
        put_votes(storage, items)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put_votes", put)
        before = len(mesh.sent)
        mesh.wait(1_000)
        said = [message for name, message in mesh.sent[before:] if name == "v1"]
        assert not [message for message in said if isinstance(message, Ballot)]
        assert mesh["v1"].trouble == "the disk is full; free some space"
        with pytest.raises(Refused, match="no transactions are taken at present: the disk is full") as caught:
            mesh.submit("v1", pay(mesh))
        assert caught.value.reason == Reason.BUSY
        assert mesh["v0"].head.height == 1, "the other three are a quorum"
    mesh.wait(FULL_RETRY_MS + 1_000)
    assert mesh["v1"].trouble == ""
    assert mesh.heights() == dict.fromkeys(mesh.keys, 3)
    mesh.submit("v1", pay(mesh))


def test_a_validator_that_dies_between_keeping_and_sending_sends_it_after_its_restart(mesh: Mesh) -> None:
    mesh.is_lost = lambda sender, receiver, message: (
        "v3" in (sender, receiver) or sender == "v0" or (receiver == "v0" and sender != "p")
    )
    mesh.wait(1_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 0)
    (kept,) = mesh.storage("v0").votes(1)
    assert (kept.vote.phase, kept.block is not None, kept.seal is not None) == (Phase.PREPARE, True, True)
    mesh.kill("v0")
    mesh.is_lost = lambda sender, receiver, message: "v3" in (sender, receiver)
    mesh.start("v0")
    resent = [message for name, message in mesh.sent if name == "v0" and isinstance(message, Ballot)]
    assert resent[-1].vote == kept.vote
    mesh.wait(50)
    assert mesh.heights() == {"v0": 1, "v1": 1, "v2": 1, "v3": 0, "p": 1}


def test_two_signatures_for_one_thing_end_on_chain_once(mesh: Mesh) -> None:
    mesh.wait(500)
    place = Place(mesh.genesis, 1, mesh.genesis.time_ms + 500, PROPOSER.public, TakeTurns([PROPOSER.public]))
    blocks = []
    for later_ms in (0, 1):
        at = Place(place.genesis, 1, place.time_ms + later_ms, place.proposer, place.schedule)
        execution = ledger.execute(mesh["p"].store.read_node, mesh["p"].head, at, [])
        blocks.append(ledger.block_of(mesh["p"].head, at, 0, execution))
    seals = [
        mesh["p"].core.current._signatures.sign(1, 0, Phase.PROPOSE, block.header.block_hash)
        for block in blocks
    ]
    for block, seal in zip(blocks, seals, strict=True):
        mesh.post("p", [(None, Proposal(block, seal))])
    mesh.kill("p")
    mesh.settle()
    mesh.start("p")
    mesh.wait(3_000)
    for name in ("v0", "v1", "v2", "v3", "p"):
        replica = mesh[name]
        conduct = State(replica.store.entries(replica.head.state_root)).conduct(PROPOSER.public)
        assert conduct.equivocation_count == 1, name
        assert len(replica.pool) == 0
    assert [len(mesh[name].evidence) for name in ("v0", "v1", "v2", "v3")] == [1] * 4


def test_who_was_away_is_given_what_it_missed(mesh: Mesh) -> None:
    mesh.kill("v2")
    mesh.wait(20_000)
    mesh.start("v2")
    mesh.wait(1_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 21)
    served = [message for name, message in mesh.sent if isinstance(message, Validate) and message.block]
    assert served


def test_who_lacks_only_a_certificate_is_not_sent_a_large_block(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lbft, "INLINE_SIZE_MAX", 0)
    mesh.submit("v0", pay(mesh))
    # It sees the block, and no vote on it.
    mesh.is_lost = lambda sender, receiver, message: receiver == "v2" and not isinstance(message, Proposal)
    mesh.wait(1_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 1) | {"v2": 0}
    mesh.is_lost = lambda sender, receiver, message: False
    mesh.sent.clear()
    mesh.wait(900)
    assert mesh["v2"].head.height == 1
    told = [message for name, message in mesh.sent if isinstance(message, Validate) and message.height == 1]
    assert told
    assert [message.block for message in told] == [None] * len(told)


def test_a_certified_block_that_cannot_be_ends_the_node(mesh: Mesh) -> None:
    """More than f are faulty; whoever goes on from there builds on sand."""
    block = illicit(mesh)
    signers = [mesh[f"v{index}"].core.current._signatures for index in range(3)]
    header = block.header
    votes = [each.sign(1, 0, Phase.COMMIT, header.block_hash) for each in signers]
    certificate = certify(votes, mesh.genesis.validators)
    public = VALIDATORS[1].public
    with pytest.raises(IllicitBlock):
        mesh["v0"].receive(public, Validate(certificate, block), mesh.now_ms, mesh.wall_ms("v0"))
    assert mesh["v0"].head.height == 0
