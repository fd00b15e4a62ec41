"""A chain with many accounts, in a file, and somebody who joins it: for the tests and the bench of fast sync.

Runs on CPython.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from chain_node import ledger, messages
from chain_node.genesis import Genesis
from chain_node.messages import Message, WantLinks, WantNodes
from chain_node.pruning import PLAIN, Retention
from chain_node.schedule import TakeTurns
from chain_node.snapshot import SnapshotClient, Source, answer
from chain_node.state import State
from chain_node.storage import Storage
from chain_node.transaction import SUPPLY_UCPC, Transaction, Transfer
from tests.chain_node.world import ALICE, PROPOSER, VALIDATORS, certificate_of, genesis_of, key

SIGNERS = VALIDATORS[:3]
FIRST_ACCOUNTS = 10
Answer = Callable[[Message], Message | None]


def rich_genesis(accounts: int) -> Genesis:
    """A genesis whose state has so many accounts, Alice's among them with most of the money."""
    others = [key(f"account {number}").public for number in range(accounts - 1)]
    balances = [(public, 1_000_000) for public in others]
    balances.append((ALICE.public, SUPPLY_UCPC - 1_000_000 * len(others)))
    return genesis_of(balances=tuple(sorted(balances)), block_tx_max=10_000)


def extend(storage: Storage, blocks: int, payments: int = 1, receivers: int = 50) -> None:
    """So many blocks in which Alice pays others."""
    genesis = storage.genesis
    nonce = account_nonce(storage)
    for _ in range(blocks):
        transactions = []
        for _ in range(payments):
            receiver = key(f"receiver {nonce % receivers}").public
            transactions.append(
                Transaction.sign(ALICE, genesis.chain_id, nonce, Transfer(receiver, 5), genesis.fee_min_ucpc)
            )
            nonce += 1
        head = storage.head
        place = ledger.Place(
            genesis, head.height + 1, head.time_ms + 1, PROPOSER.public, TakeTurns(genesis.proposers)
        )
        execution = ledger.execute(storage.read_node, head, place, transactions)
        assert execution.refused == ()
        block = ledger.block_of(head, place, 0, execution)
        storage.commit(block, certificate_of(genesis, block.header, SIGNERS), execution)


def account_nonce(storage: Storage) -> int:
    """Alice's next nonce."""
    return State(storage.entries(storage.head.state_root)).account(ALICE.public).nonce


def chain(folder: Path, accounts: int, blocks: int, retention: Retention = PLAIN) -> Storage:
    """A file with a chain of so many accounts and blocks; the genesis has only a few of them."""
    folder.mkdir(exist_ok=True)
    storage = Storage.open(folder / "chain.sqlite", rich_genesis(FIRST_ACCOUNTS), retention=retention)
    extend(storage, 1, accounts, accounts)
    extend(storage, blocks - 1)
    return storage


def honest(source: Source) -> Answer:
    """Who answers as it should, through the bytes that travel."""

    def say(message: Message) -> Message | None:
        asked = messages.decode(messages.encode(message))
        assert isinstance(asked, WantNodes | WantLinks)
        return messages.decode(messages.encode(answer(source, asked)))

    return say


def join(
    client: SnapshotClient, peers: Mapping[bytes, Answer], answers_max: int = 100_000
) -> list[tuple[bytes, Message]]:
    """Let it join with the help of these; what it asked, until it is done or has nothing more to ask.

    Who answers None does not answer: its deadline passes.
    """
    now_ms = 0
    waiting = [send for peer in peers for send in client.add_peer(peer, now_ms)]
    asked: list[tuple[bytes, Message]] = []
    while not client.is_done and len(asked) < answers_max:
        if waiting:
            peer, message = waiting.pop(0)
            asked.append((peer, message))
            said = peers[peer](message)
            if said is not None:
                waiting += client.receive(peer, said, now_ms)
        elif client.deadline_ms is None:
            break
        else:
            now_ms = client.deadline_ms
            waiting += client.tick(now_ms)
    return asked
