"""The texts of generic trouble codes: what the table says row by row, and what it owns up to not having."""

import re

import pytest

from obd.dtc_texts import COVERAGE, text_of, texts


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("P003C", "Intake camshaft profile control performance or stuck off, bank 1"),
        ("P00BD", "Mass air flow sensor A: circuit range or performance, air flow too high"),
        ("P015D", "Oxygen sensor delayed response, lean to rich, bank 2 sensor 1"),
        ("P02B8", "Cylinder 8: injector restricted"),
        ("P0597", "Thermostat heater: control circuit open"),
        ("P0679", "Cylinder 9 glow plug: circuit"),
        ("P0680", "Cylinder 10 glow plug: circuit"),
        ("P0729", "Incorrect ratio of gear 6"),
        ("P0787", "Shift timing solenoid A: low"),
        ("P07A3", "Transmission friction element A: stuck on"),
        ("P0B16", "Hybrid battery pack voltage sense B: circuit low"),
        ("P0B29", "Hybrid battery B voltage low"),
        ("P0D20", "Battery charger A output voltage performance"),
        ("P3400", "Cylinder deactivation system, bank 1"),
        ("U3011", "Ignition input: off"),
    ],
)
def test_codes_of_each_part_of_the_table(code: str, text: str) -> None:
    assert text_of(code) == text


@pytest.mark.parametrize(
    ("first", "members", "step"),
    [
        ("P029A", 12, 4),  # fuel trim, then restricted and leaking injector, cylinders 1 to 12
        ("P02CC", 10, 2),  # offset learning of the injectors, cylinders 1 to 10
        ("P02EE", 12, 1),
        ("P06B9", 12, 1),
        ("P06C5", 12, 1),
    ],
)
def test_rows_of_cylinders_count_on_without_a_gap(first: str, members: int, step: int) -> None:
    start = int(first[1:], 16)
    row = [text_of(f"P{start + step * n:04X}") for n in range(members)]
    model = row[0].split()
    place = next(i for i, word in enumerate(model) if word.strip(":") == "1")
    assert [int(text.split()[place].strip(":")) for text in row] == list(range(1, members + 1))
    assert len({" ".join(w for i, w in enumerate(text.split()) if i != place) for text in row}) == 1


def test_no_two_codes_have_the_same_text() -> None:
    # A row shifted by one, or a part named twice, shows here.
    assert len(set(texts().values())) == len(texts())
    assert len(texts()) > 6_800


def missing() -> list[tuple[str, str]]:
    """First and last of what `COVERAGE` says is not there."""
    code = r"[PCBU][0-3][0-9A-F]{3}"
    listed = COVERAGE.split("Missing: ")[1]
    gaps = re.findall(f"({code}) to ({code})", listed)
    gaps += [(first, first[:3] + "FF") for first in re.findall(f"({code}) and up", listed)]
    gaps += [(block + "00", block[:2] + "FFF") for block in re.findall(r"([BC]0\d)xx and up", listed)]
    for first, last in re.findall(r"none of (P\w\w)xx(?: to (P\w\w)xx)?", COVERAGE):
        gaps.append((first + "00", (last or first) + "FF"))
    return gaps


def test_what_coverage_calls_missing_is_missing() -> None:
    gaps = missing()
    assert len(gaps) == 24
    for first, last in gaps:
        assert first < last
        assert not [code for code in texts() if first <= code <= last], (first, last)
        assert text_of(first).endswith("no text here")
