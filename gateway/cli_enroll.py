"""`cpc enroll`: a chip becomes a device of this site, with a key of its own silicon and a name on the chain.

Runs on CPython, on Linux.  Part of the command line.
"""

import json
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from pathlib import Path
from typing import Any

from gateway.cli_output import EXIT_OK, Output, UsageError, moment_text, whole_number
from gateway.cli_registrar import add_site, open_registrar, open_site
from gateway.devices import Device
from gateway.enrolment import Site, enrol
from gateway.enrolment_chip import READOUTS, PufSource
from puf import helper_signature
from puf.did import did_cpc
from puf.helper_data import REGION_BYTES_MAX
from puf.hkdf import sha256
from puf.puf_simulator import SimulatedChip
from puf.puf_source import Recording

READOUT_BYTES = 2040
"""What an ESP32 gives: the RTC slow memory that nothing else uses."""
FILE_SIZE_MAX = 64 << 20
NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
NAME_LENGTH_MAX = 32
EXAMPLES = """\
examples:
  cpc enroll lock1 -c site/gateway.toml --simulate first-chip
  cpc enroll lock2 -c site/gateway.toml --readouts lock2.bin --readout-bytes 2040
  cpc enroll plug7 -c site/gateway.toml --simulate seventh-chip --weak
  cpc enroll lock1 -c site/gateway.toml --simulate first-chip > lock1.txt     the record, to be printed

Do it in a trusted place: whoever hears the readouts has the key.  If it ends before it is done, run it
again: it goes on where it was, and pays once.  Undo it: cpc device revoke NAME."""


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc enroll`."""
    command = subcommands.add_parser(
        "enroll",
        help="make a chip a device of this site, with a name on the chain",
        formatter_class=RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    command.add_argument("name", type=device_name, metavar="NAME", help="1 to 32 of a-z, 0-9, _ and -")
    add_source(command)
    command.add_argument(
        "--weak", action="store_true", help="it does no curves: its gateway vouches for it, by MAC"
    )
    add_site(command)
    command.set_defaults(run=run_enroll)


def add_source(command: ArgumentParser) -> None:
    """Adds where readouts come from."""
    where = command.add_mutually_exclusive_group()
    where.add_argument("--simulate", metavar="SEED", help="a simulated chip; the same seed is the same chip")
    where.add_argument("--readouts", type=Path, metavar="FILE", help="recorded readouts, one after the other")
    command.add_argument(
        "--readout-bytes",
        type=whole_number,
        default=READOUT_BYTES,
        metavar="N",
        help=f"size of one readout [{READOUT_BYTES}]",
    )
    command.add_argument(
        "--count", type=whole_number, default=READOUTS, metavar="N", help=f"readouts to take [{READOUTS}]"
    )
    command.add_argument(
        "--debias", action="store_true", help="use only pairs of cells that differ: for biased chips"
    )


def device_name(text: str) -> str:
    """The type of arguments that name a device."""
    if not 1 <= len(text) <= NAME_LENGTH_MAX or not set(text) <= NAME_LETTERS:
        raise ArgumentTypeError(f"{text!r} is no name: write 1 to {NAME_LENGTH_MAX} of a-z, 0-9, _ and -")
    return text


def source_of(args: Namespace) -> PufSource:
    """The chip that the command line names.  Raises UsageError."""
    if not 1 <= args.readout_bytes <= REGION_BYTES_MAX:
        raise UsageError(f"a readout has 1 to {REGION_BYTES_MAX} bytes, not {args.readout_bytes}")
    if args.simulate is not None:
        return SimulatedChip(args.simulate.encode(), args.readout_bytes)
    if args.readouts is None:
        raise UsageError("say where readouts come from: --simulate SEED, or --readouts FILE")
    try:
        with args.readouts.open("rb") as file:
            data = file.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise UsageError(f"cannot read {args.readouts}: {error.strerror}") from error
    if len(data) > FILE_SIZE_MAX:
        raise UsageError(f"{args.readouts} is larger than {FILE_SIZE_MAX:,} bytes; give fewer readouts")
    try:
        recording = Recording(data, args.readout_bytes)
    except ValueError as error:
        raise UsageError(f"{args.readouts} holds no readouts: {error}; say --readout-bytes N") from error
    if recording.count < args.count:
        raise UsageError(f"{args.readouts} has {recording.count} readouts, not the {args.count} of --count")
    return recording


async def run_enroll(args: Namespace) -> int:
    """`cpc enroll`."""
    output = Output(args)
    with open_site(args) as (site, config):
        known = site.devices.live(args.name)
        if known is None:
            # Before the chain is asked: what is wrong with the command line is said at once.
            source_of(args)
        async with open_registrar(args, output, site, config) as registrar:
            device = await enrol(
                site, args.name, lambda: source_of(args), registrar, args.weak, args.debias, args.count
            )
        if known is not None:
            output.note(
                f"{args.name} was enrolled already; nothing was changed"
                if known.state == device.state
                else f"gone on with the enrolment of {args.name} that was interrupted"
            )
        show_record(output, site, device)
    return EXIT_OK


def show_record(output: Output, site: Site, device: Device) -> None:
    """What is to be printed and kept with the device: all of it is public."""
    helper = helper_signature.open_signed(device.helper, site.key.public)
    shown = device_json(site, device)
    how = (
        "by its gateway, which vouches for it"
        if device.is_weak
        else "by a key of its own, made from its cells"
    )
    lines = [
        f"device      {device.name}",
        f"state       {device.state}",
        f"name        {did_cpc(device.did)}",
        f"gateway     {did_cpc(site.did)}",
        f"proves      itself {how}",
        f"region      0x{device.address:x}, {device.size} bytes, {helper.strength_bits} bits of strength"
        + (", debiased" if helper.mask else ""),
        f"helper      {len(device.helper)} bytes, SHA-256 {sha256(device.helper).hex()}",
        f"status      entry {device.status_index} of {site.status_uri}",
        f"enrolled    {moment_text(device.planned_ms * 1_000_000)}",
    ]
    if device.height is not None:
        lines.append(f"proven      its name was on the chain after block {device.height}")
    judged = shown["quality"]
    if "size" in judged:
        lines.append(f"judged      {judged['verdict']}: the {judged['size']} bytes that bear the key")
    for reason in judged["reasons"]:
        lines.append(f"quality     {reason}")
    output.value(shown, "\n".join(lines))


def device_json(site: Site, device: Device) -> dict[str, Any]:
    """A device for machines."""
    return {
        "device": device.name,
        "state": device.state,
        "did": did_cpc(device.did),
        "gateway": did_cpc(site.did),
        "is_weak": device.is_weak,
        "address": device.address,
        "size": device.size,
        "helper_sha256": sha256(device.helper).hex(),
        "status": {"idx": device.status_index, "uri": site.status_uri},
        "enrolled_ms": device.planned_ms,
        "tx_hash": device.tx_hash.hex() if device.tx_hash else None,
        "height": device.height,
        "quality": json.loads(device.quality),
    }
