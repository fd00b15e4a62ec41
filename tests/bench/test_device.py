"""The bench of a device's work runs, computes the same on both interpreters, and sizes are as promised."""

import pytest

from tests.bench import device, device_work
from tests.bench.device import MissingError
from tests.bench.measure import TINY


@pytest.fixture(scope="module")
def found() -> tuple[list[device.Row], float]:
    """A tiny run; skipped where the interpreter or the compiler cannot be had."""
    try:
        return device.run(TINY)
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
def test_all_of_a_devices_work_fits_into_its_heap(found: tuple[list[device.Row], float]) -> None:
    rows, rate = found
    assert [row.work.name for row in rows] == ["puf", "edhoc", "fast-path", "grant"]
    for row in rows:
        assert row.here_ms > 0
        assert row.pi_ms > 0
        assert 40 < row.heap_kib <= 128
        assert 10_000 < row.mpy_bytes < 40_000
        assert len(bytes.fromhex(row.digest)) == 32
    assert rate > 0


@pytest.mark.slow
def test_handshakes_are_as_short_as_promised(found: tuple[list[device.Row], float]) -> None:
    sizes = {row.work.name: [len(message) for message in row.work.messages] for row in found[0]}
    assert sizes == {"puf": [], "edhoc": [37, 45, 19], "fast-path": [28, 36, 19], "grant": [159]}
    assert sum(sizes["edhoc"]) <= 120


@pytest.mark.slow
def test_a_grant_brings_no_curve_along(found: tuple[list[device.Row], float]) -> None:
    modules = {row.work.name: row.module_count for row in found[0]}
    assert modules["fast-path"] < modules["grant"] < 12 < modules["edhoc"]


def test_the_table_says_what_is_estimated_and_what_was_missed() -> None:
    work = device.Work("fast-path", [], (bytes(28), bytes(36), bytes(60)), target_ms=40, target_bytes=120)
    fast, slow = (device.Row(work, ms, 1.0, 80, 14_000, 8, "ab" * 32) for ms in (0.2, 0.4))
    lines = device.table([fast, slow]).splitlines()
    assert " ".join(lines[1].split()) == (
        "fast-path 0.20 ms 27 ms 80 KiB 14,000 in 8 3 x, 124 B abababababababab 40 ms met, 120 bytes MISSED"
    )
    assert "55 ms" in lines[2]
    assert "40 ms MISSED" in lines[2]
    assert lines[3].startswith("ESP32: estimated, 137 to 137 times")


def test_the_yardstick_gives_digits_of_pi() -> None:
    _, work = device_work.pi([])
    digits = work(0, None)  # type: ignore[operator]
    assert (len(digits), list(digits[:10]), list(digits[-3:])) == (
        65,
        [3, 1, 4, 1, 5, 9, 2, 6, 5, 3],
        [9, 2, 3],
    )
