"""Keeps a site's status list fresh: made anew and anchored well before readers refuse it as stale.

Runs on CPython; the caller's clock.  A list is due

    at once      when there is none, when it is not anchored, when something was revoked since, when its time
                 is of the future (the clock was set back), and at half of its time to live
    later        after an attempt that failed: in 15 s, twice as long each time, 15 minutes at most

A site without devices and credentials needs none.  What failed is kept in the site's file, for `cpc status`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from apsw import Connection

from gateway.database import database_errors, transaction
from gateway.devices import revoked_array
from gateway.enrolment import TTL_MS, Site
from gateway.sensors.source import Clock
from puf import cwt, status_list
from puf.errors import PufError

REFRESH_MS = TTL_MS // 2
"""The age at which a list is made anew: half of its life is left for a chain that is away."""
LOOK_MS = 5_000
"""How often it is looked whether something was revoked; also after another command was in the way."""
RETRY_MS = 15_000
RETRY_MS_MAX = 900_000


@dataclass(frozen=True, slots=True)
class ListState:
    """How it stands with a site's status list."""

    is_needed: bool
    """Somebody has an entry in it."""
    version: int
    """The newest; 0: none was made."""
    issued_ms: int
    """When it was made, Unix milliseconds."""
    is_anchored: bool
    """Its hash is proven to be on the chain."""
    is_current: bool
    """Nothing was revoked since."""
    failures: int
    """Attempts to publish that failed, one after another, until now."""
    tried_ms: int
    """When the last of them was."""
    why: str
    """What went wrong then."""

    @property
    def stale_ms(self) -> int:
        """From when on readers refuse it, unless a newer one comes."""
        return self.issued_ms + TTL_MS

    def due_in_ms(self, now_ms: int) -> int:
        """How long until it should be published again; 0: now."""
        if not self.is_needed:
            return LOOK_MS
        if self.is_anchored and self.is_current and self.issued_ms <= now_ms + cwt.SKEW_MS:
            left_ms = self.issued_ms + REFRESH_MS - now_ms
            if left_ms > 0:
                return left_ms
        # A clock that was set back makes no wait longer than what it is.
        wait_ms = retry_ms(self.failures)
        return max(0, min(self.tried_ms + wait_ms - now_ms, wait_ms)) if self.failures else 0


def retry_ms(failures: int) -> int:
    """How long is waited after so many failures."""
    return min(RETRY_MS << min(max(failures - 1, 0), 16), RETRY_MS_MAX)


def list_state(connection: Connection) -> ListState:
    """As the site's file has it.  Raises DatabaseError."""
    with database_errors(connection):
        has_keeping = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'keeping'").get
        is_needed = bool(connection.execute("SELECT EXISTS (SELECT * FROM status)").get)
        row = connection.execute(
            "SELECT version, token, evidence IS NOT NULL FROM published ORDER BY version DESC LIMIT 1"
        ).fetchone()
        trouble = has_keeping and connection.execute("SELECT failures, tried_ms, why FROM keeping").fetchone()
    failures, tried_ms, why = trouble or (0, 0, "")
    version, token, is_anchored = row or (0, b"", 0)
    issued_ms, is_current = _read(bytes(token), revoked_array(connection)) if version else (0, False)
    return ListState(
        *(is_needed, int(version), issued_ms, bool(is_anchored), is_current),
        *(int(failures), int(tried_ms), str(why)),
    )


def _read(token: bytes, array: bytes) -> tuple[int, bool]:
    """When a list was made, and whether these are its bits."""
    try:
        claims = cwt.open_cwt(token, status_list.TYP, status_list.TOKEN_SIZE_MAX).claims
        statuses = status_list.StatusList.decode(claims[status_list.STATUS_LIST])
    except PufError:
        # The disk has altered it: another one is made.
        return 0, False
    issued = claims[cwt.IAT]
    assert isinstance(issued, int)  # noqa: S101 - `open_cwt` has looked
    return 1000 * issued, bytes(statuses.array) == array


def is_due(site: Site) -> bool:
    """Whether this site's list is to be published now, failures or none."""
    state = list_state(site.devices.connection)
    return state.failures > 0 or state.due_in_ms(site.now_ms()) == 0


def note_failure(connection: Connection, now_ms: int, error: Exception) -> None:
    """Keep that it could not be published, until one is (`Devices.anchored`), by whichever command."""
    with transaction(connection) as changed:
        changed.execute(
            "INSERT INTO keeping (only, failures, tried_ms, why) VALUES (1, 1, ?, ?) ON CONFLICT (only) "
            "DO UPDATE SET failures = failures + 1, tried_ms = excluded.tried_ms, why = excluded.why",
            (now_ms, str(error)[:500]),
        )


async def keep(
    look: Callable[[], ListState | None], publish: Callable[[], Awaitable[object]], clock: Clock
) -> None:
    """Publishes whenever it is due, for ever.

    look: how it stands; None: the site has no registry.  publish: one attempt, which keeps what comes of it
    and raises nothing that may pass.
    """
    while True:
        state = look()
        due_in_ms = LOOK_MS if state is None else state.due_in_ms(clock.now_ns() // 1_000_000)
        if due_in_ms == 0:
            await publish()
            due_in_ms = LOOK_MS
        await clock.sleep(min(due_in_ms, LOOK_MS) / 1000)
