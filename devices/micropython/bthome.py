"""BTHome version 2: measurements in an advertisement, plain or encrypted, that any BTHome receiver reads.

Runs on CPython and MicroPython.

    flags (3 bytes), then service data of UUID FCD2:
    plain      40 objects ..                                     an object 00 counts packets
    encrypted  41 AES-CCM(key, nonce, objects ..) counter tag    counter 4 bytes, little endian; tag 4 bytes
    nonce = address, as it is written  D2 FC  41  counter

An object is its number and a little-endian value; objects stand in the order of their numbers.  The key is
derived from the key of grants of an epoch, so the gateway, which may ask for that, can read along, and nobody
can who has the key of an earlier epoch.  A number of the counter is used once with a key, also after a power
cut: `Numbers` writes to flash once for a block of them, and what RTC memory kept over a deep sleep goes on.
Source: bthome.io/format and /encryption; Core Specification Supplement 11, part A, sections 1.3 and 1.11.
"""

import struct

from puf.aes_ccm import seal
from puf.keys import derive
from puf.notes import Notes
from puf.replay_window import Counter

PACKET, BATTERY, TEMPERATURE, VOLTAGE = 0x00, 0x01, 0x02, 0x0C
OCCUPANCY, PROBLEM, DISTANCE = 0x23, 0x26, 0x40
"""Objects: count of packets; %; 0.01 degrees C; mV; two of yes or no; mm."""
_LAYOUTS = {
    PACKET: "<B",
    BATTERY: "<B",
    TEMPERATURE: "<h",
    VOLTAGE: "<H",
    PROBLEM: "<B",
    OCCUPANCY: "<B",
    DISTANCE: "<H",
}
ADVERTISEMENT_BYTES_MAX = 31
NUMBER_MAX = 0xFFFFFFFF
BLOCK = 1_000
"""Numbers for one write to flash: about one write in 16 hours at a measurement each minute."""
KEPT_BYTES = 16
_PLAIN, _ENCRYPTED = 0x40, 0x41
_UUID = b"\xd2\xfc"
_HEAD = b"\x02\x01\x06"
_TAG_BYTES = 4


def beacon_key(grant_key: bytes) -> bytes:
    """The key of an epoch, bytes, 16, secret, from the key of its grants."""
    return derive(grant_key, "bthome", b"", 16)


def objects(values: "dict[int, int]") -> bytes:
    """These objects with their values.  Raises ValueError for an unknown one; values are cut to what fits."""
    out = bytearray()
    for kind in sorted(values):
        layout = _LAYOUTS.get(kind)
        if layout is None:
            raise ValueError(f"object {kind:02x} is none of those that this device sends")
        bits = 8 * struct.calcsize(layout)
        least = -(1 << bits - 1) if layout == "<h" else 0
        most = least + (1 << bits) - 1
        out.append(kind)
        out.extend(struct.pack(layout, min(max(values[kind], least), most)))
    return bytes(out)


def plain(body: bytes) -> bytes:
    """Service data, without the UUID, of these objects."""
    return bytes((_PLAIN,)) + body


def encrypted(body: bytes, key: bytes, address: bytes, number: int) -> bytes:
    """The same under `key`, bytes, 16.  `address`: bytes, 6, as it is written; `number`: used once."""
    if not 0 <= number <= NUMBER_MAX:
        raise ValueError("every number of this key is used; the gateway must begin another epoch")
    counter = number.to_bytes(4, "little")
    nonce = address + _UUID + bytes((_ENCRYPTED,)) + counter
    sealed = seal(key, nonce, body, b"", _TAG_BYTES)
    return bytes((_ENCRYPTED,)) + sealed[:-_TAG_BYTES] + counter + sealed[-_TAG_BYTES:]


def advertisement(service_data: bytes) -> bytes:
    """The whole advertisement.  Raises ValueError when it is too long for one."""
    out = _HEAD + bytes((len(service_data) + 3, 0x16)) + _UUID + service_data
    if len(out) > ADVERTISEMENT_BYTES_MAX:
        raise ValueError(f"{len(out)} bytes are more than an advertisement has; send fewer objects")
    return out


class Numbers(Counter):
    """Numbers for the key of `epoch`, each given once.  `kept`: what `keep` gave before a deep sleep."""

    def __init__(self, notes: Notes, epoch: int, kept: bytes = b"") -> None:
        if notes.value is None:
            Counter.__init__(self, notes, epoch, BLOCK)
        else:
            Counter.__init__(self, notes, None, BLOCK)
            if self.epoch != epoch:
                Counter.__init__(self, notes, epoch, BLOCK)
        if len(kept) == KEPT_BYTES:
            kept_epoch, number, safe, check = struct.unpack("<IIII", kept)
            is_ours = kept_epoch == epoch and check == _check(epoch, number, safe)
            # Only numbers that flash has reserved, and not long ago.
            if is_ours and max(self._bound - 4 * BLOCK, 0) <= number <= safe <= self._bound:
                self._next, self._safe = number, safe

    def keep(self) -> bytes:
        """What is to lie in memory over a deep sleep: bytes, KEPT_BYTES."""
        epoch, number, safe = self.epoch, self._next, self._safe
        # Beyond what 4 bytes can say nothing is kept, and the next start skips a block.
        if max(epoch, number, safe) > NUMBER_MAX:
            return b""
        return struct.pack("<IIII", epoch, number, safe, _check(epoch, number, safe))


def _check(epoch: int, number: int, safe: int) -> int:
    """Tells what was kept from what else memory may hold."""
    return epoch ^ number ^ safe ^ 0x5A5A5A5A
