"""Who a gateway and a device are to each other in a first meeting; how they meet is in tests/devices."""

import pytest

from gateway.first_meeting import device_credential, device_party, gateway_party
from puf import did_document
from puf.did import ED25519, X25519
from puf.did_document import AGREEMENT, AUTHENTICATION, INVOCATION
from puf.ed25519 import SigningKey
from puf.x25519 import PrivateKey

GATEWAY = gateway_party(SigningKey(bytes([1]) * 32), bytes([11]) * 32)
DEVICE = device_party(bytes([2]) * 32, bytes([12]) * 32)


def test_each_is_named_by_one_byte_and_by_another_key() -> None:
    assert (GATEWAY.credential.kid, DEVICE.credential.kid) == (b"\x01", b"\x02")
    assert GATEWAY.credential.public != DEVICE.credential.public
    assert gateway_party(SigningKey(bytes([3]) * 32), GATEWAY.did).credential != GATEWAY.credential


def test_the_gateway_finds_the_key_of_a_device_in_its_document() -> None:
    public = DEVICE.credential.public
    signing = did_document.Key(ED25519, AUTHENTICATION | INVOCATION, SigningKey(bytes([7]) * 32).public)
    strong = did_document.make([signing, did_document.Key(X25519, AGREEMENT, public)])
    assert device_credential(strong.encode(), DEVICE.did) == DEVICE.credential
    with pytest.raises(ValueError, match="does no curves"):
        device_credential(did_document.make([signing]).encode(), DEVICE.did)


def test_no_party_shows_its_private_key() -> None:
    seed = DEVICE.identity.private()
    assert PrivateKey(seed).public == DEVICE.credential.public
    assert seed.hex() not in repr(DEVICE)
    assert repr(seed) not in repr(DEVICE)
