"""Following a stream beside the gateway that runs it: nothing twice, and nothing silently left out."""

from pathlib import Path

import pytest

from gateway import tail as tail_module
from gateway.config import GatewayConfig, load
from gateway.crypto.key_file import GatewayKey, create_gateway_key
from gateway.disk import Disk
from gateway.errors import NotRunYet, SpoolError
from gateway.pipeline import StreamPipeline
from gateway.record import Record
from gateway.sensors.source import Batch, Gap
from gateway.site import stream_keys
from gateway.spool import Spool
from gateway.tail import Tail
from tests.gateway.telemetry import NOON_NS, can_batch

CONFIG = """
[[stream]]
name = "can0"
source = "sim:car"
[[stream]]
name = "can1"
source = "sim:car"
"""


class Beside:
    """A gateway's spool, written by a pipeline, and what follows it."""

    def __init__(self, folder: Path) -> None:
        (folder / "gateway.toml").write_text(CONFIG)
        self.key: GatewayKey = create_gateway_key(folder / "gateway.key")
        self.config: GatewayConfig = load(folder / "gateway.toml")
        Disk().make_directory(self.config.spool_path)
        self.start()

    def start(self, stream: int = 0) -> None:
        """A new life of the gateway."""
        self.spool = Spool(self.config.spool_path / "spool.db", self.key.spool_key)
        settings = self.config.streams[stream]
        self.pipeline = StreamPipeline(
            self.spool,
            stream_keys(self.key, settings),
            settings.name,
            "can",
            settings.block_ms,
            settings.segment_blocks,
            0,
        )

    def kill(self) -> None:
        self.spool.close()

    def tail(self, stream: int = 0) -> Tail:
        return Tail(self.config, self.config.streams[stream], self.key)


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    return Beside(tmp_path)


def seqs(records: tuple[Record, ...]) -> list[tuple[int, int]]:
    return [(record.name.boot, record.name.seq) for record in records]


def numbers(boot: int, begin: int, end: int) -> list[tuple[int, int]]:
    return [(boot, seq) for seq in range(begin, end)]


def test_every_poll_shows_what_is_new_since_the_last(beside: Beside) -> None:
    beside.pipeline.accept(can_batch(5), 0)
    tail = beside.tail()
    assert seqs(tail.poll().records) == numbers(1, 0, 5)
    assert tail.poll() == tail_module.News((), 0, False)
    batch = can_batch(3, NOON_NS + 10**7)
    batch.gaps.append((1, Gap("lost", 1, NOON_NS, NOON_NS)))
    beside.pipeline.accept(batch, 0)
    news = tail.poll()
    assert seqs(news.records) == numbers(1, 5, 9)
    assert [record.value for record in news.records if isinstance(record.value, Gap)] == [batch.gaps[0][1]]
    assert (news.missed_count, news.is_restarted) == (0, False)
    tail.close()
    beside.kill()


def test_what_was_sealed_between_two_polls_is_counted(beside: Beside) -> None:
    tail = beside.tail()
    beside.pipeline.accept(can_batch(5), 0)
    tail.poll()
    beside.pipeline.accept(can_batch(20, NOON_NS + 10**9), 0)
    beside.pipeline.flush()
    assert tail.poll().records == ()
    beside.pipeline.accept(can_batch(4, NOON_NS + 60 * 10**9), 0)
    news = tail.poll()
    assert (seqs(news.records), news.missed_count) == (numbers(1, 25, 29), 20)
    tail.close()
    beside.kill()


def test_a_restart_is_told_and_what_it_sealed_is_counted(beside: Beside) -> None:
    tail = beside.tail()
    beside.pipeline.accept(can_batch(5), 0)
    tail.poll()
    beside.pipeline.accept(can_batch(7, NOON_NS + 10**9), 0)
    beside.kill()
    # The new life seals the seven before anybody could look.
    beside.start()
    beside.pipeline.accept(can_batch(3, NOON_NS + 60 * 10**9), 0)
    news = tail.poll()
    assert (seqs(news.records), news.missed_count, news.is_restarted) == (numbers(2, 0, 3), 7, True)
    news = tail.poll()
    assert (news.missed_count, news.is_restarted) == (0, False)
    tail.close()
    beside.kill()


def test_what_a_new_life_has_sealed_before_anybody_looked_is_counted(beside: Beside) -> None:
    tail = beside.tail()
    beside.pipeline.accept(can_batch(5), 0)
    tail.poll()
    beside.kill()
    beside.start()
    beside.pipeline.accept(can_batch(30, NOON_NS + 60 * 10**9), 0)
    beside.pipeline.flush()
    beside.pipeline.accept(can_batch(3, NOON_NS + 120 * 10**9), 0)
    news = tail.poll()
    assert (seqs(news.records), news.missed_count, news.is_restarted) == (numbers(2, 30, 33), 30, True)
    tail.close()
    beside.kill()


def test_a_restart_of_which_nothing_was_missed(beside: Beside) -> None:
    tail = beside.tail()
    beside.pipeline.accept(can_batch(5), 0)
    assert seqs(tail.poll().records) == numbers(1, 0, 5)
    beside.kill()
    beside.start()
    beside.pipeline.accept(can_batch(3, NOON_NS + 60 * 10**9), 0)
    news = tail.poll()
    assert (seqs(news.records), news.missed_count, news.is_restarted) == (numbers(2, 0, 3), 0, True)
    tail.close()
    beside.kill()


def test_a_full_spool_comes_in_portions(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "POLL_RECORDS_MAX", 10)
    for number in range(5):
        beside.pipeline.accept(can_batch(4, NOON_NS + number * 10**6), 0)
    tail = beside.tail()
    found = [tail.poll() for _ in range(4)]
    assert [len(news.records) for news in found] == [12, 8, 0, 0]
    assert [seq for news in found for seq in seqs(news.records)] == numbers(1, 0, 20)
    tail.close()
    beside.kill()


def test_each_stream_is_followed_alone(beside: Beside) -> None:
    beside.pipeline.accept(can_batch(5), 0)
    other = beside.tail(1)
    assert other.poll().records == ()
    beside.kill()
    beside.start(stream=1)
    beside.pipeline.accept(can_batch(2), 0)
    (news,) = [other.poll()]
    assert [str(record.name) for record in news.records] == ["can1/2/0", "can1/2/1"]
    other.close()
    beside.kill()


def test_a_gateway_that_never_ran_is_told(tmp_path: Path) -> None:
    beside = Beside(tmp_path)
    beside.kill()
    (beside.config.spool_path / "spool.db").unlink()
    with pytest.raises(NotRunYet, match="start it with cpc run"):
        beside.tail()


def test_another_gateway_s_key_is_told(beside: Beside, tmp_path: Path) -> None:
    beside.pipeline.accept(can_batch(5), 0)
    stranger = create_gateway_key(tmp_path / "other.key")
    with pytest.raises(SpoolError, match="was written with another key file"):
        Tail(beside.config, beside.config.streams[0], stranger)
    beside.kill()


def test_following_changes_nothing(beside: Beside) -> None:
    beside.pipeline.accept(Batch([NOON_NS], can_batch(1).values), 0)
    tail = beside.tail()
    before = (beside.config.spool_path / "spool.db-wal").read_bytes()
    tail.poll()
    assert (beside.config.spool_path / "spool.db-wal").read_bytes() == before
    tail.close()
    beside.kill()
