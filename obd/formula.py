"""Formulas such as `(256*A+B)/4`, from text to a function of data bytes, and never by `eval`.

Runs on CPython and MicroPython.  A is the first data byte, Z the 26th, AA the 27th.  There are + - * /,
brackets, numbers (also 0x1F), bits `A.7` (7 is the highest) and these functions: `bits(x, low, count)`,
`signed8(x)`, `signed16(x)`, `signed32(x)`.  `A.0 ? B/2` gives no value where A.0 is 0.
The notation is that of SAE J1979, annex B, as tables of values for OBD commonly write it.
"""

import sys

from obd.errors import ResponseError, TableError

if sys.implementation.name != "micropython":
    # Annotations only, which MicroPython does not look at.
    from collections.abc import Callable

    Node = Callable[[bytes], int | float]

TEXT_MAX = 200
"""Also keeps every number that comes up far below what a float can hold."""
DEPTH_MAX = 20
VALUE_MAX = (1 << 63) - 1
_DIGITS = "0123456789"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FUNCTIONS = {"signed8": 1, "signed16": 1, "signed32": 1, "bits": 3}


class Formula:
    """A formula ready to be used."""

    def __init__(self, text: str) -> None:
        """Raises TableError; the message names the place."""
        if len(text) > TEXT_MAX:
            raise TableError(f"formula {text[:40]!r}..: longer than {TEXT_MAX} characters")
        self.text = text
        self.bytes_needed = 0
        """Data bytes that it reads."""
        condition, question, rest = text.partition("?")
        self._condition = _Parser(self, condition, text).whole() if question else None
        self._value = _Parser(self, rest if question else condition, text).whole()
        self.value = None if question else self._value
        """The bare function of a formula without a condition, for who knows that the data is long enough."""

    def __call__(self, data: bytes) -> "int | float | None":
        """The value, or None where the condition says that there is none.  Raises ResponseError."""
        try:
            if self._condition is not None and not self._condition(data):
                return None
            value: int | float = self._value(data)
        except IndexError:
            raise ResponseError(
                f"{len(data)} data bytes are too few for {self.text}, which needs {self.bytes_needed}"
            ) from None
        except ZeroDivisionError:
            raise ResponseError(f"{self.text} divides by zero for {data.hex()}") from None
        # No record holds more, and nothing in a car is so large.
        if not -VALUE_MAX <= value <= VALUE_MAX:
            raise ResponseError(f"{self.text} is too large for {data.hex()}")
        return value


class _Parser:
    """Recursive descent over one text; every node is a function of the data bytes."""

    def __init__(self, formula: Formula, text: str, whole: str) -> None:
        self._formula = formula
        self._text = text
        self._whole = whole
        self._at = 0
        self._depth = 0

    def whole(self) -> "Node":
        node = self._sum()
        if self._peek():
            raise self._wrong(f"{self._peek()!r} was not expected")
        return node

    def _wrong(self, reason: str) -> TableError:
        return TableError(f"formula {self._whole!r}: {reason}, at character {self._at + 1} of {self._text!r}")

    def _peek(self) -> str:
        while self._text[self._at : self._at + 1] == " ":
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise self._wrong(f"{character!r} was expected")
        self._at += 1

    def _sum(self) -> "Node":
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._wrong("nested too deep")
        left = self._product()
        while self._peek() in ("+", "-"):
            operator = self._peek()
            self._at += 1
            left = _join(operator, left, self._product())
        self._depth -= 1
        return left

    def _product(self) -> "Node":
        left = self._factor()
        while self._peek() in ("*", "/"):
            operator = self._peek()
            self._at += 1
            left = _join(operator, left, self._factor())
        return left

    def _factor(self) -> "Node":
        character = self._peek()
        if character == "-":
            self._at += 1
            self._depth += 1
            if self._depth > DEPTH_MAX:
                raise self._wrong("nested too deep")
            node = _join("-", _Constant(0), self._factor())
            self._depth -= 1
            return node
        if character == "(":
            self._at += 1
            node = self._sum()
            self._take(")")
            return node
        if character and character in _DIGITS:
            return _Constant(self._number())
        word = self._word()
        if word in _FUNCTIONS:
            return self._call(word)
        if not 1 <= len(word) <= 2 or not all(letter in _LETTERS for letter in word):
            raise self._wrong(f"{word or 'the end'!r} is no data byte (A to ZZ), function or number")
        index = 0
        for letter in word:
            index = index * 26 + _LETTERS.index(letter) + 1
        self._formula.bytes_needed = max(self._formula.bytes_needed, index)
        if self._peek() == ".":
            self._at += 1
            bit = self._peek()
            if not bit or bit not in "01234567":
                raise self._wrong("a bit is 0 to 7")
            self._at += 1
            return _bit(index - 1, int(bit))
        return _byte(index - 1)

    def _number(self) -> "int | float":
        begin = self._at
        if self._text[begin : begin + 2] == "0x":
            self._at += 2
            digits = self._run("0123456789abcdefABCDEF")
            if not digits:
                raise self._wrong("0x needs digits")
            return int(digits, 16)
        digits = self._run(_DIGITS)
        if self._text[self._at : self._at + 1] == ".":
            self._at += 1
            return float(digits + "." + (self._run(_DIGITS) or "0"))
        return int(digits)

    def _run(self, allowed: str) -> str:
        begin = self._at
        while self._at < len(self._text) and self._text[self._at] in allowed:
            self._at += 1
        return self._text[begin : self._at]

    def _word(self) -> str:
        return self._run("abcdefghijklmnopqrstuvwxyz" + _DIGITS + _LETTERS)

    def _call(self, name: str) -> "Node":
        self._take("(")
        arguments = [self._sum()]
        while self._peek() == ",":
            self._at += 1
            arguments.append(self._sum())
        self._take(")")
        if len(arguments) != _FUNCTIONS[name]:
            raise self._wrong(f"{name} takes {_FUNCTIONS[name]} arguments")
        if name == "bits":
            low, count = arguments[1:]
            if not isinstance(low, _Constant) or not isinstance(count, _Constant):
                raise self._wrong("bits takes a value and two numbers")
            if not 0 <= low.value <= 63 or not 1 <= count.value <= 64:
                raise self._wrong("bits(x, low, count): low is 0 to 63, count 1 to 64")
            return _bits(arguments[0], int(low.value), int(count.value))
        return _signed(arguments[0], int(name[6:]))


class _Constant:
    """A number, kept apart so that sums of numbers are added up once."""

    def __init__(self, value: "int | float") -> None:
        self.value = value

    def __call__(self, data: bytes) -> "int | float":
        return self.value


def _byte(index: int) -> "Node":
    return lambda data: data[index]


def _bit(index: int, bit: int) -> "Node":
    return lambda data: data[index] >> bit & 1


def _bits(node: "Node", low: int, count: int) -> "Node":
    mask = (1 << count) - 1
    return lambda data: int(node(data)) >> low & mask


def _signed(node: "Node", width: int) -> "Node":
    limit = 1 << (width - 1)
    return lambda data: ((int(node(data)) + limit) & (2 * limit - 1)) - limit


def _join(operator: str, left: "Node", right: "Node") -> "Node":
    """A node for both sides; numbers are worked out now, and a number on one side costs no call."""
    if isinstance(right, _Constant):
        if isinstance(left, _Constant) and not (operator == "/" and right.value == 0):
            return _Constant(_work_out(operator, left.value, right.value))
        number = right.value
        if operator == "+":
            return lambda data: left(data) + number
        if operator == "-":
            return lambda data: left(data) - number
        if operator == "*":
            return lambda data: left(data) * number
        return lambda data: left(data) / number
    if isinstance(left, _Constant):
        number = left.value
        if operator == "+":
            return lambda data: number + right(data)
        if operator == "-":
            return lambda data: number - right(data)
        if operator == "*":
            return lambda data: number * right(data)
        return lambda data: number / right(data)
    if operator == "+":
        return lambda data: left(data) + right(data)
    if operator == "-":
        return lambda data: left(data) - right(data)
    if operator == "*":
        return lambda data: left(data) * right(data)
    return lambda data: left(data) / right(data)


def _work_out(operator: str, left: "int | float", right: "int | float") -> "int | float":
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    return left / right
