"""What a board is given beside its firmware, all of it public: who it is, and whom it obeys.

Runs on CPython and MicroPython.  `cpc device provision` writes it; the board has it as /provision.cbor.

    << ["cpc/provision", 1, role, name, helper, gateway, device, signer, publisher, gateway CCS, device CCS,
        settings] >>

`role`: text, lock, charger or sensor; `name`: text, what the operator calls it, for its log; `helper`:
signed helper data (puf/helper_signature.py); `gateway`, `device`: 32 bytes, names on the chain; `signer`: 32
bytes, the gateway's Ed25519 key; `publisher`: 32 bytes, the key that signs firmware, or empty: it takes no
updates; the CCS: credentials for EDHOC (puf/edhoc_credential.py), both empty for a
device that does no curves; `settings`: {name: value}, as devices/micropython/settings.py has them.

Nothing here is secret, but who can write it chooses the gateway that the board will obey: so does who can
write the firmware.
"""

from collections import namedtuple

from devices.micropython.errors import ProvisionError
from puf import cbor
from puf.errors import DecodeError

SCHEME = "cpc/provision"
VERSION = 1
SIZE_MAX = 12_288
_TYPES = (str, str, bytes, bytes, bytes, bytes, bytes, bytes, bytes, dict)


class Provision(
    namedtuple(
        "Provision",
        (
            "role",
            "name",
            "helper",
            "gateway",
            "device",
            "signer",
            "publisher",
            "gateway_ccs",
            "device_ccs",
            "settings",
        ),
    )
):
    """See the head of this file."""

    __slots__ = ()
    KIND = "provision"

    def encode(self) -> bytes:
        """The file."""
        return cbor.encode([SCHEME, VERSION] + list(self))  # noqa: RUF005  MicroPython unpacks no lists in lists


def decode(data: bytes) -> Provision:
    """The file's content.  Raises ProvisionError."""
    try:
        items = cbor.decode(data, SIZE_MAX, 2)
    except DecodeError as error:
        raise ProvisionError(f"not a provisioning file: {error}") from None
    if not isinstance(items, list) or items[:2] != [SCHEME, VERSION] or type(items[1]) is not int:
        raise ProvisionError(f"not a provisioning file of version {VERSION}")
    fields = items[2:]
    if tuple([type(field) for field in fields]) != _TYPES:
        raise ProvisionError("a provisioning file with other fields than it must have")
    made = Provision(*fields)
    if len(made.gateway) != 32 or len(made.device) != 32 or len(made.signer) != 32:
        raise ProvisionError("names on the chain and keys have 32 bytes")
    if len(made.publisher) not in (0, 32) or bool(made.gateway_ccs) != bool(made.device_ccs):
        raise ProvisionError(
            "a publisher's key has 32 bytes, and credentials are there on both sides or none"
        )
    return made
