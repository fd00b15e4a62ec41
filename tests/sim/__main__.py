"""`python -m tests.sim --seed N`: simulates one seed; `--many N`: as many seeds, in two processes.

Runs on CPython.  Exit status 1 when something does not hold, or when many seeds together leave a declared
transition untaken.  A failure prints its seed, its step and the command that replays it, and then the
smallest simulation that fails alike.
"""

import argparse
import logging
import multiprocessing
import sys
import time
from dataclasses import dataclass, field

from tests.sim.node import Coverage
from tests.sim.plan import HEIGHTS, plan_of
from tests.sim.shrink import shrink
from tests.sim.world import Result, run

PROCESSES = 2
BATCH = 25
TRACE_LINES = 40


@dataclass
class Totals:
    """What many simulations came to."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    simulated_ms: int = 0
    cpu_s: float = 0.0
    blocks: int = 0
    impeached: int = 0
    transactions: int = 0
    power_cuts: int = 0
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, result: Result) -> None:
        self.seeds += 1
        if result.failure:
            self.failed.append(result.plan.seed)
        self.simulated_ms += result.simulated_ms
        self.blocks += result.blocks
        self.impeached += result.impeached
        self.transactions += result.transactions
        self.power_cuts += result.power_cuts
        self.coverage.add(result.coverage)

    def merge(self, other: "Totals") -> None:
        self.seeds += other.seeds
        self.failed += other.failed
        self.simulated_ms += other.simulated_ms
        self.cpu_s += other.cpu_s
        self.blocks += other.blocks
        self.impeached += other.impeached
        self.transactions += other.transactions
        self.power_cuts += other.power_cuts
        self.coverage.add(other.coverage)

    def text(self) -> str:
        """For people."""
        hours = self.simulated_ms / 3_600_000
        transitions = self.coverage.transitions
        taken = sum(1 for count in transitions.values() if count)
        rounds = ", ".join(f"{round_}: {count:,}" for round_, count in sorted(self.coverage.rounds.items()))
        lines = [
            f"{self.seeds - len(self.failed):,} of {self.seeds:,} seeds passed",
            f"{hours:,.1f} simulated hours, {hours / max(self.cpu_s, 1e-9) * 60:,.1f} per CPU minute",
            (
                f"{self.blocks:,} blocks, {self.impeached:,} of them impeachments; "
                f"{self.transactions:,} transactions; {self.power_cuts:,} power cuts"
            ),
            f"blocks by the round that decided them: {rounds}",
            f"{len(self.coverage.states)} of 5 states, {taken} of {len(transitions)} transitions",
            "messages: "
            + ", ".join(f"{name} {count:,}" for name, count in self.coverage.fate_counts().items()),
        ]
        lines += [f"never taken: {place}" for place in self.coverage.missing()]
        return "\n".join(lines)


def simulate(seeds: range) -> Totals:
    """These seeds, one after the other."""
    logging.disable(logging.CRITICAL)
    totals = Totals()
    begin_s = time.process_time()
    for seed in seeds:
        totals.add(run(plan_of(seed)))
    totals.cpu_s = time.process_time() - begin_s
    return totals


def many(count: int, first: int = 0) -> Totals:
    """So many seeds from `first` on, in PROCESSES processes."""
    batches = [
        range(start, min(start + BATCH, first + count)) for start in range(first, first + count, BATCH)
    ]
    totals = Totals()
    with multiprocessing.Pool(PROCESSES) as pool:
        for done, part in enumerate(pool.imap(simulate, batches), 1):
            totals.merge(part)
            for seed in part.failed:
                print(f"seed {seed} FAILED: make sim SEED={seed}", flush=True)
            if done % 20 == 0:
                print(f"... {totals.seeds:,} seeds, {len(totals.failed)} failed", file=sys.stderr, flush=True)
    return totals


def report(result: Result) -> str:
    """What one simulation came to, for people."""
    plan = result.plan
    lines = [
        f"seed {plan.seed}: {plan.describe()}",
        (
            f"{result.simulated_ms / 1000:,.0f} s in {result.step:,} steps; {result.blocks} blocks, "
            f"{result.impeached} of them impeachments; {result.transactions} transactions; "
            f"{result.power_cuts} power cuts; {result.sent:,} messages"
        ),
        f"digest {result.digest}",
    ]
    if result.failure:
        lines.append(f"FAILED at step {result.step}: {result.failure}")
        lines.append(f"replay: {plan.command}")
    return "\n".join(lines)


def main() -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--many", type=int, metavar="COUNT", help="so many seeds, from --seed on")
    parser.add_argument("--without", default="", help="kinds of faults to leave out, with commas")
    parser.add_argument("--heights", type=int, default=HEIGHTS, help="block periods until the network heals")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    args = parser.parse_args()
    if args.many:
        totals = many(args.many, args.seed)
        print(totals.text())
        return int(bool(totals.failed or totals.coverage.missing()))
    logging.disable(logging.CRITICAL)
    try:
        plan = plan_of(args.seed, tuple(name for name in args.without.split(",") if name), args.heights)
    except ValueError as error:
        parser.error(str(error))
    result = run(plan, is_traced=True)
    if args.trace:
        print("\n".join(result.trace))
    print(report(result))
    if not result.failure:
        return 0
    if not args.trace:
        print("\n".join(result.trace[-TRACE_LINES:]))
    smallest = shrink(result, run)
    if smallest is not result:
        print("\nThe smallest that fails alike:\n" + report(smallest))
    return 1


if __name__ == "__main__":
    sys.exit(main())
