"""Energy that never falls, and meters that are not believed when they cannot be."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lock_controller.errors import LimitsError, ReadingError
from lock_controller.meter import (
    BACKWARDS,
    FINE,
    LEAK,
    SILENT,
    TOO_FAST,
    Meter,
    PulseMeter,
    RegisterMeter,
    answer,
    ask,
    crc16,
)


def test_the_crc_is_that_of_modbus() -> None:
    """The check value of CRC-16/MODBUS in the catalogue of parametrised CRC algorithms."""
    assert crc16(b"123456789") == 0x4B37


def test_the_request_is_that_of_the_makers() -> None:
    """Eastron SDM630, protocol document: total active energy is input register 0x0156 (30343)."""
    assert ask(1, 0x0156) == bytes.fromhex("01 04 0156 0002 9027")


def reply(address: int, value: float, function: int = 4) -> bytes:
    body = struct.pack(">BBBf", address, function, 4, value)
    return body + struct.pack("<H", crc16(body))


def test_an_answer_is_read_in_wh() -> None:
    assert answer(reply(1, 1234.5), 1) == 1_234_500
    assert answer(reply(7, 12345.0), 7, unit_wh=1) == 12_345


@pytest.mark.parametrize(
    "data",
    [
        b"", reply(2, 1.0), reply(1, -1.0), reply(1, float("nan")), reply(1, float("inf")),
        reply(1, 1.0, 0x84), reply(1, 1.0)[:-1], reply(1, 1.0) + b"\0",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ReadingError):
        answer(data, 1)


@given(st.integers(0, 71))
def test_every_flipped_bit_of_an_answer_is_found(bit: int) -> None:
    data = bytearray(reply(1, 1234.5))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ReadingError):
        answer(bytes(data), 1)


@given(st.binary(max_size=20))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ReadingError):
        answer(data, 1)


def charge(meter: Meter, now_ms: int = 0) -> None:
    meter.watch(True, now_ms)


@pytest.mark.parametrize("per_kwh", [1, 100, 1_000, 2_000, 3_200, 10_000])
def test_pulses_are_energy_and_none_is_lost(per_kwh: int) -> None:
    meter = PulseMeter(7_400, per_kwh)
    charge(meter)
    gap_ms = 3_600_000_000 // 7_000 // per_kwh
    now_ms = 0
    count = 50 if per_kwh < 100 else 500
    for _ in range(count):
        now_ms += gap_ms
        meter.count(1, now_ms)
        meter.watch(True, now_ms)
    assert meter.energy_wh == count * 1_000 // per_kwh
    assert meter.fault == FINE


def test_noise_is_not_billed_and_stops_the_session() -> None:
    meter = PulseMeter(7_400, 1_000)
    charge(meter)
    meter.count(100, 1_000)
    assert (meter.energy_wh, meter.fault) == (0, TOO_FAST)
    meter.watch(False, 10_999)
    assert not meter.is_fine
    meter.watch(False, 11_000)
    assert meter.is_fine


def test_energy_through_an_open_contactor_is_a_leak_and_is_counted() -> None:
    meter = PulseMeter(7_400, 1_000)
    charge(meter)
    meter.watch(False, 5_000)
    meter.count(1, 5_900)
    assert meter.fault == FINE
    meter.count(1, 6_500)
    assert (meter.energy_wh, meter.fault) == (2, LEAK)


def test_a_register_that_runs_is_believed_also_when_it_is_coarse() -> None:
    meter = RegisterMeter(7_400, step_wh=100, energy_wh=5)
    charge(meter)
    for second in range(0, 3_600):
        meter.read(1_000_000 + second * 7_000 // 3_600 // 100 * 100, second * 1_000)
        meter.watch(True, second * 1_000)
        assert meter.fault == FINE
    assert meter.energy_wh == 5 + 6_900


def test_a_silent_register_is_a_fault_after_five_seconds() -> None:
    meter = RegisterMeter(7_400)
    meter.read(10, 0)
    meter.read(None, 4_999)
    assert meter.is_fine
    meter.read(None, 5_000)
    assert meter.fault == SILENT
    meter.read(10, 6_000)
    meter.watch(False, 14_999)
    assert meter.fault == SILENT
    meter.watch(False, 15_000)
    assert meter.is_fine


def test_a_register_that_never_answers_is_silent_too() -> None:
    meter = RegisterMeter(7_400)
    meter.read(None, 100)
    meter.read(None, 5_100)
    assert meter.fault == SILENT


def test_a_register_that_falls_is_not_forgiven_until_somebody_has_looked() -> None:
    meter = RegisterMeter(7_400, energy_wh=500)
    charge(meter)
    meter.read(2_000, 0)
    meter.read(1_999, 1_000)
    assert (meter.fault, meter.energy_wh) == (BACKWARDS, 500)
    meter.read(None, 60_000)
    meter.watch(True, 3_600_000)
    assert meter.fault == BACKWARDS
    meter.renew()
    meter.read(1_999, 3_601_000)
    meter.read(2_001, 3_603_000)
    assert (meter.fault, meter.energy_wh) == (FINE, 502)


def test_what_cannot_have_passed_since_the_contactor_closed_is_not_believed() -> None:
    meter = RegisterMeter(7_400)
    meter.read(1_000, 0)
    charge(meter, 3_600_000)
    meter.read(5_000, 3_610_000)
    assert (meter.energy_wh, meter.fault) == (0, TOO_FAST)


@given(st.lists(st.tuples(st.none() | st.integers(0, 10_000), st.integers(0, 60_000), st.booleans())))
def test_energy_never_falls_and_never_grows_faster_than_the_socket_can(
    readings: list[tuple[int | None, int, bool]],
) -> None:
    meter, now_ms, last_wh = RegisterMeter(7_400), 0, 0
    closed = False
    for register_wh, passed_ms, is_closed in readings:
        now_ms += passed_ms
        meter.read(register_wh, now_ms)
        meter.watch(is_closed, now_ms)
        closed = is_closed
        assert meter.energy_wh >= last_wh
        assert meter.energy_wh - last_wh <= 12 + 8_880 * now_ms // 3_600_000
        last_wh = meter.energy_wh
    assert closed in (True, False)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10_000)), max_size=60))
def test_pulses_never_make_energy_fall(counts: list[tuple[int, int]]) -> None:
    meter, now_ms, last_wh = PulseMeter(7_400, 1_000), 0, 0
    charge(meter)
    for pulses, passed_ms in counts:
        now_ms += passed_ms
        meter.count(pulses, now_ms)
        assert last_wh <= meter.energy_wh <= last_wh + pulses
        last_wh = meter.energy_wh


def test_meters_that_cannot_be_are_refused() -> None:
    for make in (
        lambda: PulseMeter(0, 1_000),
        lambda: PulseMeter(7_400, 0),
        lambda: PulseMeter(7_400, 10_001),
        lambda: RegisterMeter(-1),
    ):
        with pytest.raises(LimitsError):
            make()
