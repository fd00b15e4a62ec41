"""A gateway and the simulated chips that it has enrolled, without a chain: what stories about links need.

Runs on CPython.  Enrolment itself is tested elsewhere; here it is what a trusted place leaves behind.
"""

import functools
import hashlib
import os
from dataclasses import dataclass, field

from devices.micropython.provision import Provision
from gateway.device_link import Callee, Caller
from gateway.first_meeting import Party, device_party, gateway_party
from puf import helper_signature, keys
from puf.ed25519 import SigningKey
from puf.fast_path_keys import Pairing
from puf.fuzzy_extractor import enrol, secret_bytes
from puf.grant import Grant, answer_time, issue
from puf.helper_data import HelperData
from puf.puf_simulator import SimulatedChip


def _name(text: str) -> bytes:
    return hashlib.sha256(b"name " + text.encode()).digest()


@functools.cache
def _enrolled(chip: str) -> tuple[HelperData, bytes]:
    silicon = SimulatedChip(chip.encode())
    secret = hashlib.sha512(b"secret " + chip.encode()).digest()[: secret_bytes(128)]
    return enrol([silicon.read() for _ in range(3)], secret, silicon.address)


@dataclass
class Enrolled:
    """A device as its gateway knows it."""

    name: str
    party: Party
    provision: bytes
    root: bytes
    pairing: Pairing
    """Of the last meeting; at first what enrolment left."""

    @property
    def callee(self) -> Callee:
        return Callee(self.party.did, self.party.credential)


@dataclass
class Gateway:
    """Who enrolled the devices, and makes grants for them."""

    name: str = "gateway"
    devices: dict[str, Enrolled] = field(default_factory=dict)
    grant_count: int = 0

    @functools.cached_property
    def key(self) -> SigningKey:
        return SigningKey(_name("key of " + self.name))

    @functools.cached_property
    def party(self) -> Party:
        return gateway_party(self.key, _name(self.name))

    @property
    def caller(self) -> Caller:
        return Caller(self.party.did, self.party.identity)

    def enrol(self, name: str, role: str, chip: str = "") -> Enrolled:
        """A board with this chip (its own name, where nothing is said) is this gateway's from now on."""
        helper, root = _enrolled(chip or name)
        did = _name(name)
        party = device_party(root, did)
        provision = Provision(
            role,
            name,
            helper_signature.sign(helper, self.key),
            self.party.did,
            did,
            self.key.public,
            b"",
            self.party.credential.ccs,
            party.credential.ccs,
            {"board": "simulated"},
        )
        secret = keys.derive(keys.pairwise(root, self.party.did, 0), keys.FAST_PATH)
        made = Enrolled(name, party, provision.encode(), root, Pairing(self.party.did, did, secret))
        self.devices[name] = made
        return made

    def grant(
        self,
        device: Enrolled,
        subject: bytes,
        action: int,
        now_ms: int,
        epoch: int = 0,
        duration_ms: int = 600_000,
    ) -> bytes:
        """A grant for whoever has this name."""
        self.grant_count += 1
        key = keys.derive(keys.pairwise(device.root, self.party.did, epoch), keys.GRANT)
        begin_ms = now_ms - 60_000
        return issue(
            Grant(
                self.grant_count,
                subject,
                device.party.did,
                action,
                begin_ms,
                begin_ms + duration_ms,
                b"\xee" * 32,
                5,
                epoch,
            ),
            self.party.did,
            key,
        )

    def tell_time(self, device: Enrolled, question: bytes, now_ms: int, epoch: int = 0) -> bytes:
        """The answer to a device that asks for the time."""
        key = keys.derive(keys.pairwise(device.root, self.party.did, epoch), keys.GRANT)
        return answer_time(question, self.party.did, device.party.did, key, epoch, now_ms)[0]


def visitor(name: str) -> Caller:
    """A car: its name is its public key."""
    party = gateway_party(SigningKey(_name("key of " + name)), _name(name))
    return Caller(party.credential.public, party.identity)


def random_bytes(size: int) -> bytes:
    return os.urandom(size)
