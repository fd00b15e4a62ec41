"""Messages as they leave, byte for byte, and that nothing of a record is lost in them."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.block import Samples
from gateway.sensors.can_simulated import DBC_PATH
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.source import Gap
from gateway.uplink_format import BadTopic, StreamFormat, birth, death, to_json, topic
from obd.can_frame import CanFrame
from puf import cbor
from tests.gateway import telemetry
from tests.gateway.telemetry import NOON_NS, items

ID = bytes(range(32))
SAMPLES = Samples(
    4,
    100,
    [NOON_NS, NOON_NS + 1_000],
    [CanFrame(0x123, 0, b"\x01\x02"), CanFrame(0x18DAF110, 1, b"")],
    [(1, Gap("the bus was down", 0, NOON_NS, NOON_NS + 500))],
)


def stream(encoding: str = "json", kind: str = "can", decoder: DbcDecoder | None = None) -> StreamFormat:
    return StreamFormat("g1", "can0", kind, ID, "cpc/g1/can0", encoding, decoder)


def test_a_message_in_json_is_this() -> None:
    assert stream().payload(SAMPLES).decode() == (
        '{"v":1,"key":"0001020304050607/4/100-102","gateway":"g1","stream":"can0","kind":"can","boot":4,'
        '"seq":100,"records":[[1700000000000000000,[291,0,"0102"]],'
        '[1700000000000000000,null,{"reason":"the bus was down","count":0,'
        '"from_ns":1700000000000000000,"to_ns":1700000000000000500}],'
        '[1700000000000001000,[417001744,1,""]]]}'
    )


def test_a_message_in_cbor_is_this() -> None:
    assert stream("cbor").payload(SAMPLES).hex() == (
        "a8617601636b6579781a303030313032303330343035303630372f342f3130302d31303263736571186464626f6f7404"
        "646b696e646363616e6673747265616d6463616e306767617465776179626731677265636f72647383821b17979cfe36"
        "2a00008319012300420102831b17979cfe362a0000f6a465636f756e740065746f5f6e731b17979cfe362a01f4667265"
        "61736f6e70746865206275732077617320646f776e6766726f6d5f6e731b17979cfe362a0000821b17979cfe362a03e8"
        "831a18daf1100140"
    )


def test_a_decoded_frame_is_its_signals_and_an_unknown_one_stays_raw() -> None:
    decoder = DbcDecoder.load([DBC_PATH])
    frame = next(
        frame for frame in (CanFrame(number, 0, bytes(8)) for number in range(0x800)) if decoder.name(frame)
    )
    samples = Samples(1, 0, [1, 2], [frame, CanFrame(0x7FF, 0, b"\x01")])
    first, second = json.loads(stream(decoder=decoder).payload(samples))["records"]
    assert first == [
        1,
        {"id": frame.arbitration_id, "message": decoder.name(frame), "signals": decoder.decode(frame)},
    ]
    assert second == [2, [0x7FF, 0, "01"]]


def test_birth_and_death_of_a_connection_are_these() -> None:
    assert birth("g1", "did:key:z6Mk", 7, 5, [("can0", "can", ID)]).decode() == (
        '{"v":1,"state":"birth","gateway":"g1","did":"did:key:z6Mk","session":7,"now_ns":5,'
        f'"streams":[{{"stream":"can0","kind":"can","stream_id":"{ID.hex()}"}}]}}'
    )
    assert death("g1", "did:key:z6Mk", 7).decode() == (
        '{"v":1,"state":"death","gateway":"g1","did":"did:key:z6Mk","session":7}'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x00\xff", '{"base64":"AP8="}'),
        ({"a": b"x", "b": "\u00e9"}, '{"a":{"base64":"eA=="},"b":"\u00e9"}'),
        (float("nan"), '{"float":"nan"}'),
        ([float("inf"), 1.5], '[{"float":"inf"},1.5]'),
        ({1: 2, b"\xab": 3}, '{"1":2,"ab":3}'),
        (1 << 70, str(1 << 70)),
        (cbor.Tag(5, [1]), '{"cbor":"' + base64.b64encode(cbor.encode(cbor.Tag(5, [1]))).decode() + '"}'),
        (cbor.UNDEFINED, '{"cbor":"9w=="}'),
        ([True, None, "x"], '[true,null,"x"]'),
    ],
)
def test_what_json_has_not_is_said_in_what_it_has(value: Any, text: str) -> None:
    assert to_json(value).decode() == text


@given(telemetry.samples("reading"), st.integers(1, 5), st.sampled_from([300, 100_000]))
@settings(deadline=None, max_examples=60)
def test_every_record_is_in_one_message_at_its_number(
    samples: Samples, records_max: int, size_max: int
) -> None:
    found: list[Any] = []
    seq = samples.first_seq
    for message in stream("cbor", "reading").messages(samples, records_max, size_max):
        content: Any = cbor.decode(message.payload, size_max=1 << 20, depth_max=40)
        assert (message.first_seq, message.end_seq) == (seq, seq + len(content["records"]))
        assert content["key"].endswith(f"/{samples.boot}/{seq}-{message.end_seq - 1}")
        assert len(content["records"]) <= records_max
        assert len(message.payload) <= size_max or len(content["records"]) == 1
        seq = message.end_seq
        for taken_ns, value, *gap in content["records"]:
            found.append((taken_ns, Gap(**gap[0]) if gap else value))
    assert found == list(items(samples))


def test_a_topic_is_filled_in_or_refused() -> None:
    fields = {"gateway": "g1", "stream": "can0", "kind": "can"}
    assert topic("site/{gateway}/{stream}/{kind}", **fields) == "site/g1/can0/can"
    for template, why in (
        ("{what}", "{what} is not known"),
        ("a/+/b", "none of"),
        ("a/#", "none of"),
        ("a{", "none of"),
        ("", "1 to 1024 bytes"),
        ("x" * 1_025, "1 to 1024 bytes"),
        ("$SYS/a", "the broker's own"),
    ):
        with pytest.raises(BadTopic) as caught:
            topic(template, **fields)
        assert why in str(caught.value)
