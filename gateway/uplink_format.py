"""What leaves by the uplink: topics by template, records as JSON or CBOR, birth and death of the gateway.

Runs on CPython; pure.  A message carries records of one boot that follow each other, so that record
number i of it is `seq + i`, and gaps lie at their places:

    {"v": 1, "key": "3f9a../4/100-149", "gateway": "g1", "stream": "can0", "kind": "can",
     "boot": 4, "seq": 100, "records": [[taken_ns, value], [taken_ns, null, gap], ..]}
    gap = {"reason": "..", "count": 7, "from_ns": .., "to_ns": ..}

`key` names the records and is the same however often the message is sent: a receiver that has seen it drops
it.  A raw frame is [id, flags, data], flags as in obd/can_frame.py; a decoded one is {"id": .., "message":
name, "signals": {..}}, and stays raw when no DBC file knows it.  JSON has no bytes: they are
{"base64": ".."}; where it has no such number, {"float": "nan"}.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.block import Samples
from gateway.columns import CAN
from gateway.outbox import LOSS_HEAD, NewMessage, message_key
from gateway.sensors.dbc import DbcDecoder
from obd.can_frame import CanFrame
from puf import cbor

VERSION = 1
JSON = "json"
CBOR = "cbor"
FORMATS = (JSON, CBOR)
RAW = "raw"
DECODED = "decoded"
FRAMES = (RAW, DECODED)
CONTENT_TYPES = {JSON: "application/json", CBOR: "application/cbor"}
FIELDS = ("gateway", "stream", "kind")
"""What a topic's template may name."""
_FIELD = re.compile(r"\{([^{}]*)\}")


class BadTopic(ValueError):
    """A template makes no topic; the text says why."""


def topic(template: str, **fields: str) -> str:
    """`template` with its {fields} filled in.  Raises BadTopic.  Source: MQTT 5.0, section 4.7."""
    filled = _FIELD.sub(lambda match: _field(match[1], fields), template)
    if not filled or len(filled.encode()) > 1_024:
        raise BadTopic("a topic has 1 to 1024 bytes")
    if any(character in filled for character in "+#\0{}"):
        raise BadTopic("a topic to publish on has none of + # { }")
    if filled.startswith("$"):
        raise BadTopic("topics that begin with $ are the broker's own")
    return filled


def _field(name: str, fields: dict[str, str]) -> str:
    if name not in fields:
        raise BadTopic(f"{{{name}}} is not known; there are {', '.join('{' + each + '}' for each in fields)}")
    return fields[name]


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How the records of one stream are said."""

    gateway: str
    """Name of the gateway."""
    stream: str
    kind: str
    stream_id: bytes
    topic: str
    encoding: str = JSON
    decoder: DbcDecoder | None = None
    """Decodes frames; None: they stay raw."""

    def messages(self, samples: Samples, records_max: int, size_max: int) -> Iterator[NewMessage]:
        """`samples`, at least one record, in messages of at most so many records and bytes.

        One record that alone is longer still is a message.
        """
        for begin in range(0, len(samples), records_max):
            yield from self._fitting(samples.part(begin, min(begin + records_max, len(samples))), size_max)

    def _fitting(self, samples: Samples, size_max: int) -> Iterator[NewMessage]:
        payload = self.payload(samples)
        count = len(samples)
        if len(payload) > size_max and count > 1:
            yield from self._fitting(samples.part(0, count // 2), size_max)
            yield from self._fitting(samples.part(count // 2, count), size_max)
            return
        facts = (samples.boot, samples.first_seq, samples.end_seq)
        tells_loss = any(gap.reason.startswith(LOSS_HEAD) for _, gap in samples.gaps)
        yield NewMessage(self.stream_id, *facts, *samples.span_ns, self.topic, payload, tells_loss)

    def payload(self, samples: Samples) -> bytes:
        """One message's content."""
        content = {
            "v": VERSION,
            "key": message_key(self.stream_id, samples.boot, samples.first_seq, samples.end_seq),
            "gateway": self.gateway,
            "stream": self.stream,
            "kind": self.kind,
            "boot": samples.boot,
            "seq": samples.first_seq,
            "records": self._records(samples),
        }
        return cbor.encode(content) if self.encoding == CBOR else to_json(content)

    def _records(self, samples: Samples) -> list[list[Any]]:
        values: Sequence[Any] = samples.values
        if self.kind == CAN:
            values = [self._frame(frame) for frame in values]
        records = [[taken_ns, value] for taken_ns, value in zip(samples.taken_ns, values, strict=True)]
        # From behind, so that the places before stay what they are.
        for place, gap in reversed(samples.gaps):
            facts = {"reason": gap.reason, "count": gap.count, "from_ns": gap.from_ns, "to_ns": gap.to_ns}
            records.insert(place, [gap.from_ns, None, facts])
        return records

    def _frame(self, frame: CanFrame) -> Any:
        arbitration_id, flags, data = frame
        if self.decoder is not None and (signals := self.decoder.decode(frame)) is not None:
            return {"id": arbitration_id, "message": self.decoder.name(frame), "signals": signals}
        return [arbitration_id, flags, data if self.encoding == CBOR else data.hex()]


def to_json(value: Any) -> bytes:
    """`value` as compact JSON; what JSON lacks as the head of this file says."""
    try:
        text = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_for_json
        )
        return text.encode()
    except (TypeError, ValueError):
        # Keys that are no text, numbers that are none, lone surrogates: seldom, and worth the time then.
        return json.dumps(_tamed(value), separators=(",", ":")).encode()


def _for_json(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"base64": base64.b64encode(value).decode()}
    return {"cbor": base64.b64encode(cbor.encode(value)).decode()}


def _tamed(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else {"float": str(value)}
        case dict():
            return {_key(key): _tamed(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_tamed(inner) for inner in value]
    return _for_json(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return key.hex() if isinstance(key, bytes) else json.dumps(_tamed(key))


def birth(
    gateway: str, did: str, session: int, now_ns: int, streams: Sequence[tuple[str, str, bytes]]
) -> bytes:
    """What a gateway publishes, retained, when it has connected.

    session: number of the connection; the death that belongs to it has the same.
    streams: (name, kind, stream id).  Source: after Sparkplug B 3.0, NBIRTH and bdSeq.
    """
    return to_json(
        {
            "v": VERSION,
            "state": "birth",
            "gateway": gateway,
            "did": did,
            "session": session,
            "now_ns": now_ns,
            "streams": [
                {"stream": name, "kind": kind, "stream_id": stream_id.hex()}
                for name, kind, stream_id in streams
            ],
        }
    )


def death(gateway: str, did: str, session: int) -> bytes:
    """What the broker publishes in the gateway's stead when the connection of that number breaks."""
    return to_json({"v": VERSION, "state": "death", "gateway": gateway, "did": did, "session": session})
