"""What a site keeps of credentials: those it issued, the questions it asked, the status lists it has seen.

Runs on CPython, on Linux.  Tables in the file of its devices (gateway/devices.py), whose status list they
share.  Each method is one transaction.  A credential is kept, sealed under the gateway's key, so that a
request whose answer was lost is answered with the same one; a day after it has ended its row is gone, and its
entry in the status list is free again.  Of who showed what, nothing is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.database import database_errors, transaction
from gateway.devices import Devices, Published

QUESTIONS_MAX = 4_096
"""Questions that may be open at once; the oldest goes when another is asked."""
KEPT_MS = 86_400_000
"""How long the row of a credential that has ended is kept."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One credential that this site has issued."""

    batch: bytes
    """16 random bytes: those that were asked for together."""
    about: str
    """What the operator calls the holder."""
    schema: str
    """What kind of credential it is."""
    holder: bytes
    """The Ed25519 key that it is bound to."""
    status_index: int
    """Its entry in the site's status list."""
    issued_ms: int
    """When, Unix milliseconds."""
    expires_ms: int
    """Until when it counts."""
    credential: bytes = field(repr=False)
    """The SD-CWT with all its disclosures: what the holder may keep to itself."""
    is_revoked: bool = False


class CredentialRegistry:
    """Methods raise DatabaseError, DiskFull."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._connection = devices.connection

    # ------------------------------------------------------------------ issued

    def all(self, about: str | None = None) -> list[Issued]:
        """Every one that is kept, the oldest first.  about: of this holder only.  Raises DeviceDamaged."""
        if not self._devices.has_credentials:
            return []
        where = "" if about is None else "WHERE about = ?"
        return list(self._select(where, *(() if about is None else (about,))))

    def of_holders(self, holders: Sequence[bytes]) -> dict[bytes, Issued]:
        """Those that are bound to one of these keys, by key."""
        return {
            found.holder: found for holder in holders for found in self._select("WHERE holder = ?", holder)
        }

    def add(self, issued: Sequence[Issued]) -> None:
        """Keep these, and take their entries in the status list.  All or nothing."""
        rows = [(each, self._devices.seal(each.holder, each.credential)) for each in issued]
        with transaction(self._connection) as connection:
            for each, sealed in rows:
                connection.execute("INSERT INTO status (idx) VALUES (?)", (each.status_index,))
                connection.execute(
                    "INSERT INTO credential (batch, about, schema, holder, status_index, issued_ms, "
                    "expires_ms, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(each.batch, each.about, each.schema, each.holder, each.status_index),
                        *(each.issued_ms, each.expires_ms, sealed),
                    ),
                )

    def revoke(self, about: str, batch: bytes | None = None) -> int:
        """None of this holder's counts any more, from now on; how many did until now.

        batch: only those that begin so.
        """
        wanted = [each for each in self.all(about) if each.batch.startswith(batch or b"")]
        with transaction(self._connection) as connection:
            for each in wanted:
                connection.execute("UPDATE status SET is_revoked = 1 WHERE idx = ?", (each.status_index,))
        return sum(not each.is_revoked for each in wanted)

    def forget_ended(self, now_ms: int) -> None:
        """Drops what ended long ago, and frees its entries."""
        with transaction(self._connection) as connection:
            ended = "SELECT status_index FROM credential WHERE expires_ms < ?"
            connection.execute(f"DELETE FROM status WHERE idx IN ({ended})", (now_ms - KEPT_MS,))  # noqa: S608
            connection.execute("DELETE FROM credential WHERE expires_ms < ?", (now_ms - KEPT_MS,))

    # ------------------------------------------------------------------ asked

    def ask(self, nonce: bytes, asked_ms: int, question: bytes) -> None:
        """Keep a question until it is answered."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT INTO question (nonce, asked_ms, data) VALUES (?, ?, ?)", (nonce, asked_ms, question)
            )
            # In the order in which they came: a clock that was set back must not drop the one just asked.
            connection.execute(
                "DELETE FROM question WHERE nonce NOT IN "
                "(SELECT nonce FROM question ORDER BY rowid DESC LIMIT ?)",
                (QUESTIONS_MAX,),
            )

    def asked(self, nonce: bytes) -> bytes | None:
        """The question with this nonce, which stays.  None: there is none."""
        with database_errors(self._connection):
            row = self._connection.execute("SELECT data FROM question WHERE nonce = ?", (nonce,)).fetchone()
        return bytes(row[0]) if row else None

    def take(self, nonce: bytes) -> bytes | None:
        """The question with this nonce, once: it is gone then.  None: there is none."""
        with transaction(self._connection) as connection:
            row = connection.execute(
                "DELETE FROM question WHERE nonce = ? RETURNING data", (nonce,)
            ).fetchone()
        return bytes(row[0]) if row else None

    # ------------------------------------------------------------------ lists of others

    def seen(self, uri: str) -> Published | None:
        """The newest version of that status list that was ever proven here."""
        with database_errors(self._connection):
            row = self._connection.execute(
                "SELECT version, token, evidence FROM seen_list WHERE uri = ?", (uri,)
            ).fetchone()
        fields: list[Any] = list(row or ())
        return Published(*fields) if fields else None

    def see(self, uri: str, listed: Published) -> None:
        """Remember a version that was proven, unless a newer one is remembered."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT INTO seen_list (uri, version, token, evidence) VALUES (?, ?, ?, ?) ON CONFLICT (uri) "
                "DO UPDATE SET version = excluded.version, token = excluded.token, "
                "evidence = excluded.evidence WHERE excluded.version >= seen_list.version",
                (uri, listed.version, listed.token, listed.evidence),
            )

    def _select(self, where: str, *values: str | bytes) -> Iterator[Issued]:
        with database_errors(self._connection):
            rows = self._connection.execute(
                "SELECT batch, about, schema, holder, status_index, issued_ms, expires_ms, sealed, "  # noqa: S608
                "is_revoked FROM credential JOIN status ON status.idx = credential.status_index "
                f"{where} ORDER BY row",
                values,
            ).fetchall()
        for row in rows:
            fields: list[Any] = list(row)
            credential = self._devices.unseal(
                fields[3], fields[7], f"a credential of {fields[1]}", "issue it anew"
            )
            fields[7:] = credential, bool(fields[8])
            yield Issued(*fields)
