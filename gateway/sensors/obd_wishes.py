"""What a source of a car's values is to ask for, and how often.

Runs on CPython.  `pids=0C:200,engine_load,05:5000` names PIDs by number or by value; without a period, or for
all that the car has, each is asked as often as what it measures can change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.sensors.source import SourceUrl
from obd.errors import TableError
from obd.pids import fields_of, pid_of_key
from obd.value_table import TableValue, load_table

DTC_PERIOD_MS = 60_000
PERIOD_LIMITS_MS = (10, 86_400_000)

_FAST, _USUAL, _SLOW, _RARE = 200, 1_000, 5_000, 60_000
_FAST_PIDS = frozenset((0x04, 0x0B, 0x0C, 0x0D, 0x10, 0x11, 0x45, 0x49, 0x4C, 0x5A, 0x61, 0x62, 0xA4))
_SLOW_PIDS = frozenset(
    (0x05, 0x0F, 0x1F, 0x2F, 0x33, 0x42, 0x46, 0x52, 0x5B, 0x5C, 0x67, 0x68, 0x84, 0x9B)
)  # fmt: skip
_RARE_PIDS = frozenset(
    (0x01, 0x02, 0x13, 0x1C, 0x1D, 0x21, 0x30, 0x31, 0x41, 0x4D, 0x4E, 0x4F, 0x50, 0x51, 0x5F, 0x7F, 0xA6)
)  # fmt: skip


def usual_period_ms(pid: int) -> int:
    """How often a PID is asked unless told otherwise: by how fast what it measures can change."""
    if pid in _FAST_PIDS:
        return _FAST
    if pid in _SLOW_PIDS:
        return _SLOW
    return _RARE if pid in _RARE_PIDS or 0x81 <= pid <= 0x8A else _USUAL


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a source is to ask for."""

    periods_ms: dict[int, int] = field(default_factory=dict)
    """Period by PID; empty for all that the car has, at their usual periods."""
    table: tuple[TableValue, ...] = ()
    """Manufacturer's values."""
    dtc_period_ms: int = DTC_PERIOD_MS
    """How often trouble codes are asked; 0 for never."""


def parse_pids(url: SourceUrl, text: str) -> dict[int, int]:
    """Periods by PID of `0C:200,0D,coolant_temp:5000`.  Raises BadSourceUrl."""
    low, high = PERIOD_LIMITS_MS
    periods_ms: dict[int, int] = {}
    for word in text.split(","):
        name, colon, period = word.strip().partition(":")
        pid = pid_of_key(name)
        if pid is None:
            try:
                pid = int(name, 16)
            except ValueError:
                pid = -1
        if not 0 <= pid <= 0xFF or not fields_of(pid):
            raise url.bad(f"pids={name}: no PID of service 01; written as 0C or engine_speed")
        period_ms = usual_period_ms(pid)
        if colon:
            if not period.isdecimal() or not low <= int(period) <= high:
                raise url.bad(f"pids={word}: a period is {low} to {high} ms, as in 0C:200")
            period_ms = int(period)
        periods_ms[pid] = period_ms
    return periods_ms


def wishes_of(url: SourceUrl) -> Wishes:
    """What `url` asks for.  Raises BadSourceUrl."""
    table: Iterable[TableValue] = ()
    if "table" in url.options:
        try:
            table = load_table(Path(url.options["table"]))
        except TableError as error:
            raise url.bad(f"{error}") from error
    pids = url.options.get("pids", "all")
    return Wishes(
        {} if pids == "all" else parse_pids(url, pids),
        tuple(table),
        url.number("dtc_period_ms", DTC_PERIOD_MS, 0, PERIOD_LIMITS_MS[1]),
    )
