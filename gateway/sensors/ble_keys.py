"""Keys of sensors that encrypt, and the counters that show a replay.

Runs on CPython.  A keys file has a line for each device, `AA:BB:CC:DD:EE:FF` and the key in hex (its
"bind key", 16 bytes; 12 for old Xiaomi devices); `#` begins a comment.  It must be mode 0600.  No key is
ever part of a message or a repr.

    BleError                 an advertisement gives no values
    |- Malformed             its bytes are not what its format says
    |- NoKey                 it is encrypted, and no key is known
    |- NotAuthentic          the key is wrong, or the bytes were altered
    `- Replayed              its counter is below one that was seen
"""

from __future__ import annotations

import os
import stat

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from gateway.sensors.ble_ad import address_text, parse_address
from gateway.sensors.source import SourceUnavailable

KEY_LENGTHS = (12, 16)
KEYS_MAX = 10_000
_OLD_KEY_MIDDLE = bytes.fromhex("8d3d3c97")
"""Xiaomi's MiBeacon 2 and 3 put it into the middle of 12 bytes."""


class BleError(ValueError):
    """An advertisement gives no values; the message says why."""


class Malformed(BleError):
    """The bytes are not what their format says."""


class NoKey(BleError):
    """The values are encrypted and no key is known for the address."""

    def __init__(self) -> None:
        super().__init__("encrypted, and no key for this address in the keys file")


class NotAuthentic(BleError):
    """The key is wrong, or the bytes were altered."""

    def __init__(self) -> None:
        super().__init__("its key is wrong, or it was altered")


class Replayed(BleError):
    """The counter is below one that was seen before."""

    def __init__(self, counter: int, newest: int) -> None:
        super().__init__(
            f"replayed: counter {counter} after {newest}; reopen the source if the device began anew"
        )
        self.counter = counter
        self.newest = newest


class Vault:
    """Keys and counters of all devices."""

    def __init__(self, keys: dict[bytes, bytes] | None = None) -> None:
        """keys: by address, 6 bytes in written order."""
        self._keys = dict(keys or {})
        self._ciphers: dict[bytes, AESCCM] = {}
        self._newest: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"Vault({len(self._keys)} keys)"

    def __contains__(self, address: bytes) -> bool:
        return address in self._keys

    def open(self, address: bytes, nonce: bytes, sealed: bytes, extra: bytes | None = None) -> bytes:
        """AES-CCM with a tag of 4 bytes at the end of `sealed`.  Raises NoKey, NotAuthentic, Malformed."""
        cipher = self._ciphers.get(address)
        if cipher is None:
            key = self._keys.get(address)
            if key is None:
                raise NoKey
            if len(key) != 16:
                raise NotAuthentic
            cipher = self._ciphers[address] = AESCCM(key, tag_length=4)
        if len(sealed) < 5:
            raise Malformed(f"{len(sealed)} encrypted bytes are too few")
        try:
            return cipher.decrypt(nonce, sealed, extra)
        except InvalidTag:
            raise NotAuthentic from None

    def open_unauthenticated(self, address: bytes, nonce: bytes, sealed: bytes) -> bytes:
        """What AES-CCM would give without its tag, under an old key of 12 bytes.  Raises NoKey, NotAuthentic.

        nonce: 13 bytes.  Whoever uses what comes out must say that nothing vouches for it."""
        key = self._keys.get(address)
        if key is None:
            raise NoKey
        if len(key) != 12:
            raise NotAuthentic
        # CCM's counter mode: one byte of flags, the nonce, a counter of two bytes that begins at 1.
        block = b"\x01" + nonce + b"\x00\x01"
        cipher = Cipher(algorithms.AES(key[:6] + _OLD_KEY_MIDDLE + key[6:]), modes.CTR(block)).decryptor()
        return cipher.update(sealed) + cipher.finalize()

    def check_counter(self, address: bytes, counter: int) -> None:
        """Takes the counter of an authentic advertisement.  Raises Replayed.

        The same again is well: devices send each advertisement several times."""
        newest = self._newest.get(address, -1)
        if counter < newest:
            raise Replayed(counter, newest)
        self._newest[address] = counter


def load_keys(path: str) -> Vault:
    """The vault of a keys file.  Raises SourceUnavailable; the message names the line, never a key."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SourceUnavailable(path, getattr(error, "strerror", None) or str(error)) from error
    try:
        # Of the file that is open, not of the name: that may change between two looks.
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise SourceUnavailable(path, "this is no file")
        if info.st_mode & 0o077:
            raise SourceUnavailable(path, f"others may read the keys; run: chmod 600 {path}")
        text = os.read(fd, KEYS_MAX * 200).decode("utf-8", "replace")
    finally:
        os.close(fd)
    keys: dict[bytes, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{path}, line {number}"
        try:
            address = parse_address(words[0])
            key = bytes.fromhex(words[1]) if len(words) == 2 else b""
        except ValueError:
            raise SourceUnavailable(
                where, "not an address and a key in hex: AA:BB:CC:DD:EE:FF 0011.."
            ) from None
        if len(key) not in KEY_LENGTHS:
            raise SourceUnavailable(where, f"a key has 16 bytes, or 12 for old devices, not {len(key)}")
        if address in keys:
            raise SourceUnavailable(where, f"a second key for {address_text(address)}")
        keys[address] = key
    return Vault(keys)
