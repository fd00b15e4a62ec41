"""Waiting in tests: for what is so at some time, without a look at the clock.

Runs on CPython.
"""

import asyncio
from collections.abc import Callable


async def until(is_so: Callable[[], bool]) -> None:
    """Lets the others run until it is so; whoever calls sets a limit to all of it."""
    while not is_so():  # noqa: ASYNC110 - of what others do, and tell nobody
        await asyncio.sleep(0)
