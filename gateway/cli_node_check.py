"""`cpc node check`: look at everything in a node's file, say what is wrong, and repair it.

Runs on CPython.  A composition root: it stands in the node's place while it asks peers.
"""

import asyncio
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError

if TYPE_CHECKING:
    from chain_node.check import Report
    from chain_node.genesis import Genesis
    from chain_node.node_folder import OpenFolder

SHOWN_MAX = 20
"""Damages that people are shown; --json has more."""


def add(kinds: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc node check`."""
    check = kinds.add_parser(
        "check",
        help="verify everything in a node's file, and repair what can be",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n  cpc node check net/validator-1\n  cpc node check mynode --repair\n\n"
        "The node must not run. Every header, certificate, transaction, receipt, node of the state and vote\n"
        "is verified from the genesis on. --repair rebuilds what the rest of the file allows, and asks the\n"
        "peers that the folder dials for the rest. Exit status 3: something is, or is still, wrong.",
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="of cpc node init, or of cpc node dev")
    check.add_argument("--repair", action="store_true", help="make whole again what can be")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=run_check)


async def run_check(args: Namespace) -> int:
    """`cpc node check`."""
    # Only here: a gateway's process never needs what this brings, and has little memory.
    from chain_node.folder_files import file_errors, lock_folder
    from chain_node.node_folder import CONFIG_NAME, open_folder, read_genesis
    from gateway import cli_node_config

    output = Output(args)
    if (args.folder / CONFIG_NAME).exists():
        folder = open_folder(args.folder, cli_node_config.load(args.folder))
        with closing(folder.lock):
            return await _check(output, args, args.folder / folder.settings.database, folder.genesis, folder)
    if not (args.folder / "genesis.cbor").exists():
        raise UsageError(
            f"{args.folder} is no folder of a node: there is neither {CONFIG_NAME} nor genesis.cbor"
        )
    with file_errors(args.folder), closing(lock_folder(args.folder)):
        genesis = read_genesis(args.folder / "genesis.cbor")
        # A development chain has a file for each validator.
        codes = [await _check(output, args, path, genesis, None) for path in _files(args.folder)]
    return max(codes, default=EXIT_OK)


async def _check(
    output: Output, args: Namespace, path: Path, genesis: "Genesis", folder: "OpenFolder | None"
) -> int:
    from chain_node.check import check
    from chain_node.check_peers import PeerSource
    from chain_node.check_repair import repair
    from chain_node.pruning import PLAIN
    from chain_node.storage import Storage

    if path not in _files(path.parent):
        raise UsageError(f"{path} is not there: this node has never run")
    async with AsyncExitStack() as stack:
        # What is kept, too, is the folder's to say: an archive must not be pruned by its repair.
        retention = folder.settings.retention if folder else PLAIN
        storage = stack.enter_context(
            closing(Storage.open(path, genesis, retention=retention, is_tolerant=True))
        )
        progress = _progress(output, stack)
        if not args.repair:
            before = after = await asyncio.to_thread(check, storage, progress)
        elif folder and folder.settings.dial:
            source = PeerSource(folder, storage, f"cpchain {version('cpchain-edge')}")
            await stack.enter_async_context(source)
            before, after = await asyncio.to_thread(
                repair, storage, source.fetch, source.fetch_nodes, progress, source.fetch_changes
            )
        else:
            before, after = await asyncio.to_thread(repair, storage, None, None, progress)
        _show(output, path, storage.head.height, before, after, args.repair)
    return EXIT_OK if after.is_sound else EXIT_NOT_PROVEN


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sqlite"))


def _progress(output: Output, stack: AsyncExitStack) -> Callable[[str, int, int], None]:
    shows: dict[str, Callable[[int, int], None]] = {}

    def progress(table: str, done: int, total: int) -> None:
        if table not in shows:
            shows[table] = stack.enter_context(output.progress(f"checking {table}s"))
        shows[table](done, total)

    return progress


def _show(
    output: Output, path: Path, height: int, before: "Report", after: "Report", is_repaired: bool
) -> None:
    counts = ", ".join(f"{count} {table}" for table, count in after.counts.items())
    lines = [f"{path}: height {height}; looked at {counts}"]
    if is_repaired and before.damage_count:
        lines.append(f"{before.damage_count} things were wrong, {after.damage_count} still are")
    lines += [f"  {damage}" for damage in after.damages[:SHOWN_MAX]]
    if after.damage_count > SHOWN_MAX:
        lines.append(f"  and {after.damage_count - SHOWN_MAX} more; --json shows them")
    lines += [f"note: {note}" for note in after.notes]
    if after.is_sound:
        lines.append("all of it is right")
    elif not is_repaired:
        lines.append(f"next: cpc node check {path.parent} --repair")
    elif any(damage.table == "vote" for damage in after.damages):
        lines.append(
            "votes cannot be rebuilt: let peers be reachable until their height is decided, and repeat"
        )
    else:
        lines.append("peers that have the rest were not reachable; repeat, or delete the file and sync anew")
    output.value(
        {
            "file": str(path),
            "height": height,
            "counts": after.counts,
            "is_sound": after.is_sound,
            "repaired_count": before.damage_count - after.damage_count,
            "damage_count": after.damage_count,
            "damages": [
                {"table": each.table, "height": each.height, "what": each.what} for each in after.damages
            ],
            "notes": after.notes,
        },
        "\n".join(lines),
    )
