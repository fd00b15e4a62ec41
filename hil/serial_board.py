"""A real board: its console on a serial port, its plug a command, its flash through mpremote.

Runs on CPython; needs pyserial, and mpremote for files.  When the plug is pulled the port may vanish; it is
opened again when power has come.  Source of RTS as reset: docs.espressif.com, esptool, "Boot Mode Selection".
"""

import asyncio
import contextlib
import shlex
import sys
import tempfile
from pathlib import Path

import serial

from hil.bench_file import RTS, BenchBoard
from hil.console import RingConsole
from hil.device import Board, Console, Files, Power, Radio, World
from hil.errors import BoardError, CommandError, LacksError

COMMAND_TIMEOUT_MS = 10_000
TRANSFER_TIMEOUT_MS = 120_000
PORT_TIMEOUT_MS = 20_000
"""From power to the console's port."""
PORT_RETRY_MS = 100
RESET_MS = 100


async def run_command(*command: str, timeout_ms: int = COMMAND_TIMEOUT_MS) -> str:
    """What a command says.  Raises CommandError when it fails, is not there, or does not end."""
    shown = shlex.join(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise CommandError(shown, 127, str(error)) from None
    try:
        async with asyncio.timeout(timeout_ms / 1_000):
            said, _ = await process.communicate()
    except TimeoutError:
        raise CommandError(shown, None, "") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = said.decode(errors="replace").strip()
    if process.returncode:
        raise CommandError(shown, process.returncode, text)
    return text


class SerialConsole(RingConsole):
    """A console on a port, read in the loop."""

    def __init__(self, board: BenchBoard) -> None:
        super().__init__(board.name, self._type)
        self._wire = board
        self._port: serial.Serial | None = None

    @property
    def is_open(self) -> bool:
        """Whether the port is held."""
        return self._port is not None

    async def open(self) -> None:
        """Raises BoardError when the port does not come in time."""
        if self._port is not None:
            return
        problem: Exception | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PORT_TIMEOUT_MS / 1_000):
                while True:
                    try:
                        port = serial.Serial(self._wire.serial, self._wire.baud, timeout=0, exclusive=True)
                        break
                    except (serial.SerialException, OSError) as error:
                        problem = error
                    await asyncio.sleep(PORT_RETRY_MS / 1_000)
                self._port = port
                asyncio.get_running_loop().add_reader(port.fileno(), self._read)
                return
        raise BoardError(
            f"{self._wire.name}: {self._wire.serial} cannot be opened: {problem}; is it plugged in, powered, "
            "and used by nobody else?"
        )

    def close(self) -> None:
        """Lets go of the port."""
        port, self._port = self._port, None
        if port is not None:
            asyncio.get_running_loop().remove_reader(port.fileno())
            port.close()

    async def pulse_rts(self) -> None:
        """Holds the reset line for a moment."""
        if self._port is None:
            raise BoardError(f"{self._wire.name}: its console is not open, so its reset line is not either")
        self._port.dtr = False
        self._port.rts = True
        await asyncio.sleep(RESET_MS / 1_000)
        self._port.rts = False

    def _read(self) -> None:
        port = self._port
        if port is None:
            return
        try:
            data = port.read(4096)
        except (serial.SerialException, OSError):
            data = b""
        if data:
            self.feed(data)
        else:
            self.close()  # Its power is gone, or its cable.

    def _type(self, data: bytes) -> None:
        if self._port is None:
            raise BoardError(f"{self._wire.name} has no open console; power.on() first")
        self._port.write(data)


class CommandPower:
    """Implements Power by the commands of the bench's file."""

    def __init__(self, board: BenchBoard, console: SerialConsole | None) -> None:
        self._board = board
        self._console = console

    async def on(self) -> None:
        """As `Power`.  Raises LacksError when the file has no command for it, CommandError."""
        await run_command(*shlex.split(self._command("power_on")))
        if self._console is not None:
            await self._console.open()

    async def off(self) -> None:
        """As `Power`."""
        await run_command(*shlex.split(self._command("power_off")))
        if self._console is not None:
            self._console.close()

    async def reset(self) -> None:
        """As `Power`."""
        if self._board.reset == RTS and self._console is not None:
            await self._console.open()
            await self._console.pulse_rts()
        else:
            await run_command(*shlex.split(self._command("reset")))

    def _command(self, field: str) -> str:
        command = str(getattr(self._board, field))
        if not command:
            raise LacksError(f"board {self._board.name}", field, f"give {field} in the bench's file")
        return command


class MpremoteFiles:
    """Implements Files by mpremote, which needs the port for itself: the console is away meanwhile."""

    def __init__(self, board: BenchBoard, console: SerialConsole) -> None:
        self._board = board
        self._console = console

    async def read(self, path: str) -> bytes:
        """As `Files`."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            await self._mpremote(path, "cp", f":{path}", str(copy))
            return copy.read_bytes()

    async def write(self, path: str, data: bytes) -> None:
        """As `Files`."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            copy.write_bytes(data)
            await self._mpremote(path, "cp", str(copy), f":{path}")

    async def remove(self, path: str) -> None:
        """As `Files`."""
        await self._mpremote(path, "rm", f":{path}")

    async def _mpremote(self, path: str, *arguments: str) -> None:
        was_open = self._console.is_open
        self._console.close()
        command = (sys.executable, "-m", "mpremote", "connect", self._board.serial, "fs", *arguments)
        try:
            await run_command(*command, timeout_ms=TRANSFER_TIMEOUT_MS)
        except CommandError as error:
            # mpremote's words for ENOENT of the board.
            if "No such file or directory" in str(error) or "ENOENT" in str(error):
                raise FileNotFoundError(path) from None
            raise
        finally:
            if was_open:
                await self._console.open()


class AddressedRadio:
    """Implements Radio of a board whose address the file gives."""

    def __init__(self, address: str) -> None:
        self.address = address


class CommandWorld:
    """Implements World by the commands of the bench's file; values are appended to them."""

    def __init__(self, board: BenchBoard) -> None:
        self._name = board.name
        self._commands = dict(board.world)

    async def do(self, what: str, *values: int) -> None:
        """As `World`.  Raises CommandError."""
        if what not in self._commands:
            raise LacksError(f"board {self._name}", f"way to do {what}", f"give {what} under [board.world]")
        await run_command(*shlex.split(self._commands[what]), *map(str, values))


def make_board(board: BenchBoard) -> Board:
    """What the file gives is there; its console is not open yet."""
    console = SerialConsole(board) if board.serial else None
    made = Board(board.name, board.role, how_to_add="describe it in the bench's file; see bench.toml.example")
    if console is not None:
        made.parts[Console] = console
        made.parts[Files] = MpremoteFiles(board, console)
    if board.power_on or board.reset:
        made.parts[Power] = CommandPower(board, console)
    if board.world:
        made.parts[World] = CommandWorld(board)
    if board.address:
        made.parts[Radio] = AddressedRadio(board.address)
    return made
