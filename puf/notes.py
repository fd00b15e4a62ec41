"""A few bytes kept in flash, whole or not at all, whatever moment the power fails at.

Runs on CPython and MicroPython.  Two slots are written in turn, so the one with the last notes is never
touched while the next are being written.  A slot holds

    [1, number, notes, tag]     tag = HMAC-SHA-256(key, << ["cpc/notes", 1, name, number, notes] >>), 16 bytes

and the readable slot with the higher number counts.  A torn write is not readable, and so never happened.
The tag keeps others from writing notes of their own; it does not keep who holds the chip from putting back
an older slot, nor from reading: what is secret is to be sealed before (puf/fast_path_store.py).
"""

from puf import cbor
from puf.errors import DecodeError, NotesError
from puf.hkdf import hmac_sha256, is_equal

NOTES_BYTES_MAX = 512
TAG_BYTES = 16


class Slots:
    """Where notes are kept: two places in flash, numbered 0 and 1.  A board and a test each bring theirs."""

    def read(self, slot: int) -> bytes:
        """What was last written there, perhaps torn; nothing when nothing ever was."""
        raise NotImplementedError

    def write(self, slot: int, data: bytes) -> None:
        """Writes and syncs.  The power may fail inside: this slot then holds anything, the other its own."""
        raise NotImplementedError


class Notes:
    """Notes of one `name` under one `key` (bytes, 32, derived for storage).  Opening reads both slots.

    `value`: bytes, or None when no slot is readable.  `write_count`: writes since it was opened.
    """

    def __init__(self, slots: Slots, key: bytes, name: str) -> None:
        self.value: bytes | None = None
        self.write_count = 0
        self._slots = slots
        self._key = key
        self._name = name
        self._number = 0
        self._slot = 1
        for slot in (0, 1):
            number, value = self._read(slot)
            if value is not None and number > self._number:
                self.value, self._number, self._slot = value, number, slot

    def read(self) -> bytes:
        """The last notes.  Raises NotesError when there are none to trust."""
        if self.value is None:
            raise NotesError(
                f"no notes {self._name!r} can be read; set them up anew under another key or epoch"
            )
        return self.value

    def write(self, value: bytes) -> None:
        """Replaces the notes; they are in flash when this returns, and unchanged when it raises."""
        if len(value) > NOTES_BYTES_MAX:
            raise ValueError(f"notes have at most {NOTES_BYTES_MAX} bytes, not {len(value)}")
        number = self._number + 1
        slot = 1 - self._slot
        self.write_count += 1
        self._slots.write(slot, cbor.encode([1, number, value, self._tag(number, value)]))
        self.value, self._number, self._slot = value, number, slot

    def _tag(self, number: int, value: bytes) -> bytes:
        return hmac_sha256(self._key, cbor.encode(["cpc/notes", 1, self._name, number, value]))[:TAG_BYTES]

    def _read(self, slot: int) -> "tuple[int, bytes | None]":
        try:
            parts = cbor.decode(self._slots.read(slot), NOTES_BYTES_MAX + 64, 1)
        except DecodeError:
            return 0, None
        if not isinstance(parts, list) or len(parts) != 4 or not cbor.is_int(parts[0], 1, 1):
            return 0, None
        _, number, value, tag = parts
        if not isinstance(number, int) or not isinstance(value, bytes) or not isinstance(tag, bytes):
            return 0, None
        return (number, value) if is_equal(tag, self._tag(number, value)) else (0, None)
