"""`python -m tests.soak --minutes 10`: is a gateway's memory still flat when it has run for a while?

Runs on CPython, on Linux.  A gateway, as `cpc run` makes it, replays a trace again and again at 5,000
frames a second, seals, stores and anchors.  Its memory is sampled all the time; the slope of the second
half, by least squares, says whether it grows.  Exit status 1 when it does, when it takes more than
LOADED_TARGET_MIB, or when what it has stored is not what was replayed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from gateway.cli_gateway import CONFIG_NAME, read_status
from gateway.config import load
from gateway.site import open_as_owner
from tests.bench.memory import (
    LOADED_TARGET_MIB,
    RATE_HZ,
    make_gateway,
    stored_digest,
    wait_for_records,
    wait_for_start,
    write_trace,
)
from tests.gateway_process import GatewayProcess
from tests.node_process import NodeProcess

SAMPLE_S = 5.0
TRACE_S = 20
SETTLE_S = 5.0
"""After the start, before the first sample."""
GROWTH_MAX_MIB = 1.0
"""In ten minutes, by the slope.  A leak of two bytes a frame would be six times that."""
TEN_MINUTES_S = 600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the gateway took at one moment."""

    at_s: float
    """Since the first sample."""
    rss_mib: float
    pss_mib: float


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of a soak."""

    samples: Sequence[Sample]
    records: int
    """Anchored."""
    digest: str
    """Of the first frames in the store."""

    @property
    def growth_mib(self) -> float:
        """In ten minutes, by the slope of the second half."""
        half = self.samples[len(self.samples) // 2 :]
        return TEN_MINUTES_S * slope([(sample.at_s, sample.rss_mib) for sample in half])

    @property
    def peak_mib(self) -> float:
        """The most it took."""
        return max(sample.rss_mib for sample in self.samples)

    @property
    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = []
        if self.growth_mib > GROWTH_MAX_MIB:
            found.append(f"it grows by {self.growth_mib:.2f} MiB in ten minutes; flat is {GROWTH_MAX_MIB:g}")
        if self.peak_mib > LOADED_TARGET_MIB:
            found.append(f"it takes {self.peak_mib:.1f} MiB; {LOADED_TARGET_MIB:g} is the most")
        return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through `points` by least squares; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def run(folder: Path, duration_s: float, sample_s: float = SAMPLE_S, *, is_short: bool = False) -> Soaked:
    """Lets a gateway run for so long.  folder: new.  is_short: for a run of seconds, as in tests.

    Raises RuntimeError when the gateway fails, or what it has stored is not what was replayed.
    """
    with NodeProcess(folder / "chain") as node:
        site = folder / "site"
        make_gateway(site, node, write_trace(folder / "frames.log", TRACE_S), is_short=is_short)
        samples = []
        with GatewayProcess(site) as gateway, tqdm(total=round(duration_s), unit="s") as progress:
            wait_for_start(gateway, site)
            time.sleep(min(SETTLE_S, sample_s))
            begin_s = time.monotonic()
            while (at_s := time.monotonic() - begin_s) <= duration_s:
                memory = gateway.memory()
                samples.append(Sample(at_s, memory.rss_kib / 1024, memory.pss_kib / 1024))
                progress.set_postfix_str(f"RSS {samples[-1].rss_mib:.1f} MiB")
                progress.update(round(at_s) - progress.n)
                time.sleep(sample_s)
            wait_for_records(gateway, site)
            gateway.stop()
    waiting = read_status(load(site / CONFIG_NAME))["spool"]
    if any(waiting[name] for name in ("records", "segments", "uploads")):
        raise RuntimeError(f"the gateway has left something in the spool: {waiting}")
    return Soaked(samples, _anchored_count(site), stored_digest(site))


def _anchored_count(site: Path) -> int:
    reader = open_as_owner(site / CONFIG_NAME, None)
    try:
        return sum(
            chunk.count
            for index in reader.archive.upload_indexes()
            for _, _, chunk in reader.archive.manifest(index).chunks()
        )
    finally:
        reader.archive.store.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints samples and verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cpc-soak-") as name:
        soaked = run(Path(name), args.minutes * 60)
    step = max(len(soaked.samples) // 20, 1)
    for sample in soaked.samples[::step]:
        print(f"{sample.at_s:7.0f} s   RSS {sample.rss_mib:6.2f} MiB   Pss {sample.pss_mib:6.2f} MiB")
    print(
        f"{soaked.records:,} records anchored, at {RATE_HZ:,} a second; digest {soaked.digest[:16]}\n"
        f"peak {soaked.peak_mib:.1f} MiB, growth {soaked.growth_mib:+.2f} MiB in ten minutes "
        "by the slope of the second half"
    )
    for problem in soaked.problems:
        print(f"NOT as it should be: {problem}")
    if not soaked.problems:
        print("flat")
    return 1 if soaked.problems else 0


if __name__ == "__main__":
    sys.exit(main())
