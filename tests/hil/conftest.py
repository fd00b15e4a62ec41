"""Tests here may be coroutines, and may ask for a rig: `async def test_..(rig: Rig)`.

RIG=virtual, or nothing: simulated boards.  RIG=bench.toml: the boards that the file describes, and the same
tests; one that asks for what the bench lacks is skipped, with the reason.  What boards said is shown when a
test fails.
"""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from hil.errors import LacksError

TEST_TIMEOUT_S = 240
"""A story that takes longer hangs; no figure depends on it."""


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The loop of this test."""
    with asyncio.Runner() as made:
        yield made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A coroutine needs the loop, whether it asks or not."""
    if inspect.iscoroutinefunction(metafunc.function) and "runner" not in metafunc.fixturenames:
        metafunc.fixturenames.append("runner")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}
    runner: asyncio.Runner = pyfuncitem.funcargs["runner"]

    async def bounded() -> None:
        async with asyncio.timeout(TEST_TIMEOUT_S):
            await pyfuncitem.obj(**arguments)

    try:
        runner.run(bounded())
    except LacksError as error:
        pytest.skip(str(error))
    return True
