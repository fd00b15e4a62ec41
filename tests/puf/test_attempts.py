"""Attempts: counted before they are made, slower after failures, over after a thousand; told as stories."""

import pytest

from puf import attempts
from puf.attempts import COUNT_MAX, FREE_COUNT, WAIT_MS_MAX, Attempts, wait_ms_after
from puf.errors import AttemptsExceeded, ReproductionError
from puf.notes import Notes, Slots
from tests.puf.chips import enrolled, simulated

READOUTS = simulated()
HELPER, ROOT = enrolled(READOUTS)
OTHER = simulated(b"other")[0]


class Flash(Slots):
    """Two slots that survive the device; `is_dying`: the power fails in the next write."""

    def __init__(self) -> None:
        self.slots = [b"", b""]
        self.write_count = 0
        self.is_dying = False

    def read(self, slot: int) -> bytes:
        return self.slots[slot]

    def write(self, slot: int, data: bytes) -> None:
        if self.is_dying:
            self.slots[slot] = data[: len(data) // 2]
            raise KeyboardInterrupt
        self.slots[slot] = data
        self.write_count += 1


def fail(device: Attempts, now_ms: int) -> None:
    with pytest.raises(ReproductionError):
        device.reproduce(OTHER, HELPER, now_ms)


def test_a_good_attempt_gives_the_root_and_leaves_no_count() -> None:
    flash = Flash()
    device = Attempts(flash, 0)
    assert device.reproduce(READOUTS[0], HELPER, 0) == ROOT
    assert device.failure_count == 0
    assert Attempts(flash, 0).failure_count == 0
    assert flash.write_count == 2


def test_after_some_failures_the_wait_doubles() -> None:
    device = Attempts(Flash(), 0)
    for _ in range(FREE_COUNT):
        fail(device, 0)
    now_ms = 0
    for wait_ms in (1_000, 2_000, 4_000, 8_000):
        fail(device, now_ms)
        with pytest.raises(AttemptsExceeded, match=f"wait {wait_ms} ms") as told:
            device.reproduce(READOUTS[0], HELPER, now_ms)
        assert told.value.wait_ms == wait_ms
        with pytest.raises(AttemptsExceeded, match="wait 1 ms"):
            device.reproduce(READOUTS[0], HELPER, now_ms + wait_ms - 1)
        now_ms += wait_ms
    assert device.reproduce(READOUTS[0], HELPER, now_ms) == ROOT
    fail(device, now_ms)
    assert device.reproduce(READOUTS[0], HELPER, now_ms) == ROOT


def test_a_restart_forgets_neither_failures_nor_the_wait() -> None:
    flash = Flash()
    device = Attempts(flash, 0)
    for _ in range(FREE_COUNT + 1):
        fail(device, 0)
    again = Attempts(flash, 70)
    assert again.failure_count == FREE_COUNT + 1
    with pytest.raises(AttemptsExceeded, match="wait 1000 ms"):
        again.reproduce(READOUTS[0], HELPER, 70)
    assert again.reproduce(READOUTS[0], HELPER, 1_070) == ROOT


def test_an_attempt_is_counted_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    flash = Flash()

    def power_cut(readout: bytes, helper: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(attempts, "reproduce", power_cut)
    for count in range(3):
        device = Attempts(flash, 0)
        assert device.failure_count == count
        with pytest.raises(KeyboardInterrupt):
            device.reproduce(READOUTS[0], HELPER, 0)


def test_a_power_cut_in_the_write_leaves_the_count_before_it() -> None:
    flash = Flash()
    device = Attempts(flash, 0)
    fail(device, 0)
    fail(device, 0)
    flash.is_dying = True
    with pytest.raises(KeyboardInterrupt):
        device.reproduce(READOUTS[0], HELPER, 0)
    assert Attempts(flash, 0).failure_count == 2


def test_a_wait_while_one_waits_is_not_counted() -> None:
    flash = Flash()
    device = Attempts(flash, 0)
    for _ in range(FREE_COUNT + 1):
        fail(device, 0)
    written = flash.write_count
    for _ in range(10):
        with pytest.raises(AttemptsExceeded):
            device.reproduce(OTHER, HELPER, 0)
    assert flash.write_count == written


def test_a_thousand_failures_are_the_end() -> None:
    flash = Flash()
    Notes(flash, bytes(32), "attempts").write(b"\x19\x03\xe7")
    now_ms = WAIT_MS_MAX
    device = Attempts(flash, 0)
    assert device.failure_count == COUNT_MAX - 1
    fail(device, now_ms)
    for later_ms in (now_ms, now_ms + 10 * WAIT_MS_MAX):
        with pytest.raises(AttemptsExceeded, match="enrol the device anew") as told:
            device.reproduce(READOUTS[0], HELPER, later_ms)
        assert told.value.wait_ms is None


@pytest.mark.parametrize(
    "value", [b"", b"\x20", b"\x19\x03\xe9", b"\xf5", b"\x61a", b"\x18\x01", b"\xff", bytes(20)]
)
def test_a_count_that_makes_no_sense_is_the_end_too(value: bytes) -> None:
    flash = Flash()
    Notes(flash, bytes(32), "attempts").write(value)
    assert Attempts(flash, 0).failure_count == COUNT_MAX


def test_waits_grow_to_an_hour() -> None:
    assert [wait_ms_after(count) for count in (0, 5, 6, 7, 16, 17, 18, 500)] == [
        *(0, 0, 1_000, 2_000, 1_024_000, 2_048_000, 3_600_000, 3_600_000)
    ]
