"""Who joins late takes a proven state, from whomever, through lies, silence, crashes and pruning."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from chain_node import messages, snapshot
from chain_node.block import Phase, Vote
from chain_node.errors import StorageDamaged
from chain_node.evidence import Link
from chain_node.kept import Kept
from chain_node.messages import Links, Message, StateNodes, WantLinks, WantNodes
from chain_node.pruning import Retention
from chain_node.snapshot import TIMEOUT_MS, SnapshotClient, answer
from chain_node.state import State
from chain_node.storage import Storage
from tests.chain_node.joining import (
    FIRST_ACCOUNTS,
    Answer,
    account_nonce,
    chain,
    extend,
    honest,
    join,
    rich_genesis,
)
from tests.chain_node.world import ALICE, VALIDATORS, certificate_of, key

ACCOUNTS = 400
A, B, C = (bytes([letter]) * 32 for letter in b"abc")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with closing(chain(tmp_path_factory.mktemp("source"), ACCOUNTS, 6)) as storage:
        yield storage


@pytest.fixture
def joiner(tmp_path: Path) -> Iterator[Storage]:
    with closing(Storage.open(tmp_path / "joiner.sqlite", rich_genesis(FIRST_ACCOUNTS))) as storage:
        yield storage


@pytest.fixture(autouse=True)
def small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks of a small state."""
    monkeypatch.setattr("chain_node.snapshot.NODES_COUNT_MAX", 60)


def nodes_of(storage: Storage) -> set[bytes]:
    return {row[0] for row in storage.connection.execute("SELECT hash FROM node WHERE stale_since IS NULL")}


def is_whole(joiner: Storage, source: Storage) -> None:
    """The joiner has the source's state at its own height, and nothing else."""
    walked = [node_hash for node_hash, _ in joiner.nodes.walk(joiner.head.state_root)]
    assert nodes_of(joiner) == set(walked)
    assert joiner.connection.execute("SELECT count(*) FROM node").get == len(walked)
    link = source.link(joiner.head.height)
    assert link is not None
    assert joiner.head.block_hash == link.header.block_hash


def test_who_joins_has_the_state_of_the_newest_block_and_none_of_the_blocks_before(
    source: Storage, joiner: Storage, tmp_path: Path
) -> None:
    client = SnapshotClient(joiner, source.genesis)
    asked = join(client, {A: honest(source)})
    assert client.is_done
    assert client.installed == source.link(6)
    assert joiner.head == source.head
    is_whole(joiner, source)
    assert nodes_of(joiner) == nodes_of(source)
    assert (joiner.headers_from, joiner.bodies_from, joiner.block(6)) == (6, 7, None)
    assert joiner.headers(1, 9) == []
    assert joiner.headers(6, 9) == source.headers(6, 9)
    assert client.taken_count == len(nodes_of(source))
    # Each chunk is full but the last, and the questions go deep.
    questions = [message for _, message in asked if isinstance(message, WantNodes)]
    assert len(questions) == -(-client.taken_count // 60)
    assert all(message.is_deep for message in questions)


def test_after_joining_blocks_go_on_and_the_same_state_follows(tmp_path: Path, joiner: Storage) -> None:
    folder = tmp_path / "source"
    with closing(chain(folder, ACCOUNTS, 4)) as source:
        join(SnapshotClient(joiner, source.genesis), {A: honest(source)})
        extend(source, 3)
        extend(joiner, 3)
        assert joiner.head == source.head
        assert account_nonce(joiner) == ACCOUNTS + 6
        assert (joiner.headers_from, joiner.bodies_from) == (4, 5)
        assert len(joiner.certified(5, 9)) == 3
        assert joiner.certified(4, 9) == []
    joiner.close()
    with closing(Storage.open(tmp_path / "joiner.sqlite", rich_genesis(FIRST_ACCOUNTS))) as again:
        assert again.head == source.head
        # What was spent before the snapshot is spent: the nonce is in the state.
        assert account_nonce(again) == ACCOUNTS + 6


def test_what_joining_costs_follows_from_the_state_and_not_from_the_chain(tmp_path: Path) -> None:
    counts = []
    for name, blocks in (("short", 3), ("long", 40)):
        with (
            closing(chain(tmp_path / name, 200, blocks)) as source,
            closing(Storage.open(tmp_path / f"{name}.sqlite", rich_genesis(FIRST_ACCOUNTS))) as joiner,
        ):
            client = SnapshotClient(joiner, source.genesis)
            counts.append((len(join(client, {A: honest(source)})), client.taken_count))
            assert joiner.head.height == blocks
    (short_questions, short_nodes), (long_questions, long_nodes) = counts
    # The long chain has paid 50 accounts more than once, and nobody new but them.
    assert abs(long_nodes - short_nodes) < 2 * 50
    assert abs(long_questions - short_questions) <= 2


def test_a_chain_of_a_million_blocks_is_joined_like_any_other(
    source: Storage, joiner: Storage, tmp_path: Path
) -> None:
    link = source.link(6)
    assert link is not None
    header = replace(link.header, height=1_000_000)
    late = Link(header, certificate_of(source.genesis, header))

    def server(message: Message) -> Message | None:
        return Links(0, (late,)) if isinstance(message, WantLinks) else honest(source)(message)

    client = SnapshotClient(joiner, source.genesis)
    asked = join(client, {A: server})
    assert len(asked) < 25
    assert (joiner.head.height, joiner.headers_from) == (1_000_000, 1_000_000)
    extend(joiner, 2)
    assert joiner.head.height == 1_000_002
    # And who has joined serves the next one.
    with closing(Storage.open(tmp_path / "third.sqlite", rich_genesis(FIRST_ACCOUNTS))) as third:
        join(SnapshotClient(third, source.genesis), {B: honest(joiner)})
        assert third.head == joiner.head
        is_whole(third, joiner)


def test_nobody_is_asked_for_a_state_when_the_chain_is_hardly_longer(
    source: Storage, joiner: Storage
) -> None:
    client = SnapshotClient(joiner, source.genesis, gap_min=7)
    asked = join(client, {A: honest(source)})
    assert (client.is_done, client.installed) == (True, None)
    assert asked == [(A, WantLinks(0, 1))]
    assert joiner.head.height == 0


def test_the_newest_of_several_heads_is_taken_and_peers_take_turns(
    source: Storage, joiner: Storage, tmp_path: Path
) -> None:
    folder = tmp_path / "longer"
    with closing(chain(folder, ACCOUNTS, 9)) as longer:
        client = SnapshotClient(joiner, source.genesis)
        asked = join(client, {A: honest(source), B: honest(longer), C: honest(longer)})
        assert client.installed == longer.link(9)
        is_whole(joiner, longer)
        by_peer = {peer: sum(p == peer for p, m in asked if isinstance(m, WantNodes)) for peer in (A, B, C)}
        assert by_peer[A] > 0, "also who is behind has most of it"
        assert abs(by_peer[B] - by_peer[C]) <= 2
        assert client.liars == {}


def flipped(say: Answer, at_answer: int) -> Answer:
    """Who lies in one node of one answer."""
    count = 0

    def lie(message: Message) -> Message | None:
        nonlocal count
        said = say(message)
        if isinstance(said, StateNodes):
            count += 1
            if count == at_answer:
                middle = len(said.nodes) // 2
                node = bytearray(said.nodes[middle])
                node[-1] ^= 1
                return replace(said, nodes=(*said.nodes[:middle], bytes(node), *said.nodes[middle + 1 :]))
        return said

    return lie


@pytest.mark.parametrize("at_answer", [1, 4])
def test_a_lie_is_found_at_its_node_and_another_peer_is_asked(
    source: Storage, joiner: Storage, at_answer: int
) -> None:
    client = SnapshotClient(joiner, source.genesis)
    join(client, {A: flipped(honest(source), at_answer), B: honest(source)})
    assert list(client.liars) == [A]
    assert client.liars[A].startswith("it sent another node than ")
    assert client.installed == source.link(6)
    is_whole(joiner, source)
    assert client.taken_count == len(nodes_of(source)), "what came before the lie is not asked for again"


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (lambda said: replace(said, nodes=(*said.nodes, said.nodes[0])), "it sent another node than"),
        (lambda said: replace(said, nodes=said.nodes[::-1]), "it sent another node than"),
        (lambda said: replace(said, nodes=(b"",)), "it sent another node than"),
        (lambda said: replace(said, nodes=(b"\x02" + bytes(70_000),)), "it sent another node than"),
    ],
)
def test_whatever_is_no_wanted_node_is_a_lie(source: Storage, joiner: Storage, lie: object, why: str) -> None:
    def say(message: Message) -> Message | None:
        said = honest(source)(message)
        return lie(said) if isinstance(said, StateNodes) else said  # type: ignore[operator]

    client = SnapshotClient(joiner, source.genesis)
    join(client, {A: say, B: honest(source)})
    assert client.liars[A].startswith(why)
    is_whole(joiner, source)


def test_more_nodes_than_there_are_is_a_lie(source: Storage, joiner: Storage) -> None:
    """Only the last answer can hold too many: before that another node would be next."""

    def say(message: Message) -> Message | None:
        said = honest(source)(message)
        if isinstance(said, StateNodes) and len(said.nodes) < 60:
            return replace(said, nodes=(*said.nodes, said.nodes[0]))
        return said

    client = SnapshotClient(joiner, source.genesis)
    join(client, {A: say})
    assert client.liars == {A: "it sent more nodes than were asked for"}
    assert not client.is_done or client.installed


def forged(source: Storage, height: int) -> Link:
    link = source.link(3)
    assert link is not None
    header = replace(link.header, height=height)
    return Link(header, certificate_of(source.genesis, header, VALIDATORS[:2]))


def test_a_header_that_is_not_certified_is_believed_of_nobody(source: Storage, joiner: Storage) -> None:
    link = forged(source, 99)

    def say(message: Message) -> Message | None:
        return Links(0, (link,)) if isinstance(message, WantLinks) else honest(source)(message)

    client = SnapshotClient(joiner, source.genesis)
    join(client, {A: say, B: honest(source)})
    assert client.liars == {A: "certificate of block 99: 2 of 4 validators signed, 3 must"}
    assert client.installed == source.link(6)


def test_who_is_silent_is_passed_over(source: Storage, joiner: Storage) -> None:
    def silent(message: Message) -> Message | None:
        return honest(source)(message) if isinstance(message, WantLinks) else None

    client = SnapshotClient(joiner, source.genesis)
    asked = join(client, {A: silent, B: honest(source), C: lambda message: None})
    assert client.installed == source.link(6)
    assert sum(peer == A for peer, message in asked if isinstance(message, WantNodes)) == 1
    assert client.liars == {}


def test_late_answers_and_those_of_others_are_ignored(source: Storage, joiner: Storage) -> None:
    client = SnapshotClient(joiner, source.genesis)
    say = honest(source)
    ((_, first),) = client.add_peer(A, 0)
    head = say(first)
    assert head is not None
    ((_, wanted),) = client.receive(A, head, 0)
    client.add_peer(B, 0)
    nodes = say(wanted)
    assert isinstance(nodes, StateNodes)
    assert client.receive(B, nodes, 0) == []
    assert client.receive(C, nodes, 0) == []
    assert client.receive(A, replace(nodes, first=bytes(32)), 0) == []
    assert client.receive(A, wanted, 0) == []
    assert client.taken_count == 0
    assert len(client.receive(A, nodes, 0)) == 1
    assert client.receive(A, nodes, 0) == [], "the same answer twice"
    assert client.taken_count == 60


def test_without_anybody_it_waits_and_goes_on_with_who_comes(source: Storage, joiner: Storage) -> None:
    client = SnapshotClient(joiner, source.genesis)
    join(client, {A: honest(source)}, answers_max=3)
    assert client.remove_peer(A, 5) == []
    assert client.deadline_ms is None
    assert client.tick(10**9) == []
    join(client, {B: honest(source)})
    assert client.installed == source.link(6)
    assert abs(client.taken_count - len(nodes_of(source))) < 20
    is_whole(joiner, source)


def test_a_crash_loses_only_what_was_on_the_way(source: Storage, joiner: Storage, tmp_path: Path) -> None:
    before = SnapshotClient(joiner, source.genesis)
    join(before, {A: honest(source)}, answers_max=9)
    assert not before.is_done
    assert before.taken_count == 8 * 60
    joiner.close()
    with closing(Storage.open(tmp_path / "joiner.sqlite", rich_genesis(FIRST_ACCOUNTS))) as again:
        assert again.is_joining
        assert again.head.height == 0
        client = SnapshotClient(again, source.genesis)
        asked = join(client, {A: honest(source)})
        assert client.installed == source.link(6)
        is_whole(again, source)
        assert client.taken_count < len(nodes_of(source)) - before.taken_count + 40
        assert not any(message.is_deep for _, message in asked if isinstance(message, WantNodes))


def test_a_state_that_is_pruned_meanwhile_is_followed_by_a_newer_one_of_which_only_changes_are_asked(
    tmp_path: Path, joiner: Storage
) -> None:
    folder = tmp_path / "source"
    with closing(chain(folder, ACCOUNTS, 4, Retention(states_kept=1))) as source:
        count = 0

        def say(message: Message) -> Message | None:
            nonlocal count
            count += 1
            if count == 10:
                extend(source, 3, receivers=2)
            return honest(source)(message)

        client = SnapshotClient(joiner, source.genesis)
        asked = join(client, {A: say})
        assert client.installed == source.link(7)
        is_whole(joiner, source)
        assert sum(isinstance(message, WantLinks) for _, message in asked) == 2
        assert client.taken_count < len(nodes_of(source)) + 60


def test_a_node_that_was_away_too_long_takes_what_has_changed_and_keeps_its_blocks(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / name for name in ("source", "behind")]
    with (
        closing(chain(folders[0], ACCOUNTS, 3)) as source,
        closing(chain(folders[1], ACCOUNTS, 3)) as behind,
    ):
        assert behind.head == source.head
        extend(source, 5, receivers=2)
        client = SnapshotClient(behind, source.genesis)
        join(client, {A: honest(source)})
        is_whole(behind, source)
        assert client.taken_count < 100 < len(nodes_of(source))
        assert behind.headers(1, 3) == source.headers(1, 3)
        assert behind.headers(1, 9) == source.headers(1, 3)
        assert (behind.headers_from, len(behind.certified(1, 9))) == (8, 3)


def test_blocks_from_before_a_snapshot_are_pruned_with_their_headers(tmp_path: Path) -> None:
    folder = tmp_path / "behind"
    with closing(chain(tmp_path / "source", 40, 3)) as source:
        chain(folder, 40, 3).close()
        extend(source, 5)
        few = Retention(bodies_bytes_max=1)
        with closing(Storage.open(folder / "chain.sqlite", source.genesis, retention=few)) as behind:
            join(SnapshotClient(behind, source.genesis), {A: honest(source)})
            assert len(behind.headers(1, 9)) == 3
            extend(behind, 1)
            assert [row[0] for row in behind.connection.execute("SELECT height FROM body")] == [9]
            assert [row[0] for row in behind.connection.execute("SELECT height FROM block")] == [8, 9]
            assert behind.connection.execute("SELECT count(*) FROM tx").get == 1


def test_a_snapshot_that_is_given_up_leaves_nothing_behind(source: Storage, joiner: Storage) -> None:
    client = SnapshotClient(joiner, source.genesis)
    join(client, {A: honest(source)}, answers_max=5)
    assert joiner.is_joining
    extend(joiner, 1)
    assert bool(joiner.is_joining) is False
    assert nodes_of(joiner) == {node_hash for node_hash, _ in joiner.nodes.walk(joiner.head.state_root)}


def test_a_state_that_is_not_whole_is_not_installed(source: Storage, joiner: Storage) -> None:
    link = source.link(6)
    assert link is not None
    with pytest.raises(StorageDamaged, match="the state of block 6 is not whole; fetch it"):
        joiner.install(link)
    assert joiner.head.height == 0


def test_votes_of_decided_heights_are_forgotten_by_installing(source: Storage, joiner: Storage) -> None:
    voter = key("validator 0")
    for height in (1, 6, 7):
        joiner.put_votes(
            [Kept(Vote.sign(voter, source.genesis.chain_id, height, 1, Phase.PREPARE, bytes(32)))]
        )
    join(SnapshotClient(joiner, source.genesis), {A: honest(source)})
    assert [len(joiner.votes(height)) for height in (1, 6, 7)] == [0, 0, 1]


# Who answers


def test_an_answer_stays_within_its_bounds_and_says_what_it_has(
    source: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = source.head.state_root
    whole = [node for _, node in source.nodes.walk(root)]

    def ask(message: WantNodes) -> list[bytes]:
        said = answer(source, message)
        assert isinstance(said, StateNodes)
        assert said.first == message.hashes[0]
        return list(said.nodes)

    assert ask(WantNodes(True, (root,))) == whole[:60]
    assert ask(WantNodes(False, (root, root))) == [whole[0]] * 2
    assert ask(WantNodes(False, (root, bytes(32), root))) == [whole[0]], "up to the first that is not there"
    assert ask(WantNodes(True, (bytes(32),))) == []
    monkeypatch.setattr("chain_node.snapshot.NODES_SIZE_MAX", len(whole[0]) + len(whole[1]))
    assert ask(WantNodes(True, (root,))) == whole[:2]
    monkeypatch.setattr("chain_node.snapshot.NODES_SIZE_MAX", 1)
    assert ask(WantNodes(True, (root,))) == whole[:1], "one always"


def test_a_damaged_node_is_never_sent(tmp_path: Path) -> None:
    with closing(chain(tmp_path, 20, 1)) as source:
        root = source.head.state_root
        whole = [node for _, node in source.nodes.walk(root)]
        third = [node_hash for node_hash, _ in source.nodes.walk(root)][2]
        source.connection.execute("UPDATE node SET data = x'0102' WHERE hash = ?", (third,))
        said = answer(source, WantNodes(True, (root,)))
        assert isinstance(said, StateNodes)
        assert list(said.nodes) == whole[:2]


def test_headers_are_sent_from_anywhere_and_the_newest_for_nothing(source: Storage) -> None:
    links = tuple(Link.decode(*row) for row in source.headers(1, 9))
    assert answer(source, WantLinks(0, 9)) == Links(0, links[5:])
    assert answer(source, WantLinks(2, 3)) == Links(2, links[1:4])
    assert answer(source, WantLinks(5, 128)) == Links(5, links[4:])
    assert answer(source, WantLinks(7, 1)) == Links(7, ())


def test_who_is_at_the_genesis_has_no_header(joiner: Storage) -> None:
    assert answer(joiner, WantLinks(0, 1)) == Links(0, ())
    client = SnapshotClient(joiner, joiner.genesis)
    join(client, {A: honest(joiner)})
    assert not client.is_done
    assert TIMEOUT_MS == 10_000


def test_golden_bytes_of_the_messages(source: Storage) -> None:
    for message, golden in (
        (WantNodes(True, (bytes(32),)), "8310018158" + "20" + "00" * 32),
        (WantNodes(False, (b"\x01" * 32,)), "8310008158" + "20" + "01" * 32),
        (StateNodes(bytes(32), (b"\x02\x03",)), "83115820" + "00" * 32 + "81420203"),
        (WantLinks(0, 1), "83120001"),
        (Links(7, ()), "83130780"),
    ):
        assert messages.encode(message).hex() == golden
        assert messages.decode(bytes.fromhex(golden)) == message
    assert State(source.entries(source.head.state_root)).account(ALICE.public).nonce == ACCOUNTS + 5


@pytest.fixture
def small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "WEIGH_GAP", 4)
    monkeypatch.setattr(snapshot, "WEIGH_TX", 20)
    monkeypatch.setattr(snapshot, "LINKS_COUNT_MAX", 3)


@pytest.mark.usefixtures("small_weights")
@pytest.mark.parametrize(
    ("behind", "payments", "weighed", "is_taken"),
    [
        (3, 30, [], False),
        (8, 2, [3, 6, 9], False),
        (8, 3, [3, 6, 9], True),
        (8, 30, [3], True),
    ],
    ids=["hardly behind", "few transactions", "just too many", "many"],
)
def test_transactions_that_were_missed_decide_whether_a_state_is_sooner_there(
    tmp_path: Path, behind: int, payments: int, weighed: list[int], *, is_taken: bool
) -> None:
    with (
        closing(Storage.open(tmp_path / "source.sqlite", rich_genesis(FIRST_ACCOUNTS))) as source,
        closing(Storage.open(tmp_path / "joiner.sqlite", rich_genesis(FIRST_ACCOUNTS))) as joiner,
    ):
        extend(source, 2)
        extend(joiner, 2)
        assert joiner.head == source.head
        extend(source, behind, payments)
        client = SnapshotClient(joiner, source.genesis, gap_min=1_000)
        asked = join(client, {A: honest(source)})
        headers = [message for _, message in asked if isinstance(message, WantLinks)]
        assert headers == [WantLinks(0, 1)] + [WantLinks(first, 3) for first in weighed]
        assert client.is_done
        assert (client.installed is not None, joiner.head == source.head) == (is_taken, is_taken)
        assert any(isinstance(message, WantNodes) for _, message in asked) == is_taken


@pytest.mark.usefixtures("small_weights")
def test_who_has_no_headers_to_weigh_has_a_state_and_who_is_silent_holds_nobody_up(
    source: Storage, joiner: Storage
) -> None:
    def without_headers(message: Message) -> Message | None:
        if isinstance(message, WantLinks) and message.first:
            return Links(message.first, ())
        return honest(source)(message)

    def silent(message: Message) -> Message | None:
        return None if isinstance(message, WantLinks) and message.first else honest(source)(message)

    client = SnapshotClient(joiner, source.genesis, gap_min=1_000)
    join(client, {A: silent})
    assert (client.is_done, client.installed, client.deadline_ms) == (True, None, None)
    client = SnapshotClient(joiner, source.genesis, gap_min=1_000)
    join(client, {A: without_headers})
    assert client.installed == source.link(6)
    is_whole(joiner, source)
