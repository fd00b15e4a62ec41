"""Floods against a network of processes: all that is accepted is final, the victim stays with the others."""

import pytest

from tests.bench import floods
from tests.bench.chain_network import Plan
from tests.bench.floods import Phase, rows_of


@pytest.mark.slow
def test_no_flood_takes_a_transfer_or_a_member_away() -> None:
    """One at either port; the bench itself measures all of them, and what they cost."""
    names = ["wrong signatures, RPC", "oversized frames"]
    phases = floods.flood(Plan(rate=40, period_ms=250, validators=2), names, 1.0, 0.3)
    assert [phase.name for phase in phases] == ["calm", *names]
    assert [phase.members for phase in phases] == [2] * 3
    assert all(phase.transfers_per_second > 0 for phase in phases)
    signatures, frames = (phase.attacker for phase in phases[1:])
    assert signatures["answered"] > 100
    assert (frames["hellos"] >= 1, frames["dropped"] >= 1) == (True, True)


def phase(name: str, transfers: float, accepted: float, victim_ms: float, **attacker: int) -> Phase:
    return Phase(name, transfers, accepted, 1_000, 0, victim_ms, 50.0, 70.0, 4, name == "pings", attacker)


def test_rows_compare_with_the_calm_phase() -> None:
    calm, pings = rows_of([phase("calm", 100, 100, 60), phase("pings", 45, 50, 90, sent=7)])
    assert (calm.ratio, pings.ratio) == (1.0, 0.9)
    assert pings.note == (
        "of 50 accepted; victim +30 ms/s (calm 60); others +0 ms/s; longest interval 1000 ms; 0 impeached; "
        "victim 70 MiB; 4 members; shut; attacker: sent 7"
    )
