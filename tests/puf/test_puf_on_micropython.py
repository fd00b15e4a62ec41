"""A device's key under a real MicroPython with the heap of a board: the same root, and room to spare."""

import json
from pathlib import Path
from typing import Any

import pytest

from puf import helper_data, helper_signature, keys
from puf.ed25519 import SigningKey
from puf.errors import ReproductionError
from puf.fuzzy_extractor import enrol
from puf.puf_simulator import SimulatedChip
from tests.micropython import run, start
from tests.puf.chips import enrolled, simulated

SCRIPT = Path(__file__).with_name("reproduction.py")


@pytest.mark.parametrize(("strength_bits", "size"), [(128, 670), (256, 1116)])
def test_a_key_comes_back_there_and_a_stranger_is_refused(strength_bits: int, size: int) -> None:
    readouts = simulated(size=size, noise=0.08)
    helper, root = enrolled(readouts, strength_bits)
    report: dict[str, Any] = json.loads(run(SCRIPT, stdin=f"{readouts[0].hex()} {helper.to_bytes().hex()}"))
    assert report["root"] == root.hex()
    assert report["refused"] == str(ReproductionError())


def test_a_key_is_found_in_much_less_than_the_heap_of_a_board(capsys: pytest.CaptureFixture[str]) -> None:
    readouts = simulated(size=670, noise=0.12)
    helper, _ = enrolled(readouts)
    stdin = f"{readouts[0].hex()} {helper.to_bytes().hex()}"
    low, high = 64, 128
    report: dict[str, Any] = json.loads(run(SCRIPT, stdin=stdin))
    while high - low > 2:
        middle = (low + high) // 2
        if start(SCRIPT, stdin=stdin, heap_size=f"{middle}k").returncode == 0:
            high = middle
        else:
            low = middle
    with capsys.disabled():
        print(
            f"\nmicropython: {report['loaded_bytes']} bytes loaded; reproduce {report['reproduce_ms']:.1f} "
            f"ms, at most {report['slowest_ms']:.1f} ms; smallest heap {high} KiB"
        )
    assert high <= 112


ENROL = """
import gc
from puf import fuzzy_extractor, helper_data
from puf.puf_simulator import SimulatedChip

chip = SimulatedChip(b"device", 2040, 0.03, ONES)
readouts = [chip.read() for _ in range(3)]
gc.collect()
helper, root = fuzzy_extractor.enrol(readouts, bytes(range(50)), 0x50000000, 128, IS_DEBIASED)
gc.collect()
assert fuzzy_extractor.reproduce(chip.read(), helper) == root
print(helper.to_bytes().hex(), root.hex())
"""


@pytest.mark.parametrize(("ones", "is_debiased"), [(0.5, False), (0.4, True)])
def test_a_device_can_enrol_itself_and_gets_what_a_gateway_would(ones: float, is_debiased: bool) -> None:
    code = ENROL.replace("ONES", repr(ones)).replace("IS_DEBIASED", repr(is_debiased))
    data, root = run(code, heap_size="192k").split()
    chip = SimulatedChip(b"device", 2040, 0.03, ones)
    helper, expected = enrol([chip.read() for _ in range(3)], bytes(range(50)), 0x50000000, 128, is_debiased)
    assert helper_data.from_bytes(bytes.fromhex(data)) == helper
    assert root == expected.hex()


OPEN_SIGNED = """
import gc, sys
gc.threshold(4096)
from puf import fuzzy_extractor, helper_signature, keys
from puf.ed25519 import SigningKey
from puf.errors import SignatureError

readout, signed, signer = [bytes.fromhex(word) for word in sys.stdin.read().split()]
helper = helper_signature.open_signed(signed, signer)
gc.collect()
root = fuzzy_extractor.reproduce(readout, helper)
print(SigningKey(keys.derive(root, keys.IDENTITY)).public.hex())
try:
    helper_signature.open_signed(signed[:-1] + bytes((signed[-1] ^ 1,)), signer)
except SignatureError as error:
    print("refused")
"""


def test_a_device_opens_what_its_gateway_signed_and_is_who_it_was() -> None:
    readouts = simulated(size=670)
    helper, root = enrolled(readouts)
    gateway = SigningKey(bytes(32))
    stdin = f"{readouts[2].hex()} {helper_signature.sign(helper, gateway).hex()} {gateway.public.hex()}"
    assert run(OPEN_SIGNED, stdin=stdin).split() == [
        SigningKey(keys.derive(root, keys.IDENTITY)).public.hex(),
        "refused",
    ]


LIMITED = """
import gc
gc.threshold(4096)
import sys
from puf import helper_data
from puf.attempts import Attempts
from puf.errors import AttemptsExceeded, ReproductionError
from puf.notes import Slots

class Flash(Slots):
    slots = [b"", b""]
    def read(self, slot):
        return self.slots[slot]
    def write(self, slot, data):
        self.slots[slot] = data

readout, data = [bytes.fromhex(word) for word in sys.stdin.read().split()]
helper = helper_data.from_bytes(data)
device = Attempts(Flash(), 0)
for _ in range(6):
    try:
        device.reproduce(bytes(670), helper, 0)
    except ReproductionError:
        pass
device = Attempts(Flash(), 5)
try:
    device.reproduce(readout, helper, 5)
except AttemptsExceeded as error:
    print(error)
print(device.reproduce(readout, helper, 1005).hex(), Attempts(Flash(), 5).failure_count)
"""


def test_a_device_counts_its_attempts() -> None:
    readouts = simulated(size=670)
    helper, root = enrolled(readouts)
    said = run(LIMITED, stdin=f"{readouts[2].hex()} {helper.to_bytes().hex()}").splitlines()
    assert said == ["too many failed attempts to reproduce the key; wait 1000 ms", f"{root.hex()} 0"]
