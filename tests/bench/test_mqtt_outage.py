"""The bench of outages runs tiny, and its tally counts what it should."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from tests.bench import mqtt_peer
from tests.bench.mqtt_outage import FIRST, Plan, ours, outage, tally

PUBLISHED = ["well", "well", "half-open", "half-open", "well"]


def message(key: str, *numbers: int) -> tuple[str, bytes]:
    records = [[0, {"payload": json.dumps({"value": FIRST + number})}] for number in numbers]
    return "cpc/gateway/m", json.dumps({"key": key, "records": records}).encode()


def telemetry(*numbers: int) -> tuple[str, bytes]:
    samples: list[Any] = [{"ts": 1, "values": {"value": FIRST + number}} for number in numbers]
    return mqtt_peer.TELEMETRY.decode(), json.dumps({"device": samples}).encode()


def test_what_a_receiver_of_ours_can_drop_is_no_duplicate() -> None:
    outcome = tally([message("a", 0, 1), message("b", 2), message("a", 0, 1), message("c", 4)], PUBLISHED)
    assert (outcome.duplicated, outcome.repeated) == (0, 1)
    assert outcome.lost == Counter({"half-open": 1})
    assert list(outcome.lines("ours")) == [
        "ours: 5 records, 1 lost, 0 duplicated, 1 messages repeated and dropped by key",
        "    published, well: 3, of these lost: 0",
        "    published, half-open: 2, of these lost: 1",
    ]


def test_a_record_under_two_keys_is_one() -> None:
    assert tally([message("a", *range(5)), message("b", 3)], PUBLISHED).duplicated == 1


def test_what_comes_twice_without_a_key_is_a_duplicate() -> None:
    outcome = tally([telemetry(0, 1, 2), telemetry(2, 3), ("other", b"")], PUBLISHED)
    assert (outcome.duplicated, outcome.repeated, outcome.lost) == (1, 0, Counter({"well": 1}))


@pytest.mark.slow
def test_the_bench_runs_tiny_and_ours_loses_nothing() -> None:
    plan = Plan(rate_hz=100, well_s=0.3, down_s=0.3, silence_s=0.3, quiet_s=30.0)
    outcome = asyncio.run(outage(ours, plan, None))
    assert outcome.published.total() > 100
    assert (outcome.lost.total(), outcome.duplicated) == (0, 0)
