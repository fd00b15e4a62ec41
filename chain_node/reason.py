"""Why a transaction was refused: numbers that never change their meaning, for machines to act on.

Runs on CPython.  A reason below 32 keeps a transaction out of every block, so that nothing is paid
and its nonce stays free.  A reason from 32 on stands in a receipt: the transaction is in a block, its
nonce is used and its fee is paid, and it had no other effect.
"""

from enum import IntEnum


class Reason(IntEnum):
    """What became of a transaction; the wire carries the number, JSON the name in small letters."""

    APPLIED = 0
    """Not refused: it had its effect."""
    MALFORMED = 1
    """The bytes are no transaction, or a field is out of its bounds."""
    WRONG_CHAIN = 2
    """It was signed for another chain."""
    BAD_SIGNATURE = 3
    """The key that it names did not sign it."""
    UNKNOWN_KIND = 4
    """A kind that this version of the ledger does not know."""
    TOO_LARGE = 5
    """More bytes than the chain takes in one transaction."""
    NONCE_USED = 6
    """The account has already used this nonce: a replay, or an old transaction."""
    NONCE_AHEAD = 7
    """Nonces before this one are still missing."""
    NONCE_PENDING = 8
    """Another transaction with this nonce waits in the pool."""
    FEE_TOO_LOW = 9
    """A fee that is neither nothing (the free quota) nor at least the least fee."""
    FEE_NOT_COVERED = 10
    """The balance does not cover the fee."""
    ACCOUNT_UNKNOWN = 11
    """Only an account that holds money has a free quota."""
    QUOTA_USED_UP = 12
    """The free transactions of this UTC day are used up; pay a fee, or wait."""
    EXPIRED = 13
    """The height until which it was valid has passed."""
    BUSY = 14
    """The pool is full; send it again later."""
    EVIDENCE_INVALID = 15
    """The two votes do not prove that somebody contradicted itself here, within the heights that count."""
    EVIDENCE_KNOWN = 16
    """It was already shown, or waits to be, that this one contradicted itself at this height."""
    VALIDATORS_APPROVAL = 17
    """A quorum of the validators that would be replaced has not signed this change."""

    BALANCE_TOO_LOW = 32
    """The balance does not cover fee and amount together."""
    ANCHOR_KNOWN = 33
    """This very upload of the stream is already anchored, with the same content."""
    ANCHOR_CONFLICT = 34
    """This upload of the stream is already anchored, with other content; an anchor never changes."""
    ANCHOR_BEHIND = 35
    """A later upload of the stream is already anchored; uploads are anchored in order."""
    DID_KNOWN = 36
    """This first document, and so its name, is registered already."""
    DID_UNKNOWN = 37
    """Nobody has registered this name, or the controller that the document names."""
    DID_DEACTIVATED = 38
    """This name, or the controller that it names, is deactivated for ever."""
    DID_NOT_CONTROLLER = 39
    """The signer's key is none that may change the name."""
    DID_VERSION = 40
    """The name is at another version than the one that was to be replaced: look at it again."""
    DID_RECOVERY_KEY = 41
    """Only the recovery key itself may set another one or take it out."""
    ESCROW_KNOWN = 42
    """The payer has opened this very escrow before, with the same content."""
    ESCROW_CONFLICT = 43
    """The payer has used this id for another escrow; an id is used once."""
    ESCROW_UNKNOWN = 44
    """The payer has opened no escrow of this id."""
    ESCROW_ENDED = 45
    """It is settled or refunded already; neither happens twice."""
    ESCROW_NOT_PARTY = 46
    """The signer may not settle it, or not at this amount."""
    ESCROW_AMOUNT = 47
    """More than was put aside."""
    ESCROW_LATE = 48
    """The deadline has come: it can only be refunded."""
    ESCROW_EARLY = 49
    """The deadline has not come: only payee or arbiter may refund it yet."""
    ESCROW_DEADLINE = 50
    """The deadline is past already, or more than a year away."""
    MANDATE_UNKNOWN = 51
    """The payer has granted the operator nothing."""
    MANDATE_REVOKED = 52
    """The payer has taken back what it granted."""
    MANDATE_EXPIRED = 53
    """The mandate's time is over, or would be before it begins."""
    MANDATE_PAYEE = 54
    """The payee is none of those that the mandate names."""
    MANDATE_PAYMENT_LIMIT = 55
    """More than one payment may have."""
    MANDATE_DAY_LIMIT = 56
    """More than this UTC day has left."""
    MANDATE_TOTAL_LIMIT = 57
    """More than is left of the whole mandate."""
    VALIDATORS_NUMBER = 58
    """It replaces another set of validators than the one in force: made before another change, or done."""
    VALIDATORS_PENDING = 59
    """Another set of validators waits for its height; until then there is no further change."""
    VALIDATORS_HEIGHT = 60
    """It takes effect too soon for everybody to know of it, or too late to wait for."""

    @property
    def label(self) -> str:
        """The name in small letters, as JSON carries it."""
        return self.name.lower()

    @property
    def is_final(self) -> bool:
        """Whether a node that refused a transaction for this will refuse it for ever.

        What stands in a receipt is final whatever it is: that nonce is used.
        """
        return self not in _MAY_PASS


_MAY_PASS = {
    Reason.NONCE_AHEAD,
    Reason.NONCE_PENDING,
    Reason.FEE_NOT_COVERED,
    Reason.ACCOUNT_UNKNOWN,
    Reason.QUOTA_USED_UP,
    Reason.BUSY,
    Reason.BALANCE_TOO_LOW,
    Reason.DID_UNKNOWN,
    Reason.ESCROW_UNKNOWN,
    Reason.ESCROW_EARLY,
    Reason.MANDATE_UNKNOWN,
    Reason.MANDATE_REVOKED,
    Reason.MANDATE_DAY_LIMIT,
}


EFFECT_FIRST = 32
"""The first reason that stands in a receipt."""
