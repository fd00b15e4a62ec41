"""`cpc device update` and `cpc device console`: new firmware for a board, and its serial console.

Runs on CPython, on Linux; the first needs the extra `ble`, the second `serial`.  Part of the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from devices.firmware_sender import Sender
from devices.micropython import commands
from devices.micropython import ota_receiver as ota
from devices.micropython.errors import UpdateError
from gateway.cli_device_ble import add_ble
from gateway.cli_device_radio import enrolled, open_client
from gateway.cli_enroll import device_name
from gateway.cli_firmware import read_update
from gateway.cli_output import EXIT_FAILED, EXIT_OK, Output, UsageError
from gateway.cli_registrar import add_site, open_site
from puf import cbor

if TYPE_CHECKING:
    from gateway.device_ble import DeviceClient

EXIT_KEY = b"\x1d"
"""Ctrl-], as telnet has it: all others belong to the board."""
POLL_MS = 1_000
BAUD = 115_200
EXAMPLES = {
    "update": "  cpc device update lock1 -c site/gateway.toml --firmware lock-2.update --ble --restart\n"
    "  cpc device update charger1 -c site/gateway.toml --firmware charger-2.update \\\n"
    "      --wifi http://192.168.1.5:8000/charger-2.update --network yard --network-key-file yard.key\n\n"
    "Broken off, it goes on where it was.  The board tries what is new at its next start, and comes\n"
    "back to what it ran before unless that proves itself.  With --wifi the board fetches the file\n"
    "from a web server; what it takes is checked by its signature all the same.",
    "console": "  cpc device console /dev/ttyUSB0\n"
    "  cpc device console /dev/ttyUSB0 --log lock1.log\n"
    "  cpc device console socket://127.0.0.1:7800\n\n"
    "Ctrl-] leaves; Ctrl-C goes to the board, and ends what it runs.",
}

Command = Callable[[str, str], ArgumentParser]


def add(command: Command) -> None:
    """Adds the commands.  command: makes one, of its name and what it is for."""
    update = command("update", "give a device new firmware")
    update.add_argument("name", type=device_name, metavar="NAME", help="of the device")
    update.add_argument(
        "--firmware", type=Path, metavar="FILE", required=True, help="cpc firmware sign made it"
    )
    add_ble(update, is_required=False)
    update.add_argument("--wifi", metavar="URL", default="", help="the board fetches the file from there")
    update.add_argument(
        "--network", metavar="NAME", default="", help="the WiFi network that it joins for that"
    )
    update.add_argument("--network-key-file", type=Path, metavar="FILE", help="holds the key of that network")
    update.add_argument("--restart", action="store_true", help="let it start anew, and so try it, at once")
    add_site(update, is_sending=False)
    update.set_defaults(run=run_update)
    console = command("console", "a board's serial console; Ctrl-] leaves")
    console.add_argument("port", metavar="PORT", help="/dev/ttyUSB0, or socket://HOST:PORT")
    console.add_argument("--baud", type=int, default=BAUD, metavar="N", help=f"[{BAUD}]")
    console.add_argument("--log", type=Path, metavar="FILE", help="append what the board says to this file")
    console.set_defaults(run=run_console)


async def run_update(args: Namespace) -> int:
    """`cpc device update`."""
    output = Output(args)
    update = read_update(args.firmware)
    if not args.ble and not args.wifi:
        raise UsageError("say --ble, or --wifi URL")
    sender = Sender(update)
    with open_site(args) as (site, _):
        device = enrolled(site, args.name)
        async with open_client(args, output, site, device) as client:
            try:
                if args.wifi:
                    await _fetch(client, args)
                with output.progress("update", "B") as show:
                    await _send(client, sender, show, is_fetching=bool(args.wifi))
            except UpdateError as error:
                output.problem("UpdateError", f"{device.name} goes on with what it runs: {error}")
                return EXIT_FAILED
            if args.restart and not sender.is_same:
                await client.ask(commands.REBOOT)
    version = update.firmware.version
    after = "it starts anew with it now" if args.restart else "its next start tries it"
    output.value(
        {
            "device": device.name,
            "version": version,
            "is_same": sender.is_same,
            "sent_bytes": sender.sent_size,
            "total_bytes": sender.total,
            "is_restarting": bool(args.restart and not sender.is_same),
        },
        f"{device.name} runs version {version} already"
        if sender.is_same
        else f"{device.name} has version {version}; {after}\n"
        f"  sent: {sender.sent_size:,} of {sender.total:,} bytes; the rest it had already",
    )
    return EXIT_OK


async def _ask(client: DeviceClient, body: bytes) -> bytes:
    results = await client.ask(commands.OTA, body)
    if len(results) != 1 or not isinstance(results[0], bytes):
        raise UpdateError(ota.MALFORMED, "the device's answer is none to an update")
    return results[0]


async def _fetch(client: DeviceClient, args: Namespace) -> None:
    """Tells the board to get it itself."""
    key = ""
    if args.network_key_file is not None:
        key = args.network_key_file.read_text().strip()
    elif args.network:
        raise UsageError("--network needs --network-key-file; a key on the command line is seen by everybody")
    answer = cbor.decode(await _ask(client, cbor.encode([ota.FETCH, args.wifi, args.network, key])))
    if not isinstance(answer, list) or answer[0] != ota.WORKING:
        code = answer[0] if isinstance(answer, list) else ota.MALFORMED
        raise UpdateError(code, f"the board says: {ota.REASONS.get(code, f'code {code}')}")


async def _send(
    client: DeviceClient, sender: Sender, show: Callable[[int, int], None], *, is_fetching: bool
) -> None:
    """Brings the update, or watches how the board gets it.  Raises UpdateError."""
    if is_fetching:
        await _watch(client, sender, show)
        return
    body = sender.next(None)
    while body is not None:
        if sender.wait_ms:
            await asyncio.sleep(sender.wait_ms / 1000)
        body = sender.next(await _ask(client, body))
        show(sender.done, sender.total)


async def _watch(client: DeviceClient, sender: Sender, show: Callable[[int, int], None]) -> None:
    last, quiet_count = -1, 0
    while True:
        state: Any = cbor.decode(await _ask(client, cbor.encode([ota.ASK])))
        code = state["code"] if isinstance(state, dict) else ota.MALFORMED
        if code in (ota.STAGED, ota.SAME):
            sender.done, sender.is_same = sender.total, code == ota.SAME
            return
        if code >= ota.MALFORMED and code != ota.NOT_BEGUN:
            raise UpdateError(code, f"the board says: {ota.REASONS.get(code, f'code {code}')}")
        quiet_count = 0 if state["offset"] != last else quiet_count + 1
        if quiet_count > 120:
            raise UpdateError(code, "the board gets no further; its log says why: cpc device log")
        last = state["offset"]
        show(last, sender.total)
        await asyncio.sleep(POLL_MS / 1000)


# The console


def run_console(args: Namespace) -> int:
    """`cpc device console`."""
    try:
        import serial
    except ImportError as error:
        raise UsageError(
            f"a console needs the extra `serial`: pip install 'cpchain-edge[serial]' ({error})"
        ) from error
    try:
        port = serial.serial_for_url(args.port, args.baud, timeout=0.05)
    except (serial.SerialException, ValueError) as error:
        raise UsageError(f"{args.port} cannot be opened: {error}") from error
    with contextlib.ExitStack() as stack:
        stack.callback(port.close)
        log = stack.enter_context(args.log.open("ab")) if args.log is not None else None
        print(f"{args.port}: Ctrl-] leaves", file=sys.stderr, flush=True)
        keys = stack.enter_context(_raw_keys())
        try:
            talk(port, keys, sys.stdout.buffer, log)
        except (serial.SerialException, OSError) as error:
            print(f"\r\n{args.port} is gone: {error}", file=sys.stderr)
            return EXIT_FAILED
    print(file=sys.stderr)
    return EXIT_OK


@contextlib.contextmanager
def _raw_keys() -> Iterator[int]:
    """Standard input, key by key while it is a terminal."""
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        yield descriptor
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def talk(port: Any, keys: int, screen: BinaryIO, log: BinaryIO | None) -> None:
    """Passes bytes both ways until EXIT_KEY, or the end of the keys with nothing more said.

    port: an open serial.Serial with a short timeout; keys: a descriptor.  Raises serial.SerialException.
    """
    import select

    are_open = True
    while True:
        data = port.read(max(1, port.in_waiting))
        if data:
            screen.write(data)
            screen.flush()
            if log is not None:
                log.write(data)
                log.flush()
        elif not are_open:
            return
        if are_open and select.select([keys], [], [], 0)[0]:
            typed = os.read(keys, 256)
            before, mark, _ = typed.partition(EXIT_KEY)
            port.write(before)
            if mark:
                return
            are_open = bool(typed)
