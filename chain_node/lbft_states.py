"""LBFT 2.0: the five states of a validator, what moves it between them, and how long it waits.

Runs on CPython; pure.

                proposal               P-certificate
      IDLE ------------------> PREPARE ---------------> COMMIT
       |                          |                        |
       | timeout, join, illicit   | timeout, join,         | timeout, join
       | or second proposal       | second proposal        |
       v                          v                        v
      IMPEACH_PREPARE <------------------------------------'
       |          ^  \\__ timeout, join: the next round
       | P-cert.  | timeout, join
       v          |
      IMPEACH_COMMIT

From every state a C-certificate, counted or shown, leads to IDLE of the next height.  Source: CPChain,
LBFT 2.0; the rounds and their rules: ARCHITECTURE.md, "LBFT that cannot fork".
"""

from enum import IntEnum


class State(IntEnum):
    """Where a validator is at its height.  The first three are of round 0, the others of later rounds."""

    IDLE = 0
    """It waits for the proposer's block."""
    PREPARE = 1
    """It has voted PREPARE for the proposer's block."""
    COMMIT = 2
    """It has seen the P-certificate of the proposer's block, and has voted COMMIT."""
    IMPEACH_PREPARE = 3
    """It has entered an impeachment round, and has not voted COMMIT in it."""
    IMPEACH_COMMIT = 4
    """It has voted COMMIT in an impeachment round."""


class Cause(IntEnum):
    """What moves a validator."""

    PROPOSAL = 0
    """The proposer's block is here, and licit."""
    ILLICIT = 1
    """The proposer's block is here, and is not what it must be."""
    SECOND_PROPOSAL = 2
    """The proposer has sealed two blocks."""
    P_CERTIFICATE = 3
    """A quorum has prepared one block in this round, and the block is here."""
    TIMEOUT = 4
    """The round has lasted too long."""
    JOIN = 5
    """At least one honest validator is in a later round: f + 1 are, or a quorum has prepared in it."""
    C_CERTIFICATE = 6
    """A quorum's COMMIT votes are here, one by one or in a certificate that somebody shows."""


NEXT: dict[tuple[State, Cause], State] = {
    (State.IDLE, Cause.PROPOSAL): State.PREPARE,
    (State.IDLE, Cause.ILLICIT): State.IMPEACH_PREPARE,
    (State.IDLE, Cause.SECOND_PROPOSAL): State.IMPEACH_PREPARE,
    (State.IDLE, Cause.TIMEOUT): State.IMPEACH_PREPARE,
    (State.IDLE, Cause.JOIN): State.IMPEACH_PREPARE,
    (State.IDLE, Cause.C_CERTIFICATE): State.IDLE,
    (State.PREPARE, Cause.P_CERTIFICATE): State.COMMIT,
    (State.PREPARE, Cause.SECOND_PROPOSAL): State.IMPEACH_PREPARE,
    (State.PREPARE, Cause.TIMEOUT): State.IMPEACH_PREPARE,
    (State.PREPARE, Cause.JOIN): State.IMPEACH_PREPARE,
    (State.PREPARE, Cause.C_CERTIFICATE): State.IDLE,
    (State.COMMIT, Cause.TIMEOUT): State.IMPEACH_PREPARE,
    (State.COMMIT, Cause.JOIN): State.IMPEACH_PREPARE,
    (State.COMMIT, Cause.C_CERTIFICATE): State.IDLE,
    (State.IMPEACH_PREPARE, Cause.P_CERTIFICATE): State.IMPEACH_COMMIT,
    (State.IMPEACH_PREPARE, Cause.TIMEOUT): State.IMPEACH_PREPARE,
    (State.IMPEACH_PREPARE, Cause.JOIN): State.IMPEACH_PREPARE,
    (State.IMPEACH_PREPARE, Cause.C_CERTIFICATE): State.IDLE,
    (State.IMPEACH_COMMIT, Cause.TIMEOUT): State.IMPEACH_PREPARE,
    (State.IMPEACH_COMMIT, Cause.JOIN): State.IMPEACH_PREPARE,
    (State.IMPEACH_COMMIT, Cause.C_CERTIFICATE): State.IDLE,
}
"""Every transition there is; any other is a bug, and raises KeyError."""


class Fate(IntEnum):
    """What became of a message; a node counts them."""

    TAKEN = 0
    """It was for this height and new."""
    DUPLICATE = 1
    """It was known already."""
    LATE = 2
    """Its height is decided, or its round too long ago; whoever sent it behind is shown the certificate."""
    EARLY = 3
    """It is for the next height, and is kept for then."""
    FUTURE = 4
    """It is from further ahead: dropped; the missing blocks are asked for from who sent it."""
    FOREIGN = 5
    """Of another chain, or from somebody who has no say here."""
    FORGED = 6
    """A signature, certificate or block does not hold."""
    EQUIVOCATION = 7
    """It contradicts an earlier one of the same signer; both are evidence."""
    UNASKED = 8
    """A block that nobody vouches for, or more than is kept."""


TIMEOUT_DOUBLINGS_MAX = 5
"""A later round waits twice as long as the one before, up to 32 times the first: long enough for any
network that ever delivers in time, short enough to go on soon after an outage."""


def timeout_ms(base_ms: int, round_: int) -> int:
    """How long a round lasts before the next one is tried."""
    return base_ms << min(round_, TIMEOUT_DOUBLINGS_MAX)


def earliest_ms(*times_ms: int | None) -> int | None:
    """The first of these moments that is one.  Asked for after every event, so without a generator."""
    first_ms = None
    for time_ms in times_ms:
        if time_ms is not None and (first_ms is None or time_ms < first_ms):
            first_ms = time_ms
    return first_ms
