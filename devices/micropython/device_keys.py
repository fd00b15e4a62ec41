"""A device's keys after power-on: from its cells and what is public to all that it proves itself with.

Runs on CPython and MicroPython.

    readout + helper data -> root -+- STORAGE    seals and authenticates its notes in flash
                                   +- EDHOC      its static key, for a first meeting
                                   +- PAIRWISE   with its gateway: the first pairing, and the keys of grants

Cells show their pattern after power-on only.  After a restart or a deep sleep, which do not cut the power,
the root is found in memory that lasts as long as the power does (RTC memory), where it was left for that.

In flash lie, under the silicon's own key, the pairing with the gateway, which steps with each meeting, and
the window of used grants.  If both slots of a kind are lost, the device is not: the pairing begins again at
what enrolment left, so the gateway finds no such name and meets it by EDHOC anew; and without a window there
is no key for grants until the gateway has named a later epoch, since numbers that were forgotten must not
pass again.
"""

import sys

from devices.micropython import modules
from devices.micropython.errors import ProvisionError
from devices.micropython.flash import Flash
from puf import keys
from puf.errors import ReproductionError, SourceError
from puf.fast_path_keys import Pairing
from puf.fast_path_store import NONCE_BYTES, seal, unseal
from puf.grant import Doorkeeper
from puf.hkdf import hmac_sha256, is_equal
from puf.keys import ROOT_BYTES
from puf.notes import Notes
from puf.replay_window import ReplayWindow

if sys.implementation.name != "micropython":
    # For its type; a board lets go of that file once it was read.
    from devices.micropython.provision import Provision

ADDRESS = 0x50000000
"""Where the readout begins: RTC slow memory of an ESP32 (puf/puf_esp32.py)."""
CHECK_BYTES = 8
MEMORY_BYTES = ROOT_BYTES + CHECK_BYTES


def open_device(
    readout: "bytes | None",
    provision: "Provision",
    flash: Flash,
    wait: object,
    random: object,
    memory: "object | None" = None,
    address: int = ADDRESS,
) -> "Keys":
    """The keys of the device whose cells gave `readout`, bytes from `address` on; None after a mere restart.

    `wait(ms)`: a callable that returns after so long; called before an attempt that follows on failed ones.
    `random(n)`: n random bytes.  `memory`: what lasts as long as the power does: `memory()` gives its bytes,
    `memory(data)` replaces them by MEMORY_BYTES, as machine.RTC().memory does; None: there is none.
    Raises DecodeError, SignatureError, ReproductionError, AttemptsExceeded (never to be tried again),
    ProvisionError, SourceError (nothing was read, and nothing is in memory); OSError when the attempt cannot
    be noted.
    """
    root, region = _root(readout, provision, flash, wait, memory, address)
    modules.forget(modules.BOOT)
    return Keys(root, region, provision, flash, random)


def _root(
    readout: "bytes | None",
    provision: "Provision",
    flash: Flash,
    wait: object,
    memory: "object | None",
    address: int,
) -> "tuple[bytes, int]":
    """The root, and where its region begins."""
    from puf import helper_data, helper_signature
    from puf.attempts import Attempts, wait_ms_after
    from puf.cose import parse1

    slots = flash.slots("attempts")
    attempts = Attempts(slots, 0)
    is_known = bool(slots.read(0) or slots.read(1))
    has_curves = bool(provision.device_ccs)
    if has_curves and (attempts.failure_count or not is_known):
        # The root is bound to every bit of the helper data, so a signature says no more than a root that
        # came back; it says it before the work, and why.  It is not paid for at each waking.
        helper = helper_signature.open_signed(provision.helper, provision.signer)
    else:
        parsed = parse1(provision.helper, helper_signature.TYP, b"", helper_signature.SIZE_MAX)
        helper = helper_data.from_bytes(parsed.payload)
    seal_key = helper.salt()
    if readout is None:
        left = memory() if memory is not None else b""  # type: ignore[operator]
        root = bytes(left[:ROOT_BYTES])
        if len(left) < MEMORY_BYTES or not is_equal(left[ROOT_BYTES:MEMORY_BYTES], _check(seal_key, root)):
            raise SourceError("no cells were read, and no key is left in memory; cut the power, start again")
        return root, helper.address
    # What was enrolled from a recording begins at 0.
    begin = helper.address - (address if helper.address >= address else 0)
    if begin + helper.size > len(readout):
        raise ProvisionError(
            f"{helper.size} bytes at 0x{helper.address:x} are not in what was read of this board; it is of "
            "another kind than the one that was enrolled"
        )
    wait_ms = wait_ms_after(attempts.failure_count)
    if wait_ms:
        wait(wait_ms)  # type: ignore[operator]
    try:
        root = attempts.reproduce(readout[begin : begin + helper.size], helper, wait_ms)
    except ReproductionError:
        if has_curves:
            # Raises, with the reason, if that is it.
            helper_signature.open_signed(provision.helper, provision.signer)
        raise
    if memory is not None:
        memory(root + _check(seal_key, root))  # type: ignore[operator]
    return root, helper.address


def _check(salt: bytes, root: bytes) -> bytes:
    """Tells a root that was left in memory, for this helper data, from anything else."""
    return hmac_sha256(salt, root)[:CHECK_BYTES]


class Keys:
    """What a device proves itself with.  Its root is inside, and nowhere else; printing it shows no key.

    `name`, `me`, `gateway`: who is who; `gateway_ccs`, `device_ccs`: bytes, credentials, empty for a device
    that does no curves; `pairing`: the one with the gateway; `doorkeeper`: judges grants, None without a key.
    """

    def __init__(
        self, root: bytes, region: int, provision: "Provision", flash: Flash, random: object
    ) -> None:
        self.name = provision.name
        self.me = provision.device
        self.gateway = provision.gateway
        self.gateway_ccs = provision.gateway_ccs
        self.device_ccs = provision.device_ccs
        self._root = root
        self._random = random
        # Another region has another root: what an earlier enrolment wrote is not this one's.
        self._notes_key = keys.derive(root, keys.STORAGE)
        self._pairing_key = keys.derive(root, keys.STORAGE, b"pairing")
        self._pairing_notes = Notes(flash.slots(f"pairing-{region:x}"), self._notes_key, "pairing")
        if self._pairing_notes.value is None:
            secret = keys.derive(keys.pairwise(root, self.gateway, 0), keys.FAST_PATH)
            self.pairing = Pairing(self.gateway, self.me, secret)
        else:
            self.pairing = unseal(self._pairing_notes.value, self._pairing_key)
        self._grant_notes = Notes(flash.slots(f"grants-{region:x}"), self._notes_key, "grants")
        self._window: ReplayWindow | None = None
        self.doorkeeper: Doorkeeper | None = None
        if self._grant_notes.value is not None:
            self._window = ReplayWindow(self._grant_notes)
            self.doorkeeper = self._make_doorkeeper(self._window)

    def __repr__(self) -> str:
        return f"Keys({self.name!r}, {self.me.hex()}, {self.pairing!r})"

    def settings_key(self) -> bytes:
        """The key of the settings' notes: bytes, 32, secret."""
        return keys.derive(self._root, keys.STORAGE, b"settings")

    def static_key(self) -> bytes:
        """The private key of EDHOC: bytes, 32, secret."""
        return keys.derive(self._root, keys.EDHOC)

    def keep(self, pairing: Pairing) -> None:
        """The pairing with the gateway from now on; it is in flash when this returns.  Raises OSError."""
        nonce = self._random(NONCE_BYTES)  # type: ignore[operator]
        self._pairing_notes.write(seal(pairing, self._pairing_key, nonce))
        self.pairing = pairing

    @property
    def grant_epoch(self) -> int:
        """The epoch of the key of grants; -1: there is none."""
        return -1 if self._window is None else self._window.epoch

    def grant_key(self, epoch: int) -> bytes:
        """The key of grants of the present or a later epoch: bytes, 32, secret, for the gateway alone.

        A later one revokes every grant before it, also after a power cut.  Raises ValueError for an earlier.
        """
        key = self._key_of(epoch)
        if epoch != self.grant_epoch:
            if self._window is None or self.doorkeeper is None:
                self._window = ReplayWindow(self._grant_notes, epoch)
                self.doorkeeper = self._make_doorkeeper(self._window)
            else:
                self.doorkeeper.renew(key, epoch)
        return key

    def _key_of(self, epoch: int) -> bytes:
        return keys.derive(keys.pairwise(self._root, self.gateway, epoch), keys.GRANT)

    def _make_doorkeeper(self, window: ReplayWindow) -> Doorkeeper:
        return Doorkeeper(self.gateway, self.me, self._key_of(window.epoch), window)
