"""The kill test in short, and that its checks find what they are there to find."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.ingest import GROUP_BATCHES_MAX
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from obd.can_frame import CanFrame
from tests import kill, kill_victim
from tests.bench.frames import frames_digest
from tests.kill import Boot, check_records, read_journal

TRACE = [CanFrame(0x100 + number, 0, bytes((number,) * 8)) for number in range(7)]


def records(boot: int, count: int, *, first: int = 0) -> list[Record]:
    """What a boot has replayed, from record `first` on."""
    return [
        Record(RecordName("can0", boot, seq), 1_000 * seq, TRACE[seq % len(TRACE)])
        for seq in range(first, first + count)
    ]


def promised(boot: int, counts: Sequence[int]) -> Boot:
    """A boot that has acknowledged batches of so many records."""
    acks = []
    first = 0
    for count in counts:
        batch = records(boot, count, first=first)
        acks.append((first, count, frames_digest((record.taken_ns, record.value) for record in batch)))
        first += count
    return Boot(boot, acks)


def problems(found: list[Record]) -> list[str]:
    """What is wrong with `found`, after boot 1 has promised 20 records and boot 3 has promised 10."""
    return check_records([promised(1, (10, 10)), promised(3, (10,))], found, TRACE).problems


def test_what_was_promised_and_one_batch_more_is_right() -> None:
    tally = check_records([promised(1, (10, 10)), promised(3, (10,))], records(1, 20) + records(3, 20), TRACE)
    assert tally.problems == []
    assert (tally.boots, tally.acknowledged, tally.unacknowledged) == (2, 30, 10)


def test_a_lost_record_is_found() -> None:
    left = records(1, 20) + records(3, 10)
    del left[15]
    assert problems(left) == [
        "boot 1: 1 of the acknowledged records 10..19 are lost",
        "boot 1: its records are not numbered without holes",
    ]


def test_a_lost_tail_is_found_although_it_leaves_no_hole() -> None:
    assert problems(records(1, 20) + records(3, 9)) == ["boot 3: 1 of the acknowledged records 0..9 are lost"]


def test_a_lost_boot_is_found() -> None:
    assert problems(records(1, 20)) == ["boot 3: 10 of the acknowledged records 0..9 are lost"]


def test_a_doubled_record_is_found() -> None:
    assert problems(records(1, 20) + records(3, 10) + records(1, 1, first=4)) == ["can0/1/4 is there 2 times"]


def test_a_record_with_another_value_is_found() -> None:
    found = records(1, 20) + records(3, 10)
    found[3] = Record(found[3].name, found[3].taken_ns, TRACE[0])
    assert problems(found) == [
        "boot 1: records 0..9 have other content",
        f"can0/1/3 is {TRACE[0]}, {TRACE[3]} was replayed",
    ]


def test_a_record_with_another_time_is_found() -> None:
    found = records(1, 20) + records(3, 10)
    found[3] = Record(found[3].name, found[3].taken_ns + 1, found[3].value)
    assert problems(found) == ["boot 1: records 0..9 have other content"]


def test_a_gap_in_the_place_of_a_frame_is_found() -> None:
    found = records(1, 20) + records(3, 10)
    found[3] = Record(found[3].name, 0, Gap("nobody knows", 1, 0, 0))
    assert problems(found)[:1] == ["boot 1: records 0..9 have other content"]


def test_records_that_nobody_can_have_taken_in_are_found() -> None:
    surplus = kill_victim.BATCH_FRAMES * GROUP_BATCHES_MAX + 1
    assert problems(records(1, 20) + records(3, 10 + surplus)) == [
        f"boot 3: {10 + surplus} records, 10 acknowledged; one commit takes less"
    ]
    assert problems(records(1, 20) + records(3, 10 + surplus - 1)) == []
    assert problems(records(1, 20) + records(2, 1) + records(3, 10)) == [
        "can0/2/0 is of a boot that never was"
    ]


def test_a_journal_tells_boots_and_promises() -> None:
    boots, is_ended = read_journal("boot 1\nack 0 10 aa\nack 10 5 bb\nboot 2\nboot 3\nack 0 1 cc\nend\n")
    assert boots == [Boot(1, [(0, 10, "aa"), (10, 5, "bb")]), Boot(2), Boot(3, [(0, 1, "cc")])]
    assert [boot.end_seq for boot in boots] == [15, 0, 1]
    assert is_ended


def test_a_line_of_the_journal_that_was_cut_is_no_promise() -> None:
    boots, is_ended = read_journal("boot 1\nack 0 10 aa\nack 10 5 b")
    assert boots == [Boot(1, [(0, 10, "aa")])]
    assert not is_ended


def test_promises_that_do_not_follow_each_other_are_found() -> None:
    first, second = promised(1, (10,)), promised(1, (10, 10))
    boot = Boot(1, [*first.acks, second.acks[1], second.acks[1]])
    found = check_records([boot], records(1, 20), TRACE).problems
    assert found == ["boot 1: its journal promises record 10 after record 20"]


@pytest.mark.slow
def test_a_gateway_that_is_killed_keeps_its_promises(tmp_path: Path) -> None:
    tally = kill.run(8, seed=7, folder=tmp_path)
    assert tally.problems == []
    assert tally.kills == 8
    assert tally.boots >= 2
    assert tally.acknowledged > 1_000
    assert tally.proofs >= tally.uploads > 0
