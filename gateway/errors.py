"""What can go wrong in a gateway, as one tree.

    GatewayError
    ├── RecordNameError     a record's name is not of the form stream/boot/seq
    ├── BlockError          bytes are not a block, or not one of this stream
    ├── SpoolError          the spool cannot take or give what was asked
    │   └── SpoolFull       ingest must wait; nothing accepted is lost
    ├── StoreError          the chunk store failed us
    │   ├── ChunkMissing    it does not hold what it confirmed
    │   ├── ChunkAltered    it gave other bytes than it was given
    │   └── StoreFull       it has no room
    ├── AnchorError         the chain refused an anchor, or showed a proof that does not hold
    ├── EvidenceError       a link of a record's evidence fails; names the link
    ├── EnrolmentRefused    a chip, or a name, cannot be enrolled
    ├── GatewayBusy         another process runs this gateway
    ├── NotRunYet           the gateway has never been started, so there is nothing to see
    └── DeviceLinkError     a connection to a device ended before its purpose; try again
        ├── DeviceNotFound  no such device is heard, or none can be reached
        ├── DeviceUnproven  it did not prove that it is the device, or we could not prove ourselves to it
        └── DeviceRefused   it understood, and says no

Errors of the parts below (puf, gateway.crypto, chain_node, sensors) pass through unchanged.
"""


class GatewayError(Exception):
    """Base of all errors of the gateway's own files."""


class RecordNameError(GatewayError):
    """A record's name is not of the form stream/boot/seq."""


class BlockError(GatewayError):
    """Bytes are not a block, or not one of this stream."""


class SpoolError(GatewayError):
    """The spool cannot take or give what was asked."""


class SpoolFull(SpoolError):
    """Ingest must wait until chunks have left; what was accepted before is safe."""

    def __init__(self, used_bytes: int, limit_bytes: int, why: str) -> None:
        super().__init__(
            f"the spool takes no more records: {why} ({used_bytes} of {limit_bytes} bytes used); "
            "nothing accepted is lost; free space, or check why nothing is anchored: cpc status"
        )
        self.used_bytes = used_bytes
        self.limit_bytes = limit_bytes


class StoreError(GatewayError):
    """The chunk store failed us."""


class ChunkMissing(StoreError):
    """The store does not hold a chunk that it was given."""

    def __init__(self, chunk_id: bytes, where: str) -> None:
        super().__init__(f"chunk {chunk_id.hex()[:16]} is not in {where}")
        self.chunk_id = chunk_id
        self.where = where


class ChunkAltered(StoreError):
    """The store gave other bytes than those the name stands for."""

    def __init__(self, chunk_id: bytes, got: bytes, where: str, data: bytes) -> None:
        super().__init__(
            f"chunk {chunk_id.hex()[:16]} in {where} is altered: "
            f"its {len(data)} bytes hash to {got.hex()[:16]}"
        )
        self.chunk_id = chunk_id
        self.got = got
        self.where = where
        self.data = data


class StoreFull(StoreError):
    """The store has no room; the spool keeps the chunk until it has."""


class AnchorError(GatewayError):
    """The chain refused an anchor, or the proof that it gave does not hold."""


class EvidenceError(GatewayError):
    """One link of the evidence for a record does not hold."""

    def __init__(self, link: str, why: str) -> None:
        super().__init__(f"{link}: {why}")
        self.link = link
        self.why = why


class EnrolmentRefused(GatewayError):
    """This chip, or this name, cannot be enrolled; the text says why and what to do."""


class GatewayBusy(GatewayError):
    """Another process runs this gateway."""


class NotRunYet(GatewayError):
    """The gateway has never been started."""

    def __init__(self, path: object) -> None:
        super().__init__(f"this gateway has not run yet: there is no {path}; start it with cpc run")


class DeviceLinkError(GatewayError):
    """A connection to a device ended before its purpose was reached; trying again is safe."""


class DeviceNotFound(DeviceLinkError):
    """No such device is heard, or none can be connected to."""


class DeviceUnproven(DeviceLinkError):
    """One of the two did not prove itself; nothing was asked and nothing was done."""


class DeviceRefused(DeviceLinkError):
    """The device understood and says no.  `reason`: int, of devices/micropython/commands.py."""

    def __init__(self, reason: int, why: str) -> None:
        super().__init__(why)
        self.reason = reason
