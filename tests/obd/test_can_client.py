"""Asking on the bus: several ECUs, promises, both widths of ids, and ECUs that break off."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.action import Action
from obd.can_client import P2_STAR_US, P2_US, CanClient
from obd.can_frame import EXTENDED, CanFrame
from obd.discovery import (
    clear_dtcs,
    discover,
    hold,
    read_dtcs,
    read_freeze_frame,
    read_pid,
    read_readiness,
    read_table_value,
    read_test_results,
    read_vehicle,
)
from obd.ecu import VIN, SimulatedCar
from obd.ecu_bus import SimulatedBusCar
from obd.errors import NegativeResponse, NoAnswer, NotReady, ResponseError
from obd.formula import Formula
from obd.isotp import Transmit
from obd.query import DAMAGED, NO_CAR, NO_DATA, PENDING, Answer, Done, Outcome, Query, Target, query
from obd.value_table import HEX, NUMBER, TableValue
from tests import micropython

ENGINE, GEARBOX = Target(0x7E0, 0x7E8), Target(0x7E1, 0x7E9)


class Bus:
    """A client and a simulated car on a bus with a clock of its own."""

    def __init__(self, *, is_29_bit: bool = False, block_size: int = 0, st_min_code: int = 0) -> None:
        self.car = SimulatedCar()
        self.on_bus = SimulatedBusCar(
            self.car, is_29_bit=is_29_bit, block_size=block_size, st_min_code=st_min_code
        )
        self.client = CanClient()
        self.now_us = 30_000_000
        self.frames: list[str] = []
        self.swallow: Callable[[int, CanFrame], bool] = lambda number, frame: False

    def ask(self, wanted: Query) -> Outcome:
        """The outcome; time passes as it must."""
        actions: list[Action] = self.client.ask(wanted, self.now_us)
        to_car: list[CanFrame] = []
        to_client: list[CanFrame] = []
        for _ in range(10_000):
            for action in actions:
                if isinstance(action, Transmit):
                    to_car.append(action.frame)
                elif isinstance(action, Done):
                    outcome: Outcome = action.outcome
                    return outcome
            actions = []
            if to_car:
                frame = to_car.pop(0)
                if self._passes(frame):
                    to_client += self.on_bus.receive(frame, self.now_us)
            elif to_client:
                frame = to_client.pop(0)
                if self._passes(frame):
                    actions = self.client.receive(frame, self.now_us)
            else:
                dues = [due for due in (self.client.deadline_us, self.on_bus.deadline_us) if due is not None]
                self.now_us = max(self.now_us, min(dues))
                to_client += self.on_bus.tick(self.now_us)
                if not to_client:
                    actions = self.client.tick(self.now_us)
        raise AssertionError("never comes to an end")

    def _passes(self, frame: CanFrame) -> bool:
        number = len(self.frames)
        self.frames.append(str(frame))
        return not self.swallow(number, frame)


@pytest.mark.parametrize("is_29_bit", [False, True])
def test_everybody_answers_and_the_width_of_ids_is_found(is_29_bit: bool) -> None:
    bus = Bus(is_29_bit=is_29_bit)
    outcome = bus.ask(query(b"\x01\x00"))
    assert [answer.ecu for answer in outcome.answers] == (
        [0x18DAF110, 0x18DAF118] if is_29_bit else [0x7E8, 0x7E9]
    )
    assert bus.client.is_29_bit is is_29_bit
    first = "18DB33F1#0201005555555555" if is_29_bit else "7DF#0201005555555555"
    assert first in bus.frames
    # From then on only one of both is asked.
    bus.frames.clear()
    bus.ask(query(b"\x01\x0d", None, 2))
    assert len(bus.frames) == 3


def test_who_knows_how_many_answer_does_not_wait() -> None:
    bus = Bus()
    begin_us = bus.now_us
    assert len(bus.ask(query(b"\x01\x0d", None, 2)).answers) == 2
    assert bus.now_us == begin_us
    assert len(bus.ask(query(b"\x01\x0d")).answers) == 2
    assert bus.now_us == begin_us + P2_US


def test_two_long_answers_at_once_are_put_together_each() -> None:
    bus = Bus(block_size=0)
    answers = bus.ask(query(b"\x09\x04")).answers
    assert sorted((answer.ecu, len(answer.data)) for answer in answers) == [(0x7E8, 35), (0x7E9, 19)]
    assert sum(text.startswith("7E0#30") for text in bus.frames) == 1
    assert sum(text.startswith("7E1#30") for text in bus.frames) == 1


def test_a_frame_is_lost_and_the_other_ecu_is_still_heard() -> None:
    bus = Bus()
    bus.swallow = lambda number, frame: frame.arbitration_id == 0x7E8 and frame.data[:1] == b"\x22"
    outcome = bus.ask(query(b"\x09\x04"))
    assert [answer.ecu for answer in outcome.answers] == [0x7E9]
    assert "N_WRONG_SN" in outcome.detail
    outcome = bus.ask(query(b"\x09\x02"))
    assert (outcome.problem, outcome.answers) == (DAMAGED, [])


def test_ecus_take_no_long_message_to_everybody() -> None:
    bus = SimulatedBusCar(SimulatedCar())
    assert bus.receive(CanFrame.parse("7DF#1008010C0D0E0F10"), 0) == []
    assert bus.deadline_us is None
    assert len(bus.receive(CanFrame.parse("7DF#02010D"), 0)) == 2


def test_one_ecu_is_asked_alone_and_may_refuse() -> None:
    bus = Bus()
    assert [answer.ecu for answer in bus.ask(query(b"\x01\x0d", GEARBOX)).answers] == [0x7E9]
    (refusal,) = bus.ask(query(b"\x22\x12\x34", ENGINE)).answers
    assert refusal.data == b"\x7f\x22\x31"
    # Of everybody, who cannot answer says nothing.
    assert bus.ask(query(b"\x22\x12\x34")).problem == NO_DATA


def test_a_promise_is_waited_for_and_one_that_is_broken_is_told() -> None:
    bus = Bus()
    (answer,) = bus.ask(query(b"\x22\x13\x01", ENGINE)).answers
    assert answer.data[:3] == b"\x62\x13\x01"
    bus.swallow = lambda number, frame: frame.data[1:3] == b"\x62\x13"
    begin_us = bus.now_us
    assert bus.ask(query(b"\x22\x13\x01", ENGINE)).problem == PENDING
    assert bus.now_us == begin_us + P2_STAR_US


def test_silence_is_no_data_after_both_ways_were_tried() -> None:
    bus = Bus()
    bus.car.is_on = False
    assert bus.ask(query(b"\x01\x00")).problem == NO_DATA
    assert bus.client.is_29_bit is None
    assert [text[:8] for text in bus.frames] == ["7DF#0201", "18DB33F1"]


def test_frames_of_others_are_no_answers() -> None:
    client = CanClient()
    client.ask(query(b"\x01\x0c", None, 1), 0)
    for text in (
        "123#04410C1AF8000000",
        "7E8#03410D32",  # another PID: a late answer
        "7DF#02010C",
        "18DAF110#04410C1AF8",  # the other width
        "7F0#04410C1AF8",
    ):
        assert client.receive(CanFrame.parse(text), 0) == []
    (done,) = client.receive(CanFrame.parse("7E8#04410C1AF8AAAAAA"), 0)
    assert isinstance(done, Done)
    assert done.outcome.answers == [Answer(0x7E8, b"\x41\x0c\x1a\xf8")]


def test_one_question_at_a_time_and_none_that_is_too_long_for_everybody() -> None:
    client = CanClient()
    client.ask(query(b"\x01\x0c"), 0)
    with pytest.raises(NotReady):
        client.ask(query(b"\x01\x0c"), 0)
    (done,) = client.bus_failed("down")
    assert isinstance(done, Done)
    assert done.outcome.problem == "bus fault"
    (done,) = client.ask(query(b"\x22" + bytes(8)), 0)
    assert isinstance(done, Done)
    assert done.outcome.problem == "not understood"
    assert client.tick(10**9) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x7E8, 0x7E9, 0x7EF, 0x7DF, 0x100]),
            st.binary(max_size=8),
            st.integers(0, 300_000),
        ),
        max_size=40,
    )
)
@settings(deadline=None)
def test_any_frames_at_all_do_no_harm(frames: list[tuple[int, bytes, int]]) -> None:
    client = CanClient(False)
    now_us = 0
    client.ask(query(b"\x01\x0c"), now_us)
    done: list[Action] = []
    for arbitration_id, data, pause_us in frames:
        now_us += pause_us
        done += [action for action in client.tick(now_us) if isinstance(action, Done)]
        done += [
            action
            for action in client.receive(CanFrame(arbitration_id, 0, data), now_us)
            if isinstance(action, Done)
        ]
    for _ in range(1_000):
        due_us = client.deadline_us
        if due_us is None:
            break
        now_us = max(now_us, due_us)
        done += [action for action in client.tick(now_us) if isinstance(action, Done)]
    assert len(done) == 1
    assert client.deadline_us is None


# Conversations with the car


@pytest.mark.parametrize("is_29_bit", [False, True])
@pytest.mark.parametrize(("block_size", "st_min_code"), [(0, 0), (2, 0xF3)])
def test_the_whole_car_is_read_over_the_bus(is_29_bit: bool, block_size: int, st_min_code: int) -> None:
    bus = Bus(is_29_bit=is_29_bit, block_size=block_size, st_min_code=st_min_code)
    car = hold(discover(), bus.ask)
    assert car.takes_many
    engine, gearbox = car.ecus
    assert {0x0C, 0x0D, 0x05, 0xA6} <= set(car.ecus[engine])
    assert 0xA4 in car.ecus[gearbox]
    assert (car.ecus_with(0x0D), car.ecus_with(0x0C)) == (2, 1)
    speeds = hold(read_pid(car, 0x0D), bus.ask)
    assert [reading.ecu for reading in speeds] == [engine, gearbox]
    # 30 s into the trip the car does 20 to 52 km/h.
    assert 20 <= speeds[0].values[0].value <= 52

    vehicle = hold(read_vehicle(), bus.ask)
    assert vehicle.vin == VIN
    assert vehicle.calibration_ids[engine] == ["CPC-ENG-2024-A1", "CPC-FUEL-0007"]
    assert vehicle.verification_numbers[engine] == ["1791BC82", "00C0FFEE"]
    assert vehicle.names == {engine: "ECM-EngineControl", gearbox: "TCM-Transmission"}

    codes = hold(read_dtcs(), bus.ask)
    assert codes.stored == {engine: ["P0301", "P0420", "U0121"], gearbox: ["P0741"]}
    assert codes.pending[engine] == ["P0171"]
    assert codes.permanent[engine] == ["P0301"]
    state = hold(read_readiness(), bus.ask)[engine]
    assert (state.is_mil_on, state.dtc_count) == (True, 3)
    frozen = hold(read_freeze_frame(), bus.ask)
    values = {value.field.key: value.value for reading in frozen[engine] for value in reading.values}
    assert values["freeze_dtc"] == "P0301"
    assert values["vehicle_speed"] == 51
    results = hold(read_test_results(), bus.ask)[engine]
    assert [(one.monitor, one.is_passed) for one in results] == [
        (0x01, True),
        (0x21, True),
        (0xA2, True),
        (0xA2, False),
    ]

    assert hold(clear_dtcs(), bus.ask) == {engine: "", gearbox: ""}
    codes = hold(read_dtcs(), bus.ask)
    assert codes.stored == {engine: [], gearbox: []}
    assert codes.permanent[engine] == ["P0301"]
    assert not hold(read_readiness(), bus.ask)[engine].is_mil_on
    assert hold(read_freeze_frame(), bus.ask) == {}


def test_values_of_a_table_are_read_from_one_ecu_or_from_whoever_knows() -> None:
    bus = Bus()
    level = TableValue("fuel", 0x028C, NUMBER, Formula("A/2"), "%", ENGINE, 1_000)
    ((ecu, data, value),) = hold(read_table_value(level), bus.ask)
    assert (ecu, len(data)) == (0x7E8, 1)
    assert value == pytest.approx(72, abs=1)
    voltage = TableValue("voltage", 0x1301, NUMBER, Formula("(256*A+B)/512"), "V", None, 1_000)
    ((_, _, volts),) = hold(read_table_value(voltage), bus.ask)
    assert volts == pytest.approx(14.1, abs=0.1)
    unknown = TableValue("none", 0x9999, HEX, None, "", ENGINE, 1_000)
    with pytest.raises(NegativeResponse, match="request out of range"):
        hold(read_table_value(unknown), bus.ask)
    with pytest.raises(ResponseError, match="too few"):
        hold(
            read_table_value(TableValue("fuel", 0x028C, NUMBER, Formula("256*A+B"), "%", ENGINE, 1_000)),
            bus.ask,
        )


def test_no_car_is_said_and_disturbance_is_asked_again() -> None:
    bus = Bus()
    bus.car.is_on = False
    with pytest.raises(NoAnswer, match=NO_CAR):
        hold(discover(), bus.ask)
    answers = iter(
        [
            Outcome(DAMAGED, [], ""),
            Outcome("interrupted", [], ""),
            Outcome("", [Answer(0x7E8, bytes.fromhex("410000180000"))], ""),
            Outcome(NO_DATA, [], ""),
        ]
    )
    car = hold(discover(), lambda wanted: next(answers))
    assert car.ecus == {0x7E8: [0x0C, 0x0D]}
    assert not car.takes_many
    with pytest.raises(NoAnswer, match="bus fault: CANERROR"):
        hold(read_dtcs(), lambda wanted: Outcome("bus fault", [], "CANERROR"))


def test_damaged_codes_are_reported_beside_the_good_ones() -> None:
    answers = {
        b"\x03": [Answer(0x7E8, b"\x43\x03\x01\x43"), Answer(0x7E9, b"\x43\x01\x07\x41")],
        b"\x07": [],
        b"\x0a": [Answer(0x7E8, b"\x7f\x0a\x11")],
    }
    codes = hold(read_dtcs(), lambda wanted: Outcome("", answers[wanted.data], ""))
    assert codes.stored == {0x7E9: ["P0741"]}
    assert codes.permanent == {}
    assert codes.problems == ["3 trouble codes announced, 1 there: 030143"]


# The same on a device


def test_a_device_asks_on_the_bus_too() -> None:
    code = """
from obd.can_client import CanClient
from obd.can_frame import CanFrame
from obd.query import query, Target
client = CanClient()
def do(actions):
    for action in actions:
        print(action)
do(client.ask(query(b"\\x09\\x02"), 0))
for text in ("7E8#1014490201314D38", "7E9#037F0911", "7E8#2147444D3941584B", "7E8#2250303432373838"):
    do(client.receive(CanFrame.parse(text), 1000))
while client.deadline_us is not None:
    do(client.tick(client.deadline_us))
do(client.ask(query(b"\\x01\\x0c", Target(0x7E0, 0x7E8)), 0))
do(client.receive(CanFrame.parse("7E8#04410C1AF8"), 5))
"""
    here: list[str] = []
    exec(code.replace("print(", "out("), {"out": lambda *values: here.append(" ".join(map(str, values)))})  # noqa: S102 - our own code, run on both
    assert micropython.run(code).splitlines() == here
    assert "1M8GDM9AXKP042788" in here[2]


def test_29_bit_frames_carry_the_flag() -> None:
    (action,) = CanClient(True).ask(query(b"\x01\x0c"), 0)
    assert isinstance(action, Transmit)
    assert action.frame == CanFrame(0x18DB33F1, EXTENDED, b"\x02\x01\x0c" + b"\x55" * 5)
