"""PUBLISH packets, held against the standard's bytes and against paho's reading of any others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt._packet import decode_publish
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket

from gateway.sensors.mqtt_message import Message, NotAPublish, parse_publish

BODY_311 = bytes.fromhex("0003612f62000a") + b"hi"
BODY_5 = bytes.fromhex("0003612f62000a00") + b"hi"


def test_the_standards_example_packets() -> None:
    # Topic a/b, number 10.  Source: MQTT 3.1.1, figure 3.11.
    assert parse_publish(0x32, BODY_311, False) == Message(b"a/b", b"hi", 1, 10, False, False, None)
    assert parse_publish(0x3B, BODY_5, True) == Message(b"a/b", b"hi", 1, 10, True, True, None)
    assert parse_publish(0x30, b"\x00\x01ax", False) == Message(b"a", b"x", 0, 0, False, False, None)


def test_every_property_of_a_publish() -> None:
    properties = bytes.fromhex(
        "0101" "0200000e10" "030003612f62" "080003722f74" "09000201ff" "0bff7f" "0b05" "230007"
        "26000161000162" "26000161000163"
    )  # fmt: skip
    body = b"\x00\x01a\x00\x01" + bytes((len(properties),)) + properties + b"p"
    message = parse_publish(0x32, body, True)
    assert message.properties == {
        "PayloadFormatIndicator": 1,
        "MessageExpiryInterval": 3600,
        "ContentType": "a/b",
        "ResponseTopic": "r/t",
        "CorrelationData": b"\x01\xff",
        "SubscriptionIdentifier": [16_383, 5],
        "TopicAlias": 7,
        "UserProperty": [["a", "b"], ["a", "c"]],
    }
    assert (message.payload, message.mid) == (b"p", 1)


@pytest.mark.parametrize(
    ("header", "body", "is_v5"),
    [
        (0x36, BODY_311, False),
        (0x22, BODY_311, False),
        (0x32, b"", False),
        (0x32, b"\x00", False),
        (0x32, b"\x00\x05a/b\x00\x0a", False),
        (0x32, b"\x00\x01a\x00\x00x", False),
        (0x32, b"\x00\x00\x00\x01x", False),
        (0x32, b"\x00\x01a\x00\x01", True),
        (0x32, b"\x00\x01a\x00\x01\x05\x01\x01", True),
        (0x32, b"\x00\x01a\x00\x01\x02\x11\x00", True),
        (0x32, b"\x00\x01a\x00\x01\x04\x01\x01\x01\x00", True),
        (0x32, b"\x00\x01a\x00\x01\x80\x80\x80\x80\x01", True),
        (0x32, b"\x00\x01a\x00\x01\x04\x03\x00\x01\xff", True),
    ],
)
def test_what_is_no_publish_is_refused(header: int, body: bytes, is_v5: bool) -> None:
    with pytest.raises(NotAPublish):
        parse_publish(header, body, is_v5)


@given(st.integers(0x30, 0x3F), st.binary(max_size=60), st.booleans())
@settings(deadline=None, max_examples=500)
def test_whatever_comes_is_read_as_paho_reads_it_or_refused(header: int, body: bytes, is_v5: bool) -> None:
    try:
        ours = parse_publish(header, body, is_v5)
    except NotAPublish:
        return
    version = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
    try:
        theirs = decode_publish(header, body, version)
    except MalformedPacket:
        # It refuses an alias without a topic in 3.1.1 only, and some that are text for us and not for it.
        assert is_v5
        return
    assert (ours.topic, ours.payload, ours.qos, ours.mid) == (
        theirs.topic,
        bytes(theirs.payload),
        theirs.qos,
        theirs.mid,
    )
    assert (ours.is_duplicate, ours.is_retained) == (theirs.dup, theirs.retain)
