"""`cpc node`: make, run and look at nodes of the main chain.

Runs on CPython.  A composition root: it starts the node.
"""

import asyncio
import signal
import time
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import cli_node_check, cli_node_validators
from gateway.cli_output import EXIT_OK, Output, UsageError, printable, short, whole_number

if TYPE_CHECKING:
    from chain_node.peer_address import Address

PORT_MAX = 65_535


PEER_PORT = 7600
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
    _add_init(kinds)
    run = kinds.add_parser(
        "run",
        help="run the node of a folder until interrupted",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n  cpc node run net/validator-1\n  cpc node run mynode --json",
    )
    run.add_argument("folder", type=Path, metavar="DIR", help="made by cpc node init")
    run.add_argument("--json", action="store_true", help="print JSON")
    run.set_defaults(run=run_run)
    for name, what, action in (
        ("status", "who a running node is, how high its chain is, and what troubles it", run_status),
        ("peers", "with whom a running node is connected", run_peers),
    ):
        command = kinds.add_parser(
            name,
            help=what,
            formatter_class=RawDescriptionHelpFormatter,
            epilog=f"examples:\n  cpc node {name} net/validator-1\n"
            f"  cpc node {name} http://127.0.0.1:7700 --json",
        )
        command.add_argument("where", metavar="DIR|URL", help="a node's folder, or its JSON-RPC address")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=action)
    cli_node_check.add(kinds)
    cli_node_validators.add(kinds)


def _add_init(kinds: "_SubParsersAction[ArgumentParser]") -> None:
    init = kinds.add_parser(
        "init",
        help="make the folder of a node, or the folders of a whole test network",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n  cpc node init net --validators 4 --proposers 2 --base-port 7600\n"
        "  cpc node init net --validators 4 --observers 1 --block-period-ms 3000\n"
        "  cpc node init mynode --genesis genesis.cbor --peer node.example:7600\n\n"
        "A test network has a folder for each node, all for this machine, and a treasury in the first.\n"
        "A single node follows the chain of its genesis; it votes if its key is in there.",
    )
    init.add_argument("folder", type=Path, metavar="DIR", help="to be made")
    one = init.add_argument_group("a single node")
    one.add_argument("--genesis", type=Path, metavar="FILE", help="of the chain to follow")
    one.add_argument(
        "--peer", action="append", default=[], metavar="[KEY@]HOST:PORT", help="to dial; repeat for more"
    )
    one.add_argument("--listen", default="", metavar="HOST:PORT", help="for peers [nowhere: dials only]")
    one.add_argument("--rpc", default="", metavar="HOST:PORT", help=f"for users [127.0.0.1:{PORT}]")
    many = init.add_argument_group("a test network")
    many.add_argument("--validators", type=whole_number, default=0, metavar="N")
    many.add_argument(
        "--proposers", type=whole_number, default=0, metavar="N", help="[validators take turns]"
    )
    many.add_argument("--observers", type=whole_number, default=0, metavar="N", help="plain nodes")
    many.add_argument("--base-port", type=_port, default=PEER_PORT, help=f"of the first node [{PEER_PORT}]")
    many.add_argument("--block-period-ms", type=whole_number, default=3_000, metavar="MS", help="[3000]")
    many.add_argument("--name", default="test", help="of the chain [test]")
    init.add_argument("--json", action="store_true", help="print JSON")
    init.set_defaults(run=run_init)


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
    stop = _stop_event()
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
            f"explorer {node.url} in a browser\n"
            f"genesis {genesis_path}\n"
            f"next: cpc init site --node {node.url}",
        )
        await stop.wait()
    return EXIT_OK


def run_init(args: Namespace) -> int:
    """`cpc node init`."""
    from chain_node.node_folder import RPC, Settings, TestNetwork, init_network, init_node, read_genesis

    output = Output(args)
    if bool(args.genesis) == bool(args.validators):
        raise UsageError("say --genesis FILE for a single node, or --validators N for a test network")
    if args.validators:
        if args.peer or args.listen or args.rpc:
            raise UsageError("--peer, --listen and --rpc are for a single node; a test network needs none")
        if args.block_period_ms < 1:
            raise UsageError("--block-period-ms is at least 1")
        plan = TestNetwork(
            args.name, args.validators, args.proposers, args.observers, args.base_port, args.block_period_ms
        )
        genesis, folders = init_network(args.folder, plan, time.time_ns() // 1_000_000)
        commands = "".join(f"\n  cpc node run {path} &" for path, _ in folders)
        output.value(
            {
                "chain_id": genesis.chain_id.hex(),
                "genesis": str(args.folder / "genesis.cbor"),
                "nodes": [
                    {"folder": str(path), "listen": str(each.listen), "rpc": f"http://{each.rpc}"}
                    for path, each in folders
                ],
            },
            f"chain {genesis.name}  {genesis.chain_id.hex()}\n"
            f"start each node in a terminal of its own, or all in one:{commands}\n"
            f"then: cpc node peers {folders[0][0]}",
        )
        return EXIT_OK
    if args.proposers or args.observers:
        raise UsageError("--proposers and --observers are of a test network; say --validators N, too")
    genesis = read_genesis(args.genesis)
    settings = Settings(
        name="node",
        listen=_address(args.listen, "--listen") if args.listen else None,
        dial=tuple(_address(text, "--peer") for text in args.peer),
        rpc=_address(args.rpc, "--rpc") if args.rpc else RPC,
    )
    key = init_node(args.folder, genesis, settings)
    output.value(
        {"chain_id": genesis.chain_id.hex(), "public": key.public.hex(), "folder": str(args.folder)},
        f"a node of chain {genesis.name}  {genesis.chain_id.hex()}\n"
        f"its key is {key.public.hex()}\nnext: cpc node run {args.folder}",
    )
    return EXIT_OK


async def run_run(args: Namespace) -> int:
    """`cpc node run`."""
    # Only here: a gateway's process never needs what this brings, and has little memory.
    from chain_node.full_node import FullNode
    from gateway import cli_node_config

    output = Output(args)
    settings = cli_node_config.load(args.folder)
    stop = _stop_event()
    program = f"cpchain {version('cpchain-edge')}"
    async with FullNode.open(args.folder, settings, program) as node:
        network, genesis, height = node.network, node.node.genesis, node.node.head.height
        peering = f"listening for peers on {settings.listen}" if settings.listen else "dials only"
        output.value(
            {
                "url": node.url,
                "address": str(network.address or ""),
                "chain_id": genesis.chain_id.hex(),
                "public": network.public.hex(),
                "role": network.role,
                "height": height,
            },
            f"{settings.name}, {network.role} of chain {genesis.name}  {genesis.chain_id.hex()}, "
            f"at height {height}\n{peering}, dialling {len(settings.dial)}\n"
            f"JSON-RPC and explorer on {node.url}",
        )
        await stop.wait()
    return EXIT_OK


async def run_status(args: Namespace) -> int:
    """`cpc node status`."""
    answer = await _ask(args.where, "node_status")
    validators = await _ask(args.where, "validators")
    trouble, shut = answer.get("trouble"), answer.get("shut")
    Output(args).value(
        answer | {"validators": validators},
        f"{answer.get('role')} {short(str(answer.get('public')))} of chain {answer.get('name')}  "
        f"{answer.get('chain_id')}\n"
        f"height {answer.get('height')}, {answer.get('behind')} behind the highest peer\n"
        f"{answer.get('peer_count')} peers, {answer.get('member_count')} of them in the committee\n"
        + "\n".join(cli_node_validators.status_lines(validators))
        + f"\n{answer.get('pool_count')} transactions wait\n"
        + (f"{shut}\n" if shut else "")
        + (f"trouble: {trouble}" if trouble else "no trouble"),
    )
    return EXIT_OK


async def run_peers(args: Namespace) -> int:
    """`cpc node peers`."""
    output = Output(args)
    answer = await _ask(args.where, "node_peers")
    peers = answer.get("peers")
    rows = [peer for peer in peers if isinstance(peer, dict)] if isinstance(peers, list) else []
    if output.is_json:
        output.value(answer)
        return EXIT_OK
    line = "{:<14} {:<18} {:<24} {:>9} {:>8} {:>5}"
    output.line(line.format("key", "role", "address", "height", "latency", "score"))
    for peer in rows:
        latency_ms = peer.get("latency_ms")
        output.line(
            line.format(
                short(str(peer.get("public"))),
                printable(str(peer.get("role"))),
                str(peer.get("address")),
                str(peer.get("height")),
                "-" if latency_ms is None else f"{latency_ms} ms",
                str(peer.get("score")),
            )
        )
    if not rows:
        output.line("nobody")
    return EXIT_OK


async def _ask(where: str, method: str) -> dict[str, object]:
    """What the node of a folder, or at an address, answers."""
    from chain_node.light_http import NodeClient
    from gateway import cli_node_config

    is_url = where.startswith(("http://", "https://"))
    url = where if is_url else f"http://{cli_node_config.load(Path(where)).rpc}"
    async with NodeClient(url) as client:
        return await client.ask(method)


def _address(text: str, option: str) -> "Address":
    from chain_node.peer_address import parse_address

    address = parse_address(text)
    if address is None or (address.public and option != "--peer"):
        raise UsageError(f"{option} {text!r} is no address; write for example 127.0.0.1:{PEER_PORT}")
    return address


def _stop_event() -> asyncio.Event:
    """Set when the process is asked to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
