"""What an ELM327 prints after a query, read into an outcome.

Runs on CPython and MicroPython.  Words such as NO DATA and lines of data may stand beside each other, since
several ECUs answer one query.  Source: ELM327 data sheet v2.2, "Error Messages and Alerts".
"""

from obd.elm327_text import guess_shape, is_hex, read_lines
from obd.query import (
    BUS_FAULT,
    DAMAGED,
    INTERRUPTED,
    NO_CAR,
    NO_DATA,
    NOT_UNDERSTOOD,
    OVERRUN,
    Answer,
    Outcome,
    belongs_to,
    outcome_of,
)

# Which word means what; the first that is found in a line decides.
_PROBLEMS = (
    ("UNABLETOCONNECT", NO_CAR),
    ("BUSINIT", NO_CAR),
    ("NODATA", NO_DATA),
    ("BUFFERFULL", OVERRUN),
    ("STOPPED", INTERRUPTED),
    ("CANERROR", BUS_FAULT),
    ("BUSBUSY", BUS_FAULT),
    ("BUSERROR", BUS_FAULT),
    ("FBERROR", BUS_FAULT),
    ("DATAERROR", DAMAGED),
    ("RXERROR", DAMAGED),
    ("ACTALERT", INTERRUPTED),
    ("LPALERT", INTERRUPTED),
    ("ERR", INTERRUPTED),
    ("?", NOT_UNDERSTOOD),
)
_IN_ANSWERS = (NO_DATA, DAMAGED)
"""Problems beside which answers of other ECUs are still good."""


def lines_of(data: bytes) -> list[str]:
    """Lines without spaces, empty ones, NULs, and whatever is no ASCII."""
    try:
        text = data.decode()
    except UnicodeError:
        text = bytes([byte if byte < 0x80 else 0x7E for byte in data]).decode()
    if "\x00" in text:
        text = text.replace("\x00", "")
    if " " in text:
        text = text.replace(" ", "")
    if "\n" in text:
        text = text.replace("\n", "\r")
    return [line for line in text.split("\r") if line]


def millivolts(text: str) -> int:
    """`12.4V` as 12400; 0 for anything else."""
    whole, _, tenths = text.rstrip("Vv").partition(".")
    if not whole.isdigit() or len(whole) > 2 or (tenths and not tenths.isdigit()):
        return 0
    return int(whole) * 1000 + int((tenths + "000")[:3])


def read_answer(
    lines: list[str], echo: str, request: bytes, known_shape: "str | None"
) -> "tuple[Outcome, str | None]":
    """(what the lines after a query say, their shape).

    echo: the command, which may stand before its answer.  known_shape: that of earlier answers, or None."""
    data_lines: list[str] = []
    problem = ""
    detail = ""
    for line in lines:
        if line.startswith(echo):
            line = line[len(echo) :]
        if line.startswith("SEARCHING"):
            line = line[9:].lstrip(".")
        if line.startswith("BUSINIT:"):
            line = line[8:].lstrip(".")
            if line[:2] == "OK":
                line = line[2:]
            else:
                problem, detail = NO_CAR, "BUS INIT: " + line
                continue
        if not line:
            continue
        if is_hex(line) or (line[1:2] == ":" and is_hex(line[2:])):
            data_lines.append(line)
            continue
        for word, meaning in _PROBLEMS:
            if word in line:
                problem, detail = meaning, line
                break
        else:
            problem, detail = DAMAGED, line[:40]
    answers: list[Answer] = []
    if data_lines:
        shape = guess_shape(data_lines, request[0]) if known_shape is None else known_shape
        bad = 0
        if shape is not None:
            answers, bad = read_lines(data_lines, shape)
        answers = [answer for answer in answers if belongs_to(answer.data, request)]
        if not answers and known_shape is not None:
            # Perhaps the adapter has changed its ways, as after a reset that went unnoticed.
            other = guess_shape(data_lines, request[0])
            if other is not None and other != shape:
                answers, bad = read_lines(data_lines, other)
                answers = [answer for answer in answers if belongs_to(answer.data, request)]
                shape = other
        if answers:
            known_shape = shape
        elif not problem:
            problem, detail = DAMAGED, data_lines[0][:40]
        if bad and not detail:
            detail = f"{bad} lines could not be used"
    if problem and not (answers and problem in _IN_ANSWERS):
        return Outcome(problem, answers, detail), known_shape
    return outcome_of(answers, detail), known_shape
