"""`cpc`, the one command line: finds the subcommand, runs it, turns errors into a message and an exit code.

Runs on CPython.  Each subcommand lives in a `cli_*` module with one function `add(subcommands)`.
Exit codes: 0 done; 1 could not be done; 2 wrong usage or configuration; 3 evidence does not hold or
data is damaged; 130 interrupted.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from chain_node.errors import ChainError
from gateway import cli_gateway, cli_node, cli_proof, cli_read, demo
from gateway.cli_output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NOT_PROVEN, EXIT_OK, EXIT_USAGE, UsageError
from gateway.config import ConfigError, UnknownStream
from gateway.crypto.errors import CryptoError, SealError
from gateway.disk import DiskError
from gateway.errors import ChunkAltered, EvidenceError, GatewayError
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

OUR_ERRORS = (ChainError, CryptoError, DiskError, GatewayError, PufError, SourceError)


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    main_parser = argparse.ArgumentParser(
        prog="cpc", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    main_parser.add_argument("--version", action="version", version=f"cpc {version('cpchain-edge')}")
    subcommands = main_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (demo, cli_gateway, cli_read, cli_proof, cli_node):
        module.add(subcommands)
    return main_parser


def exit_code(error: BaseException) -> int:
    """What the process leaves with after `error`."""
    if isinstance(error, UsageError | ConfigError | UnknownStream | BadSourceUrl):
        return EXIT_USAGE
    if isinstance(error, EvidenceError | ChunkAltered | SealError):
        return EXIT_NOT_PROVEN
    return EXIT_FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    args = parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if os.environ.get("CPC_DEBUG") else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        result = args.run(args)
        return int(asyncio.run(result) if asyncio.iscoroutine(result) else result) or EXIT_OK
    except BaseExceptionGroup as group:
        return _report(_first(group), args)
    except OUR_ERRORS as error:
        return _report(error, args)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`cpc export | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a TaskGroup wrapped."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _report(error: BaseException, args: argparse.Namespace) -> int:
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if not isinstance(error, OUR_ERRORS):
        raise error
    if getattr(args, "json", False):
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
    print(f"cpc {args.command}: {error}", file=sys.stderr)
    return exit_code(error)
