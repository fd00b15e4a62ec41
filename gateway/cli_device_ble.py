"""`cpc device ..` over the air: what a board is given, how it is, its log, its settings, its restart.

Runs on CPython, on Linux; needs the extra `ble`.  Part of the command line.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices.micropython import commands
from devices.micropython.provision import Provision
from gateway.cli_device_radio import add_radio, caller_of, enrolled, now_ms, open_client
from gateway.cli_enroll import device_name
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError
from gateway.cli_registrar import add_site, look_at_site, open_site
from gateway.device_grants import FILE_NAME, Grants
from gateway.devices import Device
from gateway.disk import Disk
from gateway.enrolment import Site
from gateway.errors import DeviceUnproven
from gateway.first_meeting import gateway_party
from puf.did import did_cpc

if TYPE_CHECKING:
    from gateway.device_ble import DeviceClient

ROLES = ("lock", "charger", "sensor")
EXAMPLES = {
    "provision": "  cpc device provision lock1 -c site/gateway.toml --role lock --out provision.cbor\n"
    "  cpc device provision lock1 -c site/gateway.toml --role lock --out provision.cbor \\\n"
    "      --set raise_ms=5000\n\n"
    "All of it is public.  It goes onto the board beside the firmware, as /provision.cbor.",
    "state": "  cpc device state lock1 -c site/gateway.toml --ble\n"
    "  cpc device state lock1 -c site/gateway.toml --ble --air 127.0.0.1:7700 --json\n\n"
    "Tells the device the time, too, and takes its key of grants, which cpc device grant needs.",
    "log": "  cpc device log lock1 -c site/gateway.toml --ble",
    "settings": "  cpc device settings lock1 -c site/gateway.toml --ble\n"
    "  cpc device settings lock1 -c site/gateway.toml --ble --set raise_ms=5000\n\n"
    "All that are given are taken, or none is.",
    "restart": "  cpc device restart lock1 -c site/gateway.toml --ble",
}

Command = Callable[[str, str], ArgumentParser]


def add(command: Command) -> None:
    """Adds the commands.  command: makes one, of its name and what it is for."""
    given = command("provision", "write what a board is given beside its firmware; all of it is public")
    _add_name(given)
    given.add_argument("--role", choices=ROLES, required=True, help="what the board is")
    given.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write it")
    given.add_argument(
        "--publisher",
        type=_publisher,
        metavar="HEX|FILE",
        default=b"",
        help="who signs its firmware [nobody]",
    )
    _add_settings(given)
    add_site(given, is_sending=False)
    given.set_defaults(run=run_provision)
    for name, what, run in (
        ("state", "ask a device how it is, over Bluetooth", run_state),
        ("log", "read a device's log, over Bluetooth", run_log),
        ("settings", "read or change a device's settings, over Bluetooth", run_settings),
        ("restart", "let a device start anew, over Bluetooth", run_restart),
    ):
        made = command(name, what)
        _add_name(made)
        add_ble(made, is_required=False)
        if name == "settings":
            _add_settings(made)
        add_site(made, is_sending=False)
        made.set_defaults(run=run)


def add_ble(command: ArgumentParser, *, is_required: bool) -> None:
    """Adds --ble and what belongs to it."""
    if not is_required:
        command.add_argument(
            "--ble", action="store_true", help="over Bluetooth LE; there is no other way yet"
        )
    add_radio(command)


def _add_name(command: ArgumentParser) -> None:
    command.add_argument("name", type=device_name, metavar="NAME", help="of the device")


def _add_settings(command: ArgumentParser) -> None:
    command.add_argument(
        "--set",
        type=_setting,
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="values",
        help="a setting of its role; may be given several times",
    )


def _setting(text: str) -> tuple[str, int | str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ArgumentTypeError(f"{text!r} is no setting; write NAME=VALUE")
    try:
        return name, int(value)
    except ValueError:
        return name, value


def _publisher(text: str) -> bytes:
    try:
        data = bytes.fromhex(text) if len(text) == 64 else Path(text).read_bytes()
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(
            f"{text!r} is no key of 64 hexadecimal digits, and no file: {error}"
        ) from error
    if len(data) != 32:
        raise ArgumentTypeError(f"a publisher's public key has 32 bytes, not {len(data)}")
    return data


def run_provision(args: Namespace) -> int:
    """`cpc device provision`."""
    output = Output(args)
    with look_at_site(args) as (site, _):
        if site is None:
            raise UsageError("no device is enrolled here; cpc enroll enrols one")
        device = enrolled(site, args.name)
        made = provision_of(site, device, args.role, dict(args.values), args.publisher)
        data = made.encode()
        Disk().write_file_atomic(args.out, data, 0o644)
        output.value(
            {
                "device": device.name,
                "did": did_cpc(device.did),
                "gateway": did_cpc(site.did),
                "role": args.role,
                "bytes": len(data),
                "publisher": args.publisher.hex() or None,
                "file": str(args.out),
            },
            f"{device.name} as a {args.role}: {len(data)} bytes in {args.out}, all of them public\n"
            "  put it onto the board as /provision.cbor, and power it on",
        )
    return EXIT_OK


def provision_of(
    site: Site, device: Device, role: str, settings: dict[str, int | str], publisher: bytes = b""
) -> Provision:
    """What this device is given."""
    _, callee = caller_of(site, device)
    ours = theirs = b""
    if callee.credential is not None:
        ours, theirs = gateway_party(site.key, site.did).credential.ccs, callee.credential.ccs
    return Provision(
        *(role, device.name, device.helper, site.did, device.did, site.key.public),
        *(publisher, ours, theirs, settings),
    )


async def run_authenticate(args: Namespace) -> int:
    """`cpc device authenticate --ble`."""
    output = Output(args)
    with open_site(args) as (site, _):
        device = enrolled(site, args.name)
        if args.first and device.is_weak:
            raise UsageError(f"{device.name} does no curves; leave out --first")
        async with open_client(args, output, site, device, args.first) as client:
            try:
                await client.ask(commands.STATUS)
            except DeviceUnproven as error:
                output.value(
                    {"device": device.name, "is_authentic": False, "reason": str(error)}, f"refused: {error}"
                )
                return EXIT_NOT_PROVEN
            _show_meeting(output, device, client)
    return EXIT_OK


def _show_meeting(output: Output, device: Device, client: DeviceClient) -> None:
    assert client.link is not None and client.link.session is not None  # noqa: S101, PT018 - it is proved
    sizes = client.link.sizes
    session = client.link.session
    output.value(
        {
            "device": device.name,
            "is_authentic": True,
            "did": did_cpc(device.did),
            "meeting": session.epoch,
            "has_met_first": client.link.has_met,
            "message_bytes": sizes,
            "found_ms": client.found_ms,
            "proved_ms": client.proved_ms,
            "transcript": session.transcript.hex(),
        },
        f"{device.name} is authentic, and so is its gateway\n"
        f"  {did_cpc(device.did)}\n"
        f"  {'a first meeting, EDHOC, then the' if client.link.has_met else 'the'} fast path, meeting "
        f"{session.epoch}: {len(sizes)} messages of {', '.join(map(str, sizes))} bytes\n"
        f"  found after {client.found_ms} ms, proved after {client.proved_ms} ms\n"
        "  not proven: how far away it is; Bluetooth can be relayed",
    )


async def run_state(args: Namespace) -> int:
    """`cpc device state`."""
    output = Output(args)
    with open_site(args) as (site, config):
        device = enrolled(site, args.name)
        with Grants(config.file.parent / FILE_NAME, site.devices, site.did) as grants:
            async with open_client(args, output, site, device) as client:
                await grants.meet(device, client, now_ms)
                (status,) = await client.ask(commands.STATUS)
        if not isinstance(status, dict):
            raise DeviceUnproven(f"{device.name} says something else than a status; update its firmware")
        output.value({"device": device.name, **_clean(status)}, _status_text(device, status))
    return EXIT_OK


def _status_text(device: Device, status: dict[Any, Any]) -> str:
    on_s = int(status.get("uptime_ms") or 0) // 1_000
    lines = [f"{device.name} is a {status.get('kind')}, firmware {status.get('version')}, on for {on_s} s"]
    role = status.get("role")
    for name, value in sorted(role.items() if isinstance(role, dict) else ()):
        lines.append(f"  {name!s:<14} {value}")
    return "\n".join(lines)


def _clean(value: Any) -> Any:
    """What a device said, as JSON can have it."""
    if isinstance(value, dict):
        return {str(key): _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return value.hex() if isinstance(value, bytes) else value


async def run_log(args: Namespace) -> int:
    """`cpc device log`."""
    output = Output(args)
    with open_site(args) as (site, _):
        device = enrolled(site, args.name)
        async with open_client(args, output, site, device) as client:
            first, text = await read_log(client)
    lines = text.decode(errors="replace").splitlines()
    output.value({"device": device.name, "first_byte": first, "lines": lines}, "\n".join(lines))
    return EXIT_OK


async def read_log(client: DeviceClient) -> tuple[int, bytes]:
    """(where it begins, all that the device still has of its log)."""
    begin, wanted, text = -1, 0, b""
    # A device that goes on writing is read as far as it had come, and a little further.
    for _ in range(64):
        first, data, after = await client.ask(commands.LOG, wanted)
        if (
            not isinstance(first, int)
            or not isinstance(data, bytes)
            or not isinstance(after, int)
            or not data
        ):
            break
        begin = first if begin < 0 else begin
        text, wanted = text + data, after
    return max(begin, 0), text


async def run_settings(args: Namespace) -> int:
    """`cpc device settings`."""
    output = Output(args)
    with open_site(args) as (site, _):
        device = enrolled(site, args.name)
        async with open_client(args, output, site, device) as client:
            (values,) = await client.ask(commands.SETTINGS, *([dict(args.values)] if args.values else []))
    shown = _clean(values)
    lines = [f"{name:<20} {json.dumps(value)}" for name, value in sorted(shown.items())]
    output.value({"device": device.name, "settings": shown}, "\n".join(lines) or "its role has no settings")
    return EXIT_OK


async def run_restart(args: Namespace) -> int:
    """`cpc device restart`."""
    output = Output(args)
    with open_site(args) as (site, _):
        device = enrolled(site, args.name)
        async with open_client(args, output, site, device) as client:
            await client.ask(commands.REBOOT)
    output.value({"device": device.name, "is_restarting": True}, f"{device.name} starts anew")
    return EXIT_OK
