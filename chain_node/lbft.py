"""LBFT 2.0 without its fork: the consensus core, one height after the other.

Runs on CPython; pure: messages and a clock in, a `Ready` out.  No socket, no disk, no ledger: the host
does the duties of each Ready in their order (lbft_ready.py), and

    ready = core.begin(Height(...), now_ms, kept)      the next height; after a restart with what was kept
    ready = core.step(sender, message, now_ms)         a message came
    ready = core.tick(now_ms)                          the clock has reached core.deadline_ms
    ready = core.judge(block_hash, is_licit, now_ms)   a block of Ready.check was executed
    ready = core.propose(block, now_ms)                Ready.is_proposal_due asked for it

The rules that keep it from forking (numbers as in ARCHITECTURE.md):
1 a certificate needs n - f distinct validators, in every round;  2 who commits is locked: it prepares
nothing any more that follows from a lower P-certificate;  3 an impeachment round prepares the block of
the best P-certificate known, and shows it; the impeachment block only where none is known;  4 one PREPARE
and one COMMIT a round, kept before they are sent, never in a round before a later vote;  5 timers grow,
f + 1 validators in a later round are joined, a C-certificate counts in every state.

A ROUND promises nothing and is not kept: a validator that lost its power may stand in an earlier round
again.  That is safe: what it committed it stands by, and a PREPARE of the later round would be on its disk.

The same core serves proposers and observers: they count votes, and cast none.
"""

from collections.abc import Callable, Sequence

from chain_node.block import Block, Certificate, Header, Phase, Vote
from chain_node.kept import Kept
from chain_node.lbft_height import HeightCore
from chain_node.lbft_ready import NOTHING, Duties, Height, Ready, Serve, Setup
from chain_node.lbft_states import Fate, earliest_ms
from chain_node.lbft_sync import Sync
from chain_node.messages import Ballot, ConsensusMessage, Proposal, Validate, WantChain
from chain_node.schedule import Schedule
from chain_node.signatures import Signatures

INLINE_SIZE_MAX = 1 << 14
"""Bytes of transactions up to which a certificate travels with its block to everybody."""


def announcement(certificate: Certificate, block: Block) -> Validate:
    """Tells a peer of a final block that it may have: the block goes along only if that costs little."""
    size = sum(len(transaction.data) for transaction in block.transactions)
    return Validate(certificate, block if size <= INLINE_SIZE_MAX else None)


class Core:
    """The consensus of one node.

    base_timeout_ms: how long round 0 lasts beyond the moment its block is due.
    resend_ms: after how long what may have been lost is sent or asked for again; by default a quarter.
    """

    HEIGHT = HeightCore

    def __init__(
        self,
        signatures: Signatures,
        schedule: Schedule,
        base_timeout_ms: int,
        resend_ms: int | None = None,
    ) -> None:
        resend_ms = max(base_timeout_ms // 4, 1) if resend_ms is None else resend_ms
        self.fates = [0] * len(Fate)
        """How many messages had which Fate."""
        self.judged: Callable[[bytes, ConsensusMessage, Fate], None] = lambda sender, message, fate: None
        """Is told what became of each message, also of one that was kept for a while."""
        self._setup = Setup(signatures, schedule, base_timeout_ms, resend_ms)
        self._next: dict[bytes, int] = {}
        """The validators of the next height, by key: their indexes."""
        self._duties = Duties()
        self._sync = Sync(resend_ms)
        self._now: HeightCore | None = None
        self._told_until_ms = 0
        """Until when who still votes at the last height is told how it ended by what was sent to all."""

    @property
    def current(self) -> HeightCore:
        """The height that is being decided.  Only after the first `begin`."""
        assert self._now, "begin comes first"  # noqa: S101 - the order of calls is the host's
        return self._now

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is to be called at the latest; None: only messages bring anything."""
        if self.current.decided:
            return None
        return earliest_ms(self.current.deadline_ms, self._sync.at_ms)

    def begin(self, start: Height, now_ms: int, kept: Sequence[Kept] = ()) -> Ready:
        """Begin a height; its parent is committed, synced.

        kept: our own votes at this height, after a restart.
        """
        if self._now:
            self._announce(self._now)
            self._told_until_ms = now_ms + self._setup.resend_ms // 2
        signatures = self._setup.signatures
        signatures.forget()
        self._next = {key: index for index, key in enumerate(signatures.validators_at(start.height + 1))}
        self._now = self.HEIGHT(self._setup, start, self._duties, now_ms, kept)
        for sender, early in self._sync.begin(start.height, now_ms):
            if not self._now.decided:
                self._count(sender, early, self._now.receive(sender, early, now_ms))
        self._sync_now(now_ms)
        return self._take()

    def step(self, sender: bytes, message: ConsensusMessage, now_ms: int) -> Ready:
        """A message from node `sender`, who is who it says."""
        current, height = self.current, message.height
        if height == current.height and not current.decided:
            fate = current.receive(sender, message, now_ms)
        elif height <= current.height:
            fate = self._on_past(sender, message, now_ms)
        else:
            fate = self._on_future(sender, message, now_ms)
        self._count(sender, message, fate)
        return self._take()

    def hear(self, sender: bytes, height: int, now_ms: int) -> Ready:
        """A node works on this height, whatever it said: what we lack is asked for, what it lacks is sent."""
        if height < self.current.height:
            if height > 0 and self._sync.may_serve(sender, now_ms):
                self._duties.serve.append(Serve(sender, height, 1, is_asked=False))
        elif height > self.current.height:
            self._sync.note(sender, height, self.current.height, now_ms)
            if not self.current.decided:
                self._sync_now(now_ms)
        return self._take()

    def glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        """What a block is worth, by its seal or C-certificate, before the rest of it is read.

        TAKEN: read it.  Whatever it is otherwise is counted here, for `step` may never see it.
        """
        fate = self._glance(sender, header, proof)
        if fate != Fate.TAKEN:
            self.fates[fate] += 1
        return fate

    def tick(self, now_ms: int) -> Ready:
        """The clock shows `now_ms`; it never goes back."""
        if not self.current.decided:
            self.current.tick(now_ms)
            self._sync_now(now_ms)
        return self._take()

    def work_waits(self, now_ms: int) -> None:
        """Transactions wait here: the block is due after a period, not only after a heartbeat."""
        if not self.current.decided:
            self.current.work_waits(now_ms)

    def propose(self, block: Block | None, now_ms: int) -> Ready:
        """Our block for this height, which the host knows to be licit; None: ask again a little later."""
        if not self.current.decided:
            self.current.propose(block, now_ms)
        return self._take()

    def judge(self, block_hash: bytes, is_licit: bool, now_ms: int) -> Ready:
        """What a block of Ready.check turned out to be."""
        if not self.current.decided:
            self.current.judge(block_hash, is_licit, now_ms)
        return self._take()

    def _announce(self, last: HeightCore) -> None:
        """Tell everybody that the last height is decided, if it was us who saw the quorum."""
        signatures = self._setup.signatures
        if last.decided and last.is_own_count and signatures.public in signatures.validators_at(last.height):
            self._duties.send.append((None, announcement(last.decided.certificate, last.decided.block)))

    def _count(self, sender: bytes, message: ConsensusMessage, fate: Fate) -> None:
        self.fates[fate] += 1
        self.judged(sender, message, fate)

    # Messages of other heights

    def _glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        current, setup = self.current, self._setup
        if header.height < current.height or (header.height == current.height and current.decided):
            return Fate.LATE
        if header.height == current.height:
            return current.glance(header, proof)
        if isinstance(proof, Certificate):
            fate = self._sync.fate_of_final(sender, header.height, current.height)
            if fate != Fate.EARLY:
                return fate
            is_final = proof.block_hash == header.block_hash and setup.signatures.certifies(
                proof, Phase.COMMIT
            )
            return Fate.TAKEN if is_final else Fate.FORGED
        if proof is None or header.height != current.height + 1:
            return Fate.FUTURE
        if not setup.is_seal_of(proof, header):
            return Fate.FOREIGN
        if self._sync.has_early((header.block_hash,)):
            return Fate.DUPLICATE
        if not self._sync.has_room_for_seals:
            return Fate.FUTURE
        return Fate.TAKEN if setup.signatures.holds(proof) else Fate.FORGED

    def _on_past(self, sender: bytes, message: ConsensusMessage, now_ms: int) -> Fate:
        if isinstance(message, WantChain):
            self._duties.serve.append(Serve(sender, message.first, message.count))
        elif isinstance(message, Validate) or message.height == self.current.height:
            pass
        elif (
            isinstance(message, Ballot)
            and message.height == self.current.height - 1
            and now_ms < self._told_until_ms
        ):
            # Votes beyond the quorum come after each decision; a block for each of them would be a waste.
            pass
        elif self._sync.may_serve(sender, now_ms):
            self._duties.serve.append(Serve(sender, message.height, 1, is_asked=False))
        return Fate.LATE

    def _on_future(self, sender: bytes, message: ConsensusMessage, now_ms: int) -> Fate:
        is_next = message.height == self.current.height + 1
        self._sync.note(sender, message.height + isinstance(message, Validate), self.current.height, now_ms)
        fate = Fate.FUTURE
        match message:
            case Ballot(vote=vote) if is_next:
                index = self._next.get(vote.voter)
                if index is None or vote.chain_id != self._setup.signatures.chain_id:
                    fate = Fate.FOREIGN
                elif vote.round <= 1:
                    fate = self._keep_early((index, vote.round, vote.phase), sender, message, vote)
            case Proposal(block=block, seal=Vote() as seal) if is_next:
                if not self._setup.is_seal_of(seal, block.header):
                    fate = Fate.FOREIGN
                else:
                    fate = self._keep_early((seal.block_hash,), sender, message, seal)
            case Validate(block=Block()):
                fate = self._sync.keep_validate(sender, message, self.current.height)
        if not self.current.decided:
            self._sync_now(now_ms)
        return fate

    def _keep_early(
        self, place: tuple[object, ...], sender: bytes, message: ConsensusMessage, vote: Vote
    ) -> Fate:
        if self._sync.has_early(place):
            return Fate.DUPLICATE
        if not self._setup.signatures.holds(vote):
            return Fate.FORGED
        return self._sync.keep_early(place, sender, message)

    def _sync_now(self, now_ms: int) -> None:
        for peer, message in self._sync.due(self.current.height, now_ms):
            self._duties.send.append((peer, message))

    def _take(self) -> Ready:
        if self._duties.is_empty:
            return NOTHING
        return self._duties.take()
