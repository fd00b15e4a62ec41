"""`cpc remote`: command a gateway from afar, as an operator.

Runs on CPython.  The operator's key is a file of its own (`cpc remote key`); its name goes into the gateway's
configuration, below [remote].
"""

import asyncio
import os
import secrets
import stat
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.cli_output import EXIT_FAILED, EXIT_OK, Output, UsageError
from gateway.disk import Disk
from gateway.remote_command import (
    ARGUMENTS,
    DONE,
    SET_CONFIG,
    Command,
    CommandRefused,
    Reply,
    open_reply,
    sign_command,
)
from puf.did import ED25519, did_key, parse_did_key
from puf.ed25519 import SigningKey
from puf.errors import PufError
from puf.hkdf import sha256

KEY_HEAD = "cpc-operator-key-1:"
LIFE_MS = 600_000
TIMEOUT_MS = 30_000
FILE_SIZE_MAX = 256 << 10


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the commands of this file."""
    remote = subcommands.add_parser(
        "remote",
        help="command a gateway from afar, through a broker",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  cpc remote key operator.key                     # its did:key goes below [remote] operators\n"
        "  cpc remote send --key operator.key --to did:key:z6Mk.. --name gateway \\\n"
        "      --broker mqtts://broker.example status\n"
        "  cpc remote send .. set-config config=@gateway.toml\n"
        "  cpc remote sign --key operator.key --to did:key:z6Mk.. ping -o ping.cose",
    )
    actions = remote.add_subparsers(dest="action", metavar="ACTION", required=True)
    key = actions.add_parser("key", help="make an operator's key")
    key.add_argument("file", type=Path, help="where to; an existing one is never overwritten")
    key.add_argument("--json", action="store_true", help="print JSON")
    key.set_defaults(run=run_key)
    sign = actions.add_parser(
        "sign", help="sign a command into a file, for whatever way there is to the broker"
    )
    _add_command(sign)
    sign.add_argument("-o", "--output", type=Path, required=True, help="the file")
    sign.set_defaults(run=run_sign)
    send = actions.add_parser("send", help="sign a command, send it, and wait for the answer")
    _add_command(send)
    send.add_argument("--broker", required=True, help="mqtt://host:port or mqtts://host:port")
    send.add_argument("--name", default="gateway", help="how the gateway calls itself [gateway]")
    send.add_argument("--command-topic", default="cpc/{gateway}/command", help="[cpc/{gateway}/command]")
    send.add_argument("--reply-topic", default="cpc/{gateway}/reply", help="[cpc/{gateway}/reply]")
    send.add_argument("--mqtt-version", choices=("5", "3.1.1"), default="5", help="[5]")
    send.add_argument("--username", default="", help="for the broker")
    send.add_argument("--password-file", default="", help="its first line is the password; mode 0600")
    send.add_argument("--ca", default="", help="who may have signed the broker's certificate")
    send.add_argument("--cert", default="", help="our certificate, where the broker wants one")
    send.add_argument("--cert-key", default="", help="its key, mode 0600")
    send.add_argument(
        "--timeout-ms", type=int, default=TIMEOUT_MS, help=f"how long to wait for the answer [{TIMEOUT_MS}]"
    )
    send.set_defaults(run=run_send)


def _add_command(parser: ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, required=True, help="the operator's key file")
    parser.add_argument("--to", required=True, help="the gateway's did:key")
    parser.add_argument(
        "--life-ms", type=int, default=LIFE_MS, help=f"after so long the command is void [{LIFE_MS}]"
    )
    parser.add_argument(
        "--seq", type=int, help="its number, greater than that of the last one [the time in milliseconds]"
    )
    parser.add_argument("word", choices=tuple(ARGUMENTS), help="what to do")
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="VALUE may be @FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_key(args: Namespace) -> int:
    """`cpc remote key`."""
    output = Output(args)
    seed = secrets.token_bytes(32)
    try:
        descriptor = os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{args.file} exists already and is not overwritten; name another file") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{KEY_HEAD}{seed.hex()}:{sha256(seed)[:4].hex()}\n")
        file.flush()
        os.fsync(descriptor)
    did = did_key(SigningKey(seed).public)
    output.value({"file": str(args.file), "did": did}, f'made {args.file}\n[remote]\noperators = ["{did}"]')
    return EXIT_OK


def run_sign(args: Namespace) -> int:
    """`cpc remote sign`."""
    output = Output(args)
    command, data = _signed(args)
    Disk().write_file_atomic(args.output, data, mode=0o644)
    output.value(
        {"file": str(args.output), "seq": command.seq, "size": len(data)},
        f"{args.output}: {command.word}, number {command.seq}, {len(data)} bytes; publish them as they are",
    )
    return EXIT_OK


async def run_send(args: Namespace) -> int:
    """`cpc remote send`."""
    output = Output(args)
    command, data = _signed(args)
    reply = await _exchange(args, command, data)
    value: dict[str, Any] = {
        "seq": reply.seq,
        "outcome": reply.outcome,
        "text": reply.text,
        "value": dict(reply.value),
    }
    output.value(value)
    output.line(f"{reply.outcome}{': ' if reply.text else ''}{reply.text}")
    for line in _indented(reply.value):
        output.line(line)
    return EXIT_OK if reply.outcome == DONE else EXIT_FAILED


def _indented(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A line for each value, what lies within others further in."""
    for name, what in value.items():
        if isinstance(what, Mapping):
            yield f"{indent}{name}:"
            yield from _indented(what, indent + "  ")
        else:
            yield f"{indent}{name}: {what}"


def load_operator_key(path: Path) -> SigningKey:
    """The key in the file.  Raises UsageError; the message quotes nothing of it."""
    text = Disk().read_file(path, 4_096).decode("ascii", errors="replace").strip()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UsageError(f"{path}: others than you may read it: run chmod 600 {path}")
    digits, _, check = text.removeprefix(KEY_HEAD).partition(":")
    try:
        seed = bytes.fromhex(digits)
    except ValueError:
        seed = b""
    if not text.startswith(KEY_HEAD) or len(seed) != 32 or sha256(seed)[:4].hex() != check:
        raise UsageError(f"{path} is no operator's key, or damaged; cpc remote key makes one")
    return SigningKey(seed)


def _signed(args: Namespace) -> tuple[Command, bytes]:
    key = load_operator_key(args.key)
    try:
        codec, _ = parse_did_key(args.to)
    except PufError as error:
        raise UsageError(f"--to: {error}") from error
    if codec != ED25519:
        raise UsageError("--to names a key that does not sign; cpc run prints that of the gateway")
    arguments = dict(map(_argument, args.arguments))
    known = ARGUMENTS[args.word]
    if wrong := [name for name in arguments if name not in known]:
        raise UsageError(f"{args.word} takes no {wrong[0]}; it takes: {', '.join(known) or 'nothing'}")
    if missing := [name for name, is_needed in known.items() if is_needed and name not in arguments]:
        example = " config=@gateway.toml" if args.word == SET_CONFIG else f" {missing[0]}=.."
        raise UsageError(f"{args.word} needs {missing[0]}: write {args.word}{example}")
    now_ms = time.time_ns() // 1_000_000
    seq = now_ms if args.seq is None else args.seq
    command = Command(did_key(key.public), seq, now_ms + args.life_ms, args.word, arguments)
    return command, sign_command(key, args.to, command)


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text}: write NAME=VALUE, or NAME=@FILE")
    return name, Disk().read_file(value[1:], FILE_SIZE_MAX).decode() if value.startswith("@") else value


async def _exchange(args: Namespace, command: Command, data: bytes) -> Reply:
    # Late, because the MQTT library is an extra.
    from gateway.sensors.mqtt_broker import PORT, TLS_PORT, Broker
    from gateway.sensors.mqtt_link import Handlers, Link
    from gateway.sensors.mqtt_message import Message
    from gateway.uplink_format import topic

    parts = urlsplit(args.broker)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise UsageError("--broker: write mqtts://host:port or mqtt://host:port")
    is_tls = parts.scheme == "mqtts"
    broker = Broker(
        parts.hostname,
        parts.port or (TLS_PORT if is_tls else PORT),
        is_tls,
        args.mqtt_version,
        args.username,
        args.password_file,
        args.ca,
        args.cert,
        args.cert_key,
    )
    replies: asyncio.Queue[Reply] = asyncio.Queue()

    def on_message(message: Message) -> None:
        try:
            reply = open_reply(message.payload, args.to)
        except CommandRefused:
            # Whoever may publish there may publish anything.
            return
        if (reply.operator, reply.seq) == (command.operator, command.seq):
            replies.put_nowait(reply)

    link = Link(broker, f"cpc-operator-{secrets.token_hex(6)}", Handlers(on_message=on_message))
    await link.open()
    try:
        await link.subscribe(topic(args.reply_topic, gateway=args.name), 1)
        link.publish(topic(args.command_topic, gateway=args.name), data)
        async with asyncio.timeout(args.timeout_ms / 1000):
            return await replies.get()
    except TimeoutError:
        raise CommandRefused(
            f"no answer within {args.timeout_ms} ms: the gateway may be away, and hears it when it is back, "
            f"if the command is not void by then; or it is not called {args.name}, is not {args.to}, or has "
            f"not {command.operator} among its [remote] operators: it answers nobody else"
        ) from None
    finally:
        link.close()
