"""Diagnostic trouble codes: two bytes, or three with a failure type, and the text that people know.

Runs on CPython and MicroPython.  Sources: SAE J2012 / ISO 15031-6 (codes), J2012-DA (failure types).
"""

from obd.errors import ResponseError

LETTERS = "PCBU"
"""Powertrain, chassis, body, network."""
SYSTEMS = {"P": "powertrain", "C": "chassis", "B": "body", "U": "network"}


def dtc_text(number: int) -> str:
    """`P0301` of 0x0301; number: 0 to 0xFFFF."""
    return f"{LETTERS[number >> 14 & 3]}{number & 0x3FFF:04X}"


def dtc_number(text: str) -> int:
    """0x0301 of `P0301`.  Raises ResponseError."""
    digits = text[1:]
    letter = LETTERS.find(text[:1].upper()) if text else -1
    if letter < 0 or len(digits) != 4 or digits[0] not in "0123":
        raise ResponseError(f"{text!r} is no trouble code: expected a letter of {LETTERS} and 0000 to 3FFF")
    try:
        number = int(digits, 16)
    except ValueError:
        raise ResponseError(f"{text!r} is no trouble code: {digits!r} is not hexadecimal") from None
    return letter << 14 | number


def is_generic(text: str) -> bool:
    """The standard says what it means; otherwise the manufacturer does.

    P0, P2, P34 to P39; U0, U3; B0, B3; C0, C3 are the standard's (J2012, table 1)."""
    if text[:1] == "P":
        return text[1:2] in ("0", "2") or (text[1:2] == "3" and text[2:3] >= "4")
    return text[1:2] in ("0", "3")


def parse_dtcs(data: bytes) -> list[str]:
    """Codes in an answer to service 03, 07 or 0A without the service byte: a count, then two bytes each.

    Codes of zero, which fill frames up, are left out.  Raises ResponseError."""
    if not data:
        return []
    codes = data[1:]
    if len(data) % 2 == 0:
        # Without a count: what an adapter without headers gives of an older bus.
        codes = data
    elif data[0] * 2 != len(codes):
        raise ResponseError(f"{data[0]} trouble codes announced, {len(codes) // 2} there: {data.hex()}")
    numbers = [codes[at] << 8 | codes[at + 1] for at in range(0, len(codes), 2)]
    return [dtc_text(number) for number in numbers if number]
