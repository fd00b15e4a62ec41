"""How to take one CAN message apart, prepared once so that each frame costs little.

Runs on CPython.  A `Plan` holds, for one message or one branch of a multiplexer, what to shift out
of the frame's bytes read as one number.  It gives what cantools' `decode` gives, choices as text,
which a test holds it to for all files and random frames; and it also decodes overlapping signals,
where cantools gives wrong values or none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

Value = int | float | str
Choices = Mapping[int, str]

FLOAT_FORMATS = {16: ">e", 32: ">f", 64: ">d"}
"""By length in bits, IEEE 754."""


class Plan:
    """One level of a message."""

    __slots__ = (
        "_blank",
        "_chosen",
        "_floats",
        "_linear",
        "_named",
        "_plain",
        "_signed",
        "branches",
        "has_big",
        "size",
    )

    def __init__(self, size: int, signals: Iterable[Any]) -> None:
        """size: bytes the frame is cut to.  signals: of cantools."""
        signals = list(signals)
        self.size = size
        self.has_big = any(signal.byte_order == "big_endian" for signal in signals)
        self._blank: dict[str, Value] = {signal.name: 0 for signal in signals}
        """Copied for each frame: all signals in their order, to be overwritten."""
        self._plain: list[tuple[str, int, int]] = []
        self._linear: list[tuple[str, int, int, float, float]] = []
        self._signed: list[tuple[str, int, int, int, float, float]] = []
        self._named: list[tuple[str, int, int, int, float, float, Choices]] = []
        self._floats: list[tuple[str, int, int, str, float, float, Choices]] = []
        self.branches: list[tuple[int, int, int, dict[int, Plan]]] = []
        """Shift, mask, sign of a multiplexer, and the plan for each of its values."""
        for signal in signals:
            self._add(signal)

    def _add(self, signal: Any) -> None:
        shift = bit_shift(signal, self.size)
        mask = (1 << signal.length) - 1
        sign = 1 << (signal.length - 1) if signal.is_signed and not signal.is_float else 0
        scale, offset = _conversion(signal)
        choices = {number: str(text) for number, text in (signal.choices or {}).items()}
        if signal.is_float:
            form = FLOAT_FORMATS[signal.length]
            self._floats.append((signal.name, shift, mask, form, scale, offset, choices))
        elif choices:
            self._named.append((signal.name, shift, mask, sign, scale, offset, choices))
        elif sign:
            self._signed.append((signal.name, shift, mask, sign, scale, offset))
        elif (scale, offset) == (1, 0):
            self._plain.append((signal.name, shift, mask))
        else:
            self._linear.append((signal.name, shift, mask, scale, offset))

    def decode(self, data: bytes) -> dict[str, Value]:
        """Values by name.  data: at least `size` bytes."""
        if len(data) != self.size:
            data = data[: self.size]
        word = int.from_bytes(data, "little")
        if self.has_big:
            # Both readings in one number, so that every signal is one shift, see `bit_shift`.
            word |= int.from_bytes(data, "big") << 8 * self.size
        return self.decode_word(word)

    def decode_word(self, word: int) -> dict[str, Value]:
        """Values by name, out of what `decode` makes of the bytes."""
        values = self._blank.copy()
        for name, shift, mask in self._plain:
            values[name] = word >> shift & mask
        for name, shift, mask, scale, offset in self._linear:
            values[name] = (word >> shift & mask) * scale + offset
        for name, shift, mask, sign, scale, offset in self._signed:
            values[name] = ((word >> shift & mask ^ sign) - sign) * scale + offset
        for name, shift, mask, sign, scale, offset, choices in self._named:
            raw = (word >> shift & mask ^ sign) - sign
            text = choices.get(raw)
            values[name] = raw * scale + offset if text is None else text
        for name, shift, mask, form, scale, offset, choices in self._floats:
            values[name] = _float(word >> shift & mask, form, scale, offset, choices)
        for shift, mask, sign, plans in self.branches:
            plan = plans.get((word >> shift & mask ^ sign) - sign)
            if plan is not None:
                values.update(plan.decode_word(word))
        return values


def plan_message(message: Any, size: int) -> Plan:
    """The plan of a cantools message for frames of at least `size` bytes; signals beyond are left out."""
    by_name = {
        signal.name: signal for signal in message.signals if last_byte(signal) <= size and is_sound(signal)
    }
    plan = _plan_tree(message.signal_tree, by_name, size)
    # Only the outermost plan reads the bytes, so it must know of the innermost signal.
    plan.has_big = _any_big(plan)
    return plan


def _plan_tree(tree: Iterable[Any], by_name: dict[str, Any], size: int) -> Plan:
    names: list[str] = []
    multiplexers: list[tuple[str, dict[int, list[Any]]]] = []
    for node in tree:
        if isinstance(node, str):
            names.append(node)
        else:
            ((name, children),) = node.items()
            names.append(name)
            multiplexers.append((name, children))
    plan = Plan(size, (by_name[name] for name in names if name in by_name))
    for name, children in multiplexers:
        if name not in by_name:
            continue
        signal = by_name[name]
        sign = 1 << (signal.length - 1) if signal.is_signed else 0
        plans = {number: _plan_tree(subtree, by_name, size) for number, subtree in children.items()}
        plan.branches.append((bit_shift(signal, size), (1 << signal.length) - 1, sign, plans))
    return plan


def _any_big(plan: Plan) -> bool:
    return plan.has_big or any(_any_big(child) for *_, plans in plan.branches for child in plans.values())


def is_sound(signal: Any) -> bool:
    """False for a float of a length that floats do not have."""
    return not signal.is_float or signal.length in FLOAT_FORMATS


def last_byte(signal: Any) -> int:
    """Bytes a frame must have for this signal to be whole."""
    if signal.byte_order == "little_endian":
        return int(signal.start + signal.length + 7) // 8
    return (network_bit(signal) + int(signal.length) + 7) // 8


def network_bit(signal: Any) -> int:
    """Place of a big-endian signal's highest bit, counted from the highest bit of byte 0."""
    return 8 * (int(signal.start) // 8) + 7 - int(signal.start) % 8


def bit_shift(signal: Any, size: int) -> int:
    """How far the signal is from bit 0 of the number that `Plan.decode` makes of `size` bytes."""
    if signal.byte_order == "little_endian":
        return int(signal.start)
    return 8 * size + (8 * size - network_bit(signal) - int(signal.length))


def _conversion(signal: Any) -> tuple[float, float]:
    """Scale and offset; ints where the values are, so that the results are ints, as with cantools."""
    scale, offset = signal.scale, signal.offset
    if not signal.is_float and float(scale).is_integer() and float(offset).is_integer():
        return int(scale), int(offset)
    return scale, offset


def _float(raw: int, form: str, scale: float, offset: float, choices: Choices) -> Value:
    size = struct.calcsize(form)
    value: float = struct.unpack(form, raw.to_bytes(size, "big"))[0]
    if choices and value.is_integer() and int(value) in choices:
        return choices[int(value)]
    return value if (scale, offset) == (1, 0) else value * scale + offset
