"""`python -m hil lock --name lock1`: a simulated board by hand, an air to reach it by, a world around it.

Runs on CPython.  What the board prints appears as it comes; what is typed happens to the board or around it.
Its flash is a folder and stays, so a board that was provisioned once is the same the next time.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from devices.firmware_build import BuildError
from devices.firmware_modules import FirmwareMissing
from hil.air_link import Conditions
from hil.board_process import HEAP_KIB, BoardProcess
from hil.device import Board
from hil.errors import RigError
from hil.virtual import VirtualRig
from hil.world import ROLES, SCRIPTED

EXAMPLES = """\
a lock that a gateway has enrolled, from the beginning:
  cpc enroll lock1 -c site/gateway.toml --simulate first-chip
  cpc device provision lock1 -c site/gateway.toml --role lock --set board=simulated --out lock1.cbor
  python -m hil lock --name lock1 --chip first-chip --provision lock1.cbor --port 7700
and in another terminal:
  cpc device authenticate lock1 -c site/gateway.toml --ble --air 127.0.0.1:7700
  cpc device state lock1 -c site/gateway.toml --ble --air 127.0.0.1:7700
"""
HELP = f"""\
type what should happen, then Enter:
  {" ".join(SCRIPTED)}
                       to what is around the board, such as: car_arrives; block 400; battery 11000
  state                what is around it now
  off, on, reset       its plug, and its button
  > text               typed to its console; ^C interrupts its program
  drop                 its radio links end, as silence would
  latency MS           of the air, in each direction, from now on
  help, quit
"""


class Hand:
    """One board, and whoever types."""

    def __init__(self, rig: VirtualRig, board: Board, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._board = board
        self._say = say

    async def obey(self, line: str) -> bool:
        """Does what was typed; False when it was the last.  Raises RigError for what cannot be."""
        words = line.split()
        process = self._rig.processes[self._board.name]
        match words:
            case []:
                pass
            case ["quit" | "exit"]:
                return False
            case ["help" | "?"]:
                self._say(HELP)
            case ["off"]:
                await process.off()
                self._say("it has no power")
            case ["on"]:
                await process.on()
            case ["reset"]:
                await process.reset()
            case ["drop"]:
                self._say(f"{self._rig.air.drop(self._board.radio.address)} links ended")
            case ["latency", number] if number.isdigit():
                self._rig.air.conditions.latency_ms = int(number)
            case ["state"]:
                self._show_state(process)
            case [">", *_]:
                text = line.partition(">")[2].strip()
                process.console.write("\x03" if text == "^C" else f"{text}\r")
            case [what, *values]:
                self._rig.world.do(self._board.name, what, *values)
                self._say(f"done: {' '.join(words)}")
        return True

    def _show_state(self, process: BoardProcess) -> None:
        around = self._rig.world.board(self._board.name)
        power = f"runs as process {process.pid}" if process.pid else "sleeps" if process.is_on else "no power"
        self._say(f"{self._board.name}: {power}; {len(self._rig.air.links(self._board.radio.address))} links")
        if around.role == "lock":
            arm = around.arm
            self._say(
                f"arm at {arm.position:.0f} of 1000, {'car' if around.bay.has_car else 'no car'} in the bay"
            )
        elif around.role == "charger":
            contactor = "closed" if around.socket.is_closed else "open"
            self._say(f"car in state {around.socket.car}, contactor {contactor}")


def make_parser() -> argparse.ArgumentParser:
    """What `python -m hil` takes."""
    parser = argparse.ArgumentParser(
        prog="python -m hil",
        description="Runs a simulated board: its real firmware, a radio, a world.",
        epilog=f"{EXAMPLES}\n{HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("role", choices=ROLES, help="what its firmware is")
    parser.add_argument("--name", help="of the board (the role and a 1)")
    parser.add_argument("--chip", help="its silicon, as `cpc enroll --simulate` takes it (its name)")
    parser.add_argument("--provision", type=Path, metavar="FILE", help="of `cpc device provision`, put on it")
    parser.add_argument(
        "--folder", type=Path, help="where its flash is and stays (a new one, gone in the end)"
    )
    parser.add_argument("--port", type=int, default=0, help="where others find the air (a free one)")
    parser.add_argument("--latency-ms", type=float, default=1.0, help="of the air, in each direction (1)")
    parser.add_argument(
        "--heap-kib", type=int, default=HEAP_KIB, help=f"for what is on its flash ({HEAP_KIB})"
    )
    return parser


async def run(arguments: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> None:
    """Until `quit`, or the end of what is typed."""
    name = arguments.name or f"{arguments.role}1"
    conditions = Conditions(latency_ms=arguments.latency_ms)
    async with VirtualRig(
        folder, conditions=conditions, air_port=arguments.port, heap_kib=arguments.heap_kib
    ) as rig:
        board = rig.board(name, arguments.role, chip=arguments.chip or "")
        process = rig.processes[name]
        if arguments.provision is not None:
            shutil.copyfile(arguments.provision, process.flash / "provision.cbor")
        elif not (process.flash / "provision.cbor").exists():
            say("it was given no --provision, so it does not know whom it belongs to and says so")
        process.console.echo = lambda text: say(text.strip("\r\n")) if text.strip() else None
        say(f"the air is at {rig.air.address}, {name} is {board.radio.address} there")
        say(f"its flash is {process.flash}")
        say(f"  cpc device authenticate {name} -c site/gateway.toml --ble --air {rig.air.address}")
        say("type help and Enter for what can happen to it")
        await board.power.on()
        hand = Hand(rig, board, say)
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode(errors="replace"):
            try:
                if not await hand.obey(line.strip()):
                    break
            except RigError as error:
                say(str(error))


def main(arguments: list[str] | None = None) -> int:
    """Runs a board by hand."""
    args = make_parser().parse_args(arguments)
    try:
        with contextlib.ExitStack() as stack:
            folder = args.folder
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cpc-board-")))
            asyncio.run(run(args, folder, lambda text: print(text, flush=True)))
    except KeyboardInterrupt:
        return 130
    except (RigError, BuildError, FirmwareMissing, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
