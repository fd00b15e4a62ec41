"""Advertising reports in HCI events, legacy and extended.

Runs on CPython.  Pure.  Source: Bluetooth Core Specification 5.4, vol 4, part E, 7.7.65.2 and 7.7.65.13;
several reports in one event follow each other whole, as controllers send and Linux reads them.

    HciError   the event ends before what it promises
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

EVENT = 0x04
"""Packet type of an event on a UART (H4)."""
LE_META = 0x3E
ADVERTISING_REPORT = 0x02
EXTENDED_ADVERTISING_REPORT = 0x0D
RSSI_UNKNOWN = 127

_LEGACY = struct.Struct("<BB6sB")
_EXTENDED = struct.Struct("<HB6sBBBbbHB6sB")


class HciError(ValueError):
    """The event ends before what it promises."""


@dataclass(frozen=True, slots=True)
class Report:
    """One advertisement as the controller has heard it."""

    address: bytes
    """6 bytes, in the order in which people write it."""
    is_random: bool
    """The address was made up, and may change."""
    rssi_dbm: int | None
    """None when unknown."""
    data: bytes
    """AD structures."""
    is_response: bool = False
    """To a scan request, not by itself."""


def parse_event(event: bytes) -> list[Report]:
    """The reports in an HCI event, given from its event code on; none when it is of another kind.

    Raises HciError."""
    if len(event) < 3 or event[0] != LE_META:
        return []
    # The length byte is not looked at: recordings have events that were cut, or joined, and it kept.
    if event[2] == ADVERTISING_REPORT:
        return _reports(event, _legacy)
    if event[2] == EXTENDED_ADVERTISING_REPORT:
        return _reports(event, _extended)
    return []


def _reports(event: bytes, read: Callable[[bytes, int], tuple[Report, int]]) -> list[Report]:
    if len(event) < 4:
        raise HciError("an advertising report without reports")
    reports: list[Report] = []
    at = 4
    for number in range(event[3]):
        try:
            report, at = read(event, at)
        except (struct.error, IndexError):
            raise HciError(f"report {number + 1} of {event[3]} ends at byte {len(event)}") from None
        reports.append(report)
    return reports


def _legacy(event: bytes, at: int) -> tuple[Report, int]:
    kind, address_kind, address, length = _LEGACY.unpack_from(event, at)
    begin = at + _LEGACY.size
    end = begin + length
    rssi = event[end]
    return (
        Report(
            address[::-1],
            bool(address_kind & 1),
            _dbm(rssi - 256 if rssi > 127 else rssi),
            event[begin:end],
            kind == 4,
        ),
        end + 1,
    )


def _extended(event: bytes, at: int) -> tuple[Report, int]:
    kind, address_kind, address, _, _, _, _, rssi, _, _, _, length = _EXTENDED.unpack_from(event, at)
    begin = at + _EXTENDED.size
    end = begin + length
    if end > len(event):
        raise IndexError
    return (
        Report(address[::-1], bool(address_kind & 1), _dbm(rssi), event[begin:end], bool(kind & 8)),
        end,
    )


def _dbm(rssi: int) -> int | None:
    return None if rssi == RSSI_UNKNOWN else rssi
