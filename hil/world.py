"""The physical world behind the pins of simulated boards, and the socket by which they reach it.

Runs on CPython.  `World` is pure: requests and the board's own clock in, answers out, so that a board with a
clock that jumps (hil/clock.py) has a world that is exactly as late.  Tests change it while boards run:

    world = World()
    async with served(world) as address:               HIL_WORLD=address HIL_BOARD=lock1
        world.board("lock1").car_arrives()

or by hand, `python -m hil.world --port 7000`, and a line to that port:  `do lock1 car_arrives`.

Lines from a board, and what is answered:

    j T name cause                   it starts: `ok`            m T chip      power-up pattern, hex
    p T pin level                    a level                    w T pin hz duty_u16     a duty cycle
    i T pin           a level        a T pin     microvolts,..  e T pin level timeout   us of a pulse
    q T pin           it counts falling edges of this pin       t T           temperature, mdegC
    g T timeout pid state            a watchdog begins          f T   it is fed         b T kind   it leaves
    u T port hex      what comes back on a serial line, hex, or `-` for nothing

T is the board's clock in us.  After an answer stand `pin:count` for edges since the last answer.  What is at
which pin is said by the same file that the board has (devices/micropython/boards/).
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hil.errors import RigError
from hil.world_parts import Arm, Battery, Bay, Socket
from lock_controller.meter import ask, crc16
from puf.puf_simulator import SimulatedChip

BOARDS = Path(__file__).resolve().parent.parent / "devices" / "micropython" / "boards"
ROLES = ("lock", "charger", "sensor")
SCRIPTED = (
    *("car_arrives", "car_leaves", "block", "unblock", "plug", "unplug", "charge", "pause", "weld", "unweld"),
    *("battery", "silence", "hear"),
)
"""What `do` may ask for."""
STEP_US = 5_000
"""The longest piece of time that is looked at as one."""


class WorldError(RigError):
    """The world was asked for what it does not have; the message says what there is."""


class BoardWorld:
    """What is around one board."""

    def __init__(self, name: str, data: dict[str, Any], role: str = "") -> None:
        self.name = name
        self.role = role or name.rstrip("0123456789-_")
        if self.role not in ROLES:
            raise WorldError(
                f"what is around {name}? name it after a role with a number, or ask for board(name, role); "
                f"roles are {', '.join(ROLES)}"
            )
        self.data = data[self.role]
        self.is_on = False
        self.start_count = 0
        self.power_up_count = 0
        self.now_us = 0
        """Since the world began; stands while the board is off."""
        self.arm = Arm()
        sonars = self.data.get("sonars") or [self.data["sonar"]] if self.role != "charger" else []
        self.bay = Bay(tuple(sonar["empty_mm"] for sonar in sonars))
        self.socket = Socket(self.data.get("meter", {}).get("per_kwh", 1_000))
        self.power = Battery(self.data.get("battery", {}).get("full_mv", 12_000))
        self._clock_us: int | None = None
        self._levels: dict[int, int] = {}
        self._counted: set[int] = set()
        self._echoes = {sonar["echo"]: number for number, sonar in enumerate(sonars)}

    @property
    def chip_mdegc(self) -> int:
        """How warm the chip is: one that never sleeps heats itself."""
        return self.bay.temperature_mdegc + (0 if self.role == "sensor" else 15_000)

    # What a test does

    def car_arrives(self) -> None:
        """A car stands in the bay."""
        self.bay.has_car = True

    def car_leaves(self) -> None:
        """The bay is empty."""
        self.bay.has_car = False

    def block(self, at: int = 400) -> None:
        """Something holds the arm on its way up, at so many thousandths of it."""
        self.arm.blocked_at = int(at)

    def unblock(self) -> None:
        """Nothing does any more."""
        self.arm.blocked_at = None

    def plug(self) -> None:
        """A car is plugged in."""
        self.socket.car = "B"

    def charge(self, power_w: int = 7_000) -> None:
        """The car charges."""
        self.socket.car, self.socket.draw_w = "C", int(power_w)

    def pause(self) -> None:
        """The car stops charging and stays plugged in."""
        self.socket.car = "B"

    def unplug(self) -> None:
        """It is unplugged."""
        self.socket.car = "A"

    def weld(self) -> None:
        """The contactor's contacts melt together."""
        self.socket.is_welded = True

    def unweld(self) -> None:
        """It is replaced."""
        self.socket.is_welded = False

    def battery(self, mv: int) -> None:
        """The battery is so full."""
        self.power.mv = int(mv)

    def silence(self, number: int = 0) -> None:
        """A sensor hears no echo any more."""
        self.bay.is_silent[int(number)] = True

    def hear(self, number: int = 0) -> None:
        """It does again."""
        self.bay.is_silent[int(number)] = False

    # What a board does

    def start(self, clock_us: int, cause: str) -> None:
        """A board's program begins: its pins let go of everything."""
        self.is_on = True
        self.start_count += 1
        self.power_up_count += cause == "power_on"
        self._clock_us = clock_us
        self.leave()
        self.is_on = True

    def leave(self) -> None:
        """The program has ended, or the power: motor and contactor are off, for nobody holds their pins."""
        self.is_on = False
        self._levels.clear()
        self._counted.clear()
        self._drive()
        self.socket.duty_u16 = 65_535

    def pass_to(self, clock_us: int) -> None:
        """The board's clock is so late now, and time passes up to there."""
        if self._clock_us is None:
            self._clock_us = clock_us
        left_us = max(0, clock_us - self._clock_us)
        self._clock_us = max(clock_us, self._clock_us)
        self.now_us += left_us
        # Nothing moves by itself: a long rest is one step.
        step_us = STEP_US if self.arm.direction else max(left_us, 1)
        while left_us > 0:
            piece_us = min(left_us, step_us)
            left_us -= piece_us
            self.arm.advance(piece_us, self.bay.has_car)
            self.socket.advance(piece_us)

    def set_level(self, pin: int, level: int) -> None:
        """A pin is driven."""
        self._levels[pin] = level
        self._drive()

    def set_duty(self, pin: int, frequency_hz: int, duty_u16: int) -> None:
        """A pin has a duty cycle."""
        if self.role == "charger" and pin == self.data["pilot"]["out"]:
            self.socket.duty_u16 = duty_u16 if frequency_hz else 65_535

    def count(self, pin: int) -> None:
        """Edges of this pin are to be told."""
        self._counted.add(pin)

    def level(self, pin: int) -> int:
        """What an input reads."""
        if self.role == "lock":
            limits = self.data["limits"]
            for name, is_on in (("low", self.arm.is_low), ("high", self.arm.is_high)):
                if pin == limits[name]:
                    return int(limits["pressed"] if is_on else not limits["pressed"])
        if self.role == "charger" and pin == self.data["contactor"].get("live"):
            is_live = self.data["contactor"]["is_live"]
            return int(is_live if self.socket.is_live else not is_live)
        return self._levels.get(pin, 1)

    def microvolts(self, pin: int) -> tuple[int, ...]:
        """What a converter reads, and would read in conversions that follow at once, where that differs."""
        data = self.data
        if self.role == "lock" and pin == data["current"]["pin"]:
            return (self.arm.current_ma * 1_000_000 // int(data["current"]["ma_per_v"]),)
        if pin == data.get("battery", {}).get("pin"):
            sag_mv = self.power.mv // 12 if self.arm.direction else 0
            return ((self.power.mv - sag_mv) * 1_000_000 // int(data["battery"]["permille"]),)
        if self.role == "charger" and pin == data["pilot"]["in"]:
            pilot = data["pilot"]
            zero_uv, uv_per_mv = pilot["zero_mv"] * 1_000, pilot["mv_per_v"]
            levels = [self.socket.pilot_mv(self.now_us) for _ in range(pilot["samples"])]
            return tuple(zero_uv + level_mv * uv_per_mv for level_mv in levels)
        return (0,)

    def pulse_us(self, pin: int, timeout_us: int) -> int:
        """How long an input's pulse takes."""
        number = self._echoes.get(pin)
        if number is None or not self._levels.get(self.data.get("supply", -1), 1):
            return -2
        pulse_us = self.bay.echo_us(number)
        return -1 if pulse_us > timeout_us else pulse_us

    def serial(self, data: bytes) -> bytes:
        """What the meter on a serial line answers to a request."""
        meter = self.data.get("meter", {})
        if meter.get("kind") != "modbus" or data != ask(meter["address"], meter["register"]):
            return b""
        if self.socket.is_meter_dead:
            return b""
        units = self.socket.energy_uwh / 1e6 / meter["unit_wh"]
        body = struct.pack(">BBBf", meter["address"], 4, 4, units * (100 if self.socket.is_meter_mad else 1))
        return body + struct.pack("<H", crc16(body))

    def edges(self) -> list[tuple[int, int]]:
        """(pin, falling edges) since this was asked last."""
        if self.role != "charger" or self.data["meter"].get("pin") not in self._counted:
            return []
        count = self.socket.pulses()
        return [(self.data["meter"]["pin"], count)] if count else []

    def _drive(self) -> None:
        if self.role == "lock":
            motor = self.data["motor"]
            self.arm.drive(self._levels.get(motor["up"], 0) - self._levels.get(motor["down"], 0))
        elif self.role == "charger":
            is_closed = bool(self._levels.get(self.data["contactor"]["out"], 0))
            if self.socket.is_closed and not is_closed:
                self.socket.opened_at_us = self.now_us
            self.socket.is_closed = is_closed


class World:
    """All boards of a rig and what is around them.  `data`: the boards' pins, one of devices/.../boards."""

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self._data = data or json.loads((BOARDS / "simulated.json").read_text())
        self._boards: dict[str, BoardWorld] = {}

    def board(self, name: str, role: str = "") -> BoardWorld:
        """What is around the board of this name; it is there before the board is.

        role: lock, charger or sensor; without one the name says it, up to its number.
        """
        if name not in self._boards:
            self._boards[name] = BoardWorld(name, self._data, role)
        return self._boards[name]

    def do(self, name: str, what: str, *arguments: str) -> None:
        """Changes something by name, one of SCRIPTED.  Raises WorldError."""
        if what not in SCRIPTED:
            raise WorldError(f"nobody can {what!r}; there is {', '.join(SCRIPTED)}")
        try:
            getattr(self.board(name), what)(*arguments)
        except (TypeError, ValueError, IndexError) as error:
            raise WorldError(f"{what} of {name}: {error}") from None

    def ask(self, board: BoardWorld, line: str) -> str | None:
        """The answer to a line of a board, None when it wants none.  Raises WorldError."""
        try:
            word, clock_us, *rest = line.split()
            return self._answer(board, word, int(clock_us), rest)
        except (ValueError, IndexError, KeyError) as error:
            raise WorldError(f"no line of a board: {line!r}: {error}") from None

    def _answer(self, board: BoardWorld, word: str, clock_us: int, rest: list[str]) -> str | None:
        if word == "j":
            board.start(clock_us, rest[1])
            return "ok"
        board.pass_to(clock_us)
        match word:
            case "p":
                board.set_level(int(rest[0]), int(rest[1]))
            case "w":
                board.set_duty(int(rest[0]), int(rest[1]), int(rest[2]))
            case "q":
                board.count(int(rest[0]))
            case "b":
                board.leave()
            case "g" | "f":
                pass
            case "m":
                chip = SimulatedChip(bytes.fromhex(rest[0]))
                chip.read_count = int.from_bytes(os.urandom(6), "big")
                return chip.read().hex()
            case "u":
                return board.serial(bytes.fromhex(rest[1])).hex() or "-"
            case "t":
                return str(board.chip_mdegc)
            case "i" | "a" | "e":
                pin = int(rest[0])
                if word == "a":
                    value = ",".join(map(str, board.microvolts(pin)))
                else:
                    value = str(board.level(pin) if word == "i" else board.pulse_us(pin, int(rest[2])))
                return " ".join((value, *(f"{of}:{count}" for of, count in board.edges())))
            case _:
                raise ValueError(word)
        return None


class _Watchdog:
    """The watchdog of one board, by the real clock: a program that hangs has no other."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._fed_ns = 0

    def begin(self, timeout_ms: int, pid: int, state: str) -> None:
        self.end()
        self.feed()
        self._task = asyncio.create_task(self._watch(timeout_ms, pid, state))

    def feed(self) -> None:
        self._fed_ns = time.monotonic_ns()

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _watch(self, timeout_ms: int, pid: int, state: str) -> None:
        while True:
            left_ns = self._fed_ns + timeout_ms * 1_000_000 - time.monotonic_ns()
            if left_ns <= 0:
                break
            await asyncio.sleep(left_ns / 1e9)
        _bite(pid, state)


def _bite(pid: int, state: str) -> None:
    """Ends a board's process, and says why where the rig looks for that."""
    if state != "-":
        with contextlib.suppress(OSError):
            Path(state, "exit.json").write_text('{"kind": "wdt", "now_ms": 0}')
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _serve(world: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    board: BoardWorld | None = None
    watchdog = _Watchdog()
    try:
        while data := await reader.readline():
            words = data.decode(errors="replace").split()
            if words[:1] == ["do"]:
                try:
                    world.do(*words[1:])
                    writer.write(b"ok\n")
                except (WorldError, TypeError) as error:
                    writer.write(f"{error}\n".encode())
                continue
            if words[:1] == ["j"] and len(words) == 4:
                board = world.board(words[2])
            if board is None:
                writer.write(b"who are you? begin with: j 0 name power_on\n")
                continue
            answer = world.ask(board, data.decode(errors="replace"))
            if words[0] == "g":
                watchdog.begin(int(words[2]), int(words[3]), words[4])
            elif words[0] == "f":
                watchdog.feed()
            if answer is not None:
                writer.write(answer.encode() + b"\n")
    except (ConnectionError, WorldError) as error:
        if isinstance(error, WorldError):
            print(error, file=sys.stderr)
    finally:
        watchdog.end()
        if board is not None:
            board.leave()
        writer.close()


@contextlib.asynccontextmanager
async def served(world: World, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Lets boards reach `world`; yields the address, host:port, for their HIL_WORLD."""
    server = await asyncio.start_server(lambda reader, writer: _serve(world, reader, writer), host, port)
    try:
        address = server.sockets[0].getsockname()
        yield f"{address[0]}:{address[1]}"
    finally:
        server.close()


async def _run(port: int) -> None:
    async with served(World(), port=port) as address:
        print(f"the world is at {address}; tell it: do NAME {'|'.join(SCRIPTED)}", flush=True)
        await asyncio.Event().wait()


def main() -> int:
    """Serves a world until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m hil.world", description="A world behind boards' pins.")
    parser.add_argument("--port", type=int, default=7001, help="where boards find it (7001)")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(arguments.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
