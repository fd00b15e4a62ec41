"""The short way to an ordinary answer: what it takes, and that all else goes the long way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.elm327 import ENCODED_MAX, Shortcut
from obd.query import Answer, Done, query
from tests import micropython
from tests.obd.stories import FOUND, START, Player

SPEED = query(b"\x01\x0c", None, 1, 0)
PLAIN = b"7E804410C1AF8AAAAAA\r\r>"


def learnt(data: bytes = PLAIN, found: str = FOUND, request: bytes = SPEED.data) -> tuple[Player, Shortcut]:
    """A client that has had this answer, and the way that it takes next time."""
    player = Player()
    player.play(found)
    wanted = query(request, None, 1, 0)
    player.do(player.elm.ask(wanted, 0))
    player.do(player.elm.receive(data, 0))
    return player, player.elm.shortcuts[wanted]


def test_the_next_answer_of_the_same_form_is_read_in_one_step() -> None:
    _, shortcut = learnt()
    assert shortcut.command == b"010C\r"
    assert shortcut.answer(PLAIN) == Answer(0x7E8, b"\x41\x0c\x1a\xf8")
    assert shortcut.answer(b"7E804410C0000555555\r\r>") == Answer(0x7E8, b"\x41\x0c\x00\x00")
    assert type(shortcut.answer(PLAIN)) is Answer


def test_so_are_ids_of_29_bits_and_other_services_and_several_pids() -> None:
    wide = FOUND.replace("7E8064100", "18DAF110064100").replace("A6", "A7")
    _, shortcut = learnt(b"18DAF11004410C1AF8\r\r>", wide)
    assert shortcut.answer(b"18DAF11004410C1AF9\r\r>") == Answer(0x18DAF110, b"\x41\x0c\x1a\xf9")
    assert shortcut.answer(b"18DAF11804410C1AF9\r\r>") is None
    _, shortcut = learnt(b"7E80562F1904142\r\r>", request=b"\x22\xf1\x90")
    assert shortcut.answer(b"7E80562F1904344\r\r>") == Answer(0x7E8, b"\x62\xf1\x90CD")
    assert shortcut.answer(b"7E80562F1914344\r\r>") is None
    _, shortcut = learnt(b"7E806410C1AF80D32\r\r>", request=b"\x01\x0c\x0d")
    assert shortcut.answer(b"7E806410C00000D00\r\r>") == Answer(0x7E8, bytes.fromhex("410c00000d00"))
    _, shortcut = learnt(b"7E8024300\r\r>", request=b"\x03")
    assert shortcut.answer(b"7E8024301\r\r>") == Answer(0x7E8, b"\x43\x01")


@pytest.mark.parametrize(
    ("data", "long_way"),
    [
        (b"", None),
        (b"7E8", None),
        (PLAIN[:-1], None),
        (b"7E904410C1AF8AAAAAA\r\r>", "7E9:410C1AF8"),  # another ECU
        (b"7E804410D1AF8AAAAAA\r\r>", "damaged: 7E804410D1AF8AAAAAA"),  # another PID
        (b"7E8037F01220000000A\r\r>", "7E8:7F0122"),
        (b"7E8037F01780000000A\r\r>", "pending"),
        (b"7E803410C1AAAAAAAAA\r\r>", "7E8:410C1A"),  # shorter than the last
        (b"7E804410C1AG8AAAAAA\r\r>", "damaged: 7E804410C1AG8AAAAAA"),
        (b"7E804410C1A 8AAAAAA\r\r>", "damaged: 7E804410C1A8AAAAAA"),
        (b"7E804410C1A\r8AAAAAA\r>", "damaged: 7E804410C1A"),
        (b"7E804410C\r\rAAAAAA\r\r>", "damaged: 7E804410C"),
        (b"7E804410C1AF8\r7E904410C0000\r\r>", "7E8:410C1AF8 7E9:410C0000"),
        (b"\r7E804410C1AF8AAAAA\r\r>", "damaged: 7E804410C1AF8AAAAA"),
        (b"NO DATA\r\r>", "no data: NODATA"),
        (b"7E804410C1AF8AAAAAA\r\r>>", "7E8:410C1AF8"),
    ],
)
def test_all_else_goes_the_long_way(data: bytes, long_way: str | None) -> None:
    player, shortcut = learnt()
    assert shortcut.answer(data) is None
    player.do(player.elm.ask(SPEED, 0))
    player.trace.clear()
    player.do(player.elm.receive(data, 0))
    assert player.trace == ([] if long_way is None else [f"= {long_way}"])


def test_what_would_change_the_form_of_answers_ends_the_short_way() -> None:
    for story in (
        "ask 010D\n< 41 0D 32\\r\\r>",  # another shape
        "ask 010D\n< UNABLE TO CONNECT\\r\\r>",
        "ask 010D\n< ELM327 v1.5\\r\\r>",
        "ask 010D\nwait 2000",
    ):
        player, _ = learnt()
        player.play(story)
        assert player.elm.shortcuts == {}, story
    player, _ = learnt()
    from obd.query import Target

    player.do(player.elm.ask(query(b"\x01\x0c", Target(0x7E0, 0x7E8)), 0))
    assert player.elm.shortcuts == {}


def test_answers_that_are_not_plain_teach_none() -> None:
    for found, data in (
        (FOUND, b"7E8 04 41 0C 1A F8 \r\r>"),
        (FOUND, b"7E804410C1AF8\r7E904410C1AF8\r\r>"),
        (FOUND, b"\r7E804410C1AF8\r\r>"),
        (FOUND, b"7E8037F0122\r\r>"),
        (START, b"7E804410C1AF8\r\r>"),
        (FOUND, b"7E8_4410C1AF8\r\r>"),
        (FOUND, b"7_804410C1AF8\r\r>"),
        (FOUND, b"7E800\r\r>"),
        (FOUND, b"7E8\r\r>"),
    ):
        player = Player()
        player.play(found)
        player.do(player.elm.ask(SPEED, 0))
        player.do(player.elm.receive(data, 0))
        assert player.elm.shortcuts == {}, data


def test_no_more_of_them_are_kept_than_a_device_has_room_for() -> None:
    player, _ = learnt()
    for pid in range(0x20, 0x20 + ENCODED_MAX + 5):
        player.do(player.elm.ask(query(bytes((1, pid))), 0))
        player.do(player.elm.receive(b"7E80341%02X00\r\r>" % pid, 0))
    assert len(player.elm.shortcuts) == 6


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 127)), max_size=4),
    )
)
@settings(deadline=None)
def test_whatever_comes_the_short_way_says_what_the_long_way_says_or_nothing(
    change: bytes | list[tuple[int, int]],
) -> None:
    if isinstance(change, bytes):
        data = change
    else:
        damaged = bytearray(PLAIN)
        for place, byte in change:
            damaged[place] = byte
        data = bytes(damaged)
    player, shortcut = learnt()
    answer = shortcut.answer(data)
    if answer is not None:
        player.elm.ask(SPEED, 0)
        (done,) = player.elm.receive(data, 0)
        assert isinstance(done, Done)
        assert done.outcome.answers == [answer]
        assert done.outcome.problem == ""


def test_the_same_under_micropython() -> None:
    code = f"""
from obd.elm327 import Shortcut
from obd.query import Answer
short = Shortcut(b"010C\\r", Answer(0x7E8, b"\\x41\\x0c\\x1a\\xf8"), {PLAIN[:-3]!r}, b"\\r\\r>", 1)
for data in ({PLAIN!r}, b"7E804410C1A  AAAAAA\\r\\r>", b"7E804410C1AG8AAAAAA\\r\\r>", b""):
    print(short.answer(data))
from obd.elm327 import Elm327, Ready
from obd.query import query
elm = Elm327()
elm.start(0)
for said in ("OK", "ELM327 v1.5", "OK", "OK", "OK", "OK", "OK", "OK", "ELM327 v1.5", "12.6V"):
    actions = elm.receive(said.encode() + b"\\r\\r>", 0)
elm.ask(query(b"\\x01\\x00"), 0)
elm.receive(b"7E8064100BE3FA813\\r\\r>", 0)
elm.receive(b"A6\\r\\r>", 0)
for data in ({PLAIN!r}, b"7E804410C1A  AAAAAA\\r\\r>"):
    elm.ask(query(b"\\x01\\x0c"), 0)
    print(elm.receive(data, 0), len(elm.shortcuts))
    elm.shortcuts.clear()
"""
    here: list[str] = []
    exec(code.replace("print(", "out("), {"out": lambda *values: here.append(" ".join(map(str, values)))})  # noqa: S102 - our own code, run on both
    assert micropython.run(code).splitlines() == here
    assert here[1:4] == ["None"] * 3
    assert here[4].endswith(" 1")
    assert here[5].endswith(" 0")
