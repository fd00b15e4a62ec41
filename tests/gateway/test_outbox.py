"""The outbox by itself, and the handover from the spool to it across crashes."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.block import Samples
from gateway.disk import DiskFull
from gateway.outbox import NewMessage, Outbox, OutboxError, message_key
from gateway.pipeline import StreamPipeline
from gateway.sensors.source import BLOCK, DROP_NEWEST, DROP_OLDEST, Gap
from gateway.spool import Spool
from gateway.uplink_format import StreamFormat
from gateway.uplink_handover import Handover
from tests.gateway.telemetry import NOON_NS, SPOOL_KEY, can_batch, stream_keys

ID = bytes(range(32))


def message(first: int, count: int = 10, boot: int = 1, payload: bytes = b"x" * 50) -> NewMessage:
    return NewMessage(ID, boot, first, first + count, NOON_NS, NOON_NS + 1, "t", payload)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db", SPOOL_KEY)
    box.open_stream(ID, "can0", BLOCK)
    yield box
    box.close()


def keys(box: Outbox) -> list[str]:
    return [each.key.split("/")[2] for each in box.waiting(0, 1_000)]


def test_what_was_committed_waits_until_it_is_done(outbox: Outbox) -> None:
    outbox.commit([message(0), message(10, payload=b"second")])
    first, second = outbox.waiting(0, 10)
    assert (first.key, first.topic, second.payload) == ("0001020304050607/1/0-9", "t", b"second")
    assert outbox.waiting(first.row, 10) == [second]
    outbox.done([first.row])
    # Not sent again, although it leaves the disk with the next commit only.
    assert outbox.waiting(0, 10) == [second]
    assert outbox.counts().messages == 2
    outbox.commit(())
    assert (outbox.counts().messages, outbox.counts().records) == (1, 10)


def test_the_mark_moves_with_the_messages_and_survives(outbox: Outbox, tmp_path: Path) -> None:
    assert outbox.open_stream(ID, "can0", BLOCK) == (0, 0)
    outbox.commit([message(0), message(10)])
    outbox.commit([message(0, boot=2)])
    outbox.close()
    again = Outbox(tmp_path / "outbox.db", SPOOL_KEY)
    assert again.open_stream(ID, "can0", BLOCK) == (2, 10)
    assert again.boot_max == 2
    assert keys(again) == ["0-9", "10-19", "0-9"]
    again.close()


def test_the_key_of_a_message_is_this() -> None:
    assert message_key(bytes(range(32)), 4, 100, 150) == "0001020304050607/4/100-149"


def test_numbers_of_connections_and_of_operators_survive(outbox: Outbox, tmp_path: Path) -> None:
    assert [outbox.begin_session() for _ in range(3)] == [1, 2, 3]
    assert outbox.number("did:key:a") == -1
    outbox.set_number("did:key:a", 7)
    outbox.close()
    again = Outbox(tmp_path / "outbox.db", SPOOL_KEY)
    assert (again.begin_session(), again.number("did:key:a"), again.number("did:key:b")) == (4, 7, -1)
    again.close()


def test_what_lies_on_the_disk_is_not_what_was_said(outbox: Outbox, tmp_path: Path) -> None:
    outbox.commit([message(0, payload=b"the driver's secret " * 10)])
    outbox.close()
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(OutboxError, match="was written with another key file"):
        Outbox(tmp_path / "outbox.db", bytes(32))


@pytest.mark.parametrize("policy", [DROP_OLDEST, DROP_NEWEST])
def test_a_full_outbox_drops_and_counts(tmp_path: Path, policy: str) -> None:
    outbox = Outbox(tmp_path / "outbox.db", SPOOL_KEY, stream_size_max_bytes=1_500)
    outbox.open_stream(ID, "can0", policy)
    for first in range(0, 100, 10):
        outbox.commit([message(first)])
    held = keys(outbox)
    (loss,) = outbox.losses(ID)
    count = 10 - len(held)
    if policy == DROP_OLDEST:
        assert held == [f"{first}-{first + 9}" for first in range(count * 10, 100, 10)]
        assert (loss.first_seq, loss.end_seq) == (0, count * 10)
    else:
        assert held == [f"{first}-{first + 9}" for first in range(0, len(held) * 10, 10)]
        assert (loss.first_seq, loss.end_seq) == (len(held) * 10, 100)
    assert (loss.gap.count, loss.gap.from_ns, loss.gap.to_ns) == (count * 10, NOON_NS, NOON_NS + 1)
    # The gap record that tells of it comes by, on its way to the receiver.
    outbox.commit([message(100, 1)], {ID: [Gap("the bus was down", 0, 1, 2), loss.gap]})
    assert loss.gap.reason not in [each.gap.reason for each in outbox.losses(ID)]
    outbox.close()


def test_what_is_under_way_is_not_dropped(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", SPOOL_KEY, stream_size_max_bytes=1_500)
    outbox.open_stream(ID, "can0", DROP_OLDEST)
    outbox.commit([message(0), message(10), message(20)])
    assert [each.key.split("/")[2] for each in outbox.waiting(0, 2)] == ["0-9", "10-19"]
    for first in range(30, 200, 10):
        outbox.commit([message(first)])
    assert keys(outbox)[:2] == ["0-9", "10-19"]
    assert outbox.losses(ID)[0].first_seq == 20
    outbox.close()


def test_a_loss_that_is_being_told_grows_no_more(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", SPOOL_KEY, stream_size_max_bytes=1_000)
    outbox.open_stream(ID, "can0", DROP_NEWEST)
    for first in range(0, 100, 10):
        outbox.commit([message(first)])
    (told,) = outbox.losses(ID)
    outbox.commit([message(100)])
    assert [(loss.first_seq, loss.end_seq) for loss in outbox.losses(ID)] == [
        (told.first_seq, 100),
        (100, 110),
    ]
    outbox.close()


def test_a_message_that_the_disk_has_altered_is_a_loss(outbox: Outbox) -> None:
    outbox.commit([message(0), message(10)])
    outbox._database.execute("UPDATE message SET body = zeroblob(80) WHERE first_seq = 0")
    assert keys(outbox) == ["10-19"]
    (loss,) = outbox.losses(ID)
    assert loss.gap.reason == "uplink: 1/0-9 not sent: damaged on the gateway's disk"
    # And one that pretends to be of another number is no better.
    outbox._database.execute("UPDATE message SET first_seq = 9")
    assert keys(outbox) == []


# The handover


class Site:
    """A spool and an outbox, opened anew after each crash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(self._folder / "outbox.db", SPOOL_KEY)
        self.spool = Spool(self._folder / "spool.db", SPOOL_KEY)
        self.spool.skip_boots(self.outbox.boot_max)
        keys = stream_keys()
        self.handover = Handover(self.outbox, 7, 100_000)
        stream = StreamFormat("g", "can0", "can", keys.stream_id, "t")
        self.tap = self.handover.tap(stream, BLOCK)
        self.pipeline = StreamPipeline(self.spool, keys, "can0", "can", 1_000, 5, 0, self.tap)

    def crash(self) -> None:
        """What was not committed is gone."""
        self.outbox._database.close()
        self.spool.close()

    def handed_over(self) -> list[tuple[int, int]]:
        """(boot, number) of every record in the outbox, in order."""
        return [
            (int(boot), seq)
            for each in self.outbox.waiting(0, 100_000, 1 << 30)
            for boot, numbers in [each.key.split("/")[1:]]
            for seq in range(int(numbers.split("-")[0]), int(numbers.split("-")[1]) + 1)
        ]


@given(
    st.lists(
        st.one_of(st.integers(1, 40), st.sampled_from(["settle", "tick", "flush", "crash"])), max_size=25
    )
)
@settings(deadline=None, max_examples=40)
def test_every_record_is_handed_over_once_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    site = Site(tmp_path_factory.mktemp("site"))
    accepted: list[tuple[int, int]] = []
    moment_ns = NOON_NS
    for step in [*steps, "settle"]:
        if isinstance(step, int):
            samples = site.pipeline.accept(can_batch(step, moment_ns, 100_000_000), 0)
            accepted += [(samples.boot, seq) for seq in range(samples.first_seq, samples.end_seq)]
            moment_ns += step * 100_000_000
        elif step == "settle":
            site.handover.settle()
        elif step == "tick":
            site.pipeline.tick(1 << 40)
        elif step == "flush":
            site.pipeline.flush()
        else:
            site.crash()
            site.open()
    assert site.handed_over() == accepted
    site.crash()


def test_records_that_were_handed_over_in_part_go_on_within_a_batch(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.tap.take(Samples(1, 0, *_values(10)))
    site.handover.settle()
    site.tap.take(Samples(1, 5, *_values(10)))
    site.tap.take(Samples(0, 0, *_values(10)))
    site.handover.settle()
    assert site.handed_over() == [(1, seq) for seq in range(15)]
    site.crash()


def _values(count: int) -> tuple[list[int], list[object]]:
    batch = can_batch(count)
    return batch.taken_ns, batch.values


def test_a_disk_that_is_full_keeps_the_records_in_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    real = site.outbox.commit

    def full(*arguments: object, **options: object) -> None:
        raise DiskFull(tmp_path, errno.ENOSPC)

    site.pipeline.accept(can_batch(20, NOON_NS), 0)
    monkeypatch.setattr(site.outbox, "commit", full)
    # The segment is complete, and stays unsealed, because its records could not be handed over.
    site.pipeline.accept(can_batch(20, NOON_NS + 60 * 10**9), 0)
    assert site.pipeline.pending_count == 40
    assert site.spool.counts().segments == 0
    monkeypatch.setattr(site.outbox, "commit", real)
    site.pipeline.flush()
    assert site.pipeline.pending_count == 0
    assert site.handed_over() == [(1, seq) for seq in range(40)]
    site.crash()
