"""What the commands that speak to a device share: the radio, and the client for one device of a site.

Runs on CPython; needs the extra `ble`.  Part of the command line.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.cli_output import Output, UsageError
from gateway.device_link import Callee, Caller, PairingStore
from gateway.devices import ENROLLED, Device
from gateway.enrolment import Site
from gateway.first_meeting import device_credential, gateway_party
from puf.fast_path_keys import Pairing

if TYPE_CHECKING:
    from gateway.device_ble import DeviceClient, Radio


def add_radio(command: ArgumentParser) -> None:
    """Adds --adapter, --address and --air."""
    command.add_argument("--adapter", default="hci0", metavar="NAME", help="of the Bluetooth adapter [hci0]")
    command.add_argument(
        "--address", default="", metavar="ADDR", help="where the device is [it is looked for]"
    )
    command.add_argument(
        "--air",
        default="",
        metavar="HOST:PORT",
        help="a simulated air in place of an adapter (python -m hil.air)",
    )


@asynccontextmanager
async def open_radio(args: Namespace) -> AsyncIterator[Radio]:
    """The radio that the command line names.  Raises UsageError."""
    try:
        from gateway.device_ble import Radio
    except ImportError as error:
        raise UsageError(
            f"Bluetooth needs the extra `ble`: pip install 'cpchain-edge[ble]' ({error})"
        ) from error
    if not args.air:
        yield Radio(args.adapter)
        return
    try:
        # Of the rig, which is no part of what runs at a site.
        from hil.bleak_backend import Adapter
    except ImportError as error:
        raise UsageError(f"--air needs the extra `dev`: {error}") from error
    try:
        adapter = Adapter(args.air)
        await adapter.__aenter__()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no air at {args.air}: {error}; start one: python -m hil.air --port 7700"
        ) from error
    try:
        yield Radio(args.adapter, adapter.scanner, adapter.client)
    finally:
        await adapter.__aexit__(None, None, None)


def enrolled(site: Site, name: str) -> Device:
    """The device of this name, which counts.  Raises UnknownDevice, UsageError."""
    device = site.devices.latest(name)
    if device.state != ENROLLED:
        raise UsageError(f"{name} is {device.state}; only an enrolled device is spoken to")
    return device


def caller_of(site: Site, device: Device) -> tuple[Caller, Callee]:
    """Gateway and device as they are to each other."""
    if device.is_weak:
        return Caller(site.did, None), Callee(device.did, None)
    identity = gateway_party(site.key, site.did).identity
    return Caller(site.did, identity), Callee(device.did, device_credential(device.document, device.did))


def store_of(site: Site, device: Device) -> PairingStore:
    """What the site keeps of the device between meetings."""
    return PairingStore(
        lambda: Pairing.decode(site.devices.pairing(device)),
        lambda pairing: site.devices.keep_pairing(device, pairing.encode()),
    )


def is_first_due(site: Site, device: Device) -> bool:
    """Whether they have not met yet: what enrolment left is replaced by what nobody can rebuild."""
    return not device.is_weak and Pairing.decode(site.devices.pairing(device)).epoch == 0


@asynccontextmanager
async def open_client(
    args: Namespace, output: Output, site: Site, device: Device, is_first: bool = False
) -> AsyncIterator[DeviceClient]:
    """The gateway's client for this device."""
    caller, callee = caller_of(site, device)
    is_first = is_first or is_first_due(site, device)
    store = store_of(site, device)
    async with open_any(args, output, caller, callee, store, device.name, is_first=is_first) as client:
        yield client


@asynccontextmanager
async def open_any(
    args: Namespace,
    output: Output,
    caller: Caller,
    callee: Callee,
    store: PairingStore,
    label: str,
    *,
    is_first: bool = False,
    is_visitor: bool = False,
) -> AsyncIterator[DeviceClient]:
    """A client for a device, whoever calls."""
    async with open_radio(args) as radio:
        from gateway.device_ble import DeviceClient

        async with DeviceClient(
            *(radio, caller, callee, store, os.urandom),
            label=label,
            address=args.address,
            is_first=is_first,
            is_visitor=is_visitor,
            note=output.note,
        ) as client:
            yield client


def now_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000
