"""The client against the simulated adapter with every vice, and against anything at all."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.ecu import SimulatedCar
from obd.ecu_adapter import QUIRKS, SimulatedAdapter
from obd.elm327 import Down, Elm327, Ready, Write
from obd.query import NO_CAR, NO_DATA, Answer, Done, Outcome, Query, query
from tests.obd.stories import FOUND, Player


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
