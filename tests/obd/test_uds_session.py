"""A UDS session recorded by others on a real car replays through ISO-TP into requests and answers."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from obd import services
from obd.can_frame import EXTENDED, CanFrame
from obd.errors import NegativeResponse
from obd.isotp import IsoTp, Received
from obd.isotp_address import normal_fixed
from obd.query import is_pending

LOG = Path(__file__).resolve().parents[3] / "shared" / "data" / "can" / "uds-session.log"
LINE = re.compile(r"\s*can0\s+(RX|TX) - -\s+([0-9A-F]{8})\s+\[(\d)\]\s+((?:[0-9A-F]{2} )*[0-9A-F]{2})")

# What the ECUs are said to be: part number and supplier's numbers, as text between other bytes.
PARTS = {0x28: b"71754853", 0x30: b"735526391", 0x40: b"51843970"}


def frames() -> Iterator[CanFrame]:
    if not LOG.exists():
        pytest.skip(f"{LOG.name} is not here: it lies beside the repository, in shared data")
    for line in LOG.read_text(errors="replace").splitlines():
        match = LINE.match(line)
        if match:
            yield CanFrame(int(match[2], 16), EXTENDED, bytes.fromhex(match[4]))


def replayed() -> list[tuple[str, int, bytes]]:
    """(direction, ECU, message) of the whole session, by listeners that transmit nothing."""
    listeners: dict[int, IsoTp] = {}
    told = []
    for number, frame in enumerate(frames()):
        target, source = frame.arbitration_id >> 8 & 0xFF, frame.arbitration_id & 0xFF
        assert frame.arbitration_id >> 16 == 0x18DA
        assert 0xF1 in (target, source)
        if target == source:
            # The scan asked all addresses, its own among them, with which nobody can hold a conversation.
            continue
        if frame.arbitration_id not in listeners:
            listeners[frame.arbitration_id] = IsoTp(normal_fixed(source, target), is_listening=True)
        listener = listeners[frame.arbitration_id]
        assert listener.address.accepts(frame)
        for action in listener.receive(frame, number * 1000):
            # A real session has no failures in it.
            assert isinstance(action, Received)
            told.append(
                ("answer", source, action.data) if target == 0xF1 else ("request", target, action.data)
            )
    return told


def test_every_request_and_answer_of_the_session_is_there() -> None:
    told = replayed()
    requests = [(ecu, data) for kind, ecu, data in told if kind == "request"]
    assert all(data == b"\x22\xf1\xa0" for _, data in requests)
    assert services.describe_request(requests[0][1]) == "22 F1A0 ReadDataByIdentifier"
    # All addresses were asked, one after the other.
    assert len({ecu for ecu, _ in requests}) > 200
    answers = [(ecu, data) for kind, ecu, data in told if kind == "answer"]
    assert [(ecu, data[:1].hex()) for ecu, data in answers] == [
        *((0x28, "50"), (0x28, "7f"), (0x28, "62")),
        *((0x30, "50"), (0x30, "62")),
        *((0x40, "50"), (0x40, "62")),
    ]


def test_the_answers_carry_these_values() -> None:
    values = {}
    for kind, ecu, data in replayed():
        if kind != "answer" or data[0] == 0x50:
            continue
        if is_pending(data):
            assert ecu == 0x28
            with pytest.raises(NegativeResponse, match="response pending"):
                services.payload(data, services.READ_DATA_BY_IDENTIFIER)
            continue
        identifier, value = services.parse_identifier(
            services.payload(data, services.READ_DATA_BY_IDENTIFIER)
        )
        assert identifier == 0xF1A0
        assert len(value) == 64
        values[ecu] = value
    assert sorted(values) == sorted(PARTS)
    for ecu, part in PARTS.items():
        assert values[ecu].startswith(part)
    assert b"0265801089" in values[0x28]
    assert b"2815879800" in values[0x30]
    assert b"ZFA31200000534824" in values[0x40]
    assert values[0x40][-5:] == bytes.fromhex("4083d689f7")


def test_the_session_parameters_are_those_of_iso_14229() -> None:
    """50 03, then P2 of 50 ms and P2* of 5 s in steps of 10 ms."""
    for kind, _, data in replayed():
        if kind == "answer" and data[0] == 0x50:
            assert data == bytes.fromhex("5003003201f4")
