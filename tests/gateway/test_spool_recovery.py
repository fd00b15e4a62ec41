"""Recovery on a disk that has altered or lost what it was given: a gap stands for it, never silence."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.block import Block, Samples
from gateway.record import Record
from gateway.sensors.source import Gap
from gateway.spool import Spool
from gateway.spool_recovery import LOST
from gateway.spool_rows import ENTRY_BITS
from gateway.store import LocalStore
from tests.gateway.telemetry import (
    NOON_NS,
    can_batch,
    drain,
    open_archive,
    open_pipeline,
    open_spool,
    read_all,
    stream_keys,
)

MS = 1_000_000


def fill(folder: Path, boots: list[list[int]]) -> None:
    """A spool with entries of so many records, boot by boot, one record a millisecond."""
    taken_ns = NOON_NS
    for counts in boots:
        spool = open_spool(folder)
        stream = spool.open_stream(stream_keys().stream_id, "can0", "can", 1_000, 5)
        seq = 0
        for count in counts:
            batch = can_batch(count, taken_ns)
            spool.append(stream, Samples(spool.boot, seq, batch.taken_ns, batch.values))
            seq += count
            taken_ns += count * MS
        spool.close()


def harm(folder: Path, sql: str, *arguments: Any) -> None:
    raw = apsw.Connection(str(folder / "spool.db"))
    raw.execute(sql, arguments)
    assert raw.changes() > 0
    raw.close()


def recovered(spool: Spool) -> Iterator[Record]:
    (stream,) = spool.streams()
    for samples in spool.recover(stream):
        yield from Block("can", "can0", 0, b"", samples).records()


def story(folder: Path) -> list[str]:
    """What recovery gives, in words: runs of records, and gaps with their count and span."""
    spool = open_spool(folder)
    lines: list[str] = []
    for record in recovered(spool):
        name = f"{record.name.boot}/{record.name.seq}"
        if isinstance(record.value, Gap):
            assert record.value.reason == LOST
            from_ms, to_ms = (
                (moment - NOON_NS) // MS for moment in (record.value.from_ns, record.value.to_ns)
            )
            lines.append(f"{name} lost {record.value.count}, {from_ms}..{to_ms}")
        elif lines and "lost" not in lines[-1] and lines[-1].split("/")[0] == str(record.name.boot):
            lines[-1] = f"{lines[-1].split('..')[0]}..{record.name.seq}"
        else:
            lines.append(f"{name}..{record.name.seq}")
    spool.close()
    return lines


def entry(boot: int, number: int) -> int:
    return (boot << ENTRY_BITS) + number


class TestStories:
    """Two boots; entries of 10 records each, three in the first boot and two in the second."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        fill(tmp_path, [[10, 10, 10], [10, 10]])
        return tmp_path

    def test_nothing_is_wrong(self, folder: Path) -> None:
        assert story(folder) == ["1/0..29", "2/0..19"]

    @pytest.mark.parametrize(
        "sql", ["UPDATE entry SET body = zeroblob(50) WHERE id = ?", "DELETE FROM entry WHERE id = ?"]
    )
    def test_an_entry_in_the_middle(self, folder: Path, sql: str) -> None:
        harm(folder, sql, entry(1, 1))
        span = "10..20" if "UPDATE" in sql else "20..20"
        assert story(folder) == ["1/0..9", f"1/10 lost 10, {span}", "1/20..29", "2/0..19"]

    def test_the_first_entry_of_a_boot(self, folder: Path) -> None:
        harm(folder, "UPDATE entry SET body = x'' WHERE id = ?", entry(2, 0))
        assert story(folder) == ["1/0..29", "2/0 lost 10, 30..40", "2/10..19"]

    def test_the_last_entry_of_an_earlier_boot(self, folder: Path) -> None:
        harm(folder, "UPDATE entry SET body = x'' WHERE id = ?", entry(1, 2))
        assert story(folder) == ["1/0..19", "1/20 lost 10, 20..29", "2/0..19"]

    def test_the_last_entry_of_all(self, folder: Path) -> None:
        harm(folder, "UPDATE entry SET body = x'' WHERE id = ?", entry(2, 1))
        assert story(folder) == ["1/0..29", "2/0..9", "2/10 lost 10, 40..49"]

    def test_several_in_a_row(self, folder: Path) -> None:
        harm(folder, "UPDATE entry SET body = x'' WHERE id BETWEEN ? AND ?", entry(1, 1), entry(2, 0))
        assert story(folder) == ["1/0..9", "1/10 lost 20, 10..29", "2/0 lost 10, 30..40", "2/10..19"]

    def test_every_entry(self, folder: Path) -> None:
        harm(folder, "UPDATE entry SET body = x''")
        assert story(folder) == ["0/0 lost 50, 0..49"]

    def test_the_salt_of_a_boot(self, folder: Path) -> None:
        harm(folder, "UPDATE boot SET salt = zeroblob(16) WHERE boot = 1")
        assert story(folder) == ["0/0 lost 30, 0..29", "2/0..19"]

    def test_the_row_of_a_boot(self, folder: Path) -> None:
        harm(folder, "DELETE FROM boot WHERE boot = 2")
        assert story(folder) == ["1/0..29", "1/30 lost 20, 30..49"]

    @pytest.mark.parametrize(
        ("column", "value", "want"),
        [
            ("first_seq", 1 << 40, ["1/0..9", "1/10 lost 10, 10..20", "1/20..29", "2/0..19"]),
            ("end_seq", -5, ["1/0..9", "1/10 lost 10, 10..20", "1/20..29", "2/0..19"]),
            ("last_ns", "nonsense", ["1/0..9", None, "1/20..29", "2/0..19"]),
            ("body", 7, ["1/0..9", "1/10 lost 10, 10..20", "1/20..29", "2/0..19"]),
        ],
    )
    def test_a_column_that_is_nonsense(
        self, folder: Path, column: str, value: object, want: list[str | None]
    ) -> None:
        harm(folder, f"UPDATE entry SET {column} = ? WHERE id = ?", value, entry(1, 1))  # noqa: S608  columns above
        for got, wanted in zip(story(folder), want, strict=True):
            assert wanted is None or got == wanted

    def test_what_a_damaged_last_row_says_of_itself_is_bounded(self, folder: Path) -> None:
        harm(folder, "UPDATE entry SET end_seq = 1 << 60, last_ns = ~(1 << 63) WHERE id = ?", entry(2, 1))
        spool = open_spool(folder)
        *_, last = recovered(spool)
        assert last.value.count == 1 << 20
        assert last.value.to_ns == (1 << 62) - 1
        assert (last.name.boot, last.name.seq) == (2, 10)

    def test_an_entry_that_is_there_twice_counts_once(self, folder: Path) -> None:
        """Its commit failed, it was made again, and after a power cut both are there."""
        spool = open_spool(folder)
        (stream,) = spool.streams()
        batch = can_batch(25)
        spool.append(stream, Samples(spool.boot, 0, batch.taken_ns[:20], batch.values[:20]))
        spool.append(stream, Samples(spool.boot, 0, batch.taken_ns[:20], batch.values[:20]))
        spool.append(stream, Samples(spool.boot, 10, batch.taken_ns[10:], batch.values[10:]))
        spool.close()
        assert story(folder) == ["1/0..29", "2/0..19", "3/0..24"]


def test_the_gaps_are_sealed_and_read_like_any_other_record_and_once(tmp_path: Path) -> None:
    fill(tmp_path, [[10, 10, 10], [10, 10]])
    harm(tmp_path, "UPDATE entry SET body = x'' WHERE id IN (?, ?)", entry(1, 1), entry(2, 1))
    store = LocalStore(tmp_path / "store")
    for _ in range(3):
        spool = open_spool(tmp_path)
        open_pipeline(spool)
        assert spool.counts().entries == 0
        drain(spool, store)
        spool.close()
    found = [
        (record.name.boot, record.name.seq, record.value.count if isinstance(record.value, Gap) else None)
        for record in read_all(open_archive(store))
    ]
    assert found == [
        *((1, seq, None) for seq in range(10)),
        (1, 10, 10),
        *((1, seq, None) for seq in range(20, 30)),
        *((2, seq, None) for seq in range(10)),
        (2, 10, 10),
    ]


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5), min_size=1, max_size=3),
    st.sets(st.integers(0, 14)),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_whatever_is_damaged_the_rest_is_there_once_and_the_loss_is_told(
    boots: list[list[int]], hurt: set[int], is_deleted: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, boots)
        rows = [(boot, number) for boot, counts in enumerate(boots, 1) for number in range(len(counts))]
        hurt_rows = [row for place, row in enumerate(rows) if place in hurt]
        for row in hurt_rows:
            sql = (
                "DELETE FROM entry WHERE id = ?" if is_deleted else "UPDATE entry SET body = x'' WHERE id = ?"
            )
            harm(folder, sql, entry(*row))
        spool = open_spool(folder)
        records = list(recovered(spool))
        spool.close()
    names = [record.name for record in records]
    assert names == sorted(set(names))
    whole = {
        (boot, seq)
        for boot, number in rows
        if (boot, number) not in hurt_rows
        for seq in range(sum(boots[boot - 1][:number]), sum(boots[boot - 1][: number + 1]))
    }
    got = {(each.name.boot, each.name.seq) for each in records if not isinstance(each.value, Gap)}
    assert got == whole
    lost = sum(each.value.count for each in records if isinstance(each.value, Gap))
    want = sum(boots[boot - 1][number] for boot, number in hurt_rows)
    if is_deleted:
        # Of rows that are gone at the end of a boot there is nothing left that could tell.
        assert lost <= want
    else:
        assert lost == want
