"""Sections [gateway], [spool], [store], [chain] and [[stream]] of the configuration: keys, defaults, checks.

Runs on CPython; pure.  `gateway.config` reads them; sections [uplink] and [remote] are in
gateway.config_uplink.
"""

from dataclasses import dataclass

from gateway import config_values as values
from gateway.config_uplink import REMOTE_KEYS, UPLINK_KEYS, RemoteSection, UplinkSection, stream_policy
from gateway.sensors.source import OVERRUNS

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """Who this gateway is."""

    name: str = "gateway"
    """How it calls itself in what it prints and in its anchors: 1 to 32 of a-z, 0-9, _ and -."""
    key_file: str = "gateway.key"
    """File of its signing key."""
    log_level: str = "info"
    """What it tells of itself: debug, info, warning or error."""


@dataclass(frozen=True, slots=True)
class SpoolSection:
    """Where records wait until they are stored and anchored."""

    path: str = "spool"
    """Folder of the spool."""
    size_max_mib: int = 1024
    """Room it may take; beyond, ingest stops and says so."""
    disk_free_min_mib: int = 64
    """Room it leaves on the disk for everything else."""


@dataclass(frozen=True, slots=True)
class StoreSection:
    """Where sealed chunks are kept."""

    path: str = "store"
    """Folder of the store."""
    file_size_min_kib: int = 64
    """Chunks at least this large are files of their own; smaller ones lie in the index."""


@dataclass(frozen=True, slots=True)
class ChainSection:
    """The main chain that anchors go to."""

    node_url: str = "http://127.0.0.1:7545"
    """A node's JSON-RPC address.  It is not trusted: its certificates are checked."""
    genesis: str = "genesis.cbor"
    """File that names the chain and its first validators."""
    fee_ucpc: int = 0
    """What an anchor may cost; 0: the free quota first, then the chain's minimum."""
    poll_ms: int = 500
    """How often the node is asked for news."""
    timeout_ms: int = 10_000
    """How long one answer of the node may take."""


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """One stream: a source, and the three periods T, e and u of its records."""

    name: str
    """The stream's name, part of the name of each of its records."""
    source: str
    """The string that opens the source, as written."""
    block_ms: int = 1_000
    """T: records of this long form a block."""
    segment_blocks: int = 5
    """e: this many blocks share a key; grants are whole segments."""
    upload_segments: int = 12
    """u: this many segments are anchored at once."""
    dbc: tuple[str, ...] = ()
    """Files that say what the frames mean, as written."""
    overrun: str = ""
    """Loss policy of its source's queue; empty: the one that its kind of source has by itself."""
    uplink: str = ""
    """Loss policy of its part of the uplink's outbox, or off; empty: the policy of [uplink]."""

    @property
    def slot_ms(self) -> int:
        """How long one key serves: T times e."""
        return self.block_ms * self.segment_blocks


SECTIONS: dict[str, tuple[type, dict[str, values.Checker]]] = {
    "gateway": (
        GatewaySection,
        {
            "name": values.name,
            "key_file": values.path,
            "log_level": values.choice(LOG_LEVELS),
        },
    ),
    "spool": (
        SpoolSection,
        {
            "path": values.path,
            "size_max_mib": values.whole(
                1, 1 << 24, "a spool needs room for one upload", "that is beyond 16 TiB", 1024
            ),
            "disk_free_min_mib": values.whole(
                0, 1 << 24, "room cannot be less than none", "that is beyond 16 TiB", 64
            ),
        },
    ),
    "store": (
        StoreSection,
        {
            "path": values.path,
            "file_size_min_kib": values.whole(
                1, 1 << 20, "each tiny chunk would be a file", "SQLite is slow with values beyond 1 GiB", 64
            ),
        },
    ),
    "chain": (
        ChainSection,
        {
            "node_url": values.http_url,
            "genesis": values.path,
            "fee_ucpc": values.whole(
                0, 10**15, "a fee cannot be negative", "that is more than all CPC there are", 0
            ),
            "poll_ms": values.whole(
                10, 3_600_000, "the node would do nothing but answer", "proofs would come hours late", 500
            ),
            "timeout_ms": values.whole(
                100, 600_000, "a healthy node may need that long", "a dead node would go unnoticed", 10_000
            ),
        },
    ),
    "uplink": (UplinkSection, UPLINK_KEYS),
    "remote": (RemoteSection, REMOTE_KEYS),
}
"""The dataclass of each section, and the checker of each of its keys."""
STREAM_KEYS: dict[str, values.Checker] = {
    "name": values.name,
    "source": values.source,
    "block_ms": values.whole(
        10, 3_600_000, "a block would hold hardly a record", "a power cut may cost a block", 1_000
    ),
    "segment_blocks": values.whole(
        1, 3_600, "a segment has at least one block", "a grant would share too much at once", 5
    ),
    "upload_segments": values.whole(
        1, 1_440, "an upload has at least one segment", "records would wait too long for their anchor", 12
    ),
    "dbc": values.paths,
    "overrun": values.empty_or(values.choice(OVERRUNS)),
    "uplink": stream_policy,
}
"""The checker of each key of a [[stream]]."""
