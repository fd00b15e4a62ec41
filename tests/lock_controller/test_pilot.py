"""A control pilot as IEC 61851-1 has it, and a contactor that is never closed without a car that charges."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lock_controller import pilot
from lock_controller.errors import LimitsError
from lock_controller.pilot import (
    CHARGING,
    DUTY_ON_PPM,
    ENDING,
    FAULT,
    IDLE,
    OFFERING,
    PLUGGED,
    A,
    B,
    C,
    D,
    Drive,
    E,
    F,
    Levels,
    Pilot,
    current_at,
    duty_for,
    letter_of,
)

# Others' figures: Fluke FEV300 users manual, table 4, after IEC 61851-1 table A.8: % -> tenths of an ampere.
FEV300 = {
    8: 60, 10: 60, 11: 66, 12: 72, 13: 78, 14: 84, 15: 90, 16: 96, 17: 102, 18: 108, 19: 114, 20: 120,
    25: 150, 30: 180, 40: 240, 50: 300, 60: 360, 70: 420, 80: 480, 84: 504, 85: 510, 86: 550, 87: 575,
    88: 600, 89: 625, 90: 650, 91: 675, 92: 700, 93: 725, 94: 750, 95: 775, 96: 800, 97: 800,
}  # fmt: skip


@pytest.mark.parametrize(("percent", "tenths_a"), FEV300.items())
def test_a_duty_cycle_says_the_current_of_the_standard(percent: int, tenths_a: int) -> None:
    assert current_at(percent * 10_000) == tenths_a * 100


@pytest.mark.parametrize(
    ("ppm", "ma"),
    [
        (0, 0), (29_999, 0), (30_000, None), (50_000, None), (70_000, None), (70_001, 0), (79_999, 0),
        (80_000, 6_000), (99_999, 6_000), (100_000, 6_000), (850_000, 51_000), (850_001, 52_500),
        (960_000, 80_000), (960_001, 80_000), (970_000, 80_000), (970_001, 0), (1_000_000, 0),
    ],
)  # fmt: skip
def test_the_borders_of_the_table_are_where_they_are(ppm: int, ma: int | None) -> None:
    assert current_at(ppm) == ma


@pytest.mark.parametrize(
    ("ma", "ppm"),
    [
        (0, 1_000_000), (5_999, 1_000_000), (6_000, 100_000), (10_000, 166_666), (13_000, 216_666),
        (16_000, 266_666), (20_000, 333_333), (32_000, 533_333), (51_000, 850_000), (52_000, 850_000),
        (52_500, 850_000), (63_000, 892_000), (80_000, 960_000), (125_000, 960_000),
    ],
)  # fmt: skip
def test_a_current_has_its_duty_cycle(ma: int, ppm: int) -> None:
    assert duty_for(ma) == ppm


@given(st.integers(6_000, 90_000))
def test_a_car_is_never_told_more_than_is_offered_and_hardly_less(ma: int) -> None:
    told = current_at(duty_for(ma))
    assert told is not None
    assert told <= ma
    if ma <= 80_000:
        assert ma - told <= (1 if ma <= 51_000 or ma > 52_500 else 1_500)
    # And so after the 16 bits of a timer.
    rounded = current_at(duty_for(ma) * 65_535 // 1_000_000 * 1_000_000 // 65_535)
    assert rounded is not None
    assert told - 70 <= rounded <= told


@pytest.mark.parametrize(
    ("mv", "letter"),
    [
        (12_000, A), (11_000, A), (13_000, A), (9_000, B), (8_000, B), (10_000, B), (6_000, C), (5_000, C),
        (7_000, C), (3_000, D), (2_000, D), (4_000, D), (0, E), (-1_000, E), (1_000, E), (-12_000, F),
        (10_500, None), (7_500, None), (4_500, None), (1_500, None), (-5_000, None), (13_001, None),
        (-13_001, None),
    ],
)  # fmt: skip
def test_a_voltage_says_the_state(mv: int, letter: int | None) -> None:
    assert letter_of(mv) == letter


MV = {"A": 12_000, "B": 9_000, "C": 6_000, "D": 3_000, "E": 0, "?": 7_500}


class Station:
    """A socket whose contactor follows within 40 ms, unless it is broken."""

    def __init__(self, **kinds: bool) -> None:
        self.pilot = Pilot(32_000, **kinds)
        self.now_ms = 0
        self.car = "A"
        self.has_diode = True
        self.is_welded = False
        self.is_meter_fine = True
        self.drive = Drive(DUTY_ON_PPM, False)
        self._live_from_ms: int | None = None

    def step(self, passed_ms: int = 20) -> Drive:
        self.now_ms += passed_ms
        has_pwm = 0 < self.drive.duty_ppm < DUTY_ON_PPM
        upper = MV[self.car] if self.drive.duty_ppm else -12_000
        lower = upper
        if has_pwm and self.car != "E":
            lower = -12_000 if self.has_diode or self.car == "A" else -upper
        is_live = self.is_welded or (
            self._live_from_ms is not None and self.now_ms - self._live_from_ms >= 40
        )
        self.drive = self.pilot.tick(Levels(upper, lower, is_live, self.is_meter_fine), self.now_ms)
        if not self.drive.is_closed:
            self._live_from_ms = None
        elif self._live_from_ms is None:
            self._live_from_ms = self.now_ms
        return self.drive

    def run(self, duration_ms: int, step_ms: int = 20) -> list[str]:
        names: list[str] = []
        for _ in range(duration_ms // step_ms):
            self.step(step_ms)
            name = pilot.NAMES[self.pilot.state]
            if not names or names[-1] != name:
                names.append(name)
        return names


def charging(**kinds: bool) -> Station:
    station = Station(**kinds)
    station.car = "B"
    station.run(500)
    station.pilot.allow(16_000)
    station.run(500)
    station.car = "C"
    station.run(1_000)
    assert station.drive == Drive(266_666, True)
    return station


def test_a_session_from_plug_to_unplug() -> None:
    station = Station()
    assert station.run(1_000) == ["idle"]
    station.car = "B"
    assert station.run(500) == ["plugged"]
    assert station.drive == Drive(DUTY_ON_PPM, False)
    assert station.pilot.allow(40_000) == 32_000
    assert station.run(500) == ["offering"]
    assert station.drive == Drive(533_333, False)
    station.car = "C"
    assert station.run(500) == ["charging"]
    assert station.drive == Drive(533_333, True)
    station.pilot.deny()
    assert station.run(1_000) == ["ending"]
    assert station.drive == Drive(DUTY_ON_PPM, True)
    station.car = "B"
    assert station.step() == Drive(DUTY_ON_PPM, False)
    station.car = "A"
    assert station.run(1_500) == ["plugged", "idle"]
    station.car = "C"
    assert station.run(3_000) == ["plugged"]


def test_a_car_that_does_not_let_go_is_let_go_of_after_six_seconds() -> None:
    station = charging()
    station.pilot.deny()
    began_ms = station.now_ms
    while station.step().is_closed:
        pass
    assert 6_000 <= station.now_ms - began_ms <= 6_040


@pytest.mark.parametrize("letter", ["A", "B", "E"])
def test_the_contactor_opens_in_the_tick_that_sees_the_loss_of_c(letter: str) -> None:
    station = charging()
    station.car = letter
    assert not station.step().is_closed


def test_between_two_bands_it_opens_at_the_second_look_within_100_ms() -> None:
    for step_ms in (20, 50):
        station = charging()
        station.car = "?"
        assert station.step(step_ms).is_closed
        assert not station.step(step_ms).is_closed
    station = charging()
    station.car = "?"
    assert not station.step(51).is_closed


def test_it_opens_when_nobody_has_looked_for_more_than_100_ms() -> None:
    station = charging()
    assert station.step(100).is_closed
    assert not station.step(101).is_closed


def test_a_bouncing_plug_ends_no_session() -> None:
    station = charging()
    for letter in "BABCABABC":
        station.car = letter
        station.run(300)
        assert station.pilot.state in (OFFERING, CHARGING)
    assert station.run(1_000)[-1] == "charging"
    station.car = "A"
    assert station.run(980) == ["offering"]
    assert station.run(100) == ["offering", "idle"]
    assert not station.pilot.is_allowed


def test_a_short_glitch_to_zero_opens_and_is_no_fault() -> None:
    station = charging()
    station.car = "E"
    station.run(180)
    station.car = "C"
    assert station.run(1_000) == ["offering", "charging"]
    station.car = "E"
    assert station.run(500) == ["offering", "fault"]
    station.car = "A"
    assert station.run(1_500) == ["fault", "idle"] or station.pilot.state == IDLE


def test_a_puddle_is_not_charged() -> None:
    station = Station()
    station.has_diode = False
    station.car = "B"
    station.run(500)
    station.pilot.allow(16_000)
    station.car = "C"
    for _ in range(100):
        assert not station.step().is_closed
    assert (station.pilot.state, station.pilot.fault) == (FAULT, pilot.DIODE)
    station.car = "A"
    station.has_diode = True
    station.run(1_500)
    assert station.pilot.state == IDLE


def test_a_welded_contactor_is_found_and_nothing_is_offered_until_it_is_not() -> None:
    station = charging()
    station.is_welded = True
    station.pilot.deny()
    station.car = "B"
    assert station.run(480)[-1] == "plugged"
    assert station.run(100)[-1] == "fault"
    assert station.pilot.fault == pilot.WELDED
    assert station.drive == Drive(0, False)
    station.run(60_000)
    assert station.pilot.fault == pilot.WELDED
    station.is_welded = False
    assert station.run(2_000)[-1] == "plugged"


def test_a_contactor_that_is_welded_at_power_on_is_found_at_once() -> None:
    station = Station()
    station.is_welded = True
    station.step()
    assert station.pilot.fault == pilot.WELDED


def test_a_faulted_meter_stops_the_session() -> None:
    station = charging()
    station.is_meter_fine = False
    assert not station.step().is_closed
    assert (station.pilot.state, station.pilot.fault) == (FAULT, pilot.METER)
    station.is_meter_fine = True
    assert station.run(2_000) == ["plugged"]
    assert not station.pilot.is_allowed


@pytest.mark.parametrize(("has_air", "is_closed"), [(True, True), (False, False)])
def test_a_car_that_wants_air_is_charged_only_where_there_is_some(has_air: bool, is_closed: bool) -> None:
    station = charging(has_air=has_air)
    station.car = "D"
    station.run(500)
    assert station.drive.is_closed is is_closed


def test_a_current_that_cannot_be_said_is_refused() -> None:
    with pytest.raises(LimitsError):
        Pilot(5_999)
    with pytest.raises(LimitsError):
        Pilot(80_001)
    with pytest.raises(ValueError, match="no duty cycle says 5999 mA"):
        Pilot(16_000).allow(5_999)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("AABBCCCCCDE?"),
            st.sampled_from((20, 20, 50, 100, 101, 700)),
            st.booleans() | st.just(True),
            st.sampled_from((False, False, False, True)),
            st.sampled_from((True, True, True, False)),
            st.sampled_from(("", "", "allow", "deny")),
            st.integers(1, 60),
        ),
        max_size=30,
    )
)
def test_whatever_happens_the_contactor_is_closed_only_for_a_car_that_charges_and_is_allowed(
    life: list[tuple[str, int, bool, bool, bool, str, int]],
) -> None:
    station = Station()
    not_c_ms, denied_ms, words = 0, 0, "deny"
    for letter, step_ms, has_diode, is_welded, is_meter_fine, word, count in life:
        station.car, station.has_diode, station.is_welded = letter, has_diode, is_welded
        station.is_meter_fine = is_meter_fine
        if word:
            getattr(station.pilot, word)(*([16_000] if word == "allow" else []))
            words = word
        for _ in range(count):
            drive = station.step(step_ms)
            not_c_ms = 0 if letter in "CD" else not_c_ms + step_ms
            denied_ms = 0 if words == "allow" else denied_ms + step_ms
            if drive.is_closed:
                assert not_c_ms < 100
                assert denied_ms <= 6_200
                assert letter != "D"
                assert is_meter_fine
                assert step_ms <= 100
            if station.pilot.state in (IDLE, PLUGGED, FAULT):
                assert not drive.is_closed
                assert drive.duty_ppm in (0, DUTY_ON_PPM)
    station.car, station.has_diode, station.is_welded, station.is_meter_fine = "A", True, False, True
    station.pilot.deny()
    station.run(8_000)
    assert station.pilot.state == IDLE


def test_every_state_has_a_way_back_to_idle() -> None:
    for begin in (IDLE, PLUGGED, OFFERING, CHARGING, ENDING, FAULT):
        reached, edge = {begin}, {begin}
        while edge:
            edge = {to for (at, _), to in pilot.NEXT.items() if at in edge} - reached
            reached |= edge
        assert IDLE in reached
