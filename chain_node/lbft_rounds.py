"""LBFT 2.0 at one height: rounds, votes and certificates, and what follows from them.

Runs on CPython; pure.  Only what is genuine gets here (lbft_height.py); duties are left in `duties`.
Read `_enter_round`, `_count_vote`, `_try_prepare` and `_try_commit` first, then the rules.
"""

from collections.abc import Sequence

from chain_node import quorum
from chain_node.block import NO_BLOCK, Certificate, Phase, Vote
from chain_node.kept import Kept
from chain_node.lbft_blocks import Candidate, Candidates
from chain_node.lbft_ready import Decided, Duties, Equivocation, Height, Setup
from chain_node.lbft_restore import stand
from chain_node.lbft_states import NEXT, Cause, State, timeout_ms
from chain_node.lbft_tally import Tally
from chain_node.lbft_voice import Voice
from chain_node.messages import Ballot

ROUNDS_KEPT = 8
"""Votes are kept of this many rounds before the current one, and as many after it."""


class Rounds:
    """The protocol at one height of one node.

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
        self.is_own_count = False
        """Whether it was we who counted the votes that ended it, and nobody showed us their certificate."""
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
        self._voice = Voice(duties, self.height, setup.resend_ms)
        self._round_ends_ms: int | None = None
        self._coordinate_at_ms: int | None = None
        self._propose_at_ms: int | None = None
        self._restore(kept)
        due_ms = start.due_ms if start.has_work else start.latest_ms
        if public == setup.schedule.proposer(self.height) and not self._voice.proposal:
            self._propose_at_ms = due_ms
        if self._me is not None and self.round == 0:
            self._round_ends_ms = due_ms + timeout_ms(setup.base_timeout_ms, start.doublings)

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
                self._decide(certificate, is_own_count=True)
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
            self._voice.ask(best.block_hash, None, self._now_ms)
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
        self._voice.drop_ballots()
        if round_ == 1:
            self._prepare(self._value())
        else:
            self._voice.say(Ballot(self._sign(Phase.ROUND, NO_BLOCK), self.best), self._now_ms)
            self._see(self._me, round_)
            # Its coordinator may have been here before us.
            self._try_prepare()

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
        if self.round in self._coordinated or (self.best and self.best.round >= self.round):
            return
        block_hash = self._value()
        self._coordinated[self.round] = (block_hash, self.best.round if self.best else -1)
        self._cast(Phase.COORDINATE, block_hash, self.best)

    def _decide(self, certificate: Certificate, *, is_own_count: bool) -> None:
        """A C-certificate that holds: its block is final, in whatever state we are."""
        candidate = self._blocks.get(certificate.block_hash)
        if candidate is None:
            self._final = certificate
            return
        self._move(Cause.C_CERTIFICATE)
        lost = tuple(block for block in self._blocks.proposals() if block is not candidate.block)
        self.is_own_count = is_own_count
        self.decided = self.duties.decided = Decided(candidate.block, certificate, lost)
        self._round_ends_ms = self._coordinate_at_ms = None
        self._propose_at_ms = self._voice.at_ms = None

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
        self._voice.say(Ballot(vote, certificate), self._now_ms)
        assert self._me is not None  # noqa: S101 - only validators vote
        self._count_vote(self._me, vote)

    def _resend(self) -> None:
        certified = [each.block_hash for each in (self._final, self.best) if each]
        self._voice.resend([name for name in certified if name not in self._blocks], self._now_ms)

    def _restore(self, kept: Sequence[Kept]) -> None:
        """Stand where we stood before the restart: rule 4."""
        standing = stand(kept)
        self.round, self.state, self.best = standing.round, standing.state, standing.best
        self.locked_round, self._coordinated = standing.locked_round, standing.coordinated
        self._has_prepared, self._has_committed = standing.has_prepared, standing.has_committed
        self._blocks.update(standing.blocks)
        for message in standing.messages:
            self._voice.say(message, self._now_ms)
        if self._me is None:
            return
        # What follows from them follows again; alone in a committee, that is everything.
        for vote in standing.votes:
            if not self.decided:
                self._count_vote(self._me, vote)
        proposed = self._voice.proposal
        if proposed and not (self.decided or self._has_prepared or self.round):
            self._prepare(proposed.block.header.block_hash, Cause.PROPOSAL)
        self._try_commit()
