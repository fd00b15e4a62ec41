"""Takes new firmware into the slot that does not run, in pieces, whatever breaks off.

Runs on CPython and MicroPython.  Sans-IO but for the flash, which is its subject.  `Receiver.handle` takes
one message of whoever brings the update and gives the answer; both are deterministic CBOR arrays.

    ASK    [0]                        -> {what runs, what waits, what failed}: see `_status`
    BEGIN  [1, statement]             -> [code, offset, size]
    DATA   [2, offset, bytes]         -> [code, offset, size]     bytes: of the update, from its list on
    GO     [3]                        -> [code, offset, size]
    FETCH  [4, url, network, key]     -> [code, offset, size]     the board gets the update itself, by WiFi

    WANT     send what stands at `offset`, up to DATA_BYTES_MAX        `size`: of list and content
    WORKING  nothing now, the board looks at its flash: GO
    STAGED   all is there and right; the next start tries it
    SAME     that very firmware runs already
    BUSY     the board moves something: the same again a little later
    others   refused or failed (REASONS); BEGIN again, or not

It survives: a lost link (say BEGIN again, it goes on where it was), a lost power (it goes on with the file
that was being written), a repeated, late or unasked piece (it answers with what it wants).  No file is
written twice for that, and none is sent that either slot has already.  Each piece of work is short
(STEP_BYTES), but for the signature, which takes a board seconds: `is_free` says when there is time for it.

Flash of the slot that is written: its marker goes first and comes last (devices/micropython/slots.py), so a
slot that is only half there never starts; `manifest` holds the statement and the list; each file is checked
against its hash as it comes, and all of them are read back by boot.py before they run.
"""

import os
import sys
from hashlib import sha256

from devices.micropython import boot_state, modules, slots
from devices.micropython.errors import FirmwareError, UpdateError
from devices.micropython.ota_manifest import (
    ANY_BOARD,
    ENTRY_BYTES_MAX,
    FILES_MAX,
    Entry,
    Firmware,
    entry_size,
    open_signed,
    parse_entry,
    wrap,
)
from devices.micropython.slots import CHUNK_BYTES, LOADER, OWN_FILES, Marker, Slots
from puf import cbor
from puf.errors import DecodeError, PufError

if sys.implementation.name != "micropython":
    # For annotations only, which MicroPython does not look at.
    from collections.abc import Callable, Generator, Iterator

ASK, BEGIN, DATA, GO, FETCH = 0, 1, 2, 3, 4
WANT, WORKING, STAGED, SAME, BUSY = 0, 1, 2, 3, 4
(MALFORMED, NOT_BEGUN, NOT_SIGNED, NOT_FOR_ROLE, NOT_FOR_BOARD, TOO_OLD, LOADER_OLD, MPY_WRONG) = range(
    16, 24
)
(ON_TRIAL, LIST_WRONG, FILE_WRONG, FLASH_FAILED, NO_FETCH) = range(24, 29)
REASONS = {
    MALFORMED: "a message that is none of these",
    NOT_BEGUN: "no update was begun since the board started; begin again",
    NOT_SIGNED: "the statement is not signed by the publisher that this board was given",
    NOT_FOR_ROLE: "the firmware is for another role",
    NOT_FOR_BOARD: "the firmware is for another board",
    TOO_OLD: "the board runs a later version, or another of the same number, or has left this one for good",
    LOADER_OLD: "the firmware needs a later boot.py; flash the board by its serial port",
    MPY_WRONG: "the firmware was compiled for another MicroPython",
    ON_TRIAL: "what runs has not confirmed itself yet; wait, or start it anew",
    LIST_WRONG: "the list of files is not the one that was signed",
    FILE_WRONG: "a file is not the one that was signed, three times",
    FLASH_FAILED: "the flash is full, or could not be written",
    NO_FETCH: "the board has no WiFi, or fetches already",
}
"""What the codes from 16 on mean."""
DATA_BYTES_MAX = 1000
"""Of one piece: with its frame it stays within the 1,024 bytes of a message."""
BODY_BYTES_MAX = 1024
STEP_BYTES = 4096
"""What is read or written within one call, about."""
TRIES = 3
"""How often one file may come wrong."""


class Receiver:
    """Takes updates on the flash at `root`.

    `publisher`: bytes, 32, whose firmware is taken; `role`, `board`: str, what this is; `is_free()`: whether
    there is time for slow work now; `fetch(url, network, key)`: begins to fetch, False when it cannot.
    `code`: of the last answer on an update.
    """

    def __init__(
        self,
        root: str,
        publisher: bytes,
        role: str,
        board: str,
        is_free: "Callable[[], bool] | None" = None,
        fetch: "Callable[[str, str, str], bool] | None" = None,
    ) -> None:
        self._root = root
        self._publisher = publisher
        self._role = role
        self._board = board
        self._is_free = is_free
        self._fetch = fetch
        self._statement = b""
        self._work: Generator[int, None, None] | None = None
        self.code = NOT_BEGUN
        self._wanted = 0
        self._size = 0
        self._spent = 0
        self._data = b""
        self._data_at = 0

    def handle(self, body: bytes, now_ms: int) -> bytes:
        """The answer to one message; see the head of this file."""
        try:
            items = cbor.decode(body, BODY_BYTES_MAX, 1)
        except DecodeError:
            items = None
        if not isinstance(items, list) or not items or type(items[0]) is not int:
            return self._answer(MALFORMED)
        if tuple([type(item) for item in items[1:]]) != _FORMS.get(items[0]):
            return self._answer(MALFORMED)
        if items[0] == ASK:
            return cbor.encode(self._status())
        if self._is_free is not None and not self._is_free():
            return self._answer(BUSY)
        if items[0] == FETCH:
            if self._fetch is None or not self._fetch(items[1], items[2], items[3]):
                return self._answer(NO_FETCH)
            if self._work is None:
                # Who watches would take what an earlier update came to for the end of this one.
                self._stop(NOT_BEGUN)
            return self._answer(WORKING)
        if items[0] == BEGIN:
            self._begin(items[1])
        elif items[0] == DATA:
            self._data_at, self._data = items[1], items[2]
        if self._work is not None:
            self._step(self._work)
        return self._answer(self.code)

    @property
    def is_working(self) -> bool:
        """Whether an update is on its way."""
        return self._work is not None

    def _answer(self, code: int) -> bytes:
        return cbor.encode([code, self._wanted, self._size])

    def _status(self) -> "dict[str, object]":
        flash = Slots(self._root)
        state = flash.state
        running = state.pending if state.is_trial else state.running
        markers = [flash.marker(slot) for slot in (running, 1 - running)]
        return {
            "role": self._role,
            "board": self._board,
            "slot": slots.NAMES[running],
            "version": markers[0].version if markers[0] else 0,
            "is_trial": state.is_trial,
            "staged": markers[1].version if markers[1] and state.pending == 1 - running else 0,
            "failed": state.failed,
            "floor": state.floor,
            "code": self.code,
            "offset": self._wanted,
            "size": self._size,
        }

    def _begin(self, statement: bytes) -> None:
        if self._work is not None and statement == self._statement:
            return
        self._stop(NOT_BEGUN)
        try:
            firmware = open_signed(statement, self._publisher)
        except (PufError, FirmwareError):
            self.code = NOT_SIGNED
            return
        finally:
            modules.forget(_FOR_SIGNATURES)
        flash = Slots(self._root)
        self.code = self._verdict(firmware, flash)
        self._size = firmware.list_size + firmware.content_size
        if self.code != WORKING:
            return
        target = 1 - flash.state.running
        if flash.state.pending == target and _begins_with(
            flash.folder(target) + "/manifest", wrap(statement)
        ):
            self.code = STAGED
            return
        self._statement = statement
        self._work = self._update(firmware, flash, target)

    def _verdict(self, firmware: Firmware, flash: Slots) -> int:
        """WORKING, or why not."""
        if firmware.role != self._role:
            return NOT_FOR_ROLE
        if firmware.board not in (self._board, ANY_BOARD):
            return NOT_FOR_BOARD
        # What lies in loader/ may be older than the slots.py of this slot.
        if firmware.loader > (boot_state.loader or LOADER):
            return LOADER_OLD
        if firmware.mpy and firmware.mpy != getattr(sys.implementation, "_mpy", firmware.mpy) & 0xFF:
            return MPY_WRONG
        if flash.state.is_trial:
            return ON_TRIAL
        marker = flash.marker(flash.state.running)
        version = marker.version if marker else 0
        if marker and version == firmware.version and marker.list_hash == firmware.list_hash:
            return SAME
        if firmware.version < flash.state.floor or (firmware.version <= version and not firmware.may_go_back):
            return TOO_OLD
        return WORKING

    def _stop(self, code: int) -> None:
        if self._work is not None:
            self._work.close()
        self._work = None
        self.code, self._wanted, self._size, self._data = code, 0, 0, b""

    def _step(self, work: "Generator[int, None, None]") -> None:
        """Works until a piece is wanted, or this call has done its share."""
        self._spent = 0
        try:
            self.code = WORKING
            while self._spent < STEP_BYTES:
                self.code = next(work)
                if self.code == WANT:
                    return
        except StopIteration:
            self._stop(STAGED)
        except UpdateError as error:
            self._stop(error.code)
        except OSError:
            self._stop(FLASH_FAILED)
        except Exception:
            # Its generator has ended, and going on with it would look like the end of the update.
            self._stop(NOT_BEGUN)
            raise

    # The update itself, as a generator of WANT and WORKING.  Each line may be the last before a power cut.

    def _update(self, firmware: Firmware, flash: Slots, target: int) -> "Generator[int, None, None]":
        folder = flash.folder(target)
        manifest = folder + "/manifest"
        head = wrap(self._statement)
        flash.clear(target)
        if not (yield from self._check_list(manifest, head, firmware)):
            yield from self._receive_list(manifest, head, firmware)
            if not (yield from self._check_list(manifest, head, firmware)):
                os.remove(manifest)
                raise UpdateError(LIST_WRONG, REASONS[LIST_WRONG])
        yield from self._remove_others(folder, manifest, len(head), firmware)
        offset = firmware.list_size
        for entry in _entries(manifest, len(head), firmware):
            path = folder + "/" + entry.path
            if not (yield from self._has(path, entry)):
                here = flash.folder(flash.state.running) + "/" + entry.path
                _make_way(folder, entry.path)
                if (yield from self._has(here, entry)):
                    yield from self._copy(here, path)
                else:
                    yield from self._receive(path, entry, offset)
            offset += entry.size
        flash.stage(
            target, Marker(firmware.version, firmware.minimum, firmware.list_hash, firmware.role.encode())
        )

    def _piece(self, offset: int, size_max: int) -> "Generator[int, None, bytes]":
        """What stands at `offset`, as soon as it is here."""
        while True:
            at = offset - self._data_at
            if 0 <= at < len(self._data):
                data = self._data[at : at + size_max]
                self._spent += len(data)
                return data
            self._wanted = offset
            yield WANT

    def _receive_list(self, manifest: str, head: bytes, firmware: Firmware) -> "Generator[int, None, None]":
        _make_way(manifest[: -len("/manifest")], "manifest")
        self._data = b""
        with open(manifest, "wb") as file:
            file.write(head)
            at = 0
            while at < firmware.list_size:
                data = yield from self._piece(at, firmware.list_size - at)
                file.write(data)
                at += len(data)

    def _check_list(self, manifest: str, head: bytes, firmware: Firmware) -> "Generator[int, None, bool]":
        """Whether `manifest` is this statement and the list that it names, each item of which is right."""
        try:
            if os.stat(manifest)[6] != len(head) + firmware.list_size or not _begins_with(manifest, head):
                return False
        except OSError:
            return False
        hasher = sha256()
        with open(manifest, "rb") as file:
            file.read(len(head))
            data = file.read(CHUNK_BYTES)
            while data:
                hasher.update(data)
                self._spent += len(data)
                yield WORKING
                data = file.read(CHUNK_BYTES)
        if hasher.digest() != firmware.list_hash:
            return False
        count, size = 0, 0
        try:
            for entry in _entries(manifest, len(head), firmware):
                count += 1
                size += entry.size
                self._spent += ENTRY_BYTES_MAX
                yield WORKING
        except (DecodeError, FirmwareError):
            return False
        return count <= FILES_MAX and size == firmware.content_size

    def _remove_others(
        self, folder: str, manifest: str, at: int, firmware: Firmware
    ) -> "Generator[int, None, None]":
        """Removes what the slot holds and the list does not name: both are sorted."""
        there = [path for path in slots.list_files(folder) if path not in OWN_FILES]
        index = 0
        for entry in _entries(manifest, at, firmware):
            while index < len(there) and there[index] < entry.path:
                _remove(folder, there[index])
                index += 1
                self._spent += CHUNK_BYTES
                yield WORKING
            if index < len(there) and there[index] == entry.path:
                index += 1
        for path in there[index:]:
            _remove(folder, path)
            self._spent += CHUNK_BYTES
            yield WORKING

    def _has(self, path: str, entry: Entry) -> "Generator[int, None, bool]":
        """Whether that file is there and right."""
        try:
            if os.stat(path)[6] != entry.size:
                return False
            with open(path, "rb") as file:
                hasher = sha256()
                data = file.read(CHUNK_BYTES)
                while data:
                    hasher.update(data)
                    self._spent += len(data)
                    yield WORKING
                    data = file.read(CHUNK_BYTES)
        except OSError:
            return False
        return bool(hasher.digest() == entry.digest)

    def _copy(self, source: str, path: str) -> "Generator[int, None, None]":
        with open(source, "rb") as old, open(path, "wb") as new:
            data = old.read(CHUNK_BYTES)
            while data:
                new.write(data)
                self._spent += len(data)
                yield WORKING
                data = old.read(CHUNK_BYTES)

    def _receive(self, path: str, entry: Entry, offset: int) -> "Generator[int, None, None]":
        for _ in range(TRIES):
            hasher = sha256()
            with open(path, "wb") as file:
                at = 0
                while at < entry.size:
                    data = yield from self._piece(offset + at, entry.size - at)
                    file.write(data)
                    hasher.update(data)
                    at += len(data)
            if hasher.digest() == entry.digest:
                return
            os.remove(path)
            self._data = b""
        raise UpdateError(FILE_WRONG, REASONS[FILE_WRONG])


_FOR_SIGNATURES = ("puf.cose", "puf.ed25519", "puf.ed25519_pure", "puf.sha512", "puf.curve25519")
"""Modules that lie in memory only while one is checked."""
_FORMS = {ASK: (), BEGIN: (bytes,), DATA: (int, bytes), GO: (), FETCH: (str, str, str)}
"""Types of what follows the first item."""


def _entries(manifest: str, at: int, firmware: Firmware) -> "Iterator[Entry]":
    """The list's items, read one by one from flash.  Raises DecodeError, FirmwareError, OSError."""
    end = at + firmware.list_size
    before = ""
    while at < end:
        # Opened anew each time: in between, the slot is written.
        with open(manifest, "rb") as file:
            file.seek(at)
            data = file.read(min(ENTRY_BYTES_MAX, end - at))
        size = entry_size(data)
        if not size:
            raise FirmwareError("an item of a list is longer than any can be, or cut off")
        entry = parse_entry(data[:size], before)
        at += size
        before = entry.path
        yield entry


def _begins_with(path: str, head: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(head)) == head
    except OSError:
        return False


def _make_way(folder: str, path: str) -> None:
    """Makes the folders that a file of a slot needs, and takes away an empty one of its own name."""
    parts = path.split("/")
    for count in range(len(parts)):
        name = "/".join([folder] + parts[:count])  # noqa: RUF005
        try:
            os.stat(name)
        except OSError:
            os.mkdir(name)
    try:
        if os.stat(folder + "/" + path)[0] & 0x4000:
            os.rmdir(folder + "/" + path)
    except OSError:
        # Nothing is there, which is as well.
        pass


def _remove(folder: str, path: str) -> None:
    """Removes a file, and the folders that are empty then."""
    os.remove(folder + "/" + path)
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        try:
            os.rmdir(folder + "/" + path)
        except OSError:
            return
