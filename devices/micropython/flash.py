"""Where a device keeps notes: two files for each kind, in one folder of its flash.

Runs on CPython and MicroPython.  LittleFS, which boards have, writes what a closed file holds as one step;
elsewhere the file is synced.  Notes do not rely on either: puf/notes.py never touches the slot that counts.
"""

import os
import sys

from puf.notes import Slots

SLOT_BYTES_MAX = 1024
"""Bytes of a slot that are looked at."""

if sys.implementation.name == "micropython":

    def _sync(file: "object") -> None:
        # The file system of a board syncs at the end of `with`; it has no fsync.
        file.flush()  # type: ignore[attr-defined]

else:

    def _sync(file: "object") -> None:
        file.flush()  # type: ignore[attr-defined]
        os.fsync(file.fileno())  # type: ignore[attr-defined]


class FileSlots(Slots):
    """NAME.0 and NAME.1."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, slot: int) -> bytes:
        """What was last written there."""
        try:
            with open(f"{self._path}.{slot}", "rb") as file:
                return file.read(SLOT_BYTES_MAX)
        except OSError:
            # Absent, or a sector that cannot be read: both are an empty slot.
            return b""

    def write(self, slot: int, data: bytes) -> None:
        """Writes and syncs.  Raises OSError when flash is full or broken."""
        with open(f"{self._path}.{slot}", "wb") as file:
            file.write(data)
            _sync(file)


class Flash:
    """A folder for notes; it is made if it is not there."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        try:  # noqa: SIM105  MicroPython has no contextlib
            os.mkdir(folder)
        except OSError:
            # It is there; if it cannot be made, the first write says so.
            pass

    def slots(self, name: str) -> FileSlots:
        """The two places for notes of this name."""
        return FileSlots(f"{self._folder}/{name}")
