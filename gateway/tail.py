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
from gateway.spool_rows import (
    SCHEMA,
    SCHEMA_VERSION,
    SpooledStream,
    check_key,
    read_entries,
    read_streams,
)

POLL_RECORDS_MAX = 50_000
"""Records after which a poll ends; the next one goes on.  A full spool holds more than fits into memory."""


@dataclass(frozen=True, slots=True)
class News:
    """What one poll has found."""

    records: tuple[Record, ...]
    """In the order of their numbers."""
    missed_count: int
    """Records between the last poll and this one that were sealed before they could be shown."""
    is_restarted: bool
    """The gateway was started anew since the last poll that found anything."""


class Tail:
    """One stream's newest records."""

    def __init__(self, config: GatewayConfig, stream: StreamConfig, key: GatewayKey) -> None:
        """Raises NotRunYet, SpoolError when the spool is another gateway's, DiskError."""
        path = config.spool_path / "spool.db"
        if not path.exists():
            raise NotRunYet(path)
        self._database = open_database(path, schema=SCHEMA, schema_version=SCHEMA_VERSION, read_only=True)
        try:
            check_key(self._database, key.spool_key)
        except BaseException:
            self._database.close()
            raise
        self._key = key.spool_key
        self._stream_id = stream_keys(key, stream).stream_id
        self._name = stream.name
        self._after = 0
        self._expected: tuple[int, int] | None = None
        """(boot, number) of the record after the last one shown."""

    def poll(self) -> News:
        """What has become durable since the last poll.  Raises SpoolError, DiskError."""
        for row in read_streams(self._database):
            if row.stream_id == self._stream_id:
                return self._news(row)
        return News((), 0, False)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def _news(self, row: SpooledStream) -> News:
        records: list[Record] = []
        missed_count = 0
        is_restarted = False
        for entry_id, samples in read_entries(self._database, self._key, row, self._after):
            self._after = entry_id
            boot, seq = self._expected or (samples.boot, samples.first_seq)
            if boot != samples.boot:
                is_restarted = True
                # How many the boot before had is known as long as its are the last that were sealed.
                missed_count += max(row.sealed_seq - seq, 0) if row.sealed_boot == boot else 0
                seq = 0
            missed_count += max(samples.first_seq - seq, 0)
            self._expected = (samples.boot, samples.end_seq)
            records += Block(row.kind, self._name, 0, b"", samples).records()
            if len(records) >= POLL_RECORDS_MAX:
                break
        return News(tuple(records), missed_count, is_restarted)
