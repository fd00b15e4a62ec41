"""What was checked once is not checked again, and no more is remembered than there is room for."""

import pytest

from chain_node import messages, verified
from chain_node.messages import Proposal, Relay, Validate
from chain_node.transaction import Transaction, Transfer
from chain_node.verified import Verified
from puf import cose
from tests.chain_node.world import ALICE, BOB, Chain


def made(chain: Chain, count: int) -> list[Transaction]:
    return [chain.sign(ALICE, Transfer(BOB.public, 5), nonce) for nonce in range(count)]


@pytest.mark.parametrize("kind", ["relay", "proposal", "final"])
def test_a_transaction_that_came_is_not_verified_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain()
    first, second, third = made(chain, 3)
    known = Verified({})
    if kind == "relay":
        known.note(Relay((first, second)))
    else:
        chain.extend(first, second)
        block, certificate = chain.blocks[0], chain.links[0].certificate
        known.note(Proposal(block, None) if kind == "proposal" else Validate(certificate, block))
    checks: list[bytes] = []

    def counted(public: bytes, message: bytes, signature: bytes) -> bool:
        checks.append(message)
        return True

    monkeypatch.setattr(cose, "verify", counted)
    data = messages.encode(Relay((first, second, third)))
    checks.clear()
    assert messages.decode(data, known) == Relay((first, second, third))
    assert len(checks) == 1


def test_long_transactions_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = made(Chain(), 3)
    monkeypatch.setattr(verified, "VERIFIED_SIZE_MAX", 2 * len(first.data))
    known = Verified({})
    known.note(Relay((first, second)))
    known.note(Relay((second,)))
    assert [known.get(each.tx_hash) for each in (first, second)] == [first, second], "it counts once"
    known.note(Relay((third,)))
    assert [known.get(each.tx_hash) for each in (first, second, third)] == [None, second, third]


def test_the_oldest_is_forgotten_first_but_for_what_waits_in_the_pool() -> None:
    first, second, third, fourth = made(Chain(), 4)
    known = Verified({first.tx_hash: first}, count_max=2)
    known.note(Relay((first, second)))
    known.note(Relay((third, fourth)))
    assert [known.get(each.tx_hash) for each in (first, second, third, fourth)] == [
        first,
        None,
        third,
        fourth,
    ]
