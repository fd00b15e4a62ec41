"""One PUBLISH packet of MQTT 3.1.1 or 5, from its bytes.

Runs on CPython; pure.  The library can do this too, at 25 us a message of version 5, which is more than all
the rest of its way into the spool; here it takes 2.  Source: MQTT 5.0, sections 1.5, 2.2.2 and 3.3;
MQTT 3.1.1, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_BYTE, _FOUR, _VARIABLE, _BINARY, _TEXT, _PAIR = range(6)
_PROPERTIES = {
    1: ("PayloadFormatIndicator", _BYTE),
    2: ("MessageExpiryInterval", _FOUR),
    3: ("ContentType", _TEXT),
    8: ("ResponseTopic", _TEXT),
    9: ("CorrelationData", _BINARY),
    11: ("SubscriptionIdentifier", _VARIABLE),
    35: ("TopicAlias", 6),
    38: ("UserProperty", _PAIR),
}
"""Those that a PUBLISH may have.  Source: MQTT 5.0, table 2-4."""


class NotAPublish(ValueError):
    """The bytes are no PUBLISH packet of the version."""


@dataclass(slots=True)
class Message:
    """A message that a broker has sent."""

    topic: bytes
    """UTF-8, as the broker should have made sure."""
    payload: bytes
    qos: int
    mid: int
    """Its number on this connection, to acknowledge it by; 0 at quality of service 0."""
    is_duplicate: bool
    """The broker has sent it before, and may or may not have been understood."""
    is_retained: bool
    properties: dict[str, Any] | None
    """Of version 5, by the names of the standard without spaces; None when there are none."""


def parse_publish(header: int, body: bytes, is_v5: bool) -> Message:
    """header: the packet's first byte; body: what comes behind its length.  Raises NotAPublish."""
    qos = (header >> 1) & 3
    if header >> 4 != 3 or qos == 3:
        raise NotAPublish(f"0x{header:02x} begins no PUBLISH")
    try:
        at = 2 + (body[0] << 8 | body[1])
        topic = body[2:at]
        mid = 0
        if qos:
            mid = body[at] << 8 | body[at + 1]
            at += 2
        properties = None
        if is_v5:
            length = body[at]
            if length:
                length, at = _variable(body, at)
                properties = _properties(body, at, at + length)
                at += length
            else:
                at += 1
    except (IndexError, UnicodeDecodeError) as error:
        raise NotAPublish(f"a PUBLISH of {len(body)} bytes: {error}") from None
    if at > len(body):
        raise NotAPublish(f"a PUBLISH of {len(body)} bytes ends early")
    if qos and not mid:
        raise NotAPublish("a PUBLISH with number 0")
    if not topic and not (properties and "TopicAlias" in properties):
        raise NotAPublish("a PUBLISH without topic")
    return Message(topic, body[at:], qos, mid, bool(header & 8), bool(header & 1), properties)


def _properties(body: bytes, at: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if end > len(body):
        raise IndexError("properties end early")
    while at < end:
        try:
            name, form = _PROPERTIES[body[at]]
        except KeyError:
            raise NotAPublish(f"a PUBLISH has no property {body[at]}") from None
        at += 1
        value: Any
        if form == _BYTE:
            value, at = body[at], at + 1
        elif form == _FOUR:
            value, at = int.from_bytes(body[at : at + 4], "big"), at + 4
        elif form == _VARIABLE:
            value, at = _variable(body, at)
        elif form == _PAIR:
            key, at = _binary(body, at)
            text, at = _binary(body, at)
            found.setdefault(name, []).append([key.decode(), text.decode()])
            continue
        elif form in (_BINARY, _TEXT):
            value, at = _binary(body, at)
            if form == _TEXT:
                value = value.decode()
        else:
            value, at = int.from_bytes(body[at : at + 2], "big"), at + 2
        if name == "SubscriptionIdentifier":
            # One for each of our subscriptions that fits.
            found.setdefault(name, []).append(value)
        elif name in found:
            raise NotAPublish(f"a PUBLISH with two of {name}")
        else:
            found[name] = value
    if at != end:
        raise IndexError("properties end within one")
    return found


def _binary(body: bytes, at: int) -> tuple[bytes, int]:
    begin = at + 2
    end = begin + (body[at] << 8 | body[at + 1])
    return body[begin:end], end


def _variable(body: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends) of a variable byte integer."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 21:
            raise IndexError("a length of more than four bytes")
