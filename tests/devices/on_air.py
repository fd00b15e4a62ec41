"""A board on a simulated air for tests of the gateway's Bluetooth: compiled once, started and ended at will.

Runs on CPython.
"""

import asyncio
import itertools
import os
import subprocess
from pathlib import Path

from devices.micropython.provision import Provision
from gateway.device_link import Callee, Caller, PairingStore
from gateway.first_meeting import device_party, gateway_party
from puf import edhoc_credential, helper_signature, keys
from puf.ed25519 import SigningKey
from puf.edhoc import Identity
from puf.fast_path_keys import Pairing
from puf.fuzzy_extractor import enrol, secret_bytes
from puf.puf_simulator import SimulatedChip
from puf.x25519 import PrivateKey
from tests.bench.device import mpy_cross
from tests.micropython import ROOT, need_micropython
from tests.tidy_rules import BOTH_INTERPRETERS

ADDRESS = "C0:00:00:00:00:01"
HEAP_SIZE = "256k"
"""128 KiB of a board, whose pointers have half the size."""
GATEWAY, ME = b"G" * 32, b"D" * 32
SIGNER = SigningKey(b"k" * 32)
CAR = PrivateKey(b"c" * 32)
_COUNT = itertools.count(1)


def compile_board(folder: Path) -> None:
    """What a board and the rig's modules under it need, as .mpy in `slot` and `hil` of a folder."""
    slot = [path for path in sorted((ROOT / "puf").glob("*.py")) if BOTH_INTERPRETERS in path.read_text()]
    slot += sorted((ROOT / "devices" / "micropython").glob("*.py"))
    slot += [ROOT / "tests/devices/small_role.py"]
    targets = [(path, folder / "slot" / path.relative_to(ROOT)) for path in slot]
    targets += [(path, folder / "hil" / path.name) for path in (ROOT / "hil" / "micropython").glob("*.py")]
    for source, target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [mpy_cross(), "-s", source.name, "-o", str(target.with_suffix(".mpy")), str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def start_board(
    compiled: Path, flash: Path, air: str, seed: str, address: str = ADDRESS
) -> "subprocess.Popen[str]":
    """A board with the chip of this seed, whose flash is a folder, on the air at host:port."""
    environment = {
        **os.environ,
        "HIL_AIR": air,
        "HIL_ADDRESS": address,
        "MICROPYPATH": f"{compiled / 'hil'}:{compiled / 'slot'}:.frozen",
    }
    script = ROOT / "tests/devices/board_on_air.py"
    return subprocess.Popen(
        [*need_micropython(), "-X", f"heapsize={HEAP_SIZE}", str(script), seed],
        cwd=flash,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class BoardOnAir:
    """One board: its chip, its flash, and how it is known to its gateway and to a car."""

    def __init__(self, compiled: Path, flash: Path, air: str, address: str = ADDRESS) -> None:
        self.flash = flash
        self.address = address
        self._compiled = compiled
        self._air = air
        self._seed = f"chip {next(_COUNT)}"
        chip = SimulatedChip(self._seed.encode(), 2040)
        helper, root = enrol(
            [chip.read()[:672] for _ in range(3)], os.urandom(secret_bytes(128)), chip.address
        )
        gateway, device = gateway_party(SIGNER, GATEWAY), device_party(root, ME)
        provision = Provision(
            *("lock", "lock1", helper_signature.sign(helper, SIGNER), GATEWAY, ME, SIGNER.public, b""),
            *(gateway.credential.ccs, device.credential.ccs, {"raise_ms": 5_000}),
        )
        flash.mkdir(parents=True, exist_ok=True)
        (flash / "provision.cbor").write_bytes(provision.encode())
        self.root = root
        self.caller = Caller(GATEWAY, gateway.identity)
        self.callee = Callee(ME, device.credential)
        self.pairing = Pairing(GATEWAY, ME, keys.derive(keys.pairwise(root, GATEWAY, 0), keys.FAST_PATH))
        self.process: subprocess.Popen[str] | None = None

    def store(self) -> PairingStore:
        """What the gateway keeps."""

        def keep(pairing: Pairing) -> None:
            self.pairing = pairing

        return PairingStore(lambda: self.pairing, keep)

    def on(self) -> None:
        """Power comes."""
        self.process = start_board(self._compiled, self.flash, self._air, self._seed, self.address)

    async def left(self) -> str:
        """What it said, once it has ended by itself."""
        assert self.process is not None
        said, _ = await asyncio.to_thread(self.process.communicate, None, 20)
        return said

    def off(self) -> str:
        """Power goes.  What it said."""
        if self.process is None:
            return ""
        self.process.kill()
        said, _ = self.process.communicate()
        self.process = None
        return said


def car() -> tuple[Caller, PairingStore]:
    """A visitor, and what it keeps."""
    credential = edhoc_credential.make(CAR.public, b"\x03")
    kept: list[Pairing] = []

    def keep(pairing: Pairing) -> None:
        kept[:] = [pairing]

    store = PairingStore(lambda: kept[0] if kept else None, keep)
    return Caller(CAR.public, Identity(credential, CAR.seed, by_value=True)), store
