"""The ledger: what a transaction does to the state, and what a block makes of its parent's.

Runs on CPython.  Pure: state, transactions and a block's place in; receipts and a new root out.  Read
`apply` first.  A transaction either cannot enter a block at all (`admit` refuses it; nothing is paid,
its nonce stays free), or it enters: its nonce is used, its fee is the proposer's, and a receipt says
whether it had its effect.  Money is only ever moved, so its sum stays the supply of the genesis; `apply`
asserts it of each transaction, and audit.py counts it all.

Beside transactions one thing changes the state: an impeachment block, which a committee makes in place
of a proposer's, counts that against the proposer (`impeachment_block`).

The free quota: an account that holds money has `free_tx_per_day` transactions with fee 0 each UTC day
of block time.  The chain's time never runs backwards, so no clock gives a day's quota twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from chain_node import equivocation, validator_set
from chain_node.block import NO_PROPOSER, Block, Header, Vote, list_root
from chain_node.book import DAY_MS, Call
from chain_node.entry import Account, AnchorEntry, EquivocationEntry, StreamEntry
from chain_node.errors import IllicitBlock, Refused
from chain_node.genesis import Genesis
from chain_node.reason import Reason
from chain_node.schedule import Schedule
from chain_node.state import Overlay, State
from chain_node.transaction import Anchor, Equivocation, Receipt, Transaction, Transfer
from chain_node.validator_set import ValidatorsChange, ValidatorSet
from puf.merkle_map import EMPTY, MerkleMap

IMPEACHMENT_ROUND = 1
"""In the header of every impeachment block, whichever round decides it: there is one for a height."""


@dataclass(frozen=True, slots=True)
class Head:
    """The block that the next one continues; at the beginning, the genesis."""

    height: int
    block_hash: bytes
    time_ms: int
    state_root: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the chain a block stands: all of it that its transactions can notice."""

    genesis: Genesis
    """The rules."""
    height: int
    time_ms: int
    proposer: bytes
    """Public key of the account that gets the fees; NO_PROPOSER in an impeachment block."""
    schedule: Schedule
    """Whose turn it is, and was."""


def apply(state: State, transaction: Transaction, place: Place) -> Receipt:
    """Let one transaction of a block have its effect on `state`.

    Raises Refused when it cannot stand in a block; the state is then unchanged.
    """
    admit(state, transaction, place)
    sender = state.account(transaction.sender)
    day, used = sender.quota_day, sender.quota_used
    if transaction.uses_quota:
        day = place.time_ms // DAY_MS
        used = sender.quota_used_on(day) + 1
    state.set_account(transaction.sender, sender.after_one_more(transaction.fee_ucpc, day, used))
    if transaction.fee_ucpc:
        state.credit(place.proposer, transaction.fee_ucpc)
    reason = Reason.APPLIED
    try:
        take_effect(state, transaction, place)
    except Refused as error:
        reason = error.reason
    assert state.drift_ucpc == 0, f"{state.drift_ucpc} ucpc from nowhere"  # noqa: S101 - only a bug makes money
    return Receipt(transaction.tx_hash, reason, transaction.fee_ucpc)


def admit(state: State, transaction: Transaction, place: Place, nonce: int | None = None) -> None:
    """Check that a transaction may enter the block at `place`.  Raises Refused.

    nonce: what its nonce must be; the pool, which holds several of one account, asks with each one's own.
    """
    genesis, account = place.genesis, state.account(transaction.sender)
    if transaction.chain_id != genesis.chain_id:
        raise Refused(
            Reason.WRONG_CHAIN,
            f"signed for chain {transaction.chain_id.hex()}, this is {genesis.chain_id.hex()}",
        )
    if len(transaction.data) > genesis.tx_size_max:
        raise Refused(
            Reason.TOO_LARGE, f"{len(transaction.data)} bytes; this chain takes {genesis.tx_size_max}"
        )
    if transaction.valid_until is not None and place.height > transaction.valid_until:
        raise Refused(
            Reason.EXPIRED, f"valid until block {transaction.valid_until}, the next is {place.height}"
        )
    expected = account.nonce if nonce is None else nonce
    if transaction.nonce < expected:
        raise Refused(Reason.NONCE_USED, f"nonce {transaction.nonce} is used; the next is {expected}")
    if transaction.nonce > expected:
        raise Refused(
            Reason.NONCE_AHEAD, f"nonce {transaction.nonce} comes too early; the next is {expected}"
        )
    if transaction.uses_quota:
        _admit_free(account, place)
    elif 0 < transaction.fee_ucpc < genesis.fee_min_ucpc:
        raise Refused(
            Reason.FEE_TOO_LOW,
            f"a fee of {transaction.fee_ucpc} ucpc; the least is {genesis.fee_min_ucpc}, or 0 for a free one",
        )
    elif transaction.fee_ucpc > account.balance_ucpc:
        raise Refused(
            Reason.FEE_NOT_COVERED,
            f"the fee of {transaction.fee_ucpc} ucpc is more than the balance of {account.balance_ucpc}",
        )
    if isinstance(transaction.body, Equivocation):
        _admit_evidence(state, transaction.body, place)
    elif isinstance(transaction.body, ValidatorsChange):
        transaction.body.admit(state, genesis.validators, genesis.chain_id, place.height)


def _admit_free(account: Account, place: Place) -> None:
    if account.balance_ucpc == 0 and account.locked_ucpc == 0:
        raise Refused(Reason.ACCOUNT_UNKNOWN, "only an account that holds money has free transactions")
    if account.quota_used_on(place.time_ms // DAY_MS) >= place.genesis.free_tx_per_day:
        raise Refused(
            Reason.QUOTA_USED_UP,
            f"all {place.genesis.free_tx_per_day} free transactions of this UTC day are used; "
            f"pay a fee of at least {place.genesis.fee_min_ucpc} ucpc, or wait",
        )


def _admit_evidence(state: State, body: Equivocation, place: Place) -> None:
    """Evidence is free, so only what is true and new may enter, or anybody could fill blocks with it."""
    first = place.genesis.validators
    vote = equivocation.check(
        body,
        place.genesis,
        place.schedule,
        place.height,
        lambda height: validator_set.at(state, first, height).keys,
    )
    if known := state.equivocation(vote.voter, vote.height):
        raise Refused(
            Reason.EVIDENCE_KNOWN,
            f"that {vote.voter.hex()} contradicted itself at height {vote.height} "
            f"is known since block {known.height}",
        )


def take_effect(state: State, transaction: Transaction, place: Place) -> None:
    """What the body says, once fee and nonce are settled.

    Raises Refused with a reason from 32 on; the state is then unchanged.
    """
    body = transaction.body
    if isinstance(body, Transfer):
        state.debit(transaction.sender, body.amount_ucpc)
        state.credit(body.to, body.amount_ucpc)
    elif isinstance(body, Anchor):
        _anchor(state, transaction, body, place.height)
    elif isinstance(body, Equivocation):
        _convict(state, transaction, body, place.height)
    elif isinstance(body, ValidatorsChange):
        body.take_effect(state, place.genesis.validators, place.height)
    else:
        signer, tx_hash, chain_id = transaction.sender, transaction.tx_hash, place.genesis.chain_id
        body.take_effect(state, Call(signer, tx_hash, chain_id, place.height, place.time_ms))


def _anchor(state: State, transaction: Transaction, body: Anchor, height: int) -> None:
    owner, name = transaction.sender, body.stream.hex()
    stream = state.stream(owner, body.stream)
    present = state.anchor(owner, body.stream, body.upload)
    if present and present.is_of(body):
        raise Refused(
            Reason.ANCHOR_KNOWN, f"upload {body.upload} of stream {name} is anchored already, as it is"
        )
    if present:
        raise Refused(
            Reason.ANCHOR_CONFLICT,
            f"upload {body.upload} of stream {name} is anchored with other content, which never changes",
        )
    if stream and body.upload <= stream.last_upload:
        raise Refused(
            Reason.ANCHOR_BEHIND,
            f"stream {name} is anchored up to upload {stream.last_upload}; {body.upload} comes too late",
        )
    state.set_stream(owner, body.stream, StreamEntry(body.upload))
    entry = AnchorEntry(
        chunk_count=body.chunk_count,
        cipher_root=body.cipher_root,
        plain_root=body.plain_root,
        manifest_hash=body.manifest_hash,
        tx_hash=transaction.tx_hash,
        height=height,
    )
    state.set_anchor(owner, body.stream, body.upload, entry)


def _convict(state: State, transaction: Transaction, body: Equivocation, height: int) -> None:
    vote = Vote.read(body.first)
    entry = EquivocationEntry(vote.round, int(vote.phase), transaction.tx_hash, height)
    state.set_equivocation(vote.voter, vote.height, entry)
    conduct = state.conduct(vote.voter)
    count = conduct.equivocation_count + 1
    state.set_conduct(vote.voter, replace(conduct, equivocation_count=count, last_height=height))


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of executing transactions on a parent's state."""

    transactions: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]
    """One for each transaction, in their order."""
    refused: tuple[tuple[Transaction, Refused], ...]
    """Those that could not stand in the block and are not in it."""
    state_root: bytes
    nodes_added: dict[bytes, bytes]
    """Write these with the block: the new root needs them."""
    nodes_stale: frozenset[bytes]
    """The new root does not need these; delete them once no reader needs the parent's."""
    validators: ValidatorSet
    """Who certifies this block."""
    successors: ValidatorSet | None = None
    """Who will take over, where this block decides that."""
    leaves: tuple[bytes, ...] = ()
    """The receipts' bytes."""
    accounts: Mapping[bytes, Account] = field(default_factory=dict)
    """Accounts that are other than before, by public key."""


def execute(
    read_node: Callable[[bytes], bytes],
    parent: Head,
    place: Place,
    transactions: Iterable[Transaction],
    known: State | None = None,
) -> Execution:
    """Execute these transactions in their order; those that cannot stand are left out and named.

    read_node: node bytes of a hash, KeyError when there is none.  known: the parent's State, as far as
    it has been read already; it stays as it is.  Raises NodeMissing.
    """
    nodes = Overlay(read_node)
    entries = MerkleMap(nodes, parent.state_root)
    state = known.fork(entries) if known else State(entries)
    done: list[Transaction] = []
    receipts: list[Receipt] = []
    refused: list[tuple[Transaction, Refused]] = []
    before = validator_set.present(state, place.genesis.validators)
    for transaction in transactions:
        try:
            receipts.append(apply(state, transaction, place))
            done.append(transaction)
        except Refused as error:
            refused.append((transaction, error))
    accounts = state.changed_accounts
    root = state.commit()
    after = validator_set.present(state, place.genesis.validators)
    return Execution(
        tuple(done),
        tuple(receipts),
        tuple(refused),
        root,
        dict(nodes),
        frozenset(entries.stale),
        after.at(place.height),
        after.newest if after.newest.number > before.newest.number else None,
        tuple(receipt.encode() for receipt in receipts),
        accounts,
    )


def block_of(parent: Head, place: Place, round_: int, execution: Execution) -> Block:
    """The block that an execution makes."""
    header = Header(
        chain_id=place.genesis.chain_id,
        height=place.height,
        round=round_,
        parent_hash=parent.block_hash,
        time_ms=place.time_ms,
        proposer=place.proposer,
        tx_count=len(execution.transactions),
        tx_root=list_root([transaction.data for transaction in execution.transactions]),
        receipts_root=list_root(execution.leaves),
        state_root=execution.state_root,
        validators_hash=execution.validators.hash,
    )
    return Block(header, execution.transactions)


def impeachment_block(
    read_node: Callable[[bytes], bytes], parent: Head, genesis: Genesis, schedule: Schedule
) -> tuple[Block, Execution]:
    """The block in place of the one that the scheduled proposer did not bring about.

    Everybody who knows the parent makes the same one, so that validators can agree on it without a
    leader, in whichever round.  All it does is to count the impeachment.  Raises NodeMissing.
    """
    nodes = Overlay(read_node)
    entries = MerkleMap(nodes, parent.state_root)
    state = State(entries)
    height = parent.height + 1
    proposer = schedule.proposer(height)
    conduct = state.conduct(proposer)
    count = conduct.impeached_count + 1
    state.set_conduct(proposer, replace(conduct, impeached_count=count, last_height=height))
    root = state.commit()
    validators = validator_set.present(state, genesis.validators).at(height)
    execution = Execution((), (), (), root, dict(nodes), frozenset(entries.stale), validators)
    time_ms = parent.time_ms + genesis.block_period_ms + genesis.timeout_ms
    place = Place(genesis, height, time_ms, NO_PROPOSER, schedule)
    return block_of(parent, place, IMPEACHMENT_ROUND, execution), execution


def check_block(
    read_node: Callable[[bytes], bytes],
    parent: Head,
    genesis: Genesis,
    block: Block,
    schedule: Schedule,
    known: State | None = None,
) -> Execution:
    """Execute somebody's block and hold the result against its header.

    known: see `execute`.  Raises IllicitBlock, which says what is not as it must be; NodeMissing.
    """
    header = block.header
    before = known or State(MerkleMap(Overlay(read_node), parent.state_root))
    validators = validator_set.present(before, genesis.validators).at(parent.height + 1)
    _check_header(header, parent, genesis, validators)
    if header.round == IMPEACHMENT_ROUND:
        made, execution = impeachment_block(read_node, parent, genesis, schedule)
        _check_same(made.header, header, "this parent's impeachment block has")
        return execution
    if header.round != 0:
        raise IllicitBlock(header.height, f"its round is {header.round}, which only votes may have")
    if header.proposer != schedule.proposer(header.height):
        why = f"it is the turn of {schedule.proposer(header.height).hex()}, not of {header.proposer.hex()}"
        raise IllicitBlock(header.height, why)
    if len(block.transactions) > genesis.block_tx_max:
        raise IllicitBlock(header.height, f"it has more than {genesis.block_tx_max} transactions")
    place = Place(genesis, header.height, header.time_ms, header.proposer, schedule)
    execution = execute(read_node, parent, place, block.transactions, before)
    for transaction, error in execution.refused:
        raise IllicitBlock(header.height, f"transaction {transaction.tx_hash.hex()}: {error}")
    made = block_of(parent, place, header.round, execution)
    _check_same(made.header, header, "its transactions make of its parent")
    return execution


def _check_header(header: Header, parent: Head, genesis: Genesis, validators: ValidatorSet) -> None:
    for is_right, why in (
        (header.chain_id == genesis.chain_id, "it is of another chain"),
        (header.height == parent.height + 1, f"it does not follow block {parent.height}"),
        (header.parent_hash == parent.block_hash, f"its parent is not {parent.block_hash.hex()}"),
        (header.time_ms > parent.time_ms, f"its time is not later than its parent's {parent.time_ms} ms"),
        (header.validators_hash == validators.hash, "its validators are not this chain's"),
    ):
        if not is_right:
            raise IllicitBlock(header.height, why)


def _check_same(made: Header, header: Header, what: str) -> None:
    names = ("proposer", "time_ms", "tx_count", "tx_root", "receipts_root", "state_root")
    wrong = [name for name in names if getattr(made, name) != getattr(header, name)]
    if made != header:
        raise IllicitBlock(header.height, f"{', '.join(wrong)} not what {what}")


def genesis_execution(genesis: Genesis) -> tuple[Head, Execution]:
    """The state that a chain begins with, and the head that block 1 continues."""
    nodes: dict[bytes, bytes] = {}
    entries = MerkleMap(nodes, EMPTY)
    state = State(entries)
    for public, amount_ucpc in genesis.balances:
        state.set_account(public, Account(balance_ucpc=amount_ucpc))
    accounts = state.changed_accounts
    root = state.commit()
    head = Head(0, genesis.chain_id, genesis.time_ms, root)
    first = validator_set.genesis_set(genesis.validators)
    return head, Execution((), (), (), root, nodes, frozenset(), first, accounts=accounts)


def next_time_ms(parent_time_ms: int, now_ms: int) -> int:
    """The time of the next block: now, or one millisecond after the parent, whichever is later.

    A clock that jumps back a year makes blocks a millisecond apart until it has caught up; one that
    jumps ahead takes the chain along, and setting it right is a jump back.
    """
    return max(parent_time_ms + 1, now_ms)
