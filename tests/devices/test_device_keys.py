"""From cells to keys: power-on, restart, failed attempts, altered helper data, lost notes, another board."""

from pathlib import Path

import pytest

from devices.micropython.device_keys import MEMORY_BYTES, Keys, open_device
from devices.micropython.errors import ProvisionError
from devices.micropython.flash import Flash
from devices.micropython.provision import Provision
from gateway.first_meeting import device_party, gateway_party
from puf import helper_signature, keys
from puf.attempts import Attempts
from puf.ed25519 import SigningKey
from puf.errors import AttemptsExceeded, ReproductionError, SignatureError, SourceError
from puf.fuzzy_extractor import enrol, secret_bytes
from puf.puf_simulator import SimulatedChip
from tests.devices.boards import Random

SIGNER = SigningKey(b"k" * 32)
REGION = 672


def enrolled(seed: bytes = b"chip", begin: int = 0, is_recorded: bool = False) -> tuple[Provision, bytes]:
    chip = SimulatedChip(seed, 2040)
    readouts = [chip.read()[begin : begin + REGION] for _ in range(5)]
    address = begin + (0 if is_recorded else chip.address)
    helper, root = enrol(readouts, bytes(range(secret_bytes(128))), address)
    gateway, device = gateway_party(SIGNER, b"G" * 32), device_party(root, b"D" * 32)
    made = Provision(
        *("lock", "lock1", helper_signature.sign(helper, SIGNER), b"G" * 32, b"D" * 32, SIGNER.public, b""),
        *(gateway.credential.ccs, device.credential.ccs, {}),
    )
    return made, root


PROVISION, ROOT = enrolled()


class Memory:
    """What lasts as long as the power."""

    def __init__(self) -> None:
        self.data = b""

    def __call__(self, data: bytes | None = None) -> bytes:
        if data is not None:
            self.data = data
        return self.data


class Bench:
    """One board: a chip and its flash."""

    def __init__(self, folder: Path) -> None:
        self.chip = SimulatedChip(b"chip", 2040)
        self.chip.read_count = 1000
        self.flash = Flash(str(folder / "notes"))
        self.memory = Memory()
        self.waits: list[int] = []

    def open(self, provision: Provision = PROVISION, *, has_power_been_cut: bool = True) -> Keys:
        readout = self.chip.read() if has_power_been_cut else None
        return open_device(readout, provision, self.flash, self.waits.append, Random(1), self.memory)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_keys_come_back_after_power_on_and_stay_over_a_restart_as_long_as_the_power_does(
    bench: Bench,
) -> None:
    with pytest.raises(SourceError, match="cut the power"):
        bench.open(has_power_been_cut=False)
    first = bench.open()
    assert first.static_key() == keys.derive(ROOT, keys.EDHOC)
    assert len(bench.memory.data) == MEMORY_BYTES
    assert bench.open(has_power_been_cut=False).static_key() == first.static_key()
    # Memory of another enrolment, or damaged: not taken for this one's.
    other, _ = enrolled(begin=REGION)
    with pytest.raises(SourceError):
        bench.open(other, has_power_been_cut=False)
    bench.memory.data = bench.memory.data[:-1] + b"\x00"
    with pytest.raises(SourceError):
        bench.open(has_power_been_cut=False)


def test_a_region_in_the_middle_and_one_of_a_recording_are_found(bench: Bench) -> None:
    for provision, root in (enrolled(begin=2 * REGION), enrolled(begin=REGION, is_recorded=True)):
        assert bench.open(provision).static_key() == keys.derive(root, keys.EDHOC)


def test_altered_helper_data_is_refused_with_its_reason_and_another_chip_without_one(bench: Bench) -> None:
    helper = bytearray(PROVISION.helper)
    helper[300] ^= 1
    altered = PROVISION._replace(helper=bytes(helper))
    # At first before the work, and after a success, when the signature is not looked at first, behind it.
    for _ in range(2):
        with pytest.raises(SignatureError):
            bench.open(altered)
        bench.open()
    with pytest.raises(SignatureError, match="not the gateway's"):
        Bench(Path(bench.flash._folder) / "new").open(PROVISION._replace(signer=b"o" * 32))
    bench.chip = SimulatedChip(b"thief", 2040)
    with pytest.raises(ReproductionError):
        bench.open()
    weak = altered._replace(gateway_ccs=b"", device_ccs=b"")
    bench.chip = SimulatedChip(b"chip", 2040)
    with pytest.raises(ReproductionError):
        bench.open(weak)


def test_attempts_that_failed_are_waited_for_and_too_many_are_the_end(bench: Bench) -> None:
    bench.chip = SimulatedChip(b"thief", 2040)
    for _ in range(7):
        with pytest.raises(ReproductionError):
            bench.open()
    assert bench.waits == [1_000]
    bench.chip = SimulatedChip(b"chip", 2040)
    bench.open()
    assert bench.waits == [1_000, 2_000]
    Attempts(bench.flash.slots("attempts"), 0)._write(1000)
    with pytest.raises(AttemptsExceeded, match="enrol the device anew"):
        bench.open()


def test_a_board_of_another_kind_is_told_so(bench: Bench) -> None:
    provision, _ = enrolled(begin=2 * REGION)
    bench.chip = SimulatedChip(b"chip", 1024)
    with pytest.raises(ProvisionError, match="another kind"):
        bench.open(provision)
