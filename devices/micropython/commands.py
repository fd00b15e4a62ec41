"""What may be asked of a device once both sides have proved themselves: numbers, formats, reasons.

Runs on CPython and MicroPython.  Each request and each answer is one deterministic CBOR array, sealed by
devices/micropython/channel.py.  One request is open at a time; answers come in the order of requests.

    request  [command, arguments ..]            answer  [command, reason, results ..]   results if reason is 0

    1 STATUS    [1]                     any     [1, 0, {"kind", "version", "uptime_ms", "actions", "role"}]
    2 TIME      [2]                     any     [2, 0, question for the gateway]      puf/grant.py
                [2, word on the time]           [2, 0]
    3 GRANT     [3, action, grant]      any     [3, 0]       the action was done, or is under way
    4 LOG       [4, from]               owner   [4, 0, first, bytes, next]    to its end: bytes is empty
    5 SETTINGS  [5]                     owner   [5, 0, {name: value}]
                [5, {name: value}]              [5, 0, {name: value}]         all are taken, or none
    6 OTA       [6, body]               owner   [6, 0, body]                  both the update's own format
    7 REBOOT    [7]                     owner   [7, 0]       then the device hangs up and starts anew
    8 GRANT_KEY [8]                     owner   [8, 0, epoch]                 -1: there is none yet
                [8, epoch]                      [8, 0, epoch, key]            a later one revokes all grants

`owner` is the gateway that enrolled the device; `any` also a visitor, who is shown a STATUS only after a
grant of its own was taken in the same session.  "role" is what the role's `status()` says.

Before a session there is one more message, from either side, in clear: the last word, `[5, why]`.  It is
said before hanging up, proves nothing, and only tells an honest peer what to do.
"""

from devices.micropython.errors import CommandError
from puf import cbor
from puf.errors import DecodeError

STATUS, TIME, GRANT, LOG, SETTINGS, OTA, REBOOT, GRANT_KEY = 1, 2, 3, 4, 5, 6, 7, 8

DONE = 0
"""The reason that is none.  1 to 12 are those of puf/grant.py, for TIME and GRANT."""
FORMAT_WRONG, COMMAND_UNKNOWN, NOT_YOURS, NOT_HERE, SETTING_REFUSED, FAULT = 32, 33, 34, 35, 36, 37
"""No such request; no such command; for the owner, or after a grant; this device has no such part (no grant
key yet, no update); a setting that does not exist or cannot be so; an error of its own, told in its log."""
ROLE_REASON_MIN, ROLE_REASON_MAX = 64, 255
"""Reasons of the role's own, as its `act` returns them; each role lists its own."""

BUSY, FRAME_WRONG, OUT_OF_TURN, NOT_SEALED, TOO_SLOW, NO_CURVES, FAILED = 1, 2, 3, 4, 5, 6, 7
"""Last words: come again later; the link brought garbage; a message that was not due; a sealed one that does
not open; silence for too long; this device does no curves, so only its gateway can meet it; something in it
failed, as its log tells."""

MESSAGE_BYTES_MAX = 1200
"""The longest message of all, sealed or not."""
BODY_BYTES_MAX = 1024
"""Of an update's message, of a grant, or of a piece of the log."""
LOG_BYTES_MAX = 512
"""Of one piece of the log."""
_LAST_WORD = 5

# Types of the arguments, by command: one tuple for each form that it has.
_FORMS = {
    STATUS: ((),),
    TIME: ((), (bytes,)),
    GRANT: ((int, bytes),),
    LOG: ((int,),),
    SETTINGS: ((), (dict,)),
    OTA: ((bytes,),),
    REBOOT: ((),),
    GRANT_KEY: ((), (int,)),
}


def request(command: int, *arguments: object) -> bytes:
    """A request as it is sealed."""
    return cbor.encode([command] + list(arguments))  # noqa: RUF005  MicroPython unpacks no lists in lists


def parse_request(data: bytes) -> "tuple[int, list[object]]":
    """Command and arguments.  Raises CommandError, with command 0 where it cannot be read."""
    try:
        items = cbor.decode(data, MESSAGE_BYTES_MAX, 3)
    except DecodeError:
        items = None
    if not isinstance(items, list) or not items or type(items[0]) is not int:
        raise CommandError(0, FORMAT_WRONG)
    command, arguments = items[0], items[1:]
    if command not in _FORMS:
        raise CommandError(command if 0 <= command < 1 << 32 else 0, COMMAND_UNKNOWN)
    # Not isinstance: True is an int, too.
    if tuple([type(argument) for argument in arguments]) not in _FORMS[command]:
        raise CommandError(command, FORMAT_WRONG)
    return command, arguments


def answer(command: int, reason: int, *results: object) -> bytes:
    """An answer as it is sealed."""
    return cbor.encode([command, reason] + list(results))  # noqa: RUF005


def parse_answer(data: bytes, command: int) -> "tuple[int, list[object]]":
    """Reason and results of an answer to `command`.  Raises DecodeError."""
    items = cbor.decode(data, MESSAGE_BYTES_MAX, 4)
    if not isinstance(items, list) or len(items) < 2:
        raise DecodeError("an answer is an array of two or more")
    if type(items[0]) is not int or type(items[1]) is not int or not 0 <= items[1] <= ROLE_REASON_MAX:
        raise DecodeError(f"command and reason are integers, a reason up to {ROLE_REASON_MAX}")
    # What could not be read is answered as command 0.
    if items[0] != command and not (items[0] == 0 and items[1] == FORMAT_WRONG):
        raise DecodeError(f"an answer to command {items[0]} came, and {command} was asked")
    return items[1], items[2:]


def last_word(why: int) -> bytes:
    """What is said in clear before hanging up."""
    return bytes((0x82, _LAST_WORD, why))


def parse_last_word(data: bytes) -> "int | None":
    """Why the other side hangs up; None when `data` is no last word."""
    if len(data) == 3 and data[0] == 0x82 and data[1] == _LAST_WORD and BUSY <= data[2] <= FAILED:
        return data[2]
    return None
