"""`cpc device`: the devices of a site: looked at, authenticated, ended, and given a new key.

Runs on CPython, on Linux.  Part of the command line.
"""

import os
import time
from argparse import ArgumentParser, Namespace, _SubParsersAction
from functools import partial
from pathlib import Path

from gateway import cli_chain
from gateway.cli_enroll import add_source, device_json, device_name, show_record, source_of
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError, whole_number
from gateway.cli_registrar import add_site, look_at_site, open_registrar, open_site
from gateway.devices import ENROLLED, REVOKED, Device, UnknownDevice
from gateway.disk import Disk
from gateway.enrolment import Site, choose, enrol, publish, revoke
from gateway.first_meeting import device_credential, gateway_party, initiator, pairing_of
from gateway.simulated_device import EPHEMERAL_BYTES, SimulatedDevice
from puf.did import did_cpc
from puf.errors import PufError, SignatureError
from puf.fast_path import NONCE_BYTES, Initiator
from puf.fast_path_keys import Pairing
from puf.hkdf import is_equal
from puf.puf_simulator import SimulatedChip

EXAMPLES = {
    "list": "  cpc device list -c site/gateway.toml\n  cpc device list -c site/gateway.toml --json",
    "show": "  cpc device show lock1 -c site/gateway.toml\n"
    "  cpc device show lock1 -c site/gateway.toml --helper lock1.helper",
    "revoke": "  cpc device revoke lock1 -c site/gateway.toml --yes\n\n"
    "For ever: its name on the chain is ended, and the site's status list says so.",
    "re-enroll": "  cpc device re-enroll lock1 -c site/gateway.toml --simulate first-chip --yes\n\n"
    "The old key is revoked first; the new one comes from other cells, since two keys of the\n"
    "same cells would give each other away.",
    "authenticate": "  cpc device authenticate lock1 -c site/gateway.toml --simulate first-chip\n"
    "  cpc device authenticate lock1 -c site/gateway.toml --simulate first-chip --first\n"
    "  cpc device authenticate lock1 -c site/gateway.toml --simulate other-chip\n"
    "  cpc device authenticate lock1 -c site/gateway.toml --simulate first-chip --flip-helper-bit 2000\n\n"
    "Proves that the device holds its key, not how near it is: Bluetooth can be relayed.",
    "status-list": "  cpc device status-list -c site/gateway.toml --out status.cwt\n\n"
    "Beside it, status.cwt.evidence proves to a stranger with the genesis that it is on the chain.",
}


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc device`."""
    device = subcommands.add_parser("device", help="the devices of a site; cpc enroll makes one")
    kinds = device.add_subparsers(dest="kind", metavar="KIND", required=True)
    command = partial(cli_chain.add_command, kinds, EXAMPLES)

    shown = command("list", "all devices, and how far each has come")
    add_site(shown, is_sending=False)
    shown.set_defaults(run=run_list)
    show = command("show", "one device's record")
    _add_name(show)
    show.add_argument("--helper", type=Path, metavar="FILE", help="write its signed helper data there")
    add_site(show, is_sending=False)
    show.set_defaults(run=run_show)
    end = command("revoke", "end a device's name, for ever")
    _add_name(end)
    end.add_argument("--yes", action="store_true", help="it cannot be undone, so say so")
    add_site(end)
    end.set_defaults(run=run_revoke)
    again = command("re-enroll", "revoke a device and give it another key, of other cells")
    _add_name(again)
    add_source(again)
    again.add_argument("--weak", action="store_true", help="it does no curves")
    again.add_argument("--yes", action="store_true", help="the old key ends for ever, so say so")
    add_site(again)
    again.set_defaults(run=run_again)
    meet = command("authenticate", "let a simulated device and its gateway prove themselves to each other")
    _add_name(meet)
    meet.add_argument("--simulate", metavar="SEED", required=True, help="the chip that is in the device")
    meet.add_argument(
        "--flip-helper-bit", type=whole_number, metavar="N", help="alter one bit of its helper data first"
    )
    meet.add_argument(
        "--first", action="store_true", help="meet by EDHOC again, as at the first time, for a new shared key"
    )
    add_site(meet, is_sending=False)
    meet.set_defaults(run=run_authenticate)
    statuses = command("status-list", "publish which entries are revoked, signed and anchored")
    statuses.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write the list")
    add_site(statuses)
    statuses.set_defaults(run=run_status_list)


def _add_name(command: ArgumentParser) -> None:
    command.add_argument("name", type=device_name, metavar="NAME", help="of the device")


def run_list(args: Namespace) -> int:
    """`cpc device list`."""
    output = Output(args)
    with look_at_site(args) as (site, _):
        devices = site.devices.all() if site else []
        for device in devices:
            assert site  # noqa: S101 - it has devices
            kind = "weak  " if device.is_weak else "strong"
            output.value(
                device_json(site, device),
                f"{device.name:<16} {device.state:<9} {kind} {did_cpc(device.did)}",
            )
        if not devices:
            output.line("no device is enrolled; cpc enroll enrols one")
    return EXIT_OK


def run_show(args: Namespace) -> int:
    """`cpc device show`."""
    output = Output(args)
    with look_at_site(args) as (site, _):
        if site is None:
            raise UnknownDevice(f"no device is called {args.name!r}; none is; cpc enroll enrols one")
        device = site.devices.latest(args.name)
        if args.helper is not None:
            Disk().write_file_atomic(args.helper, device.helper, 0o644)
        show_record(output, site, device)
    return EXIT_OK


async def run_revoke(args: Namespace) -> int:
    """`cpc device revoke`."""
    if not args.yes:
        raise UsageError(f"{args.name} would be ended for ever; say --yes")
    output = Output(args)
    with open_site(args) as (site, config):
        is_ended = site.devices.latest(args.name).state == REVOKED
        async with open_registrar(args, output, site, config) as registrar:
            device = await revoke(site, args.name, registrar)
        _show_end(output, site, device, is_ended)
    return EXIT_OK


async def run_again(args: Namespace) -> int:
    """`cpc device re-enroll`."""
    if not args.yes:
        raise UsageError(f"the key that {args.name} has would be ended for ever; say --yes")
    output = Output(args)
    source_of(args)
    with open_site(args) as (site, config):
        old = site.devices.latest(args.name)
        async with open_registrar(args, output, site, config) as registrar:
            chosen = None
            # One that was broken off has revoked the old key already: what is planned is gone on with.
            if not site.devices.is_replacing(args.name):
                # The old key is not ended before it is sure that the chip can bear a new one.
                chosen = choose(site, args.name, source_of(args), args.debias, args.count)
                await revoke(site, args.name, registrar)
            device = await enrol(
                *(site, args.name, lambda: source_of(args), registrar),
                *(args.weak, args.debias, args.count, chosen),
            )
        output.note(f"the key of {did_cpc(old.did)} is revoked")
        show_record(output, site, device)
    return EXIT_OK


def _show_end(output: Output, site: Site, device: Device, is_ended: bool) -> None:
    published = site.devices.published()
    version = published.version if published else 0
    output.value(
        device_json(site, device) | {"status_list_version": version},
        f"{device.name} was revoked already; nothing was changed"
        if is_ended
        else f"{device.name} is revoked\n"
        f"  proven: {did_cpc(device.did)} is ended, or never was on the chain\n"
        f"  proven: version {version} of the status list, with entry {device.status_index} set, is on it",
    )


def run_authenticate(args: Namespace) -> int:
    """`cpc device authenticate`."""
    output = Output(args)
    with open_site(args) as (site, config):
        device = site.devices.latest(args.name)
        if device.state != ENROLLED:
            output.value(
                {"device": device.name, "is_authentic": False, "reason": device.state},
                f"refused by the gateway: {device.name} is {device.state}",
            )
            return EXIT_NOT_PROVEN
        if args.first and device.is_weak:
            raise UsageError(f"{device.name} does no curves; leave out --first")
        helper = bytearray(device.helper)
        if args.flip_helper_bit is not None:
            if args.flip_helper_bit >= 8 * len(helper):
                raise UsageError(f"the last bit of its helper data is {8 * len(helper) - 1}")
            helper[args.flip_helper_bit // 8] ^= 0x80 >> args.flip_helper_bit % 8
        folder = config.file.parent / "simulated" / device.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            simulated = SimulatedDevice(
                _simulated_chip(args.simulate, device),
                folder,
                bytes(helper),
                site.did,
                device.did,
                None if device.is_weak else site.key.public,
            )
        except PufError as error:
            output.value(
                {
                    "device": device.name,
                    "is_authentic": False,
                    "reason": type(error).__name__,
                    "why": str(error),
                },
                f"refused by the device: {_why(error)}",
            )
            return EXIT_NOT_PROVEN
        _meet(output, site, device, simulated, is_first=args.first)
    return EXIT_OK


def _simulated_chip(seed: str, device: Device) -> SimulatedChip:
    """The chip of this seed, as large as the device's record says."""
    chip = SimulatedChip(seed.encode())
    if device.address < chip.address:
        # Enrolled from a recording, which begins at 0.
        chip.address = 0
    chip.size = device.address - chip.address + device.size
    return chip


def _why(error: PufError) -> str:
    if isinstance(error, SignatureError):
        return f"its helper data was altered, or another gateway made it ({error})"
    return str(error)


def _meet_first(site: Site, device: Device, simulated: SimulatedDevice) -> tuple[Pairing, list[int]]:
    """The four messages of EDHOC: the new pairing, kept on both sides, and the sizes.  Raises EdhocError."""
    gateway = gateway_party(site.key, site.did)
    ours = initiator(gateway, device_credential(device.document, device.did), os.urandom(EPHEMERAL_BYTES))
    visit = simulated.first_visited(site.did, gateway.credential)
    sizes, message = [], ours.start()
    while message:
        sizes.append(len(message))
        answer = visit.receive(message)
        sizes.append(len(answer))
        message = ours.receive(answer)
    pairing = pairing_of(ours, site.did, device.did)
    site.devices.keep_pairing(device, pairing.encode())
    return pairing, sizes


def _meet(
    output: Output, site: Site, device: Device, simulated: SimulatedDevice, *, is_first: bool = False
) -> None:
    """EDHOC if it is due, and the three messages of the fast path; each side keeps what it must first.

    Raises EdhocError, FastPathError.
    """
    pairing = Pairing.decode(site.devices.pairing(device))
    first_sizes: list[int] = []
    if not device.is_weak and (is_first or pairing.epoch == 0):
        pairing, first_sizes = _meet_first(site, device, simulated)
    now_ms = time.monotonic_ns() // 1_000_000
    gateway, visit = Initiator(pairing, os.urandom(NONCE_BYTES), now_ms), simulated.visited(now_ms)
    first = gateway.start(now_ms).send
    second = visit.receive(first, now_ms).send
    third = gateway.receive(second, now_ms)
    if third.save is not None:
        site.devices.keep_pairing(device, third.save.encode())
    last = visit.receive(third.send, now_ms)
    assert third.session and last.session  # noqa: S101, PT018 - both ended without an error
    assert is_equal(third.session.send_key, last.session.receive_key)  # noqa: S101 - they have one key
    sizes = [len(first), len(second), len(third.send)]
    waited = (
        f"  after {simulated.failure_count} failed attempts it waited {simulated.waited_ms} ms, "
        "simulated, first\n"
        if simulated.waited_ms
        else ""
    )
    met_first = (
        f"  first meeting, EDHOC: {len(first_sizes)} messages of {', '.join(map(str, first_sizes))} bytes; "
        "a new shared key that nobody can rebuild later\n"
        if first_sizes
        else ""
    )
    output.value(
        {
            "device": device.name,
            "is_authentic": True,
            "did": did_cpc(device.did),
            "meeting": pairing.epoch,
            "waited_ms": simulated.waited_ms,
            "first_meeting_bytes": first_sizes,
            "message_bytes": sizes,
            "transcript": third.session.transcript.hex(),
        },
        f"{device.name} is authentic, and so is its gateway\n"
        f"  {did_cpc(device.did)}\n"
        "  its key came back from its cells, after a power-up like no other before\n"
        f"{waited}{met_first}"
        f"  fast path, meeting {pairing.epoch}: 3 messages of {sizes[0]}, {sizes[1]} and {sizes[2]} bytes; "
        "both proved the key they share, both have a new session key\n"
        "  not proven: how far away it is; Bluetooth can be relayed",
    )


async def run_status_list(args: Namespace) -> int:
    """`cpc device status-list`."""
    output = Output(args)
    with open_site(args) as (site, config):
        async with open_registrar(args, output, site, config) as registrar:
            made = await publish(site, registrar)
        assert made.evidence  # noqa: S101 - `publish` returns what is anchored
        disk = Disk()
        disk.write_file_atomic(args.out, made.token, 0o644)
        disk.write_file_atomic(Path(f"{args.out}.evidence"), made.evidence, 0o644)
        output.value(
            {
                "uri": site.status_uri,
                "version": made.version,
                "bytes": len(made.token),
                "file": str(args.out),
            },
            f"version {made.version} of {site.status_uri}\n  written: {len(made.token)} bytes in {args.out}\n"
            f"  proven: its hash is on the chain; {args.out}.evidence proves it to others",
        )
    return EXIT_OK
