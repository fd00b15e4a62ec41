"""A simulated chip: cells that are more or less sure of themselves, at any temperature and age.

Runs on CPython and MicroPython.  A cell powers up as a one when the sum of these is positive, in units of the
spread of the first over all cells:

    mismatch        drawn once per cell, normal around a mean that gives the bias
    noise           drawn anew at each power-up, normal
    temperature     a coefficient per cell, normal, times the distance from 25 degrees C
    ageing          a drift per cell, normal, that grows with the square root of the years

So most cells never flip and a few flip half of the time, as in silicon: error rates are not uniform over cells.

| Parameter | Default | Where it comes from |
|---|---|---|
| the model, and one coefficient of temperature per cell | | R. Maes, "An Accurate Probabilistic Reliability Model for Silicon PUFs", CHES 2013 |
| NOISE | 4.8 % of cells differ between two readouts | readouts of SCuM chips published by Sara-Fa/SRAM-PUF-key-generation |
| ONES | one half | the same chips; ATmega328 published by nima3333/sram_puf_exp: 0.395 |
| AGEING | 19.3 % more flips after two years | 16 Arduino Leonardo boards over two years, arXiv:2007.15909 |
| HEAT | 15 % of cells differ 60 degrees away | no measurement: the noise that the fuzzy extractor is designed for, put there on purpose |

That ageing has a normal drift growing with the square root of time is this file's assumption between the two
points that were measured.
"""  # noqa: E501  a table row is one line

import math

from puf.hkdf import sha256

NOISE = 0.048
ONES = 0.5
AGEING = 1.193
AGEING_YEARS = 2
HEAT = 0.15
HEAT_DISTANCE_C = 60
REFERENCE_C = 25


def spread_for(share: float) -> float:
    """The spread of noise with which two readouts differ in this share of unbiased cells, below one half.

    Two normal sums with correlation r differ in sign with the probability arccos(r) / pi, and here
    r = 1 / (1 + spread^2).
    """
    return math.sqrt(1 / math.cos(math.pi * share) - 1)


def drift_for(share: float, noise_spread: float) -> float:
    """The spread of a drift that makes a new readout differ from an old one in this share of the cells."""
    one = 1 + noise_spread * noise_spread
    return math.sqrt(max(0.0, 1 / (one * math.cos(math.pi * share) ** 2) - one))


def mean_for(ones: float, noise_spread: float) -> float:
    """The mean of the mismatch with which this share of the cells powers up as ones."""
    low, high = -8.0, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        if (1 + math.erf(middle / math.sqrt(2 * (1 + noise_spread * noise_spread)))) / 2 < ones:
            low = middle
        else:
            high = middle
    return (low + high) / 2


class SimulatedChip:
    """A chip that `seed` (bytes) determines, each of its power-ups included.  A source (puf/puf_source.py).

    `noise`: share of cells in which two readouts differ at 25 degrees C, new, if unbiased; `ones`: share of
    ones.  Set `temperature_c` and `age_years` between readouts.
    """

    def __init__(
        self,
        seed: bytes,
        size: int = 2040,
        noise: float = NOISE,
        ones: float = ONES,
        address: int = 0x50000000,
    ) -> None:
        if not 0 <= noise < 0.4 or not 0 < ones < 1:
            raise ValueError("noise is 0 to 0.4, a share of ones between 0 and 1")
        self.address = address
        self.size = size
        self.temperature_c = REFERENCE_C
        self.age_years = 0.0
        self.read_count = 0
        self._seed = sha256(seed)
        self._noise = spread_for(noise)
        self._mean = mean_for(ones, self._noise)
        self._heat = drift_for(max(HEAT, noise), self._noise)
        self._ageing = drift_for(min(0.49, noise * AGEING), self._noise)

    def read(self) -> bytes:
        """One power-up."""
        heat = self._heat * (self.temperature_c - REFERENCE_C) / HEAT_DISTANCE_C
        ageing = self._ageing * math.sqrt(self.age_years / AGEING_YEARS)
        self.read_count += 1
        noise_label = b"noise" + self.read_count.to_bytes(8, "big")
        out = bytearray(self.size)
        for at in range(self.size):
            sums = self._normals(b"mismatch", at)
            for label, spread in ((noise_label, self._noise), (b"heat", heat), (b"ageing", ageing)):
                if spread:
                    normals = self._normals(label, at)
                    for cell in range(8):
                        sums[cell] += spread * normals[cell]
            value = 0
            for cell in range(8):
                value = value << 1 | (sums[cell] + self._mean > 0)
            out[at] = value
        return bytes(out)

    def _normals(self, label: bytes, at: int) -> "list[float]":
        """Eight normal numbers for the cells of byte `at`: Box and Muller's, from a hash."""
        digest = sha256(self._seed + at.to_bytes(4, "big") + label)
        out = []
        for pair in range(0, 32, 8):
            # Never zero, whose logarithm there is not.
            first = (int.from_bytes(digest[pair : pair + 4], "big") + 1) / 4294967297
            angle = int.from_bytes(digest[pair + 4 : pair + 8], "big") * (math.pi / 2147483648)
            radius = math.sqrt(-2 * math.log(first))
            out.append(radius * math.cos(angle))
            out.append(radius * math.sin(angle))
        return out
