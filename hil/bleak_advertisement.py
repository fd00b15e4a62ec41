"""What an advertisement says, as bleak hands it over.

Runs on CPython; needs bleak.  Source: Supplement to the Bluetooth Core Specification, part A, section 1.
"""

from __future__ import annotations

from bleak.backends.scanner import AdvertisementData

_NAMES = (0x08, 0x09)
_UUIDS = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}
_SERVICE_DATA = {0x16: 2, 0x20: 4, 0x21: 16}
_TX_POWER, _MANUFACTURER = 0x0A, 0xFF


def uuid_text(raw: bytes) -> str:
    """raw: bytes, 2, 4 or 16, little endian.  All 128 bits."""
    text = raw[::-1].hex()
    if len(raw) < 16:
        text = f"{text:0>8}00001000800000805f9b34fb"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def read_advertisement(data: bytes, rssi_dbm: int) -> AdvertisementData:
    """data: advertisement and scan response, one after the other.  What is cut short is left out."""
    name: str | None = None
    manufacturers: dict[int, bytes] = {}
    service_data: dict[str, bytes] = {}
    uuids: list[str] = []
    tx_power: int | None = None
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        if end == at + 1 or end > len(data):
            at += 1
            if end > len(data):
                break
            continue
        kind, value = data[at + 1], data[at + 2 : end]
        at = end
        if kind in _NAMES:
            name = value.decode("utf-8", "replace")
        elif size := _UUIDS.get(kind):
            parts = [value[begin : begin + size] for begin in range(0, len(value) - size + 1, size)]
            uuids += [text for text in map(uuid_text, parts) if text not in uuids]
        elif size := _SERVICE_DATA.get(kind):
            if len(value) >= size:
                service_data[uuid_text(value[:size])] = value[size:]
        elif kind == _MANUFACTURER and len(value) >= 2:
            manufacturers[int.from_bytes(value[:2], "little")] = value[2:]
        elif kind == _TX_POWER and len(value) == 1:
            tx_power = int.from_bytes(value, "little", signed=True)
    return AdvertisementData(name, manufacturers, service_data, uuids, tx_power, rssi_dbm, ())
