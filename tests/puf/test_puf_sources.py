"""Sources of power-up patterns: memory that is read once, recordings, and chips that are simulated.

The memory here really is memory, of this process; no ESP32 and no RP2040 has run this.
"""

import ctypes
import math

import pytest

from puf.errors import SourceError
from puf.puf_esp32 import Esp32RtcMemory
from puf.puf_rp2040 import Rp2040Scratch
from puf.puf_simulator import AGEING, NOISE, SimulatedChip, drift_for, mean_for, spread_for
from puf.puf_source import MemorySource, Recording
from tests.micropython import run
from tests.puf.chips import recorded


class Mem32:
    """As MicroPython's `machine.mem32`, over memory of this process that a board would have at `base`."""

    def __init__(self, base: int, data: bytes) -> None:
        self.base = base
        self.buffer = ctypes.create_string_buffer(data, len(data))

    def _word(self, address: int) -> ctypes.c_uint32:
        assert address % 4 == 0
        assert 0 <= address - self.base <= len(self.buffer) - 4
        return ctypes.c_uint32.from_address(ctypes.addressof(self.buffer) + address - self.base)

    def __getitem__(self, address: int) -> int:
        return self._word(address).value

    def __setitem__(self, address: int, value: int) -> None:
        self._word(address).value = value


class Board:
    """What a source needs of `machine`; numbers as MicroPython's ESP32 port has them."""

    PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = range(1, 6)

    def __init__(self, base: int, pattern: bytes) -> None:
        self.mem32 = Mem32(base, pattern)
        self.cause = self.PWRON_RESET
        self.slept_ms: list[int] = []

    def reset_cause(self) -> int:
        return self.cause

    def deepsleep(self, off_ms: int) -> None:
        self.slept_ms.append(off_ms)
        self.cause = self.DEEPSLEEP_RESET


PATTERN = SimulatedChip(b"board", 2040).read()


def test_rtc_memory_is_read_after_power_on_and_wiped() -> None:
    board = Board(0x50000000, PATTERN + b"variables of the firmware")
    source = Esp32RtcMemory(board)
    assert (source.address, source.size) == (0x50000000, 2040)
    assert source.read() == PATTERN
    assert board.mem32.buffer.raw == bytes(2040) + b"variables of the firmware"
    with pytest.raises(SourceError, match="no power-up pattern any more"):
        source.read()


@pytest.mark.parametrize("cause", [Board.HARD_RESET, Board.WDT_RESET, Board.SOFT_RESET, 0])
def test_after_another_reset_nothing_is_read(cause: int) -> None:
    board = Board(0x50000000, PATTERN)
    board.cause = cause
    with pytest.raises(SourceError, match=f"after a reset of cause {cause}; cut the power"):
        Esp32RtcMemory(board).read()
    assert board.mem32.buffer.raw == PATTERN


def test_a_deep_sleep_without_power_gives_another_readout_and_one_with_power_is_noticed() -> None:
    board = Board(0x50000000, PATTERN)
    source = Esp32RtcMemory(board)
    source.retake()
    assert board.slept_ms == [500]
    with pytest.raises(SourceError, match="any more"):  # The memory kept its power, and so the zeros.
        source.read()
    source.retake(2_000)
    assert board.slept_ms == [500, 2_000]
    chip = SimulatedChip(b"board", 2040)
    chip.read()
    again = chip.read()
    board.mem32 = Mem32(0x50000000, again)
    assert source.read() == again != PATTERN


def test_scratch_memory_after_a_pull_of_the_run_pin_is_noticed_by_its_zeros() -> None:
    board = Board(0x20040000, PATTERN + bytes(8))
    source = Rp2040Scratch(board)
    assert (source.address, source.size) == (0x20040000, 2048)
    assert source.read() == PATTERN + bytes(8)
    with pytest.raises(SourceError, match="any more"):
        Rp2040Scratch(board).read()
    board.cause = Board.DEEPSLEEP_RESET
    with pytest.raises(SourceError, match="cause 4"):
        source.read()


@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_memory_that_somebody_has_filled_is_no_pattern(fill: int) -> None:
    data = bytes((fill,)) * 2000 + PATTERN[:40]
    with pytest.raises(SourceError):
        Esp32RtcMemory(Board(0x50000000, data)).read()


def test_a_region_is_whole_words_within_what_is_reserved() -> None:
    board = Board(0, PATTERN)
    for address, size in ((2, 4), (0, 6), (0, 0), (0, -4)):
        with pytest.raises(ValueError, match="multiple of 4"):
            MemorySource(board, address, size, ())
    with pytest.raises(ValueError, match="2040 bytes are reserved, not 2044"):
        Esp32RtcMemory(board, 2044)


ON_MICROPYTHON = """
import sys, uctypes
from puf.errors import SourceError
from puf.puf_esp32 import Esp32RtcMemory

memory = bytearray(bytes.fromhex(sys.stdin.read()))
before = bytes(memory)
shift = uctypes.addressof(memory) - 0x50000000

# The Unix port's own mem32 wants physical memory of the whole machine.
class Mem32:
    def __getitem__(self, address):
        return uctypes.struct(address + shift, {"word": uctypes.UINT32}).word
    def __setitem__(self, address, value):
        uctypes.struct(address + shift, {"word": uctypes.UINT32}).word = value

class Board:
    PWRON_RESET, DEEPSLEEP_RESET = 1, 4
    mem32 = Mem32()
    def reset_cause(self):
        return 1

source = Esp32RtcMemory(Board(), 64)
print(source.read() == before, memory == bytes(64))
try:
    source.read()
except SourceError as error:
    print(error)
"""


def test_micropython_reads_and_wipes_its_own_memory() -> None:
    said = run(ON_MICROPYTHON, stdin=(b"\xff\xff\xff\xff" + PATTERN[:60]).hex()).splitlines()
    assert said == ["True True", "memory holds no power-up pattern any more; cut the power, start again"]


def test_a_recording_gives_its_readouts_in_turn() -> None:
    source = Recording(b"aabbcc", 2)
    assert [source.read() for _ in range(source.count)] == [b"aa", b"bb", b"cc"]
    with pytest.raises(SourceError, match="has 3 readouts, and all were taken"):
        source.read()
    for data, size in ((b"aab", 2), (b"", 2), (b"aa", 0)):
        with pytest.raises(ValueError, match="whole readouts"):
            Recording(data, size)


def distance(a: bytes, b: bytes) -> float:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count() / (8 * len(a))


def test_a_simulated_chip_has_the_noise_and_the_bias_it_was_given() -> None:
    for noise, ones in ((NOISE, 0.5), (0.15, 0.5), (0.03, 0.395)):
        chip = SimulatedChip(b"x", 2040, noise, ones)
        readouts = [chip.read() for _ in range(4)]
        mean = sum(distance(readouts[0], other) for other in readouts[1:]) / 3
        assert mean == pytest.approx(noise, abs=0.01)
        assert distance(readouts[0], bytes(2040)) == pytest.approx(ones, abs=0.015)


def test_a_seed_is_a_chip_and_two_are_two() -> None:
    one, same, other = SimulatedChip(b"1", 680), SimulatedChip(b"1", 680), SimulatedChip(b"2", 680)
    assert [one.read(), one.read()] == [same.read(), same.read()]
    assert distance(one.read(), other.read()) == pytest.approx(0.5, abs=0.03)
    assert one.read()[:4].hex() == "98e7a66a"


def test_heat_cold_and_age_cost_what_their_sources_say() -> None:
    chip = SimulatedChip(b"weather")
    first = chip.read()
    for temperature_c, expected in ((25, NOISE), (85, 0.15), (-35, 0.15), (45, 0.067)):
        chip.temperature_c = temperature_c
        assert distance(first, chip.read()) == pytest.approx(expected, abs=0.012)
    chip.temperature_c, chip.age_years = 25, 2
    aged = sum(distance(first, chip.read()) for _ in range(4)) / 4
    assert aged == pytest.approx(NOISE * AGEING, abs=0.006)


def _flipping(readouts: list[bytes]) -> float:
    """Of the flips against the first readout, the share of the tenth of all cells that flips most."""
    size = 8 * len(readouts[0])
    words = [int.from_bytes(readout, "big") for readout in readouts]
    flips = sorted(sum((word ^ words[0]) >> cell & 1 for word in words) for cell in range(size))
    return sum(flips[-size // 10 :]) / sum(flips)


def test_cells_differ_in_how_sure_they_are_as_recorded_ones_do() -> None:
    """With uniform noise of 4.8 % a tenth of the cells would have under a third of the flips."""
    chip = SimulatedChip(b"cells", 512)
    assert _flipping([chip.read() for _ in range(28)]) > 0.85
    assert _flipping([readout[:512] for readout in recorded("scum_L45_28x4096.bin")]) > 0.85


def test_the_formulas_of_the_model_hold() -> None:
    spread = spread_for(0.1)
    assert math.acos(1 / (1 + spread**2)) / math.pi == pytest.approx(0.1)
    drift = drift_for(0.2, spread)
    one = 1 + spread**2
    assert math.acos(1 / math.sqrt(one * (one + drift**2))) / math.pi == pytest.approx(0.2)
    assert drift_for(0.1, spread) == pytest.approx(0, abs=1e-6)
    assert mean_for(0.5, spread) == pytest.approx(0, abs=1e-9)
    for noise, ones in ((0.4, 0.5), (-0.1, 0.5), (0.1, 0.0), (0.1, 1.0)):
        with pytest.raises(ValueError, match=r"noise is 0 to 0\.4"):
            SimulatedChip(b"", 4, noise, ones)
