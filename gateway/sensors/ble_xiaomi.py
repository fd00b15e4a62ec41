"""Xiaomi's MiBeacon, versions 2 to 5, plain and encrypted.

Runs on CPython.  Pure.  Versions 4 and 5 are authentic where they are encrypted; 2 and 3 have no tag that
could be checked, so their values say `is_authentic: False`, and what does not read as objects is refused.
Source: Xiaomi's MiBeacon protocol description; layout also in the reverse engineering of ble_monitor's and
ESPHome's users.
"""

from __future__ import annotations

from typing import Any

from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_keys import Malformed, NotAuthentic, Vault
from gateway.sensors.ble_xiaomi_objects import read_object

UUID = 0xFE95

_ENCRYPTED, _HAS_ADDRESS, _HAS_CAPABILITY, _HAS_OBJECT, _MESH = 0x08, 0x10, 0x20, 0x40, 0x80
_HAS_IO = 0x20
"""In the capability byte: two more bytes would say what the device can do; one is sent."""

# fmt: off
DEVICES: dict[int, str] = {
    0x0083: "YM-K1501", 0x0098: "HHCCJCY01", 0x00DB: "MMC-T201-1", 0x0113: "YM-K1501EU", 0x0153: "YLYK01YL",
    0x015D: "HHCCPOT002", 0x01AA: "LYWSDCGQ", 0x02DF: "JQJCY01YM", 0x0347: "CGG1", 0x0380: "DSL-C08",
    0x0387: "MHO-C401", 0x0391: "MMC-W505", 0x03B6: "YLKG07YL/YLKG08YL", 0x03BC: "GCLS002",
    0x03BF: "YLYB01YL-BHFRC", 0x03D6: "CGH1", 0x03DD: "MUE4094RT", 0x040A: "WX08ZM", 0x045B: "LYWSD02",
    0x045C: "V-SK152", 0x0489: "M1S-T500", 0x04E1: "XMMF01JQD", 0x04E6: "YLYK01YL-VENFAN",
    0x04E9: "MJZNMSQ01YD", 0x055B: "LYWSD03MMC", 0x0576: "CGD1", 0x0599: "MJZNMS03LM", 0x066F: "CGDK2",
    0x068E: "YLYK01YL-FANCL", 0x069E: "ZNMS16LM", 0x069F: "ZNMS17LM", 0x06D3: "MHO-C303",
    0x0784: "XMZNMS04LM", 0x07BF: "YLAI003", 0x07F6: "MJYD02YL", 0x0806: "T700", 0x0863: "SJWS01LM",
    0x098B: "MCCGQ02HL", 0x098C: "XMZNMST02YD", 0x0997: "JTYJGD03MI", 0x0A83: "CGPR1", 0x0A8D: "RTCGQ02LM",
    0x0B48: "CGG1-ENCRYPTED", 0x0C3C: "CGC1", 0x0DE7: "SU001-T", 0x0DFD: "K9B-3BTN", 0x0E39: "XMZNMS08LM",
    0x11C2: "SV40", 0x1203: "XMWSDJ04MMC", 0x1568: "K9B-1BTN", 0x1569: "K9B-2BTN", 0x16E4: "LYWSD02MMC",
    0x1790: "T700i", 0x1889: "MS1BB(MI)", 0x18E3: "ZX1", 0x1949: "XMWXKG01YL", 0x1C10: "K9BB-1BTN",
    0x20DB: "MJZNZ018H", 0x2387: "XMWXKG01LM", 0x2542: "LYWSD02MMC", 0x2832: "MJWSD05MMC",
    0x2AEB: "HS1BB(MI)", 0x3531: "XMPIRO2SXS", 0x38BB: "PTX", 0x3A61: "KS1", 0x3E17: "KS1BP", 0x3F0F: "RS1BB",
    0x3F4C: "PS1BB", 0x4683: "XMOSB01XS", 0x4C47: "MJWSD05MMC", 0x4C60: "XMPIRO2GSXS", 0x4F59: "CGDK3",
    0x50FB: "ES3", 0x520B: "KS2BB", 0x55B5: "MJWSD06MMC", 0x5968: "XMWS01XS", 0x5BEA: "MJWSD06MMC",
    0x5DB1: "MBS17", 0x6375: "SJWS02LM", 0x6A0F: "ES5BB",
}
"""Models by the number they send."""
# fmt: on


def decode(advertisement: Advertisement, data: bytes, vault: Vault) -> dict[str, Any]:
    """Service data of UUID FE95.  Raises BleError."""
    if len(data) < 5:
        raise Malformed(f"{len(data)} bytes are no MiBeacon frame")
    control = data[0] | data[1] << 8
    number = data[2] | data[3] << 8
    version = control >> 12
    is_encrypted = bool(control & _ENCRYPTED)
    device = DEVICES.get(number, f"device {number:04X}")
    result: dict[str, Any] = {
        "format": f"Xiaomi (MiBeacon V{version}{' encrypted' if is_encrypted else ''})",
        "device": device,
        "packet": data[4],
    }
    if control & _MESH:
        raise Malformed("a mesh frame, which has no values")
    if version < 2:
        raise Malformed(f"version {version}, where 2 to 5 are known")
    at = 5
    address = advertisement.address
    if control & _HAS_ADDRESS:
        own = data[at : at + 6][::-1]
        if own != address:
            raise Malformed("the address in the frame is another than the sender's")
        at += 6
    if control & _HAS_CAPABILITY:
        if at >= len(data):
            raise Malformed("no capability byte")
        at += 2 if data[at] & _HAS_IO else 1
    values: dict[str, Any] = {}
    result["values"] = values
    if not control & _HAS_OBJECT:
        return result
    body = data[at:]
    if is_encrypted:
        if version >= 4:
            body = _opened(vault, address, data, body)
        else:
            if len(body) < 7:
                raise Malformed(f"{len(body)} encrypted bytes are too few")
            nonce = data[:5] + data[-4:-1] + address[:0:-1]
            body = vault.open_unauthenticated(address, nonce, body[:-4])
            values["is_authentic"] = False
    elif address in vault:
        # Else anyone could speak for a device that is known to encrypt.
        raise NotAuthentic
    _read(body, device, values)
    return result


def _opened(vault: Vault, address: bytes, data: bytes, body: bytes) -> bytes:
    """Versions 4 and 5: ciphertext, 3 bytes of counter, 4 bytes of tag."""
    if len(body) < 8:
        raise Malformed(f"{len(body)} encrypted bytes are too few")
    nonce = address[::-1] + data[2:5] + body[-7:-4]
    opened = vault.open(address, nonce, body[:-7] + body[-4:], b"\x11")
    # The frame counter is the low byte of the one in the tail.
    vault.check_counter(address, int.from_bytes(body[-7:-4], "little") << 8 | data[4])
    return opened


def _read(body: bytes, device: str, values: dict[str, Any]) -> None:
    """Objects, each: kind, length, value."""
    at = 0
    while at < len(body):
        if at + 3 > len(body):
            raise Malformed(f"{len(body) - at} bytes behind the last object")
        kind, length = body[at] | body[at + 1] << 8, body[at + 2]
        value = body[at + 3 : at + 3 + length]
        if len(value) < length:
            raise Malformed(f"object {kind:04X} has {len(value)} bytes instead of {length}")
        values.update(read_object(kind, value, device))
        at += 3 + length
