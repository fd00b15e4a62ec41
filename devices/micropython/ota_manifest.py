"""What a firmware is, in bytes: a statement that its publisher signs, a list of files, and the files.

Runs on CPython and MicroPython.

    update    = << statement >>, list, content of each file in the order of the list
    statement = COSE_Sign1 (puf/cose.py), typ "cpc/firmware", by the publisher's Ed25519 key, of
                [1, role, board, version, minimum, loader, mpy, may_go_back,
                 list_size, list_hash, content_size]
    list      = one item after the other: [path, size, sha256], sorted by path, no path twice

Everything is deterministic CBOR.  The statement is short, so that a board can check it in little memory; the
list is bound by its hash, and each file by its hash in the list.

| role, board | text; for whom it is: lock, charger, sensor; a name of boards/*.json, or "any"               |
| version     | counts up                                                                                    |
| minimum     | once this firmware has confirmed itself, no version below it is taken any more               |
| loader      | what boot.py and its files must be able to do at least (slots.LOADER)                        |
| mpy         | version of bytecode of the .mpy files, 0: there are none                                     |
| may_go_back | whether a board with a later version takes it, down to the minimum that board has confirmed  |
"""

import sys
from collections import namedtuple

from devices.micropython.errors import FirmwareError
from devices.micropython.slots import OWN_FILES, PATH_BYTES_MAX, ROLE_BYTES_MAX
from puf import cbor
from puf.errors import DecodeError, SignatureError

if sys.implementation.name != "micropython":
    # For annotations only, which MicroPython does not look at.
    from puf.ed25519 import SigningKey

TYP = "cpc/firmware"
ANY_BOARD = "any"
FORMAT = 1
STATEMENT_BYTES_MAX = 384
"""Of a signed statement."""
BOARD_BYTES_MAX = 32
LIST_BYTES_MAX = 16_384
FILES_MAX = 160
CONTENT_BYTES_MAX = 1 << 20
FILE_BYTES_MAX = 1 << 18
ENTRY_BYTES_MAX = PATH_BYTES_MAX + 48
NUMBER_MAX = (1 << 32) - 1

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-."


class Firmware(
    namedtuple(
        "Firmware",
        "role board version minimum loader mpy may_go_back list_size list_hash content_size",
    )
):
    """What a statement says; see the head of this file.  Sizes in bytes, `list_hash`: bytes, 32."""

    __slots__ = ()
    KIND = "firmware"


class Entry(namedtuple("Entry", "path size digest")):
    """One file.  `path`: str, relative to the slot; `size`: bytes; `digest`: bytes, 32, its SHA-256."""

    __slots__ = ()
    KIND = "entry"


def is_name(text: object, size_max: int) -> bool:
    """Whether it can name a role or a board."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= size_max
        and not [letter for letter in text if letter not in _LETTERS or letter == "."]
    )


def is_path(text: object) -> bool:
    """Whether it names a file inside of a slot, in the one way there is."""
    if not isinstance(text, str) or len(text) > PATH_BYTES_MAX or text in OWN_FILES:
        return False
    for part in text.split("/"):
        if not part or part[0] == "." or [letter for letter in part if letter not in _LETTERS]:
            return False
    return True


def sign(firmware: Firmware, key: "SigningKey") -> bytes:
    """The statement, signed by `key`.  Raises FirmwareError for what no board takes."""
    from puf.cose import sign1

    payload = cbor.encode([FORMAT] + list(firmware))  # noqa: RUF005  MicroPython unpacks no lists in lists
    _check(payload)
    return sign1(TYP, payload, key)


def open_signed(statement: bytes, publisher: bytes) -> Firmware:
    """What the publisher (its public key, bytes, 32) says.

    Raises DecodeError, FirmwareError for anything else, SignatureError when the publisher did not sign it.
    """
    # Curves are a third of what a board loads, and are let go when they are not needed.
    from puf.cose import parse1
    from puf.ed25519 import verify

    if len(statement) > STATEMENT_BYTES_MAX:
        raise FirmwareError(f"a statement has at most {STATEMENT_BYTES_MAX} bytes, not {len(statement)}")
    parsed = parse1(statement, TYP, b"", STATEMENT_BYTES_MAX)
    # Everything that costs little first: a signature takes a board seconds.
    firmware = _check(parsed.payload)
    if parsed.kid != publisher:
        raise SignatureError(
            f"firmware signed by {parsed.kid.hex()}, not by the publisher that is known here"
        )
    if not verify(parsed.kid, parsed.message, parsed.signature):
        raise SignatureError("the publisher's signature on this firmware does not hold")
    return firmware


def read_unsigned(statement: bytes) -> Firmware:
    """What a statement says, whoever signed it.  Raises DecodeError, FirmwareError."""
    from puf.cose import parse1

    return _check(parse1(statement, TYP, b"", STATEMENT_BYTES_MAX).payload)


def _check(payload: bytes) -> Firmware:
    items = cbor.decode(payload, STATEMENT_BYTES_MAX, 1)
    if not isinstance(items, list) or len(items) != 11 or type(items[0]) is not int or items[0] != FORMAT:
        raise FirmwareError(f"a statement on firmware is an array of 11 that begins with {FORMAT}")
    firmware = Firmware(*items[1:])
    if not is_name(firmware.role, ROLE_BYTES_MAX) or not is_name(firmware.board, BOARD_BYTES_MAX):
        raise FirmwareError("role and board are names of a few small letters")
    for name in ("version", "minimum", "loader", "mpy", "list_size", "content_size"):
        value = getattr(firmware, name)
        if type(value) is not int or not 0 <= value <= NUMBER_MAX:
            raise FirmwareError(f"{name} is a number of 32 bits")
    if firmware.minimum > firmware.version or firmware.version == 0:
        raise FirmwareError("a version is 1 or more, and its minimum not above it")
    if type(firmware.may_go_back) is not bool:
        raise FirmwareError("may_go_back is true or false")
    if not isinstance(firmware.list_hash, bytes) or len(firmware.list_hash) != 32:
        raise FirmwareError("the list's hash has 32 bytes")
    if not 0 < firmware.list_size <= LIST_BYTES_MAX or firmware.content_size > CONTENT_BYTES_MAX:
        raise FirmwareError(
            f"a list has at most {LIST_BYTES_MAX} bytes, all files together {CONTENT_BYTES_MAX}"
        )
    return firmware


def entry_size(data: bytes) -> int:
    """Bytes of the list's item that `data` begins with; 0: more than ENTRY_BYTES_MAX, or cut off."""
    if len(data) < 2 or data[0] != 0x83:
        return 0
    at = 2
    count = data[1] - 0x60
    if count == 24 and len(data) > 2:
        count = data[2]
        at = 3
    at += count
    if not 0 <= count <= PATH_BYTES_MAX or at >= len(data):
        return 0
    at += 1 + {24: 1, 25: 2, 26: 4}.get(data[at], 0) + 34
    return at if at <= len(data) else 0


def parse_entry(data: bytes, before: str) -> Entry:
    """One item of a list, whose path must follow `before`.  Raises DecodeError, FirmwareError."""
    items = cbor.decode(data, ENTRY_BYTES_MAX, 1)
    if not isinstance(items, list) or len(items) != 3 or not is_path(items[0]):
        raise FirmwareError("an item of a list is a path in the slot, a size and a hash")
    path, size, digest = items
    if type(size) is not int or not 0 <= size <= FILE_BYTES_MAX:
        raise FirmwareError(f"a file has at most {FILE_BYTES_MAX} bytes")
    if not isinstance(digest, bytes) or len(digest) != 32:
        raise FirmwareError("a file's hash has 32 bytes")
    if path <= before:
        raise FirmwareError("a list is sorted by path, and has none twice")
    return Entry(path, size, digest)


def wrap(statement: bytes) -> bytes:
    """The first item of an update."""
    return cbor.encode(statement)


def unwrap(begin: bytes) -> "tuple[bytes, int]":
    """The statement that an update begins with, and where its list begins.  `begin`: its first 512 bytes.

    Raises DecodeError.
    """
    end = unwrapped_size(begin)
    if begin[:1] not in (b"\x58", b"\x59") or end > len(begin):
        raise DecodeError("an update begins with a statement, as a byte string")
    statement = begin[2 if begin[0] == 0x58 else 3 : end]
    if wrap(statement) != begin[:end]:
        raise DecodeError("the length of the statement is not in its shortest form")
    return statement, end


def unwrapped_size(begin: bytes) -> int:
    """Where the list of an update begins, as far as its first bytes tell: no less than 4."""
    if begin[:1] == b"\x58" and len(begin) > 1:
        return max(begin[1] + 2, 4)
    if begin[:1] == b"\x59" and len(begin) > 2:
        return max((begin[1] << 8 | begin[2]) + 3, 4)
    return 4
