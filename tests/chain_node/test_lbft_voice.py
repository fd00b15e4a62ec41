"""What a node says is said again until the height is decided; what it asks for is asked in measure."""

from chain_node.block import Phase
from chain_node.lbft_ready import Duties
from chain_node.lbft_voice import ASKED_MAX, Voice
from chain_node.messages import WantBlock
from tests.chain_node.lbft_committee import Committee


def voice() -> tuple[Voice, Duties]:
    duties = Duties()
    return Voice(duties, 5, resend_ms=100), duties


def test_what_is_said_goes_to_everybody_now_and_again() -> None:
    speaker, duties = voice()
    committee = Committee()
    proposal, ballot = committee.sealed("p"), committee.ballot("v0", Phase.PREPARE, 0, bytes(32))
    speaker.say(proposal, 1_000)
    speaker.say(ballot, 1_050)
    assert duties.take().send == ((None, proposal), (None, ballot))
    assert (speaker.at_ms, speaker.proposal) == (1_100, proposal)
    speaker.resend([bytes(32)], 1_120)
    assert duties.take().send == ((None, proposal), (None, ballot), (None, WantBlock(5, bytes(32))))
    assert speaker.at_ms == 1_220


def test_in_another_round_the_proposal_is_said_again_and_ballots_are_not() -> None:
    speaker, duties = voice()
    committee = Committee()
    proposal, ballot = committee.sealed("p"), committee.ballot("v0", Phase.PREPARE, 0, bytes(32))
    speaker.say(proposal, 0)
    speaker.say(ballot, 0)
    duties.take()
    speaker.drop_ballots()
    speaker.resend([], 100)
    assert duties.take().send == ((None, proposal),)


def test_what_is_sent_is_sent_once() -> None:
    speaker, duties = voice()
    speaker.send(b"peer", WantBlock(5, bytes(32)))
    assert duties.take().send == ((b"peer", WantBlock(5, bytes(32))),)
    assert speaker.at_ms is None


def test_a_block_is_asked_for_once_in_a_while() -> None:
    speaker, duties = voice()
    names = [bytes([number]) * 32 for number in range(2)]
    speaker.ask(names[0], b"one", 1_000)
    speaker.ask(names[0], b"two", 1_099)
    speaker.ask(names[1], None, 1_099)
    speaker.ask(names[0], b"three", 1_099)
    assert duties.take().send == ((b"one", WantBlock(5, names[0])), (None, WantBlock(5, names[1])))
    assert speaker.at_ms == 1_100
    speaker.ask(names[0], b"two", 1_100)
    assert duties.take().send == ((b"two", WantBlock(5, names[0])),)


def test_a_bounded_number_of_questions_is_remembered() -> None:
    speaker, _ = voice()
    for number in range(3 * ASKED_MAX + 1):
        speaker.ask(number.to_bytes(32), None, 0)
        assert len(speaker._asked_ms) <= ASKED_MAX
