"""What TLC finds of a case, for the tests of the models: each case once, on one worker.

Runs on CPython.
"""

import pytest

from tests import model
from tests.model import Case, Found, ToolMissingError

_FOUND: dict[int, Found] = {}
"""By the case, which lives as long as its module."""


def found_once(name: str, cases: tuple[Case, ...]) -> Found:
    """What TLC finds of the case of that name; where it cannot run, the test is skipped and says why."""
    case = next(case for case in cases if case.name == name)
    if id(case) in _FOUND:
        return _FOUND[id(case)]
    try:
        model.find_java(), model.find_jar()
    except ToolMissingError as missing:
        pytest.skip(str(missing))
    # With one worker a counterexample is a shortest one, and always the same.
    return _FOUND.setdefault(id(case), model.run(case, workers=1))
