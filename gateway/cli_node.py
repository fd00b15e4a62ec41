"""`cpc node`: run a main-chain node.

Runs on CPython.  A composition root: it starts the node.
"""

import asyncio
import signal
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from pathlib import Path

from gateway.cli_output import EXIT_OK, Output, whole_number

PORT_MAX = 65_535


PORT = 7545
"""Where a gateway's configuration expects its node, too."""


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc node`."""
    node = subcommands.add_parser("node", help="run a node of the main chain")
    kinds = node.add_subparsers(dest="kind", metavar="KIND", required=True)
    dev = kinds.add_parser(
        "dev",
        help="a development chain: one validator or several, with a treasury that gives money away",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n  cpc node dev --data chain\n  cpc node dev --data chain --port 0 --json\n"
        "  cpc node dev --data chain4 --validators 4\n\n"
        "The folder is made on the first start; genesis.cbor in it is what a gateway is to trust.",
    )
    dev.add_argument("--data", type=Path, default=Path("chain"), help="folder of the chain [chain]")
    dev.add_argument("--port", type=_port, default=PORT, help=f"0: any free one [{PORT}]")
    dev.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    dev.add_argument(
        "--validators",
        type=whole_number,
        default=None,
        help="of a new chain, all in this process; more than 3 bear the loss of some [1]",
    )
    dev.add_argument("--json", action="store_true", help="print JSON")
    dev.set_defaults(run=run_dev)


def _port(text: str) -> int:
    number = whole_number(text)
    if number > PORT_MAX:
        raise ArgumentTypeError(f"{text} is not a port: 0 to {PORT_MAX}")
    return number


async def run_dev(args: Namespace) -> int:
    """`cpc node dev`."""
    # Only here: a gateway's process never needs the server that this brings, and has little memory.
    from chain_node.dev import DevNode

    output = Output(args)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with DevNode.create_or_open(
        args.data, host=args.host, port=args.port, validator_count=args.validators
    ) as node:
        genesis_path = args.data / "genesis.cbor"
        validator_count = len(node.genesis.validators)
        output.value(
            {
                "url": node.url,
                "chain_id": node.genesis.chain_id.hex(),
                "genesis": str(genesis_path),
                "height": node.node.head.height,
                "validators": validator_count,
            },
            f"chain {node.genesis.name}  {node.genesis.chain_id.hex()}, at height {node.node.head.height}, "
            f"{validator_count} validator{'s'[: validator_count - 1]}\n"
            f"listening on {node.url}\n"
            f"genesis {genesis_path}\n"
            f"next: cpc init site --node {node.url}",
        )
        await stop.wait()
    return EXIT_OK
