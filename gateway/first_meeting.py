"""Who a gateway and its devices are to each other in a first meeting: their static keys, as credentials.

Runs on CPython.  The gateway is the initiator of EDHOC (gateway/device_link.py).  Its static key comes from
gateway.key by a label of its own; the device has been told it beside its helper data, and the gateway has the
device's from its document on the chain.  Source: RFC 9528, method 3; puf/edhoc.py.
"""

from dataclasses import dataclass

from puf import did_document, edhoc_credential, keys
from puf.did import X25519, did_cpc
from puf.ed25519 import SigningKey
from puf.edhoc import Identity
from puf.edhoc_credential import Credential
from puf.x25519 import PrivateKey

GATEWAY_KID, DEVICE_KID = b"\x01", b"\x02"
"""Each knows only the other here; one byte names it."""


@dataclass(frozen=True, slots=True)
class Party:
    """One side.  Printing it shows no private key."""

    did: bytes
    """Its name on the chain, 32 bytes."""
    identity: Identity

    @property
    def credential(self) -> Credential:
        """What the other side has to know."""
        return self.identity.credential


def gateway_party(key: SigningKey, did: bytes) -> Party:
    """The gateway with this key and name."""
    return _party(did, GATEWAY_KID, keys.derive(key.seed, keys.EDHOC))


def device_party(root: bytes, did: bytes) -> Party:
    """The device with this root and name."""
    return _party(did, DEVICE_KID, keys.derive(root, keys.EDHOC))


def device_credential(document: bytes, did: bytes) -> Credential:
    """Of the device whose first document this is.  Raises ValueError when it does no curves."""
    for key in did_document.decode(document).keys:
        if key.codec == X25519:
            return edhoc_credential.make(key.public, DEVICE_KID, did_cpc(did))
    raise ValueError("its document has no key for an agreement: the device does no curves")


def _party(did: bytes, kid: bytes, seed: bytes) -> Party:
    return Party(did, Identity(edhoc_credential.make(PrivateKey(seed).public, kid, did_cpc(did)), seed))
