"""A small chain for the tests: keys, a genesis, and blocks that are certified without any node.

Runs on CPython.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chain_node import ledger, quorum, validator_set
from chain_node.block import Block, Certificate, Header, Phase, Vote, certify
from chain_node.entry import account_key
from chain_node.evidence import InclusionProof, Link, StateEvidence, TransactionEvidence
from chain_node.genesis import Genesis
from chain_node.ledger import Execution, Head, Place
from chain_node.schedule import TakeTurns
from chain_node.state import State
from chain_node.transaction import SUPPLY_UCPC, Anchor, Body, Receipt, Transaction
from chain_node.validator_set import NOTICE_BLOCKS, ValidatorsChange, ValidatorsEntry
from puf import merkle_tree
from puf.ed25519 import SigningKey
from puf.merkle_map import MerkleMap

START_MS = 1_700_000_000_000
"""Tuesday, 2023-11-14, 22:13:20 UTC: the genesis of every chain here."""
FEE_UCPC = 1_000


def key(name: str) -> SigningKey:
    """The key of somebody with this name."""
    return SigningKey(name.encode().ljust(32, b"\0"))


ALICE, BOB, CAROL, PROPOSER = key("alice"), key("bob"), key("carol"), key("proposer")
VALIDATORS = tuple(key(f"validator {index}") for index in range(4))
STRANGERS = tuple(key(f"stranger {index}") for index in range(4))
NEWCOMERS = tuple(key(f"newcomer {index}") for index in range(4))
RING = {each.public: each for each in (*VALIDATORS, *STRANGERS, *NEWCOMERS)}
"""The keys of all who may ever be validators."""


def genesis_of(validators: Sequence[SigningKey] = VALIDATORS, **changes: object) -> Genesis:
    """Half of the money is Alice's, half Bob's; 3 free transactions a day."""
    balances = sorted(((ALICE.public, SUPPLY_UCPC // 2), (BOB.public, SUPPLY_UCPC // 2)))
    genesis = Genesis(
        name="test",
        time_ms=START_MS,
        validators=tuple(each.public for each in validators),
        balances=tuple(balances),
        fee_min_ucpc=FEE_UCPC,
        free_tx_per_day=3,
        block_period_ms=10,
        block_tx_max=100,
        tx_size_max=1_024,
        proposers=(PROPOSER.public,),
        timeout_ms=40,
        heartbeat_ms=10_000,
    )
    return replace(genesis, **changes)  # type: ignore[arg-type]  # the fields' names are the tests' to know


def anchor(stream: bytes = b"s", upload: int = 0, content: bytes = b"content") -> Anchor:
    """The anchor of an upload with this content."""
    root = merkle_tree.leaf_hash(content)
    return Anchor(stream.ljust(32, b"\0"), upload, 3, root, root[::-1], merkle_tree.leaf_hash(root))


def sign_commits(
    genesis: Genesis, header: Header, signers: Sequence[SigningKey], round_: int | None = None
) -> list[Vote]:
    """The COMMIT votes of these for a block."""
    return [
        Vote.sign(
            signer,
            genesis.chain_id,
            header.height,
            header.round if round_ is None else round_,
            Phase.COMMIT,
            header.block_hash,
        )
        for signer in signers
    ]


def certificate_of(
    genesis: Genesis,
    header: Header,
    signers: Sequence[SigningKey] = VALIDATORS[:3],
    validators: Sequence[bytes] = (),
) -> Certificate:
    """The certificate that these validators' votes make.  validators: by default the genesis's."""
    return certify(sign_commits(genesis, header, signers), validators or genesis.validators)


def change_of(
    genesis: Genesis,
    number: int,
    from_height: int,
    keys: Sequence[SigningKey],
    approvers: Mapping[int, SigningKey] | None = None,
) -> ValidatorsChange:
    """A change to these validators; approvers: by index, by default the first three of the genesis."""
    approvers = dict(enumerate(VALIDATORS[:3])) if approvers is None else approvers
    change = ValidatorsChange(number, from_height, tuple(each.public for each in keys), ())
    approvals = ((index, change.approve(each, genesis.chain_id)) for index, each in approvers.items())
    return replace(change, approvals=tuple(approvals))


@dataclass
class Chain:
    """A chain in memory: blocks with receipts and certificates, and the state after the last one."""

    genesis: Genesis = field(default_factory=genesis_of)
    signers: Sequence[SigningKey] = VALIDATORS[:3]

    def __post_init__(self) -> None:
        self.schedule = TakeTurns(self.genesis.proposers)
        self.head, execution = ledger.genesis_execution(self.genesis)
        self.nodes: dict[bytes, bytes] = dict(execution.nodes_added)
        self.links: list[Link] = []
        self.blocks: list[Block] = []
        self.receipts: list[tuple[Receipt, ...]] = []

    def state(self) -> State:
        """The state after the last block."""
        return State(MerkleMap(self.nodes, self.head.state_root))

    @property
    def standing(self) -> ValidatorsEntry:
        """Who is in force after the last block, and who comes next."""
        return validator_set.present(self.state(), self.genesis.validators)

    def change(self, *keys: SigningKey, lead: int = NOTICE_BLOCKS) -> ValidatorsChange:
        """A change to these validators that the next block may have, approved by a quorum."""
        height = self.head.height + 1
        replaced = self.standing.at(height)
        signers = [RING[public] for public in replaced.keys[: quorum.size(len(replaced.keys))]]
        return change_of(self.genesis, replaced.number, height + lead, keys, dict(enumerate(signers)))

    def sign(
        self,
        signer: SigningKey,
        body: Body,
        nonce: int | None = None,
        fee_ucpc: int = FEE_UCPC,
        valid_until: int | None = None,
    ) -> Transaction:
        """A transaction for this chain; by default with the account's next nonce and the least fee."""
        if nonce is None:
            nonce = self.state().account(signer.public).nonce
        return Transaction.sign(signer, self.genesis.chain_id, nonce, body, fee_ucpc, valid_until)

    def place(self, time_ms: int | None = None) -> Place:
        """Where the next block stands; by default a second after its parent."""
        time_ms = self.head.time_ms + 1_000 if time_ms is None else time_ms
        return Place(self.genesis, self.head.height + 1, time_ms, PROPOSER.public, self.schedule)

    def extend(self, *transactions: Transaction, time_ms: int | None = None) -> tuple[Receipt, ...]:
        """Add a block of these transactions, all of which must be able to stand in one; their receipts."""
        place = self.place(time_ms)
        execution = ledger.execute(self.nodes.__getitem__, self.head, place, transactions)
        assert execution.refused == ()
        self.append(ledger.block_of(self.head, place, 0, execution), execution)
        return execution.receipts

    def tell(
        self, signer: SigningKey, body: Body, time_ms: int | None = None, fee_ucpc: int = FEE_UCPC
    ) -> str:
        """Add a block of one transaction; the label of what its receipt says."""
        (receipt,) = self.extend(self.sign(signer, body, fee_ucpc=fee_ucpc), time_ms=time_ms)
        return receipt.reason.label

    def append(self, block: Block, execution: Execution) -> None:
        """Add a block that is licit."""
        header = block.header
        signers, validators = self.signers, self.standing.at(header.height)
        if validators.number:
            signers = [RING[public] for public in validators.keys[: quorum.size(len(validators.keys))]]
        self.nodes |= execution.nodes_added
        self.blocks.append(block)
        self.receipts.append(execution.receipts)
        self.links.append(Link(header, certificate_of(self.genesis, header, signers, validators.keys)))
        self.head = Head(header.height, header.block_hash, header.time_ms, header.state_root)

    def check(self, block: Block) -> Execution:
        """What somebody's block does to the state after the last one.  Raises IllicitBlock."""
        return ledger.check_block(self.nodes.__getitem__, self.head, self.genesis, block, self.schedule)

    def impeachment(self) -> tuple[Block, Execution]:
        """The block that stands in the next proposer's place."""
        return ledger.impeachment_block(self.nodes.__getitem__, self.head, self.genesis, self.schedule)

    def impeach(self) -> Block:
        """Add it."""
        block, execution = self.impeachment()
        self.append(block, execution)
        return block

    def balance(self, who: SigningKey) -> int:
        """What somebody has."""
        return self.state().account(who.public).balance_ucpc

    def transaction_evidence(self, height: int, index: int) -> TransactionEvidence:
        """The evidence of a transaction of a block."""
        data = [transaction.data for transaction in self.blocks[height - 1].transactions]
        receipts = [receipt.encode() for receipt in self.receipts[height - 1]]
        return TransactionEvidence(
            link=self.links[height - 1],
            transaction=data[index],
            proof=inclusion(data, index),
            receipt=receipts[index],
            receipt_proof=inclusion(receipts, index),
        )

    def state_evidence(self, state_key: bytes) -> StateEvidence:
        """The evidence of what the state after the last block says under a key."""
        return StateEvidence(self.links[-1], MerkleMap(self.nodes, self.head.state_root).prove(state_key))

    def account_evidence(self, who: SigningKey) -> StateEvidence:
        """The evidence of somebody's account after the last block."""
        return self.state_evidence(account_key(who.public))


def inclusion(items: list[bytes], index: int) -> InclusionProof:
    """The proof of one of these in their RFC 9162 tree."""
    hashes = [merkle_tree.leaf_hash(item) for item in items]
    return InclusionProof(index, tuple(merkle_tree.inclusion_proof(hashes, index)))
