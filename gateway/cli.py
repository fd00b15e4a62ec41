"""`cpc`, the one command line: finds the subcommand, runs it, turns errors into a message and an exit code.

Runs on CPython.  Each subcommand lives in a `cli_*` module with one function `add(subcommands)`.
Exit codes: 0 done; 1 could not be done; 2 wrong usage or configuration; 3 evidence does not hold or
data is damaged or missing; 130 interrupted.  With --json an error, too, is a line of JSON on standard
output.  CPC_DEBUG=1 in the environment shows more, and where an error of the system came from.
"""

import argparse
import asyncio
import importlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import NoReturn

from chain_node.errors import ChainError, NodeLied, TrustError
from gateway.cli_output import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOT_PROVEN,
    EXIT_OK,
    EXIT_USAGE,
    UsageError,
    json_text,
    printable,
)
from gateway.config import ConfigError, UnknownStream
from gateway.crypto.errors import CryptoError, SealError
from gateway.disk import DiskError
from gateway.errors import ChunkAltered, ChunkMissing, EvidenceError, GatewayError, RecordNameError
from gateway.sensors.source import BadSourceUrl, SourceError
from puf.errors import PufError

DESCRIPTION = """\
CPChain edge: sense, seal, anchor and prove data where it arises.

first steps:
  cpc demo                            the whole flow in half a minute, no hardware needed
  cpc node dev --data chain           a main chain of your own, for development
  cpc init site --node http://127.0.0.1:7545
  cpc run -c site/gateway.toml        the gateway
  cpc tail -c site/gateway.toml       what it takes in, decoded, live
"""

COMMANDS: dict[str, tuple[str, ...]] = {
    "demo": ("demo",),
    "cli_gateway": ("init", "run", "status"),
    "cli_read": ("inspect", "tail", "read", "export"),
    "cli_proof": ("key", "grant", "prove"),
    "cli_verify": ("verify",),
    "cli_obd": ("obd",),
    "cli_remote": ("remote",),
    "cli_enroll": ("enroll",),
    "cli_device": ("device",),
    "cli_firmware": ("firmware",),
    "cli_credential": ("credential",),
    "cli_node": ("node",),
    "cli_wallet": ("wallet",),
    "cli_did": ("did",),
    "cli_puf": ("puf",),
}
"""Which module adds which commands, in the order in which help shows them.

Only the one that is asked for is imported: on a small board each costs start-up time, and all together some
8 MiB of a node's memory.
"""

OUR_ERRORS = (ChainError, CryptoError, DiskError, GatewayError, PufError, SourceError)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are JSON, too, when JSON was asked for."""

    def error(self, message: str) -> NoReturn:
        """Prints usage and message, and leaves with EXIT_USAGE."""
        if "--json" in sys.argv[1:]:
            print(json_text({"error": "UsageError", "message": message}), flush=True)
        super().error(message)


def parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """Every command and option; where `wanted` is a command, only what belongs to it."""
    main_parser = Parser(
        prog="cpc", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    main_parser.add_argument("--version", action="version", version=f"cpc {version('cpchain-edge')}")
    subcommands = main_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in [name for name, commands in COMMANDS.items() if wanted in commands] or COMMANDS:
        importlib.import_module(f"gateway.{module}").add(subcommands)
    return main_parser


def exit_code(error: BaseException) -> int:
    """What the process leaves with after `error`."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, UsageError | ConfigError | UnknownStream | BadSourceUrl | RecordNameError):
        return EXIT_USAGE
    if isinstance(error, EvidenceError | ChunkAltered | ChunkMissing | SealError | NodeLied | TrustError):
        return EXIT_NOT_PROVEN
    return EXIT_FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character must not end a command.
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else arguments
    args = parser(words[0] if words else None).parse_args(words)
    logging.basicConfig(
        level=logging.DEBUG if os.environ.get("CPC_DEBUG") else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        result = args.run(args)
        code = int(asyncio.run(result) if asyncio.iscoroutine(result) else result) or EXIT_OK
        # Here, where a full disk or a reader that has gone can still be told of.
        sys.stdout.flush()
    except (*OUR_ERRORS, OSError, KeyboardInterrupt) as error:
        return _report(error, args)
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        if not all(isinstance(error, (*OUR_ERRORS, OSError, KeyboardInterrupt)) for error in errors):
            raise
        return _report(errors[0], args)
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors that TaskGroups have wrapped."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _report(error: BaseException, args: argparse.Namespace) -> int:
    if isinstance(error, OSError) and os.environ.get("CPC_DEBUG"):
        raise error
    try:
        # When the reader of our output has gone (`cpc export | head`), nobody is left to tell.
        if not isinstance(error, KeyboardInterrupt | BrokenPipeError):
            print(f"cpc {args.command}: {printable(str(error))}", file=sys.stderr, flush=True)
            if getattr(args, "json", False):
                print(json_text({"error": type(error).__name__, "message": str(error)}))
        sys.stdout.flush()
    except OSError:
        # What cannot be written must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_code(error)
