"""What the tests of a device's link share: an enrolled board whose flash can fail, and who visits it.

Runs on CPython.
"""

from devices.micropython.device_keys import Keys
from devices.micropython.log_ring import Log
from devices.micropython.provision import Provision
from devices.micropython.session import Device
from devices.micropython.settings import Settings
from tests.devices.small_role import SETTINGS, Gate, Update
from tests.puf.flash import Flash

GATEWAY, ME = b"G" * 32, b"D" * 32
GATEWAY_SEED = b"g" * 32
ROOT = b"r" * 32


class FlashFolder:
    """A folder of notes, each of which can fail (tests/puf/flash.py)."""

    def __init__(self) -> None:
        self.notes: dict[str, Flash] = {}

    def slots(self, name: str) -> Flash:
        if name not in self.notes:
            self.notes[name] = Flash()
        return self.notes[name]

    @property
    def write_count(self) -> int:
        return sum([note.write_count for note in self.notes.values()])


class Random:
    """Bytes that never repeat, the same in each run."""

    def __init__(self, seed: int) -> None:
        self._count = seed << 32

    def __call__(self, size: int) -> bytes:
        from puf.hkdf import sha256

        out = b""
        while len(out) < size:
            self._count += 1
            out += sha256(self._count.to_bytes(16, "big"))
        return out[:size]


class Board:
    """A board that can lose its power: `start` makes its keys and its sessions anew, flash stays."""

    def __init__(self, device_ccs: bytes = b"", gateway_ccs: bytes = b"", seed: int = 1) -> None:
        self.flash = FlashFolder()
        self.provision = Provision(
            "lock", "lock1", b"", GATEWAY, ME, b"s" * 32, b"", gateway_ccs, device_ccs, {}
        )
        self.random = Random(seed)
        self.role = Gate()
        self.update = Update()
        self.now_ms = 0
        self.start()

    def start(self) -> None:
        self.keys = Keys(ROOT, 0x50000000, self.provision, self.flash, self.random)  # type: ignore[arg-type]
        self.log = Log(2048, lambda: self.now_ms, None)
        self.settings = Settings(self.flash.slots("settings"), self.keys.settings_key(), SETTINGS)
        self.device = Device(
            *(self.keys, self.role, self.update, self.log, self.settings, "7", self.random, self.now_ms)
        )
