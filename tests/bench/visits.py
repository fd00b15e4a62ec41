"""`python -m tests.bench.visits [--size tiny|full]`: how long a gateway takes to meet its devices on the air.

Runs on CPython.  The devices are simulated boards with the firmware of a lock, the gateway is
gateway/device_ble.py on bleak, and the air (hil/air.py) holds each message for 30 ms before the next
connection event, in each direction.  What is printed:

    plain      discover, connect and read one value: what Bluetooth alone takes here, without any proof
    known      discover to authenticated for a device that was met before: the fast path
    first      the same for a device that is met in full, by EDHOC
    parallel   full sessions at once, one for each of 20 devices: found, met in full, a grant taken

`ms` is this machine's time from the beginning of the scan; `events` are connection events since the
connection.  The bare machine's work is in `ms`, too, which on an ESP32 is slower (make bench-device).

Exit status 1 when a visit fails or a lock is not down after it; never for a figure.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bleak import BleakClient, BleakScanner

from devices.micropython import advert, commands
from hil.air_link import Conditions
from hil.board_process import HEAP_KIB
from hil.device import Board, Central
from hil.virtual import VirtualRig
from puf.grant import OPEN
from tests.bench.measure import FULL, TINY
from tests.hil.fleet import Car, Gateway

LATENCY_MS = 30.0
COUNTS = {TINY: 2, FULL: 20}
PARALLEL = {TINY: 2, FULL: 20}


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit."""

    found_ms: float
    proved_ms: float
    events: int
    messages: int


@dataclass(frozen=True, slots=True)
class Row:
    """What came of all visits of a kind."""

    name: str
    visits: tuple[Visit, ...]

    def __str__(self) -> str:
        found = [visit.found_ms for visit in self.visits]
        proved = [visit.proved_ms for visit in self.visits]
        events = [visit.events for visit in self.visits]
        messages = [visit.messages for visit in self.visits]
        return (
            f"{self.name:<9}{len(self.visits):>4} visits   found p50 {share(found, 50):5.0f} ms   "
            f"done p50 {share(proved, 50):5.0f} p95 {share(proved, 95):5.0f} ms   "
            f"events p50 {share(events, 50):3.0f} p95 {share(events, 95):3.0f}   "
            f"messages {share(messages, 50):3.0f}"
        )


def share(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


async def _locks(rig: VirtualRig, gateway: Gateway, count: int) -> list[Board]:
    boards = []
    for number in range(1, count + 1):
        device = gateway.enrol(f"lock{number}", "lock")
        board = rig.board(device.name, "lock", files={"provision.cbor": device.provision})
        await board.power.on()
        boards.append(board)
    for board in boards:
        await rig.air.joined(board.radio.address)
    return boards


async def _plain(rig: VirtualRig, board: Board, central: Central) -> Visit:
    began = time.monotonic()
    device = await BleakScanner.find_device_by_address(board.radio.address, **central.scanner)
    found_ms = (time.monotonic() - began) * 1_000
    if device is None:
        raise RuntimeError(f"{board.name} is not in the air")
    async with BleakClient(device, **central.client) as client:
        await client.read_gatt_char(advert.INFO)
        done_ms = (time.monotonic() - began) * 1_000
        link = rig.air.links(board.radio.address)[-1]
        return Visit(found_ms, done_ms, link.events, link.figures.messages)


async def _proved(rig: VirtualRig, gateway: Gateway, board: Board, central: Central, is_first: bool) -> Visit:
    async with gateway.client(board, central, is_first=is_first) as client:
        await client.connect()
        link = rig.air.links(board.radio.address)[-1]
        visit = Visit(client.found_ms, client.proved_ms, link.events, link.figures.messages)
        # The lock has heard the last message when it answers.
        await client.ask(commands.STATUS)
        if client.connect_count != 1:
            raise RuntimeError(f"{client.connect_count} connections for one visit")
        return visit


async def _whole(
    rig: VirtualRig, gateway: Gateway, board: Board, central: Central, key: bytes, car: Car
) -> Visit:
    device = gateway.devices[board.name]
    grant = gateway.grant(board.name, key, car.caller.name)
    began = time.monotonic()
    async with car.client(board, central, device) as client:
        await client.ask(commands.GRANT, OPEN, grant)
        link = rig.air.links(board.radio.address)[-1]
        done_ms = (time.monotonic() - began) * 1_000
        visit = Visit(client.found_ms, done_ms, link.events, link.figures.messages)
        async with asyncio.timeout(60):
            while True:
                (status,) = await client.ask(commands.STATUS)
                if isinstance(status, dict) and status["role"]["state"] == "down":
                    return visit


async def measure(size: str, folder: Path, heap_kib: int = HEAP_KIB) -> list[Row]:
    """All rows.  Raises what a visit does that fails."""
    conditions = Conditions(latency_ms=LATENCY_MS, interval_ms=None)
    count, many = COUNTS[size], PARALLEL[size]
    rows = []
    async with VirtualRig(folder, conditions=conditions, heap_kib=heap_kib) as rig:
        gateway = Gateway()
        boards = await _locks(rig, gateway, many)
        central = await rig.central("gateway")
        kinds = {"plain": None, "known": False, "first": True}
        for name, is_first in kinds.items():
            visits = []
            for _ in range(count):
                board = boards[0]
                visits.append(
                    await _plain(rig, board, central)
                    if is_first is None
                    else await _proved(rig, gateway, board, central, is_first)
                )
            rows.append(Row(name, tuple(visits)))
        keys = []
        for board in boards:
            async with gateway.client(board, central) as owner:
                keys.append(await gateway.let_in(board.name, owner))
        cars = [Car(f"car{number}") for number in range(many)]
        centrals = [await rig.central(car.name) for car in cars]
        began = time.monotonic()
        visits = await asyncio.gather(
            *(
                _whole(rig, gateway, board, central, key, car)
                for board, central, key, car in zip(boards, centrals, keys, cars, strict=True)
            )
        )
        rows.append(Row("parallel", tuple(visits)))
        print(f"{many} sessions in parallel took {time.monotonic() - began:.2f} s in all", file=sys.stderr)
        if (failure := rig.failure()) is not None:
            raise failure
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.visits")
    parser.add_argument("--size", choices=(TINY, FULL), default=FULL)
    parser.add_argument("--heap-kib", type=int, default=HEAP_KIB, help="of a board, for what is in its flash")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cpc-visits-") as name:
        rows = asyncio.run(measure(args.size, Path(name), args.heap_kib))
    print(f"{LATENCY_MS:g} ms of latency in each direction; connection interval as Linux agrees it")
    for row in rows:
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
