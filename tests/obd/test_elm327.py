"""Adapters as they are: each vice is a story with the trace it must leave."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.ecu import SimulatedCar
from obd.ecu_adapter import QUIRKS, SimulatedAdapter
from obd.elm327 import BUFFER_MAX, Down, Elm327, Ready, Write
from obd.errors import NotReady
from obd.query import NO_CAR, NO_DATA, Answer, Done, Outcome, Query, Target, query
from tests import micropython
from tests.obd.stories import FOUND, START, Player, lines_of

STORIES = {
    "all is well": FOUND
    + """
        ask 010C x1
        > 010C1
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
        ask 010D x1
        > 010D1
        < 7E803410D32\\r\\r>
        = 7E8:410D32
    """,
    "half lines, and halves of halves": FOUND
    + """
        ask 010C
        > 010C
        < 7E
        < 804410C1
        < AF8\\r
        < \\r
        < >
        = 7E8:410C1AF8
    """,
    "searching goes on for seconds, on one line with the answer": START
    + """
        ask 0100
        > 0100
        < SEARCHING
        wait 3000
        < ...
        wait 6000
        < 7E8064100BE3FA813\\r\\r>
        > ATDPN
        < A6\\r\\r>
        = 7E8:4100BE3FA813
    """,
    "no data": FOUND
    + """
        ask 0146
        > 0146
        < NO DATA\\r\\r>
        = no data: NODATA
    """,
    "buffer full: what came before it is told, and that it is not all": FOUND
    + """
        ask 0902
        > 0902
        < 7E8064100BE3FA813\\r7E8101449020131443447\\rBUFFER FULL\\r\\r>
        = adapter overrun: BUFFERFULL
    """,
    "stopped: asked once more": FOUND
    + """
        ask 010C
        > 010C
        < STOPPED\\r\\r>
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "stopped again: told": FOUND
    + """
        ask 010C
        > 010C
        < STOPPED\\r\\r>
        > 010C
        < STOPPED\\r\\r>
        = interrupted: STOPPED
    """,
    "can error": FOUND
    + """
        ask 010C
        > 010C
        < CAN ERROR\\r\\r>
        = bus fault: CANERROR
    """,
    "bus busy, and an error behind data": FOUND
    + """
        ask 010C
        > 010C
        < BUS BUSY\\r\\r>
        = bus fault: BUSBUSY
        ask 010C
        > 010C
        < 7E804410C1AF8<DATA ERROR\\r\\r>
        = damaged: 7E804410C1AF8<DATAERROR
        ask 010C
        > 010C
        < 7E804410C1AF8<RX ERROR\\r7E904410C1AF8\\r\\r>
        = 7E9:410C1AF8
    """,
    "bus init fails on an old car": START
    + """
        ask 0100
        > 0100
        < BUS INIT: ...ERROR\\r\\r>
        = no car: BUS INIT: ERROR
    """,
    "bus init works on an old car": START
    + """
        ask 0100
        > 0100
        < BUS INIT: ...OK\\r486B104100BE3EB811FA\\r\\r>
        > ATDPN
        < A3\\r\\r>
        = 10:4100BE3EB811
    """,
    "engine off, then on, and the protocol is looked for anew": FOUND
    + """
        ask 010C
        > 010C
        < UNABLE TO CONNECT\\r\\r>
        = no car: UNABLETOCONNECT
        ask 0100
        > 0100
        < SEARCHING...\\rUNABLE TO CONNECT\\r\\r>
        = no car: UNABLETOCONNECT
        ask 0100
        > 0100
        < SEARCHING...\\r18DAF110064100BE3FA813\\r\\r>
        > ATDPN
        < A7\\r\\r>
        = 18DAF110:4100BE3FA813
    """,
    "the echo cannot be switched off": FOUND
    + """
        ask 010C
        > 010C
        < 010C\\r7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
        ask 010C x1
        > 010C1
        < 010C1\\r\\n7E804410C1AF8\\r\\n\\r\\n>
        = 7E8:410C1AF8
        ask 010C
        > 010C
        < 010C7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "spaces, line feeds and NUL bytes": FOUND
    + """
        ask 010C
        > 010C
        < 7E8 04 41 0C 1A F8 \\r\\n\\r\\n>
        = 7E8:410C1AF8
        ask 010C
        > 010C
        < \\x007E8\\x00 04 4\\x001 0C 1A F8\\r\\x00\\r>
        = 7E8:410C1AF8
    """,
    "a byte turns into nonsense": FOUND
    + """
        ask 010C
        > 010C
        < 7E8\\xe94410C1AF8\\r\\r>
        = damaged: 7E8~4410C1AF8
    """,
    "no prompt, yet the answer is whole: used, and the adapter is brought into step": FOUND
    + """
        ask 010C
        > 010C
        < 7E804410C1AF8\\r\\r
        wait 2000
        > ATE0
        < STOPPED\\r\\r>
        < OK\\r\\r>
        = 7E8:410C1AF8
    """,
    "no prompt after half a line: nothing is made of it": FOUND
    + """
        ask 010C
        > 010C
        < 7E804410C1A
        wait 2000
        > ATE0
        < OK\\r\\r>
        = interrupted: the adapter gave no prompt in time
    """,
    "silence for good": FOUND
    + """
        ask 010C
        > 010C
        wait 2000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        = down
    """,
    "the wrong baud rate": """
        > ATE0
        < \\xe7\\x92\\xff
        wait 1000
        > ATE0
        < \\xe7\\x92
        wait 1000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        = down
    """,
    "something that is no adapter": """
        > ATE0
        < OK\\r\\r>
        > ATZ
        < ?\\r\\r>
        > ATE0
        < ?\\r\\r>
        > ATL0
        < ?\\r\\r>
        > ATS0
        < ?\\r\\r>
        > ATH1
        < ?\\r\\r>
        > ATAT1
        < ?\\r\\r>
        > ATSP0
        < ?\\r\\r>
        > ATI
        < ?\\r\\r>
        > ATRV
        < ?\\r\\r>
        = down
    """,
    "a clone says 2.1 and does not know a digit behind the query": START.replace("v1.5", "v2.1")
    + """
        ask 0100
        > 0100
        < 7E8064100BE3FA813\\r\\r>
        > ATDPN
        < ?\\r\\r>
        = 7E8:4100BE3FA813
        ask 010C x1
        > 010C1
        < ?\\r\\r>
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
        ask 010D x1
        > 010D
        < 7E803410D32\\r\\r>
        = 7E8:410D32
    """,
    "a clone acknowledges headers and shows none": START
    + """
        ask 0100
        > 0100
        < 41 00 BE 3F A8 13 \\r\\r>
        > ATDPN
        < A6\\r\\r>
        = ?:4100BE3FA813
        ask 0902
        > 0902
        < 014 \\r0: 49 02 01 31 4D 38 \\r1: 47 44 4D 39 41 58 4B \\r2: 50 30 34 32 37 38 38 \\r\\r>
        = ?:490201314D3847444D3941584B50303432373838
    """,
    "a long answer with headers": FOUND
    + """
        ask 0902
        > 0902
        < 7E81014490201314D38\\r7E82147444D3941584B\\r7E82250303432373838\\r\\r>
        = 7E8:490201314D3847444D3941584B50303432373838
    """,
    "two ECUs with long answers, interleaved": FOUND
    + """
        ask 0904
        > 0904
        < 7E8100A490401414243\\r7E9100A490401515253\\r7E82144454647AAAAAA\\r7E92154555657AAAAAA\\r\\r>
        = 7E8:49040141424344454647 7E9:49040151525354555657
    """,
    "one frame of a long answer is missing; the other ECU's is whole": FOUND
    + """
        ask 0902
        > 0902
        < 7E81014490201314D38\\r7E903490200\\r7E82250303432373838\\r\\r>
        = 7E9:490200
    """,
    "two ECUs without headers, interleaved": START
    + """
        ask 0904
        > 0904
        < 00A\\r00A\\r0:490401414243\\r0:490401515253\\r1:44454647\\r1:54555657\\r\\r>
        > ATDPN
        < A6\\r\\r>
        = ?:49040141424344454647 ?:49040151525354555657
    """,
    "an older bus splits a VIN its own way": START
    + """
        ask 0902
        > 0902
        < 486B10490201000000313D\\r486B104902024D38474494\\r486B104902034D394158D1\\r486B1049\
02044B503034B2\\r486B1049020532373838C0\\r\\r>
        > ATDPN
        < A3\\r\\r>
        = 10:490201314D3847444D3941584B50303432373838
    """,
    "an older bus fills trouble codes up with zeros": START
    + """
        ask 03
        > 03
        < 486B1043030104200171B0\\r486B1043C1210000000055\\r\\r>
        > ATDPN
        < A3\\r\\r>
        = 10:4304030104200171C121
    """,
    "the supply sags while the engine is started, and the adapter forgets everything": FOUND
    + """
        ask 010C
        > 010C
        < \\r\\rELM327 v1.5\\r\\r>
        = interrupted: the adapter has restarted
        > ATE0
        < ATE0\\rOK\\r\\r>
        > ATZ
        < \\r\\rELM327 v1.5\\r\\r>
        > ATE0
        < OK\\r\\r>
        > ATL0
        < OK\\r\\r>
        > ATS0
        < OK\\r\\r>
        > ATH1
        < OK\\r\\r>
        > ATAT1
        < OK\\r\\r>
        > ATSP0
        < OK\\r\\r>
        > ATI
        < ELM327 v1.5\\r\\r>
        > ATRV
        < 9.8V\\r\\r>
        = ready
    """,
    "low voltage reset": FOUND
    + """
        ask 010C
        > 010C
        < LV RESET\\r\\r>
        = interrupted: the adapter has restarted
        > ATE0
    """,
    "headers vanish in a reset that went unnoticed": FOUND
    + """
        ask 010C
        > 010C
        < 41 0C 1A F8\\r\\r>
        = ?:410C1AF8
    """,
    "an answer to the question before is not taken for one to this": FOUND
    + """
        ask 010D x1
        > 010D1
        < 7E804410C1AF8\\r\\r>
        = damaged: 7E804410C1AF8
    """,
    "response pending, then the answer": FOUND
    + """
        ask 22F190
        > 22F190
        < 7E8037F2278\\r7E80562F1904142\\r\\r>
        = 7E8:62F1904142
        ask 22F190
        > 22F190
        < 7E8037F2278\\r\\r>
        = pending
    """,
    "refused": FOUND
    + """
        ask 22F190
        > 22F190
        < 7E8037F2231\\r\\r>
        = 7E8:7F2231
    """,
    "it babbles between questions": FOUND
    + """
        < ACT ALERT\\r>
        ask 010C
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "an empty answer is asked again": FOUND
    + """
        ask 010C
        > 010C
        < \\r>
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "a command of the start is lost, and repeated": """
        > ATE0
        < OK\\r\\r>
        > ATZ
        wait 4000
        > ATE0
        < ELM327 v1.5\\r\\r>
        < OK\\r\\r>
        > ATZ
        < ELM327 v1.5\\r\\r>
        > ATE0
    """,
}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_leaves_this_trace(name: str) -> None:
    assert Player().play(STORIES[name]) == lines_of(STORIES[name])


def test_the_stories_leave_the_same_traces_on_micropython() -> None:
    """MicroPython has no unicode_escape, so bytes are handed over in hex."""
    script = """
import sys
from obd.elm327 import *
from obd.query import Done, query
elm = Elm327()
now_ms = 0
def show(actions):
    for action in actions:
        if isinstance(action, Write):
            print(">", action.data)
        elif isinstance(action, Done):
            print("=", action.outcome)
        else:
            print("=", action.KIND)
show(elm.start(0))
for line in sys.stdin:
    kind, rest = line.split()
    if kind == "<":
        show(elm.receive(bytes.fromhex(rest) if rest != "-" else b"", now_ms))
    elif kind == "ask":
        data, count = rest.split("x")
        show(elm.ask(query(bytes.fromhex(data), None, 0, int(count)), now_ms))
    elif kind == "new":
        elm = Elm327()
        now_ms = 0
        show(elm.start(0))
    else:
        end_ms = now_ms + int(rest)
        while elm.deadline_ms is not None and elm.deadline_ms <= end_ms:
            now_ms = max(now_ms, elm.deadline_ms)
            show(elm.tick(now_ms))
        now_ms = end_ms
"""
    words = []
    for story in STORIES.values():
        words.append("new -")
        for line in lines_of(story):
            kind, _, rest = line.partition(" ")
            if kind == "<":
                words.append("< " + (rest.encode().decode("unicode_escape").encode("latin-1").hex() or "-"))
            elif kind == "ask":
                data, _, count = rest.partition(" x")
                words.append(f"ask {data}x{count or 0}")
            elif kind == "wait":
                words.append(f"wait {rest}")
    here: list[str] = []
    exec(  # noqa: S102 - the very script that the other interpreter runs
        script.replace("print(", "out("),
        {
            "out": lambda *values: here.append(" ".join(map(str, values))),
            "__name__": "here",
            "sys": None,
        }
        | {"__builtins__": {**__builtins__, "__import__": _with_stdin(words)}},  # type: ignore[dict-item]
    )
    assert micropython.run(script, stdin="\n".join(words) + "\n").splitlines() == here
    assert len(here) > 400


def _with_stdin(words: list[str]):  # type: ignore[no-untyped-def]
    """An import that gives `sys` these lines as standard input."""
    from types import SimpleNamespace

    def imported(name: str, *rest: object) -> object:
        return SimpleNamespace(stdin=words) if name == "sys" else __import__(name, *rest)  # type: ignore[arg-type]

    return imported


def test_questions_before_it_is_ready_are_refused() -> None:
    elm = Elm327()
    with pytest.raises(NotReady):
        elm.ask(query(b"\x01\x00"), 0)
    elm.start(0)
    with pytest.raises(NotReady):
        elm.ask(query(b"\x01\x00"), 0)


def test_what_the_adapter_is_like_is_seen_from_what_it_does() -> None:
    player = Player()
    player.play(STORIES["a clone says 2.1 and does not know a digit behind the query"])
    assert player.elm.identity == "ELM327v2.1"
    assert player.elm.voltage_mv == 12_600
    assert player.elm.takes_count is False
    assert player.elm.protocol == "?"
    assert player.elm.is_can
    player = Player()
    player.play(STORIES["something that is no adapter"])
    assert player.elm.refused == ["ATE0", "ATL0", "ATS0", "ATH1", "ATAT1", "ATSP0"]


def test_babble_without_end_is_cut() -> None:
    player = Player()
    player.play(FOUND)
    player.do(player.elm.ask(query(b"\x01\x0c"), player.now_ms))
    player.do(player.elm.receive(b"7" * (BUFFER_MAX + 1), player.now_ms))
    assert player.trace[-1] == "> ATE0"


# Speaking to one ECU


def commands_for(targets: list[Target | None], found: str = FOUND) -> list[str]:
    """What is written when these are asked for 22F190, one after the other."""
    player = Player()
    player.play(found)
    begin = len(player.trace)
    for target in targets:
        player.do(player.elm.ask(query(b"\x22\xf1\x90", target), 0))
        while not player.elm.is_ready:
            is_query = player.trace[-1] == "> 22F190"
            player.do(player.elm.receive(b"NO DATA\r\r>" if is_query else b"OK\r\r>", 0))
    return [line[2:] for line in player.trace[begin:] if line.startswith(">")]


def test_one_ecu_is_addressed_and_then_everybody_again() -> None:
    engine = Target(0x7E0, 0x7E8)
    assert commands_for([engine, engine, None, None]) == [
        *("ATSH7E0", "22F190", "22F190"),
        *("ATSH7DF", "22F190", "22F190"),
    ]


def test_an_ecu_with_ids_of_the_maker_needs_its_own_filter_and_flow_control() -> None:
    battery = Target(0x714, 0x77E)
    assert commands_for([battery, None]) == [
        *("ATSH714", "ATCRA77E", "ATFCSH714", "ATFCSD300000", "ATFCSM1", "22F190"),
        *("ATSH7DF", "ATAR", "ATFCSM0", "22F190"),
    ]


def test_ids_of_29_bits_are_set_in_two_parts() -> None:
    found = FOUND.replace("7E8064100", "18DAF110064100").replace("A6", "A7")
    assert commands_for([Target(0x18DA10F1, 0x18DAF110), None], found) == [
        *("ATCP18", "ATSHDA10F1", "22F190"),
        *("ATCP18", "ATSHDB33F1", "22F190"),
    ]


def test_an_adapter_that_cannot_address_says_so_and_nothing_is_asked_of_the_wrong_ecu() -> None:
    player = Player()
    player.play(FOUND)
    player.do(player.elm.ask(query(b"\x22\xf1\x90", Target(0x714, 0x77E)), 0))
    player.do(player.elm.receive(b"?\r\r>", 0))
    assert player.trace[-1] == "= not understood: ATSH714: ?"
    player.do(player.elm.ask(query(b"\x01\x0c"), 0))
    assert player.trace[-1] == "> ATSH7DF"


# Against the simulated adapter with every vice


class Bench:
    """The client wired to a simulated adapter, bytes cut at random."""

    def __init__(self, adapter: SimulatedAdapter, seed: int = 0) -> None:
        self.adapter = adapter
        self.elm = Elm327()
        self.dice = random.Random(seed)
        self.now_ms = 0
        self._until(Ready, self.elm.start(0))

    def ask(self, wanted: Query) -> Outcome:
        done = self._until(Done, self.elm.ask(wanted, self.now_ms))
        assert isinstance(done, Done)
        outcome: Outcome = done.outcome
        return outcome

    def _until(self, kind: type, actions: list) -> object:  # type: ignore[type-arg]
        pending = b""
        for _ in range(10_000):
            for action in actions:
                if isinstance(action, Write):
                    pending += self.adapter.receive(action.data, self.now_ms)
                assert not isinstance(action, Down), action
                if isinstance(action, kind):
                    assert not pending.strip(b"\x00")
                    return action
            if pending:
                cut = self.dice.randint(1, len(pending))
                actions = self.elm.receive(pending[:cut], self.now_ms)
                pending = pending[cut:]
            else:
                assert self.elm.deadline_ms is not None
                self.now_ms = max(self.now_ms, self.elm.deadline_ms)
                actions = self.elm.tick(self.now_ms)
        raise AssertionError("never comes to an end")


@pytest.mark.parametrize("is_29_bit", [False, True])
@pytest.mark.parametrize("quirk", [None, *QUIRKS])
def test_the_car_is_read_whatever_the_adapters_vice(quirk: str | None, is_29_bit: bool) -> None:
    quirks = frozenset() if quirk is None else frozenset({quirk})
    bench = Bench(SimulatedAdapter(SimulatedCar(), quirks, is_29_bit=is_29_bit), 5)
    outcome = bench.ask(query(b"\x01\x00"))
    hides = quirk == "no-headers"
    ecus = [0, 0] if hides else [0x18DAF110, 0x18DAF118] if is_29_bit else [0x7E8, 0x7E9]
    assert [answer.ecu for answer in outcome.answers] == ecus
    for _ in range(3):
        speed = bench.ask(query(b"\x01\x0d", None, 2, 2))
        assert [answer.data[:2] for answer in speed.answers] == [b"\x41\x0d"] * 2
    vin = bench.ask(query(b"\x09\x02"))
    assert [answer.data for answer in vin.answers] == [b"\x49\x02\x01" + b"1M8GDM9AXKP042788"]
    info = bench.ask(query(b"\x09\x04"))
    assert sorted(len(answer.data) for answer in info.answers) == [19, 35]
    assert bench.ask(query(b"\x01\x99")).problem == NO_DATA


def test_every_vice_at_once() -> None:
    adapter = SimulatedAdapter(SimulatedCar(), frozenset(QUIRKS) - {"old"})
    bench = Bench(adapter)
    assert bench.ask(query(b"\x01\x0c")).answers[0].data[:2] == b"\x41\x0c"


def test_the_ignition_goes_off_and_on() -> None:
    car = SimulatedCar()
    bench = Bench(SimulatedAdapter(car))
    assert bench.ask(query(b"\x01\x00")).answers
    car.is_on = False
    assert bench.ask(query(b"\x01\x0c")).problem == NO_DATA
    bench = Bench(SimulatedAdapter(car))
    assert bench.ask(query(b"\x01\x00")).problem == NO_CAR
    car.is_on = True
    assert bench.ask(query(b"\x01\x00")).answers


# Properties


@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 3000)), max_size=30), st.booleans())
@settings(deadline=None)
def test_any_bytes_at_all_do_no_harm(chunks: list[tuple[bytes, int]], is_found: bool) -> None:
    player = Player()
    player.play(FOUND if is_found else "")
    for data, wait_ms in chunks:
        if player.elm.is_ready:
            player.do(player.elm.ask(query(b"\x01\x0c"), player.now_ms))
        player.do(player.elm.receive(data, player.now_ms))
        player.play(f"wait {wait_ms}")
        if player.trace[-1] == "= down":
            return
    # A proper adapter, plugged in now, is in step again within the time of a few commands.
    adapter = SimulatedAdapter(SimulatedCar())
    for _ in range(60):
        if player.elm.is_ready or player.elm.state == "down":
            break
        written = len(player.trace)
        assert player.elm.deadline_ms is not None
        player.play(f"wait {max(player.elm.deadline_ms - player.now_ms, 0)}")
        while written < len(player.trace):
            line = player.trace[written]
            written += 1
            if line.startswith("> "):
                player.do(player.elm.receive(adapter.receive(line[2:].encode() + b"\r", 0), player.now_ms))
    assert player.elm.is_ready or player.elm.state == "down"


@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "7E8",
                    "04",
                    "410C1AF8",
                    "0:",
                    "1:",
                    "014",
                    "18DAF110",
                    "486B10",
                    "7F0178",
                    "10",
                    "21",
                    "22",
                ),
                *(
                    "NO DATA",
                    "SEARCHING...",
                    "STOPPED",
                    "BUS INIT: ",
                    "OK",
                    "?",
                    "ELM327",
                    " ",
                    "\r",
                    "\r\r>",
                    ">",
                ),
                *("ERR94", "<DATA ERROR", "\n", "\x00"),
            ]
        ),
        max_size=40,
    )
)
@settings(deadline=None)
def test_any_mix_of_what_adapters_say_is_answers_or_a_problem(words: list[str]) -> None:
    player = Player()
    player.play(FOUND)
    player.do(player.elm.ask(query(b"\x01\x0c"), 0))
    actions = player.elm.receive("".join(words).encode(), 0)
    for action in actions:
        if isinstance(action, Done):
            for answer in action.outcome.answers:
                assert isinstance(answer, Answer)
                assert answer.data[:1] in (b"\x41", b"\x7f")


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_bytes_may_be_cut_anywhere(seed: int) -> None:
    bench = Bench(SimulatedAdapter(SimulatedCar()), seed)
    assert len(bench.ask(query(b"\x01\x00")).answers) == 2
    assert bench.ask(query(b"\x09\x02")).answers[0].data[3:] == b"1M8GDM9AXKP042788"
