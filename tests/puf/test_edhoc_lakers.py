"""Whole handshakes with a foreign EDHOC: lakers, in Rust, which speaks suite 2 (P-256) and method 3.

All but the curve is what a device runs: messages, credentials, EAD, key schedule, AES-CCM, exporter.
"""

from typing import Any

import pytest

from puf import edhoc, edhoc_credential
from puf.edhoc import Identity, Initiator, Responder
from puf.edhoc_keys import Session
from puf.edhoc_messages import Ead
from puf.errors import EdhocError
from tests.puf.edhoc_vectors import SUITE_2

lakers = pytest.importorskip("lakers", reason="no lakers-python here; it has wheels for Linux only")

KEY_I, KEY_R = bytes([7]) * 32, bytes([8]) * 32
PUBLIC_I, PUBLIC_R = SUITE_2.public_of(KEY_I), SUITE_2.public_of(KEY_R)
# Of a suite with two coordinates x alone is needed, and lakers takes it so.
CRED_I = edhoc_credential.make(PUBLIC_I, b"\x2b", "vehicle", SUITE_2)
CRED_R = edhoc_credential.make(PUBLIC_R, b"\x32", "lock", SUITE_2)
EAD = {1: (Ead(1000, b"one", False),), 3: (Ead(1001, None, True), Ead(0, b"padding", False))}


def _theirs(credential: edhoc_credential.Credential) -> Any:
    return lakers.Credential(credential.ccs, public_key=credential.public, kid=credential.kid)


def _transfer(by_value: bool) -> Any:
    return lakers.CredentialTransfer.ByValue if by_value else lakers.CredentialTransfer.ByReference


def _seen(items: list[Any]) -> list[tuple[int, bytes | None, bool]]:
    return [(item.label(), item.value(), item.is_critical()) for item in items]


@pytest.mark.parametrize("by_value", [False, True])
def test_our_vehicle_opens_their_lock(by_value: bool) -> None:
    ours = Initiator(
        Identity(CRED_I, KEY_I, by_value),
        edhoc.known(CRED_R),
        b"\x0e",
        bytes([3]) * 32,
        (SUITE_2,),
        EAD,
        (1000,),
        has_message_4=True,
    )
    theirs = lakers.EdhocResponder(KEY_R, _theirs(CRED_R))
    c_i, ead_1 = theirs.process_message_1(ours.start())
    assert (c_i, _seen(ead_1)) == (b"\x0e", [(1000, b"one", False)])
    message_2 = theirs.prepare_message_2(
        _transfer(by_value), None, [lakers.EADItem(1000, True, b"two"), lakers.EADItem(5, False, None)]
    )
    message_3 = ours.receive(message_2)
    assert ours.received[2] == (Ead(1000, b"two", True),)
    id_cred_i, ead_3 = theirs.parse_message_3(message_3)
    assert _seen(ead_3) == [(1001, None, True), (0, b"padding", False)]
    theirs.verify_message_3(lakers.credential_check_or_fetch(id_cred_i, _theirs(CRED_I)))
    assert ours.receive(theirs.prepare_message_4()) == b""
    assert ours.session is not None
    _compare(ours.session, theirs)


@pytest.mark.parametrize("by_value", [False, True])
def test_their_vehicle_opens_our_lock(by_value: bool) -> None:
    ours = Responder(
        Identity(CRED_R, lambda: KEY_R, by_value),
        edhoc.known(CRED_I),
        b"\x27",
        bytes([4]) * 32,
        (SUITE_2,),
        {2: (Ead(7, b"", False),), 4: (Ead(8, b"four", True),)},
        (1000,),
        has_message_4=True,
    )
    theirs = lakers.EdhocInitiator()
    message_2 = ours.receive(theirs.prepare_message_1(b"\x0f", [lakers.EADItem(1000, True, b"one")]))
    assert ours.received[1] == (Ead(1000, b"one", True),)
    c_r, id_cred_r, ead_2 = theirs.parse_message_2(message_2)
    assert (c_r, _seen(ead_2)) == (b"\x27", [(7, b"", False)])
    theirs.verify_message_2(
        KEY_I, _theirs(CRED_I), lakers.credential_check_or_fetch(id_cred_r, _theirs(CRED_R))
    )
    message_3, _ = theirs.prepare_message_3(_transfer(by_value), [])
    assert _seen(theirs.process_message_4(ours.receive(message_3))) == [(8, b"four", True)]
    assert ours.session is not None
    assert ours.session.peer == CRED_I
    _compare(ours.session, theirs)


def _compare(session: Session, theirs: Any) -> None:
    context = b"meeting 1"
    # From 24 up lakers 0.6 writes a label as that byte alone, which is no CBOR integer.
    assert session.exporter(0, b"", 16) == theirs.edhoc_exporter(0, b"", 16)
    assert session.exporter(20, context, 48) == theirs.edhoc_exporter(20, context, 48)
    theirs.edhoc_key_update(context)
    session.key_update(context)
    assert session.exporter(1, b"", 8) == theirs.edhoc_exporter(1, b"", 8)


def test_both_refuse_what_the_other_damaged() -> None:
    ours = Initiator(Identity(CRED_I, KEY_I), edhoc.known(CRED_R), b"\x0e", bytes([3]) * 32, (SUITE_2,))
    theirs = lakers.EdhocResponder(KEY_R, _theirs(CRED_R))
    theirs.process_message_1(ours.start())
    message_2 = theirs.prepare_message_2(_transfer(False), None, [])
    with pytest.raises(EdhocError, match="message_2: "):
        ours.receive(message_2[:-1] + bytes((message_2[-1] ^ 1,)))
