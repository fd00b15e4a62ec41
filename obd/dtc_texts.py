"""What the generic trouble codes mean, in English.

Runs on CPython.  The texts lie in `dtc_texts.tsv`, one code a line: written for this project after the
meanings that SAE J2012 / ISO 15031-6 give to codes; not all of them, see `COVERAGE`.  A code stands there
when two public sources that do not copy each other agree on it: code lists of diagnosis programs and service
literature of manufacturers.  Of a row of codes that names the faults of like parts in turn, such as the
voltage sense circuits A to Z of a battery, that holds for several members of the row, not for each.  A code
that is not in it is described by its letter and digits, and said to be the manufacturer's where it is.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from obd.dtc import SYSTEMS, is_generic

COVERAGE = (
    "P0000 to P0999 and P2000 to P2799 with decimal digits for the most part, with letters in part; P0Axx "
    "for the most part, P0Bxx and P0Cxx in part, none of P0Dxx to P0Fxx; P28xx and P2Axx in part, P34xx; "
    "U00xx to U05xx and U30xx of the standard's first editions, of later ones in part; B00xx and C00xx of "
    "the first edition.  Missing: what later editions added, chiefly electric drive and charging (P0Bxx to "
    "P0Exx), exhaust aftertreatment (P2xxx with letters), P2Bxx to P2Exx, P35xx and up, B01xx and up, C01xx "
    "and up.  The source that has all is SAE J2012-DA, which is sold, not published"
)
"""For whom the texts fall short: which codes there are texts for, and where the rest would come from."""
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
    "D": "hybrid or electric propulsion",
    "E": "hybrid or electric propulsion",
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
