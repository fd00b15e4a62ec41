"""Chips for tests: recorded readouts of others where they are there, and simulated ones."""

from pathlib import Path

import pytest

from puf.fuzzy_extractor import enrol, secret_bytes
from puf.helper_data import HelperData
from puf.puf_simulator import SimulatedChip
from puf.puf_source import Recording

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data/puf"
SECRET = bytes(range(100, 182))
ADDRESS = 0x50000000


def recorded(name: str) -> list[bytes]:
    """All readouts of ../shared/data/puf/NAME, `.._28x4096.bin` for 28 of 4,096 bytes."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no ../shared/data/puf/{name} beside the repository")
    count, size = map(int, path.stem.rpartition("_")[2].split("x"))
    recording = Recording(path.read_bytes(), size)
    assert recording.count == count
    return [recording.read() for _ in range(count)]


def simulated(seed: bytes = b"chip", size: int = 680, count: int = 5, noise: float = 0.048) -> list[bytes]:
    """`count` power-ups of one simulated chip, which has cells enough for 128 bits."""
    chip = SimulatedChip(seed, size, noise)
    return [chip.read() for _ in range(count)]


def enrolled(readouts: list[bytes], strength_bits: int = 128) -> tuple[HelperData, bytes]:
    """Helper data and root, always with the same secret, so that the results never change."""
    return enrol(readouts, SECRET[: secret_bytes(strength_bits)], ADDRESS, strength_bits)


def flipped(data: bytes, bit: int) -> bytes:
    """`data` with one bit changed, counted from the first byte's upper one."""
    changed = bytearray(data)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)
