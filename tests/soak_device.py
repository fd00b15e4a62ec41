"""`python -m tests.soak_device`: a day of each role in simulated time, with a visit every few minutes.

Runs on CPython.  A board's clock skips the time between visits (hil/clock.py), so a day takes a minute or
few; firmware, interpreter and heap are those of a simulated board.  Cars come and go, grants are used, the
gateway looks; each visit is by the gateway's own code.  What a heap holds is told by the board's `time`.

`peak` is the most that was held when the board began to wait, garbage included, and `live` what is left
after a collection; without what a board has in its ROM.  Exit status 1 when a peak is above 100 KiB, live
bytes grow over the second half, or a visit fails.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from devices.micropython import commands
from hil.board_process import HEAP_KIB, built_in_bytes
from hil.clock import FakeClock
from hil.device import Board
from hil.errors import RigError
from hil.virtual import VirtualRig
from puf.grant import CHARGE, CLOSE, OPEN
from tests.hil.fleet import Car, Gateway
from tests.soak import slope

DAY_MS = 86_400_000
VISIT_EVERY_MS = 300_000
HEAP_MAX_KIB = 100
GROWTH_MAX_BYTES = 512
"""In a day, by the slope of the second half; a leak of 16 bytes a visit would be nine times that."""
ROLES = ("lock", "charger", "sensor")
GRANT_EVERY = 4
"""Of so many visits one is a car's, with a grant."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of one role's day."""

    role: str
    visits: int
    hours: float
    live_bytes: Sequence[tuple[float, float]]
    """(simulated ms, bytes) before each visit."""
    peak_bytes: int

    @property
    def growth_bytes(self) -> float:
        """In a day, by the slope of the second half."""
        return DAY_MS * slope(self.live_bytes[len(self.live_bytes) // 2 :])

    @property
    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = []
        if self.growth_bytes > GROWTH_MAX_BYTES:
            found.append(f"its heap grows by {self.growth_bytes:.0f} bytes a day; flat is {GROWTH_MAX_BYTES}")
        if self.peak_bytes > HEAP_MAX_KIB << 10:
            found.append(f"its heap takes {self.peak_bytes / 1024:.1f} KiB; {HEAP_MAX_KIB} is the most")
        return found


async def soak(
    role: str, folder: Path, duration_ms: int, every_ms: int = VISIT_EVERY_MS, heap_kib: int = HEAP_KIB
) -> Soaked:
    """Lets a board of this role live for so long.  Raises what a visit does that fails."""
    async with VirtualRig(folder, is_clock_fake=True, heap_kib=heap_kib) as rig:
        clock = rig.clock
        if clock is None:
            raise RigError("this rig has no clock that skips")
        gateway, car = Gateway(), Car("red")
        # A sensor that sleeps begins anew each time; one on mains has a heap to be looked at.
        settings: dict[str, int | str] = {"sleep": 0} if role == "sensor" else {}
        device = gateway.enrol(f"{role}1", role, settings=settings)
        board = rig.board(device.name, role, files={"provision.cbor": device.provision})
        await board.power.on()
        central = await rig.central("gateway")
        await rig.air.joined(board.radio.address)
        async with gateway.client(board, central) as owner:
            key = await gateway.let_in(board.name, owner)
        visits = 0
        with tqdm(total=duration_ms // 60_000, unit="min", desc=role, leave=False) as progress:
            while clock.now_ms - clock.began_ms < duration_ms:
                await _gone(rig, board)
                await clock.skip(every_ms)
                visits += 1
                if visits % GRANT_EVERY == 0 and role != "sensor":
                    await _come(rig, gateway, board, car, key, (visits // GRANT_EVERY) % 2 == 1)
                else:
                    async with gateway.client(board, central) as owner:
                        await owner.ask(commands.STATUS)
                        await owner.ask(commands.LOG, 0)
                if (failure := rig.failure()) is not None:
                    raise failure
                progress.update((clock.now_ms - clock.began_ms) // 60_000 - progress.n)
        return _soaked(role, visits, clock, board.name, duration_ms)


def _soaked(role: str, visits: int, clock: FakeClock, name: str, duration_ms: int) -> Soaked:
    heaps = clock.heaps[name][1:]
    built_in = built_in_bytes()
    return Soaked(
        role,
        visits,
        duration_ms / 3_600_000,
        [(heap.at_ms, heap.live_bytes - built_in) for heap in heaps],
        max(heap.peak_bytes for heap in heaps) - built_in,
    )


async def _gone(rig: VirtualRig, board: Board) -> None:
    """Until nobody is connected, so that no link is left to skip."""
    async with asyncio.timeout(30):
        while rig.air.links(board.radio.address):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)  # What the board has heard of it, it has heard by now.


async def _come(
    rig: VirtualRig, gateway: Gateway, board: Board, car: Car, key: bytes, is_begin: bool
) -> None:
    """The car with a grant: it begins to park or to charge, or it ends that."""
    actions = (OPEN, CLOSE) if board.role == "lock" else (CHARGE, CLOSE)
    around = {"lock": ("car_arrives", "car_leaves"), "charger": ("plug", "unplug")}[board.role]
    async with car.client(board, await rig.central(car.name), gateway.devices[board.name]) as client:
        grant = gateway.grant(board.name, key, car.caller.name, sum(actions))
        if not is_begin:
            await client.ask(commands.GRANT, actions[1], grant)
        await board.world.do(around[0 if is_begin else 1])
        if is_begin:
            await client.ask(commands.GRANT, actions[0], grant)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what came of each role, and the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak_device")
    parser.add_argument("roles", nargs="*", metavar="ROLE", help=f"of {', '.join(ROLES)}; all if none")
    parser.add_argument("--hours", type=float, default=24.0, help="of simulated time (24)")
    parser.add_argument("--every-minutes", type=float, default=5.0, help="between visits (5)")
    parser.add_argument("--heap-kib", type=int, default=HEAP_KIB, help=f"of a board ({HEAP_KIB})")
    args = parser.parse_args(arguments)
    if unknown := set(args.roles) - set(ROLES):
        parser.error(f"no such role: {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}")
    has_problems = False
    for role in args.roles or ROLES:
        with tempfile.TemporaryDirectory(prefix="cpc-soak-") as name:
            soaked = asyncio.run(
                soak(
                    role,
                    Path(name),
                    round(args.hours * 3_600_000),
                    round(args.every_minutes * 60_000),
                    args.heap_kib,
                )
            )
        print(
            f"{role:<8}{soaked.hours:g} h, {soaked.visits} visits: peak {soaked.peak_bytes / 1024:.1f} KiB, "
            f"live {soaked.live_bytes[-1][1] / 1024:.1f} KiB, growth {soaked.growth_bytes:+.0f} bytes a day "
            "by the slope of the second half",
            flush=True,
        )
        for problem in soaked.problems:
            has_problems = True
            print(f"NOT as it should be: {problem}")
    return 1 if has_problems else 0


if __name__ == "__main__":
    sys.exit(main())
