"""A record: one sample of one stream, with a name by which it can be counted.

Runs on CPython.  The name is (stream, boot, seq).  Within one boot of the gateway a stream's records are
numbered from 0 without holes, so a receiver can drop a duplicate and name a gap.  A time stamp cannot do
that: many records share a millisecond, and clocks jump.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from gateway.errors import RecordNameError
from gateway.sensors.source import Gap
from obd.can_frame import CanFrame
from puf import cbor

# Not \d, which takes the digits of every script; no leading zeros, for a record has one name.
_NUMBER = r"(0|[1-9][0-9]{0,18})"
_NAME = re.compile(rf"([a-z0-9_-]{{1,32}})/{_NUMBER}/{_NUMBER}")


@dataclass(frozen=True, slots=True, order=True)
class RecordName:
    """What a record is called, for ever."""

    stream: str
    """The stream's name in the gateway's configuration."""
    boot: int
    """How often the gateway had started when the record was taken; starts at 1."""
    seq: int
    """Number of the record within stream and boot, from 0."""

    def __str__(self) -> str:
        return f"{self.stream}/{self.boot}/{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "RecordName":
        """The name written as ``can0/3/1234``.  Raises RecordNameError."""
        match = _NAME.fullmatch(text.strip())
        if match is None:
            raise RecordNameError(
                f"{text[:80]!r} is not a record's name; write stream/boot/seq, such as can0/1/1234"
            )
        return cls(match[1], int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True)
class Record:
    """One sample, or one gap, of one stream."""

    name: RecordName
    """Identity."""
    taken_ns: int
    """When the sensor sampled, Unix nanoseconds; not when it arrived.  For a gap: its beginning."""
    value: Any
    """A CanFrame, a reading (whatever deterministic CBOR can carry), or a Gap."""

    def as_json(self) -> dict[str, Any]:
        """The record as JSON-ready values; different records give different values.

        A reading that JSON cannot say exactly (bytes, NaN, a map with integer keys) is there twice: as
        `value`, for a person, and as `cbor`, its bytes in hex.
        """
        line: dict[str, Any] = {"record": str(self.name), "taken_ns": self.taken_ns}
        match self.value:
            case CanFrame():
                line |= {
                    "id": self.value.arbitration_id,
                    "flags": self.value.flags,
                    "data": self.value.data.hex(),
                }
            case Gap():
                line["gap"] = {
                    "reason": self.value.reason,
                    "count": self.value.count,
                    "from_ns": self.value.from_ns,
                    "to_ns": self.value.to_ns,
                }
            case _:
                line["value"] = _json_value(self.value)
                if not _is_json(self.value):
                    line["cbor"] = cbor.encode(self.value).hex()
        return line


def _is_json(value: Any) -> bool:
    """Whether JSON says exactly this."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | str)


def _json_value(value: Any) -> Any:
    """What JSON can say of `value`."""
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {_key_text(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, cbor.Tag):
        return {"tag": value.number, "value": _json_value(value.value)}
    return value if _is_json(value) else str(value)


def _key_text(key: Any) -> str:
    return key.hex() if isinstance(key, bytes) else str(key)
