"""The simulated car: the same every time, at its rate, and true to its DBC file."""

import asyncio
import hashlib
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.can_simulated import DBC_PATH, FRAMES_PER_TICK, SimulatedBus
from gateway.sensors.car_messages import CHECKSUM, MESSAGES, Packer, crc8, dbc_text
from gateway.sensors.car_model import (
    ACCELERATE,
    BRAKE,
    CRUISE,
    IDLE,
    IDLE_RPM,
    NEXT_PHASES,
    SPEED_MAX_KMH,
    Car,
)
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.schemes import open_source
from gateway.sensors.source import Batch, Source
from obd.can_frame import CanFrame, fault
from tests.gateway.sensors.clocks import START_NS, FakeClock
from tests.gateway.sensors.traces import join


def drive(query: str, clock: FakeClock | None = None) -> tuple[list[Batch], Source]:
    """All batches of a drive on a fake clock."""
    source = open_source(f"sim:car?{query}", name="x", clock=(clock or FakeClock()).clock)

    async def run() -> list[Batch]:
        return [batch async for batch in source.batches()]

    return asyncio.run(run()), source


def test_the_dbc_file_is_what_the_messages_say() -> None:
    assert DBC_PATH.read_text() == dbc_text()


def test_the_same_seed_gives_the_same_drive_however_it_is_paced() -> None:
    fast = join(drive("seconds=5&seed=3&speed=max")[0])
    paced = join(drive("seconds=5&seed=3&speed=2")[0])
    assert fast == paced
    other = join(drive("seconds=5&seed=4&speed=max")[0])
    assert other.values != fast.values


def test_ten_seconds_of_seed_1_are_these_bytes() -> None:
    """Golden: benches on other machines, and in other years, replay the same drive."""
    batch = join(drive("seconds=10&seed=1&speed=max")[0])
    packed = b"".join(frame.pack() for frame in batch.values)
    times = b"".join(taken_ns.to_bytes(8, "big") for taken_ns in batch.taken_ns)
    assert [str(frame) for frame in batch.values[:2]] == ["0A0#310C0044030000D8", "0B0#0000000000000000"]
    assert (
        hashlib.sha256(packed + times).hexdigest()
        == "5775d6aa6cdc107398729e5220634259e03b86f4e7fd0daeb515270e695f5c49"
    )


@pytest.mark.parametrize(("query", "rate_hz"), [("", 100 * FRAMES_PER_TICK), ("rate_hz=1000&", 1000)])
def test_it_keeps_its_rate_and_every_id_its_period(query: str, rate_hz: float) -> None:
    batches, source = drive(f"{query}seconds=20&speed=max")
    batch = join(batches)
    assert len(batch.values) == pytest.approx(20 * rate_hz, rel=0.01)
    counts = Counter(frame.arbitration_id for frame in batch.values)
    assert len(counts) == len(MESSAGES) == 14
    for message in MESSAGES:
        share = len(batch.values) / FRAMES_PER_TICK / message.period_ticks
        assert counts[message.arbitration_id] == pytest.approx(share, abs=1.5)
    assert batch.taken_ns == sorted(batch.taken_ns)
    assert batch.taken_ns[0] >= START_NS
    assert batch.taken_ns[-1] < START_NS + 20.1e9
    assert source.stats.received == len(batch.values)
    assert source.progress()[0] >= source.progress()[1] == 20_000


def test_frames_come_when_they_are_due() -> None:
    fake = FakeClock()
    batches, _ = drive("seconds=10&speed=1", fake)
    assert fake.elapsed_ns == pytest.approx(10e9, rel=0.01)
    assert max(len(batch.values) for batch in batches) < 60
    fake = FakeClock()
    drive("seconds=10&speed=max", fake)
    assert fake.elapsed_ns == 0


def test_it_drives_until_closed() -> None:
    async def run() -> int:
        source = open_source("sim:car?speed=max", name="x", clock=FakeClock().clock)
        count = 0
        async for batch in source.batches():
            count += len(batch.values)
            if count > 5000:
                await source.close()
        assert source.progress()[1] == 0
        return count

    assert 5000 < asyncio.run(run()) < 5100


def test_every_value_survives_its_frame_within_the_resolution() -> None:
    decoder = DbcDecoder.load([DBC_PATH])
    assert decoder.tolerated == []
    packers = [(message, Packer(message)) for message in MESSAGES]
    car = Car(11)
    checked: Counter[str] = Counter()
    for _ in range(6000):
        car.step(0.02)
        for message, packer in packers:
            frame = packer.pack(car)
            assert fault(*frame) is None
            values = decoder.decode(frame)
            assert values is not None
            assert decoder.name(frame) == message.name
            for signal in message.signals:
                if signal.name not in values or isinstance(signal.read, str):
                    continue
                value, meant = values[signal.name], float(signal.read(car))
                if signal.choices:
                    assert value == signal.choices[int(meant)]
                else:
                    assert math.isclose(float(value), meant, abs_tol=signal.scale / 2 + 1e-9), signal.name
                checked[signal.name] += 1
    readable = {s.name for m in MESSAGES for s in m.signals if not isinstance(s.read, str)}
    assert set(checked) == readable


def test_counters_count_and_checksums_hold() -> None:
    frames = join(drive("seconds=2&speed=max")[0]).values
    for message in MESSAGES:
        if not any(signal.read == CHECKSUM for signal in message.signals):
            continue
        mine = [frame for frame in frames if frame.arbitration_id == message.arbitration_id]
        assert [frame.data[6] & 15 for frame in mine] == [number % 16 for number in range(len(mine))]
        assert all(frame.data[7] == crc8(frame.data[:7]) for frame in mine)


def test_the_checksum_is_that_of_sae_j1850() -> None:
    assert crc8(b"123456789") == 0x4B


def test_a_value_outside_its_signal_saturates_instead_of_wrapping() -> None:
    car = Car(1)
    car.engine_rpm, car.steering_deg = 1e9, -1e9
    decoder = DbcDecoder.load([DBC_PATH])
    frames = {message.name: Packer(message).pack(car) for message in MESSAGES}
    engine, steering = decoder.decode(frames["Engine"]), decoder.decode(frames["Steering"])
    assert engine is not None
    assert steering is not None
    assert (engine["EngineSpeed"], steering["SteeringAngle"]) == (16383.75, -3276.8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_drive_is_plausible(seed: int) -> None:
    """Ten minutes: it stops, drives at speed, warms up, and burns fuel for it."""
    car = Car(seed)
    fuel_l, odometer_m, before = car.fuel_l, car.odometer_m, IDLE
    phases: Counter[str] = Counter()
    top_kmh, stops, moved_m = 0.0, 0, 0.0
    for _ in range(60_000):
        speed_kmh = car.speed_kmh
        car.step(0.01)
        moved_m += car.speed_kmh / 3.6 * 0.01
        if car.phase != before:
            assert car.phase in {*NEXT_PHASES[before], ACCELERATE, BRAKE, CRUISE, IDLE}
            if car.phase == IDLE:
                assert car.speed_kmh < 1.0
                stops += 1
            before = car.phase
        phases[car.phase] += 1
        top_kmh = max(top_kmh, car.speed_kmh)
        assert abs(car.speed_kmh - speed_kmh) < 0.4
        assert IDLE_RPM - 40 < car.engine_rpm < 5200
        assert 0 <= car.throttle_percent <= 100
        assert 0 <= car.brake_bar <= 40
        assert -8 < car.acceleration_ms2 < 6
        assert abs(car.lateral_ms2) < 8
    assert set(phases) == {IDLE, ACCELERATE, CRUISE, BRAKE}
    assert 80 < top_kmh < SPEED_MAX_KMH + 5
    assert stops >= 5
    assert 80 < car.coolant_c < 95
    assert car.odometer_m - odometer_m == pytest.approx(moved_m, rel=1e-6)
    litres_per_100_km = (fuel_l - car.fuel_l) / moved_m * 100_000
    assert 3 < litres_per_100_km < 20


@given(st.integers(0, 2**32 - 1), st.integers(10, 100_000))
@settings(deadline=None, max_examples=30)
def test_any_seed_and_rate_give_sound_frames_in_order(seed: int, rate_hz: int) -> None:
    bus = SimulatedBus(seed, rate_hz)
    taken: list[int] = []
    frames: list[CanFrame] = []
    for _ in range(50):
        bus.tick(taken, frames)
    assert taken == sorted(taken)
    assert all(fault(*frame) is None for frame in frames)
    assert all(
        math.isfinite(value) for value in (bus.car.speed_kmh, bus.car.engine_rpm, bus.car.steering_deg)
    )
