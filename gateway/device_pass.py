"""What a visitor is handed: the grant, and whom to show it to.

Runs on CPython.  A file, or a code to be scanned; it lets nobody in but who has the key of its holder:

    << ["cpc/device-pass", 1, name, device, credential, gateway, grant] >>

`name`: text, what to call the device; `device`, `gateway`: 32 bytes, names on the chain; `credential`: the
device's CCS (puf/edhoc_credential.py), by which the visitor knows the device; `grant`: bytes (puf/grant.py).
"""

from dataclasses import dataclass

from gateway.errors import GatewayError
from puf import cbor, edhoc_credential
from puf.edhoc_credential import Credential
from puf.errors import DecodeError

SCHEME = "cpc/device-pass"
VERSION = 1
SIZE_MAX = 2_048


class PassError(GatewayError):
    """The file is no pass for a device."""


@dataclass(frozen=True, slots=True)
class DevicePass:
    """See the head of this file."""

    name: str
    device: bytes
    credential: Credential
    gateway: bytes
    grant: bytes

    def encode(self) -> bytes:
        """The file."""
        ccs = self.credential.ccs
        return cbor.encode([SCHEME, VERSION, self.name, self.device, ccs, self.gateway, self.grant])


def decode(data: bytes) -> DevicePass:
    """The pass that a file holds.  Raises PassError."""
    try:
        items = cbor.decode(data, SIZE_MAX, 1)
        if not isinstance(items, list) or len(items) != 7 or items[:2] != [SCHEME, VERSION]:
            raise DecodeError("it has other parts")
        _, version, name, device, ccs, gateway, grant = items
        if type(version) is not int or not isinstance(name, str) or not isinstance(grant, bytes):
            raise DecodeError("name and grant are text and bytes")
        if not isinstance(device, bytes) or not isinstance(gateway, bytes) or not isinstance(ccs, bytes):
            raise DecodeError("names on the chain and the credential are bytes")
        if len(device) != 32 or len(gateway) != 32:
            raise DecodeError("names on the chain have 32 bytes")
        return DevicePass(name, device, edhoc_credential.parse(ccs), gateway, grant)
    except DecodeError as error:
        raise PassError(f"this is no pass for a device: {error}; ask for it anew: cpc device grant") from None
