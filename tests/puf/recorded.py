"""Recorded readouts of real chips, where they lie; a test that wants them skips where they are absent."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data/puf"
SCUM = ("scum_L45_28x4096", "scum_M42_4x4096")
ATMEGA = ("atmega328_nano1_50x1024", "atmega328_nano2_50x1024")


def path(name: str) -> Path:
    """Where ../shared/data/puf/NAME.bin is."""
    file = FOLDER / f"{name}.bin"
    if not file.is_file():
        pytest.skip(f"no ../shared/data/puf/{name}.bin beside the repository")
    return file


def readouts(name: str) -> list[bytes]:
    """Each readout of a chip."""
    size = int(name.rpartition("x")[2])
    data = path(name).read_bytes()
    return [data[at : at + size] for at in range(0, len(data), size)]
