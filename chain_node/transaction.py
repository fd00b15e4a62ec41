"""Transactions and receipts: what an account asks of the chain, and what became of it.

Runs on CPython.  A transaction is a COSE_Sign1 of type "cpc/tx", signed by the account's key; its hash
is SHA-256 of all its bytes.  Its payload is a CBOR map:

    1 chain id   2 nonce   3 fee_ucpc   4 valid_until (optional)   5 kind   6 body

The body is a CBOR map whose fields depend on the kind; kinds are numbered once and for all in KINDS,
and an unknown kind is refused with Reason.UNKNOWN_KIND, so that later ones (bridge, market) find their
numbers free.  Kinds 1 to 3 are here, 4 to 6 in did_ledger.py, 7 to 9 in escrow.py, 10 to 12 in
mandate.py, 13 in validator_set.py.  Deterministic bytes, strict in both directions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import ClassVar, NamedTuple, Protocol

from chain_node import book
from chain_node.did_ledger import DidDeactivate, DidRegister, DidRotate
from chain_node.errors import Refused, WireError
from chain_node.escrow import EscrowOpen, EscrowRefund, EscrowSettle
from chain_node.fields import KEY_SIZE, Fields, read
from chain_node.mandate import MandateGrant, MandatePay, MandateRevoke
from chain_node.reason import EFFECT_FIRST, Reason
from chain_node.transfer_bytes import read_transfer
from chain_node.validator_set import ValidatorsChange
from puf import cbor, cose
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, SignatureError

TX_TYP = "cpc/tx"
TX_SIZE_LIMIT = 1 << 16
"""Bytes of the longest transaction of any chain; a genesis may set less."""
MEMO_SIZE_MAX = book.MEMO_SIZE_MAX
SHOWN_VOTE_SIZE_MAX = 512
"""Bytes of a vote as evidence; block.VOTE_SIZE_MAX, which this file is below."""
SUPPLY_UCPC = book.SUPPLY_UCPC


@dataclass(frozen=True, slots=True)
class Transfer:
    """Kind 1: money from the signer to `to`."""

    KIND: ClassVar[int] = 1
    to: bytes
    """The payee's public key, 32 bytes."""
    amount_ucpc: int
    """From 1 ucpc to the whole supply."""
    memo: bytes = b""
    """At most 64 bytes for the payee, public, not read by the ledger."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.to, 2: self.amount_ucpc, 3: self.memo}

    @classmethod
    def from_map(cls, value: object) -> "Transfer":
        """Raises WireError."""
        fields = Fields(value, "transfer")
        body = cls(
            to=fields.blob(1, "to", KEY_SIZE),
            amount_ucpc=fields.integer(2, "amount_ucpc", 1, SUPPLY_UCPC),
            memo=fields.blob_up_to(3, "memo", MEMO_SIZE_MAX),
        )
        fields.done()
        return body


@dataclass(frozen=True, slots=True)
class Anchor:
    """Kind 2: the hashes of one upload of a stream, kept for ever under (signer, stream, upload)."""

    KIND: ClassVar[int] = 2
    stream: bytes
    """32 bytes: which of the signer's streams; under another signer the same id is another stream."""
    upload: int
    """Index of the upload in its stream; only grows."""
    chunk_count: int
    """How many ciphertext chunks the upload has: the size of the tree under `cipher_root`."""
    cipher_root: bytes
    """RFC 9162 root of the ciphertext chunks."""
    plain_root: bytes
    """RFC 9162 root of the salted plaintext leaves."""
    manifest_hash: bytes
    """SHA-256 of the upload's manifest, which says where the chunks are and how they are built."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {
            1: self.stream,
            2: self.upload,
            3: self.chunk_count,
            4: self.cipher_root,
            5: self.plain_root,
            6: self.manifest_hash,
        }

    @classmethod
    def from_map(cls, value: object) -> "Anchor":
        """Raises WireError."""
        fields = Fields(value, "anchor")
        body = cls(
            stream=fields.blob(1, "stream"),
            upload=fields.integer(2, "upload"),
            chunk_count=fields.integer(3, "chunk_count", 1),
            cipher_root=fields.blob(4, "cipher_root"),
            plain_root=fields.blob(5, "plain_root"),
            manifest_hash=fields.blob(6, "manifest_hash"),
        )
        fields.done()
        return body


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Kind 3: two votes of one voter that contradict each other.

    One that proves what is not known yet needs neither fee nor quota nor money; every other one can
    enter no block.  chain_node/equivocation.py says what proves it.
    """

    KIND: ClassVar[int] = 3
    first: bytes
    """A COSE_Sign1 of type "cpc/vote", signature included."""
    second: bytes
    """Another one for the same height, round and phase, with another block hash."""

    def to_map(self) -> dict[int, object]:
        """The body as it is encoded."""
        return {1: self.first, 2: self.second}

    @classmethod
    def from_map(cls, value: object) -> "Equivocation":
        """Raises WireError; what the votes say is not looked at yet."""
        fields = Fields(value, "equivocation")
        body = cls(
            first=fields.blob_up_to(1, "first", SHOWN_VOTE_SIZE_MAX),
            second=fields.blob_up_to(2, "second", SHOWN_VOTE_SIZE_MAX),
        )
        fields.done()
        return body


Family = (
    DidRegister
    | DidRotate
    | DidDeactivate
    | EscrowOpen
    | EscrowSettle
    | EscrowRefund
    | MandateGrant
    | MandatePay
    | MandateRevoke
)
"""Bodies that bring their effects along."""
Body = Transfer | Anchor | Equivocation | ValidatorsChange | Family

KINDS: dict[int, type[Body]] = {
    kind.KIND: kind
    for kind in (
        Transfer,
        Anchor,
        Equivocation,
        DidRegister,
        DidRotate,
        DidDeactivate,
        EscrowOpen,
        EscrowSettle,
        EscrowRefund,
        MandateGrant,
        MandatePay,
        MandateRevoke,
        ValidatorsChange,
    )
}
"""Every kind that the ledger knows.  A number is never used again for something else."""


class Transaction(NamedTuple):
    """A signed transaction.  Made by `sign` or `decode`, so that its signature always holds.

    A tuple, which is made in half the time: a node takes thousands a second.
    """

    sender: bytes
    """The signer's public key, 32 bytes: the account that pays."""
    chain_id: bytes
    """Hash of the genesis of the chain it is for."""
    nonce: int
    """How many transactions of this account are in blocks before it."""
    fee_ucpc: int
    """Paid to the proposer; 0 uses the account's free quota, unless it is evidence."""
    valid_until: int | None
    """The last height that may include it; None: any."""
    body: Body
    data: bytes
    """The bytes that travel: a COSE_Sign1."""
    tx_hash: bytes
    """SHA-256 of `data`: its name."""

    @property
    def uses_quota(self) -> bool:
        """Whether it is one of its account's free transactions of the day."""
        return self.fee_ucpc == 0 and not isinstance(self.body, Equivocation)

    @classmethod
    def sign(
        cls,
        key: SigningKey,
        chain_id: bytes,
        nonce: int,
        body: Body,
        fee_ucpc: int = 0,
        valid_until: int | None = None,
    ) -> "Transaction":
        """A new transaction of `key`'s account.

        Raises ValueError when a field is out of its bounds.
        """
        payload: dict[int, object] = {1: chain_id, 2: nonce, 3: fee_ucpc, 5: body.KIND, 6: body.to_map()}
        if valid_until is not None:
            payload[4] = valid_until
        try:
            return cls.decode(cose.sign1(TX_TYP, cbor.encode(payload), key))
        except Refused as error:
            raise ValueError(str(error)) from None

    @classmethod
    def decode(cls, data: bytes) -> "Transaction":
        """The transaction that `data` is, its signature checked.

        Raises Refused with MALFORMED, TOO_LARGE, BAD_SIGNATURE or UNKNOWN_KIND.
        """
        return cls._open(data, cose.open1, transaction_hash(data))

    @classmethod
    def take(cls, data: bytes, known: "Known | None") -> "Transaction":
        """The one of `known` that `data` is, or else what `decode` makes of it.  Raises Refused."""
        tx_hash = transaction_hash(data)
        return (known and known.get(tx_hash)) or cls._open(data, cose.open1, tx_hash)

    @classmethod
    def restore(cls, data: bytes) -> "Transaction":
        """One that `decode` has taken before and that only we have kept since: its signature is not checked.

        Raises Refused as `decode` does, but for BAD_SIGNATURE.
        """
        return cls._open(data, cose.parse1, transaction_hash(data))

    @classmethod
    def _open(
        cls, data: bytes, opened: Callable[[bytes, str], cose.Signed | cose.Parsed], tx_hash: bytes
    ) -> "Transaction":
        if len(data) > TX_SIZE_LIMIT:
            raise Refused(
                Reason.TOO_LARGE, f"the transaction has {len(data)} bytes, the most is {TX_SIZE_LIMIT}"
            )
        try:
            signed = opened(data, TX_TYP)
        except DecodeError as error:
            raise Refused(Reason.MALFORMED, f"not a signed transaction: {error}") from None
        except SignatureError as error:
            raise Refused(Reason.BAD_SIGNATURE, str(error)) from None
        if usual := read_transfer(signed.payload):
            chain_id, nonce, fee_ucpc, to, amount_ucpc, memo = usual
            body = Transfer(to, amount_ucpc, memo)
            return cls(signed.kid, chain_id, nonce, fee_ucpc, None, body, data, tx_hash)
        try:
            head = _read_head(signed.payload)
        except WireError as error:
            raise Refused(Reason.MALFORMED, str(error)) from None
        return cls(signed.kid, *head, data, tx_hash)


class Known(Protocol):
    """Transactions whose signatures were checked before; a dict is one, and so is the pool."""

    def get(self, tx_hash: bytes, /) -> Transaction | None:
        """The transaction with this hash."""


def _read_head(payload: bytes) -> tuple[bytes, int, int, int | None, Body]:
    """(chain id, nonce, fee_ucpc, valid_until, body).  Raises WireError, and Refused with UNKNOWN_KIND."""
    fields = Fields(read(payload, "transaction", TX_SIZE_LIMIT), "transaction")
    chain_id = fields.blob(1, "chain id")
    nonce = fields.integer(2, "nonce")
    fee_ucpc = fields.integer(3, "fee_ucpc", 0, SUPPLY_UCPC)
    valid_until = fields.integer(4, "valid_until") if fields.has(4) else None
    kind = fields.integer(5, "kind")
    body = fields.take(6, "body")
    fields.done()
    if kind not in KINDS:
        raise Refused(Reason.UNKNOWN_KIND, f"this ledger knows no transactions of kind {kind}")
    return chain_id, nonce, fee_ucpc, valid_until, KINDS[kind].from_map(body)


def transaction_hash(data: bytes) -> bytes:
    """The name of the transaction with these bytes, whether or not they are one."""
    return sha256(data).digest()


RECEIPT_SIZE_MAX = 128
_RECEIPT_BEGIN = b"\xa3\x01\x58\x20"


@lru_cache(1_024)
def _receipt_end(reason: Reason, fee_ucpc: int) -> bytes:
    """What follows the hash: nearly all receipts of a block end alike."""
    return cbor.encode({2: int(reason), 3: fee_ucpc})[1:]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction that is in a block: leaf of `receipts_root`, at the transaction's index.

    CBOR map: 1 tx hash, 2 reason, 3 fee_ucpc.
    """

    tx_hash: bytes
    reason: Reason
    """APPLIED, or the reason why it had no effect but its fee and its nonce."""
    fee_ucpc: int
    """What was paid."""

    def encode(self) -> bytes:
        """The bytes of the leaf."""
        return _RECEIPT_BEGIN + self.tx_hash + _receipt_end(self.reason, self.fee_ucpc)

    @classmethod
    def decode(cls, data: bytes) -> "Receipt":
        """Raises WireError."""
        fields = Fields(read(data, "receipt", RECEIPT_SIZE_MAX), "receipt")
        tx_hash = fields.blob(1, "tx hash")
        number = fields.integer(2, "reason")
        fee_ucpc = fields.integer(3, "fee_ucpc", 0, SUPPLY_UCPC)
        fields.done()
        if number not in Reason.__members__.values() or 0 < number < EFFECT_FIRST:
            raise WireError("receipt", f"reason {number} stands in no receipt")
        return cls(tx_hash=tx_hash, reason=Reason(number), fee_ucpc=fee_ucpc)
