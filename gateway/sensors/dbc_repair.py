"""Makes a DBC file that strict loaders refuse loadable, and says line by line what was left out.

Runs on CPython.  Pure: text in, text and reasons out; lines are emptied, never moved, so that line
numbers stay true.  Only what cannot mean anything is touched: messages with ids that no frame can
carry, signals of no length or given twice, and values for signals that do not exist.
Source: Vector, DBC File Format Documentation, 2007.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_MESSAGE = re.compile(r"\s*BO_\s+(?P<id>\d+)\s+(?P<name>\w+)\s*:\s*(?P<size>\d+)\s+\w+\s*$")
_SIGNAL = re.compile(
    r"\s*SG_\s+(?P<name>\w+)\s*(?P<mux>\w+)?\s*:\s*(?P<start>\d+)\s*\|\s*(?P<bits>\d+)\s*@\s*[01]\s*[+-]"
)
_SIGNAL_REFERENCE = re.compile(r"\s*(?P<kind>VAL_|SIG_VALTYPE_|SG_MUL_VAL_)\s+(?P<id>\d+)\s+(?P<name>\w+)")

INDEPENDENT = "VECTOR__INDEPENDENT_SIG_MSG"
"""A pseudo message in which Vector's editor keeps signals of no message."""
_EXTENDED_BIT = 0x80000000


@dataclass(slots=True)
class _Message:
    name: str
    signals: set[str] = field(default_factory=set)
    has_multiplexer: bool = False
    is_dropped: bool = False


def repair(text: str) -> tuple[str, list[str]]:
    """Text that can be loaded, and what was tolerated for it, in the order of lines."""
    lines = text.splitlines()
    notes: list[tuple[int, str]] = []
    messages = _repair_messages(lines, notes)
    _repair_references(lines, messages, notes)
    return "\n".join(lines) + "\n", [f"line {line}: {note}" for line, note in sorted(notes)]


def drop_statement(text: str, line: int) -> tuple[str, str] | None:
    """The text without the statement around `line` (from 1), and its beginning; None when it is empty."""
    lines = text.splitlines()
    for first, last in _statements(lines):
        if first <= line - 1 <= last:
            shown = lines[first].strip()[:60]
            if not shown:
                return None
            lines[first : last + 1] = [""] * (last + 1 - first)
            return "\n".join(lines) + "\n", shown
    return None


def _statements(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Index of the first and last line of each: a line, or several joined by an open string."""
    first, is_open = 0, False
    for index, line in enumerate(lines):
        if not is_open:
            first = index
        # An escaped quote does not end a string.
        quotes = line.replace('\\\\"', "").replace('\\"', "").count('"')
        is_open ^= quotes % 2 == 1
        if not is_open:
            yield first, index
    if is_open:
        yield first, len(lines) - 1


def _repair_messages(lines: list[str], notes: list[tuple[int, str]]) -> dict[int, _Message]:
    """Empties messages and signals that cannot be; what remains, by DBC id."""
    messages: dict[int, _Message] = {}
    current: _Message | None = None
    for first, _ in list(_statements(lines)):
        line = lines[first]
        match = _MESSAGE.match(line)
        if match:
            dbc_id, name = int(match["id"]), match["name"]
            current = _Message(name)
            fault = _id_fault(dbc_id, name)
            if fault is None and len(match["size"]) > 5:
                fault = f"message {name} has {match['size'][:20]} bytes; left out"
            if fault is None and dbc_id in messages:
                fault = f"message {name} has the id {dbc_id} of {messages[dbc_id].name}; left out"
            if fault is not None:
                notes.append((first + 1, fault))
                current.is_dropped = True
                lines[first] = ""
            messages.setdefault(dbc_id, current)
            continue
        match = _SIGNAL.match(line)
        if match and current is not None:
            if current.is_dropped:
                lines[first] = ""
                continue
            fault = _signal_fault(match, current)
            if fault is not None:
                notes.append((first + 1, f"signal {match['name']} of {current.name} {fault}; left out"))
                lines[first] = ""
                continue
            current.signals.add(match["name"])
            if match["mux"] == "m" and not current.has_multiplexer:
                # Left as it is, loaders drop all signals it chooses between.
                notes.append(
                    (first + 1, f"m without a number at {match['name']} of {current.name}; read as M")
                )
                lines[first] = line[: match.start("mux")] + "M" + line[match.end("mux") :]
            current.has_multiplexer |= match["mux"] in ("m", "M")
        elif line.strip() and not line.lstrip().startswith("SG_"):
            current = None
    return messages


def _id_fault(dbc_id: int, name: str) -> str | None:
    if name == INDEPENDENT:
        return f"message {name} (id 0x{dbc_id:X}) is on no bus; left out"
    if dbc_id & _EXTENDED_BIT:
        if dbc_id & ~_EXTENDED_BIT > 0x1FFFFFFF:
            return (
                f"message {name} has the extended id 0x{dbc_id & ~_EXTENDED_BIT:X}, above 29 bits; left out"
            )
    elif dbc_id > 0x7FF:
        return f"message {name} has the pseudo id 0x{dbc_id:X}, which no frame can carry; left out"
    return None


def _signal_fault(match: re.Match[str], message: _Message) -> str | None:
    if match["name"] in message.signals:
        return "is there twice"
    if max(len(match["start"]), len(match["bits"])) > 5:
        return f"has {match['bits'][:20]} bits at {match['start'][:20]}"
    return "has no bits" if int(match["bits"]) == 0 else None


def _repair_references(lines: list[str], messages: dict[int, _Message], notes: list[tuple[int, str]]) -> None:
    """Empties values for signals that are not there."""
    for first, last in list(_statements(lines)):
        match = _SIGNAL_REFERENCE.match(lines[first])
        if match is None:
            continue
        message = messages.get(int(match["id"]))
        if message is not None and not message.is_dropped and match["name"] in message.signals:
            continue
        # What belonged to a message left out needs no word of its own.
        if message is None:
            notes.append((first + 1, f"{match['kind']} for unknown message {match['id']}; ignored"))
        elif not message.is_dropped:
            note = f"{match['kind']} for unknown signal {match['name']} of {message.name}; ignored"
            notes.append((first + 1, note))
        lines[first : last + 1] = [""] * (last + 1 - first)
