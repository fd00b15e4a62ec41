"""Before anything is kept of an enrolment: which chip this is, and which of its regions can bear a key.

Runs on CPython; pure but for the readouts it takes.  A chip is known by its silicon: from the majority of its
readouts, in which noise is almost gone, the key of an old enrolment comes back.  A region on which this chip
has borne a key is never used again, whatever the chip was called then.  Regions of the same name are used
last, in case that it is the same chip, changed beyond recognition; whoever gives the name of a dead device to
another chip has regions enough.  Each free region is judged by itself, as the key will use it, and the first
that is fit is taken.
"""

import json
from dataclasses import dataclass
from typing import Protocol

from gateway.devices import Device
from gateway.errors import EnrolmentRefused
from puf import fuzzy_extractor, helper_signature
from puf.assess import Fit, assess, response_of
from puf.errors import PufError, ReadoutError
from puf.helper_data import check_region_is_free, response_bits

READOUTS = 9
STRENGTH_BITS = 128
REGION_BYTES = (response_bits(STRENGTH_BITS) + 31) // 32 * 4
"""What one key takes, in whole words: 672 bytes, three of which fit into the memory of an ESP32."""


class PufSource(Protocol):
    """Where readouts come from: puf/puf_source.py.  Serial boards will be one, too."""

    address: int
    size: int

    def read(self) -> bytes:
        """One readout after a power-up of its own."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A region that can bear a key.  Printing it shows no readout."""

    address: int
    parts: "Parts"
    fit: Fit

    @property
    def size(self) -> int:
        """Bytes of the region."""
        return len(self.parts.readouts[0])

    @property
    def quality(self) -> str:
        """What was found of it, JSON."""
        return json.dumps(
            {
                "verdict": self.fit.verdict,
                "reasons": self.fit.reasons,
                "address": self.address,
                "size": self.size,
            }
        )


class Parts:
    """Readouts of a region, secret until the key is made of them."""

    def __init__(self, readouts: list[bytes]) -> None:
        self.readouts = readouts

    def __repr__(self) -> str:
        return f"Parts({len(self.readouts)} readouts, hidden)"


def choose(
    signer: bytes, name: str, source: PufSource, is_debiased: bool, count: int, known: list[Device]
) -> Chosen:
    """The region of this chip on which a key is to be built.

    signer: the gateway's key, which signed the helper data of `known`, all that was ever enrolled here.
    Raises EnrolmentRefused, PufError.
    """
    readouts = [source.read() for _ in range(count)]
    try:
        response = response_of(readouts)
    except ReadoutError as error:
        raise EnrolmentRefused(f"{name}: {error}") from error
    own = _known_as(signer, name, response, source.address, known)
    size = source.size if is_debiased else REGION_BYTES
    every = range(source.address, source.address + source.size - size + 1, size)
    if not every:
        raise EnrolmentRefused(
            f"{name} gives {8 * source.size:,} cells, and a key takes {8 * size:,}; read a larger region"
        )
    free = [address for address in every if _is_free(address, size, own)]
    if not free:
        raise EnrolmentRefused(
            f"every region of this chip, {name}, has borne a key, and none may bear a second one, revoked or "
            "not: the two would give each other away; replace the chip"
        )
    namesakes = [(device.address, device.size) for device in known if device.name == name]
    free.sort(key=lambda address: not _is_free(address, size, namesakes))
    refusals = []
    for address in free:
        begin = address - source.address
        parts = [readout[begin : begin + size] for readout in readouts]
        fit = assess(parts, is_debiased=is_debiased).fit
        if fit.is_pass:
            return Chosen(address, Parts(parts), fit)
        refusals.append((address, fit))
    address, fit = refusals[0]
    raise EnrolmentRefused(
        f"{name} is {fit.verdict.lower()}: {'; '.join(fit.reasons)} (of the {size} bytes at 0x{address:x}"
        + (f"; the other {len(refusals) - 1} free regions are no better" if len(refusals) > 1 else "")
        + ")"
    )


def _known_as(
    signer: bytes, name: str, response: bytes, begin: int, known: list[Device]
) -> list[tuple[int, int]]:
    """Address and size of each region on which this very silicon has borne a key.

    Raises EnrolmentRefused when it did so under another name.
    """
    own = []
    for device in known:
        at = device.address - begin
        if at < 0 or at + device.size > len(response):
            continue
        helper = helper_signature.open_signed(device.helper, signer)
        try:
            fuzzy_extractor.check_is_new(response[at : at + device.size], [helper])
        except PufError:
            own.append((device.address, device.size))
            if device.name != name:
                raise EnrolmentRefused(
                    f"this chip is enrolled already, as {device.name}; a chip has one name at a site: "
                    f"cpc device re-enroll {device.name} gives it a new key"
                ) from None
    return own


def _is_free(address: int, size: int, taken: list[tuple[int, int]]) -> bool:
    try:
        check_region_is_free(address, size, taken)
    except PufError:
        return False
    return True
