"""Blocks, votes for them, and the certificate that makes a block final.

Runs on CPython.  A block's hash is SHA-256 of its header, a CBOR map:

    1 version     2 chain id   3 height     4 round           5 parent hash   6 time_ms
    7 proposer    8 tx_count   9 tx_root   10 receipts_root  11 state_root   12 validators_hash

The two roots of lists are RFC 9162 trees over the transactions' and the receipts' bytes.  `tx_count` is
there because such a root alone does not fix how many leaves it has, and so not which leaf is which.
`state_root` is the Merkle map after the block.  The genesis is block 0: its hash, the chain id, is the
parent of block 1.

A vote is a COSE_Sign1 of type "cpc/vote".  A certificate carries only the 64-byte signatures of the
votes of one phase of `quorum.size(n)` or more distinct validators, in the order of their indexes; who
checks it builds what each of them must have signed.  The phase is not in its bytes but in what was
signed: a C-certificate (COMMIT) makes a block final, a P-certificate (PREPARE) locks validators on it,
and neither passes for the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

from chain_node import quorum
from chain_node.errors import CertificateError, Refused, WireError
from chain_node.fields import (
    HASH_SIZE,
    INT_MAX,
    KEY_SIZE,
    SIGNATURE_SIZE,
    Fields,
    argument_at,
    blobs,
    check_blob,
    check_integer,
    end_of_item,
    read,
)
from chain_node.transaction import TX_SIZE_LIMIT, Known, Transaction
from chain_node.validator_set import VALIDATORS_MAX
from puf import cbor, cose, merkle_tree
from puf.ed25519 import SigningKey, verify
from puf.errors import DecodeError

VOTE_TYP = "cpc/vote"
HEADER_VERSION = 1
HEADER_SIZE_MAX = 512
HEADER_ITEMS_MAX = 64
BLOCK_SIZE_MAX = 1 << 24
"""Bytes of the longest block of any chain."""
BLOCK_TX_LIMIT = 20_000
CERTIFICATE_SIZE_MAX = 128 + 80 * VALIDATORS_MAX
VOTE_SIZE_MAX = 512
NO_PROPOSER = bytes(KEY_SIZE)
"""The proposer of an impeachment block, which nobody proposed and nobody is paid for."""


def list_root(items: Sequence[bytes]) -> bytes:
    """The RFC 9162 root over these bytes, one leaf each."""
    return merkle_tree.root([merkle_tree.leaf_hash(item) for item in items])


@dataclass(frozen=True, slots=True)
class Header:
    """What a certificate signs, through its hash."""

    chain_id: bytes
    height: int
    """1 for the first block after the genesis."""
    round: int
    """0 for a proposer's block, from 1 on an impeachment round."""
    parent_hash: bytes
    """Hash of the block before; of block 1 it is the chain id."""
    time_ms: int
    """Unix milliseconds; always later than the parent's, whatever the proposer's clock does."""
    proposer: bytes
    """Public key of the account that gets the fees; NO_PROPOSER in an impeachment block."""
    tx_count: int
    tx_root: bytes
    receipts_root: bytes
    state_root: bytes
    validators_hash: bytes
    """Of the validators that certify this block."""
    version: int = HEADER_VERSION
    data: bytes = field(init=False, repr=False, compare=False)
    """The header's bytes."""
    block_hash: bytes = field(init=False, compare=False)
    """SHA-256 of `data`: the block's name."""

    def __post_init__(self) -> None:
        data = cbor.encode(
            {
                1: self.version,
                2: self.chain_id,
                3: self.height,
                4: self.round,
                5: self.parent_hash,
                6: self.time_ms,
                7: self.proposer,
                8: self.tx_count,
                9: self.tx_root,
                10: self.receipts_root,
                11: self.state_root,
                12: self.validators_hash,
            }
        )
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "block_hash", sha256(data).digest())

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        """Raises WireError."""
        fields = Fields(read(data, "header", HEADER_SIZE_MAX), "header")
        header = cls(
            version=fields.integer(1, "version", HEADER_VERSION, HEADER_VERSION),
            chain_id=fields.blob(2, "chain id"),
            height=fields.integer(3, "height", 1),
            round=fields.integer(4, "round"),
            parent_hash=fields.blob(5, "parent hash"),
            time_ms=fields.integer(6, "time_ms"),
            proposer=fields.blob(7, "proposer", KEY_SIZE),
            tx_count=fields.integer(8, "tx_count", 0, BLOCK_TX_LIMIT),
            tx_root=fields.blob(9, "tx_root"),
            receipts_root=fields.blob(10, "receipts_root"),
            state_root=fields.blob(11, "state_root"),
            validators_hash=fields.blob(12, "validators_hash"),
        )
        fields.done()
        return header


@dataclass(frozen=True, slots=True)
class Block:
    """A header and the transactions under its `tx_root`, in order.  CBOR: [header, [bytes of each]]."""

    header: Header
    transactions: tuple[Transaction, ...]

    def encode(self) -> bytes:
        """The block's bytes."""
        return cbor.encode([cbor.decode(self.header.data), [tx.data for tx in self.transactions]])

    @staticmethod
    def header_of(data: bytes) -> Header:
        """The header of the block that `data` may be; nothing else of it is looked at.  Raises WireError."""
        return Block._begin(data)[0]

    @classmethod
    def decode(cls, data: bytes, known: Known | None = None) -> "Block":
        """The block that `data` is; its transactions' signatures and its `tx_root` hold.

        known: transactions by hash, whose signatures were checked before and are not checked again.
        Raises WireError.
        """
        if len(data) > BLOCK_SIZE_MAX:
            raise WireError("block", f"it has {len(data)} bytes, the most is {BLOCK_SIZE_MAX}")
        header, end = cls._begin(data)
        count, begin = argument_at(data, end, 0x80)
        if count != header.tx_count:
            raise WireError("block", f"its transactions are not a list of {header.tx_count}")

        def items() -> Iterator[bytes]:
            return blobs(data, begin, count, "block", "transaction", TX_SIZE_LIMIT)

        # Before any of them is looked at: a signature costs hundred times as much.
        if merkle_tree.root([merkle_tree.leaf_hash(item) for item in items()]) != header.tx_root:
            raise WireError("block", "its transactions are not those of the header's tx_root")
        transactions = []
        for index, item in enumerate(items()):
            try:
                transactions.append(Transaction.take(item, known))
            except Refused as error:
                raise WireError("block", f"transaction {index}: {error}") from None
        return cls(header, tuple(transactions))

    @staticmethod
    def _begin(data: bytes) -> tuple[Header, int]:
        """The header, and where it ends."""
        if data[:1] != b"\x82":
            raise WireError("block", "it is not a list of header and transactions")
        end = end_of_item(data, 1, "header", HEADER_ITEMS_MAX)
        return Header.decode(data[1:end]), end


class Phase(IntEnum):
    """What a signed word in a round is.  Certificates are made of PREPARE and COMMIT only."""

    PROPOSE = 0
    """The proposer's seal on its block, in round 0: not a validator's vote at all."""
    PREPARE = 1
    """This block is licit, and I prepare no other one in this round."""
    COMMIT = 2
    """I know a P-certificate for this block in this round."""
    ROUND = 3
    """I have entered this round; the hash is of the highest P-certificate I show, or NO_BLOCK."""
    COORDINATE = 4
    """The coordinator's word for what a round should prepare."""


NO_BLOCK = bytes(HASH_SIZE)
"""The block hash in a ROUND of a validator that knows no P-certificate."""
CERTIFIED_PHASES = (Phase.PREPARE, Phase.COMMIT)
_ROUNDS = {Phase.PROPOSE: (0, 0), Phase.ROUND: (1, INT_MAX), Phase.COORDINATE: (1, INT_MAX)}
"""First and last round in which a phase exists; the others exist in all."""


def form(round_: int, phase: Phase) -> str:
    """Which form a vote has, in the words of the protocol: "PREPARE", "IMPEACH PREPARE" from round 1 on."""
    return f"IMPEACH {phase.name}" if round_ and phase in CERTIFIED_PHASES else phase.name


def vote_payload(chain_id: bytes, height: int, round_: int, phase: Phase, block_hash: bytes) -> bytes:
    """What a vote signs, inside its COSE_Sign1: 1 chain id, 2 height, 3 round, 4 phase, 5 block hash."""
    return cbor.encode({1: chain_id, 2: height, 3: round_, 4: int(phase), 5: block_hash})


@dataclass(frozen=True, slots=True)
class Vote:
    """One validator's word for one block in one round and phase; with PROPOSE, the proposer's.

    Made by `sign` or `decode`, or by `read`, whose maker still has to ask `is_genuine`.
    """

    voter: bytes
    """The public key of whoever signed."""
    chain_id: bytes
    height: int
    round: int
    phase: Phase
    block_hash: bytes
    data: bytes = field(repr=False)
    """The bytes that travel: a COSE_Sign1."""

    @property
    def signature(self) -> bytes:
        """The 64 bytes that a certificate carries: the last ones of a COSE_Sign1."""
        return self.data[-SIGNATURE_SIZE:]

    @classmethod
    def sign(
        cls, key: SigningKey, chain_id: bytes, height: int, round_: int, phase: Phase, block_hash: bytes
    ) -> "Vote":
        """A vote of `key`.  Persist it before anyone sees it."""
        data = cose.sign1(VOTE_TYP, vote_payload(chain_id, height, round_, phase, block_hash), key)
        return cls(key.public, chain_id, height, round_, phase, block_hash, data)

    @property
    def form(self) -> str:
        """Which form it has, in words: "COMMIT", "IMPEACH COMMIT", "ROUND" and so on."""
        return form(self.round, self.phase)

    @classmethod
    def decode(cls, data: bytes) -> "Vote":
        """The vote that `data` is, its signature checked; whether the voter is a validator is not.

        Raises WireError.
        """
        vote = cls.read(data)
        if not vote.is_genuine():
            raise WireError("vote", f"the signature on this {VOTE_TYP} is not that of key {vote.voter.hex()}")
        return vote

    @classmethod
    def read(cls, data: bytes) -> "Vote":
        """The vote that `data` has the form of.  Believe it only when it `is_genuine`.  Raises WireError."""
        try:
            parsed = cose.parse1(data, VOTE_TYP, size_max=VOTE_SIZE_MAX)
        except DecodeError as error:
            raise WireError("vote", str(error)) from None
        fields = Fields(read(parsed.payload, "vote", VOTE_SIZE_MAX), "vote")
        chain_id = fields.blob(1, "chain id")
        height = fields.integer(2, "height", 1)
        phase = Phase(fields.integer(4, "phase", Phase.PROPOSE, Phase.COORDINATE))
        round_ = fields.integer(3, f"the round of a {phase.name}", *_ROUNDS.get(phase, ()))
        vote = cls(parsed.kid, chain_id, height, round_, phase, fields.blob(5, "block hash"), data)
        fields.done()
        return vote

    def is_genuine(self) -> bool:
        """Whether the voter signed this.  Costs a signature check each time; remember the answer."""
        payload = vote_payload(self.chain_id, self.height, self.round, self.phase, self.block_hash)
        return verify(self.voter, cose.sig_structure(VOTE_TYP, self.voter, payload), self.signature)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that a quorum cast one vote.  CBOR map: 1 height, 2 round, 3 block hash, 4 [[index, signature]].

    Of COMMIT votes, a C-certificate: the block is final.  Of PREPARE votes, a P-certificate.  `round` is
    that of the votes; it may be later than the header's, when a block is decided after all.
    """

    height: int
    round: int
    block_hash: bytes
    signatures: tuple[tuple[int, bytes], ...]
    """(index of the validator, its signature on its vote), by rising index."""

    def encode(self) -> bytes:
        """The certificate's bytes."""
        pairs = [[index, signature] for index, signature in self.signatures]
        return cbor.encode({1: self.height, 2: self.round, 3: self.block_hash, 4: pairs})

    @classmethod
    def decode(cls, data: bytes) -> "Certificate":
        """The certificate that `data` is; nothing of it is verified yet.  Raises WireError."""
        what = "certificate"
        fields = Fields(read(data, what, CERTIFICATE_SIZE_MAX), what)
        height = fields.integer(1, "height", 1)
        round_ = fields.integer(2, "round")
        block_hash = fields.blob(3, "block hash")
        pairs = fields.items(4, "signatures", VALIDATORS_MAX)
        fields.done()
        signatures = []
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise WireError(what, "a signature is not a list of index and bytes")
            index = check_integer(pair[0], what, "the index of a validator", 0, VALIDATORS_MAX - 1)
            signatures.append((index, check_blob(pair[1], what, "a signature", SIGNATURE_SIZE)))
        return cls(height, round_, block_hash, tuple(signatures))

    def verify(self, chain_id: bytes, validators: Sequence[bytes], phase: Phase = Phase.COMMIT) -> None:
        """Check that a quorum of distinct `validators`, and nobody else, cast this vote on this chain.

        phase: COMMIT, whether the block is final; PREPARE, whether this is a P-certificate.
        Every signature must hold, also those beyond the quorum.  Raises CertificateError, which says
        which signature is wrong and whose it should be.
        """
        assert phase in CERTIFIED_PHASES, "no other votes are counted"  # noqa: S101 - only a bug gets here
        previous = -1
        payload = vote_payload(chain_id, self.height, self.round, phase, self.block_hash)
        for position, (index, signature) in enumerate(self.signatures, 1):
            if index == previous:
                raise self._error(f"signature {position} is by validator {index}, who has signed already")
            if index < previous:
                raise self._error(f"signature {position} is not in the order of the validators' indexes")
            if index >= len(validators):
                raise self._error(
                    f"signature {position} is by validator {index}; this chain has {len(validators)}, from 0"
                )
            key = validators[index]
            if not verify(key, cose.sig_structure(VOTE_TYP, key, payload), signature):
                raise self._error(
                    f"signature {position} is not by key {key.hex()}, validator {index} of this chain: "
                    "a stranger signed, or something else was signed"
                )
            previous = index
        needed = quorum.size(len(validators))
        if len(self.signatures) < needed:
            raise self._error(f"{len(self.signatures)} of {len(validators)} validators signed, {needed} must")

    def _error(self, why: str) -> CertificateError:
        return CertificateError(self.height, why)


def certify(votes: Sequence[Vote], validators: Sequence[bytes]) -> Certificate:
    """The certificate that these votes, all PREPARE or all COMMIT for one block in one round, make.

    Takes each validator's first vote; whether they suffice is `Certificate.verify`'s to say.
    Raises ValueError when they are not votes for the same.
    """
    first = votes[0]
    what = {(vote.height, vote.round, vote.phase, vote.block_hash) for vote in votes}
    if len(what) > 1 or first.phase not in CERTIFIED_PHASES:
        raise ValueError(f"a certificate is made of PREPARE or of COMMIT votes for one block, not of {what}")
    by_index = {validators.index(vote.voter): vote.signature for vote in reversed(votes)}
    return Certificate(first.height, first.round, first.block_hash, tuple(sorted(by_index.items())))
