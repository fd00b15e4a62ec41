"""A device that is simulated whole: a chip, its flash in a folder, and the very files that run on a board.

Runs on CPython, on Linux.  Part of the command line.  After power-on it reads its cells, finds its root and
answers, without a radio in between; its flash is files, so that what it remembers a later run remembers.
"""

import os
import time
from argparse import Namespace
from pathlib import Path

from devices.micropython.device_keys import open_device
from devices.micropython.flash import Flash
from devices.micropython.log_ring import Log
from devices.micropython.provision import Provision
from devices.micropython.session import PROVED, Session
from devices.micropython.session import Device as BoardDevice
from devices.micropython.settings import Settings
from gateway.cli_device_ble import provision_of
from gateway.cli_device_radio import caller_of, is_first_due, store_of
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError
from gateway.cli_registrar import open_site
from gateway.device_link import DeviceLink
from gateway.devices import ENROLLED, Device
from gateway.enrolment import Site
from puf.attempts import Attempts
from puf.did import did_cpc
from puf.errors import PufError, SignatureError
from puf.puf_simulator import SimulatedChip


class NoRole:
    """A device with nothing to move."""

    KIND = "simulated"
    ACTIONS = 0

    def status(self) -> dict[str, object]:
        """Nothing is known of nothing."""
        return {}

    def act(self, action: int, holder: bytes, now_ms: int) -> int:
        """Never called: it has no actions."""
        raise NotImplementedError


class SimulatedBoard:
    """A board after power-on.

    `failure_count`: attempts in a row that failed before this one; `waited_ms`: how long it would have waited
    for that: its clock is simulated, too, and costs nobody time.
    """

    def __init__(self, chip: SimulatedChip, folder: Path, provision: Provision) -> None:
        """chip: what is in it.  folder: its flash.  Raises PufError, DeviceError."""
        flash = Flash(str(folder))
        self.failure_count = Attempts(flash.slots("attempts"), 0).failure_count
        waits: list[int] = []
        # Another power-up than any before: a simulated chip has them numbered.
        chip.read_count = int.from_bytes(os.urandom(6), "big")
        keys = open_device(chip.read(), provision, flash, waits.append, os.urandom, address=chip.address)
        self.waited_ms = sum(waits)
        log = Log(2_048, _now_ms, None)
        settings = Settings(flash.slots("settings"), keys.settings_key(), {})
        self._device = BoardDevice(keys, NoRole(), None, log, settings, "simulated", os.urandom, _now_ms())

    def connect(self) -> Session:
        """Somebody connects."""
        return self._device.connect(b"here", _now_ms())


def run_authenticate(args: Namespace) -> int:
    """`cpc device authenticate --simulate`."""
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
        provision = provision_of(site, device, "simulated", {})._replace(helper=bytes(helper))
        try:
            board = SimulatedBoard(_chip(args.simulate, device), folder, provision)
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
        _meet(output, site, device, board, is_first=args.first)
    return EXIT_OK


def _chip(seed: str, device: Device) -> SimulatedChip:
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


def _meet(output: Output, site: Site, device: Device, board: SimulatedBoard, *, is_first: bool) -> None:
    """Both prove themselves; each side keeps what it must first.  Raises DeviceLinkError."""
    caller, callee = caller_of(site, device)
    store = store_of(site, device)
    link = DeviceLink(
        caller, callee, store.load(), os.urandom, is_first=is_first or is_first_due(site, device)
    )
    visit, message = board.connect(), link.start(_now_ms())
    while message:
        answer = visit.receive(message, _now_ms())
        if link.state == PROVED:
            break
        step = link.receive(answer, _now_ms())
        if step.save is not None:
            store.keep(step.save)
        message = step.send
    assert link.session is not None and visit.state == PROVED  # noqa: S101, PT018 - or an error was raised
    sizes, first_sizes = link.sizes[-3:], link.sizes[:-3]
    waited = (
        f"  after {board.failure_count} failed attempts it waited {board.waited_ms} ms, simulated, first\n"
        if board.waited_ms
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
            "meeting": link.session.epoch,
            "waited_ms": board.waited_ms,
            "first_meeting_bytes": first_sizes,
            "message_bytes": sizes,
            "transcript": link.session.transcript.hex(),
        },
        f"{device.name} is authentic, and so is its gateway\n"
        f"  {did_cpc(device.did)}\n"
        "  its key came back from its cells, after a power-up like no other before\n"
        f"{waited}{met_first}"
        f"  fast path, meeting {link.session.epoch}: 3 messages of {sizes[0]}, {sizes[1]} and {sizes[2]} "
        "bytes; both proved the key they share, both have a new session key\n"
        "  not proven: how far away it is; Bluetooth can be relayed",
    )


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
