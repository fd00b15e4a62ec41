"""Two slots of firmware: which one starts, for good or on trial, and what happens when one is bad.

Runs on CPython and MicroPython.  Of ours it imports only what lies in loader/, too: boot.py needs it before
a slot is chosen.

                      stage(other)                    confirm() after its self-test
    steady(running) --------------> trial(pending, 3) -----------------------------> steady(pending)
          ^                           | each start: one attempt less, written before the slot starts
          '---------------------------' no attempt left, or the slot is not whole: rolled back

    a/slot, b/slot         "CPS1", version, minimum, hash of the list, role; check     written last
    notes/slots.0 and .1   "CPN1", number, running, pending, attempts, floor, failed; check
                           written in turn; the readable one with the higher number counts

`check` is the first 8 bytes of SHA-256 of what stands before it: it finds what a power cut tore.  Nothing
here is secret, or keeps away who holds the flash in his hands: what comes by radio is checked by its
signature (devices/micropython/ota_manifest.py) before it gets here.

A slot is whole when the list of its files (path, size, SHA-256; canonical CBOR, one after the other, sorted
by path) has the hash that its marker names; the same hash stands in the signed manifest.
"""

import hashlib
import os
import struct
from collections import namedtuple

from devices.micropython import boot_state

NAMES = ("a", "b")
"""Folders of the slots 0 and 1."""
NONE = 255
"""No slot is pending."""
ATTEMPTS = 3
"""Starts that a trial has to confirm itself."""
LOADER = 1
"""Version of what boot.py and the files in loader/ can do; firmware may ask for a later one."""
OWN_FILES = ("manifest", "slot")
"""Files of a slot that are not firmware."""
ROLE_BYTES_MAX = 16
CHUNK_BYTES = 512
PATH_BYTES_MAX = 64

_CHECK_BYTES = 8
_MARKER = ">4sII32s"
_NOTE = ">4sIBBBII"


class State(namedtuple("State", "number running pending attempts floor failed")):
    """What the notes say.

    `number`: of the note; `running`: the slot that has confirmed itself; `pending`: the one on trial, or
    NONE; `attempts`: starts left to it; `floor`: no version below it is taken; `failed`: the version that was
    rolled back last, 0: none.
    """

    __slots__ = ()
    KIND = "state"

    def but(self, **changes: int) -> "State":
        """The same with some fields changed."""
        # MicroPython's tuples have no _replace.
        names = ("number", "running", "pending", "attempts", "floor", "failed")
        return State(*[changes.get(name, getattr(self, name)) for name in names])

    @property
    def is_trial(self) -> bool:
        """Whether the slot on trial was started: it runs now, or just failed."""
        return bool(self.pending != NONE and self.attempts < ATTEMPTS)


class Marker(namedtuple("Marker", "version minimum list_hash role")):
    """What a slot holds.  `minimum`: once confirmed, no older version is taken; `list_hash`: bytes, 32."""

    __slots__ = ()
    KIND = "marker"

    def encode(self) -> bytes:
        """As it stands in the slot."""
        return _sealed(struct.pack(_MARKER, b"CPS1", self.version, self.minimum, self.list_hash) + self.role)


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()[:_CHECK_BYTES]


def _read_sealed(path: str, size_max: int) -> bytes:
    """What was sealed; nothing when it is absent or torn."""
    try:
        with open(path, "rb") as file:
            data = file.read(size_max + 1)
    except OSError:
        return b""
    body = data[:-_CHECK_BYTES]
    return body if len(data) <= size_max and data == _sealed(body) else b""


def parse_marker(body: bytes) -> "Marker | None":
    """A marker without its check; None when it is none."""
    size = struct.calcsize(_MARKER)
    if body[:4] != b"CPS1" or not size < len(body) <= size + ROLE_BYTES_MAX:
        return None
    _, version, minimum, list_hash = struct.unpack(_MARKER, body[:size])
    return Marker(version, minimum, list_hash, body[size:])


def parse_state(body: bytes) -> "State | None":
    """A note without its check; None when it is none."""
    if body[:4] != b"CPN1" or len(body) != struct.calcsize(_NOTE):
        return None
    state = State(*struct.unpack(_NOTE, body)[1:])
    return state if state.running in (0, 1) and state.pending in (0, 1, NONE) else None


def encode_state(state: State) -> bytes:
    """As it stands in a note."""
    return _sealed(struct.pack(_NOTE, b"CPN1", *state))


def _head(major: int, count: int) -> bytes:
    """Major type and argument of a CBOR item.  Source: RFC 8949, section 3."""
    if count < 24:
        return bytes((major << 5 | count,))
    if count < 1 << 8:
        return bytes((major << 5 | 24, count))
    if count < 1 << 16:
        return bytes((major << 5 | 25,)) + count.to_bytes(2, "big")
    return bytes((major << 5 | 26,)) + count.to_bytes(4, "big")


def entry(path: str, size: int, digest: bytes) -> bytes:
    """One line of a list: canonical CBOR of [path, size, digest]."""
    name = path.encode()
    return b"\x83" + _head(3, len(name)) + name + _head(0, size) + _head(2, len(digest)) + digest


def file_hash(path: str, buffer: bytearray) -> "tuple[int, bytes]":
    """Size and SHA-256 of a file, read through `buffer`.  Raises OSError."""
    hasher = hashlib.sha256()
    view = memoryview(buffer)
    size = 0
    with open(path, "rb") as file:
        while True:
            count = file.readinto(buffer)
            if not count:
                return size, hasher.digest()
            hasher.update(view[:count])
            size += count


def list_files(folder: str) -> "list[str]":
    """Paths of all files in and below `folder`, relative to it, sorted; none when there is no such folder."""
    found = []
    folders = [""]
    while folders:
        base = folders.pop()
        try:
            names = os.listdir(folder + "/" + base)
        except OSError:
            continue
        for name in names:
            path = base + name
            if os.stat(folder + "/" + path)[0] & 0x4000:
                folders.append(path + "/")
            else:
                found.append(path)
    found.sort()
    return found


def list_hash(folder: str) -> bytes:
    """The hash of the list of what is really in a slot.  Raises OSError when it cannot be read."""
    hasher = hashlib.sha256()
    buffer = bytearray(CHUNK_BYTES)
    for path in list_files(folder):
        if path not in OWN_FILES:
            size, digest = file_hash(folder + "/" + path, buffer)
            hasher.update(entry(path, size, digest))
    return hasher.digest()


class Slots:
    """The slots and notes on the flash at `root`, a folder with "/" at its end."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.state = self._read_state()

    def folder(self, slot: int) -> str:
        """Of a slot."""
        return self.root + NAMES[slot]

    def marker(self, slot: int) -> "Marker | None":
        """What a slot says it holds; None: nothing that could start."""
        size_max = struct.calcsize(_MARKER) + ROLE_BYTES_MAX + _CHECK_BYTES
        return parse_marker(_read_sealed(self.folder(slot) + "/slot", size_max))

    def is_whole(self, slot: int, is_thorough: bool = True) -> bool:
        """Whether a slot can start; `is_thorough`: every byte of it is looked at."""
        marker = self.marker(slot)
        if marker is None:
            return False
        if not is_thorough:
            return True
        try:
            return bool(list_hash(self.folder(slot)) == marker.list_hash)
        except OSError:
            return False

    def choose(self, is_thorough: bool = True) -> int:
        """The slot to start now, or NONE; an attempt of a trial is counted BEFORE its slot starts.

        A trial is always looked at thoroughly, the running slot when `is_thorough`.
        """
        state = self.state
        if state.pending != NONE:
            if state.attempts and self.is_whole(state.pending):
                if self._try_write(state.but(attempts=state.attempts - 1)):
                    return int(state.pending)
            else:
                marker = self.marker(state.pending)
                self._try_write(
                    state.but(pending=NONE, attempts=0, failed=marker.version if marker else state.failed)
                )
        other = 1 - state.running
        if self.is_whole(state.running, is_thorough):
            return int(state.running)
        if self.is_whole(other):
            # An older version is better than none; who could bring this about has the flash in his hands.
            self._try_write(self.state.but(running=other, pending=NONE, attempts=0))
            return int(other)
        return NONE

    def stage(self, slot: int, marker: Marker) -> None:
        """Lets a slot whose files are all written be tried at the next start.  Raises OSError."""
        with open(self.folder(slot) + "/slot", "wb") as file:
            file.write(marker.encode())
        self._write(self.state.but(pending=slot, attempts=ATTEMPTS))

    def clear(self, slot: int) -> None:
        """A slot is going to be written: from now on it cannot start.  Raises OSError."""
        if self.state.pending == slot:
            self._write(self.state.but(pending=NONE, attempts=0))
        try:  # noqa: SIM105  MicroPython has no contextlib
            os.remove(self.folder(slot) + "/slot")
        except OSError:
            # It was not there; anything else shows at the next write.
            pass

    def confirm(self) -> bool:
        """The slot on trial has proved itself: it runs from now on.  False: none is.  Raises OSError."""
        if not self.state.is_trial:
            return False
        marker = self.marker(self.state.pending)
        floor = max(self.state.floor, marker.minimum if marker else 0)
        self._write(
            self.state.but(running=self.state.pending, pending=NONE, attempts=0, floor=floor, failed=0)
        )
        return True

    def _read_state(self) -> State:
        best = None
        for index in (0, 1):
            state = parse_state(_read_sealed(self._note(index), 64))
            if state is not None and (best is None or state.number > best.number):
                best = state
        if best is not None:
            return best
        # Notes are gone: the later of the slots that can start, and what it says of versions.
        markers = [self.marker(slot) if self.is_whole(slot) else None for slot in (0, 1)]
        versions = [marker.version if marker else -1 for marker in markers]
        running = 1 if versions[1] > versions[0] else 0
        marker = markers[running]
        return State(0, running, NONE, 0, marker.minimum if marker else 0, 0)

    def _note(self, index: int) -> str:
        return self.root + "notes/slots." + str(index)

    def _write(self, state: State) -> None:
        state = state.but(number=self.state.number + 1)
        try:  # noqa: SIM105  MicroPython has no contextlib
            os.mkdir(self.root + "notes")
        except OSError:
            # It is there already; anything else shows in the next line.
            pass
        with open(self._note(state.number % 2), "wb") as file:
            file.write(encode_state(state))
        self.state = state

    def _try_write(self, state: State) -> bool:
        """Notes that a start would like to keep: a flash that takes none keeps nothing from starting."""
        try:
            self._write(state)
        except OSError:
            return False
        return True


def confirm() -> bool:
    """For a role after its self-test: the firmware that runs may stay.  False: it is not on trial.

    Call it before the first deep sleep, whose end is another start.  Raises OSError.
    """
    if not boot_state.is_trial:
        return False
    is_confirmed = Slots(boot_state.root).confirm()
    boot_state.is_trial = False
    return is_confirmed
