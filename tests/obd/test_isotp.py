"""ISO-TP: frames as the standard writes them, and each fault's fate."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd import isotp, isotp_address
from obd.action import Action
from obd.can_frame import BITRATE_SWITCH, ERROR, EXTENDED, FD, FD_LENGTHS, REMOTE, CanFrame
from obd.errors import AddressError, MessageTooLong, NotReady
from obd.isotp import Failed, IsoTp, Received, Sent, Transmit, st_min_us
from tests import micropython
from tests.obd.isotp_addresses import ADDRESSES
from tests.obd.isotp_pair import Pair


def pair(kind: str = "normal", lost: set[int] | None = None, **b_options: int) -> Pair:
    here, there = ADDRESSES[kind]
    return Pair(IsoTp(here), IsoTp(there, **b_options), lost)  # type: ignore[arg-type]  # options by name


def said(actions: list[Action]) -> list[str]:
    """Actions as a test writes them down."""
    out = []
    for action in actions:
        if isinstance(action, Transmit):
            out.append(str(action.frame))
        elif isinstance(action, Received):
            out.append(f"received {action.data.hex()}")
        elif isinstance(action, Failed):
            out.append(f"{'sending' if action.is_sending else 'receiving'}: {action.result}")
        elif isinstance(action, Sent):
            out.append(f"sent {action.size}")
    return out


def frame(text: str) -> CanFrame:
    return CanFrame.parse(text)


# Frames as the standard writes them


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("normal", ["7E0#0201003333333333", "sent 2"]),
        ("normal fixed", ["18DA28F1#0201003333333333", "sent 2"]),
        ("extended", ["6F1#1202010033333333", "sent 2"]),
        ("mixed", ["18CE28F1#5502010033333333", "sent 2"]),
    ],
)
def test_a_short_message_is_one_frame(kind: str, expected: list[str]) -> None:
    assert said(IsoTp(ADDRESSES[kind][0], padding=0x33).send(b"\x01\x00", 0)) == expected


def test_without_padding_frames_are_as_short_as_they_can_be() -> None:
    assert said(IsoTp(ADDRESSES["normal"][0], padding=None).send(b"\x3e", 0)) == ["7E0#013E", "sent 1"]


def test_a_long_message_waits_for_flow_control_and_counts_modulo_16() -> None:
    bus = pair(block_size=8)
    bus.send(0, bytes(range(6 + 7 * 17)))
    assert bus.frames[0] == "7E0#107D000102030405"
    assert bus.frames[1] == "7E8#300800CCCCCCCCCC"
    assert bus.frames[2] == "7E0#21060708090A0B0C"
    assert [text[4] for text in bus.frames if text.startswith("7E0#2")] == ["2"] * 17
    assert [text[5] for text in bus.frames if text.startswith("7E0#2")] == list("123456789ABCDEF01")
    # After every eight frames the receiver speaks again, but not after the last.
    assert [index for index, text in enumerate(bus.frames) if text.startswith("7E8#30")] == [1, 10, 19]
    assert bus.received(1) == [bytes(range(125))]
    assert bus.results(0) == ["sent 125"]


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (7, "07"),  # a single frame with no escape, although the bus is FD
        (8, "0008"),
        (62, "003E"),
        (63, "103F"),
        (4095, "1FFF"),
        (4096, "100000001000"),
    ],
)
def test_lengths_on_can_fd(size: int, head: str) -> None:
    sender = IsoTp(ADDRESSES["normal"][0], tx_dl=64, is_fd=True, padding=None)
    (first, *_) = sender.send(bytes(size), 0)
    assert isinstance(first, Transmit)
    assert first.frame.data.hex().upper().startswith(head)
    assert first.frame.flags == FD | BITRATE_SWITCH
    assert len(first.frame.data) in FD_LENGTHS
    bus = Pair(
        IsoTp(ADDRESSES["normal"][0], tx_dl=64, is_fd=True),
        IsoTp(ADDRESSES["normal"][1], tx_dl=64, is_fd=True, size_max=5000),
    )
    bus.send(0, bytes(size))
    bus.run()
    assert bus.received(1) == [bytes(size)]


def test_an_fd_frame_is_filled_up_to_a_length_that_exists() -> None:
    sender = IsoTp(ADDRESSES["normal"][0], tx_dl=64, is_fd=True, padding=None)
    assert said(sender.send(b"\x11" * 11, 0)) == ["7E0##1000B" + "11" * 11 + "CCCCCC", "sent 11"]


@pytest.mark.parametrize(
    ("code", "pause_us"),
    [
        *((0, 0), (1, 1000), (0x7F, 127_000)),
        *((0x80, 127_000), (0xF0, 127_000), (0xF1, 100), (0xF9, 900), (0xFA, 127_000), (0xFF, 127_000)),
    ],
)
def test_the_pause_that_the_receiver_asks_for_is_kept(code: int, pause_us: int) -> None:
    assert st_min_us(code) == pause_us
    bus = pair(st_min_code=code)
    bus.send(0, bytes(6 + 3 * 7))
    bus.run()
    assert bus.received(1) == [bytes(27)]
    times = [at for at, text in zip(bus.frame_times_us, bus.frames, strict=True) if text.startswith("7E0#2")]
    assert [late - early for early, late in itertools.pairwise(times)] == [pause_us, pause_us]


def test_a_late_call_never_shortens_the_next_pause() -> None:
    sender = IsoTp(ADDRESSES["normal"][0])
    sender.send(bytes(30), 0)
    sender.receive(frame("7E8#30000A"), 0)
    assert sender.deadline_us == 10_000
    assert len(sender.tick(27_000)) == 1
    assert sender.deadline_us == 37_000
    assert sender.tick(36_999) == []


# Each fault has its fate


def test_no_flow_control_ends_in_n_bs() -> None:
    bus = pair(lost={0})
    bus.send(0, bytes(20))
    bus.run()
    assert bus.now_us == isotp.N_BS_US
    assert bus.results(0) == [isotp.N_TIMEOUT_BS]
    assert bus.received(1) == []
    bus.send(0, b"again")
    assert bus.received(1) == [b"again"]


def test_a_sender_that_falls_silent_ends_in_n_cr() -> None:
    bus = pair(lost={3, 4})
    bus.send(0, bytes(20))
    bus.run()
    assert bus.results(1) == [isotp.N_TIMEOUT_CR]
    assert bus.now_us == isotp.N_CR_US


def test_a_lost_frame_in_the_middle_is_a_wrong_number() -> None:
    bus = pair(lost={3})
    bus.send(0, bytes(40))
    bus.run()
    assert bus.results(1) == [isotp.N_WRONG_SN]
    assert bus.received(1) == []


def test_what_is_too_long_for_the_receiver_is_refused_with_overflow() -> None:
    bus = pair(size_max=100)
    bus.send(0, bytes(101))
    bus.run()
    assert bus.frames[1] == "7E8#320000CCCCCCCCCC"
    assert (bus.results(0), bus.results(1)) == ([isotp.N_BUFFER_OVFLW], [isotp.N_BUFFER_OVFLW])


def test_a_receiver_may_say_wait_and_then_go_on() -> None:
    bus = pair(block_size=2)
    bus.ends[1].is_paused = True
    bus.send(0, bytes(range(60)))
    for _ in range(3):
        bus.now_us += isotp.WAIT_EVERY_US
        bus.do(1, bus.ends[1].tick(bus.now_us))
    assert [text for text in bus.frames if text.startswith("7E8#3")] == ["7E8#310200CCCCCCCCCC"] * 4
    bus.do(1, bus.ends[1].resume(bus.now_us))
    bus.run()
    assert bus.received(1) == [bytes(range(60))]


def test_a_receiver_that_waits_for_ever_is_given_up_by_both() -> None:
    bus = pair()
    bus.ends[1].is_paused = True
    bus.send(0, bytes(60))
    bus.run()
    assert bus.results(1) == [isotp.N_WFT_OVRN]
    assert bus.results(0) == [isotp.N_TIMEOUT_BS]
    sender = IsoTp(ADDRESSES["normal"][0], wait_max=2)
    sender.send(bytes(60), 0)
    answers = [said(sender.receive(frame("7E8#310000"), 0)) for _ in range(3)]
    assert answers == [[], [], ["sending: N_WFT_OVRN"]]


def test_a_flow_status_that_means_nothing_ends_the_message() -> None:
    sender = IsoTp(ADDRESSES["normal"][0])
    sender.send(bytes(60), 0)
    assert said(sender.receive(frame("7E8#330000"), 0)) == ["sending: N_INVALID_FS"]


def test_a_new_message_replaces_one_that_was_not_complete() -> None:
    receiver = IsoTp(ADDRESSES["normal"][1], padding=None)
    assert said(receiver.receive(frame("7E0#1014000102030405"), 0)) == ["7E8#300000"]
    assert said(receiver.receive(frame("7E0#02AABB"), 0)) == ["receiving: N_UNEXP_PDU", "received aabb"]
    receiver.receive(frame("7E0#1014000102030405"), 0)
    assert said(receiver.receive(frame("7E0#1008111111111111"), 0)) == [
        "receiving: N_UNEXP_PDU",
        "7E8#300000",
    ]
    assert said(receiver.receive(frame("7E0#212222"), 0)) == ["received 1111111111112222"]


@pytest.mark.parametrize(
    "text",
    [
        "7E0#",  # nothing
        "7E0#00",  # a single frame of no bytes
        "7E0#08112233445566",  # a length that no classic frame has
        "7E0#0511",  # shorter than it says
        "7E0#2111",  # consecutive to nothing
        "7E0#300000",  # flow control for nobody
        "7E0#10",
        "7E0#1007112233445566",  # fits into a single frame
        "7E0#10141122",  # a first frame that is not full
        "7E0#1000000000FF1122",  # 32 bits for what 12 can say
        "7E0#4011",
        "7E0##102" + "11" * 11,  # an FD frame of 12 bytes without the escape
        "7E0##1003F" + "11" * 62,
    ],
)
def test_what_is_no_pdu_or_not_expected_is_ignored(text: str) -> None:
    receiver = IsoTp(ADDRESSES["normal"][1])
    assert receiver.receive(frame(text), 0) == []
    assert (receiver.rx_state, receiver.deadline_us) == (isotp.IDLE, None)


def test_flow_control_out_of_turn_is_ignored() -> None:
    sender = IsoTp(ADDRESSES["normal"][0])
    sender.send(bytes(30), 0)
    sender.receive(frame("7E8#30000A"), 0)
    assert sender.receive(frame("7E8#320000"), 5) == []
    assert said(sender.tick(10_000))[0].startswith("7E0#22")


def test_a_functional_message_is_one_frame_or_nothing() -> None:
    everybody = IsoTp(isotp_address.normal(0x7DF, 0x7E8, is_functional=True))
    assert said(everybody.send(b"\x01\x00", 0)) == ["7DF#020100CCCCCCCCCC", "sent 2"]
    with pytest.raises(MessageTooLong, match="8 bytes are not within 1 to 7"):
        everybody.send(bytes(8), 0)
    listener = IsoTp(isotp_address.normal(0x7E8, 0x7DF, is_functional=True))
    assert listener.receive(frame("7DF#1014112233445566"), 0) == []
    # With extended addressing, one address stands for everybody, and takes a byte.
    everybody = IsoTp(isotp_address.extended(0x6F1, 0x612, 0xEF, 0xF1, is_functional=True))
    assert said(everybody.send(b"\x01\x00", 0)) == ["6F1#EF020100CCCCCCCC", "sent 2"]
    with pytest.raises(MessageTooLong, match="7 bytes are not within 1 to 6"):
        everybody.send(bytes(7), 0)


def test_one_message_at_a_time_in_each_direction_but_both_at_once() -> None:
    bus = pair(st_min_code=1)
    bus.send(0, b"a" * 100)
    with pytest.raises(NotReady):
        bus.send(0, b"b")
    bus.send(1, b"c" * 90)
    bus.run()
    assert (bus.received(0), bus.received(1)) == ([b"c" * 90], [b"a" * 100])


def test_a_listener_takes_messages_and_says_nothing() -> None:
    listener = IsoTp(ADDRESSES["normal"][1], is_listening=True)
    assert listener.receive(frame("7E0#1008112233445566"), 0) == []
    assert said(listener.receive(frame("7E0#217788"), 0)) == ["received 1122334455667788"]


def test_addresses_that_cannot_be_are_refused() -> None:
    for wrong in (
        lambda: isotp_address.normal(0x800, 1),
        lambda: isotp_address.normal(1, 1),
        lambda: isotp_address.normal_fixed(256),
        lambda: isotp_address.extended(1, 2, 300, 0),
        lambda: IsoTp(ADDRESSES["normal"][0], tx_dl=64),
        lambda: IsoTp(ADDRESSES["normal"][0], block_size=256),
    ):
        with pytest.raises(AddressError):
            wrong()
    with pytest.raises(MessageTooLong):
        IsoTp(ADDRESSES["normal"][0]).send(b"", 0)


def test_frames_of_others_are_not_accepted() -> None:
    address = ADDRESSES["extended"][0]
    assert address.accepts(frame("612#F10100"))
    for text in ("613#F10100", "612#F20100", "612#", "00000612#F10100"):
        assert not address.accepts(frame(text))
    normal = ADDRESSES["normal"][0]
    assert not normal.accepts(CanFrame(0x7E8, REMOTE, b""))
    assert not normal.accepts(CanFrame(0x7E8, ERROR, bytes(8)))
    assert not normal.accepts(CanFrame(0x7E8, EXTENDED, bytes(8)))


# Properties


@given(
    kind=st.sampled_from(sorted(ADDRESSES)),
    size=st.integers(1, 600),
    tx_dl=st.sampled_from(FD_LENGTHS[8:]),
    block_size=st.integers(0, 20),
    st_min_code=st.integers(0, 255),
    padding=st.sampled_from([None, 0, 0xAA]),
)
@settings(deadline=None)
def test_what_is_sent_arrives(
    kind: str, size: int, tx_dl: int, block_size: int, st_min_code: int, padding: int | None
) -> None:
    here, there = ADDRESSES[kind]
    is_fd = tx_dl > 8
    message = bytes(index * 7 & 0xFF for index in range(size))
    bus = Pair(
        IsoTp(here, tx_dl=tx_dl, is_fd=is_fd, padding=padding),
        IsoTp(
            there, tx_dl=tx_dl, is_fd=is_fd, padding=padding, block_size=block_size, st_min_code=st_min_code
        ),
    )
    bus.send(0, message)
    bus.run()
    assert bus.received(1) == [message]
    assert bus.results(0) == [f"sent {size}"]


@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    block_size=st.integers(0, 5),
    lost=st.sets(st.integers(0, 60), max_size=4),
)
@settings(deadline=None)
def test_with_frames_lost_a_message_arrives_whole_or_not_at_all(
    sizes: list[int], block_size: int, lost: set[int]
) -> None:
    bus = pair(lost=lost, block_size=block_size)
    messages = [bytes((number,)) * size for number, size in enumerate(sizes)]
    for message in messages:
        bus.send(0, message)
        bus.run()
    arrived = bus.received(1)
    assert arrived == [message for message in messages if message in arrived]
    assert len(bus.results(0)) == len(messages)
    if not any(number < len(bus.frames) for number in lost):
        assert arrived == messages


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FD_LENGTHS), st.binary(min_size=64, max_size=64), st.integers(0, 2_000_000)
        ),
        max_size=40,
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_any_frames_at_all_do_no_harm(frames: list[tuple[int, bytes, int]], is_sending: bool) -> None:
    end = IsoTp(ADDRESSES["normal"][0], size_max=5000, block_size=3)
    now_us = 0
    if is_sending:
        end.send(bytes(1000), 0)
    for size, data, pause_us in frames:
        now_us += pause_us
        actions = end.tick(now_us)
        actions += end.receive(CanFrame(0x7E8, FD if size > 8 else 0, data[:size]), now_us)
        for action in actions:
            if isinstance(action, Transmit):
                CanFrame.checked(*action.frame)
            elif isinstance(action, Received):
                assert 1 <= len(action.data) <= 5000
    # Whatever came before, silence and one good message are enough.
    for _ in range(200):
        if end.deadline_us is None:
            break
        now_us = max(now_us, end.deadline_us)
        end.tick(now_us)
    assert end.deadline_us is None
    assert said(end.receive(frame("7E8#0155"), now_us)) == ["received 55"]


# The same on a device


def test_the_same_frames_come_out_of_micropython() -> None:
    code = (
        "from obd import isotp, isotp_address\nfrom tests.obd.isotp_pair import Pair\n"
        "for kind in (isotp_address.normal_fixed(0x28), isotp_address.normal_fixed(0xF1, 0x28)),"
        " (isotp_address.mixed_fixed(40, 241, 5), isotp_address.mixed_fixed(241, 40, 5)):\n"
        "    for lost in (set(), {3}, {1}):\n"
        "        other = isotp.IsoTp(kind[1], block_size=4, st_min_code=245)\n"
        "        bus = Pair(isotp.IsoTp(kind[0]), other, lost)\n"
        "        bus.send(0, bytes(range(90)))\n        bus.run()\n"
        "        print(bus.frames, bus.received(1), bus.results(0), bus.results(1), bus.now_us)\n"
    )
    here: list[str] = []
    exec(code.replace("print(", "out("), {"out": lambda *values: here.append(" ".join(map(str, values)))})  # noqa: S102 - our own code, run on both
    assert micropython.run(code).splitlines() == here
    assert len(here) == 6
