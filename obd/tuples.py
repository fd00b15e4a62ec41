"""Making a namedtuple without the function that Python would call for it.

Runs on CPython and MicroPython.  `new(Answer, (ecu, data))` is `Answer(ecu, data)` in a third of the time,
since CPython writes each namedtuple a constructor in Python.  For what is made at every answer of a car, and
nothing else.
"""

import sys

if sys.implementation.name != "micropython":
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")


def _by_call(kind: "type[T]", values: "tuple[Any, ...]") -> "T":
    """What MicroPython can; its namedtuples have no such function."""
    return kind(*values)


new: "Callable[[type[T], tuple[Any, ...]], T]" = getattr(tuple, "__new__", _by_call)
"""The tuple of this kind with these values, as many as it has fields: nobody counts them."""
