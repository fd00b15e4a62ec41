"""`cpc device`: the devices of a site: looked at, authenticated, ended, and given a new key.

Runs on CPython, on Linux.  Part of the command line.
"""

from argparse import ArgumentParser, Namespace, _SubParsersAction
from functools import partial
from pathlib import Path

from gateway import (
    cli_chain,
    cli_device_ble,
    cli_device_simulated,
    cli_device_update,
    cli_device_visit,
)
from gateway.cli_enroll import add_source, device_json, device_name, show_record, source_of
from gateway.cli_output import EXIT_OK, Output, UsageError, whole_number
from gateway.cli_registrar import add_site, look_at_site, open_registrar, open_site
from gateway.devices import REVOKED, Device, UnknownDevice
from gateway.disk import Disk
from gateway.enrolment import Site, choose, enrol, publish, revoke
from puf.did import did_cpc

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
    "  cpc device authenticate lock1 -c site/gateway.toml --simulate first-chip --flip-helper-bit 2000\n"
    "  cpc device authenticate lock1 -c site/gateway.toml --ble\n\n"
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
    meet = command("authenticate", "let a device and its gateway prove themselves to each other")
    _add_name(meet)
    where = meet.add_mutually_exclusive_group(required=True)
    where.add_argument("--simulate", metavar="SEED", help="a simulated device, and the chip that is in it")
    where.add_argument("--ble", action="store_true", help="a device that is near, over Bluetooth LE")
    cli_device_ble.add_ble(meet, is_required=True)
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
    for commands in (cli_device_ble, cli_device_visit, cli_device_update):
        commands.add(partial(cli_chain.add_command, kinds, commands.EXAMPLES))


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


async def run_authenticate(args: Namespace) -> int:
    """`cpc device authenticate`."""
    if not args.ble:
        return cli_device_simulated.run_authenticate(args)
    if args.flip_helper_bit is not None:
        raise UsageError("a real device keeps its helper data; --flip-helper-bit goes with --simulate")
    return await cli_device_ble.run_authenticate(args)


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
