"""MicroPython processes that join an air with a program of a few lines."""

import asyncio
import os
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests import micropython

BOARD, OTHER_BOARD, HOST = (f"C0:00:00:00:00:{number:02X}" for number in (1, 2, 0x11))
WAIT_S = 60
"""For what does happen; no figure depends on it."""

HEAD = """
import asyncio, bluetooth, time
from micropython import const
ble = bluetooth.BLE()
"""

SERVICE = "0000f100-0000-1000-8000-00805f9b34fb"
IN, OUT = (f"0000f10{number}-0000-1000-8000-00805f9b34fb" for number in (1, 2))

PERIPHERAL = (
    HEAD
    + """
ble.active(True)
F = bluetooth
SERVICE = (F.UUID(0xF100), (
    (F.UUID(0xF101), F.FLAG_WRITE | F.FLAG_WRITE_NO_RESPONSE),
    (F.UUID(0xF102), F.FLAG_READ | F.FLAG_NOTIFY | F.FLAG_INDICATE, ((F.UUID(0x2901), F.FLAG_READ),)),
))
((h_in, h_out, h_name),) = ble.gatts_register_services((SERVICE,))
ble.gatts_set_buffer(h_in, 100, True)
ble.gatts_write(h_out, b"hello")
ble.gatts_write(h_name, b"what it says")
flag = asyncio.ThreadSafeFlag()
events = []
def irq(event, data):
    events.append((event, tuple(bytes(d) if isinstance(d, memoryview) else d for d in data)))
    flag.set()
ble.irq(irq)
ble.gap_advertise(30_000, b"\\x02\\x01\\x06\\x05\\x09lock", resp_data=b"\\x05\\xff\\xff\\xffhi")
print("ready", h_in, h_out, h_name)

async def main(act):
    while True:
        await flag.wait()
        while events:
            event, data = events.pop(0)
            print(event, data)
            if event == 2:
                ble.gap_advertise(30_000)
            act(event, data)
"""
)


class Board:
    """A process, and what it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def line(self) -> str:
        """The next one."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            line = (await self._process.stdout.readline()).decode().rstrip("\n")
        self.lines.append(line)
        if line.startswith("Traceback"):
            rest = (await self._process.stdout.read()).decode()
            raise AssertionError(f"the board's program failed:\n{line}\n{rest}")
        return line

    async def until(self, beginning: str) -> str:
        """Reads on to a line that begins so."""
        while True:
            line = await self.line()
            if line.startswith(beginning):
                return line
            if not line and self._process.stdout is not None and self._process.stdout.at_eof():
                raise AssertionError(f"the board never said {beginning!r} but:\n" + "\n".join(self.lines))

    async def rest(self) -> list[str]:
        """All that is left to be said, and the program has ended well."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            lines = (await self._process.stdout.read()).decode().splitlines()
            assert await self._process.wait() == 0, "\n".join([*self.lines, *lines])
        return lines

    def cut_power(self) -> None:
        """At once."""
        self._process.kill()


@asynccontextmanager
async def board(air_address: str, code: str, address: str = BOARD) -> AsyncIterator[Board]:
    """A board with a radio, running `code` in 128 KiB of heap."""
    process = await asyncio.create_subprocess_exec(
        *micropython.need_micropython(),
        "-X",
        f"heapsize={micropython.HEAP_SIZE}",
        "-c",
        textwrap.dedent(code),
        env={
            **os.environ,
            "MICROPYPATH": f"{micropython.ROOT / 'hil' / 'micropython'}:{micropython.ROOT}:.frozen",
            "HIL_AIR": air_address,
            "HIL_ADDRESS": address,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Board(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
