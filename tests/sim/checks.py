"""What must hold at every step, and after the network has healed; written without the code it checks.

Runs on CPython.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

from chain_node.block import VOTE_TYP, Block, Certificate, Phase, Vote
from chain_node.validator_set import ValidatorsChange
from puf import cbor, cose

NOTICE = 16
"""Blocks from the one with a change of validators to the first under it, at the least."""

SAFETY = ("agreement", "certificate", "forgotten vote", "applied twice", "invalid block")
LIVENESS = ("rounds", "progress", "transactions", "evidence")


class Failed(Exception):
    """A property does not hold.  kind: one of SAFETY or LIVENESS, or "error": nothing should raise it."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind


class Checks:
    """The whole world's view of one chain.

    size: how many of n validators a certificate of some round must have; by default all but the faulty.
    """

    def __init__(
        self,
        chain_id: bytes,
        validators: Sequence[bytes],
        proposers: Sequence[bytes],
        verify: Callable[[bytes, bytes, bytes], bool],
        size: Callable[[int, int], int] | None = None,
    ) -> None:
        self._chain_id = chain_id
        self.sets: list[tuple[int, Sequence[bytes]]] = [(0, validators)]
        """Who certifies from which height on, as the transactions of the chain say."""
        self._proposers = proposers
        self._verify = verify
        self._size = size or (lambda count, _: count - (count - 1) // 3)
        self.blocks: list[Block] = []
        """The chain as the first honest node that had each block had it."""
        self.final: dict[bytes, int] = {}
        """Transactions by hash: the height."""
        self._certified: set[Certificate] = set()
        self._said: dict[str, dict[tuple[int, int, int], bytes]] = {}
        self._furthest: dict[str, tuple[int, int]] = {}
        self._entered: dict[tuple[str, int], tuple[int, int]] = {}
        self.certificate_count = 0

    def validators_at(self, height: int) -> Sequence[bytes]:
        """Who must certify this height."""
        return next(validators for first, validators in reversed(self.sets) if first <= height)

    def on_final(self, name: str, block: Block, certificate: Certificate) -> None:
        """An honest node has made a block final."""
        header = block.header
        if header.height <= len(self.blocks):
            first = self.blocks[header.height - 1].header.block_hash
            if first != header.block_hash:
                raise Failed(
                    "agreement",
                    f"{name} has {header.block_hash.hex()[:8]} at height {header.height}, "
                    f"another has {first.hex()[:8]}",
                )
        elif header.height > len(self.blocks) + 1:
            raise Failed("agreement", f"{name} has block {header.height} before anybody has the one before")
        self._check_certificate(name, block, certificate)
        if header.height == len(self.blocks) + 1:
            self._extend(name, block)

    def _extend(self, name: str, block: Block) -> None:
        header = block.header
        parent = self.blocks[-1].header.block_hash if self.blocks else self._chain_id
        if header.parent_hash != parent:
            raise Failed("invalid block", f"{name}: block {header.height} does not continue the chain")
        turn = self._proposers[(header.height - 1) % len(self._proposers)]
        if header.proposer not in (turn, bytes(32)):
            raise Failed(
                "invalid block", f"{name}: block {header.height} is by somebody whose turn it is not"
            )
        if header.proposer == bytes(32) and block.transactions:
            raise Failed("invalid block", f"{name}: block {header.height} is nobody's, and has transactions")
        for transaction in block.transactions:
            if transaction.tx_hash in self.final:
                raise Failed("applied twice", f"{name}: {transaction.tx_hash.hex()[:8]} at {header.height}")
            self.final[transaction.tx_hash] = header.height
            if isinstance(transaction.body, ValidatorsChange):
                self._change(header.height, transaction.body)
        if header.validators_hash != sha256(cbor.encode(list(self.validators_at(header.height)))).digest():
            raise Failed("invalid block", f"{name}: block {header.height} names other validators")
        self.blocks.append(block)

    def _change(self, height: int, change: ValidatorsChange) -> None:
        latest, _ = self.sets[-1]
        # Approved they all are, or they would not be in a block; a receipt says what of the rest.
        if latest <= height and change.number == len(self.sets) - 1 and change.from_height >= height + NOTICE:
            self.sets.append((change.from_height, change.keys))

    def _check_certificate(self, name: str, block: Block, certificate: Certificate) -> None:
        if certificate in self._certified:
            return
        self.certificate_count += 1
        header = block.header
        what = f"{name}: the certificate of block {header.height}"
        if (certificate.height, certificate.block_hash) != (header.height, header.block_hash):
            raise Failed("certificate", f"{what} is for another block")
        signers = set()
        validators = self.validators_at(header.height)
        for index, signature in certificate.signatures:
            payload = cbor.encode(
                {1: self._chain_id, 2: header.height, 3: certificate.round, 4: 2, 5: header.block_hash}
            )
            key = validators[index]
            if not self._verify(key, cose.sig_structure(VOTE_TYP, key, payload), signature):
                raise Failed("certificate", f"{what} has a signature that does not hold")
            signers.add(index)
        if len(signers) < self._size(len(validators), certificate.round):
            raise Failed("certificate", f"{what} has {len(signers)} of {len(validators)} validators")
        self._certified.add(certificate)

    def on_said(self, name: str, vote: Vote, life: int = 1) -> None:
        """An honest node says this; over all its restarts it must never contradict what it has said.

        life: counts how often it has begun with what was kept, after a restart or a full disk.  A ROUND binds
        it for its life only: it is not kept, for what makes a lock is a COMMIT, and a PREPARE of that round
        would have been kept.
        """
        place = (vote.height, vote.round, vote.phase)
        said = self._said.setdefault(name, {})
        before = said.get(place)
        if before == vote.block_hash:
            return
        form = f"{vote.form} of height {vote.height}, round {vote.round}"
        here = (vote.height, vote.round)
        if vote.phase == Phase.ROUND:
            self._entered[name, life] = max(self._entered.get((name, life), (0, 0)), here)
        elif before is not None:
            raise Failed("forgotten vote", f"{name} says a second {form}")
        said[place] = vote.block_hash
        if vote.phase in (Phase.PREPARE, Phase.COMMIT):
            height, round_ = max(self._furthest.get(name, (0, 0)), self._entered.get((name, life), (0, 0)))
            if here < (height, round_):
                raise Failed("forgotten vote", f"{name} says {form} after it was in {height}/{round_}")
            self._furthest[name] = here
