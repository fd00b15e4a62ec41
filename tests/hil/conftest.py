"""Tests here may be coroutines, and may ask for a rig: `async def test_..(rig: Rig)`.

RIG=virtual, or nothing: simulated boards.  RIG=bench.toml: the boards that the file describes, and the same
tests; one that asks for what the bench lacks is skipped, with the reason.  What boards said is shown when a
test fails.
"""

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.device import Console
from hil.errors import LacksError
from hil.rig import Rig, open_rig
from hil.virtual import VirtualRig

TEST_TIMEOUT_S = 1_800 if os.environ.get("HIL_LONG") else 240
"""A story that takes longer hangs; no figure depends on it."""
LOOK_S = 0.2
RIG = pytest.StashKey[Rig]()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The loop of this test."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def rig(request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path) -> Iterator[Rig]:
    """Boards and radios, simulated or real; all power is off in the end."""
    made = open_rig(tmp_path / "rig")
    runner.run(made.__aenter__())
    request.node.stash[RIG] = made
    yield made
    runner.run(made.__aexit__(None, None, None))


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
    runner = pyfuncitem.funcargs["runner"]
    assert isinstance(runner, asyncio.Runner)

    rig: object = pyfuncitem.funcargs.get("rig")

    async def bounded() -> None:
        test = asyncio.ensure_future(pyfuncitem.obj(**arguments))
        try:
            async with asyncio.timeout(TEST_TIMEOUT_S):
                # Nobody need wait for a board that has crashed.
                while not test.done():
                    await asyncio.wait((test,), timeout=LOOK_S)
                    if isinstance(rig, VirtualRig) and (failure := rig.failure()) is not None:
                        raise failure
            await test
        finally:
            test.cancel()
            await asyncio.wait((test,))

    try:
        runner.run(bounded())
    except LacksError as error:
        pytest.skip(str(error))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """What the boards of a failed test said."""
    report = yield
    rig = item.stash.get(RIG, None)
    if report.when == "call" and report.failed and rig is not None:
        for board in rig.made:
            console = board.parts.get(Console)
            if console is not None:
                report.sections.append((f"console of {board.name}", console.tail()))
    return report
