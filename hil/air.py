"""An air: radios of simulated boards and of their peers, in one process, with faults on command.

    python -m hil.air --port 7700                      an air by hand; prints where it listens
    python -m hil.air --at 127.0.0.1:7700 links        asks a running one
    python -m hil.air --at 127.0.0.1:7700 set latency_ms=30 loss=0.1

Runs on CPython; needs bumble.  Whoever joins opens a socket and sends one line:

    board C0:11:22:33:44:55     MicroPython with hil/micropython/bluetooth.py; `-` for an address of the air
    hci C0:11:22:33:44:56       a Bluetooth host of any make: HCI packets follow, with their type (H4)
    command                     lines of COMMANDS follow; each is answered by one line of JSON
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import random
import sys
from collections.abc import Callable
from typing import Any

from hil.air_link import Conditions, Cut, Link

LINE_BYTES_MAX = 512
COMMANDS = """
    set NAME=VALUE ...        latency_ms, interval_ms (a number, 0 for none, agreed), loss, supervision_ms
    drop ADDRESS              ends its links at once, as silence would
    cut ADDRESS N [up|down] [SILENCE_MS]
                              ends its link (or its next one) after N more messages
    silence ADDRESS           it neither hears nor is heard, until: hear ADDRESS
    links                     what is connected now, and the figures
    radios                    who is there
"""


class AirError(Exception):
    """A command that makes no sense; says what does."""


class Air:
    """`async with Air(port=0) as air:` listens at `air.address`."""

    def __init__(
        self, conditions: Conditions | None = None, *, seed: int = 0, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """port: 0 takes a free one."""
        self.conditions = conditions or Conditions()
        """How the air is; may be changed at any time."""
        self.address = ""
        """host:port"""
        self._host = host
        self._port = port
        self._seed = seed
        self._chance = random.Random(f"addresses {seed}")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._medium: Any = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Air:
        # bumble takes half a second to import, which a user who only asks need not wait for.
        from hil.air_radio import Medium

        self._medium = Medium(self.conditions, self._seed)
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in list(self._medium.links):
            link.close()

    # What is there

    @property
    def radios(self) -> list[str]:
        """Addresses of all that have joined, the oldest first."""
        return [radio.address for radio in self._medium.radios]

    def links(self, address: str = "") -> list[Link]:
        """Open links, of all or of one address, the oldest first."""
        wanted = address.upper()
        return [
            link for link in self._medium.links if not wanted or wanted in (link.central, link.peripheral)
        ]

    def ended(self, address: str = "") -> list[Link]:
        """The newest links that have ended, for their figures."""
        wanted = address.upper()
        return [
            link for link in self._medium.ended if not wanted or wanted in (link.central, link.peripheral)
        ]

    async def joined(self, address: str) -> None:
        """Returns when a radio has joined."""
        while address.upper() not in self.radios:
            changed = self._changed
            await changed.wait()

    # Faults

    def drop(self, address: str) -> int:
        """Ends the links of an address: both sides hear of a supervision timeout.  Returns how many."""
        links = self.links(address)
        for link in links:
            link.lose()
        return len(links)

    def cut(self, address: str, after: int, direction: str = "both", silence_ms: float = 0.0) -> Cut:
        """Ends its link, or the next one it has, when `after` more messages have passed; see `Cut`."""
        cut = Cut(after, direction, silence_ms)
        links = self.links(address)
        if links:
            links[-1].cuts.append(cut)
        else:
            self._medium.cuts.append((address.upper(), cut))
        return cut

    def heal(self) -> None:
        """Forgets cuts that have not come, lets all hear again, and loses nothing more."""
        self.conditions.loss = 0.0
        self._medium.cuts.clear()
        for link in self._medium.links:
            link.cuts.clear()
        for address in self.radios:
            self.hear(address)

    def silence(self, address: str) -> None:
        """An address neither hears nor is heard; its links end after their supervision timeout."""
        for radio in self._radios(address):
            radio.is_silent = True
        for link in self.links(address):
            link.silence()

    def hear(self, address: str) -> None:
        """Undoes `silence`."""
        for radio in self._radios(address):
            radio.is_silent = False
        for link in self.links(address):
            link.resume()

    def _radios(self, address: str) -> list[Any]:
        return [radio for radio in self._medium.radios if radio.address == address.upper()]

    # The socket

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        try:
            line = (await reader.readline()).decode("ascii", "replace").split()
            match line:
                case ["board", address]:
                    await self._serve_board(address, reader, writer)
                case ["hci", address]:
                    await self._serve_hci(address, reader, writer)
                case ["command"]:
                    await self._serve_commands(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ValueError, IndexError, asyncio.CancelledError):
            # Whoever sends nonsense, or goes, is gone.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    def _join(self, address: str) -> Any:
        from bumble import hci

        from hil.air_radio import Radio

        if address == "-":
            raw = bytes([*self._chance.randbytes(5), 0xC0 | self._chance.randrange(0x40)])
            parsed = hci.Address(raw)
        else:
            parsed = hci.Address(address.upper())
        # bumble says that it is at home whenever a radio appears; nobody else needs to know.
        radio = Radio(address, self._medium)
        radio.random_address = parsed
        self._changed.set()
        self._changed = asyncio.Event()
        return radio

    async def _serve_board(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from bumble.transport.common import AsyncPipeSink

        from hil.air_board import Board
        from hil.air_host import make_device

        radio = self._join(address)
        board = None
        try:
            device = make_device("board", radio.random_address, radio, AsyncPipeSink(radio))
            await device.power_on()
            board = Board(radio, device, writer.write)
            while True:
                length = int.from_bytes(await reader.readexactly(2), "little")
                await board.handle(await reader.readexactly(length))
        finally:
            self._medium.remove_controller(radio)
            if board is not None:
                board.close()

    async def _serve_hci(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from bumble.transport.common import PacketParser

        radio = self._join(address)
        try:
            radio.host = _Writer(writer)
            parser = PacketParser(radio)
            while data := await reader.read(4096):
                parser.feed_data(data)
        finally:
            self._medium.remove_controller(radio)

    async def _serve_commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                answer: Any = {"ok": self.command(line.decode("ascii", "replace"))}
            except AirError as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    def command(self, line: str) -> Any:
        """Does what one of COMMANDS says.  Raises AirError."""
        words = line.split()
        try:
            match words:
                case ["set", *settings] if settings:
                    return self._set(settings)
                case ["drop", address]:
                    return self.drop(address)
                case ["cut", address, after, *rest] if len(rest) <= 2:
                    silence_ms = float(rest.pop()) if rest and rest[-1] not in ("up", "down") else 0.0
                    self.cut(address, int(after), rest[0] if rest else "both", silence_ms)
                    return None
                case ["silence", address]:
                    return self.silence(address)
                case ["hear", address]:
                    return self.hear(address)
                case ["links"]:
                    return [self._described(link) for link in self.links()]
                case ["radios"]:
                    return self.radios
        except ValueError as error:
            raise AirError(f"{line.strip()}: {error}") from None
        raise AirError(f"{line.strip()!r} is none of:\n{COMMANDS}")

    def _set(self, settings: list[str]) -> dict[str, float | None]:
        names = {field.name for field in dataclasses.fields(Conditions)}
        changes: dict[str, float | None] = {}
        for setting in settings:
            name, _, value = setting.partition("=")
            if name not in names:
                raise AirError(f"{setting!r}: there are {', '.join(sorted(names))}")
            is_agreed = value == "agreed" and name in ("interval_ms", "supervision_ms")
            changes[name] = None if is_agreed else float(value)
        for name, number in changes.items():
            setattr(self.conditions, name, number)
        return dataclasses.asdict(self.conditions)

    def _described(self, link: Link) -> dict[str, Any]:
        figures = link.figures
        return {
            "central": link.central,
            "peripheral": link.peripheral,
            "age_ms": round(link.age_ms),
            "interval_ms": link.interval_ms,
            "events": link.events,
            "events_used": figures.events_used,
            "messages": figures.messages,
            "lost": figures.lost,
        }


class _Writer:
    """Takes HCI packets for a host on a socket."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def on_packet(self, packet: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(packet)


async def ask(address: str, line: str) -> Any:
    """What a running air answers to a command.  Raises AirError, OSError."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"command\n{line}\n".encode())
        answer = json.loads(await reader.readline() or b'{"error": "the air has gone"}')
    finally:
        writer.close()
    if "error" in answer:
        raise AirError(answer["error"])
    return answer["ok"]


async def _run(arguments: argparse.Namespace, say: Callable[[str], object]) -> None:
    if arguments.at:
        answer = await ask(arguments.at, " ".join(arguments.words))
        for line in answer if isinstance(answer, list) else ["done"] if answer is None else [answer]:
            say(line if isinstance(line, str) else json.dumps(line))
        return
    conditions = Conditions(arguments.latency_ms, arguments.interval_ms, arguments.loss)
    async with Air(conditions, seed=arguments.seed, host=arguments.host, port=arguments.port) as air:
        say(f"air at {air.address}")
        say(f"a board joins with  HIL_AIR={air.address} HIL_ADDRESS=C0:00:00:00:00:01")
        say(f"ask it with         python -m hil.air --at {air.address} links")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(words: list[str] | None = None) -> int:
    """`python -m hil.air`"""
    parser = argparse.ArgumentParser(
        prog="python -m hil.air",
        description=(__doc__ or "").split("\n")[0],
        epilog=f"Commands, with --at:\n{COMMANDS}\n"
        "Examples:\n"
        "    python -m hil.air --port 7700 --latency-ms 30\n"
        "    python -m hil.air --at 127.0.0.1:7700 cut C0:00:00:00:00:01 3\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (a free one)")
    parser.add_argument("--latency-ms", type=float, default=1.0, help="of a message (%(default)s)")
    parser.add_argument("--interval-ms", type=float, default=0.0, help="between connection events; 0: none")
    parser.add_argument("--loss", type=float, default=0.0, help="share of messages lost, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is left to chance")
    parser.add_argument("--at", metavar="HOST:PORT", default="", help="ask a running air instead")
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="with --at; see below")
    arguments = parser.parse_args(words)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(arguments, print))
    except ImportError:
        print("the air needs bumble: pip install bumble", file=sys.stderr)
        return 2
    except (AirError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
