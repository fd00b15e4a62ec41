"""Following a stream live, beside the gateway that runs it: reads what has become durable in the spool.

Runs on CPython.  Only reading: the gateway neither knows nor waits.  What was sealed between two polls
is counted as missed, never silently left out; `cpc read` shows it.
"""

from dataclasses import dataclass

from gateway.block import Block
from gateway.config import GatewayConfig, StreamConfig
from gateway.crypto.key_file import GatewayKey
from gateway.database import open_database
from gateway.errors import NotRunYet
from gateway.record import Record
from gateway.site import stream_keys
from gateway.spool import SCHEMA, SCHEMA_VERSION, read_entries, read_streams


@dataclass(frozen=True, slots=True)
class News:
    """What one poll has found."""

    records: tuple[Record, ...]
    """In the order of their numbers."""
    missed_count: int
    """Records between the last poll and this one that were sealed before they could be shown."""


class Tail:
    """One stream's newest records."""

    def __init__(self, config: GatewayConfig, stream: StreamConfig, key: GatewayKey) -> None:
        """Raises NotRunYet."""
        path = config.spool_path / "spool.db"
        if not path.exists():
            raise NotRunYet(path)
        self._database = open_database(path, schema=SCHEMA, schema_version=SCHEMA_VERSION, read_only=True)
        self._key = key.spool_key
        self._stream_id = stream_keys(key, stream).stream_id
        self._name = stream.name
        self._after = 0
        self._expected: tuple[int, int] | None = None

    def poll(self) -> News:
        """What has become durable since the last poll.  Raises SpoolError."""
        records: list[Record] = []
        missed_count = 0
        for row in read_streams(self._database):
            if row.stream_id != self._stream_id:
                continue
            for entry_id, samples in read_entries(self._database, self._key, row, self._after):
                self._after = entry_id
                if self._expected is not None and self._expected[0] == samples.boot:
                    missed_count += max(samples.first_seq - self._expected[1], 0)
                self._expected = (samples.boot, samples.end_seq)
                records += Block(row.kind, self._name, 0, b"", samples).records()
        return News(tuple(records), missed_count)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()
