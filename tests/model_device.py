"""`python -m tests.model_device`: check the models of the handshakes in puf/spec with TLC.

Runs on CPython, with any Java from 11 on.  As tests/model.py does for consensus: each case is a configuration
file of puf/spec with a few constants changed, and what TLC must say of it.  A check that is switched off must
break a property, else the model would not notice that the check is missing.

    python -m tests.model_device                  every case (a minute)
    python -m tests.model_device fast-path        the named ones

Exit status 1 when TLC says something else than expected.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.model import Case, check, leave, options_of

SPEC = Path(__file__).resolve().parent.parent / "puf" / "spec"


def _holds(name: str, says: str, module: str, states: int, **changes: str) -> Case:
    return Case(name, says, module, changes, states=states, folder=SPEC)


def _without(name: str, says: str, module: str, breaks: str, **changes: str) -> Case:
    return Case(name, says, module, changes, invariants=breaks, breaks=breaks, folder=SPEC)


CASES = (
    _holds("fast-path", "mutual agreement holds: two visits, three doors", "FastPath", 49_979),
    _holds("one-door", "the same, but for one door of B", "FastPath", 3_380, ToB="{b1}"),
    _without(
        "own-nonce-2",
        "the initiator does not look for its nonce: a replayed message 2",
        *("FastPath", "InitiatorAgrees"),
        CHECKS_OWN_2="FALSE",
    ),
    _without(
        "own-nonce-3",
        "the responder does not look for its nonce: a replayed visit opens",
        *("FastPath", "ResponderAgrees"),
        CHECKS_OWN_3="FALSE",
    ),
    _without(
        "peer-nonce",
        "neither looks for the other's nonce: they do not mean the same meeting",
        *("FastPath", "InitiatorAgrees"),
        CHECKS_PEERS="FALSE",
    ),
    _without(
        "labels", "tags do not say whose they are: a mirror", "FastPath", "InitiatorAgrees", LABELS="FALSE"
    ),
    _holds("epochs", "they find each other again, and old keys are gone", "FastPathEpochs", 21_188),
    _without(
        "looks-ahead",
        "the lock knows one name only: lost after a lost message 3",
        *("FastPathEpochs", "FindEachOther"),
        LOOKS_AHEAD="FALSE",
    ),
    _without(
        "steps",
        "the lock steps with message 3 only: lost after two lost ones",
        *("FastPathEpochs", "FindEachOther"),
        STEPS="FALSE",
    ),
    _without(
        "saves-first",
        "the car saves after it sent: lost after a power cut",
        *("FastPathEpochs", "FindEachOther"),
        SAVES_FIRST="FALSE",
    ),
    _without(
        "overwrites",
        "old keys are kept: a theft opens what was said before",
        *("FastPathEpochs", "ForwardSecrecy"),
        OVERWRITES="FALSE",
    ),
    _holds("edhoc", "mutual agreement holds: two visits, three doors", "Edhoc", 1_708),
    _without(
        "own-key-2",
        "the initiator's new key is not under MAC_2: a replay",
        *("Edhoc", "InitiatorAgrees"),
        CHECKS_OWN_2="FALSE",
    ),
    _without(
        "own-key-3",
        "the responder's new key is not under MAC_3: a replay",
        *("Edhoc", "ResponderAgrees"),
        CHECKS_OWN_3="FALSE",
    ),
    _without(
        "proves-r",
        "MAC_2 needs no long-term key: anybody is the device",
        *("Edhoc", "InitiatorAgrees"),
        PROVES_R="FALSE",
    ),
    _without(
        "proves-i",
        "MAC_3 needs no long-term key: anybody is the visitor",
        *("Edhoc", "ResponderAgrees"),
        PROVES_I="FALSE",
    ),
    _without(
        "ephemeral",
        "the session has no new keys: a theft opens what was said before",
        *("Edhoc", "Secrecy"),
        EPHEMERAL="FALSE",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is asked for, a line each; 0 when all is as expected."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model_device", description="Check the models of the handshakes."
    )
    options = options_of(parser, CASES, arguments)
    return check([case for case in CASES if case.name in options.names], options.workers)


if __name__ == "__main__":
    leave(main)
