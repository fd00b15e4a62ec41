"""A gateway and the simulated chips that it has enrolled, without a chain: what stories about links need.

Runs on CPython.  Enrolment itself is tested elsewhere; here it is what a trusted place leaves behind.
"""

import functools
import hashlib
import os
from dataclasses import dataclass, field

from devices.micropython import commands
from devices.micropython.provision import Provision
from gateway.device_ble import DeviceClient, Radio
from gateway.device_link import Callee, Caller, PairingStore
from gateway.first_meeting import Party, device_party, gateway_party
from hil.device import Board, Central
from puf import edhoc_credential, helper_signature, keys
from puf.ed25519 import SigningKey
from puf.edhoc import Identity
from puf.fast_path_keys import Pairing
from puf.fuzzy_extractor import enrol, secret_bytes
from puf.grant import CLOSE, OPEN, Grant, answer_time, issue
from puf.helper_data import HelperData
from puf.puf_simulator import SimulatedChip
from puf.x25519 import PrivateKey

UNIX_MS = 1_790_000_000_000


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

    @property
    def callee(self) -> Callee:
        return Callee(self.party.did, self.party.credential)


@dataclass
class Gateway:
    """Who enrolled the devices, and makes grants for them."""

    name: str = "gateway"
    devices: dict[str, Enrolled] = field(default_factory=dict)
    pairings: dict[bytes, Pairing] = field(default_factory=dict)
    """By device: of the last meeting; at first what enrolment left."""
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

    def enrol(
        self, name: str, role: str, chip: str = "", settings: dict[str, int | str] | None = None
    ) -> Enrolled:
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
            {"board": "simulated", **(settings or {})},
        )
        secret = keys.derive(keys.pairwise(root, self.party.did, 0), keys.FAST_PATH)
        self.pairings[did] = Pairing(self.party.did, did, secret)
        made = Enrolled(name, party, provision.encode(), root)
        self.devices[name] = made
        return made

    async def let_in(self, name: str, owner: DeviceClient, epoch: int = 1) -> bytes:
        """Has the device take grants of this epoch, and tells it the time; the key of those grants."""
        _, key = await owner.ask(commands.GRANT_KEY, epoch)
        assert isinstance(key, bytes)
        (question,) = await owner.ask(commands.TIME)
        assert isinstance(question, bytes)
        device = self.devices[name]
        word, _ = answer_time(question, self.party.did, device.party.did, key, epoch, UNIX_MS)
        await owner.ask(commands.TIME, word)
        return key

    def grant(
        self, name: str, key: bytes, subject: bytes, actions: int = OPEN | CLOSE, epoch: int = 1
    ) -> bytes:
        """A grant for whoever has the name `subject`."""
        self.grant_count += 1
        made = Grant(
            *(self.grant_count, subject, self.devices[name].party.did, actions),
            *(UNIX_MS - 60_000, UNIX_MS + 86_400_000, b"\xee" * 32, 5_000_000, epoch),
        )
        return issue(made, self.party.did, key)

    def client(self, board: Board, central: Central, *, is_first: bool = False) -> DeviceClient:
        """How this gateway asks the board."""
        return client(self.caller, self.devices[board.name], board, central, self.pairings, is_first=is_first)


@dataclass
class Car:
    """A visitor: its name is its key.  It keeps what it shares with each device."""

    name: str
    pairings: dict[bytes, Pairing] = field(default_factory=dict)

    @functools.cached_property
    def caller(self) -> Caller:
        key = PrivateKey(hashlib.sha256(b"car " + self.name.encode()).digest())
        credential = edhoc_credential.make(key.public, b"\x03")
        return Caller(key.public, Identity(credential, key.seed, by_value=True))

    def client(self, board: Board, central: Central, device: Enrolled) -> DeviceClient:
        """How this car asks the board."""
        return client(self.caller, device, board, central, self.pairings)


def client(
    caller: Caller,
    device: Enrolled,
    board: Board,
    central: Central,
    pairings: dict[bytes, Pairing],
    *,
    is_first: bool = False,
) -> DeviceClient:
    """The gateway's own code, on this rig's air."""
    radio = Radio(central.adapter, central.scanner.get("backend"), central.client.get("backend"))
    did = device.party.did
    store = PairingStore(lambda: pairings.get(did), lambda pairing: pairings.__setitem__(did, pairing))
    return DeviceClient(
        radio, caller, device.callee, store, os.urandom,
        label=board.name, address=board.radio.address, is_first=is_first, note=NOTES.append,
    )  # fmt: skip


NOTES: list[str] = []
"""What clients said of links that were lost, the last run's included."""
