"""The devices of a site: who is enrolled, how far an enrolment has come, and which statuses are revoked.

Runs on CPython, on Linux.  One SQLite file, `devices.sqlite` in the site's folder, mode 0600.  An enrolment
is a row, which goes forward only, each step one transaction:

    planned -> enrolled -> revoking -> revoked         (planned -> revoking, when it is given up)

`planned` has all that follows from the readouts, so that nothing after it needs the chip again; `enrolled`
that its name is on the chain, proven.  A name has one row that is not revoked.  Rows are never deleted:
regions of a chip on which a key was built are never used again.

The entries of the status list belong to devices and to credentials (gateway/credential_registry.py), which
lie in the same file.  The device's root is not here, nor anything it could be computed from.  What the
gateway needs to speak to the device, one pairing (puf/fast_path_keys.py) that steps on with each meeting, is
sealed under a key that derives from the gateway's: ChaCha20-Poly1305 with a random nonce, the enrolment's id
authenticated with it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apsw import Connection
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gateway.crypto.key_file import GatewayKey
from gateway.database import database_errors, open_database, transaction
from gateway.disk import Disk
from gateway.errors import GatewayError
from puf.hkdf import hkdf
from puf.status_list import ENTRIES

Value = int | str | bytes | None
"""What a column takes."""
FILE_NAME = "devices.sqlite"
APPLICATION_ID = 0x43504364
"""Marks the database in its header: "CPCd"."""
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE device (
    row INTEGER PRIMARY KEY,
    ident BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'enrolled', 'revoking', 'revoked')),
    is_weak INTEGER NOT NULL,
    address INTEGER NOT NULL,
    size INTEGER NOT NULL,
    helper BLOB NOT NULL,
    document BLOB NOT NULL,
    did BLOB NOT NULL,
    status_index INTEGER NOT NULL UNIQUE,
    quality TEXT NOT NULL,
    planned_ms INTEGER NOT NULL,
    tx_hash BLOB,
    height INTEGER,
    sealed BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_live_of_a_name ON device (name) WHERE state <> 'revoked';
CREATE TABLE status (
    idx INTEGER PRIMARY KEY,
    is_revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE published (
    version INTEGER PRIMARY KEY,
    token BLOB NOT NULL,
    evidence BLOB
) STRICT;
"""
ADDED = """
CREATE TABLE credential (
    row INTEGER PRIMARY KEY,
    batch BLOB NOT NULL,
    about TEXT NOT NULL,
    schema TEXT NOT NULL,
    holder BLOB NOT NULL UNIQUE,
    status_index INTEGER NOT NULL UNIQUE,
    issued_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE question (
    nonce BLOB PRIMARY KEY,
    asked_ms INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE seen_list (
    uri TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    token BLOB NOT NULL,
    evidence BLOB NOT NULL
) STRICT;
CREATE TABLE keeping (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    failures INTEGER NOT NULL,
    tried_ms INTEGER NOT NULL,
    why TEXT NOT NULL
) STRICT;
"""
"""Tables that files of before lack; they are made where they are missing, and nothing else changes."""
PLANNED, ENROLLED, REVOKING, REVOKED = "planned", "enrolled", "revoking", "revoked"
NONCE_BYTES = 12
_COLUMNS = (
    "ident, name, state, is_weak, address, size, helper, document, did, status_index, quality, planned_ms, "
    "tx_hash, height"
)


class UnknownDevice(GatewayError):
    """No device of that name is enrolled here."""


class DeviceDamaged(GatewayError):
    """What is kept of a device does not open under this gateway's key."""


@dataclass(frozen=True, slots=True)
class Device:
    """One enrolment of one device."""

    ident: bytes
    """16 random bytes: this enrolment."""
    name: str
    """What the operator calls the device."""
    state: str
    """planned, enrolled, revoking or revoked."""
    is_weak: bool
    """It does no curves: its name on the chain has no keys but its gateway's."""
    address: int
    """Where the region of its memory begins."""
    size: int
    """Bytes of that region."""
    helper: bytes
    """Signed helper data (puf/helper_signature.py); public."""
    document: bytes
    """The first document of its name on the chain."""
    did: bytes
    """The 32 bytes of that name."""
    status_index: int
    """Its entry in the site's status list."""
    quality: str
    """What was found of its readouts, JSON."""
    planned_ms: int
    """When it was enrolled, Unix milliseconds."""
    tx_hash: bytes | None
    """The transaction that registered it, once proven; None also when it was found registered."""
    height: int | None
    """A block after which its name is proven to be there."""


@dataclass(frozen=True, slots=True)
class Published:
    """A version of the status list."""

    version: int
    token: bytes
    """The signed list (puf/status_list.py)."""
    evidence: bytes | None
    """That its hash is on the chain; None while it is not."""


class Devices:
    """The registry.  Use as `with`, or close it.  Methods raise DatabaseError, DiskFull."""

    def __init__(
        self,
        path: Path,
        key: GatewayKey,
        vfs: str | None = None,
        disk: Disk | None = None,
        is_read_only: bool = False,
    ) -> None:
        """is_read_only: it only looks, beside whoever changes something.  Raises FileMissing then, too."""
        self._connection = open_database(
            path,
            schema=SCHEMA + ADDED,
            schema_version=SCHEMA_VERSION,
            application_id=APPLICATION_ID,
            vfs=vfs,
            disk=disk,
            read_only=is_read_only,
        )
        if not is_read_only and not self.has_credentials:
            with transaction(self._connection) as connection:
                if not self.has_credentials:
                    connection.execute(ADDED)
        self._aead = ChaCha20Poly1305(hkdf(key.spool_key, b"", b"cpc/devices/1/pairwise", 32))

    def __enter__(self) -> "Devices":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    @property
    def connection(self) -> Connection:
        """For what lies in the same file."""
        return self._connection

    @property
    def has_credentials(self) -> bool:
        """Whether the file has the tables of credentials; one that was only read may lack them."""
        with database_errors(self._connection):
            return bool(
                self._connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'keeping'").get
            )

    def all(self) -> list[Device]:
        """Every enrolment, the oldest first."""
        return list(self._select(""))

    def live(self, name: str) -> Device | None:
        """The enrolment of that name that is not revoked."""
        return next(self._select("WHERE name = ? AND state <> 'revoked'", name), None)

    def is_replacing(self, name: str) -> bool:
        """Whether that name's key is revoked, and another enrolment of it is on its way."""
        rows = list(self._select("WHERE name = ? ORDER BY row", name))
        return len(rows) > 1 and rows[-2].state == REVOKED and rows[-1].state == PLANNED

    def latest(self, name: str) -> Device:
        """The last enrolment of that name, revoked or not.  Raises UnknownDevice."""
        for device in self._select("WHERE name = ? ORDER BY row DESC LIMIT 1", name):
            return device
        known = sorted({device.name for device in self.all()})
        there = f"there are: {', '.join(known)}" if known else "none is; cpc enroll enrols one"
        raise UnknownDevice(f"no device is called {name[:40]!r}; {there}")

    def plan(self, device: Device, pairing: bytes) -> None:
        """Keep a new enrolment with its pairing, and take its entry in the status list.  All or nothing."""
        sealed = self.seal(device.ident, pairing)
        with transaction(self._connection) as connection:
            connection.execute("INSERT INTO status (idx) VALUES (?)", (device.status_index,))
            connection.execute(
                f"INSERT INTO device ({_COLUMNS}, sealed) VALUES ({', '.join('?' * 15)})",  # noqa: S608
                (*_values(device), sealed),
            )

    def enrolled(self, ident: bytes, tx_hash: bytes | None, height: int) -> None:
        """The device's name is proven to be on the chain."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE device SET state = 'enrolled', tx_hash = ?, height = ? "
                "WHERE ident = ? AND state = 'planned'",
                (tx_hash, height, ident),
            )

    def revoking(self, ident: bytes) -> None:
        """It counts no more, from now on, whatever happens next."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE status SET is_revoked = 1 "
                "WHERE idx = (SELECT status_index FROM device WHERE ident = ?)",
                (ident,),
            )
            connection.execute(
                "UPDATE device SET state = 'revoking' WHERE ident = ? AND state IN ('planned', 'enrolled')",
                (ident,),
            )

    def revoked(self, ident: bytes) -> None:
        """Its name is proven to have ended, and the status list that says so is on the chain."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE device SET state = 'revoked' WHERE ident = ? AND state = 'revoking'", (ident,)
            )

    def pairing(self, device: Device) -> bytes:
        """What gateway and device share, secret.  Raises DeviceDamaged."""
        with database_errors(self._connection):
            row = self._connection.execute("SELECT sealed FROM device WHERE ident = ?", (device.ident,)).get
        return self.unseal(device.ident, row, device.name, "enrol the device anew")

    def keep_pairing(self, device: Device, pairing: bytes) -> None:
        """Keep what they share from now on, before anything is sent under it."""
        sealed = self.seal(device.ident, pairing)
        with transaction(self._connection) as connection:
            connection.execute("UPDATE device SET sealed = ? WHERE ident = ?", (sealed, device.ident))

    def seal(self, ident: bytes, data: bytes) -> bytes:
        """What may lie in the file for `data`, which belongs to `ident`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, ident)

    def unseal(self, ident: bytes, sealed: bytes, name: str, advice: str) -> bytes:
        """What was sealed.  name, advice: for the message.  Raises DeviceDamaged."""
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], ident)
        except InvalidTag:
            raise DeviceDamaged(
                f"what is kept of {name} does not open: the gateway.key is another one, or the file "
                f"is damaged; put the right key back, or {advice}"
            ) from None

    # ------------------------------------------------------------------ statuses

    def taken(self) -> set[int]:
        """Entries of the status list that belong to somebody."""
        with database_errors(self._connection):
            return {int(str(index)) for (index,) in self._connection.execute("SELECT idx FROM status")}

    def revoked_array(self) -> bytes:
        """The bits of the status list as they are now."""
        return revoked_array(self._connection)

    def published(self) -> Published | None:
        """The newest version of the status list."""
        return self._published("")

    def _published(self, where: str) -> Published | None:
        with database_errors(self._connection):
            row = self._connection.execute(
                f"SELECT version, token, evidence FROM published {where} ORDER BY version DESC LIMIT 1"  # noqa: S608
            ).fetchone()
        fields: list[Any] = list(row or ())
        return Published(*fields) if fields else None

    def anchored_list(self) -> Published | None:
        """The newest version that is proven to be on the chain."""
        return self._published("WHERE evidence IS NOT NULL")

    def publish(self, version: int, token: bytes) -> None:
        """Keep a new version before its hash goes to the chain."""
        with transaction(self._connection) as connection:
            connection.execute("INSERT INTO published (version, token) VALUES (?, ?)", (version, token))

    def anchored(self, version: int, evidence: bytes) -> None:
        """The hash of that version is proven to be on the chain; what failed before is over."""
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM keeping")
            connection.execute("UPDATE published SET evidence = ? WHERE version = ?", (evidence, version))

    def _select(self, where: str, *values: Value) -> Iterator[Device]:
        with database_errors(self._connection):
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM device {where}", values).fetchall()  # noqa: S608
        for row in rows:
            fields: list[Any] = list(row)
            fields[3] = bool(fields[3])
            yield Device(*fields)


def revoked_array(connection: Connection) -> bytes:
    """The bits of the status list as a registry has them now.  Raises DatabaseError."""
    array = bytearray(ENTRIES // 8)
    with database_errors(connection):
        for (found,) in connection.execute("SELECT idx FROM status WHERE is_revoked"):
            index = int(str(found))
            array[index // 8] |= 1 << index % 8
    return bytes(array)


def _values(device: Device) -> tuple[Value, ...]:
    return (
        *(device.ident, device.name, device.state, int(device.is_weak), device.address, device.size),
        *(device.helper, device.document, device.did, device.status_index, device.quality, device.planned_ms),
        *(device.tx_hash, device.height),
    )
