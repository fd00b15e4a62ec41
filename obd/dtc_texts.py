"""What the generic trouble codes mean, in English.

Runs on CPython.  The texts lie in `dtc_texts.tsv`, one code a line: written for this project after the
meanings that SAE J2012 / ISO 15031-6 give to codes; not all of them, see `COVERAGE`.  A code that is not
in it is described by its letter and digits, and said to be the manufacturer's where it is.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from obd.dtc import SYSTEMS, is_generic

COVERAGE = (
    "P00xx to P09xx, P0Axx and P20xx to P27xx for the most part, P34xx, U01xx, U03xx and U04xx for the most "
    "part, B00xx and C00xx in part"
)
_AREAS = {
    "0": "fuel and air metering, emission control",
    "1": "fuel and air metering",
    "2": "fuel and air metering, injectors",
    "3": "ignition or misfire",
    "4": "auxiliary emission control",
    "5": "speed, idle control, auxiliary inputs",
    "6": "computer and auxiliary outputs",
    "7": "transmission",
    "8": "transmission",
    "9": "transmission or control modules",
    "A": "hybrid or electric propulsion",
    "B": "hybrid or electric propulsion",
    "C": "hybrid or electric propulsion",
}
"""By the third character of a P0 code; of P2 it is the same for the most part."""


@cache
def texts() -> dict[str, str]:
    """All texts by code."""
    lines = files("obd").joinpath("dtc_texts.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if line and not line.startswith("#"))


def text_of(code: str) -> str:
    """What a code such as `P0301` means, as far as that is known."""
    known = texts().get(code)
    if known is not None:
        return known
    system = SYSTEMS.get(code[:1], "unknown system")
    if not is_generic(code):
        return f"{system}: the manufacturer's own code"
    area = _AREAS.get(code[2:3]) if code[:1] == "P" else None
    return f"{system}: {area or 'standard code'}; no text here"
