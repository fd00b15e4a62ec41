"""What the simulated car says on its bus: messages, signals, and how they are packed.

Runs on CPython.  `MESSAGES` is the one description: frames are packed from it, and `car.dbc`
beside this file is `dbc_text()`, which a test checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.sensors.car_model import Car
from obd.can_frame import EXTENDED, CanFrame

DBC_PATH = Path(__file__).with_name("car.dbc")
"""What decodes these frames."""

COUNTER, CHECKSUM = "counter", "checksum"


@dataclass(frozen=True, slots=True)
class Signal:
    """One value in a message, Intel byte order."""

    name: str
    start: int
    """Lowest bit."""
    bits: int
    read: Callable[[Car], float] | str
    """How the car gives it; or COUNTER, or CHECKSUM (SAE J1850 over the first seven bytes)."""
    scale: float = 1
    offset: float = 0
    unit: str = ""
    is_signed: bool = False
    choices: tuple[str, ...] = ()
    mux: str = ""
    """`M` chooses, `m0` is there when the chooser is 0."""


@dataclass(frozen=True, slots=True)
class Message:
    """One id on the bus."""

    arbitration_id: int
    name: str
    period_ticks: int
    signals: tuple[Signal, ...]
    is_extended: bool = False


def _tyre(index: int) -> tuple[Signal, Signal]:
    place = ("FrontLeft", "FrontRight", "RearLeft", "RearRight")[index]
    return (
        Signal(f"TyrePressure{place}", 8, 8, lambda car: car.tyre_kpa[index], 2, 0, "kPa", mux=f"m{index}"),
        Signal(f"TyreTemperature{place}", 16, 8, lambda car: car.tyre_c, 1, -40, "degC", mux=f"m{index}"),
    )


GEARS = ("Neutral", "First", "Second", "Third", "Fourth", "Fifth", "Sixth")
TURNS = ("Off", "Left", "Right")

MESSAGES = (
    Message(
        0x0A0,
        "Engine",
        1,
        (
            Signal("EngineSpeed", 0, 16, lambda car: car.engine_rpm, 0.25, 0, "rpm"),
            Signal("ThrottlePosition", 16, 8, lambda car: car.throttle_percent, 0.4, 0, "%"),
            Signal("EngineTorque", 24, 12, lambda car: car.torque_nm, 0.5, -400, "Nm"),
            Signal("EngineCounter", 48, 4, COUNTER),
            Signal("EngineChecksum", 56, 8, CHECKSUM),
        ),
    ),
    Message(
        0x0B0,
        "WheelSpeeds",
        1,
        (
            Signal("WheelSpeedFrontLeft", 0, 16, lambda car: car.wheel_kmh[0], 0.01, 0, "km/h"),
            Signal("WheelSpeedFrontRight", 16, 16, lambda car: car.wheel_kmh[1], 0.01, 0, "km/h"),
            Signal("WheelSpeedRearLeft", 32, 16, lambda car: car.wheel_kmh[2], 0.01, 0, "km/h"),
            Signal("WheelSpeedRearRight", 48, 16, lambda car: car.wheel_kmh[3], 0.01, 0, "km/h"),
        ),
    ),
    Message(
        0x0C0,
        "Steering",
        1,
        (
            Signal("SteeringAngle", 0, 16, lambda car: car.steering_deg, 0.1, 0, "deg", is_signed=True),
            Signal(
                "SteeringRate", 16, 16, lambda car: car.steering_rate_dps, 0.5, 0, "deg/s", is_signed=True
            ),
            Signal("SteeringCounter", 48, 4, COUNTER),
            Signal("SteeringChecksum", 56, 8, CHECKSUM),
        ),
    ),
    Message(
        0x0D0,
        "Brake",
        2,
        (
            Signal("BrakePressure", 0, 12, lambda car: car.brake_bar, 0.1, 0, "bar"),
            Signal("BrakeLight", 12, 1, lambda car: car.is_braking, choices=("Off", "On")),
            Signal("BrakeCounter", 48, 4, COUNTER),
            Signal("BrakeChecksum", 56, 8, CHECKSUM),
        ),
    ),
    Message(
        0x0E0,
        "Motion",
        2,
        (
            Signal("VehicleSpeed", 0, 16, lambda car: car.speed_kmh, 0.01, 0, "km/h"),
            Signal("LongitudinalAcceleration", 16, 12, lambda car: car.acceleration_ms2, 0.01, -20, "m/s2"),
            Signal("LateralAcceleration", 28, 12, lambda car: car.lateral_ms2, 0.01, -20, "m/s2"),
            Signal("YawRate", 40, 16, lambda car: car.yaw_rate_dps, 0.01, 0, "deg/s", is_signed=True),
        ),
    ),
    Message(
        0x0F0,
        "Transmission",
        2,
        (
            Signal("Gear", 0, 4, lambda car: car.gear, choices=GEARS),
            Signal("TransmissionCounter", 48, 4, COUNTER),
            Signal("TransmissionChecksum", 56, 8, CHECKSUM),
        ),
    ),
    Message(
        0x1A0,
        "Charge",
        2,
        (
            Signal("BoostPressure", 0, 10, lambda car: car.boost_kpa, 0.5, 0, "kPa"),
            Signal("IntakeTemperature", 16, 8, lambda car: car.intake_c, 1, -40, "degC"),
            Signal("FuelFlow", 24, 12, lambda car: car.flow_lph, 0.02, 0, "l/h"),
        ),
    ),
    Message(
        0x280,
        "Temperatures",
        10,
        (
            Signal("CoolantTemperature", 0, 10, lambda car: car.coolant_c, 0.25, -50, "degC"),
            Signal("OilTemperature", 10, 10, lambda car: car.oil_c, 0.25, -50, "degC"),
            Signal("AmbientTemperature", 20, 9, lambda car: car.ambient_c, 0.5, -50, "degC"),
        ),
    ),
    Message(
        0x320,
        "Fuel",
        10,
        (
            Signal("FuelLevel", 0, 10, lambda car: car.fuel_percent, 0.1, 0, "%"),
            Signal("FuelVolume", 10, 13, lambda car: car.fuel_l, 0.01, 0, "l"),
            Signal("Range", 24, 12, lambda car: car.range_km, 1, 0, "km"),
        ),
    ),
    Message(
        0x3A0,
        "Battery",
        10,
        (
            Signal("BatteryVoltage", 0, 14, lambda car: car.battery_v, 0.002, 0, "V"),
            Signal("BatteryCurrent", 16, 12, lambda car: car.battery_a, 0.1, -200, "A"),
        ),
    ),
    Message(
        0x3C0,
        "Lights",
        10,
        (Signal("TurnSignal", 0, 2, lambda car: car.turn_signal, choices=TURNS),),
    ),
    Message(
        0x420,
        "Tyres",
        25,
        (
            Signal("TyrePosition", 0, 8, COUNTER, mux="M"),
            *(signal for index in range(4) for signal in _tyre(index)),
        ),
    ),
    Message(
        0x480,
        "Distance",
        100,
        (
            Signal("Odometer", 0, 32, lambda car: car.odometer_m, 1, 0, "m"),
            Signal("Trip", 32, 24, lambda car: car.trip_m, 1, 0, "m"),
        ),
    ),
    Message(
        0x18FEE500,
        "EngineHours",
        100,
        (Signal("DrivingTime", 0, 32, lambda car: car.elapsed_s, 0.05, 0, "s"),),
        is_extended=True,
    ),
)
"""All ids, most urgent first, as arbitration has it."""

FRAMES_PER_TICK = sum(1 / message.period_ticks for message in MESSAGES)


class Packer:
    """Packs one message; holds its counter."""

    def __init__(self, message: Message) -> None:
        self._id = message.arbitration_id
        self._flags = EXTENDED if message.is_extended else 0
        self._count_max = 4 if any(signal.mux for signal in message.signals) else 16
        self._count = -1
        self._counter_start = next((s.start for s in message.signals if s.read == COUNTER), None)
        self._has_checksum = any(signal.read == CHECKSUM for signal in message.signals)
        self._plans: dict[int, list[tuple[Callable[[Car], float], int, float, float, int, int]]] = {}
        for chosen in range(self._count_max):
            plan = []
            for signal in message.signals:
                if isinstance(signal.read, str) or (signal.mux and signal.mux != f"m{chosen}"):
                    continue
                half = 1 << (signal.bits - 1)
                low, high = (-half, half - 1) if signal.is_signed else (0, 2 * half - 1)
                plan.append((signal.read, signal.start, signal.scale, signal.offset, low, high))
            self._plans[chosen] = plan
        self._masks = {signal.start: (1 << signal.bits) - 1 for signal in message.signals}

    def pack(self, car: Car) -> CanFrame:
        """The frame for the car's present state; values outside a signal's range saturate."""
        self._count = (self._count + 1) % self._count_max
        word = 0
        for read, start, scale, offset, low, high in self._plans[self._count]:
            raw = round((read(car) - offset) / scale)
            raw = low if raw < low else min(raw, high)
            word |= (raw & self._masks[start]) << start
        if self._counter_start is not None:
            word |= self._count << self._counter_start
        data = word.to_bytes(8, "little")
        if self._has_checksum:
            data = data[:7] + bytes((crc8(data[:7]),))
        return CanFrame(self._id, self._flags, data)


def _crc8_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte << 1 ^ 0x1D if byte & 0x80 else byte << 1) & 0xFF
        table.append(byte)
    return tuple(table)


_CRC8 = _crc8_table()


def crc8(data: bytes) -> int:
    """Checksum of SAE J1850: polynomial 0x1D, start and final XOR 0xFF."""
    crc = 0xFF
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc ^ 0xFF


def dbc_text() -> str:
    """What stands in `car.dbc`."""
    lines = ['VERSION ""', "", "NS_ :", "", "BS_:", "", "BU_: Car", ""]
    values = []
    for message in MESSAGES:
        dbc_id = message.arbitration_id | (0x80000000 if message.is_extended else 0)
        lines.append(f"BO_ {dbc_id} {message.name}: 8 Car")
        for signal in message.signals:
            half = 1 << (signal.bits - 1)
            low, high = (-half, half - 1) if signal.is_signed else (0, 2 * half - 1)
            low_text, high_text = (f"{raw * signal.scale + signal.offset:.10g}" for raw in (low, high))
            mux = f" {signal.mux}" if signal.mux else ""
            sign = "-" if signal.is_signed else "+"
            layout = f"{signal.start}|{signal.bits}@1{sign} ({signal.scale:g},{signal.offset:g})"
            limits = f'[{low_text}|{high_text}] "{signal.unit}"'
            lines.append(f" SG_ {signal.name}{mux} : {layout} {limits} Vector__XXX")
            if signal.choices:
                texts = " ".join(f'{raw} "{text}"' for raw, text in enumerate(signal.choices))
                values.append(f"VAL_ {dbc_id} {signal.name} {texts} ;")
        lines.append("")
    lines.append('CM_ "The simulated car of sim:car; written from MESSAGES of car_messages.py." ;')
    return "\n".join([*lines, *values, ""])
