"""Grants that a site has issued to its devices' visitors, and the keys they are made with.

Runs on CPython, on Linux.  One SQLite file, `grants.sqlite` in the site's folder, mode 0600.  A device has
one key of grants in each epoch, which it derives from its cells and tells its gateway, sealed, when asked
(devices/micropython/commands.py, GRANT_KEY).  An epoch is kept before it is asked for and never used again:
a device that has lost what it remembered of used grants gets another one.  Keys are sealed as pairings are
(gateway/devices.py).  A grant's number is taken, synced, before the grant exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from devices.micropython import commands
from gateway.database import database_errors, open_database, transaction
from gateway.devices import Device, Devices
from gateway.errors import GatewayError
from puf.grant import Grant, answer_time, issue

FILE_NAME = "grants.sqlite"
_NUMBER_MAX = 1 << 62
"""SQLite's integers have 63 bits; nobody issues so many grants in one epoch."""
APPLICATION_ID = 0x43504367
"""Marks the database in its header: "CPCg"."""
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE grant_key (
    ident BLOB PRIMARY KEY,
    epoch INTEGER NOT NULL,
    next INTEGER NOT NULL,
    sealed BLOB
) STRICT;
CREATE TABLE issued (
    row INTEGER PRIMARY KEY,
    ident BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    subject BLOB NOT NULL,
    actions INTEGER NOT NULL,
    begin_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    deposit BLOB NOT NULL,
    amount_ucpc INTEGER NOT NULL,
    issued_ms INTEGER NOT NULL,
    UNIQUE (ident, epoch, number)
) STRICT;
"""


class NoGrantKey(GatewayError):
    """The device has not told its key of grants yet."""


class Asks(Protocol):
    """What speaks to the device: gateway/device_ble.py."""

    async def ask(self, command: int, *arguments: object) -> list[Any]:
        """The results of a request."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One grant, as it was issued."""

    number: int
    epoch: int
    subject: bytes
    actions: int
    begin_ms: int
    until_ms: int
    deposit: bytes
    amount_ucpc: int
    issued_ms: int


class Grants:
    """Use as `with`, or close it.  Methods raise DatabaseError, DiskFull."""

    def __init__(self, path: Path, devices: Devices, gateway: bytes) -> None:
        """devices: what seals the keys.  gateway: its name on the chain, 32 bytes."""
        self._connection = open_database(
            path, schema=SCHEMA, schema_version=SCHEMA_VERSION, application_id=APPLICATION_ID
        )
        self._devices = devices
        self._gateway = gateway

    def __enter__(self) -> "Grants":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    async def meet(self, device: Device, asks: Asks, clock: Callable[[], int]) -> None:
        """What is due when the gateway speaks to a device: a key of grants, if it has lost it, and the time.

        clock: Unix milliseconds.  Raises what asking raises; the next time goes on from there.
        """
        (theirs,) = await asks.ask(commands.GRANT_KEY)
        epoch, _, sealed = self._row(device)
        if not isinstance(theirs, int) or theirs != epoch or sealed is None:
            epoch = max(epoch, theirs if isinstance(theirs, int) else 0) + 1
            self._begin(device, epoch)
            said, key = await asks.ask(commands.GRANT_KEY, epoch)
            if said != epoch or not isinstance(key, bytes):
                raise NoGrantKey(f"{device.name} named a key of another epoch; update its firmware")
            self._keep_key(device, epoch, key)
        (question,) = await asks.ask(commands.TIME)
        await asks.ask(commands.TIME, self.answer_time(device, question, clock()))

    def answer_time(self, device: Device, question: bytes, now_ms: int) -> bytes:
        """The word on the time for a device's question, whoever carries both.

        Raises NoGrantKey, GrantError; the numbers of grants go on where the device wants them.
        """
        epoch, key = self._key(device)
        word, floor = answer_time(question, self._gateway, device.did, key, epoch, now_ms)
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE grant_key SET next = max(next, ?) WHERE ident = ? AND epoch = ?",
                (min(floor, _NUMBER_MAX), device.ident, epoch),
            )
        return word

    def issue(
        self,
        device: Device,
        subject: bytes,
        actions: int,
        begin_ms: int,
        until_ms: int,
        deposit: bytes,
        amount_ucpc: int,
        now_ms: int,
    ) -> tuple[Grant, bytes]:
        """A new grant, and its bytes for who holds it.

        subject: the public key of who may use it, 32 bytes.  begin_ms, until_ms: Unix time, whole seconds.
        Raises NoGrantKey, and ValueError for a grant that no device would take.
        """
        epoch, key = self._key(device)
        with transaction(self._connection) as connection:
            row = connection.execute(
                "UPDATE grant_key SET next = next + 1 WHERE ident = ? RETURNING next - 1", (device.ident,)
            ).fetchone()
            number = int(str(row[0])) if row else 0
            grant = Grant(
                number, subject, device.did, actions, begin_ms, until_ms, deposit, amount_ucpc, epoch
            )
            data = issue(grant, self._gateway, key)
            connection.execute(
                "INSERT INTO issued (ident, epoch, number, subject, actions, begin_ms, until_ms, deposit, "
                "amount_ucpc, issued_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(device.ident, epoch, number, subject, actions, begin_ms, until_ms, deposit),
                    *(amount_ucpc, now_ms),
                ),
            )
        return grant, data

    def issued(self, device: Device) -> list[Issued]:
        """Every grant for this device, the oldest first."""
        with database_errors(self._connection):
            rows = self._connection.execute(
                "SELECT number, epoch, subject, actions, begin_ms, until_ms, deposit, amount_ucpc, issued_ms "
                "FROM issued WHERE ident = ? ORDER BY row",
                (device.ident,),
            ).fetchall()
        found: list[Any] = list(rows)
        return [Issued(*row) for row in found]

    def _row(self, device: Device) -> tuple[int, int, bytes | None]:
        """Epoch, next number and sealed key; epoch 0, which is never used, when there is none."""
        with database_errors(self._connection):
            row: Any = self._connection.execute(
                "SELECT epoch, next, sealed FROM grant_key WHERE ident = ?", (device.ident,)
            ).fetchone()
        return (row[0], row[1], row[2]) if row else (0, 0, None)

    def _key(self, device: Device) -> tuple[int, bytes]:
        epoch, _, sealed = self._row(device)
        if sealed is None:
            raise NoGrantKey(
                f"{device.name} has not told its key of grants yet; let its gateway speak to it first: "
                f"cpc device state {device.name}"
            )
        return epoch, self._devices.unseal(
            _ident(device), sealed, f"the grant key of {device.name}", "ask it"
        )

    def _begin(self, device: Device, epoch: int) -> None:
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT INTO grant_key (ident, epoch, next, sealed) VALUES (?, ?, 0, NULL) "
                "ON CONFLICT (ident) DO UPDATE SET epoch = excluded.epoch, next = 0, sealed = NULL",
                (device.ident, epoch),
            )

    def _keep_key(self, device: Device, epoch: int, key: bytes) -> None:
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE grant_key SET sealed = ? WHERE ident = ? AND epoch = ?",
                (self._devices.seal(_ident(device), key), device.ident, epoch),
            )


def _ident(device: Device) -> bytes:
    """What a sealed grant key belongs to: never taken for the device's pairing."""
    return device.ident + b"grant"
