"""Names on the chain: who may change one, that its past is kept, that its end is the end."""

from typing import Any

import pytest

from chain_node.did_ledger import (
    LAST_MS,
    DidDeactivate,
    DidEntry,
    DidRegister,
    DidRotate,
    DidVersion,
    did_key,
    did_version_key,
)
from chain_node.errors import EvidenceError, WireError
from chain_node.light_client import LightClient
from chain_node.transaction import Transaction, Transfer
from puf import cbor, did_document
from puf.did import ED25519, did_cpc
from puf.did_document import ASSERTION, AUTHENTICATION, INVOCATION, SIGNING, Document, Key
from puf.ed25519 import SigningKey
from tests.chain_node.world import ALICE, BOB, CAROL, Chain, key

DAVE = key("dave")
WHO = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dave": DAVE}
ONE, TWO = b"\x01" * 32, b"\x02" * 32


def document(*signers: SigningKey, **parts: Any) -> Document:
    """A document whose every key is for everything."""
    return did_document.make([Key(ED25519, SIGNING, signer.public) for signer in signers], **parts)


def rich() -> Chain:
    """A chain on which everybody can pay fees."""
    chain = Chain()
    chain.extend(
        *(
            chain.sign(ALICE, Transfer(who.public, 1_000_000), nonce)
            for nonce, who in enumerate((CAROL, DAVE))
        )
    )
    return chain


def entry_of(chain: Chain, name: bytes) -> DidEntry:
    entry = chain.state().read(did_key(name), DidEntry)
    assert entry is not None
    return entry


def following(chain: Chain) -> LightClient:
    client = LightClient(chain.genesis)
    client.follow(chain.links)
    return client


# Stories

FIRST = document(ALICE)
NAME = FIRST.name()


def test_the_life_of_a_name() -> None:
    chain = rich()
    assert chain.tell(ALICE, DidRegister(FIRST)) == "applied"
    assert chain.tell(ALICE, DidRegister(FIRST)) == "did_known"
    assert chain.tell(ALICE, DidRotate(NAME, 1, document(BOB))) == "applied"
    told: list[tuple[SigningKey, Any, str]] = [
        (ALICE, DidRotate(NAME, 2, document(ALICE)), "did_not_controller"),
        (ALICE, DidDeactivate(NAME), "did_not_controller"),
        (BOB, DidRotate(NAME, 1, document(CAROL)), "did_version"),
        (BOB, DidRotate(NAME, 3, document(CAROL)), "did_version"),
        (BOB, DidRotate(NAME, 2, document(CAROL, DAVE)), "applied"),
        (DAVE, DidDeactivate(NAME), "applied"),
        (DAVE, DidDeactivate(NAME), "did_deactivated"),
        (CAROL, DidRotate(NAME, 4, document(CAROL)), "did_deactivated"),
        (ALICE, DidRegister(FIRST), "did_known"),
    ]
    for signer, body, expected in told:
        assert chain.tell(signer, body) == expected
    entry = entry_of(chain, NAME)
    assert (entry.version, entry.is_deactivated, entry.since_height) == (4, True, 10)
    assert entry.tx_hash == chain.blocks[9].transactions[0].tx_hash
    past = [chain.state().read(did_version_key(NAME, version), DidVersion) for version in range(1, 5)]
    assert [each and (each.document, each.since_height, each.until_height) for each in past] == [
        (FIRST, 2, 4),
        (document(BOB), 4, 9),
        (document(CAROL, DAVE), 9, 10),
        None,
    ]
    assert past[1] is not None
    assert past[1].tx_hash == chain.blocks[3].transactions[0].tx_hash


def test_a_name_that_nobody_registered_is_changed_by_nobody() -> None:
    chain = rich()
    assert chain.tell(ALICE, DidRotate(NAME, 1, FIRST)) == "did_unknown"
    assert chain.tell(ALICE, DidDeactivate(NAME)) == "did_unknown"


def test_only_a_key_for_invocation_registers() -> None:
    chain = rich()
    keys = [Key(ED25519, INVOCATION, ALICE.public), Key(ED25519, AUTHENTICATION | ASSERTION, BOB.public)]
    mixed = did_document.make(keys, recovery=CAROL.public)
    assert chain.tell(BOB, DidRegister(mixed)) == "did_not_controller"
    assert chain.tell(CAROL, DidRegister(mixed)) == "did_not_controller"
    assert chain.tell(ALICE, DidRegister(mixed)) == "applied"
    assert chain.tell(BOB, DidRotate(mixed.name(), 1, document(BOB))) == "did_not_controller"


def test_a_gateway_keeps_the_names_of_devices_that_have_no_keys() -> None:
    chain = rich()
    gateway = document(ALICE)
    device = did_document.make([], controller=gateway.name(), salt=b"helper data 7")
    assert chain.tell(ALICE, DidRegister(device)) == "did_unknown"
    assert chain.tell(ALICE, DidRegister(gateway)) == "applied"
    assert chain.tell(BOB, DidRegister(device)) == "did_not_controller"
    assert chain.tell(ALICE, DidRegister(device)) == "applied"
    assert chain.tell(ALICE, DidRotate(gateway.name(), 1, document(BOB))) == "applied"
    grown = did_document.make([Key(ED25519, AUTHENTICATION, DAVE.public)], controller=gateway.name())
    assert chain.tell(ALICE, DidRotate(device.name(), 1, grown)) == "did_not_controller"
    assert chain.tell(BOB, DidRotate(device.name(), 1, grown)) == "applied"
    assert chain.tell(DAVE, DidRotate(device.name(), 2, document(DAVE))) == "did_not_controller"


def test_control_reaches_one_step_and_no_further() -> None:
    chain = rich()
    top = document(ALICE)
    middle = did_document.make([Key(ED25519, INVOCATION, BOB.public)], controller=top.name())
    chain.tell(ALICE, DidRegister(top))
    assert chain.tell(BOB, DidRegister(middle)) == "did_not_controller"
    assert chain.tell(ALICE, DidRegister(middle)) == "applied"
    bottom = did_document.make([], controller=middle.name())
    assert chain.tell(ALICE, DidRegister(bottom)) == "did_not_controller"
    assert chain.tell(BOB, DidRegister(bottom)) == "applied"


def test_a_controller_that_has_ended_leaves_the_recovery_key() -> None:
    chain = rich()
    gateway = document(ALICE)
    device = did_document.make([], controller=gateway.name(), recovery=BOB.public)
    lost = did_document.make([], controller=gateway.name(), salt=b"lost")
    for body in (DidRegister(gateway), DidRegister(device), DidRegister(lost), DidDeactivate(gateway.name())):
        assert chain.tell(ALICE, body) == "applied"
    assert chain.tell(ALICE, DidDeactivate(lost.name())) == "did_deactivated"
    assert chain.tell(ALICE, DidDeactivate(device.name())) == "did_deactivated"
    again = did_document.make([], controller=gateway.name(), salt=b"new")
    assert chain.tell(ALICE, DidRegister(again)) == "did_deactivated"
    assert chain.tell(BOB, DidRotate(device.name(), 1, again)) == "did_deactivated"
    assert chain.tell(BOB, DidRotate(device.name(), 1, document(BOB))) == "applied"


def test_a_name_is_not_given_to_a_controller_that_is_not_there() -> None:
    chain = rich()
    chain.tell(ALICE, DidRegister(FIRST))
    nobodys = did_document.make([], controller=ONE)
    assert chain.tell(ALICE, DidRotate(NAME, 1, nobodys)) == "did_unknown"


def test_a_thief_of_a_key_cannot_shut_out_the_owner() -> None:
    chain = rich()
    first = document(ALICE, recovery=BOB.public)
    name = first.name()
    told: list[tuple[SigningKey, Any, str]] = [
        (ALICE, DidRegister(first), "applied"),
        # The thief has Alice's key.
        (ALICE, DidRotate(name, 1, document(DAVE)), "did_recovery_key"),
        (ALICE, DidRotate(name, 1, document(DAVE, recovery=DAVE.public)), "did_recovery_key"),
        (ALICE, DidRotate(name, 1, document(DAVE, recovery=BOB.public)), "applied"),
        # The owner has kept Bob's.
        (BOB, DidRotate(name, 2, document(CAROL, recovery=DAVE.public)), "applied"),
        (BOB, DidRotate(name, 3, document(BOB)), "did_not_controller"),
        (DAVE, DidRotate(name, 3, document(CAROL)), "applied"),
        # Where there is none, a controlling key may set one.
        (CAROL, DidRotate(name, 4, document(CAROL, recovery=ALICE.public)), "applied"),
        (ALICE, DidDeactivate(name), "applied"),
    ]
    for signer, body, expected in told:
        assert chain.tell(signer, body) == expected


def test_two_changes_in_one_block_leave_a_version_that_never_counted() -> None:
    chain = rich()
    chain.tell(ALICE, DidRegister(FIRST))
    receipts = chain.extend(
        chain.sign(ALICE, DidRotate(NAME, 1, document(BOB))),
        chain.sign(BOB, DidRotate(NAME, 2, document(CAROL))),
    )
    assert [receipt.reason.label for receipt in receipts] == ["applied", "applied"]
    middle = chain.state().read(did_version_key(NAME, 2), DidVersion)
    assert middle is not None
    assert (middle.since_height, middle.until_height, middle.is_valid_at(3)) == (3, 3, False)


# Resolution


def test_a_name_resolves_to_its_document_and_what_is_known_about_it() -> None:
    chain = rich()
    chain.tell(ALICE, DidRegister(FIRST))
    assert entry_of(chain, NAME).resolve(NAME) == {
        "didDocument": FIRST.to_json(NAME),
        "didDocumentMetadata": {"created": "2023-11-14T22:13:22Z", "versionId": "1"},
        "didResolutionMetadata": {"contentType": "application/did+ld+json"},
    }
    chain.tell(ALICE, DidRotate(NAME, 1, document(BOB)))
    assert entry_of(chain, NAME).resolve(NAME)["didDocumentMetadata"] == {
        "created": "2023-11-14T22:13:22Z",
        "updated": "2023-11-14T22:13:23Z",
        "versionId": "2",
    }
    past = chain.state().read(did_version_key(NAME, 1), DidVersion)
    assert past is not None
    assert past.resolve(NAME, 1) == {
        "didDocument": FIRST.to_json(NAME),
        "didDocumentMetadata": {"updated": "2023-11-14T22:13:22Z", "versionId": "1", "nextVersionId": "2"},
        "didResolutionMetadata": {"contentType": "application/did+ld+json"},
    }
    chain.tell(BOB, DidDeactivate(NAME))
    ended = entry_of(chain, NAME).resolve(NAME)
    assert ended["didDocument"] == {"@context": list(did_document.CONTEXTS), "id": did_cpc(NAME)}
    assert ended["didDocumentMetadata"] == {
        "created": "2023-11-14T22:13:22Z",
        "updated": "2023-11-14T22:13:24Z",
        "versionId": "3",
        "deactivated": True,
    }


def test_a_time_that_is_no_date_is_the_last_one() -> None:
    for time_ms in (LAST_MS, LAST_MS + 1_000, 2**53 - 1):
        shown: Any = DidEntry(FIRST, 1, time_ms, time_ms, 1, False, ONE).resolve(NAME)
        assert shown["didDocumentMetadata"]["created"] == "9999-12-31T23:59:59Z"


# Proofs


def aged() -> Chain:
    """Registered in block 2, rotated in 4, ended in 6; the head is block 7."""
    chain = rich()
    chain.tell(ALICE, DidRegister(FIRST))
    chain.extend()
    chain.tell(ALICE, DidRotate(NAME, 1, document(BOB)))
    chain.extend()
    chain.tell(BOB, DidDeactivate(NAME))
    chain.extend()
    return chain


def test_a_light_client_confirms_a_name_its_past_and_that_there_is_none() -> None:
    chain = aged()
    client = following(chain)
    entry = client.confirm_did(NAME, chain.state_evidence(did_key(NAME)))
    assert entry is not None
    assert (entry.version, entry.is_deactivated) == (3, True)
    assert client.confirm_did(ONE, chain.state_evidence(did_key(ONE))) is None
    past = client.confirm_did_version(NAME, 1, chain.state_evidence(did_version_key(NAME, 1)))
    assert past is not None
    assert past.document == FIRST
    assert client.confirm_did_version(NAME, 3, chain.state_evidence(did_version_key(NAME, 3))) is None
    with pytest.raises(EvidenceError, match="state proof against block 7"):
        client.confirm_did(ONE, chain.state_evidence(did_key(NAME)))


@pytest.mark.parametrize(
    ("height", "version", "signer"),
    [
        (0, 1, None),
        (1, 1, None),
        (2, 1, ALICE),
        (3, 1, ALICE),
        (4, 2, BOB),
        (5, 2, BOB),
        (6, None, None),
        (7, None, None),
    ],
)
def test_whose_keys_count_at_a_height_is_proven(
    height: int, version: int | None, signer: SigningKey | None
) -> None:
    chain = aged()
    place = did_key(NAME) if version is None else did_version_key(NAME, version)
    found = following(chain).confirm_did_at(NAME, height, version, chain.state_evidence(place))
    assert found == (document(signer) if signer else None)


@pytest.mark.parametrize(("height", "version"), [(4, 1), (3, 2), (1, 2), (5, None), (7, 2), (3, 3)])
def test_a_version_of_another_time_decides_nothing(height: int, version: int | None) -> None:
    chain = aged()
    place = did_key(NAME) if version is None else did_version_key(NAME, version)
    with pytest.raises(
        EvidenceError, match=f"it does not show the version of the name that counts in block {height}"
    ):
        following(chain).confirm_did_at(NAME, height, version, chain.state_evidence(place))


def test_an_old_state_does_not_say_which_keys_count_later() -> None:
    chain = rich()
    chain.tell(ALICE, DidRegister(FIRST))
    old = chain.state_evidence(did_key(NAME))
    chain.tell(ALICE, DidRotate(NAME, 1, document(BOB)))
    client = following(chain)
    assert client.confirm_did_at(NAME, 2, None, old) == FIRST
    with pytest.raises(EvidenceError, match="block 2 cannot say which keys count in block 3"):
        client.confirm_did_at(NAME, 3, None, old)


def test_a_name_that_is_young_or_unknown_had_no_keys() -> None:
    chain = rich()
    chain.tell(ALICE, DidRegister(FIRST))
    client = following(chain)
    assert client.confirm_did_at(NAME, 1, None, chain.state_evidence(did_key(NAME))) is None
    assert client.confirm_did_at(ONE, 2, None, chain.state_evidence(did_key(ONE))) is None


# Bytes

DATA = FIRST.encode()
BLOB = "582a" + DATA.hex()
ENTRY = DidEntry(FIRST, 2, 3, 4, 5, True, ONE)
VERSION = DidVersion(FIRST, 5, 6, 7, ONE)


def test_golden_bodies() -> None:
    """A change here breaks every chain, and is a line in CHANGELOG.md."""
    assert len(DATA) == 42
    golden: list[tuple[Any, str]] = [
        (DidRegister(FIRST), "a101" + BLOB),
        (DidRotate(ONE, 3, FIRST), "a3015820" + ONE.hex() + "0203" + "03" + BLOB),
        (DidDeactivate(ONE), "a1015820" + ONE.hex()),
    ]
    for body, expected in golden:
        assert cbor.encode(body.to_map()).hex() == expected
        assert Transaction.decode(Transaction.sign(ALICE, ONE, 0, body).data).body == body


def test_golden_entries_and_keys() -> None:
    assert did_key(ONE).hex() == "8263" + b"did".hex() + "5820" + ONE.hex()
    assert did_version_key(ONE, 7).hex() == "836b" + b"did version".hex() + "5820" + ONE.hex() + "07"
    assert ENTRY.encode().hex() == (
        "a701" + BLOB + "0202" + "0303" + "0404" + "0505" + "0601" + "075820" + ONE.hex()
    )
    assert VERSION.encode().hex() == "a501" + BLOB + "0205" + "0306" + "0407" + "055820" + ONE.hex()
    assert DidEntry.decode(ENTRY.encode()) == ENTRY
    assert DidVersion.decode(VERSION.encode()) == VERSION


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (DidRegister, {1: b"\xa0"}, "no did register: the keys of a DID document"),
        (DidRegister, {1: FIRST}, "document is not at most 704 bytes"),
        (DidRegister, {1: bytes(705)}, "document is not at most 704 bytes"),
        (DidRegister, {1: DATA, 2: 0}, "unknown fields"),
        (DidRotate, {1: ONE, 2: 0, 3: DATA}, "version is not from 1"),
        (DidRotate, {1: ONE[1:], 2: 1, 3: DATA}, "name is not 32 bytes"),
        (DidRotate, {1: ONE, 2: 1, 3: DATA + b"\x00"}, "no did rotate: "),
        (DidDeactivate, {}, "name is missing"),
        (DidDeactivate, {1: ONE, 2: 1}, "unknown fields"),
    ],
)
def test_a_body_that_is_none_is_refused(kind: Any, value: object, message: str) -> None:
    with pytest.raises(WireError, match=message):
        kind.from_map(value)


def test_the_largest_document_fits_into_a_transaction_of_every_chain_and_into_an_entry() -> None:
    keys = [Key(ED25519, SIGNING, bytes([number]) * 32) for number in range(8)]
    services = [did_document.Service(name, "b", "c:" + "d" * 184) for name in ("a", "b")]
    size = len(did_document.make(keys, services=services).encode())
    services[0] = did_document.Service("a", "b", "c:" + "d" * (184 + did_document.DOCUMENT_SIZE_MAX - size))
    largest = did_document.make(keys, services=services)
    assert len(largest.encode()) == did_document.DOCUMENT_SIZE_MAX
    body = DidRotate(ONE, 2**53 - 1, largest)
    assert len(Transaction.sign(ALICE, ONE, 2**53 - 1, body, 10**15, 2**53 - 1).data) <= 1_024
    entry = DidEntry(largest, 2**53 - 1, 2**53 - 1, 2**53 - 1, 2**53 - 1, True, ONE)
    assert DidEntry.decode(entry.encode()) == entry
