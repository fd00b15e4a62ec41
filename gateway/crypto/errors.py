"""What sealing, keys and grants can refuse: one tree, values as attributes, the remedy in the message.

    CryptoError
    |-- CallerError            we asked for something impossible: fix the caller
    |   |-- SizeRefused        a key, id or block of the wrong length
    |   |-- SlotRefused        a slot, slot length or range that no key tree has
    |   |-- StreamRefused      a stream name that cannot be
    |   |-- SegmentRefused     a segment that cannot be sealed as it stands
    |   |-- GrantRefused       a grant that cannot be made
    |   `-- SearchRefused      a chunk too long for a search by brute force
    |-- KeyNotGranted          these keys do not reach that slot
    |   `-- StreamNotGranted   nor that stream at all
    |-- CoverDamaged           bytes that are not the canonical cover of anything
    |-- SealError              the chunks shown are not the segment that was sealed
    |   |-- ChunkMalformed     bytes that are no chunk at all
    |   |-- ChunkUnopened      the AEAD refuses, and nobody showed which hash was expected
    |   |   |-- ChunkDamaged   bytes changed after sealing
    |   |   `-- WrongKey       the bytes are the sealed ones, the key is another
    |   |-- ChunkMisplaced     a whole chunk in the wrong place: reordered, repeated or foreign
    |   `-- SegmentTruncated   a chunk is missing
    |-- GrantError
    |   |-- GrantDamaged       not a grant, or one that was changed
    |   |-- GrantUnsigned      the signature is not that of the owner it names
    |   |-- GrantNotForYou     made for another reader
    |   |-- GrantForeign       made by another owner than the one expected
    |   `-- GrantDishonest     signed by its owner, yet the keys are not those of its range
    `-- KeyFileError
        |-- KeyFileMissing     there is none
        |-- KeyFileExists      there is one already, and it is never overwritten
        |-- KeyFileExposed     others may read it
        |-- KeyFileDamaged     not a key file, or one that was changed
        `-- WrongPassphrase    the passphrase does not open it

No message, repr or attribute here ever holds a key.
"""

Range = tuple[int, int]


def _ranges_text(ranges: tuple[Range, ...]) -> str:
    shown = ", ".join(f"{first}..{last}" for first, last in ranges[:8])
    return (shown + (f" and {len(ranges) - 8} more" if len(ranges) > 8 else "")) or "nothing"


class CryptoError(Exception):
    """Anything this folder refuses."""


class CallerError(CryptoError):
    """We asked for something impossible; fix the caller."""


class SizeRefused(CallerError):
    """A key, id or block has a length that it cannot have."""

    def __init__(self, what: str, got: int, want: int) -> None:
        super().__init__(f"{what} is {got} bytes long, {want} are needed")
        self.what, self.got, self.want = what, got, want


class SlotRefused(CallerError):
    """A slot, slot length or range that no key tree has."""


class StreamRefused(CallerError):
    """A stream name that cannot be."""


class GrantRefused(CallerError):
    """A grant that cannot be made."""


class SegmentRefused(CallerError):
    """A segment that cannot be sealed as it stands."""


class SearchRefused(CallerError):
    """The chunk is too long to look for the changed bit by brute force."""

    def __init__(self, size: int, size_max: int) -> None:
        super().__init__(
            f"a search for one flipped bit in {size} bytes would take too long, {size_max} is the most: "
            "fetch the chunk anew from another store instead"
        )
        self.size, self.size_max = size, size_max


class KeyNotGranted(CryptoError):
    """The keys at hand do not reach this slot."""

    def __init__(self, slot: int, ranges: tuple[Range, ...]) -> None:
        super().__init__(
            f"no key for slot {slot}: held is {_ranges_text(ranges)}; ask the owner for a grant of that slot"
        )
        self.slot, self.ranges = slot, ranges


class StreamNotGranted(KeyNotGranted):
    """The grant is of another stream."""

    def __init__(self, slot: int, got: bytes, want: bytes) -> None:
        CryptoError.__init__(
            self,
            f"no key for stream {got.hex()}: this grant is of stream {want.hex()}; "
            "ask the owner for a grant of that stream",
        )
        self.slot, self.ranges = slot, ()
        self.got, self.want = got, want


class CoverDamaged(CryptoError):
    """These bytes are not the canonical cover of any set of leaves."""

    def __init__(self, why: str) -> None:
        super().__init__(f"not a cover of a key tree: {why}; ask the owner to make the grant anew")
        self.why = why


class SealError(CryptoError):
    """The chunks shown are not the segment that was sealed."""


class ChunkMalformed(SealError):
    """These bytes are no chunk at all."""

    def __init__(self, why: str) -> None:
        super().__init__(f"not a chunk: {why}; check what was read, or fetch it from another store")
        self.why = why


class ChunkUnopened(SealError):
    """The AEAD refuses this chunk.  By itself it cannot tell changed bytes from a wrong key."""

    def __init__(self, index: int, why: str, todo: str = "") -> None:
        super().__init__(f"chunk {index}: {why}" + (f"; {todo}" if todo else ""))
        self.index, self.why = index, why


class ChunkDamaged(ChunkUnopened):
    """The bytes of a chunk are not those that were sealed."""

    def __init__(self, index: int, why: str, stored: bytes = b"", expected: bytes = b"") -> None:
        hashes = f" (SHA-256 stored {stored.hex()}, expected {expected.hex()})" if expected else ""
        super().__init__(index, f"damaged, {why}{hashes}", "fetch it from another store")
        self.why, self.stored, self.expected = why, stored, expected


class WrongKey(ChunkUnopened):
    """The bytes are exactly those that were sealed, so the key is not the one that sealed them."""

    def __init__(self, index: int) -> None:
        super().__init__(
            index,
            "its bytes are the expected ones, but this key does not open it",
            "check stream, slot and segment, or ask the owner for the right grant",
        )


class ChunkMisplaced(SealError):
    """A whole chunk stands where another belongs: reordered, repeated or foreign."""

    def __init__(self, index: int, what: str, got: object, want: object, why: str = "") -> None:
        shown = [value.hex() if isinstance(value, bytes) else str(value) for value in (got, want)]
        super().__init__(
            f"chunk {index}: misplaced, its {what} is {shown[0]} where {shown[1]} belongs"
            + (f" ({why})" if why else "")
            + "; ask the store for the chunks of this segment in their order"
        )
        self.index, self.what, self.got, self.want, self.why = index, what, got, want, why


class SegmentTruncated(SealError):
    """A chunk of the segment is missing."""

    def __init__(self, index: int, count: int) -> None:
        super().__init__(f"chunk {index} is missing among the {count} shown; fetch it from another store")
        self.index, self.count = index, count


class GrantError(CryptoError):
    """A grant that opens nothing."""


class GrantDamaged(GrantError):
    """Not a grant, or one that was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"not a grant, or a damaged one: {why}; ask the owner to send it again")
        self.why = why


class GrantUnsigned(GrantError):
    """The signature does not verify under the key that the grant names as its owner's."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the grant's signature is not its owner's ({why}); do not use it, ask the owner anew"
        )
        self.why = why


class GrantNotForYou(GrantError):
    """Made for another reader's key."""

    def __init__(self, recipient: bytes, reader: bytes) -> None:
        super().__init__(
            f"the grant is for reader key {recipient.hex()}, not for yours, {reader.hex()}: "
            "use that reader's key file, or ask the owner for a grant to yours"
        )
        self.recipient, self.reader = recipient, reader


class GrantForeign(GrantError):
    """Made by another owner than the one expected."""

    def __init__(self, got: bytes, want: bytes) -> None:
        super().__init__(
            f"the grant is signed by {got.hex()}, expected was {want.hex()}: "
            "check with the owner which key is theirs"
        )
        self.got, self.want = got, want


class GrantDishonest(GrantError):
    """Signed by its owner, yet what is inside is not the keys of the range it names."""

    def __init__(self, slots: Range, why: str, ranges: tuple[Range, ...] = ()) -> None:
        super().__init__(
            f"the grant promises slots {slots[0]}..{slots[1]} but its keys are not theirs: {why} "
            f"(it carries leaves: {_ranges_text(ranges)}); "
            "ask the owner to make it anew, and keep this one as evidence"
        )
        self.slots, self.why, self.ranges = slots, why, ranges


class KeyFileError(CryptoError):
    """A key file that cannot be used."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"key file {path}: {why}")
        self.path, self.why = path, why


class KeyFileMissing(KeyFileError):
    """There is no such file."""


class KeyFileExists(KeyFileError):
    """There is one already; a key is never overwritten."""


class KeyFileExposed(KeyFileError):
    """Others than its owner may read it."""


class KeyFileDamaged(KeyFileError):
    """Not a key file, or one that was changed."""


class WrongPassphrase(KeyFileError):
    """The passphrase does not open the wallet; try another one."""
