"""What the generic trouble codes mean, in English.

Runs on CPython.  The texts lie in `dtc_texts.tsv`, one code a line: written for this project after the
meanings that SAE J2012 / ISO 15031-6 give to codes; not all of them, see `COVERAGE`.  A code stands there
when two public sources that do not copy each other agree on it: code lists of diagnosis programs and service
literature of manufacturers.  Of a row of codes that names the faults of like parts in turn, such as the
voltage sense circuits A to Z of a battery, that holds for several members of the row, not for each.  Of
P0D69 to P0EFE, P27B9 to P27F5 and P2A38 to P2EC2 but P2BA7 to P2BAF one list has all; a scan tool's,
manufacturers' and other lists agree with it on some fifty codes scattered over them, and what they contradict
(P27B1 to P27B8) is left out.  A code that is not in the file is described by its letter and digits, and said
to be the manufacturer's where it is.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from obd.dtc import SYSTEMS, is_generic

COVERAGE = (
    "P00xx to P09xx with decimal digits for the most part, with letters as the editions to about 2007 "
    "have them; P0Axx and P0Exx for the most part, P0Bxx to P0Dxx in part, none of P0Fxx; P20xx to P22xx,"
    " P24xx, P26xx to P2Dxx for the most part, P23xx, P25xx and P2Exx in part, none of P2Fxx; P34xx, none"
    " of P35xx to P39xx; U00xx to U05xx in part, U3000 to U3017; B00xx and C00xx of the first edition.  "
    "All but a few are missing of P0C0B to P0C41, P0C9C to P0CFF and P0D15 to P0D68.  Missing: P00C0 and up, "
    "P019A and up, P02FB and up, P0395 and up, P04AB and up, P059A and up, P06D2 and up, P07BF and up, "
    "P089A and up, P099A and up, P0BBE to P0BCB, P2370 to P23F1, P25C9 and up, P27B1 to P27B8, P2EC3 and "
    "up, P349F and up, U0075 and up, U01B2 and up, U0271 to U0283, B01xx and up, C01xx and up.  The "
    "source that has all is SAE J2012-DA, which is sold, not published"
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
