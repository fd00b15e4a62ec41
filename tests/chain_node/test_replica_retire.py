"""A replica whose program is too old: it stops signing at a height, follows while it can, and says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chain_node import ledger
from chain_node.errors import IllicitBlock, Refused
from chain_node.lbft_states import Fate
from chain_node.messages import Ballot, Message, Proposal, Relay, Validate
from chain_node.reason import Reason
from chain_node.replica import RETIRED_RETRY_MS
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.replica_mesh import Mesh
from tests.chain_node.world import ALICE, BOB, FEE_UCPC, VALIDATORS

WHY = "this program is too old"


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    yield mesh
    mesh.close()


def retire(mesh: Mesh, name: str, height: int) -> None:
    mesh.post(name, mesh[name].retire(height, WHY, mesh.now_ms, mesh.wall_ms(name)))


def said(mesh: Mesh, name: str) -> list[int]:
    """The heights of what a node has signed."""
    return sorted(
        {
            message.height
            for sender, message in mesh.sent
            if sender == name and isinstance(message, Ballot | Proposal)
        }
    )


def test_a_validator_votes_up_to_the_height_and_follows_from_there(mesh: Mesh) -> None:
    retire(mesh, "v3", 3)
    mesh.wait(1_000)
    assert (mesh["v3"].trouble, mesh["v3"].head.height) == ("", 1)
    mesh.wait(3_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 4)
    assert said(mesh, "v3") == [1, 2]
    assert {3, 4} <= set(said(mesh, "v2"))
    assert mesh["v3"].trouble == WHY
    with pytest.raises(Refused, match=WHY) as caught:
        mesh.submit("v3", _pay(mesh))
    assert caught.value.reason == Reason.BUSY


def test_one_that_learns_of_it_late_stops_in_the_middle_of_a_height(mesh: Mesh) -> None:
    mesh.wait(2_000)
    assert mesh["v3"].head.height == 2
    retire(mesh, "v3", 2)
    assert mesh["v3"].trouble == WHY
    mesh.wait(1_000)
    assert mesh.heights() == dict.fromkeys(mesh.keys, 3)
    assert 3 not in said(mesh, "v3")


def test_a_proposer_that_is_too_old_is_impeached_and_says_why(mesh: Mesh) -> None:
    retire(mesh, "p", 2)
    mesh.wait(4_000)
    assert said(mesh, "p") == [1]
    assert mesh["v0"].head.height >= 2
    assert mesh["p"].head == mesh["v0"].head
    block = mesh.storage("v0").certified(2, 1)[0][0]
    assert block.header.round == 1


def test_what_it_cannot_judge_stops_it_and_it_tries_again_later(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    retire(mesh, "v3", 2)
    mesh.wait(1_000)

    def unknown(*_: object) -> None:
        raise IllicitBlock(2, "its rules are not known here")

    real = ledger.check_block
    with monkeypatch.context() as patch:
        replica = mesh.replicas.pop("v3")
        mesh.wait(1_000)
        mesh.replicas["v3"] = replica
        patch.setattr(ledger, "check_block", unknown)
        final = mesh.storage("v0").certified(2, 1)[0]
        replica.receive(VALIDATORS[0].public, Validate(final[1], final[0]), mesh.now_ms, mesh.wall_ms("v3"))
        assert "stops at block 1, whose rules it does not know" in caplog.text
        assert replica.head.height == 1
        assert replica.deadline_ms == mesh.now_ms + RETIRED_RETRY_MS
    assert ledger.check_block is real
    mesh.wait(RETIRED_RETRY_MS + 2_000)
    assert replica.head.height >= 2


def test_what_became_of_transactions_is_told(mesh: Mesh) -> None:
    told: list[tuple[bytes, Message, Fate]] = []
    mesh["v0"].judged = lambda *each: told.append(each)
    relay = Relay((_pay(mesh),))
    for _ in range(2):
        mesh["v0"].receive(b"somebody", relay, mesh.now_ms, mesh.wall_ms("v0"))
    assert told == [(b"somebody", relay, Fate.TAKEN), (b"somebody", relay, Fate.DUPLICATE)]


def _pay(mesh: Mesh) -> Transaction:
    return Transaction.sign(ALICE, mesh.genesis.chain_id, 0, Transfer(BOB.public, 7), FEE_UCPC)
