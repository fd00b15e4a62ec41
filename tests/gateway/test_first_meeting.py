"""A gateway and a device meet by EDHOC: both keep one pairing, strangers none, and a cut is made good."""

from pathlib import Path

import pytest

from gateway.first_meeting import (
    Party,
    device_credential,
    device_party,
    gateway_party,
    initiator,
    pairing_of,
    responder,
)
from gateway.simulated_device import FileSlots, PairingFlash
from puf import did_document
from puf.did import ED25519, X25519
from puf.did_document import AGREEMENT, AUTHENTICATION, INVOCATION
from puf.ed25519 import SigningKey
from puf.edhoc import Endpoint
from puf.errors import EdhocError, NotesError
from puf.fast_path_keys import Pairing
from puf.notes import Notes
from puf.x25519 import PrivateKey

GATEWAY = gateway_party(SigningKey(bytes([1]) * 32), bytes([11]) * 32)
DEVICE = device_party(bytes([2]) * 32, bytes([12]) * 32)


def meet(gateway: Party = GATEWAY, device: Party = DEVICE, cut: int = 4) -> tuple[Endpoint, Endpoint]:
    ours = initiator(GATEWAY, DEVICE.credential, bytes([3]) * 32)
    theirs = responder(device, gateway.credential, bytes([4]) * 32)
    message, count = ours.start(), 1
    while message and count <= cut:
        message = (theirs if count % 2 else ours).receive(message)
        count += 1
    return ours, theirs


def test_both_keep_one_pairing_under_their_names() -> None:
    kept = [pairing_of(side, GATEWAY.did, DEVICE.did) for side in meet()]
    assert kept[0].encode() == kept[1].encode()
    assert (kept[0].initiator, kept[0].responder, kept[0].epoch) == (GATEWAY.did, DEVICE.did, 0)


def test_a_device_that_was_told_of_another_gateway_answers_no_further() -> None:
    other = gateway_party(SigningKey(bytes([5]) * 32), GATEWAY.did)
    with pytest.raises(EdhocError, match="did not prove"):
        meet(gateway=other)


def test_another_chip_is_not_the_device() -> None:
    with pytest.raises(EdhocError, match="did not prove"):
        meet(device=device_party(bytes([6]) * 32, DEVICE.did))


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_who_has_not_seen_the_end_keeps_nothing(cut: int) -> None:
    ours, theirs = meet(cut=cut)
    with pytest.raises(EdhocError, match="nothing to keep"):
        pairing_of(ours, GATEWAY.did, DEVICE.did)
    if cut < 3:
        with pytest.raises(EdhocError, match="nothing to keep"):
            pairing_of(theirs, GATEWAY.did, DEVICE.did)


def test_the_gateway_finds_the_key_of_a_device_in_its_document() -> None:
    public = DEVICE.credential.public
    signing = did_document.Key(ED25519, AUTHENTICATION | INVOCATION, SigningKey(bytes([7]) * 32).public)
    strong = did_document.make([signing, did_document.Key(X25519, AGREEMENT, public)])
    assert device_credential(strong.encode(), DEVICE.did) == DEVICE.credential
    with pytest.raises(ValueError, match="does no curves"):
        device_credential(did_document.make([signing]).encode(), DEVICE.did)


def test_what_a_device_keeps_in_flash_shows_no_key_and_opens_with_its_own_silicon_only(
    tmp_path: Path,
) -> None:
    pairing = Pairing(GATEWAY.did, DEVICE.did, bytes(range(32)))

    def flash(key: bytes) -> PairingFlash:
        return PairingFlash(Notes(FileSlots(tmp_path, "pairing"), bytes(32), "pairing"), key)

    assert flash(bytes([8]) * 32).is_empty
    flash(bytes([8]) * 32).write(pairing)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert kept
    assert pairing.key not in kept
    assert flash(bytes([8]) * 32).read().encode() == pairing.encode()
    with pytest.raises(NotesError, match="meet by the full handshake"):
        flash(bytes([9]) * 32).read()


def test_no_party_shows_its_private_key() -> None:
    seed = DEVICE.identity.private()
    assert PrivateKey(seed).public == DEVICE.credential.public
    assert seed.hex() not in repr(DEVICE)
    assert repr(seed) not in repr(DEVICE)
