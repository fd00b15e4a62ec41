"""The first meeting of a gateway and a device that does curves: EDHOC, and the pairing that both keep of it.

Runs on CPython.  The gateway is the initiator.  Its static key comes from gateway.key by a label of its own;
the device has been told it beside its helper data, and the gateway has the device's from its document on the
chain.  Message_4 is wanted: the device keeps the new pairing before it sends it, the gateway once it has
come.  What is lost between the two is made good by another first meeting.
Source: RFC 9528, method 3; `puf.edhoc`.
"""

from dataclasses import dataclass

from puf import did_document, edhoc_credential, keys
from puf.did import X25519, did_cpc
from puf.ed25519 import SigningKey
from puf.edhoc import DONE, Endpoint, Identity, Initiator, Responder, known
from puf.edhoc_credential import Credential
from puf.edhoc_keys import RESUMPTION
from puf.errors import EdhocError
from puf.fast_path_keys import Pairing
from puf.x25519 import PrivateKey

GATEWAY_KID, DEVICE_KID = b"\x01", b"\x02"
"""Each knows only the other here; one byte names it."""
CONNECTION_ID = b"\x00"


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


def initiator(gateway: Party, device: Credential, ephemeral: bytes) -> Initiator:
    """The gateway's side.  ephemeral: 32 random bytes, never used before."""
    return Initiator(gateway.identity, known(device), CONNECTION_ID, ephemeral, has_message_4=True)


def responder(device: Party, gateway: Credential, ephemeral: bytes) -> Responder:
    """The device's side.  ephemeral: 32 random bytes, never used before."""
    return Responder(device.identity, known(gateway), CONNECTION_ID, ephemeral, has_message_4=True)


def pairing_of(endpoint: Endpoint, gateway: bytes, device: bytes) -> Pairing:
    """What both keep of a handshake that is done; gateway, device: their names.  Raises EdhocError before."""
    if endpoint.state != DONE or endpoint.session is None:
        raise EdhocError(f"there is nothing to keep: the handshake is {endpoint.state}")
    return Pairing(gateway, device, endpoint.session.exporter(RESUMPTION))


def _party(did: bytes, kid: bytes, seed: bytes) -> Party:
    return Party(did, Identity(edhoc_credential.make(PrivateKey(seed).public, kid, did_cpc(did)), seed))
