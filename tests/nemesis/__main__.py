"""`python -m tests.nemesis --seed 1 --faults 20`: torments a network of nodes, and judges what they did.

Runs on CPython, on Linux.  Four validators, two proposers and two plain nodes are processes on this machine,
every link between them goes through a proxy, and clients pay each other through all of them meanwhile.  The
schedule of faults follows from the seed and is printed; how the processes answer to it does not.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.nemesis.network import FULL_NODE_NAME, NemesisError, Network
from tests.nemesis.schedule import schedule
from tests.nemesis.torment import Outcome, Say, Torment, client_keys

CLIENTS = 6


async def run(
    folder: Path,
    seed: int,
    fault_count: int,
    say: Say,
    *,
    is_short: bool = False,
    client_count: int = CLIENTS,
) -> Outcome:
    """Faults, then stories.  folder: new; all nodes and their logs are in it.  Raises NemesisError."""
    async with Network(folder, client_keys(client_count)) as network:
        torment = Torment(network, seed, say)
        committee = len(network.validators)
        if network.disk is None:
            say("no full disk: mounting a small one is not permitted here")
        if network.namespaces is None:
            say("no interface down: network namespaces are not permitted here")
        faults = schedule(
            seed,
            fault_count,
            network.validators,
            network.names[committee:],
            FULL_NODE_NAME if network.disk else None,
            is_short=is_short,
            has_interfaces=network.namespaces is not None,
        )
        torment.begin()
        await torment.suffer(faults)
        say("     one validator is killed: blocks go on; and it comes back")
        await torment.lose_one()
        say("     two validators are killed: blocks stop; and come back")
        await torment.lose_two()
        if not is_short:
            say("     two validators are stopped: blocks stop; and go on")
            await torment.lose_two(is_paused=True)
        return await torment.finish()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the schedule and what came of it; exit status 1 when anything does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    args = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="cpc-nemesis-")) / "net"

    def say(line: str) -> None:
        print(line, flush=True)

    again = (
        f"again: python -m tests.nemesis --seed {args.seed} --faults {args.faults} --clients {args.clients}"
    )
    try:
        outcome = asyncio.run(run(folder, args.seed, args.faults, say, client_count=args.clients))
    except NemesisError as error:
        print(f"PROBLEM: {error}\n{again}")
        return 1
    print(outcome)
    if outcome.problems:
        for problem in outcome.problems[:20]:
            print(f"  {problem}")
        print(f"logs and chains are in {folder}\n{again}")
        return 1
    shutil.rmtree(folder.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
