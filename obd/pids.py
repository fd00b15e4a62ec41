"""Service 01 and 02: from bytes of a PID to named values with units.

Runs on CPython and MicroPython.  The rows lie in three files and are read when first needed, because a
device that asks for engine speed has no room for all of J1979.
Source: SAE J1979 (2017), annex B.
"""

from collections import namedtuple

from obd.dtc import dtc_text
from obd.errors import ResponseError
from obd.formula import Formula
from obd.pid_choices import CHOICES, INDUCEMENT
from obd.tuples import new

PID_MAX = 0xFF
SUPPORT_PIDS = (0x00, 0x20, 0x40, 0x60, 0x80, 0xA0, 0xC0, 0xE0)
"""Each tells which of the 32 PIDs behind it there are."""
SOURCE = "SAE J1979 (2017), annex B"
SOURCE_ANNEX = "SAE J1979-DA, annex B"
_ANNEX_ONLY = (0xAA, 0xB2, 0xD2, 0xD3)


class Field(namedtuple("Field", ("pid", "size", "key", "name", "formula", "unit", "low", "high", "source"))):
    """One value of a PID.  size: bytes that must be there for it; formula: Formula, or None for bytes
    that are not computed with; unit: text, or the name of a table with =; low, high: range."""

    __slots__ = ()

    @property
    def formula_text(self) -> str:
        """The formula for a person."""
        return "" if self.formula is None else self.formula.text

    @property
    def unit_text(self) -> str:
        """The unit for a person; nothing where the value is no quantity."""
        unit: str = self.unit
        return "" if unit[:1] == "=" else unit


class Value(namedtuple("Value", ("field", "value"))):
    """value: int or float in the field's unit; bool; text for a choice; list of PIDs, bits, texts; bytes."""

    __slots__ = ()


_fields: dict[int, list[Field]] = {}
decoders: dict = {}  # type: ignore[type-arg]  # the type of a function has no name in MicroPython
"""By PID, once `decode` has met it: (data bytes, function from so many bytes to the list of values)."""


def fields_of(pid: int) -> list[Field]:
    """All values of a PID, in order; empty when J1979 does not define it."""
    found = _fields.get(pid)
    if found is None:
        found = [_field(line) for line in _lines(pid)]
        _fields[pid] = found
    return found


def size_of(pid: int) -> int:
    """Data bytes of a PID, 0 when J1979 does not define it.

    PIDs 06 to 09 and 55 to 58 have a second byte on cars with four banks; they count as one."""
    fields = fields_of(pid)
    return fields[0].size if fields else 0


def name_of(pid: int) -> str:
    """A PID for a person."""
    fields = fields_of(pid)
    return fields[0].name if fields else "not defined by J1979"


def known_pids() -> list[int]:
    """Every PID that has rows."""
    return [pid for pid in range(PID_MAX + 1) if fields_of(pid)]


def pid_of_key(key: str) -> "int | None":
    """The PID one of whose values has this key, such as `engine_speed`."""
    for pid in range(PID_MAX + 1):
        for field in fields_of(pid):
            if field.key == key:
                return pid
    return None


def decode(pid: int, data: bytes) -> list[Value]:
    """The values in the data bytes of a PID, without service and PID.

    Values that the data says are not there are left out.  Raises ResponseError when it is too short."""
    found = decoders.get(pid)
    if found is None:
        found = decoders[pid] = (size_of(pid), _decoder(fields_of(pid)))
    size, compute = found
    if len(data) < size:
        raise ResponseError(f"PID {pid:02X} has {len(data)} data bytes instead of {size}: {data.hex()}")
    values: list[Value] = compute(data)
    return values


def _decoder(fields: list[Field]):  # type: ignore[no-untyped-def]  # as above
    """The function from enough data bytes to values."""
    if len(fields) == 1 and fields[0].formula is not None and fields[0].unit[:1] != "=":
        (field,) = fields
        compute = field.formula.value
        if compute is not None and field.formula.bytes_needed <= field.size:
            # Most PIDs are of this kind, and a car is asked for them all the time.
            return lambda data: [new(Value, (field, compute(data)))]
    return lambda data: _values(fields, data)


def _values(fields: list[Field], data: bytes) -> list[Value]:
    values = []
    for field in fields:
        if len(data) >= field.size:
            raw = None if field.formula is None else field.formula(data)
            if raw is not None or field.formula is None:
                values.append(Value(field, _meaning(field, raw, data)))
    return values


def split(data: bytes) -> "list[tuple[int, bytes]]":
    """(PID, its data) of each PID in an answer to service 01 without the service byte.

    One PID may have any length; of several, each must be as long as J1979 says.  Raises ResponseError."""
    if not data:
        raise ResponseError("an answer to service 01 names no PID")
    fields = fields_of(data[0])
    # A second length is that of a car with four banks, or of a PID that we do not know.
    if not fields or len(data) - 1 <= fields[0].size or len(data) - 1 == fields[-1].size:
        return [(data[0], data[1:])]
    parts = []
    at = 0
    while at < len(data):
        pid = data[at]
        size = size_of(pid)
        if not size or at + 1 + size > len(data):
            raise ResponseError(f"at byte {at} of {data.hex()}: PID {pid:02X} does not fit")
        parts.append((pid, data[at + 1 : at + 1 + size]))
        at += 1 + size
    return parts


def supported(base: int, data: bytes) -> list[int]:
    """PIDs that the data of PID `base` (00, 20, ..) says there are.  Raises ResponseError."""
    if len(data) < 4:
        raise ResponseError(f"PID {base:02X} has {len(data)} data bytes instead of 4")
    bits = int.from_bytes(data[:4], "big")
    return [base + number for number in range(1, 33) if bits >> (32 - number) & 1]


def _meaning(field: Field, raw: "int | float | None", data: bytes) -> object:
    unit: str = field.unit
    if unit[:1] != "=":
        return raw
    if unit == "=pids":
        return supported(field.pid, data)
    if raw is None or unit == "=raw":
        return data
    number = int(raw)
    if unit == "=yes":
        return number != 0
    if unit == "=dtc":
        return dtc_text(number) if number else ""
    if unit == "=inducement":
        return [text for bit, text in INDUCEMENT if number & bit]
    if unit == "=bits":
        return [bit for bit in range(8) if number >> bit & 1]
    return CHOICES[unit].get(number, f"reserved ({number})")


def _lines(pid: int) -> list[str]:
    # A device keeps only the part of the table that it asks for.
    if pid < 0x60:
        from obd.pid_rows_00 import ROWS
    elif pid < 0x80:
        from obd.pid_rows_60 import ROWS
    else:
        from obd.pid_rows_80 import ROWS
    lines = []
    at = ROWS.find(f"\n{pid:02X}|")
    while at >= 0:
        end = ROWS.find("\n", at + 1)
        lines.append(ROWS[at + 1 : end])
        at = end if ROWS[end : end + 4] == f"\n{pid:02X}|" else -1
    return lines


def _field(line: str) -> Field:
    digits, size, key, name, formula, unit, low, high = line.split("|")
    pid = int(digits, 16)
    return Field(
        pid,
        int(size),
        key,
        name,
        None if formula == "=bitmap" else Formula(formula),
        unit,
        float(low) if "." in low else int(low),
        float(high) if "." in high else int(high),
        SOURCE_ANNEX if pid in _ANNEX_ONLY else SOURCE,
    )
