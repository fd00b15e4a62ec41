"""The battery budget is what its figures say, and POWER.md says it."""

from pathlib import Path

import pytest

from devices.micropython import power
from tests.micropython import run

DOCUMENT = Path(str(power.__file__)).with_name("POWER.md")


def test_the_document_has_the_tables_that_are_computed() -> None:
    assert "\n".join(power.tables()) in DOCUMENT.read_text()


def test_an_average_is_charge_by_time() -> None:
    assert power.average_ua([("on", 100_000, 100), ("off", 10, 900)]) == 10_009
    assert power.average_ua([("on", 1, 1), ("off", 0, 2)]) == 1


def test_a_battery_lasts_what_is_usable_of_it_less_what_it_loses() -> None:
    # 1,000 mAh, 80 %, at 1 mA: 800 h = 33 days; 3 % a year is 3.4 uA.
    assert power.life_days(1_000, 1_000) == 33
    assert power.life_days(1_000, 1_000, usable_percent=100, loss_percent_per_year=0) == 41


def test_a_minute_of_a_sensor_is_a_minute() -> None:
    assert sum(ms for _, _, ms in power.sensor(60_000)) == 60_000
    assert sum(ms for _, _, ms in power.lock(10)) == power.MS_PER_DAY
    assert power.at_12v(40_000, 3_300) == pytest.approx(40_000 * 3.3 / 12 / 0.85, abs=1)


def test_measuring_less_often_never_costs_more() -> None:
    averages = [power.average_ua(power.sensor(every_ms)) for every_ms in range(5_000, 900_000, 5_000)]
    assert averages == sorted(averages, reverse=True)


def test_both_interpreters_compute_the_same() -> None:
    said = run("from devices.micropython import power\nfor line in power.tables(): print(line)")
    assert said == "\n".join(power.tables()) + "\n"
