"""LBFT 2.0 at one height: from its parent's commit to a final block.

Runs on CPython; pure.  Made anew for each height by the core (lbft.py), which routes messages and time
here, and gathers the duties that follow.  Public methods are events; each leaves its duties in `duties`.
Read `_enter_round`, `_count_vote`, `_try_prepare` and `_try_commit` first, then the rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chain_node import quorum
from chain_node.block import NO_BLOCK, Block, Certificate, Phase, Vote
from chain_node.kept import Kept
from chain_node.lbft_blocks import Candidate, Candidates
from chain_node.lbft_ready import Decided, Duties, Equivocation, Height
from chain_node.lbft_states import NEXT, Cause, Fate, State, timeout_ms
from chain_node.lbft_tally import Tally
from chain_node.messages import Ballot, ConsensusMessage, Proposal, Validate, WantBlock
from chain_node.schedule import Schedule
from chain_node.signatures import Signatures

ROUNDS_KEPT = 8
"""Votes are kept of this many rounds before the current one, and as many after it."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same from height to height."""

    signatures: Signatures
    schedule: Schedule
    base_timeout_ms: int
    """How long round 0 lasts beyond the moment its block is due, and the base of later rounds."""
    resend_ms: int
    """After how long what may have been lost is sent, or asked for, again."""

    def is_seal_of(self, seal: Vote, block: Block) -> bool:
        """Whether this is the scheduled proposer's word for this block, if its signature holds."""
        header = block.header
        return (
            (seal.phase, seal.round, seal.height) == (Phase.PROPOSE, 0, header.height)
            and seal.block_hash == header.block_hash
            and seal.chain_id == self.signatures.chain_id == header.chain_id
            and seal.voter == self.schedule.proposer(header.height)
        )


class HeightCore:
    """One height of one node.

    kept: our own votes at this height, after a restart.  duties: where what is to be done is gathered.
    """

    def __init__(
        self, setup: Setup, start: Height, duties: Duties, now_ms: int, kept: Sequence[Kept] = ()
    ) -> None:
        self.height = start.height
        self.round = 0
        self.state = State.IDLE
        self.best: Certificate | None = None
        """The highest P-certificate known: what we show, and have prepared next."""
        self.locked_round = -1
        """The round of our last COMMIT: what follows from less is not prepared; -1 before there is one.

        Not that of `best`: a certificate that somebody held back and shows late, just before the
        coordinator names a lower one, would make us refuse, in every round anew.
        """
        self.decided: Decided | None = None
        """How the height ended."""
        self.cause: Cause | None = None
        """What ended it: DECISION or VALIDATE."""
        self._setup = setup
        self._signatures = setup.signatures
        self._start = start
        self._now_ms = now_ms
        self.duties = duties
        validators = self._signatures.validators
        self._index = {key: index for index, key in enumerate(validators)}
        self._count = len(validators)
        public = self._signatures.public
        self._me = self._index.get(public) if public else None
        self._final: Certificate | None = None
        """A C-certificate whose block is not here yet."""
        self._blocks = Candidates(start.impeachment)
        self._tally = Tally(self._count)
        self._coordinated: dict[int, tuple[bytes, int]] = {}
        """By round: what its coordinator named, and the round of the certificate it showed, or -1."""
        self._told = [0] * self._count
        """By validator: the highest round that it has said itself that it is in, and shown its best there.

        A ROUND that others bring may have lost its certificate on the way.
        """
        self._accused: set[bytes] = set()
        self._has_prepared = self._has_committed = False
        """In this round."""
        self._mine: list[ConsensusMessage] = []
        """What we say until the height is decided."""
        self._round_ends_ms: int | None = None
        self._coordinate_at_ms: int | None = None
        self._propose_at_ms: int | None = None
        self._resend_at_ms: int | None = None
        self._restore(kept)
        due_ms = start.due_ms if start.has_work else start.latest_ms
        if public == setup.schedule.proposer(self.height) and not self._own_proposal:
            self._propose_at_ms = due_ms
        if self._me is not None and self.round == 0:
            self._round_ends_ms = due_ms + setup.base_timeout_ms
        # They may have been sent before the restart, or not.
        for message in self._mine:
            self._send(None, message)

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is to be called at the latest; None: only messages bring anything."""
        times = (self._round_ends_ms, self._coordinate_at_ms, self._propose_at_ms, self._resend_at_ms)
        return min((time for time in times if time is not None), default=None)

    # Events

    def receive(self, sender: bytes, message: ConsensusMessage, now_ms: int) -> Fate:
        """A message of this height, which is not decided yet."""
        self._now_ms = now_ms
        match message:
            case Ballot():
                return self._on_ballot(sender, message)
            case Proposal():
                return self._on_proposal(sender, message)
            case Validate():
                return self._on_validate(sender, message)
            case WantBlock():
                return self._on_want(sender, message)
        # WantChain from the height that is being decided here: nobody is behind.
        return Fate.DUPLICATE

    def tick(self, now_ms: int) -> None:
        """The clock shows `now_ms`."""
        self._now_ms = now_ms
        if _is_over(self._propose_at_ms, now_ms):
            self._propose_at_ms = None
            self.duties.is_proposal_due = True
        if _is_over(self._coordinate_at_ms, now_ms):
            self._coordinate_at_ms = None
            self._coordinate()
        if _is_over(self._round_ends_ms, now_ms):
            self._enter_round(self.round + 1, Cause.TIMEOUT)
        if _is_over(self._resend_at_ms, now_ms):
            self._resend()

    def work_waits(self, now_ms: int) -> None:
        """Transactions wait here."""
        due_ms = max(self._start.due_ms, now_ms)
        if self._propose_at_ms is not None:
            self._propose_at_ms = min(self._propose_at_ms, due_ms)
        if self.round == 0 and self._round_ends_ms is not None:
            self._round_ends_ms = min(self._round_ends_ms, due_ms + self._setup.base_timeout_ms)

    def propose(self, block: Block | None, now_ms: int) -> None:
        """Our block, which the host knows to be licit; None: ask again a little later."""
        self._now_ms = now_ms
        if self._blocks.sealed():
            # Ours, or made with our key elsewhere: a second one would be evidence against us.
            return
        if block is None:
            self._propose_at_ms = now_ms + self._setup.resend_ms
        elif block.header.parent_hash == self._start.parent_hash:
            header = block.header
            seal = self._signatures.sign(header.height, 0, Phase.PROPOSE, header.block_hash)
            self._keep(Kept(seal, block))
            candidate = self._blocks.add(block, seal)
            candidate.is_kept = True
            self._say(Proposal(block, seal))
            self._judged(candidate, is_licit=True)

    def judge(self, block_hash: bytes, is_licit: bool, now_ms: int) -> None:
        """What a block of Ready.check turned out to be."""
        self._now_ms = now_ms
        candidate = self._blocks.get(block_hash)
        if candidate and candidate.is_licit is None:
            self._judged(candidate, is_licit)

    # Messages

    def _on_ballot(self, sender: bytes, ballot: Ballot) -> Fate:
        vote = ballot.vote
        index = self._index.get(vote.voter)
        if index is None or vote.chain_id != self._signatures.chain_id or vote.phase == Phase.PROPOSE:
            return Fate.FOREIGN
        if vote.round < self.round - ROUNDS_KEPT:
            return Fate.LATE
        known = self._tally.get(vote.round, vote.phase, index)
        if known is None and index == self._me:
            # All our votes are known; this one was made with our key elsewhere, or is a ROUND from before
            # a restart.  We may yet vote there, and nobody is counted twice.
            return Fate.FOREIGN
        is_new = known is None
        if known is None or known.block_hash != vote.block_hash:
            if not self._signatures.holds(vote):
                return Fate.FORGED
            if known:
                self._accuse(known, vote)
                return Fate.EQUIVOCATION
        if ballot.certificate and not self._show(ballot.certificate):
            return Fate.FORGED
        if self.decided:
            return Fate.TAKEN
        if sender == vote.voter:
            self._told[index] = max(self._told[index], vote.round)
        if vote.phase != Phase.ROUND and vote.block_hash not in self._blocks:
            self._want(vote.block_hash, sender)
        if not is_new:
            self._coordinate_if_told()
            return Fate.DUPLICATE
        if vote.round > self.round + ROUNDS_KEPT:
            # Where its voter is counts; what it votes for there is sent again when we are there.
            self._see(index, vote.round)
            return Fate.FUTURE
        if vote.phase == Phase.COORDINATE:
            fate = self._on_coordinate(index, ballot)
            if fate != Fate.TAKEN:
                return fate
        self._count_vote(index, vote)
        return Fate.TAKEN

    def _on_coordinate(self, index: int, ballot: Ballot) -> Fate:
        vote, shown = ballot.vote, ballot.certificate
        if vote.round < 2 or index != self._coordinator(vote.round):
            return Fate.FOREIGN
        if (shown.block_hash if shown else self._blocks.impeachment_hash) != vote.block_hash:
            return Fate.FORGED
        if shown and not (shown.round < vote.round and self._is_certificate(shown)):
            return Fate.FORGED
        self._coordinated[vote.round] = (vote.block_hash, shown.round if shown else -1)
        return Fate.TAKEN

    def _on_proposal(self, sender: bytes, proposal: Proposal) -> Fate:
        block, seal = proposal.block, proposal.seal
        header = block.header
        if header.block_hash in self._blocks:
            return Fate.DUPLICATE
        is_vouched = self._is_vouched(header.block_hash)
        if seal is None and not is_vouched:
            return Fate.UNASKED
        if seal is not None:
            if not self._setup.is_seal_of(seal, block):
                return Fate.FOREIGN
            if not self._signatures.holds(seal):
                return Fate.FORGED
            if other := self._blocks.sealed():
                self._accuse(other, seal)
                self._on_second_proposal()
                if not is_vouched and self._blocks.is_full:
                    return Fate.EQUIVOCATION
        candidate = self._blocks.add(block, seal)
        if self._final and self._final.block_hash == header.block_hash:
            self._decide(self._final, Cause.VALIDATE)
        elif header.round != 0 or header.parent_hash != self._start.parent_hash:
            self._judged(candidate, is_licit=False)
        elif self._me is not None:
            self.duties.check.append(block)
        return Fate.TAKEN

    def _on_validate(self, sender: bytes, message: Validate) -> Fate:
        certificate, block = message.certificate, message.block
        if not self._signatures.certifies(certificate, Phase.COMMIT):
            return Fate.FORGED
        if block and block.header.block_hash != certificate.block_hash:
            return Fate.FORGED
        if block and certificate.block_hash not in self._blocks:
            self._blocks.add(block, None)
        self._decide(certificate, Cause.VALIDATE)
        if not self.decided:
            self._want(certificate.block_hash, sender)
        return Fate.TAKEN

    def _on_want(self, sender: bytes, message: WantBlock) -> Fate:
        candidate = self._blocks.get(message.block_hash)
        if candidate and message.block_hash != self._blocks.impeachment_hash:
            self._send(sender, Proposal(candidate.block, candidate.seal))
        return Fate.TAKEN

    # What follows

    def _count_vote(self, index: int, vote: Vote) -> None:
        """Count a vote that is genuine and the first of its voter, round and phase."""
        self._see(index, vote.round)
        if self.decided or not self.round - ROUNDS_KEPT <= vote.round <= self.round + ROUNDS_KEPT:
            return
        count = self._tally.add(index, vote)
        if count >= self._quorum(vote.round):
            if vote.phase == Phase.COMMIT:
                certificate = self._tally.certificate(vote.round, Phase.COMMIT, vote.block_hash)
                self._decide(certificate, Cause.DECISION)
            elif vote.phase == Phase.PREPARE:
                self._learn(self._tally.certificate(vote.round, Phase.PREPARE, vote.block_hash))
        if vote.phase == Phase.COORDINATE:
            self._try_prepare()

    def _show(self, certificate: Certificate) -> bool:
        """Learn from a P-certificate that somebody shows; False: it is none."""
        if self.best and certificate.round <= self.best.round:
            # Not better than what is known: nothing rests on it, so it is not verified.
            return True
        if not self._is_certificate(certificate):
            return False
        self._learn(certificate)
        return True

    def _learn(self, certificate: Certificate) -> None:
        """A P-certificate that holds: from now on the best, if it is higher than the one before."""
        if self.best and certificate.round <= self.best.round:
            return
        self.best = certificate
        if certificate.round > self.round:
            self._enter_round(certificate.round, Cause.JOIN)
        self._try_commit()

    def _judged(self, candidate: Candidate, is_licit: bool) -> None:
        candidate.is_licit = is_licit
        if self._me is None:
            return
        if self.round == 0 and not self._has_prepared:
            if is_licit:
                self._prepare(candidate.block_hash, Cause.PROPOSAL)
            else:
                self._enter_round(1, Cause.ILLICIT)
        self._try_commit()

    def _on_second_proposal(self) -> None:
        if self._me is not None and self.state in (State.IDLE, State.PREPARE) and self.best is None:
            self._enter_round(1, Cause.SECOND_PROPOSAL)

    def _prepare(self, block_hash: bytes, cause: Cause | None = None) -> None:
        self._has_prepared = True
        if cause is not None:
            self._move(cause)
        self._cast(Phase.PREPARE, block_hash, self.best)

    def _try_prepare(self) -> None:
        """In a round with a coordinator: prepare what it names, unless we are locked above what it shows."""
        if self._me is None or self._has_prepared or self.decided or self.round < 2:
            return
        if self.round in self._coordinated:
            block_hash, shown_round = self._coordinated[self.round]
            if self._may_follow(shown_round):
                self._prepare(block_hash)

    def _try_commit(self) -> None:
        """Commit what this round's P-certificate is for, once it is here and licit."""
        best = self.best
        if self._me is None or self._has_committed or self.decided or best is None:
            return
        # The proposer's block is prepared first; in a later round others may have done that.
        if best.round != self.round or (self.round == 0 and not self._has_prepared):
            return
        candidate = self._blocks.get(best.block_hash)
        if candidate is None:
            self._want(best.block_hash, None)
        elif candidate.is_licit:
            self._has_committed = True
            self._lock(best)
            self._move(Cause.P_CERTIFICATE)
            self._cast(Phase.COMMIT, best.block_hash, best)

    def _enter_round(self, round_: int, cause: Cause) -> None:
        """Go on to a later round; nothing is prepared or committed in earlier ones any more."""
        self.round = round_
        self._tally.drop_before(round_ - ROUNDS_KEPT)
        for old in [old for old in self._coordinated if old < round_]:
            del self._coordinated[old]
        self._round_ends_ms = self._coordinate_at_ms = None
        if self._me is None:
            return
        self._move(cause)
        self._has_prepared = self._has_committed = False
        self._mine = [message for message in self._mine if isinstance(message, Proposal)]
        if round_ == 1:
            self._prepare(self._value())
        else:
            self._say(Ballot(self._sign(Phase.ROUND, NO_BLOCK), self.best))
            self._see(self._me, round_)
            if self.round == round_:
                self._try_prepare()
        if self.round == round_:
            self._try_commit()

    def _see(self, index: int, round_: int) -> None:
        if self._tally.see(index, round_):
            self._see_rounds()

    def _see_rounds(self) -> None:
        """Somebody was seen in a later round than before."""
        joined = self._round_to_join()
        if joined > self.round and not self.decided:
            self._enter_round(joined, Cause.JOIN)
            return
        if self._me is None or self.round == 0:
            return
        # A round's time begins when enough are in it to finish it: who is alone does not run ahead.
        if self._round_ends_ms is None and self._tally.reached_by(quorum.size(self._count)) >= self.round:
            length_ms = timeout_ms(self._setup.base_timeout_ms, self.round)
            self._round_ends_ms = self._now_ms + length_ms
            if self.round >= 2 and self._coordinator(self.round) == self._me:
                self._coordinate_at_ms = self._now_ms + length_ms // 3
        self._coordinate_if_told()

    def _coordinate_if_told(self) -> None:
        """Waiting for more is in vain when all others have shown what they know."""
        if self._coordinate_at_ms is not None and all(
            told >= self.round or index == self._me for index, told in enumerate(self._told)
        ):
            self._coordinate_at_ms = None
            self._coordinate()

    def _coordinate(self) -> None:
        """Name what this round is to prepare, and show the certificate it follows from."""
        assert self._me is not None  # noqa: S101 - only a validator's timer gets here
        if self._tally.get(self.round, Phase.COORDINATE, self._me):
            return
        if self.best and self.best.round >= self.round:
            return
        block_hash = self._value()
        self._coordinated[self.round] = (block_hash, self.best.round if self.best else -1)
        self._cast(Phase.COORDINATE, block_hash, self.best)

    def _decide(self, certificate: Certificate, cause: Cause) -> None:
        """A C-certificate that holds: its block is final, in whatever state we are."""
        candidate = self._blocks.get(certificate.block_hash)
        if candidate is None:
            self._final = certificate
            return
        self._move(cause)
        lost = tuple(block for block in self._blocks.proposals() if block is not candidate.block)
        self.cause = cause
        self.decided = self.duties.decided = Decided(candidate.block, certificate, lost)
        self._round_ends_ms = self._coordinate_at_ms = None
        self._propose_at_ms = self._resend_at_ms = None

    # The rules, each where a test can break it

    def _quorum(self, round_: int) -> int:
        """Rule 1: how many distinct validators make a certificate of this round."""
        return quorum.size(self._count)

    def _lock(self, certificate: Certificate) -> None:
        """Rule 2: we are about to commit what this certificate is for."""
        self.locked_round = certificate.round

    def _may_follow(self, shown_round: int) -> bool:
        """Rule 2: whether what follows from a P-certificate of this round, -1 for none, may be prepared."""
        return shown_round >= self.locked_round

    def _value(self) -> bytes:
        """Rule 3: what is to be prepared in an impeachment round."""
        return self.best.block_hash if self.best else self._blocks.impeachment_hash

    def _keep(self, kept: Kept) -> None:
        """Rule 4: what we say is on the disk before anybody hears it."""
        self.duties.persist.append(kept)

    def _round_to_join(self) -> int:
        """Rule 5: the highest round in which there is an honest validator for sure."""
        return self._tally.reached_by(quorum.join_size(self._count))

    # Small things

    def _move(self, cause: Cause) -> None:
        self.state = NEXT[self.state, cause]

    def _coordinator(self, round_: int) -> int:
        return (self.height + round_) % self._count

    def _is_vouched(self, block_hash: bytes) -> bool:
        """Whether a quorum's certificate is for this block."""
        return any(each and each.block_hash == block_hash for each in (self.best, self._final))

    def _is_certificate(self, certificate: Certificate) -> bool:
        """Whether this is a P-certificate of this height."""
        return certificate == self.best or (
            certificate.height == self.height and self._signatures.certifies(certificate, Phase.PREPARE)
        )

    def _accuse(self, first: Vote, second: Vote) -> None:
        # Two ROUND votes differ in nothing that counts.
        if first.voter not in self._accused and first.phase != Phase.ROUND:
            self._accused.add(first.voter)
            self.duties.evidence.append(Equivocation(first, second))

    def _sign(self, phase: Phase, block_hash: bytes) -> Vote:
        return self._signatures.sign(self.height, self.round, phase, block_hash)

    def _cast(self, phase: Phase, block_hash: bytes, certificate: Certificate | None) -> None:
        """Vote: keep it, say it, count it."""
        vote = self._sign(phase, block_hash)
        candidate = self._blocks.get(block_hash)
        if candidate and not candidate.is_kept:
            candidate.is_kept = True
            self._keep(Kept(vote, candidate.block, candidate.seal, certificate))
        else:
            self._keep(Kept(vote, certificate=certificate))
        self._say(Ballot(vote, certificate))
        assert self._me is not None  # noqa: S101 - only validators vote
        self._count_vote(self._me, vote)

    def _say(self, message: ConsensusMessage) -> None:
        """Tell everybody, and again until the height is decided."""
        self._mine.append(message)
        self._send(None, message)
        if self._resend_at_ms is None:
            self._resend_at_ms = self._now_ms + self._setup.resend_ms

    def _send(self, peer: bytes | None, message: ConsensusMessage) -> None:
        self.duties.send.append((peer, message))

    def _resend(self) -> None:
        self._resend_at_ms = self._now_ms + self._setup.resend_ms
        for message in self._mine:
            self._send(None, message)
        for certificate in (self._final, self.best):
            if certificate and certificate.block_hash not in self._blocks:
                self._send(None, WantBlock(self.height, certificate.block_hash))

    def _want(self, block_hash: bytes, peer: bytes | None) -> None:
        if self._blocks.may_ask(block_hash, self._now_ms, self._setup.resend_ms):
            self._send(peer, WantBlock(self.height, block_hash))
            if self._resend_at_ms is None:
                self._resend_at_ms = self._now_ms + self._setup.resend_ms

    @property
    def _own_proposal(self) -> Proposal | None:
        return next((message for message in self._mine if isinstance(message, Proposal)), None)

    def _restore(self, kept: Sequence[Kept]) -> None:
        """Stand where we stood before the restart: rule 4."""
        for item in kept:
            vote = item.vote
            if item.block:
                seal = vote if vote.phase == Phase.PROPOSE else item.seal
                if item.block.header.block_hash not in self._blocks:
                    self._blocks.add(item.block, seal)
                candidate = self._blocks[item.block.header.block_hash]
                # It was executed before it was voted for.
                candidate.is_kept = candidate.is_licit = True
                if vote.phase == Phase.PROPOSE:
                    self._mine.append(Proposal(item.block, vote))
            if item.certificate and (self.best is None or item.certificate.round > self.best.round):
                self.best = item.certificate
            if vote.phase == Phase.COMMIT:
                self.locked_round = max(self.locked_round, vote.round)
            if vote.phase != Phase.PROPOSE:
                self.round = max(self.round, vote.round)
        if self._me is None:
            return
        votes = [item for item in kept if item.vote.phase != Phase.PROPOSE]
        for item in votes:
            vote = item.vote
            if vote.phase == Phase.COORDINATE:
                shown_round = item.certificate.round if item.certificate else -1
                self._coordinated[vote.round] = (vote.block_hash, shown_round)
            if vote.round == self.round:
                self._mine.append(Ballot(vote, item.certificate))
                self._has_prepared |= vote.phase == Phase.PREPARE
                self._has_committed |= vote.phase == Phase.COMMIT
        if self.round:
            self.state = State.IMPEACH_COMMIT if self._has_committed else State.IMPEACH_PREPARE
        elif self._has_committed or self._has_prepared:
            self.state = State.COMMIT if self._has_committed else State.PREPARE
        if self._mine:
            self._resend_at_ms = self._now_ms + self._setup.resend_ms
        # What follows from them follows again; alone in a committee, that is everything.
        for item in votes:
            if not self.decided:
                self._count_vote(self._me, item.vote)
        proposed = self._own_proposal
        if proposed and not (self.decided or self._has_prepared or self.round):
            self._prepare(proposed.block.header.block_hash, Cause.PROPOSAL)
        self._try_commit()


def _is_over(time_ms: int | None, now_ms: int) -> bool:
    return time_ms is not None and time_ms <= now_ms
