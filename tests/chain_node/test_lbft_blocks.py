"""The blocks that a height may end in."""

from chain_node.lbft_blocks import SEALED_MAX, Candidates
from tests.chain_node.lbft_committee import Committee


def candidates(committee: Committee) -> Candidates:
    return Candidates(committee._impeachment(committee["v0"]))


def test_the_impeachment_block_is_there_from_the_start_licit_and_no_proposal() -> None:
    committee = Committee()
    blocks = candidates(committee)
    assert list(blocks) == [committee.impeachment("v0")]
    candidate = blocks[committee.impeachment("v0")]
    assert (candidate.is_licit, candidate.is_kept, candidate.seal) == (True, True, None)
    assert candidate.block_hash == committee.impeachment("v0")
    assert blocks.proposals() == []
    assert blocks.sealed() is None


def test_an_added_block_is_not_judged_yet_and_the_first_seal_is_found_again() -> None:
    committee = Committee()
    blocks = candidates(committee)
    vouched, first, second = (committee.sealed("p", salt) for salt in range(3))
    added = blocks.add(vouched.block, None)
    assert (added.is_licit, added.is_kept) == (None, False)
    assert blocks.sealed() is None
    blocks.add(first.block, first.seal)
    blocks.add(second.block, second.seal)
    assert blocks.sealed() == first.seal
    assert blocks.proposals() == [vouched.block, first.block, second.block]
    assert blocks[first.block.header.block_hash].block == first.block


def test_only_sealed_blocks_count_towards_the_bound() -> None:
    committee = Committee()
    blocks = candidates(committee)
    for salt in range(5):
        blocks.add(committee.sealed("p", salt).block, None)
    fullness = []
    for salt in range(SEALED_MAX):
        fullness.append(blocks.is_full)
        proposal = committee.sealed("p", 10 + salt)
        blocks.add(proposal.block, proposal.seal)
    assert (fullness, blocks.is_full) == ([False] * SEALED_MAX, True)
