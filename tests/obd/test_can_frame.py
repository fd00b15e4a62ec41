"""CAN frames: their text and wire forms, their rules, and the same on both interpreters."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.can_frame import (
    BITRATE_SWITCH,
    DLC_SHIFT,
    ERROR,
    ERROR_STATE,
    EXTENDED,
    FD,
    FD_LENGTHS,
    REMOTE,
    TX,
    CanFrame,
    fault,
)
from obd.errors import FrameError, ObdError
from tests import micropython

GOLDEN = [
    # text, id, flags, data, wire
    ("123#DEADBEEF", 0x123, 0, "deadbeef", "000001230000deadbeef"),
    ("000#", 0, 0, "", "000000000000"),
    ("18DAF110#0210A5", 0x18DAF110, EXTENDED, "0210a5", "18daf11000010210a5"),
    ("7FF#R", 0x7FF, REMOTE, "", "000007ff0002"),
    ("7FF#R5", 0x7FF, REMOTE | 5 << DLC_SHIFT, "", "000007ff0502"),
    ("7FF#R8_C", 0x7FF, REMOTE | 12 << DLC_SHIFT, "", "000007ff0c02"),
    ("123#0011223344556677_B", 0x123, 11 << DLC_SHIFT, "0011223344556677", "000001230b000011223344556677"),
    ("20000004#0001000000000000", 4, ERROR, "0001000000000000", "0000000400040001000000000000"),
    (
        "1ABCDEF0##3" + "11" * 12,
        0x1ABCDEF0,
        EXTENDED | FD | BITRATE_SWITCH | ERROR_STATE,
        "11" * 12,
        "1abcdef00039" + "11" * 12,
    ),
]


@pytest.mark.parametrize(("text", "arbitration_id", "flags", "data", "wire"), GOLDEN)
def test_text_and_wire_forms_are_the_golden_ones(
    text: str, arbitration_id: int, flags: int, data: str, wire: str
) -> None:
    frame = CanFrame.checked(arbitration_id, flags, bytes.fromhex(data))
    assert CanFrame.parse(text) == frame
    assert frame.pack().hex() == wire
    assert CanFrame.unpack(bytes.fromhex(wire)) == frame
    assert str(frame) == (text + "0" if text.endswith("R") else text)


def test_the_same_forms_come_out_of_micropython() -> None:
    code = "from obd.can_frame import CanFrame\nfrom obd.errors import FrameError\n"
    for text, *_ in GOLDEN:
        code += (
            f"f = CanFrame.parse({text!r})\nprint(f, f.pack().hex(), f.dlc, CanFrame.unpack(f.pack()) == f)\n"
        )
    code += "try:\n    CanFrame.checked(0x800, 0, b'')\nexcept FrameError as e:\n    print(e)\n"
    lines = micropython.run(code).splitlines()
    for line, (text, _, _, _, wire) in zip(lines, GOLDEN, strict=False):
        frame = CanFrame.parse(text)
        assert line == f"{frame} {wire} {frame.dlc} True"
    assert lines[len(GOLDEN) :] == ["id 0x800 is not within 0 to 0x7ff"]


@pytest.mark.parametrize(
    ("arbitration_id", "flags", "data", "reason"),
    [
        (0x800, FD, b"", "id 0x800 is not within 0 to 0x7ff"),
        (0x800, 0, b"", "id 0x800 is not within 0 to 0x7ff"),
        (0x20000000, EXTENDED, b"", "id 0x20000000 is not within"),
        (-1, 0, b"", "id -0x1 is not within"),
        (1, 128, b"", "flags 0x80 have bits that mean nothing"),
        (1, -1, b"", "have bits that mean nothing"),
        (1, 0, bytes(9), "9 bytes are more than the 8"),
        (1, FD, bytes(9), "9 bytes is no CAN FD length"),
        (1, FD | REMOTE, b"", "CAN FD has no remote frames"),
        (1, FD | 9 << DLC_SHIFT, bytes(12), "follows from its data"),
        (1, BITRATE_SWITCH, b"", "exist in CAN FD frames only"),
        (1, REMOTE, b"1", "a remote frame carries no data, got 1 bytes"),
        (1, ERROR | EXTENDED, b"", "an error frame cannot also be"),
        (1, 9 << DLC_SHIFT, bytes(7), "a DLC of 9 beside 7 bytes"),
        (1, 8 << DLC_SHIFT, bytes(8), "a DLC of 8 beside 8 bytes"),
        (True, 0, b"", "must be int"),
        (1, 0, "00", "data must be bytes"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_the_rule_is_named(
    arbitration_id: int, flags: int, data: bytes, reason: str
) -> None:
    with pytest.raises(FrameError, match=reason):
        CanFrame.checked(arbitration_id, flags, data)
    assert issubclass(FrameError, ObdError)


@pytest.mark.parametrize(
    "text",
    [
        *("", "123", "#11", "12#11", "1234#11", "xyz#11", "1 3#00"),
        *("123#1", "123#zz", "123##", "123##x11", "123#R10", "123#11_9", "123#00_"),
        *("FFF#11", "C0000000#11", "E0000004#00", "123#112233445566778899", "123##0000000000000000000"),
    ],
)
def test_text_that_is_no_frame_is_refused(text: str) -> None:
    with pytest.raises(FrameError):
        CanFrame.parse(text)


def test_dots_between_bytes_are_allowed_as_cansend_takes_them() -> None:
    assert CanFrame.parse("123#11.22.33") == CanFrame(0x123, 0, b"\x11\x22\x33")


def test_a_frame_is_a_tuple_of_three_and_says_its_kind() -> None:
    arbitration_id, flags, data = CanFrame(0x7E8, TX, b"\x02")
    assert (arbitration_id, flags, data) == (0x7E8, TX, b"\x02")
    assert CanFrame.KIND == "can"
    assert not CanFrame(0x7E8, TX, b"").is_extended
    assert CanFrame(0x7E8, EXTENDED, b"").is_extended


@pytest.mark.parametrize(("dlc", "size"), list(enumerate(FD_LENGTHS)))
def test_the_dlc_of_an_fd_frame_follows_from_its_length(dlc: int, size: int) -> None:
    assert CanFrame(1, FD, bytes(size)).dlc == dlc


@st.composite
def frames(draw: st.DrawFn) -> CanFrame:
    """Any frame that breaks no rule, and whose direction its text keeps."""
    kind = draw(st.sampled_from(["classic", "fd", "remote", "error", "raw dlc"]))
    extended = draw(st.sampled_from([0, EXTENDED])) if kind != "error" else 0
    id_max = 0x1FFFFFFF if extended or kind == "error" else 0x7FF
    arbitration_id = draw(st.integers(0, id_max))
    if kind == "fd":
        bits = draw(st.sampled_from([0, BITRATE_SWITCH, ERROR_STATE, BITRATE_SWITCH | ERROR_STATE]))
        size = draw(st.sampled_from(FD_LENGTHS))
        return CanFrame(arbitration_id, extended | FD | bits, draw(st.binary(min_size=size, max_size=size)))
    if kind == "remote":
        return CanFrame(arbitration_id, extended | REMOTE | draw(st.integers(0, 15)) << DLC_SHIFT, b"")
    if kind == "raw dlc":
        data = draw(st.binary(min_size=8, max_size=8))
        return CanFrame(arbitration_id, extended | draw(st.integers(9, 15)) << DLC_SHIFT, data)
    return CanFrame(arbitration_id, extended | (ERROR if kind == "error" else 0), draw(st.binary(max_size=8)))


@given(frames())
@settings(deadline=None)
def test_every_frame_survives_its_text_and_its_wire_form(frame: CanFrame) -> None:
    assert fault(*frame) is None
    assert CanFrame.parse(str(frame)) == frame
    assert CanFrame.unpack(frame.pack()) == frame


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_bytes_are_a_frame_or_a_frame_error(wire: bytes) -> None:
    try:
        frame = CanFrame.unpack(wire)
    except FrameError:
        return
    assert frame.pack() == wire


@given(st.one_of(st.text(max_size=40), st.text("0123456789ABCDEFabcdefR#_. ", max_size=40)))
@settings(deadline=None)
def test_text_is_a_frame_or_a_frame_error(text: str) -> None:
    try:
        frame = CanFrame.parse(text)
    except FrameError:
        return
    assert CanFrame.parse(str(frame)) == frame
