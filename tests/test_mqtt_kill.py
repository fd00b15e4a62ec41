"""The stories of tests.faults in short: as many faults, fewer kills, and silence only until it is noticed."""

import asyncio
from pathlib import Path

import pytest

from tests.faults import FAULTS, killed_gateways

KILLS = 4


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "version"), list(zip(FAULTS, ["5", "3.1.1"] * 3, strict=True)))
def test_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, fault: str, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = asyncio.run(
        killed_gateways(
            tmp_path / "site", version, fault, kills=KILLS, seed=1, silence_s=0, ack_timeout_ms=1_000
        )
    )
    with capsys.disabled():
        print(f"\nbroker {fault}, MQTT {version}: {counts}")
    assert (counts.lost, counts.duplicated) == (0, 0)
    assert counts.acknowledged > 200
    assert fault == "well" or counts.faults > 0
    # What was durable when a kill came, and acknowledged to nobody, may arrive, too.
    assert counts.acknowledged <= counts.arrived
