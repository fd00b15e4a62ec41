"""The table of handovers: how anybody who trusts the genesis learns of every change of validators.

Runs on CPython.  One row for each change, made with the block that decides it, while its state can still be
proven; they stay for ever, for states and bodies go.  See handover.py.  What the evidence says of the
validators stands beside it once more: all certificates are judged by that, so one damaged row must not make
the whole file doubtful.
"""

from collections.abc import Sequence
from typing import Any

import apsw

from chain_node.errors import EvidenceError, StorageDamaged, WireError
from chain_node.evidence import StateEvidence
from chain_node.genesis import Genesis
from chain_node.handover import verify_state
from chain_node.validator_set import ENTRY_KEY, Succession, ValidatorsEntry

SCHEMA = """
CREATE TABLE handover (number INTEGER PRIMARY KEY, entry BLOB NOT NULL, data BLOB NOT NULL) STRICT;
"""


class HandoverTable:
    """The handovers in a chain's file, and the validators that follow from them."""

    def __init__(self, connection: apsw.Connection, path: str, genesis: Genesis) -> None:
        self._connection = connection
        self._path = path
        self._genesis = genesis
        self.sets = Succession(genesis.validators)
        """Who certifies which height, by this file."""

    def load(self, *, is_tolerant: bool) -> None:
        """Read what is there.  Signatures were checked when it came; `check` does so again.

        is_tolerant: what is behind a row of which nothing can be read stays unknown.
        Raises StorageDamaged.
        """
        # Files of before there were changes have no such table.
        if not self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'handover'").get:
            self._connection.execute(SCHEMA)
        self.sets = Succession(self._genesis.validators)
        rows: list[Any] = self._connection.execute(
            "SELECT number, entry, data FROM handover ORDER BY number"
        ).fetchall()
        for number, kept, data in rows:
            try:
                entry = _entry_in(kept, data)
                if not self.sets.newest.number + 1 == number == entry.newest.number:
                    raise WireError("handover", f"it is not of change {number}, or one is missing")
            except WireError as error:
                if is_tolerant:
                    return
                raise StorageDamaged(self._path, f"handover {number}: {error}") from error
            self.sets.add(entry.newest)

    def read(self, first: int, count: int) -> list[bytes]:
        """Handovers from this number on, without a gap."""
        rows: list[Any] = self._connection.execute(
            "SELECT number, data FROM handover WHERE number >= ? ORDER BY number LIMIT ?", (first, count)
        ).fetchall()
        return [data for at, (number, data) in enumerate(rows, first) if at == number]

    def insert(self, handovers: Sequence[StateEvidence]) -> None:
        """Keep these, which were checked, unless they are here; within a transaction."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO handover VALUES (?, ?, ?)",
            [
                (entry.newest.number, entry.encode(), each.encode())
                for each in handovers
                for entry in (entry_of(each),)
            ],
        )

    def note(self, handovers: Sequence[StateEvidence]) -> None:
        """They are on the disk: go by them."""
        for each in handovers:
            newest = entry_of(each).newest
            if newest.number == self.sets.newest.number + 1:
                self.sets.add(newest)


def _entry_in(kept: bytes, data: bytes) -> ValidatorsEntry:
    try:
        return ValidatorsEntry.decode(kept)
    except WireError:
        return entry_of(StateEvidence.decode(data))


def entry_of(handover: StateEvidence) -> ValidatorsEntry:
    """What a handover says, its certificate aside.  Raises WireError."""
    try:
        data = verify_state(ENTRY_KEY, handover.proof, handover.link.header)
    except EvidenceError as error:
        raise WireError("handover", str(error)) from None
    if data is None:
        raise WireError("handover", "it proves that there was no change")
    return ValidatorsEntry.decode(data)
