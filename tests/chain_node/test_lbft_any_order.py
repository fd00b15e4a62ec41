"""Any order, any loss, any restart, and one who says all it can sign: no fork, no contradiction, no crash.

The simulator does this with clocks, disks and networks; here it is the bare core, with nothing around it.
"""

import random

import pytest

from chain_node.block import NO_BLOCK, Certificate, Phase
from chain_node.messages import Ballot, ConsensusMessage, Validate, WantBlock, WantChain
from tests.chain_node.lbft_committee import SEVEN, TIMEOUT_MS, Committee


class Liar:
    """The last validator and the proposer: they say to anybody whatever they can sign or have seen."""

    def __init__(self, committee: Committee, name: str, random_: random.Random) -> None:
        self.committee, self.name, self.random = committee, name, random_
        self.seen: list[ConsensusMessage] = []
        self.certificates: list[Certificate] = []

    def hear(self, message: ConsensusMessage) -> None:
        """Remember what may be replayed, shown late or taken apart."""
        self.seen.append(message)
        if isinstance(message, Ballot) and message.certificate:
            self.certificates.append(message.certificate)
        if isinstance(message, Validate):
            self.certificates.append(message.certificate)

    def speak(self) -> ConsensusMessage:
        """Something."""
        choose = self.random
        height = len(self.committee["v0"].chain) + choose.choice([0, 1, 1, 1, 1, 2])
        proposals = [self.committee.sealed("p", salt) for salt in range(2)]
        names = [each.block.header.block_hash for each in proposals]
        names += [self.committee.impeachment("v0"), NO_BLOCK, bytes([9]) * 32]
        phase = choose.choice([Phase.PREPARE, Phase.PREPARE, Phase.COMMIT, Phase.ROUND, Phase.COORDINATE])
        shown = choose.choice([None, *self.certificates[-6:]])
        round_ = choose.choice([0, 1, 1, 2, 3, 4, 40])
        block_hash = shown.block_hash if shown and choose.random() < 0.6 else choose.choice(names)
        ballot = self.committee.ballot(self.name, phase, round_, block_hash, shown, max(height, 1))
        other = choose.choice([ballot, *self.seen[-40:]])
        if isinstance(other, Ballot) and choose.random() < 0.5:
            other = Ballot(other.vote, choose.choice([None, shown]))
        options: list[ConsensusMessage] = [ballot, ballot, ballot, other, other, *proposals]
        options += [WantBlock(max(height, 1), block_hash), WantChain(max(height, 1), 3)]
        return choose.choice(options)


def forks(committee: Committee, liar: str) -> list[int]:
    """Heights at which honest members decided differently."""
    found = []
    chains = [member.chain for name, member in committee.members.items() if name != liar]
    for height in range(max(map(len, chains))):
        if len({chain[height].block.header.block_hash for chain in chains if len(chain) > height}) > 1:
            found.append(height + 1)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_one_liar_among_four_or_seven_forks_nothing_and_stops_nothing(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.choice([4, 4, 7])
    committee = Committee(SEVEN[:count])
    honest = [f"v{index}" for index in range(count - 1)]
    liar = Liar(committee, f"v{count - 1}", chance)
    committee.kill(liar.name)
    everybody = [*honest, "p"]
    for _ in range(250):
        event = chance.random()
        if event < 0.45 and committee.table:
            letter = committee.table.pop(chance.randrange(len(committee.table)))
            if letter.receiver == liar.name:
                liar.hear(letter.message)
            elif chance.random() < 0.9:
                committee.hand(letter.receiver, letter.sender, letter.message)
        elif event < 0.7:
            committee.hand(chance.choice(everybody), liar.name, liar.speak())
        elif event < 0.75:
            committee.proposes = chance.random() < 0.5
            committee.wait(chance.choice([10, 100, TIMEOUT_MS, 3 * TIMEOUT_MS]), chance.choice(everybody))
        elif event < 0.78:
            name = chance.choice(everybody)
            committee.kill(name)
            committee.revive(name)
        else:
            committee.deliver(lambda letter: letter.receiver != liar.name and chance.random() < 0.2)
        del committee.table[:-300]
        assert forks(committee, liar.name) == []
    # From now on, everything arrives, and the liar is as loud as before.
    committee.proposes = True
    committee.drop()
    height = max(len(committee[name].chain) for name in honest) + 1
    for _ in range(60):
        for name in honest:
            committee.hand(name, liar.name, liar.speak())
        committee.settle(lambda letter: letter.receiver != liar.name)
        if min(len(committee[name].chain) for name in honest) >= height:
            break
        committee.wait(TIMEOUT_MS)
    assert min(len(committee[name].chain) for name in honest) >= height
    assert forks(committee, liar.name) == []
    cheats = {committee[liar.name].key.public, committee["p"].key.public}
    for name in everybody:
        for evidence in committee[name].evidence:
            assert evidence.first.voter in cheats, "no honest one is ever accused"
            assert evidence.first.block_hash != evidence.second.block_hash
            assert evidence.first.is_genuine()
            assert evidence.second.is_genuine()
