"""Helper data: what a chip needs, beside itself, to find its key again, and what may be public.

Runs on CPython and MicroPython.

    body   = << ["cpc/helper", 1, [7, 255, 131, 18, blocks], [address, size], mask, offset] >>
    helper = << ["cpc/helper", 1, [7, 255, 131, 18, blocks], [address, size], mask, offset, check] >>

`blocks` is 3 (128 bits) or 5 (256 bits); the other four are the repetition and the BCH code.  `address` and
`size`, in bytes, are the region of memory that was read; `mask` is empty, or what puf/debias.py made of
the readout; `offset` is readout XOR codewords, 7 x 255 x blocks bits, MSB first, then zeros to a whole byte;
`check`, 16 bytes, tells a key that came back from one that did not (puf/fuzzy_extractor.py).

The SHA-256 of the body is the salt of the root, so every bit of it is bound to the key.  The gateway signs
all of it: puf/helper_signature.py.
"""

from collections import namedtuple

from puf import bch, cbor
from puf.errors import DecodeError, RegionTaken
from puf.hkdf import sha256

SCHEME = "cpc/helper"
VERSION = 1
REPETITION = 7
BLOCKS = {128: 3, 256: 5}
"""By the strength of the key in bits: how many codewords."""
CHECK_BYTES = 16
REGION_BYTES_MAX = 1 << 16
"""A larger region than any board gives; its mask still fits into a board's heap."""
MASK_BYTES_MAX = 1 << 13
SIZE_MAX = MASK_BYTES_MAX + 2048
"""Bytes of helper data, signed or not, that are looked at."""


def response_bits(strength_bits: int) -> int:
    """Cells that a key of this strength needs: 5,355 or 8,925.  Raises ValueError for another strength."""
    if strength_bits not in BLOCKS:
        raise ValueError(f"a strength is 128 or 256 bits, not {strength_bits}")
    return REPETITION * bch.N * BLOCKS[strength_bits]


class HelperData(namedtuple("HelperData", ("strength_bits", "address", "size", "mask", "offset", "check"))):
    """Public data of one enrolment.  See the head of this file for the fields."""

    __slots__ = ()
    KIND = "helper"

    def _items(self) -> "list[object]":
        code = [REPETITION, bch.N, bch.K, bch.T, BLOCKS[self.strength_bits]]
        return [SCHEME, VERSION, code, [self.address, self.size], self.mask, self.offset]

    def salt(self) -> bytes:
        """SHA-256 of the body: everything but the check, which is derived by means of it."""
        return sha256(cbor.encode(self._items()))

    def to_bytes(self) -> bytes:
        """The one encoding."""
        return cbor.encode(self._items() + [self.check])  # noqa: RUF005  MicroPython unpacks no lists in lists


def from_bytes(data: bytes) -> HelperData:
    """The helper data that `data` is.  Raises DecodeError for anything else."""
    items = cbor.decode(data, SIZE_MAX, 2)
    if not isinstance(items, list) or len(items) != 7 or items[0] != SCHEME:
        raise DecodeError("not helper data")
    if not cbor.is_int(items[1], VERSION, VERSION):
        raise DecodeError(f"helper data of another version than {VERSION}; enrol anew, or update the device")
    _, _, code, region, mask, offset, check = items
    strength_bits = _strength_of(code)
    if not isinstance(region, list) or len(region) != 2:
        raise DecodeError("a region is an address and a size")
    address, size = region
    if not cbor.is_int(address, 0, (1 << 32) - 1) or not cbor.is_int(size, 1, REGION_BYTES_MAX):
        raise DecodeError(f"a region is a 32-bit address and a size of 1 to {REGION_BYTES_MAX} bytes")
    if not isinstance(mask, bytes) or len(mask) > MASK_BYTES_MAX:
        raise DecodeError(f"a mask is at most {MASK_BYTES_MAX} bytes")
    bit_count = response_bits(strength_bits)
    if not isinstance(offset, bytes) or len(offset) != (bit_count + 7) // 8:
        raise DecodeError(f"an offset of {bit_count} bits has {(bit_count + 7) // 8} bytes")
    if offset[-1] & ((1 << -bit_count % 8) - 1):
        raise DecodeError("the last bits of the offset are no bits of it, and zero")
    if not isinstance(check, bytes) or len(check) != CHECK_BYTES:
        raise DecodeError(f"a check has {CHECK_BYTES} bytes")
    return HelperData(strength_bits, address, size, mask, offset, check)


def _strength_of(code: object) -> int:
    for strength_bits in BLOCKS:
        wanted = [REPETITION, bch.N, bch.K, bch.T, BLOCKS[strength_bits]]
        # Not just equal: 7.0 and True are other bytes.
        if isinstance(code, list) and code == wanted and all([type(item) is int for item in code]):  # noqa: C419
            return strength_bits
    raise DecodeError("the code is not repetition 7 in BCH(255, 131, 18), three or five blocks")


def check_region_is_free(address: int, size: int, taken: "list[tuple[int, int]]") -> None:
    """Raises RegionTaken when the region shares a byte with one that a key was built on before.

    `taken`: (address, size) of every enrolment of *this chip*, revoked ones too: two offsets of the same
    cells XOR to a code word, up to the noise, and each shows an attacker what the other hides.
    """
    for taken_address, taken_size in taken:
        if address < taken_address + taken_size and taken_address < address + size:
            raise RegionTaken(
                f"bytes 0x{address:x} to 0x{address + size:x} overlap an enrolment of 0x{taken_address:x} to "
                f"0x{taken_address + taken_size:x} of this chip; choose a region beside it"
            )
