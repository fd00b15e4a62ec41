"""`cpc device grant`, `visitor` and `visit`: what a gateway lets somebody do, and who does it.

Runs on CPython, on Linux; a visit needs the extra `ble`.  Part of the command line.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from devices.micropython import commands
from gateway import device_pass
from gateway.cli_device_ble import Command, add_ble
from gateway.cli_device_radio import enrolled, now_ms, open_any
from gateway.cli_enroll import device_name
from gateway.cli_gateway import add_config_option
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError, moment_text, whole_number
from gateway.cli_registrar import add_site, open_site
from gateway.device_grants import FILE_NAME, Grants, Issued
from gateway.device_link import Callee, Caller, PairingStore
from gateway.device_pass import DevicePass
from gateway.devices import ENROLLED
from gateway.disk import Disk, FileMissing
from gateway.errors import DeviceRefused
from gateway.first_meeting import device_credential
from puf import edhoc_credential, fast_path_store, grant, keys
from puf.did import X25519, did_cpc, did_key, parse_did_key
from puf.edhoc import Identity
from puf.errors import NotesError, PufError
from puf.fast_path_keys import Pairing
from puf.x25519 import PrivateKey

if TYPE_CHECKING:
    from gateway.device_ble import DeviceClient

ACTIONS = {"open": grant.OPEN, "close": grant.CLOSE, "charge": grant.CHARGE, "status": grant.STATUS}
FOR_MS = 3_600_000
EXAMPLES = {
    "visitor": "  cpc device visitor car.key\n\n"
    "A phone or a car does this by itself, with another key for each site; here it is a file.",
    "grant": "  cpc device grant lock1 -c site/gateway.toml --holder did:key:z6LS.. --action open,close \\\n"
    "      --deposit 6f2a.. --amount-ucpc 5000000 --out lock1.pass\n"
    "  cpc device grant lock1 -c site/gateway.toml --list\n\n"
    "It is good once, for its holder, until it ends.",
    "visit": "  cpc device visit lock1.pass --key car.key --action open -c site/gateway.toml\n\n"
    "The visitor carries the device's question for the time to its gateway, as a phone does over the\n"
    "network; with --offline the device must know the time already.",
}
SEED_BYTES = 32


def add(command: Command) -> None:
    """Adds the commands.  command: makes one, of its name and what it is for."""
    who = command("visitor", "make the key of a visitor, or show whose it is")
    who.add_argument("key", type=Path, metavar="FILE", help="where the key is, or shall be")
    who.add_argument("--json", action="store_true", help="print JSON")
    who.set_defaults(run=run_visitor)
    give = command("grant", "let a visitor have a device do something, once")
    give.add_argument("name", type=device_name, metavar="NAME", help="of the device")
    give.add_argument("--list", action="store_true", dest="is_list", help="show what was granted before")
    give.add_argument("--holder", type=_holder, metavar="DID", help="who may use it: did:key:z6LS..")
    give.add_argument("--action", type=_actions, metavar="A,B", help=f"of {', '.join(ACTIONS)}")
    give.add_argument(
        "--for-ms", type=whole_number, default=FOR_MS, metavar="MS", help=f"from now [{FOR_MS}]"
    )
    give.add_argument("--deposit", type=_deposit, default=b"", metavar="HEX", help="what stands behind it")
    give.add_argument("--amount-ucpc", type=whole_number, default=0, metavar="N", help="of the deposit")
    give.add_argument("--out", type=Path, metavar="FILE", help="where to write the pass")
    add_site(give, is_sending=False)
    give.set_defaults(run=run_grant)
    visit = command("visit", "go to a device with a pass, over Bluetooth")
    visit.add_argument("passport", type=Path, metavar="PASS", help="what cpc device grant wrote")
    visit.add_argument("--key", type=Path, metavar="FILE", required=True, help="the visitor's")
    visit.add_argument("--action", type=_actions, metavar="A", required=True, help="what shall be done")
    add_ble(visit, is_required=False)
    visit.add_argument("--json", action="store_true", help="print JSON")
    _add_gateway(visit)
    visit.set_defaults(run=run_visit)


def _add_gateway(command: ArgumentParser) -> None:
    add_config_option(command)
    command.add_argument(
        "--offline", action="store_true", help="the gateway cannot be reached: the device must know the time"
    )


def _holder(text: str) -> bytes:
    try:
        codec, public = parse_did_key(text)
    except PufError as error:
        raise ArgumentTypeError(f"{text!r} is no did:key: {error}") from error
    if codec != X25519:
        raise ArgumentTypeError(f"{text!r} is not of a key for agreement; cpc device visitor makes one")
    return public


def _actions(text: str) -> int:
    names = text.split(",")
    unknown = [name for name in names if name not in ACTIONS]
    if unknown:
        raise ArgumentTypeError(f"{unknown[0]!r} is no action; there are {', '.join(ACTIONS)}")
    return sum({ACTIONS[name] for name in names})


def _deposit(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not hexadecimal") from error
    if not 1 <= len(data) <= grant.IDENTITY_BYTES_MAX:
        raise ArgumentTypeError(f"a deposit is named by 1 to {grant.IDENTITY_BYTES_MAX} bytes")
    return data


def run_visitor(args: Namespace) -> int:
    """`cpc device visitor`."""
    disk = Disk()
    try:
        key = _read_key(args.key)
        is_new = False
    except FileMissing:
        key, is_new = PrivateKey.generate(), True
        disk.write_file_atomic(args.key, key.seed, 0o600)
    name = did_key(key.public, X25519)
    Output(args).value(
        {"holder": name, "file": str(args.key), "is_new": is_new},
        f"{name}\n  {'made' if is_new else 'read'}: {args.key}, which only its holder may have",
    )
    return EXIT_OK


def _read_key(path: Path) -> PrivateKey:
    seed = Disk().read_file(path, SEED_BYTES + 1)
    if len(seed) != SEED_BYTES:
        raise UsageError(
            f"{path} is no visitor's key: it has not {SEED_BYTES} bytes; cpc device visitor makes one"
        )
    return PrivateKey(seed)


def run_grant(args: Namespace) -> int:
    """`cpc device grant`."""
    output = Output(args)
    if not args.is_list and (args.holder is None or args.action is None or args.out is None):
        raise UsageError("say for whom, what, and where to write it: --holder, --action, --out; or --list")
    with open_site(args) as (site, config):
        device = enrolled(site, args.name)
        with Grants(config.file.parent / FILE_NAME, site.devices, site.did) as grants:
            if args.is_list:
                return _show_list(output, grants.issued(device), device.name)
            if device.is_weak:
                raise UsageError(
                    f"{device.name} does no curves, so no visitor can meet it; only its gateway can"
                )
            begin_ms = now_ms() // 1_000 * 1_000
            # It may end a second late, never a second early.
            until_ms = -(-(begin_ms + args.for_ms) // 1_000) * 1_000
            made, data = grants.issue(
                *(device, args.holder, args.action, begin_ms, until_ms),
                *(args.deposit, args.amount_ucpc, now_ms()),
            )
        credential = device_credential(device.document, device.did)
        passport = DevicePass(device.name, device.did, credential, site.did, data).encode()
        Disk().write_file_atomic(args.out, passport, 0o644)
    holder = did_key(args.holder, X25519)
    output.value(
        {
            "device": device.name,
            "grant_id": made.grant_id,
            "epoch": made.epoch,
            "holder": holder,
            "actions": _names(made.actions),
            "until_ms": until_ms,
            "deposit": args.deposit.hex(),
            "amount_ucpc": args.amount_ucpc,
            "bytes": len(data),
            "file": str(args.out),
        },
        f"{holder}\n  may have {device.name} {', '.join(_names(made.actions))}, once, until "
        f"{moment_text(until_ms * 1_000_000)}\n"
        f"  the grant: {len(data)} bytes, number {made.grant_id} of epoch {made.epoch}; "
        f"the pass: {len(passport)} bytes in {args.out}",
    )
    return EXIT_OK


def _names(actions: int) -> list[str]:
    return [name for name, bit in ACTIONS.items() if actions & bit]


def _show_list(output: Output, issued: list[Issued], name: str) -> int:
    for each in issued:
        holder = did_key(each.subject, X25519) if len(each.subject) == SEED_BYTES else each.subject.hex()
        output.value(
            {
                "device": name,
                "grant_id": each.number,
                "epoch": each.epoch,
                "holder": holder,
                "actions": _names(each.actions),
                "until_ms": each.until_ms,
                "deposit": each.deposit.hex(),
                "amount_ucpc": each.amount_ucpc,
            },
            f"{each.epoch}/{each.number:<6} {','.join(_names(each.actions)):<12} until "
            f"{moment_text(each.until_ms * 1_000_000)}  {holder}",
        )
    if not issued:
        output.line(f"nothing was granted for {name} yet")
    return EXIT_OK


async def run_visit(args: Namespace) -> int:
    """`cpc device visit`."""
    output = Output(args)
    passport = device_pass.decode(Disk().read_file(args.passport, device_pass.SIZE_MAX))
    key = _read_key(args.key)
    credential = edhoc_credential.make(key.public, b"\x03")
    caller = Caller(key.public, Identity(credential, key.seed, by_value=True))
    callee = Callee(passport.device, passport.credential)
    store = _store(args.key, key, passport)
    async with open_any(args, output, caller, callee, store, passport.name, is_visitor=True) as client:
        try:
            await _show_grant(client, args, passport)
        except DeviceRefused as error:
            output.value(
                {"device": passport.name, "is_done": False, "reason": error.reason, "why": str(error)},
                f"refused by {passport.name}: {error}",
            )
            return EXIT_NOT_PROVEN
        (status,) = await client.ask(commands.STATUS)
    role = status.get("role") if isinstance(status, dict) else None
    output.value(
        {
            "device": passport.name,
            "is_done": True,
            "actions": _names(args.action),
            "proved_ms": client.proved_ms,
            "role": role,
        },
        f"{passport.name} does it: {', '.join(_names(args.action))}\n  {did_cpc(passport.device)}\n"
        f"  it proved itself {client.proved_ms} ms after it was looked for; its state is now {role}",
    )
    return EXIT_OK


async def _show_grant(client: DeviceClient, args: Namespace, passport: DevicePass) -> None:
    """Raises DeviceRefused."""
    try:
        await client.ask(commands.GRANT, args.action, passport.grant)
    except DeviceRefused as error:
        if error.reason != grant.TIME_UNKNOWN or args.offline:
            raise
    else:
        return
    (question,) = await client.ask(commands.TIME)
    if not isinstance(question, bytes):
        raise UsageError(f"{passport.name} asks for the time in a way that is not known here")
    await client.ask(commands.TIME, _word_on_time(args, passport, question))
    await client.ask(commands.GRANT, args.action, passport.grant)


def _word_on_time(args: Namespace, passport: DevicePass, question: bytes) -> bytes:
    """What the gateway says to the device's question, which a phone would carry over the network."""
    with open_site(args) as (site, config):
        for device in site.devices.all():
            if device.did == passport.device and device.state == ENROLLED:
                with Grants(config.file.parent / FILE_NAME, site.devices, site.did) as grants:
                    return grants.answer_time(device, question, now_ms())
    raise UsageError(f"{args.config} is not the gateway of {passport.name}; name another, or say --offline")


def _store(path: Path, key: PrivateKey, passport: DevicePass) -> PairingStore:
    """What a visitor keeps of a device, sealed under its own key, beside it."""
    disk = Disk()
    file = path.with_name(f"{path.name}.{passport.device.hex()[:16]}.pairing")
    storage = keys.derive(key.seed, keys.STORAGE, b"pairing")

    def load() -> Pairing | None:
        try:
            return fast_path_store.unseal(disk.read_file(file, 1_024), storage)
        except (FileMissing, NotesError):
            return None

    def keep(pairing: Pairing) -> None:
        nonce = os.urandom(fast_path_store.NONCE_BYTES)
        disk.write_file_atomic(file, fast_path_store.seal(pairing, storage, nonce))

    return PairingStore(load, keep)
