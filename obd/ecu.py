"""A simulated car's ECUs: requests in, answers out, while it drives a trip.

Runs on CPython.  An engine and a transmission, with trouble codes that can be cleared.  `ecu_adapter` puts an
ELM327 in front of it, `ecu_bus` a CAN bus, and `python -m obd.ecu_io` runs either.
Sources: SAE J1979 (2017); ISO 14229-1:2013.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from obd import services, trip
from obd.dtc import dtc_number
from obd.performance import SPARK
from obd.trip import Moment

VIN = "1M8GDM9AXKP042788"
"""A much-printed example with a correct check digit."""
PERFORMANCE_COUNTS = (
    1204,
    2310,
    981,
    1190,
    0,
    0,
    1012,
    1204,
    0,
    0,
    640,
    1204,
    0,
    0,
    402,
    1100,
    1003,
    1204,
    0,
    0,
)
"""Of InfoType 08: conditions, ignitions, then runs and chances of each monitor."""
ODOMETER_START_M = 48_213_700


def _u8(value: float) -> bytes:
    return bytes((min(max(round(value), 0), 255),))


def _u16(value: float) -> bytes:
    return min(max(round(value), 0), 0xFFFF).to_bytes(2, "big")


def _u32(value: float) -> bytes:
    return min(max(round(value), 0), 0xFFFFFFFF).to_bytes(4, "big")


def _percent(value: float) -> bytes:
    return _u8(value * 2.55)


Encoder = Callable[[Moment], bytes]

ENGINE_PIDS: dict[int, Encoder] = {
    0x03: lambda m: bytes((2 if m.coolant_c > 40 else 1, 0)),
    0x04: lambda m: _percent(m.load_percent),
    0x05: lambda m: _u8(m.coolant_c + 40),
    0x06: lambda m: _u8(128 + 3 * (m.load_percent - 40) / 100),
    0x07: lambda m: _u8(131),
    0x0B: lambda m: _u8(m.intake_kpa),
    0x0C: lambda m: _u16(m.engine_rpm * 4),
    0x0D: lambda m: _u8(m.speed_kmh),
    0x0E: lambda m: _u8((m.timing_deg + 64) * 2),
    0x0F: lambda m: _u8(m.intake_c + 40),
    0x10: lambda m: _u16(m.air_flow_gps * 100),
    0x11: lambda m: _percent(m.throttle_percent),
    0x13: lambda m: b"\x03",
    0x14: lambda m: _u8(90 + 70 * (m.elapsed_ms // 400 % 2)) + b"\x80",
    0x15: lambda m: _u8(130) + b"\xff",
    0x1C: lambda m: b"\x06",
    0x1F: lambda m: _u16(m.elapsed_ms / 1000),
    0x21: lambda m: _u16(12),
    0x2F: lambda m: _percent(m.fuel_percent),
    0x30: lambda m: b"\x09",
    0x31: lambda m: _u16(420 + m.distance_m / 1000),
    0x33: lambda m: b"\x65",
    0x42: lambda m: _u16(m.battery_v * 1000),
    0x43: lambda m: _u16(m.load_percent * 2.55),
    0x44: lambda m: _u16(32768),
    0x45: lambda m: _percent(max(m.throttle_percent - 12, 0)),
    0x46: lambda m: _u8(trip.AMBIENT_C + 40),
    0x49: lambda m: _percent(m.throttle_percent * 0.8),
    0x51: lambda m: b"\x01",
    0x5C: lambda m: _u8(m.coolant_c + 44),
    0x5E: lambda m: _u16(m.fuel_rate_lph * 20),
    0xA6: lambda m: _u32((ODOMETER_START_M + m.distance_m) / 100),
}
TRANSMISSION_PIDS: dict[int, Encoder] = {
    0x0D: lambda m: _u8(m.speed_kmh),
    0x1C: lambda m: b"\x06",
    0xA4: lambda m: bytes((0x03, m.gear << 4)) + _u16((0, 3600, 2040, 1380, 1020, 810, 660)[m.gear]),
}


@dataclass(slots=True)
class Ecu:
    """One control unit."""

    number: int
    """0 to 7: answers with id 7E8 + number, or 18DAF1xx by its address."""
    address: int
    """For 29-bit ids."""
    name: str
    pids: dict[int, Encoder]
    stored: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    permanent: list[str] = field(default_factory=list)
    calibrations: list[tuple[str, int]] = field(default_factory=list)
    """Id, and verification number."""
    identifiers: dict[int, Encoder] = field(default_factory=dict)
    """UDS 22, by DID."""
    frozen: Moment | None = None
    """The car when the first stored code was set."""


def _support(numbers: set[int], base: int) -> bytes | None:
    """The bitmap behind `base`, or None where there is nothing from there on."""
    if base and not any(number > base for number in numbers):
        return None
    bits = 0
    for number in range(base + 1, base + 33):
        there = number in numbers or (number == base + 32 and any(one > number for one in numbers))
        bits = bits << 1 | there
    return bits.to_bytes(4, "big")


class SimulatedCar:
    """Answers what its ECUs are asked.  Pure: the clock comes in with each request."""

    def __init__(self) -> None:
        engine = Ecu(
            0,
            0x10,
            "ECM-EngineControl",
            dict(ENGINE_PIDS),
            stored=["P0301", "P0420", "U0121"],
            pending=["P0171"],
            permanent=["P0301"],
            calibrations=[("CPC-ENG-2024-A1", 0x1791BC82), ("CPC-FUEL-0007", 0x00C0FFEE)],
            identifiers={
                0xF190: lambda m: VIN.encode(),
                0xF40C: lambda m: _u16(m.engine_rpm * 4),
                0x028C: lambda m: _u8(m.fuel_percent * 2),
                0x1301: lambda m: _u16(m.battery_v * 512),
            },
            frozen=trip.at(43_000),
        )
        transmission = Ecu(
            1,
            0x18,
            "TCM-Transmission",
            dict(TRANSMISSION_PIDS),
            stored=["P0741"],
            calibrations=[("CPC-GEAR-11", 0x5EC0DE01)],
            identifiers={0xF190: lambda m: VIN.encode()},
            frozen=trip.at(90_000),
        )
        self.ecus = [engine, transmission]
        self.is_on = True
        """Ignition; an ECU without it says nothing."""
        self.slow_identifiers = {0x1301}
        """These DIDs are first answered by `response pending`."""

    def answers(self, ecu: Ecu, request: bytes, now_ms: int, *, is_functional: bool) -> list[bytes]:
        """What an ECU says to a request, in order: nothing, one answer, or a promise and then it."""
        if not self.is_on or not request:
            return []
        moment = trip.at(now_ms)
        service, body = request[0], request[1:]
        answer: bytes | None = None
        if service == services.CURRENT_DATA:
            answer = self._current(ecu, body, moment)
        elif service == services.FREEZE_FRAME:
            answer = self._freeze_frame(ecu, body)
        elif service in (services.STORED_DTCS, services.PENDING_DTCS, services.PERMANENT_DTCS):
            codes = {
                services.STORED_DTCS: ecu.stored,
                services.PENDING_DTCS: ecu.pending,
                services.PERMANENT_DTCS: ecu.permanent,
            }[service]
            numbers = b"".join(dtc_number(code).to_bytes(2, "big") for code in codes)
            answer = bytes((service | 0x40, len(codes))) + numbers
        elif service == services.CLEAR_DTCS:
            # Permanent codes stay until the car itself has seen the fault gone.
            ecu.stored.clear()
            ecu.pending.clear()
            ecu.frozen = None
            answer = b"\x44"
        elif service == services.TEST_RESULTS:
            answer = self._test_results(ecu, body)
        elif service == services.VEHICLE_INFO:
            answer = self._info(ecu, body)
        elif service == services.READ_DATA_BY_IDENTIFIER:
            return self._identifier(ecu, body, moment, is_functional)
        if answer is not None:
            return [answer]
        # To a question for everybody, who cannot answer says nothing (ISO 14229-1, section 7.5.4).
        code = 0x12 if service in (1, 2, 6, 9) else 0x11
        return [] if is_functional else [bytes((0x7F, service, code))]

    def _pid(self, ecu: Ecu, pid: int, moment: Moment) -> bytes | None:
        numbers = {0x01, *ecu.pids}
        if pid % 0x20 == 0:
            return _support(numbers, pid)
        if pid == 0x01:
            count = len(ecu.stored)
            is_spark_engine = ecu.number == 0
            return bytes((0x80 | count if count else 0, 0x07, 0xE5 if is_spark_engine else 0, 0x04))
        encoder = ecu.pids.get(pid)
        return None if encoder is None else encoder(moment)

    def _current(self, ecu: Ecu, pids: bytes, moment: Moment) -> bytes | None:
        if not 1 <= len(pids) <= services.PIDS_PER_REQUEST_MAX:
            return None
        answer = b"\x41"
        for pid in pids:
            data = self._pid(ecu, pid, moment)
            if data is not None:
                answer += bytes((pid,)) + data
        return answer if len(answer) > 1 else None

    def _freeze_frame(self, ecu: Ecu, body: bytes) -> bytes | None:
        if len(body) != 2 or body[1] != 0:
            return None
        pid = body[0]
        data: bytes | None
        if pid % 0x20 == 0:
            data = _support({0x02, *(number for number in ecu.pids if number < 0x20)}, pid)
        elif pid == 0x02:
            data = dtc_number(ecu.stored[0]).to_bytes(2, "big") if ecu.stored else bytes(2)
        else:
            encoder = ecu.pids.get(pid)
            data = encoder(ecu.frozen) if encoder is not None and ecu.frozen is not None else None
        return None if data is None else bytes((0x42, pid, 0)) + data

    def _test_results(self, ecu: Ecu, body: bytes) -> bytes | None:
        if len(body) != 1 or ecu.number:
            return None
        monitors = {
            0x01: [(0x01, 0x80, 0x0A, 1850, 0, 3688)],
            0x21: [(0x21, 0x80, 0x20, 150, 0, 190)],
            0xA2: [(0xA2, 0x0B, 0x24, 14, 0, 65535), (0xA2, 0x0C, 0x24, 31, 0, 20)],
        }
        if body[0] % 0x20 == 0:
            bitmap = _support(set(monitors), body[0])
            return None if bitmap is None else b"\x46" + body + bitmap
        records = monitors.get(body[0])
        if records is None:
            return None
        return b"\x46" + b"".join(
            bytes(record[:3]) + b"".join(number.to_bytes(2, "big") for number in record[3:])
            for record in records
        )

    def _info(self, ecu: Ecu, body: bytes) -> bytes | None:
        if len(body) != 1:
            return None
        items: dict[int, list[bytes]] = {
            services.VIN: [VIN.encode()] if ecu.number == 0 else [],
            services.CALIBRATION_ID: [name.encode().ljust(16, b"\x00") for name, _ in ecu.calibrations],
            services.VERIFICATION_NUMBER: [number.to_bytes(4, "big") for _, number in ecu.calibrations],
            services.ECU_NAME: [ecu.name.encode().ljust(20, b"\x00")],
            SPARK: [] if ecu.number else [count.to_bytes(2, "big") for count in PERFORMANCE_COUNTS],
        }
        there = {number for number, found in items.items() if found}
        if body[0] == 0:
            return b"\x49\x00" + (_support(there, 0) or bytes(4))
        if body[0] not in there:
            return None
        found = items[body[0]]
        return bytes((0x49, body[0], len(found))) + b"".join(found)

    def _identifier(self, ecu: Ecu, body: bytes, moment: Moment, is_functional: bool) -> list[bytes]:
        if len(body) != 2:
            return [] if is_functional else [b"\x7f\x22\x13"]
        encoder = ecu.identifiers.get(int.from_bytes(body, "big"))
        if encoder is None:
            return [] if is_functional else [b"\x7f\x22\x31"]
        promise = [b"\x7f\x22\x78"] if int.from_bytes(body, "big") in self.slow_identifiers else []
        return [*promise, b"\x62" + body + encoder(moment)]
