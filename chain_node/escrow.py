"""Escrow: money put aside for one payee, until somebody says how much of it was earned, or time runs out.

Runs on CPython; pure.  Bodies of transactions:

    kind 7  open    1 id   2 payee   3 amount_ucpc   4 deadline_ms   5 memo hash   6 arbiter (optional)
    kind 8  settle  1 payer   2 id   3 paid_ucpc   4 consent (optional)
    kind 9  refund  1 payer   2 id

Entry of the state, kept for ever, so that an id is used once:

    ["escrow", payer, id]   1 payee   2 amount_ucpc   3 deadline_ms   4 memo hash   5 arbiter (optional)
                            6 status   7 paid_ucpc   8 opened height   9 ended height (0: open)   10 tx hash

An escrow is known by its payer and an id of the payer's choice, such as that of a parking session.  It is
opened once; the same open again is found KNOWN, another one CONFLICT.  It ends once: by a settlement, which
gives `paid_ucpc` to the payee and the rest back to the payer, or by a refund, which gives back all.

    by           before the deadline                               from the deadline on
    payee        settle any part, if there is no arbiter;
                 with the payer's consent in any case; refund      refund
    payer        settle the whole                                  refund
    arbiter      settle any part; refund                           refund
    anybody      -                                                 refund

The deadline is a time of the chain, so it comes whatever the parties do, and then the money goes home at
anybody's word: no path stays open.  A deposit for parking has no arbiter: the site takes what the session
cost.  A trade between strangers has one: the payee alone can take nothing.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

from chain_node.book import ENTRY_SIZE_MAX, SUPPLY_UCPC, Book, Call
from chain_node.errors import Refused
from chain_node.fields import KEY_SIZE, SIGNATURE_SIZE, Fields, read
from chain_node.reason import Reason
from puf import cbor, cose, ed25519
from puf.ed25519 import SigningKey

CONSENT_TYP = "cpc/escrow-consent"
TERM_MS_MAX = 366 * 86_400_000
"""The longest that money is put aside: a year."""


class EscrowStatus(IntEnum):
    """Where an escrow has come to."""

    OPEN = 0
    SETTLED = 1
    REFUNDED = 2


def escrow_key(payer: bytes, ident: bytes) -> bytes:
    """Where the payer's escrow of this id stands."""
    return cbor.encode(["escrow", payer, ident])


def consent_payload(chain_id: bytes, payer: bytes, ident: bytes, paid_ucpc: int) -> bytes:
    """What a payer signs to agree to a settlement."""
    return cbor.encode({1: chain_id, 2: payer, 3: ident, 4: paid_ucpc})


def sign_consent(payer: SigningKey, chain_id: bytes, ident: bytes, paid_ucpc: int) -> bytes:
    """The payer's signature that lets the payee settle exactly `paid_ucpc`."""
    payload = consent_payload(chain_id, payer.public, ident, paid_ucpc)
    return payer.sign(cose.sig_structure(CONSENT_TYP, payer.public, payload))


@dataclass(frozen=True, slots=True)
class EscrowEntry:
    """An escrow as it stands in the state."""

    payee: bytes
    amount_ucpc: int
    """What was put aside."""
    deadline_ms: int
    """From the first block of this time on it can only be refunded."""
    memo_hash: bytes
    """What it is for: a hash of whatever the parties agreed on."""
    arbiter: bytes | None
    """Who decides when they do not agree."""
    status: EscrowStatus
    paid_ucpc: int
    """What the payee got."""
    opened_height: int
    ended_height: int
    """0 while it is open."""
    tx_hash: bytes
    """The transaction that opened it, or ended it."""

    @property
    def locked_ucpc(self) -> int:
        """What is put aside now."""
        return self.amount_ucpc if self.status == EscrowStatus.OPEN else 0

    def is_of(self, body: "EscrowOpen") -> bool:
        """Whether this is what `body` opens."""
        return (self.payee, self.amount_ucpc, self.deadline_ms, self.memo_hash, self.arbiter) == (
            body.payee,
            body.amount_ucpc,
            body.deadline_ms,
            body.memo_hash,
            body.arbiter,
        )

    def encode(self) -> bytes:
        """The entry's bytes."""
        fields: dict[int, object] = {
            1: self.payee,
            2: self.amount_ucpc,
            3: self.deadline_ms,
            4: self.memo_hash,
            6: int(self.status),
            7: self.paid_ucpc,
            8: self.opened_height,
            9: self.ended_height,
            10: self.tx_hash,
        }
        if self.arbiter is not None:
            fields[5] = self.arbiter
        return cbor.encode(fields)

    @classmethod
    def decode(cls, data: bytes) -> "EscrowEntry":
        """Raises WireError."""
        fields = Fields(read(data, "escrow entry", ENTRY_SIZE_MAX), "escrow entry")
        amount_ucpc = fields.integer(2, "amount_ucpc", 1, SUPPLY_UCPC)
        entry = cls(
            payee=fields.blob(1, "payee", KEY_SIZE),
            amount_ucpc=amount_ucpc,
            deadline_ms=fields.integer(3, "deadline_ms"),
            memo_hash=fields.blob(4, "memo hash"),
            arbiter=fields.blob(5, "arbiter", KEY_SIZE) if fields.has(5) else None,
            status=EscrowStatus(fields.integer(6, "status", 0, max(EscrowStatus))),
            paid_ucpc=fields.integer(7, "paid_ucpc", 0, amount_ucpc),
            opened_height=fields.integer(8, "opened height", 1),
            ended_height=fields.integer(9, "ended height"),
            tx_hash=fields.blob(10, "tx hash"),
        )
        fields.done()
        return entry


@dataclass(frozen=True, slots=True)
class EscrowOpen:
    """Kind 7: the signer puts money aside for a payee."""

    KIND: ClassVar[int] = 7
    ident: bytes
    """32 bytes; the signer never uses them again."""
    payee: bytes
    """The payee's public key, 32 bytes."""
    amount_ucpc: int
    deadline_ms: int
    """Unix milliseconds; later than the block, by a year at most."""
    memo_hash: bytes
    """32 bytes: a hash of what it is for, not read by the ledger."""
    arbiter: bytes | None = None
    """A third party's public key; with one the payee takes nothing on its own."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        fields: dict[int, object] = {
            1: self.ident,
            2: self.payee,
            3: self.amount_ucpc,
            4: self.deadline_ms,
            5: self.memo_hash,
        }
        if self.arbiter is not None:
            fields[6] = self.arbiter
        return fields

    @classmethod
    def from_map(cls, value: object) -> "EscrowOpen":
        """Raises WireError."""
        fields = Fields(value, "escrow open")
        body = cls(
            ident=fields.blob(1, "id"),
            payee=fields.blob(2, "payee", KEY_SIZE),
            amount_ucpc=fields.integer(3, "amount_ucpc", 1, SUPPLY_UCPC),
            deadline_ms=fields.integer(4, "deadline_ms"),
            memo_hash=fields.blob(5, "memo hash"),
            arbiter=fields.blob(6, "arbiter", KEY_SIZE) if fields.has(6) else None,
        )
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with ESCROW_KNOWN, ESCROW_CONFLICT, ESCROW_DEADLINE or BALANCE_TOO_LOW."""
        place = escrow_key(call.signer, self.ident)
        if present := book.read(place, EscrowEntry):
            if present.is_of(self):
                raise Refused(
                    Reason.ESCROW_KNOWN, f"escrow {self.ident.hex()} of {call.signer.hex()} is there already"
                )
            raise Refused(
                Reason.ESCROW_CONFLICT,
                f"{call.signer.hex()} has used the id {self.ident.hex()} for another escrow; take a new one",
            )
        if not call.time_ms < self.deadline_ms <= call.time_ms + TERM_MS_MAX:
            raise Refused(
                Reason.ESCROW_DEADLINE,
                f"the deadline {self.deadline_ms} is not within a year after the block's {call.time_ms} ms",
            )
        book.lock(call.signer, self.amount_ucpc)
        entry = EscrowEntry(
            payee=self.payee,
            amount_ucpc=self.amount_ucpc,
            deadline_ms=self.deadline_ms,
            memo_hash=self.memo_hash,
            arbiter=self.arbiter,
            status=EscrowStatus.OPEN,
            paid_ucpc=0,
            opened_height=call.height,
            ended_height=0,
            tx_hash=call.tx_hash,
        )
        book.write(place, entry)


@dataclass(frozen=True, slots=True)
class EscrowSettle:
    """Kind 8: so much was earned; the rest goes back."""

    KIND: ClassVar[int] = 8
    payer: bytes
    """The public key that opened it."""
    ident: bytes
    paid_ucpc: int
    """To the payee, of what was put aside; 0 is a refund."""
    consent: bytes | None = None
    """The payer's signature on exactly this, as `sign_consent` makes it: 64 bytes."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        fields: dict[int, object] = {1: self.payer, 2: self.ident, 3: self.paid_ucpc}
        if self.consent is not None:
            fields[4] = self.consent
        return fields

    @classmethod
    def from_map(cls, value: object) -> "EscrowSettle":
        """Raises WireError."""
        fields = Fields(value, "escrow settle")
        body = cls(
            payer=fields.blob(1, "payer", KEY_SIZE),
            ident=fields.blob(2, "id"),
            paid_ucpc=fields.integer(3, "paid_ucpc", 0, SUPPLY_UCPC),
            consent=fields.blob(4, "consent", SIGNATURE_SIZE) if fields.has(4) else None,
        )
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with one of the reasons of escrows."""
        entry = _open(book, self.payer, self.ident)
        if call.time_ms >= entry.deadline_ms:
            raise Refused(
                Reason.ESCROW_LATE,
                f"the deadline {entry.deadline_ms} has come; it can only be refunded now",
            )
        if self.paid_ucpc > entry.amount_ucpc:
            raise Refused(
                Reason.ESCROW_AMOUNT, f"{self.paid_ucpc} ucpc of the {entry.amount_ucpc} that were put aside"
            )
        if not self._may_settle(entry, call):
            raise Refused(
                Reason.ESCROW_NOT_PARTY, f"{call.signer.hex()} may not settle {self.paid_ucpc} ucpc of this"
            )
        _end(book, self.payer, self.ident, entry, call, EscrowStatus.SETTLED, self.paid_ucpc)

    def _may_settle(self, entry: EscrowEntry, call: Call) -> bool:
        if call.signer == entry.arbiter:
            return True
        if call.signer == entry.payee and (entry.arbiter is None or self._has_consent(call)):
            return True
        return call.signer == self.payer and self.paid_ucpc == entry.amount_ucpc

    def _has_consent(self, call: Call) -> bool:
        if self.consent is None:
            return False
        payload = consent_payload(call.chain_id, self.payer, self.ident, self.paid_ucpc)
        message = cose.sig_structure(CONSENT_TYP, self.payer, payload)
        return ed25519.verify(self.payer, message, self.consent)


@dataclass(frozen=True, slots=True)
class EscrowRefund:
    """Kind 9: all of it goes back."""

    KIND: ClassVar[int] = 9
    payer: bytes
    """The public key that opened it."""
    ident: bytes

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.payer, 2: self.ident}

    @classmethod
    def from_map(cls, value: object) -> "EscrowRefund":
        """Raises WireError."""
        fields = Fields(value, "escrow refund")
        body = cls(payer=fields.blob(1, "payer", KEY_SIZE), ident=fields.blob(2, "id"))
        fields.done()
        return body

    def take_effect(self, book: Book, call: Call) -> None:
        """Raises Refused with one of the reasons of escrows."""
        entry = _open(book, self.payer, self.ident)
        if call.time_ms < entry.deadline_ms and call.signer not in (entry.payee, entry.arbiter):
            raise Refused(
                Reason.ESCROW_EARLY,
                f"before the deadline {entry.deadline_ms} only the payee or the arbiter refunds it; "
                f"this block is of {call.time_ms} ms",
            )
        _end(book, self.payer, self.ident, entry, call, EscrowStatus.REFUNDED, 0)


def _open(book: Book, payer: bytes, ident: bytes) -> EscrowEntry:
    entry = book.read(escrow_key(payer, ident), EscrowEntry)
    if entry is None:
        raise Refused(Reason.ESCROW_UNKNOWN, f"{payer.hex()} has opened no escrow {ident.hex()}")
    if entry.status != EscrowStatus.OPEN:
        raise Refused(
            Reason.ESCROW_ENDED,
            f"it was {entry.status.name.lower()} in block {entry.ended_height}, "
            f"{entry.paid_ucpc} ucpc to the payee",
        )
    return entry


def _end(
    book: Book,
    payer: bytes,
    ident: bytes,
    entry: EscrowEntry,
    call: Call,
    status: EscrowStatus,
    paid_ucpc: int,
) -> None:
    book.unlock(payer, entry.amount_ucpc)
    book.credit(entry.payee, paid_ucpc)
    book.credit(payer, entry.amount_ucpc - paid_ucpc)
    ended = replace(entry, status=status, paid_ucpc=paid_ucpc, ended_height=call.height, tx_hash=call.tx_hash)
    book.write(escrow_key(payer, ident), ended)
