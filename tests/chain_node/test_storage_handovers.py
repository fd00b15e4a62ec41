"""A chain whose validators changed, on disk: kept, checked, repaired, and taken over by who joins late."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from chain_node import ledger, messages, storage_handovers
from chain_node.check import check
from chain_node.check_repair import repair
from chain_node.errors import StorageDamaged
from chain_node.evidence import StateEvidence
from chain_node.handover import Handovers
from chain_node.messages import Changes, Links, Message, WantChanges, WantLinks
from chain_node.snapshot import SnapshotClient, answer
from chain_node.storage import Storage
from chain_node.validator_set import ENTRY_KEY
from tests.chain_node.joining import Answer, join
from tests.chain_node.test_handover import grown
from tests.chain_node.world import NEWCOMERS, VALIDATORS, Chain

A, B = b"a" * 32, b"b" * 32
FIVE = (*VALIDATORS, NEWCOMERS[0])


@cache
def world() -> Chain:
    """4 -> 5 -> others -> the first 4 again, whose keys say nothing of what was between; height 61."""
    return grown(FIVE, NEWCOMERS, VALIDATORS)[0]


def load(path: Path, blocks: int | None = None) -> None:
    chain = world()
    with closing(Storage.open(path, chain.genesis)) as storage:
        for block, link in list(zip(chain.blocks, chain.links, strict=True))[storage.head.height : blocks]:
            execution = ledger.check_block(
                storage.read_node, storage.head, chain.genesis, block, chain.schedule
            )
            storage.commit(block, link.certificate, execution)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    load(tmp_path / "chain.sqlite")
    return tmp_path / "chain.sqlite"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Storage]:
    load(tmp_path / "source.sqlite")
    with closing(Storage.open(tmp_path / "source.sqlite", world().genesis)) as storage:
        yield storage


def opened(path: Path, *, is_tolerant: bool = False) -> Storage:
    return Storage.open(path, world().genesis, is_tolerant=is_tolerant)


def numbers(storage: Storage) -> list[int]:
    return [each.number for each in storage.handovers.sets]


def test_each_change_leaves_its_proof_whatever_is_pruned(path: Path) -> None:
    with closing(opened(path)) as storage:
        known = Handovers(world().genesis, map(StateEvidence.decode, storage.changes(1, 9)))
        assert [each.from_height for each in known.sets] == [0, 18, 38, 58]
        assert list(storage.handovers.sets) == list(known.sets)
        assert (len(storage.changes(2, 1)), storage.changes(4, 9)) == (1, [])
        assert storage.validators_at(17).number == 0
        assert storage.validators_at(18).keys == tuple(each.public for each in FIVE)


def test_it_goes_on_after_a_restart_at_any_block(tmp_path: Path) -> None:
    for blocks in (1, 2, 17, 18, 22, 61):
        load(tmp_path / "chain.sqlite", blocks)
        with closing(opened(tmp_path / "chain.sqlite")) as storage:
            assert storage.head.height == blocks
            assert check(storage).is_sound


def test_a_file_of_before_there_were_changes_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    load(path, 1)
    with closing(opened(path)) as storage:
        storage.connection.execute("DROP TABLE handover")
    load(path)
    with closing(opened(path)) as storage:
        assert (numbers(storage), check(storage).is_sound) == ([0, 1, 2, 3], True)


# Damage

DAMAGES = [
    # (statement, what is said of it, whether it is whole afterwards: alone)
    ("UPDATE handover SET data = x'a0' WHERE number = 2", "handover: change 2: no state evidence", False),
    (
        "UPDATE handover SET data = (SELECT data FROM handover WHERE number = 1) WHERE number = 2",
        "handover: change 2: no handover: it is not what stands beside it",
        False,
    ),
    ("UPDATE handover SET entry = x'a0' WHERE number = 2", "handover: change 2: no handover", True),
    ("DELETE FROM handover WHERE number = 3", "handover: change 3 is missing", False),
]


def changes_from(peer: Storage) -> Callable[[int], Sequence[StateEvidence]]:
    return lambda first: [StateEvidence.decode(data) for data in peer.changes(first, 1)]


@pytest.mark.parametrize(("statement", "said", "is_whole_alone"), DAMAGES)
def test_what_is_damaged_is_named_and_comes_from_peers(
    path: Path, source: Storage, statement: str, said: str, is_whole_alone: bool
) -> None:
    with closing(opened(path)) as storage:
        storage.connection.execute(statement)
    with closing(opened(path, is_tolerant=True)) as storage:
        report = check(storage)
        assert any(str(damage).startswith(said) for damage in report.damages), report.damages
        _, after = repair(storage)
        assert after.is_sound == is_whole_alone
        _, after = repair(storage, fetch_changes=changes_from(source))
        assert (after.damages, numbers(storage), storage.head.height) == ([], [0, 1, 2, 3], 61)


def test_a_row_that_is_gone_costs_no_block(path: Path, source: Storage) -> None:
    with closing(opened(path)) as storage:
        storage.connection.execute("DELETE FROM handover WHERE number = 2")
    with pytest.raises(StorageDamaged, match=r"handover 3: .* one is missing"):
        opened(path)
    with closing(opened(path, is_tolerant=True)) as storage:
        _, after = repair(storage, fetch_changes=changes_from(source))
        assert (after.damages, storage.head.height) == ([], 61)
    opened(path).close()


def test_a_liar_s_changes_repair_nothing(path: Path) -> None:
    with closing(opened(path)) as storage:
        storage.connection.execute("DELETE FROM handover WHERE number = 3")
    with closing(opened(path, is_tolerant=True)) as storage:
        _, after = repair(storage, fetch_changes=lambda first: [world().state_evidence(b"x")])
        assert not after.is_sound


# Who joins late


def honest(source: Storage) -> Answer:
    def say(message: Message) -> Message | None:
        asked = messages.decode(messages.encode(message))
        return messages.decode(messages.encode(answer(source, asked)))  # type: ignore[arg-type]

    return say


def joined(folder: Path, source: Storage, peers: dict[bytes, Answer]) -> tuple[SnapshotClient, list[Message]]:
    path = folder / "joiner.sqlite"
    with closing(opened(path)) as joiner:
        client = SnapshotClient(joiner, source.genesis)
        asked = [message for _, message in join(client, peers, 500)]
        if client.installed:
            assert joiner.head == source.head
            assert list(joiner.handovers.sets) == list(source.handovers.sets)
            # The block of a snapshot has no body, which the check knows of all but the first.
            assert check(joiner).is_sound or joiner.head.height == 1
    return client, asked


@pytest.mark.parametrize("blocks", [17, 18, 45, 61])
def test_it_learns_of_every_change_by_the_way(tmp_path: Path, blocks: int) -> None:
    load(tmp_path / "source.sqlite", blocks)
    with closing(opened(tmp_path / "source.sqlite")) as source:
        client, asked = joined(tmp_path, source, {A: honest(source)})
    assert client.installed is not None
    assert sum(isinstance(message, WantChanges) for message in asked) == 1


def test_a_chain_without_a_change_is_asked_for_none(tmp_path: Path) -> None:
    load(tmp_path / "source.sqlite", 1)
    with closing(opened(tmp_path / "source.sqlite")) as source:
        _, asked = joined(tmp_path, source, {A: honest(source)})
    assert not any(isinstance(message, WantChanges) for message in asked)


def test_who_withholds_a_change_or_lies_about_one_is_asked_no_more(tmp_path: Path, source: Storage) -> None:
    def withholding(message: Message) -> Message | None:
        return Changes(message.first, ()) if isinstance(message, WantChanges) else honest(source)(message)

    def lying(message: Message) -> Message | None:
        if isinstance(message, WantChanges):
            said = StateEvidence.decode(source.changes(1, 1)[0])
            return Changes(message.first, (replace(said, proof=b"\x00"),))
        return honest(source)(message)

    old = world().links[40]

    def of_block(link: object, others: Answer) -> Answer:
        def say(message: Message) -> Message | None:
            return Links(0, (link,)) if isinstance(message, WantLinks) else others(message)  # type: ignore[arg-type]

        return say

    (tmp_path / "both").mkdir()
    peers = {A: of_block(old, withholding), B: honest(source)}
    client, _ = joined(tmp_path / "both", source, peers)
    assert list(client.liars) == [A]
    assert "another set, if there is one, was not shown" in client.liars[A]
    (tmp_path / "lying").mkdir()
    client, _ = joined(tmp_path / "lying", source, {A: of_block(old, lying), B: honest(source)})
    assert list(client.liars) == [A]
    assert "state proof against block 2" in client.liars[A]


def test_the_golden_bytes_of_both_messages() -> None:
    assert messages.encode(WantChanges(1, 16)).hex() == "83140110"
    assert messages.encode(Changes(1, ())).hex() == "83150180"
    evidence = world().state_evidence(ENTRY_KEY)
    message = Changes(3, (evidence,))
    assert messages.decode(messages.encode(message)) == message
    assert storage_handovers.entry_of(evidence).newest.number == 3
