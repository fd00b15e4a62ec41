"""Enrolment as a story, and cut everywhere: by an error, by a power cut, and gone on with each time."""

import asyncio
import stat
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from chain_node.wire import Anchor, DidDeactivate, DidRegister
from gateway.crypto.key_file import GatewayKey
from gateway.devices import ENROLLED, PLANNED, REVOKED, REVOKING, DeviceDamaged, Devices, UnknownDevice
from gateway.enrolment import RegistryConflict, Site, choose, enrol, publish, revoke
from gateway.errors import EnrolmentRefused, EvidenceError
from gateway.status_anchor import open_anchored
from puf import did_document, fuzzy_extractor, helper_signature, keys, status_list
from puf.ed25519 import SigningKey
from puf.errors import CredentialError
from puf.fast_path_keys import Pairing
from puf.puf_source import Recording
from tests.crash_disk import CrashLog
from tests.gateway.enrolling import (
    KEY,
    NOW_MS,
    LedgerRegistrar,
    open_devices,
    readouts,
    recording,
    site_of,
)


class Cut(Exception):
    """The process dies here."""


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    with open_devices(tmp_path) as made:
        yield made


def enrolled(
    site: Site, registrar: LedgerRegistrar, name: str = "lock1", seed: bytes = b"chip", **other: Any
) -> Any:
    return run(enrol(site, name, lambda: recording(seed), registrar, **other))


def cut_at(registrar: LedgerRegistrar, when: str, number: int, seen: list[str]) -> None:
    def hook(what: str) -> None:
        seen.append(what)
        if len(seen) == number + 1:
            raise Cut

    setattr(registrar, when, hook)


def test_a_chip_becomes_a_device_whose_keys_are_on_the_chain(devices: Devices, tmp_path: Path) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    device = enrolled(site, registrar)
    assert (device.state, device.address, device.size) == (ENROLLED, 0x50000000, 672)
    assert [type(body) for body in registrar.bodies] == [DidRegister, DidRegister]
    entry, _ = run(registrar.entry(device.did))
    assert entry.document.encode() == device.document
    assert (entry.document.controller, entry.tx_hash) == (site.did, device.tx_hash)
    # The device finds the very keys again, with what it is given, from a power-up that nobody recorded.
    helper = helper_signature.open_signed(device.helper, KEY.identity.public)
    root = fuzzy_extractor.reproduce(readouts(b"chip", count=12)[-2040:][:672], helper)
    assert entry.document.keys[0].public == SigningKey(keys.derive(root, keys.IDENTITY)).public
    pairing = Pairing.decode(devices.pairing(device))
    assert (pairing.initiator, pairing.responder, pairing.epoch) == (site.did, device.did, 0)
    assert pairing.key == keys.derive(keys.pairwise(root, site.did, 0), keys.FAST_PATH)
    # Neither root nor pairwise key is in any file of the site.
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert root not in content
        assert pairing.key not in content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_weak_device_has_no_keys_but_its_gateways(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    device = enrolled(site, registrar, is_weak=True)
    document = did_document.decode(device.document)
    assert (document.keys, document.controller) == ((), site.did)
    other = enrolled(site, registrar, "lock2", b"second", is_weak=True)
    assert other.did != device.did
    with pytest.raises(EnrolmentRefused, match="weak device; revoke it first"):
        enrolled(site, registrar)


def test_enrolling_again_changes_nothing_and_needs_no_chip(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    device = enrolled(site, registrar)
    height = registrar.chain.head.height

    def never() -> Recording:
        raise AssertionError("no readouts are needed")

    assert run(enrol(site, "lock1", never, registrar)) == device
    assert (registrar.chain.head.height, len(devices.all())) == (height, 1)


def test_one_chip_has_one_name_and_each_region_one_key_ever(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    enrolled(site, registrar)
    with pytest.raises(EnrolmentRefused, match="enrolled already, as lock1"):
        enrolled(site, registrar, "lock2")
    assert len(devices.all()) == 1
    regions: list[int] = []
    for _ in range(3):
        run(revoke(site, "lock1", registrar))
        with pytest.raises(EnrolmentRefused, match="as lock1"):
            enrolled(site, registrar, "lock2")
        if len(regions) < 2:
            regions.append(enrolled(site, registrar).address)
    assert regions == [0x50000000 + 672, 0x50000000 + 2 * 672]
    with pytest.raises(EnrolmentRefused, match="none may bear a second one"):
        enrolled(site, registrar)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"ones": 0.35}, "bias"),
        ({"size": 512}, "cells"),
    ],
)
def test_a_chip_that_is_not_fit_is_refused_and_leaves_nothing(devices: Devices, other: Any, why: str) -> None:
    with pytest.raises(EnrolmentRefused, match=why):
        run(enrol(site_of(devices), "lock1", lambda: recording(**other), LedgerRegistrar()))
    assert (devices.all(), devices.taken()) == ([], set())


def test_the_region_that_bears_the_key_is_judged_and_not_the_rest(devices: Devices) -> None:
    """Firmware that writes into one region spoils that one only."""
    site, registrar = site_of(devices), LedgerRegistrar()

    def spoilt(*regions: int, seed: bytes = b"chip") -> Recording:
        whole = [bytearray(readouts(seed)[at : at + 2040]) for at in range(0, 9 * 2040, 2040)]
        for readout in whole:
            for region in regions:
                # Every second byte is what somebody wrote there: ones and zeros in equal number.
                readout[672 * region : 672 * (region + 1) : 2] = bytes([0x0F]) * 336
        return Recording(b"".join(whole), 2040, 0x50000000)

    device = run(enrol(site, "lock1", lambda: spoilt(0), registrar))
    assert device.address == 0x50000000 + 672
    assert '"size": 672' in device.quality
    with pytest.raises(EnrolmentRefused, match=r"of the 672 bytes at 0x50000000; the other 2 free regions"):
        run(enrol(site_of(devices, 2), "lock2", lambda: spoilt(0, 1, 2, seed=b"other"), registrar))


def test_regions_are_counted_by_chip(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    first = enrolled(site, registrar)
    # The chip is replaced under one name: each has all of its regions, those unused by the name first.
    addresses = [first.address]
    for seed in (b"second", b"third", b"fourth"):
        run(revoke(site, "lock1", registrar))
        addresses.append(enrolled(site, registrar, "lock1", seed).address)
    assert addresses == [0x50000000 + 672 * number for number in (0, 1, 2, 0)]
    # The first chip comes back: its own region is not used twice.
    run(revoke(site, "lock1", registrar))
    assert enrolled(site, registrar).address != first.address


def test_readouts_are_shown_in_no_traceback(devices: Devices) -> None:
    chosen = choose(site_of(devices), "lock1", recording())
    shown = repr(chosen)
    assert "9 readouts, hidden" in shown
    assert repr(chosen.parts.readouts[0])[2:-1] not in shown


def test_a_biased_chip_can_be_debiased(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    biased: dict[str, Any] = {"size": 4096, "ones": 0.4}
    device = run(enrol(site, "lock1", lambda: recording(**biased), registrar, is_debiased=True))
    helper = helper_signature.open_signed(device.helper, KEY.identity.public)
    assert (device.state, device.size, len(helper.mask) > 0) == (ENROLLED, 4096, True)


def test_a_revoked_device_is_ended_here_on_the_chain_and_in_the_list(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    device = enrolled(site, registrar)
    kept = enrolled(site, registrar, "lock2", b"second")
    assert run(revoke(site, "lock1", registrar)).state == REVOKED
    entry, _ = run(registrar.entry(device.did))
    assert entry.is_deactivated
    published = devices.published()
    assert published is not None
    assert published.evidence is not None
    genesis, issuer, uri = registrar.chain.genesis, KEY.identity.public, site.status_uri
    opened = open_anchored(published.token, published.evidence, uri, issuer, genesis)
    assert opened.version == 1
    with pytest.raises(CredentialError, match="revoked it"):
        status_list.check_status(status_list.reference(device.status_index, uri), opened.token, NOW_MS)
    status_list.check_status(status_list.reference(kept.status_index, uri), opened.token, NOW_MS)
    # Again: nothing more happens.
    height = registrar.chain.head.height
    run(revoke(site, "lock1", registrar))
    assert registrar.chain.head.height == height
    with pytest.raises(UnknownDevice, match="there are: lock1, lock2"):
        run(revoke(site, "lock9", registrar))


def test_a_list_counts_only_with_its_place_on_the_chain(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    first, second = run(publish(site, registrar)), run(publish(site, registrar))
    issuer, uri, genesis = KEY.identity.public, site.status_uri, registrar.chain.genesis
    assert open_anchored(second.token, second.evidence, uri, issuer, genesis, 2).version == 2
    with pytest.raises(EvidenceError, match=r"newest version: version 1 .* is older than 2"):
        open_anchored(first.token, first.evidence, uri, issuer, genesis, 2)
    other = status_list.sign(
        status_list.StatusList(devices.revoked_array()), uri, KEY.identity, NOW_MS + 1000, 1000
    )
    with pytest.raises(EvidenceError, match="roots in the transaction"):
        open_anchored(other, second.evidence, uri, issuer, genesis)
    forged = bytearray(second.evidence)
    for at in range(0, len(forged), 7):
        damaged = bytes(forged[:at]) + bytes([forged[at] ^ 1]) + bytes(forged[at + 1 :])
        with pytest.raises(EvidenceError):
            open_anchored(second.token, damaged, uri, issuer, genesis)


STEPS = ["entry", "DidRegister", "entry", "DidRegister"]
END_STEPS = ["entry", "DidDeactivate", "Anchor"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(len(STEPS)))
def test_an_enrolment_cut_at_any_step_is_gone_on_with(devices: Devices, when: str, number: int) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    seen: list[str] = []
    cut_at(registrar, when, number, seen)
    with pytest.raises(Cut):
        enrolled(site, registrar)
    assert seen == STEPS[: number + 1]
    assert [device.state for device in devices.all()] == [PLANNED]
    registrar.before = registrar.after = lambda what: None
    device = enrolled(site, registrar)
    assert (device.state, len(devices.all())) == (ENROLLED, 1)
    assert [type(body) for body in registrar.bodies].count(DidRegister) == 2
    assert run(registrar.entry(device.did))[0].document.encode() == device.document


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(len(END_STEPS)))
def test_a_revocation_cut_at_any_step_counts_at_once_and_is_gone_on_with(
    devices: Devices, when: str, number: int
) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    device = enrolled(site, registrar)
    seen: list[str] = []
    cut_at(registrar, when, number, seen)
    with pytest.raises(Cut):
        run(revoke(site, "lock1", registrar))
    assert seen == END_STEPS[: number + 1]
    assert devices.latest("lock1").state == REVOKING
    assert devices.revoked_array()[device.status_index // 8] == 1 << device.status_index % 8
    registrar.before = registrar.after = lambda what: None
    with pytest.raises(EnrolmentRefused, match="being revoked; finish that first"):
        enrolled(site, registrar)
    assert run(revoke(site, "lock1", registrar)).state == REVOKED
    assert [type(body) for body in registrar.bodies].count(DidDeactivate) == 1
    published = devices.published()
    assert published is not None
    assert published.evidence is not None
    token = status_list.open_list(published.token, site.status_uri, KEY.identity.public)
    assert token.statuses.get(device.status_index) == status_list.INVALID


def test_a_list_that_never_reached_the_chain_is_not_taken_for_todays(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    first, second = enrolled(site, registrar), enrolled(site, registrar, "lock2", b"second")
    cut_at(registrar, "before", 2, [])
    with pytest.raises(Cut):
        run(revoke(site, "lock1", registrar))
    registrar.before = lambda what: None
    run(revoke(site, "lock2", registrar))
    published = devices.published()
    assert published is not None
    token = status_list.open_list(published.token, site.status_uri, KEY.identity.public)
    revoked = [token.statuses.get(device.status_index) for device in (first, second)]
    assert (published.version, revoked) == (2, [1, 1])


def test_an_enrolment_that_was_cut_can_be_given_up(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    cut_at(registrar, "before", 0, [])
    with pytest.raises(Cut):
        enrolled(site, registrar)
    registrar.before = lambda what: None
    assert run(revoke(site, "lock1", registrar)).state == REVOKED
    assert [type(body) for body in registrar.bodies] == [Anchor]


def test_a_name_that_was_ended_behind_our_back_is_no_device(devices: Devices) -> None:
    site, registrar = site_of(devices), LedgerRegistrar()
    cut_at(registrar, "after", 3, [])
    with pytest.raises(Cut):
        enrolled(site, registrar)
    registrar.after = lambda what: None
    run(registrar.apply(DidDeactivate(devices.all()[0].did)))
    with pytest.raises(RegistryConflict, match="has been ended on the chain"):
        enrolled(site, registrar)


def test_another_gateways_key_opens_nothing(devices: Devices, tmp_path: Path) -> None:
    device = enrolled(site_of(devices), LedgerRegistrar())
    with open_devices(tmp_path) as again:
        assert again.pairing(device) == devices.pairing(device)
    with (
        Devices(tmp_path / "devices.sqlite", GatewayKey(b"x" * 32)) as other,
        pytest.raises(DeviceDamaged, match=r"the gateway\.key is another one"),
    ):
        other.pairing(device)


def test_a_power_cut_at_any_write_leaves_all_or_nothing_and_the_rest_follows(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    chains: list[LedgerRegistrar] = []
    with CrashLog(folder) as log:
        registrar = LedgerRegistrar()

        def keep(what: str) -> None:
            chains.append(registrar.copied())
            log.mark("chain", len(chains) - 1)

        keep("start")
        registrar.after = keep
        with open_devices(folder, vfs=log.vfs, disk=log.disk) as devices:
            site = site_of(devices)
            device = enrolled(site, registrar)
            log.mark("enrolled")
            run(revoke(site, "lock1", registrar))
            log.mark("revoked")
        states = set()
        for number, point in enumerate(log.points(30, seed=7)):
            image = log.image(point, number, tmp_path / f"image{number}")
            at = image.payloads("chain")
            world = chains[int(str(at[-1])) if at else 0].copied()
            with open_devices(image.directory) as devices:
                found = devices.all()
                states.add(found[0].state if found else None)
                promised = [mark.name for mark in image.marks if mark.name != "chain"]
                if "enrolled" in promised:
                    assert found[0].state != PLANNED, image.story
                if "revoked" in promised:
                    assert found[0].state == REVOKED, image.story
                # Whatever name is on the chain, the registry knows whose it is.
                on_chain = [body.document.name() for body in world.bodies if isinstance(body, DidRegister)]
                assert set(on_chain) <= {site.did, *(each.did for each in found)}, image.story
                if found and found[0].state in (REVOKING, REVOKED):
                    assert run(revoke(site_of(devices), "lock1", world)).state == REVOKED
                elif found:
                    again = enrolled(site_of(devices), world)
                    assert (again.did, again.state) == (device.did, ENROLLED), image.story
        assert states >= {None, PLANNED, ENROLLED, REVOKING, REVOKED} - {PLANNED}, states
