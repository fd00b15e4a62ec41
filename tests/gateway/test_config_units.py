"""What people mean who write a quantity in another unit."""

import pytest

from gateway.config_units import same_in_another_unit, whole_number


@pytest.mark.parametrize(
    ("value", "unit", "said_in", "expected"),
    [
        ("1s", "ms", None, 1000),
        ("1.5 min", "ms", None, 90_000),
        ("250", "ms", None, 250),
        (2, "ms", "hours", 7_200_000),
        ("1us", "ms", None, None),
        ("64 MB", "mib", None, None),
        ("2 GiB", "mib", None, 2048),
        ("1m", "kib", None, 1024),
        (0.25, "ucpc", "cpc", 250_000),
        ("1s", "mib", None, None),
        ("7", None, None, 7),
        ("7s", None, None, None),
        (True, "ms", None, None),
        (-1, "ms", None, None),
        (1e300, "ms", None, None),
        (1 << 70, "ms", None, None),
    ],
)
def test_what_a_person_means_is_worked_out_or_left(
    value: object, unit: str | None, said_in: str | None, expected: int | None
) -> None:
    assert whole_number(value, unit, said_in) == expected


def test_a_key_in_another_unit_is_known_by_its_stem() -> None:
    known = ["name", "block_ms", "size_max_mib"]
    assert same_in_another_unit("block_seconds", known) == ("block_ms", "seconds")
    assert same_in_another_unit("size_max_GB", known) == ("size_max_mib", "gb")
    assert same_in_another_unit("block", known) == ("block_ms", None)
    assert same_in_another_unit("block_gb", known) is None
    assert same_in_another_unit("name_s", known) is None
