"""`cpc firmware`: signs what boards run, and shows what was signed.

Runs on CPython, on Linux.  Part of the command line.  `make firmware` makes what is signed.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from functools import partial
from pathlib import Path
from typing import Any

from devices.firmware_pack import Update, pack, parse, read_files
from devices.micropython import ota_manifest, slots
from devices.micropython.errors import DeviceError
from gateway import cli_chain
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError, whole_number
from gateway.crypto.key_file import create_publisher_key, load_publisher_key
from gateway.disk import Disk
from puf.errors import PufError

UPDATE_BYTES_MAX = 4 << 20
EXAMPLES = {
    "key": "  cpc firmware key --out publisher.key\n\n"
    "Boards are given its public part: cpc device provision .. --publisher HEX.  Who has the file can\n"
    "make firmware for all of them: keep it off the gateways.",
    "sign": "  make firmware\n"
    "  cpc firmware sign build/firmware/lock --version 2 --key publisher.key --out lock-2.update\n"
    "  cpc firmware sign build/firmware/lock --version 3 --minimum 3 --key publisher.key \\\n"
    "      --out lock-3.update\n\n"
    "--minimum N: a board that runs this takes nothing before N any more, for ever.",
    "show": "  cpc firmware show lock-2.update\n  cpc firmware show lock-2.update --publisher 3f..9a --json",
}


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc firmware`."""
    firmware = subcommands.add_parser("firmware", help="what boards run: signed, and shown")
    kinds = firmware.add_subparsers(dest="kind", metavar="KIND", required=True)
    command = partial(cli_chain.add_command, kinds, EXAMPLES)
    key = command("key", "make a key that signs firmware")
    key.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write it")
    key.set_defaults(run=run_key)
    sign = command("sign", "sign the firmware of one role, as an update")
    sign.add_argument("folder", type=Path, metavar="FOLDER", help="of a role, as `make firmware` made it")
    sign.add_argument("--version", type=whole_number, metavar="N", required=True, help="counts up")
    sign.add_argument("--key", type=Path, metavar="FILE", required=True, help="cpc firmware key made it")
    sign.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write the update")
    sign.add_argument("--minimum", type=whole_number, metavar="N", default=1, help="no version before it [1]")
    sign.add_argument("--board", default=ota_manifest.ANY_BOARD, metavar="NAME", help="for this board [any]")
    sign.add_argument(
        "--may-go-back", action="store_true", help="boards with a later version take it, too: to undo one"
    )
    sign.set_defaults(run=run_sign)
    show = command("show", "what an update is, checked file by file")
    show.add_argument("file", type=Path, metavar="FILE", help="an update")
    show.add_argument("--publisher", type=_public_key, metavar="HEX", help="check that this key signed it")
    show.set_defaults(run=run_show)
    for made in (key, sign, show):
        made.add_argument("--json", action="store_true", help="print JSON")


def _public_key(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != 32:
        raise ArgumentTypeError(f"{text!r} is no public key: 64 hexadecimal digits")
    return data


def read_update(path: Path) -> Update:
    """The update in a file.  Raises UsageError for anything else, DiskError."""
    try:
        return parse(Disk().read_file(path, UPDATE_BYTES_MAX))
    except (DeviceError, PufError) as error:
        raise UsageError(f"{path} is no update, or is damaged: {error}") from error


def run_key(args: Namespace) -> int:
    """`cpc firmware key`."""
    key = create_publisher_key(args.out)
    Output(args).value(
        {"file": str(args.out), "publisher": key.public.hex()},
        f"publisher {key.public.hex()}\n  its secret is in {args.out}; give boards what stands above",
    )
    return EXIT_OK


def run_sign(args: Namespace) -> int:
    """`cpc firmware sign`."""
    slot = args.folder / slots.NAMES[0]
    try:
        found = slots.parse_marker((slot / "slot").read_bytes()[:-8])
    except FileNotFoundError:
        found = None
    if found is None:
        raise UsageError(f"{args.folder} holds no firmware; make firmware makes build/firmware/ROLE")
    try:
        update = pack(
            read_files(slot),
            load_publisher_key(args.key),
            found.role.decode(),
            args.version,
            minimum=args.minimum,
            board=args.board,
            may_go_back=args.may_go_back,
        )
    except DeviceError as error:
        raise UsageError(str(error)) from error
    Disk().write_file_atomic(args.out, update.encode(), 0o644)
    shown = _shown(update)
    Output(args).value(
        shown | {"file": str(args.out)}, f"{_text(update)}\n  written: {shown['bytes']:,} bytes in {args.out}"
    )
    return EXIT_OK


def run_show(args: Namespace) -> int:
    """`cpc firmware show`."""
    output = Output(args)
    update = read_update(args.file)
    if args.publisher is not None:
        try:
            ota_manifest.open_signed(update.statement, args.publisher)
        except PufError as error:
            output.value(
                _shown(update) | {"is_signed": False, "reason": str(error)},
                f"{_text(update)}\n  NOT signed by {args.publisher.hex()}: {error}",
            )
            return EXIT_NOT_PROVEN
    lines = [f"  {entry.size:>7,}  {entry.digest.hex()[:16]}  {entry.path}" for entry in update.entries]
    said = "signed by that publisher" if args.publisher is not None else "who signed it was not checked"
    output.value(
        _shown(update)
        | {"is_signed": True if args.publisher is not None else None}
        | {
            "files": [
                {"path": entry.path, "bytes": entry.size, "sha256": entry.digest.hex()}
                for entry in update.entries
            ]
        },
        "\n".join([_text(update), f"  {said}", *lines]),
    )
    return EXIT_OK


def _shown(update: Update) -> dict[str, Any]:
    firmware = update.firmware
    return {
        "role": firmware.role,
        "board": firmware.board,
        "version": firmware.version,
        "minimum": firmware.minimum,
        "loader": firmware.loader,
        "mpy": firmware.mpy,
        "may_go_back": firmware.may_go_back,
        "file_count": len(update.entries),
        "bytes": len(update.encode()),
    }


def _text(update: Update) -> str:
    firmware = update.firmware
    board = "any board" if firmware.board == ota_manifest.ANY_BOARD else firmware.board
    back = ", also over a later one" if firmware.may_go_back else ""
    return (
        f"{firmware.role} version {firmware.version} for {board}{back}: {len(update.entries)} files, "
        f"{firmware.content_size:,} bytes; afterwards nothing before version {firmware.minimum} is taken"
    )
