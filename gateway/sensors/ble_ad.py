"""One Bluetooth LE advertisement: its structures, taken apart, and put together again.

Runs on CPython.  Pure.  Damage never raises: what stands before it counts, and `flaw` names it.
Source: Bluetooth Core Specification Supplement, part A; Core Specification 5.4, vol 3, part C, 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

FLAGS = 0x01
UUIDS16_SOME, UUIDS16 = 0x02, 0x03
UUIDS128_SOME, UUIDS128 = 0x06, 0x07
NAME_SHORT, NAME = 0x08, 0x09
TX_POWER = 0x0A
SERVICE_DATA16 = 0x16
SERVICE_DATA32 = 0x20
SERVICE_DATA128 = 0x21
MANUFACTURER = 0xFF

_BASE_UUID_END = "-0000-1000-8000-00805f9b34fb"
# A site has the same devices all day.
_remembered = lru_cache(maxsize=4_096)
_VALUE_MAX = 254
"""A length byte counts the type, too."""


class Advertisement:
    """What one device has sent at one moment."""

    __slots__ = (
        "address",
        "data",
        "flaw",
        "manufacturer",
        "name",
        "rssi_dbm",
        "service16",
        "tx_power_dbm",
        "uuids16",
        "uuids128",
    )

    def __init__(self, address: bytes, rssi_dbm: int | None, data: bytes) -> None:
        """address: 6 bytes, in the order in which people write it.  data: AD structures."""
        self.address = address
        self.rssi_dbm = rssi_dbm
        """None when the controller does not know it."""
        self.data = data
        self.name = ""
        """Complete or shortened."""
        self.tx_power_dbm: int | None = None
        self.manufacturer: list[tuple[int, bytes]] = []
        """(company, data) in order."""
        self.service16: list[tuple[int, bytes]] = []
        """(16-bit UUID, data) in order."""
        self.uuids16: list[int] = []
        self.uuids128: list[bytes] = []
        """As sent: the last byte of the written form comes first."""
        self.flaw = ""
        """What is wrong with the structures, and where."""
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end:
            length = data[at]
            if not length:
                # All zeros from here on; or early termination of what a controller pads.
                return
            stop = at + 1 + length
            if stop > end:
                self.flaw = f"structure at byte {at} is {length} long, {end - at - 1} are there"
                return
            kind = data[at + 1]
            value = data[at + 2 : stop]
            if kind == MANUFACTURER:
                if len(value) >= 2:
                    self.manufacturer.append((value[0] | value[1] << 8, value[2:]))
            elif kind == SERVICE_DATA16:
                if len(value) >= 2:
                    self.service16.append((value[0] | value[1] << 8, value[2:]))
            elif kind in (NAME, NAME_SHORT):
                if kind == NAME or not self.name:
                    self.name = value.rstrip(b"\0").decode("utf-8", "replace")
            elif kind in (UUIDS16, UUIDS16_SOME):
                self.uuids16 += [
                    value[place] | value[place + 1] << 8 for place in range(0, len(value) - 1, 2)
                ]
            elif kind in (UUIDS128, UUIDS128_SOME):
                self.uuids128 += [value[place : place + 16] for place in range(0, len(value) - 15, 16)]
            elif kind == TX_POWER and len(value) == 1:
                self.tx_power_dbm = value[0] - 256 if value[0] > 127 else value[0]
            at = stop


def build(
    name: str,
    manufacturer: Mapping[int, bytes],
    service_data: Mapping[str, bytes],
    service_uuids: Iterable[str],
    tx_power_dbm: int | None = None,
) -> bytes:
    """AD structures that say the same, in a fixed order; for systems that hand over no bytes.

    Raises ValueError for a UUID that is none.  A structure can be 255 bytes long; what is longer is cut.
    """
    parts: list[bytes] = []
    short: list[bytes] = []
    long: list[bytes] = []
    for text in sorted(service_uuids):
        uuid = uuid_bytes(text)
        (short if len(uuid) == 2 else long).append(uuid)
    if short:
        parts.append(_structure(UUIDS16, b"".join(short)))
    if long:
        parts.append(_structure(UUIDS128, b"".join(long)))
    for company, data in manufacturer.items():
        parts.append(_structure(MANUFACTURER, company.to_bytes(2, "little") + data))
    for text, data in service_data.items():
        uuid = uuid_bytes(text)
        parts.append(_structure(SERVICE_DATA16 if len(uuid) == 2 else SERVICE_DATA128, uuid + data))
    if tx_power_dbm is not None:
        parts.append(_structure(TX_POWER, (max(-127, min(tx_power_dbm, 127)) & 0xFF).to_bytes(1)))
    if name:
        parts.append(_structure(NAME, name.encode("utf-8", "replace")))
    return b"".join(parts)


def _structure(kind: int, value: bytes) -> bytes:
    value = value[:_VALUE_MAX]
    return bytes((len(value) + 1, kind)) + value


@_remembered
def uuid_bytes(text: str) -> bytes:
    """A UUID as it is sent: 2 bytes where it has a short form, else 16.  Raises ValueError."""
    lower = text.lower()
    if lower.startswith("0000") and lower.endswith(_BASE_UUID_END) and len(lower) == 36:
        return bytes.fromhex(lower[4:8])[::-1]
    digits = lower.replace("-", "")
    if len(digits) not in (4, 32):
        raise ValueError(f"{text[:60]!r} is no UUID")
    return bytes.fromhex(digits)[::-1]


@_remembered
def address_text(address: bytes) -> str:
    """`AA:BB:CC:DD:EE:FF`."""
    return address.hex(":").upper()


@_remembered
def parse_address(text: str) -> bytes:
    """The 6 bytes of `AA:BB:CC:DD:EE:FF`.  Raises ValueError."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"{text[:40]!r} is no Bluetooth address; it is written AA:BB:CC:DD:EE:FF")
    return bytes.fromhex("".join(parts))
