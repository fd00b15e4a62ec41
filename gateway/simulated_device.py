"""A device that is simulated whole: a chip, its flash in a folder, and what a lock does when it is visited.

Runs on CPython.  The same files of `puf/` that a board runs: after power-on it reads its cells, checks the
gateway's signature on its helper data if it does curves, finds its root, and answers the fast path.  Flash
is two files for each kind of note, so that what a board remembers, a later run remembers.
"""

import os
from collections.abc import Callable
from pathlib import Path

from gateway.disk import Disk, FileMissing
from gateway.first_meeting import device_party, pairing_of, responder
from puf import helper_data, helper_signature, keys
from puf.attempts import Attempts, wait_ms_after
from puf.cose import parse1
from puf.edhoc import DONE
from puf.edhoc import Responder as EdhocResponder
from puf.edhoc_credential import Credential
from puf.fast_path import Responder, Step
from puf.fast_path_keys import Pairing, Pairings
from puf.fast_path_store import NONCE_BYTES as STORE_NONCE_BYTES
from puf.fast_path_store import seal, unseal
from puf.notes import Notes, Slots
from puf.puf_simulator import SimulatedChip

SLOT_BYTES_MAX = 1_024
EPHEMERAL_BYTES = 32
NONCE_BYTES = 16


class FileSlots(Slots):
    """Flash for one kind of note: NAME.0 and NAME.1 in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._paths = (folder / f"{name}.0", folder / f"{name}.1")
        self._disk = Disk()

    def read(self, slot: int) -> bytes:
        """What was last written there."""
        try:
            return self._disk.read_file(self._paths[slot], SLOT_BYTES_MAX)
        except FileMissing:
            return b""

    def write(self, slot: int, data: bytes) -> None:
        """Writes and syncs."""
        self._disk.write_file_atomic(self._paths[slot], data)


class PairingFlash:
    """What a device keeps of its gateway, sealed under its own silicon: flash holds no secret."""

    def __init__(self, notes: Notes, key: bytes) -> None:
        """key: 32 bytes, of the device's root, and no other use of it."""
        self._notes, self._key = notes, key

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever kept that can be read."""
        return self._notes.value is None

    def read(self) -> Pairing:
        """What was kept last.  Raises NotesError."""
        return unseal(self._notes.read(), self._key)

    def write(self, pairing: Pairing) -> None:
        """Keep this from now on; it is in flash when this returns."""
        self._notes.write(seal(pairing, self._key, os.urandom(STORE_NONCE_BYTES)))


class SimulatedDevice:
    """A device after power-on.  Its root is inside, and nowhere else."""

    def __init__(
        self, chip: SimulatedChip, flash: Path, helper: bytes, gateway: bytes, me: bytes, signer: bytes | None
    ) -> None:
        """helper: signed helper data; gateway, me: names on the chain, 32 bytes; signer: the gateway's key.

        signer: None: it does no curves, and the check in the helper data is all that it has.
        Raises DecodeError, SignatureError, ReproductionError, AttemptsExceeded.
        """
        if signer is None:
            opened = helper_data.from_bytes(
                parse1(helper, helper_signature.TYP, size_max=helper_signature.SIZE_MAX).payload
            )
        else:
            opened = helper_signature.open_signed(helper, signer)
        # Another power-up than any before: a simulated chip has them numbered.
        chip.read_count = int.from_bytes(os.urandom(6), "big")
        begin = opened.address - chip.address
        part = chip.read()[begin : begin + opened.size]
        attempts = Attempts(FileSlots(flash, "attempts"), 0)
        self.failure_count = attempts.failure_count
        """Attempts in a row that failed before this one."""
        self.waited_ms = wait_ms_after(attempts.failure_count)
        """How long a board would have waited for that; its clock is simulated, too, and costs nobody time."""
        root = attempts.reproduce(part, opened, self.waited_ms)
        key = keys.derive(root, keys.STORAGE)
        self._party = device_party(root, me) if signer else None
        self._flash = PairingFlash(
            Notes(FileSlots(flash, f"pairing-{opened.address:x}"), key, "pairing"),
            keys.derive(root, keys.STORAGE, b"pairing"),
        )
        pairing = (
            Pairing(gateway, me, keys.derive(keys.pairwise(root, gateway, 0), keys.FAST_PATH))
            if self._flash.is_empty
            else self._flash.read()
        )
        self._keep(pairing)

    def first_visited(self, gateway: bytes, known: Credential) -> "FirstVisit":
        """A gateway connects to meet it by EDHOC.  gateway: its name; known: told at enrolment.

        Raises ValueError when this device does no curves.
        """
        if self._party is None:
            raise ValueError("this device does no curves")
        made = responder(self._party, known, os.urandom(EPHEMERAL_BYTES))
        return FirstVisit(made, gateway, self._party.did, self._flash, self._keep)

    def _keep(self, pairing: Pairing) -> None:
        self._pairings = Pairings(1)
        self._pairings.add(pairing)

    def visited(self, now_ms: int) -> "Visit":
        """Somebody connects."""
        return Visit(Responder(self._pairings, os.urandom(NONCE_BYTES), now_ms), self._flash)


class FirstVisit:
    """One handshake of EDHOC with a simulated device."""

    def __init__(
        self,
        responder: EdhocResponder,
        gateway: bytes,
        me: bytes,
        flash: PairingFlash,
        keep: Callable[[Pairing], None],
    ) -> None:
        self._responder = responder
        self._names = gateway, me
        self._flash = flash
        self._keep = keep

    def receive(self, data: bytes) -> bytes:
        """What it answers, with the new pairing kept before message_4.  Raises EdhocError."""
        answer = self._responder.receive(data)
        if self._responder.state == DONE:
            pairing = pairing_of(self._responder, *self._names)
            self._flash.write(pairing)
            self._keep(pairing)
        return answer


class Visit:
    """One connection to a simulated device."""

    def __init__(self, responder: Responder, flash: PairingFlash) -> None:
        self._responder = responder
        self._flash = flash

    def receive(self, data: bytes, now_ms: int) -> Step:
        """What it answers, with what must be kept kept first.  Raises FastPathError."""
        step = self._responder.receive(data, now_ms)
        if step.save is not None:
            self._flash.write(step.save)
        return step
