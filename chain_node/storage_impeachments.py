"""The table of what this node saw of impeachments, so that a restart does not forget the reasons.

Runs on CPython.  One row for each impeachment that the node was there to see, committed with its block; the
last KEPT_MAX of them.  It is the node's own word (impeachment.py): nothing rests on it, and it is not proven.
"""

from typing import Any

import apsw

from chain_node.errors import StorageDamaged
from chain_node.impeachment import Seen, Why

KEPT_MAX = 1_000
DETAIL_MAX = 500
"""Characters of what was wrong with an illicit block."""
SCHEMA = """
CREATE TABLE impeachment (height INTEGER PRIMARY KEY, why TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
"""


class ImpeachmentTable:
    """What was seen, in a chain's file."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._connection = connection
        self._path = path

    def load(self) -> None:
        """Make the table in files of before there was one."""
        if not self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'impeachment'").get:
            self._connection.execute(SCHEMA)

    def insert(self, height: int, seen: Seen) -> None:
        """Keep what was seen of this height, within the transaction that commits its block."""
        self._connection.execute(
            "INSERT OR REPLACE INTO impeachment VALUES (?, ?, ?)",
            (height, seen.why.value, seen.detail[:DETAIL_MAX]),
        )
        self._connection.execute(
            "DELETE FROM impeachment WHERE height <= "
            "(SELECT height FROM impeachment ORDER BY height DESC LIMIT 1 OFFSET ?)",
            (KEPT_MAX,),
        )

    def get(self, height: int) -> Seen | None:
        """What was seen of this impeachment; None: nothing, or it is forgotten, or there was none.

        Raises StorageDamaged.
        """
        row: Any = self._connection.execute(
            "SELECT why, detail FROM impeachment WHERE height = ?", (height,)
        ).fetchone()
        if row is None:
            return None
        if row[0] not in Why.__members__.values():
            raise StorageDamaged(self._path, f"impeachment {height}: there is no reason {row[0]!r}")
        return Seen(Why(row[0]), row[1])
