"""What a running gateway does for its status list, and what `cpc status` says of it.

Runs on CPython, on Linux.  Part of the command line: gateway/status_keeper.py decides when,
gateway/enrolment.py how; here it is given the site's file, lock and chain.  An attempt runs in a thread of
its own, since its syncs may take a second on an SD card, and buses go on being read meanwhile.
"""

import asyncio
import contextlib
import logging
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from chain_node.wire import ChainError
from gateway.cli_output import Output, moment_text
from gateway.cli_registrar import held_site, open_registrar
from gateway.config import GatewayConfig
from gateway.crypto.key_file import GatewayKey
from gateway.database import open_database
from gateway.devices import ADDED, APPLICATION_ID, FILE_NAME, SCHEMA, SCHEMA_VERSION
from gateway.disk import DiskError
from gateway.enrolment import Site, publish
from gateway.errors import GatewayBusy, GatewayError
from gateway.sensors.source import SYSTEM_CLOCK, Clock
from gateway.status_keeper import ListState, keep, list_state, note_failure
from gateway.troubles import Troubles, duration_text
from puf.errors import PufError

log = logging.getLogger("cpc.gateway")

WAIT_MS = 30_000
"""How long one attempt waits for its transaction to be final; the next one goes on with it."""
NAME = "status list"


async def keep_status_list(
    config: Callable[[], GatewayConfig], key: GatewayKey, output: Output, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Keeps it fresh, for ever.  config: what it is at the time."""
    troubles = Troubles(clock)

    async def attempt() -> None:
        error = await _in_a_thread(lambda: publish_once(config(), key, output))
        if isinstance(error, GatewayBusy):
            # Another command is at it, and publishes by itself; what was wrong may still be.
            return
        if error is None:
            troubles.over(NAME)
        else:
            troubles.happened(NAME, error, "; it is tried again, see cpc status")

    def look() -> ListState | None:
        try:
            return read_list_state(config().file.parent)
        except DiskError as error:
            troubles.happened(NAME, error)
            return None

    await keep(look, attempt, clock)


async def publish_once(config: GatewayConfig, key: GatewayKey, output: Output) -> Exception | None:
    """One attempt, what comes of it kept in the site's file.  What went wrong, if it may pass."""
    try:
        with held_site(config, key) as site:
            return await _published(config, output, site)
    except (GatewayBusy, DiskError) as error:
        return error


async def _published(config: GatewayConfig, output: Output, site: Site) -> Exception | None:
    try:
        async with open_registrar(Namespace(wait_ms=WAIT_MS), output, site, config) as registrar:
            made = await publish(site, registrar)
    except (ChainError, GatewayError, PufError, OSError) as error:
        note_failure(site.devices.connection, site.now_ms(), error)
        return error
    log.info("version %d of the status list is on the chain", made.version)
    return None


async def _in_a_thread(work: Callable[[], Coroutine[Any, Any, Exception | None]]) -> Exception | None:
    """The result of `work`, done beside; cancelling ends it."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    caller = asyncio.get_running_loop()

    async def body() -> Exception | None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - we are in one
        running.append((asyncio.get_running_loop(), task))
        return await work()

    def settle(result: Exception | None, failure: BaseException | None) -> None:
        if done.done():
            return
        if failure is None:
            done.set_result(result)
        else:
            done.set_exception(failure)

    def run() -> None:
        result, failure = None, None
        try:
            result = asyncio.run(body())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):
            # The caller's loop may have ended meanwhile.
            caller.call_soon_threadsafe(settle, result, failure)

    thread = threading.Thread(target=run, name=NAME, daemon=True)
    thread.start()
    try:
        return await done
    except asyncio.CancelledError:
        for loop, task in running:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        raise


def read_list_state(folder: Path) -> ListState | None:
    """How it stands with the list of the site in this folder; None: it has no registry.  Raises DiskError."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    connection = open_database(
        path,
        schema=SCHEMA + ADDED,
        schema_version=SCHEMA_VERSION,
        application_id=APPLICATION_ID,
        read_only=True,
    )
    with contextlib.closing(connection):
        return list_state(connection)


def status_json(state: ListState | None) -> dict[str, Any] | None:
    """For `cpc status`; None: nobody has an entry in the list."""
    if state is None or not state.is_needed:
        return None
    return {
        "version": state.version,
        "issued_ms": state.issued_ms,
        "stale_ms": state.stale_ms,
        "is_anchored": state.is_anchored,
        "is_current": state.is_current,
        "failures": state.failures,
        "tried_ms": state.tried_ms,
        "why": state.why,
    }


def status_text(shown: dict[str, Any]) -> str:
    """The same for people."""
    now_ms = time.time_ns() // 1_000_000
    if not shown["version"]:
        text = "status list: none was made yet"
    else:
        age_ms = now_ms - shown["issued_ms"]
        left_ms = shown["stale_ms"] - now_ms
        text = f"status list: version {shown['version']}, made {duration_text(max(age_ms, 0))} ago"
        text += ", anchored" if shown["is_anchored"] else ", NOT anchored yet"
        text += "" if shown["is_current"] else ", something was revoked since"
        text += f", counts for {duration_text(left_ms)} more" if left_ms > 0 else ", STALE: readers refuse it"
    if shown["failures"]:
        when = moment_text(shown["tried_ms"] * 1_000_000)
        text += f"\n  publishing failed {shown['failures']} times, last at {when}: {shown['why']}"
    elif shown["version"] and shown["stale_ms"] <= now_ms:
        text += "; cpc run keeps it fresh, cpc device status-list makes one now"
    return text
