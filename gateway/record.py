"""A record: one sample of one stream, with a name by which it can be counted.

The name is (stream, boot, seq).  Within one boot of the gateway a stream's records are numbered from 0
without holes, so a receiver can drop a duplicate and name a gap.  A time stamp cannot do that: many
records share a millisecond, and clocks jump.
"""

import re
from dataclasses import dataclass
from typing import Any

from gateway.errors import RecordNameError
from gateway.sensors.source import Gap
from obd.can_frame import CanFrame

_NAME = re.compile(r"([a-z0-9_-]{1,32})/(\d{1,19})/(\d{1,19})")


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
        """The record as JSON-ready values; the raw value is always there, so that a proof can be checked."""
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
        return line


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    return value
