"""A conversation with a board over bleak: what a gateway, a car or a stranger says, message by message.

Runs on CPython.  The protocol is gateway/device_link.py, pure; here it gets a clock and a BleakClient.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError

from devices.micropython import advert
from devices.micropython.errors import FrameError
from devices.micropython.link_frame import FRAME_BYTES_MAX, Joiner, Splitter
from gateway.device_link import PROVED, Callee, Caller, DeviceLink
from hil.device import Board, Central
from puf.fast_path_keys import Pairing


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Lost(Exception):
    """The link went."""


class Wire:
    """Whole messages over the service of a board."""

    def __init__(self, client: BleakClient) -> None:
        self.client = client
        self._joiner = Joiner()
        self._splitter = Splitter()
        self._come: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def send(self, message: bytes) -> None:
        """Raises Lost."""
        room = min(self.client.mtu_size - 3, FRAME_BYTES_MAX)
        try:
            for frame in self._splitter.split(message, room):
                await self.client.write_gatt_char(advert.IN, frame, response=False)
        except (BleakError, OSError) as error:
            raise Lost(str(error)) from error

    async def receive(self, timeout_ms: int = 20_000) -> bytes:
        """Raises Lost; TimeoutError."""
        async with asyncio.timeout(timeout_ms / 1_000):
            message = await self._come.get()
        if message is None:
            raise Lost("the link went")
        return message

    def heard(self, _characteristic: object, data: bytearray) -> None:
        try:
            message = self._joiner.join(bytes(data))
        except FrameError:
            self._come.put_nowait(None)
            return
        if message is not None:
            self._come.put_nowait(message)

    def gone(self, _client: BleakClient) -> None:
        self._come.put_nowait(None)


@asynccontextmanager
async def connected(board: Board, central: Central, timeout_ms: int = 20_000) -> AsyncIterator[Wire]:
    """A link to a board.  Raises Lost when it cannot be had."""
    wire: Wire | None = None

    def gone(client: BleakClient) -> None:
        if wire is not None:
            wire.gone(client)

    try:
        async with asyncio.timeout(timeout_ms / 1_000):
            device = await BleakScanner.find_device_by_address(
                board.radio.address, timeout_ms / 1_000, **central.scanner
            )
            if device is None:
                raise Lost(f"{board.name} is not in the air")
            client = BleakClient(device, gone, timeout=timeout_ms / 1_000, **central.client)
            wire = Wire(client)
            await client.connect()
    except (BleakError, TimeoutError) as error:
        raise Lost(f"{board.name}: {error!r}") from error
    try:
        try:
            await client.start_notify(advert.OUT, wire.heard)
        except BleakError as error:
            raise Lost(str(error)) from error
        yield wire
    finally:
        await client.disconnect()


class Talk:
    """A session: both have proved themselves, and one asks."""

    def __init__(self, wire: Wire, link: DeviceLink) -> None:
        self.wire = wire
        self.link = link

    async def ask(self, command: int, *arguments: object) -> list[object]:
        """The results.  Raises DeviceRefused, DeviceLinkError, Lost."""
        await self.wire.send(self.link.ask(now_ms(), command, *arguments))
        return self.link.answer(await self.wire.receive(), now_ms())


class Keeper:
    """The pairings that one party keeps, each for the next time."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.pairings: dict[bytes, Pairing] = {}

    async def prove(self, wire: Wire, callee: Callee, *, is_first: bool = False) -> Talk:
        """Raises DeviceUnproven, DeviceLinkError, Lost, TimeoutError."""
        link = DeviceLink(self.caller, callee, self.pairings.get(callee.name), os.urandom, is_first=is_first)
        await wire.send(link.start(now_ms()))
        while link.state != PROVED:
            step = link.receive(await wire.receive(), now_ms())
            if step.save is not None:
                self.pairings[callee.name] = step.save
            if step.send:
                await wire.send(step.send)
        return Talk(wire, link)
