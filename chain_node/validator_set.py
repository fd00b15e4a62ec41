"""Who the validators are, height by height, and how those of one height hand over to others.

Runs on CPython; pure.  A chain begins with the validators of its genesis, set number 0.  A transaction

    kind 13  validators change   1 number   2 from_height   3 [public key, ...]   4 [[index, signature], ...]

puts another set in the place of set `number` from block `from_height` on.  Anybody may send it; what counts
are the approvals in it: signatures of a quorum of the validators that are in force, over chain, number,
height and keys, under the type "cpc/validators".  The number makes each approval good for once.  Entries:

    ["validators"]           1 number   2 from_height   3 [keys]   4 from_height   5 [keys]
                             the newest set, and the one before it; absent before the first change
    ["validators", number]   1 number   2 from_height   3 [keys]     a set that is in neither place any more

So one proof against any state shows who is in force and who comes next, and a chain that never changed its
validators has no such entry.

A change takes effect NOTICE_BLOCKS or more after the block that it stands in.  Whoever is at block h then
knows from its state who certifies every height up to h + NOTICE_BLOCKS, and judges what comes from there:
votes for the next height, and the final blocks that one question asks for (messages.CHAIN_COUNT_MAX).
While one set waits for its height, no other is taken: two sets are all that anybody needs to keep apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import ClassVar

from chain_node import quorum
from chain_node.book import Book
from chain_node.errors import Refused, WireError
from chain_node.fields import KEY_SIZE, SIGNATURE_SIZE, Fields, check_blob, check_integer, read
from chain_node.reason import Reason
from puf import cbor, cose
from puf.ed25519 import SigningKey, verify

VALIDATORS_MAX = 100
NOTICE_BLOCKS = 16
"""The least number of blocks from the one with a change to the first that the new validators certify."""
LEAD_BLOCKS_MAX = 100_000
"""The most, 11 days of 10 s blocks: while a change waits no other can be made, and none is taken back."""
ENTRY_SIZE_MAX = 256 + 2 * 36 * VALIDATORS_MAX
APPROVAL_TYP = "cpc/validators"


def validators_hash(validators: Sequence[bytes]) -> bytes:
    """SHA-256 over the CBOR list of the validators' public keys, in the order of their indexes."""
    return sha256(cbor.encode(list(validators))).digest()


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """Those who certify blocks from one height on, until another set takes over."""

    number: int
    """How many changes there were before it; 0: that of the genesis."""
    from_height: int
    """The first block it certifies; 0 for that of the genesis."""
    keys: tuple[bytes, ...]
    """Public keys; a validator's index is its place here."""
    hash: bytes = field(init=False, repr=False, compare=False)
    """What the header of every block says that this set certifies."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", validators_hash(self.keys))

    def encode(self) -> bytes:
        """The bytes of its entry, once it is past."""
        return cbor.encode({1: self.number, 2: self.from_height, 3: list(self.keys)})

    @classmethod
    def decode(cls, data: bytes) -> "ValidatorSet":
        """Raises WireError."""
        what = "past validators"
        fields = Fields(read(data, what, ENTRY_SIZE_MAX), what)
        past = cls(
            fields.integer(1, "number", 1), fields.integer(2, "from_height", 1), _read_keys(fields, 3, what)
        )
        fields.done()
        return past


@dataclass(frozen=True, slots=True)
class ValidatorsEntry:
    """The newest set and the one before it: all that a state says at once."""

    newest: ValidatorSet
    before: ValidatorSet
    """The same as `newest` where there was never a change."""

    def at(self, height: int) -> ValidatorSet:
        """Who certifies the block of this height, which must not be before the older one's."""
        return self.newest if height >= self.newest.from_height else self.before

    def pending(self, height: int) -> ValidatorSet | None:
        """Who takes over after the block of this height."""
        return self.newest if height < self.newest.from_height else None

    def encode(self) -> bytes:
        """The entry's bytes."""
        newest, before = self.newest, self.before
        return cbor.encode(
            {
                1: newest.number,
                2: newest.from_height,
                3: list(newest.keys),
                4: before.from_height,
                5: list(before.keys),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "ValidatorsEntry":
        """Raises WireError."""
        what = "validators entry"
        fields = Fields(read(data, what, ENTRY_SIZE_MAX), what)
        number = fields.integer(1, "number", 1)
        newest = ValidatorSet(
            number, fields.integer(2, "from_height", NOTICE_BLOCKS), _read_keys(fields, 3, what)
        )
        before_height = fields.integer(4, "from_height of the set before")
        before = ValidatorSet(number - 1, before_height, _read_keys(fields, 5, what))
        fields.done()
        if before_height >= newest.from_height or (before_height == 0) != (number == 1):
            raise WireError(
                what, f"set {number} begins at {newest.from_height}, the one before at {before_height}"
            )
        return cls(newest, before)


ENTRY_KEY = cbor.encode(["validators"])
"""Where the newest set stands."""


def past_key(number: int) -> bytes:
    """Where a set stands that is past."""
    return cbor.encode(["validators", number])


@lru_cache(16)
def genesis_set(keys: tuple[bytes, ...]) -> ValidatorSet:
    """The set that a chain with these validators in its genesis begins with."""
    return ValidatorSet(0, 0, keys)


# What a state says


def present(book: Book, genesis_keys: tuple[bytes, ...]) -> ValidatorsEntry:
    """Who is in force after this state's block, and who comes next.  genesis_keys: `Genesis.validators`."""
    return book.read(ENTRY_KEY, ValidatorsEntry) or unchanged(genesis_keys)


def unchanged(genesis_keys: tuple[bytes, ...]) -> ValidatorsEntry:
    """What a state without an entry says."""
    first = genesis_set(genesis_keys)
    return ValidatorsEntry(first, first)


def at(book: Book, genesis_keys: tuple[bytes, ...], height: int) -> ValidatorSet:
    """Who certifies the block of this height, at most NOTICE_BLOCKS after this state's."""
    found = present(book, genesis_keys)
    older = found.before
    if height >= older.from_height:
        return found.at(height)
    while height < older.from_height:
        if older.number == 1:
            return genesis_set(genesis_keys)
        past = book.read(past_key(older.number - 1), ValidatorSet)
        assert past, "every set that is past has its entry"  # noqa: S101 - only a bug leaves one out
        older = past
    return older


class Succession:
    """All sets of a chain as far as somebody knows them, by number and so by height."""

    def __init__(self, genesis_keys: tuple[bytes, ...]) -> None:
        self._sets = [genesis_set(genesis_keys)]

    @property
    def newest(self) -> ValidatorSet:
        """The last one, which may not be in force yet."""
        return self._sets[-1]

    def at(self, height: int) -> ValidatorSet:
        """Who certifies the block of this height, as far as is known."""
        # Mostly the last or the one before is asked for.
        return next(each for each in reversed(self._sets) if height >= each.from_height)

    def pending(self, height: int) -> ValidatorSet | None:
        """Who takes over after the block of this height."""
        return next((each for each in self._sets if each.from_height > height), None)

    def numbered(self, number: int) -> ValidatorSet | None:
        """The set of this number."""
        return self._sets[number] if number < len(self._sets) else None

    def add(self, newest: ValidatorSet) -> None:
        """One more set; it follows the newest."""
        last = self._sets[-1]
        assert newest.number == last.number + 1, "sets follow each other"  # noqa: S101 - callers check
        assert newest.from_height > last.from_height, "heights rise"  # noqa: S101 - the ledger's rule
        self._sets.append(newest)

    def __iter__(self) -> Iterator[ValidatorSet]:
        return iter(tuple(self._sets))


# A change


def approval_message(
    approver: bytes, chain_id: bytes, number: int, from_height: int, keys: Sequence[bytes]
) -> bytes:
    """What a validator signs to approve of a change."""
    payload = cbor.encode({1: chain_id, 2: number, 3: from_height, 4: list(keys)})
    return cose.sig_structure(APPROVAL_TYP, approver, payload)


@dataclass(frozen=True, slots=True)
class ValidatorsChange:
    """Kind 13: other validators from a height on.  The signer of the transaction only pays for it."""

    KIND: ClassVar[int] = 13
    number: int
    """Of the set that is replaced: the one in force in the block that this stands in."""
    from_height: int
    """The first block that the new set certifies."""
    keys: tuple[bytes, ...]
    """The new set, in the order of its indexes: all of it, those who stay among them."""
    approvals: tuple[tuple[int, bytes], ...]
    """(index in the set that is replaced, its signature), by rising index."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        pairs = [[index, signature] for index, signature in self.approvals]
        return {1: self.number, 2: self.from_height, 3: list(self.keys), 4: pairs}

    @classmethod
    def from_map(cls, value: object) -> "ValidatorsChange":
        """Raises WireError."""
        what = "validators change"
        fields = Fields(value, what)
        number = fields.integer(1, "number")
        from_height = fields.integer(2, "from_height", 1)
        keys = _read_keys(fields, 3, what)
        pairs = fields.items(4, "approvals", VALIDATORS_MAX)
        fields.done()
        approvals = []
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise WireError(what, "an approval is not a list of index and signature")
            index = check_integer(pair[0], what, "the index of a validator", 0, VALIDATORS_MAX - 1)
            approvals.append((index, check_blob(pair[1], what, "an approval", SIGNATURE_SIZE)))
        return cls(number, from_height, keys, tuple(approvals))

    def approve(self, key: SigningKey, chain_id: bytes) -> bytes:
        """The signature with which `key`, a validator, approves of this change."""
        return key.sign(approval_message(key.public, chain_id, self.number, self.from_height, self.keys))

    def is_approved(self, index: int, signature: bytes, chain_id: bytes, replaced: ValidatorSet) -> bool:
        """Whether validator `index` of the set that is replaced has approved of this change."""
        approver = replaced.keys[index]
        message = approval_message(approver, chain_id, self.number, self.from_height, self.keys)
        return verify(approver, message, signature)

    def admit(self, book: Book, genesis_keys: tuple[bytes, ...], chain_id: bytes, height: int) -> None:
        """Check the approvals, unless the change has no effect anyway.

        Raises Refused with VALIDATORS_APPROVAL: signatures are dear, so what is not approved of enters no
        block, where the first that is false makes the whole block so.
        """
        found = present(book, genesis_keys)
        if self._why_not(found, height) is None:
            self.check_approvals(chain_id, found.at(height))

    def check_approvals(self, chain_id: bytes, replaced: ValidatorSet) -> None:
        """Check that a quorum of the set that is replaced has approved.  Raises Refused."""
        count, needed = len(replaced.keys), quorum.size(len(replaced.keys))
        if len(self.approvals) < needed:
            raise _unapproved(f"{len(self.approvals)} of {count} validators have approved, {needed} must")
        previous = -1
        for index, signature in self.approvals:
            if not previous < index < count:
                raise _unapproved(f"its indexes do not rise from 0 to at most {count - 1}")
            previous = index
            if not self.is_approved(index, signature, chain_id, replaced):
                raise _unapproved(
                    f"validator {index}, {replaced.keys[index].hex()}, has not signed this change"
                )

    def take_effect(self, book: Book, genesis_keys: tuple[bytes, ...], height: int) -> None:
        """Let the new set stand.  `admit` has checked the approvals.

        Raises Refused with one of the reasons of validators.
        """
        found = present(book, genesis_keys)
        if refusal := self._why_not(found, height):
            raise refusal
        replaced = found.newest
        if found.before.number:
            # Evidence against its members may still be shown, and old blocks are judged by it.
            book.write(past_key(found.before.number), found.before)
        newest = ValidatorSet(self.number + 1, self.from_height, self.keys)
        book.write(ENTRY_KEY, ValidatorsEntry(newest, replaced))

    def _why_not(self, found: ValidatorsEntry, height: int) -> Refused | None:
        if pending := found.pending(height):
            return Refused(
                Reason.VALIDATORS_PENDING,
                f"set {pending.number} takes over at block {pending.from_height}; no other change before",
            )
        if self.number != found.newest.number:
            return Refused(
                Reason.VALIDATORS_NUMBER,
                f"it replaces set {self.number}, in force is set {found.newest.number}: "
                "it was made before another change",
            )
        first, last = height + NOTICE_BLOCKS, height + LEAD_BLOCKS_MAX
        if not first <= self.from_height <= last:
            return Refused(
                Reason.VALIDATORS_HEIGHT,
                f"a change in block {height} takes effect from block {first} to {last} on, "
                f"not at {self.from_height}",
            )
        return None


def _unapproved(why: str) -> Refused:
    return Refused(Reason.VALIDATORS_APPROVAL, f"the validators have not approved of this change: {why}")


def _read_keys(fields: Fields, key: int, what: str) -> tuple[bytes, ...]:
    items = fields.items(key, "validators", VALIDATORS_MAX)
    keys = tuple(check_blob(item, what, "a validator's key", KEY_SIZE) for item in items)
    if not keys or len(set(keys)) != len(keys):
        raise WireError(what, "its validators are none, or one of them twice")
    return keys
