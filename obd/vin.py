"""Vehicle identification numbers: form and check digit.

Runs on CPython and MicroPython.  The check digit is law in North America and China; cars elsewhere may
have any character there, so a wrong one is a remark, not an error.
Sources: ISO 3779:2009 (form), ISO 3780 (maker), 49 CFR 565.15 (check digit).
"""

SIZE = 17
CHECK_PLACE = 8
"""Index of the check digit."""
_CHARACTERS = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
"""I, O and Q do not exist."""
_COUNTS = "012345678912345678123457923456789"
"""What each of them counts."""
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_REGIONS = (
    ("ABCDEFGH", "Africa"),
    ("JKLMNPR", "Asia"),
    ("STUVWXYZ", "Europe"),
    ("12345", "North America"),
    ("67", "Oceania"),
    ("89", "South America"),
)


def fault(vin: str) -> "str | None":
    """Which rule of ISO 3779 the text breaks, or None."""
    if len(vin) != SIZE:
        return f"a VIN has {SIZE} characters, this has {len(vin)}"
    for character in vin:
        if character not in _CHARACTERS:
            return f"{character!r} is not used in VINs"
    return None


def check_digit(vin: str) -> str:
    """The digit, or X, that belongs in the ninth place; vin: one without `fault`."""
    total = 0
    for character, weight in zip(vin, _WEIGHTS):  # noqa: B905 - MicroPython's zip has no strict
        total += int(_COUNTS[_CHARACTERS.index(character)]) * weight
    return "0123456789X"[total % 11]


def has_check_digit(vin: str) -> bool:
    """The ninth character is the check digit of the others."""
    return fault(vin) is None and vin[CHECK_PLACE] == check_digit(vin)


def region(vin: str) -> str:
    """Part of the world of the maker, by the first character."""
    for letters, name in _REGIONS:
        if vin[:1] and vin[:1] in letters:
            return name
    return "unknown"
