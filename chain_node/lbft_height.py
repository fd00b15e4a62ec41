"""LBFT 2.0 at one height: what comes in, when, and what it is worth.

Runs on CPython; pure.  Made anew for each height by the core (lbft.py), which routes messages and time
here, and gathers the duties that follow.  Public methods are events; each leaves its duties in `duties`.
The protocol itself, what follows from what is genuine, is in lbft_rounds.py.
"""

from chain_node.block import Block, Certificate, Header, Phase, Vote
from chain_node.kept import Kept
from chain_node.lbft_rounds import ROUNDS_KEPT, Rounds
from chain_node.lbft_states import Cause, Fate, earliest_ms, timeout_ms
from chain_node.messages import Ballot, ConsensusMessage, Proposal, Validate, WantBlock


class HeightCore(Rounds):
    """One height of one node."""

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is to be called at the latest; None: only messages bring anything."""
        return earliest_ms(
            self._round_ends_ms, self._coordinate_at_ms, self._propose_at_ms, self._voice.at_ms
        )

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
        if _is_over(self._voice.at_ms, now_ms):
            self._resend()

    def work_waits(self, now_ms: int) -> None:
        """Transactions wait here."""
        due_ms = max(self._start.due_ms, now_ms)
        if self._propose_at_ms is not None:
            self._propose_at_ms = min(self._propose_at_ms, due_ms)
        if self.round == 0 and self._round_ends_ms is not None:
            length_ms = timeout_ms(self._setup.base_timeout_ms, self._start.doublings)
            self._round_ends_ms = min(self._round_ends_ms, due_ms + length_ms)

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
            self._voice.say(Proposal(block, seal), self._now_ms)
            self._judged(candidate, is_licit=True)

    def judge(self, block_hash: bytes, is_licit: bool, now_ms: int) -> None:
        """What a block of Ready.check turned out to be."""
        self._now_ms = now_ms
        candidate = self._blocks.get(block_hash)
        if candidate and candidate.is_licit is None:
            self._judged(candidate, is_licit)

    def glance(self, header: Header, proof: Vote | Certificate | None) -> Fate:
        """What a block of this height is worth, by its seal or C-certificate, before the rest of it is read.

        TAKEN: read it.
        """
        block_hash = header.block_hash
        if isinstance(proof, Certificate):
            if proof.block_hash != block_hash or not self._signatures.certifies(proof, Phase.COMMIT):
                return Fate.FORGED
            return Fate.DUPLICATE if block_hash in self._blocks else Fate.TAKEN
        if block_hash in self._blocks:
            return Fate.DUPLICATE
        is_vouched = self._is_vouched(block_hash)
        if proof is None:
            return Fate.TAKEN if is_vouched else Fate.UNASKED
        if not self._setup.is_seal_of(proof, header):
            return Fate.FOREIGN
        if not self._signatures.holds(proof):
            return Fate.FORGED
        return Fate.EQUIVOCATION if self._blocks.is_full and not is_vouched else Fate.TAKEN

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
            self._voice.ask(vote.block_hash, sender, self._now_ms)
        if known:
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
        fate = self.glance(header, seal)
        if fate not in (Fate.TAKEN, Fate.EQUIVOCATION):
            return fate
        if seal and (other := self._blocks.sealed()):
            self._accuse(other, seal)
            self._on_second_proposal()
        if fate == Fate.EQUIVOCATION:
            return fate
        candidate = self._blocks.add(block, seal)
        if self._final and self._final.block_hash == header.block_hash:
            self._decide(self._final, is_own_count=False)
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
        self._decide(certificate, is_own_count=False)
        if not self.decided:
            self._voice.ask(certificate.block_hash, sender, self._now_ms)
        return Fate.TAKEN

    def _on_want(self, sender: bytes, message: WantBlock) -> Fate:
        candidate = self._blocks.get(message.block_hash)
        if candidate and message.block_hash != self._blocks.impeachment_hash:
            self._voice.send(sender, Proposal(candidate.block, candidate.seal))
        return Fate.TAKEN


def _is_over(time_ms: int | None, now_ms: int) -> bool:
    return time_ms is not None and time_ms <= now_ms
