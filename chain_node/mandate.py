"""Spending mandates: a payer lets an operator move small amounts of its money without asking each time.

Runs on CPython; pure.  Bodies of transactions:

    kind 10  grant   1 operator   2 payment_max_ucpc   3 day_max_ucpc   4 expires_ms
                     5 total_max_ucpc (optional)   6 [payees] (optional)
    kind 11  pay     1 payer   2 payee   3 amount_ucpc   4 memo
    kind 12  revoke  1 operator

Entry of the state, one for each payer and operator:

    ["mandate", payer, operator]   1 grant number   2 payment_max_ucpc   3 day_max_ucpc   4 expires_ms
                                   5 total_max_ucpc (optional)   6 [payees] (optional)   7 is revoked (0 or 1)
                                   8 day   9 day_spent_ucpc   10 total_spent_ucpc   11 tx hash

A grant takes the place of the one before it: its limits hold from then on, its total begins at nothing,
while what was spent this UTC day stays spent.  A payment is a transaction of the operator, which pays its
fee; it moves the payer's money at once and needs no more of the payer.  No money is put aside: a payer who
has none left pays nothing.  Days and expiry go by the chain's time, which never runs backwards.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from chain_node.book import ENTRY_SIZE_MAX, MEMO_SIZE_MAX, SUPPLY_UCPC, Book, Call
from chain_node.errors import Refused, WireError
from chain_node.fields import INT_MAX, KEY_SIZE, Fields, check_blob, read
from chain_node.reason import Reason
from puf import cbor

PAYEES_MAX = 8


def mandate_key(payer: bytes, operator: bytes) -> bytes:
    """Where it stands what the operator may spend of the payer's."""
    return cbor.encode(["mandate", payer, operator])


@dataclass(frozen=True, slots=True)
class MandateEntry:
    """A mandate, and what was spent under it."""

    number: int
    """1 for the payer's first grant to this operator; each one adds one."""
    payment_max_ucpc: int
    day_max_ucpc: int
    expires_ms: int
    """From the first block of this time on nothing is paid any more."""
    total_max_ucpc: int | None
    """Of this grant; None: no limit but those of payment, day and expiry."""
    payees: tuple[bytes, ...]
    """Who may be paid; empty: everybody."""
    is_revoked: bool
    day: int
    """The UTC day (Unix time / 86,400 s) of the last payment."""
    day_spent_ucpc: int
    """On that day, under this and earlier grants."""
    total_spent_ucpc: int
    """Under this grant, up to INT_MAX."""
    tx_hash: bytes
    """The last transaction that changed this: grant, payment or revocation."""

    def day_spent_on(self, day: int) -> int:
        """What counts against the limit of this UTC day."""
        return self.day_spent_ucpc if self.day == day else 0

    def encode(self) -> bytes:
        """The entry's bytes."""
        fields: dict[int, object] = {
            1: self.number,
            2: self.payment_max_ucpc,
            3: self.day_max_ucpc,
            4: self.expires_ms,
            7: int(self.is_revoked),
            8: self.day,
            9: self.day_spent_ucpc,
            10: self.total_spent_ucpc,
            11: self.tx_hash,
        }
        return cbor.encode(fields | _optional(self.total_max_ucpc, self.payees))

    @classmethod
    def decode(cls, data: bytes) -> "MandateEntry":
        """Raises WireError."""
        what = "mandate entry"
        fields = Fields(read(data, what, ENTRY_SIZE_MAX), what)
        entry = cls(
            number=fields.integer(1, "grant number", 1),
            payment_max_ucpc=fields.integer(2, "payment_max_ucpc", 1, SUPPLY_UCPC),
            day_max_ucpc=fields.integer(3, "day_max_ucpc", 1, SUPPLY_UCPC),
            expires_ms=fields.integer(4, "expires_ms"),
            total_max_ucpc=_total_max(fields),
            payees=_payees(fields, what),
            is_revoked=bool(fields.integer(7, "is revoked", 0, 1)),
            day=fields.integer(8, "day"),
            day_spent_ucpc=fields.integer(9, "day_spent_ucpc"),
            total_spent_ucpc=fields.integer(10, "total_spent_ucpc"),
            tx_hash=fields.blob(11, "tx hash"),
        )
        fields.done()
        return entry


@dataclass(frozen=True, slots=True)
class MandateGrant:
    """Kind 10: the signer lets an operator spend."""

    KIND: ClassVar[int] = 10
    operator: bytes
    """The operator's public key, 32 bytes."""
    payment_max_ucpc: int
    """The most of one payment."""
    day_max_ucpc: int
    """The most of all payments of one UTC day."""
    expires_ms: int
    """Unix milliseconds."""
    total_max_ucpc: int | None = None
    """The most of all payments."""
    payees: tuple[bytes, ...] = ()
    """The only ones to be paid, at most 8 by rising key; empty: everybody."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        fields: dict[int, object] = {
            1: self.operator,
            2: self.payment_max_ucpc,
            3: self.day_max_ucpc,
            4: self.expires_ms,
        }
        return fields | _optional(self.total_max_ucpc, self.payees)

    @classmethod
    def from_map(cls, value: object) -> "MandateGrant":
        """Raises WireError."""
        fields = Fields(value, "mandate grant")
        body = cls(
            operator=fields.blob(1, "operator", KEY_SIZE),
            payment_max_ucpc=fields.integer(2, "payment_max_ucpc", 1, SUPPLY_UCPC),
            day_max_ucpc=fields.integer(3, "day_max_ucpc", 1, SUPPLY_UCPC),
            expires_ms=fields.integer(4, "expires_ms"),
            total_max_ucpc=_total_max(fields),
            payees=_payees(fields, "mandate grant"),
        )
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with MANDATE_EXPIRED when it would be over before it begins."""
        if self.expires_ms <= call.time_ms:
            raise Refused(
                Reason.MANDATE_EXPIRED, f"it expires at {self.expires_ms}, the block is of {call.time_ms} ms"
            )
        place = mandate_key(call.signer, self.operator)
        before = book.read(place, MandateEntry)
        entry = MandateEntry(
            number=before.number + 1 if before else 1,
            payment_max_ucpc=self.payment_max_ucpc,
            day_max_ucpc=self.day_max_ucpc,
            expires_ms=self.expires_ms,
            total_max_ucpc=self.total_max_ucpc,
            payees=self.payees,
            is_revoked=False,
            day=before.day if before else 0,
            day_spent_ucpc=before.day_spent_ucpc if before else 0,
            total_spent_ucpc=0,
            tx_hash=call.tx_hash,
        )
        book.write(place, entry)


@dataclass(frozen=True, slots=True)
class MandatePay:
    """Kind 11: the signer, an operator, pays somebody with a payer's money."""

    KIND: ClassVar[int] = 11
    payer: bytes
    """The public key that granted the mandate."""
    payee: bytes
    amount_ucpc: int
    memo: bytes = b""
    """At most 64 bytes, public, not read by the ledger."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.payer, 2: self.payee, 3: self.amount_ucpc, 4: self.memo}

    @classmethod
    def from_map(cls, value: object) -> "MandatePay":
        """Raises WireError."""
        fields = Fields(value, "mandate pay")
        body = cls(
            payer=fields.blob(1, "payer", KEY_SIZE),
            payee=fields.blob(2, "payee", KEY_SIZE),
            amount_ucpc=fields.integer(3, "amount_ucpc", 1, SUPPLY_UCPC),
            memo=fields.blob_up_to(4, "memo", MEMO_SIZE_MAX),
        )
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with one of the reasons of mandates, or BALANCE_TOO_LOW of the payer."""
        entry = _granted(book, self.payer, call.signer)
        if call.time_ms >= entry.expires_ms:
            raise Refused(
                Reason.MANDATE_EXPIRED, f"it expired at {entry.expires_ms}, the block is of {call.time_ms} ms"
            )
        if entry.payees and self.payee not in entry.payees:
            raise Refused(Reason.MANDATE_PAYEE, f"{self.payee.hex()} is none of the payees it names")
        day_spent_ucpc = entry.day_spent_on(call.day) + self.amount_ucpc
        # Without a limit it stops counting before it is no number of the chain any more.
        total_spent_ucpc = min(entry.total_spent_ucpc + self.amount_ucpc, INT_MAX)
        for spent_ucpc, max_ucpc, reason, what in (
            (self.amount_ucpc, entry.payment_max_ucpc, Reason.MANDATE_PAYMENT_LIMIT, "a payment"),
            (total_spent_ucpc, entry.total_max_ucpc, Reason.MANDATE_TOTAL_LIMIT, "all payments"),
            (day_spent_ucpc, entry.day_max_ucpc, Reason.MANDATE_DAY_LIMIT, "a UTC day"),
        ):
            if max_ucpc is not None and spent_ucpc > max_ucpc:
                raise Refused(reason, f"{spent_ucpc} ucpc, where {what} may have {max_ucpc}")
        book.debit(self.payer, self.amount_ucpc)
        book.credit(self.payee, self.amount_ucpc)
        spent = replace(
            entry,
            day=call.day,
            day_spent_ucpc=day_spent_ucpc,
            total_spent_ucpc=total_spent_ucpc,
            tx_hash=call.tx_hash,
        )
        book.write(mandate_key(self.payer, call.signer), spent)


@dataclass(frozen=True, slots=True)
class MandateRevoke:
    """Kind 12: the operator may spend nothing more of the signer's; only a new grant changes that."""

    KIND: ClassVar[int] = 12
    operator: bytes

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.operator}

    @classmethod
    def from_map(cls, value: object) -> "MandateRevoke":
        """Raises WireError."""
        fields = Fields(value, "mandate revoke")
        body = cls(fields.blob(1, "operator", KEY_SIZE))
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with MANDATE_UNKNOWN or MANDATE_REVOKED."""
        entry = _granted(book, call.signer, self.operator)
        ended = replace(entry, is_revoked=True, tx_hash=call.tx_hash)
        book.write(mandate_key(call.signer, self.operator), ended)


def _granted(book: Book, payer: bytes, operator: bytes) -> MandateEntry:
    entry = book.read(mandate_key(payer, operator), MandateEntry)
    if entry is None:
        raise Refused(Reason.MANDATE_UNKNOWN, f"{payer.hex()} has granted {operator.hex()} nothing")
    if entry.is_revoked:
        raise Refused(Reason.MANDATE_REVOKED, f"{payer.hex()} has revoked what it granted {operator.hex()}")
    return entry


def _optional(total_max_ucpc: int | None, payees: tuple[bytes, ...]) -> dict[int, object]:
    fields: dict[int, object] = {}
    if total_max_ucpc is not None:
        fields[5] = total_max_ucpc
    if payees:
        fields[6] = list(payees)
    return fields


def _total_max(fields: Fields) -> int | None:
    return fields.integer(5, "total_max_ucpc", 1, SUPPLY_UCPC) if fields.has(5) else None


def _payees(fields: Fields, what: str) -> tuple[bytes, ...]:
    if not fields.has(6):
        return ()
    items = fields.items(6, "payees", PAYEES_MAX)
    payees = tuple(check_blob(item, what, "a payee", KEY_SIZE) for item in items)
    if not payees or list(payees) != sorted(set(payees)):
        raise WireError(what, f"payees are not 1 to {PAYEES_MAX} by rising key, or left out")
    return payees
