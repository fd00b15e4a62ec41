"""An attacker of one node, in a process of its own: `python -m tests.bench.flood_attacks KIND ...`.

Runs on CPython, on Linux.  It does one thing as fast as it is let, from an address of its own (127.0.0.x, all
of which Linux has), and dials again whenever it is dropped.  It uses no more than a share of one core, since
on one machine it would otherwise take the victim's time by being there, not by what it sends.  What it did
comes out as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from chain_node import messages
from chain_node.genesis import Genesis
from chain_node.messages import Relay, WantChain
from chain_node.peer_frame import HELLO, PING, Hello, encode_beat, frame
from chain_node.peer_tls import TlsChannel, TlsContext, TlsFailed
from chain_node.rpc_format import BATCH_MAX
from chain_node.transaction import Transaction, Transfer
from puf import cbor
from puf.ed25519 import SigningKey

HOST = "127.0.0.1"
CONNECTIONS = 1_000
"""Of the attacks that hold as many as they get."""
BUSY = 8
"""Connections of the attacks that send."""
ADDRESSES = 200
"""Of the attack from many of them."""
WRITE_SIZE = 1 << 16
FRAME_TOO_LONG = b"\x02\xff\xff\xff\xff" + bytes(1 << 15)
REDIAL_MS = 20
SUBSCRIBE = '{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"topic":"blocks"}}'
DISCOVER = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Attacker:
    """What all attacks share.  share: of one core, at most."""

    def __init__(
        self, genesis: Genesis, ports: tuple[int, int], source: str, seconds: float, share: float
    ) -> None:
        self.genesis, self.source = genesis, source
        self.peer_port, self.rpc_port = ports
        self.counts: Counter[str] = Counter()
        """What was done, and what became of it."""
        self._begin = time.monotonic()
        self._end = self._begin + seconds
        self._share = share
        self._cpu = time.process_time()
        self._contexts = [TlsContext.of(SigningKey.generate()) for _ in range(64)]

    @property
    def is_over(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self._end

    @property
    def left_s(self) -> float:
        """Of its time."""
        return max(self._end - time.monotonic(), 0.0)

    async def pace(self) -> None:
        """Wait until it may use the processor again."""
        while True:
            used = time.process_time() - self._cpu
            if used <= self._share * (time.monotonic() - self._begin) + 0.02 or self.is_over:
                return
            await asyncio.sleep(0.005)

    async def open(self, port: int, source: str = "") -> tuple[Reader, Writer] | None:
        """A connection from its address; None: it is refused or reset."""
        await self.pace()
        try:
            async with asyncio.timeout(2):
                made = await asyncio.open_connection(HOST, port, local_addr=(source or self.source, 0))
        except (OSError, TimeoutError):
            self.counts["refused"] += 1
            await asyncio.sleep(REDIAL_MS / 1000)
            return None
        self.counts["connections"] += 1
        return made

    async def drain(self, writer: Writer) -> None:
        """Until the node has taken most of it.  Raises OSError, TimeoutError."""
        await self.pace()
        async with asyncio.timeout(max(self._end - time.monotonic(), 0.1)):
            await writer.drain()

    async def greet(self, reader: Reader, writer: Writer) -> TlsChannel:
        """Prove a key and say hello.  Raises OSError, TlsFailed."""
        genesis, number = self.genesis, secrets.randbelow(len(self._contexts))
        channel = TlsChannel(self._contexts[number], is_client=True)
        hello = Hello(1, 1, genesis.chain_id, 0, 1, "flood", 0, secrets.token_bytes(8))
        channel.write(frame(HELLO, hello.encode()))
        writer.write(channel.take())
        async with asyncio.timeout(5):
            while channel.peer_public is None:
                data = await reader.read(1 << 16)
                if not data:
                    raise ConnectionError("hung up")
                channel.feed(data)
                writer.write(channel.take())
        self.counts["hellos"] += 1
        return channel

    async def stream(self, data: bytes) -> None:
        """Greet, and then say the same without end."""
        if not (made := await self.open(self.peer_port)):
            return
        reader, writer = made
        try:
            channel = await self.greet(reader, writer)
            while not self.is_over:
                channel.write(data)
                writer.write(channel.take())
                self.counts["sent_bytes"] += len(data)
                await self.drain(writer)
                if reader.at_eof():
                    return
                # What it answers is taken, so that only our own sending counts.
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await reader.read(1 << 16)
        finally:
            writer.transport.abort()

    async def hold(self, port: int, said: Callable[[], bytes], source: str = "") -> None:
        """A connection that says something once, and then holds its place until it is closed."""
        if not (made := await self.open(port, source)):
            return
        reader, writer = made
        try:
            if data := said():
                writer.write(data)
            async with asyncio.timeout(max(self._end - time.monotonic(), 0.1)):
                while await reader.read(1 << 16):
                    pass
            self.counts["closed"] += 1
        finally:
            writer.transport.abort()

    def wrong_transactions(self, count: int) -> list[bytes]:
        """Whose signature is none."""
        key = SigningKey.generate()
        made = []
        for nonce in range(count):
            data = Transaction.sign(key, self.genesis.chain_id, nonce, Transfer(key.public, 1), 1_000).data
            made.append(data[:-1] + bytes([data[-1] ^ 1]))
        return made


async def _rpc_signatures(attacker: Attacker) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tx_submit"}
    wrong = attacker.wrong_transactions(BATCH_MAX)
    body = json.dumps([call | {"params": {"tx": data.hex()}} for data in wrong]).encode()
    await _post(attacker, body, count=BATCH_MAX)


async def _rpc_requests(attacker: Attacker) -> None:
    await _post(attacker, b'{"jsonrpc":"2.0","id":1,"method":"evil"}', count=1)


async def _post(attacker: Attacker, body: bytes, count: int) -> None:
    if not (made := await attacker.open(attacker.rpc_port)):
        return
    reader, writer = made
    try:
        while not attacker.is_over:
            writer.write(_head(body) + body)
            await attacker.drain(writer)
            async with asyncio.timeout(30):
                top = await reader.readuntil(b"\r\n\r\n")
                (size,) = [line for line in top.split(b"\r\n") if line.lower().startswith(b"content-length")]
                await reader.readexactly(int(size.split(b":")[1]))
            attacker.counts["answered"] += count
    finally:
        writer.transport.abort()


def _head(body: bytes) -> bytes:
    lines = ("POST / HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json")
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode()


async def _peer_signatures(attacker: Attacker) -> None:
    await attacker.stream(_relay(attacker.wrong_transactions(1)))


def _relay(transactions: list[bytes]) -> bytes:
    return frame(Relay.KIND, cbor.encode([Relay.KIND, transactions, None]))


async def _oversized(attacker: Attacker) -> None:
    await attacker.stream(FRAME_TOO_LONG)


async def _pings(attacker: Attacker) -> None:
    await attacker.stream(frame(PING, encode_beat(0, 0)) * 100)


async def _unread_rpc(attacker: Attacker) -> None:
    await _unread(attacker, attacker.rpc_port, _head(DISCOVER) + DISCOVER)


async def _unread_socket(attacker: Attacker) -> None:
    if not (made := await attacker.open(attacker.rpc_port)):
        return
    reader, writer = made
    try:
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
        texts = [SUBSCRIBE.encode()] + [DISCOVER] * 50
        # A text frame with a mask of zeros.  Source: RFC 6455, section 5.2.
        data = b"".join(bytes([0x81, 0x80 | len(each)]) + bytes(4) + each for each in texts)
        await _say_unread(attacker, writer, data)
    finally:
        writer.transport.abort()


async def _unread_peer(attacker: Attacker) -> None:
    if not (made := await attacker.open(attacker.peer_port)):
        return
    reader, writer = made
    try:
        channel = await attacker.greet(reader, writer)
        for _ in range(60):
            channel.write(frame(WantChain.KIND, messages.encode(WantChain(1, 64))))
        await _say_unread(attacker, writer, channel.take())
    finally:
        writer.transport.abort()


async def _unread(attacker: Attacker, port: int, data: bytes) -> None:
    if not (made := await attacker.open(port)):
        return
    try:
        await _say_unread(attacker, made[1], data * 50)
    finally:
        made[1].transport.abort()


async def _say_unread(attacker: Attacker, writer: Writer, data: bytes) -> None:
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    writer.write(data)
    attacker.counts["asked"] += 1
    # Until it is hung up on, or its time is over.
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(attacker.left_s):
            await writer.wait_closed()


async def _idle_peer(attacker: Attacker) -> None:
    await attacker.hold(attacker.peer_port, lambda: b"")


async def _idle_rpc(attacker: Attacker) -> None:
    await attacker.hold(attacker.rpc_port, lambda: b"")


async def _handshakes(attacker: Attacker) -> None:
    await attacker.hold(attacker.peer_port, lambda: _client_hello(attacker))


async def _many(attacker: Attacker) -> None:
    number = secrets.randbelow(ADDRESSES)
    await attacker.hold(attacker.peer_port, lambda: _client_hello(attacker), f"127.0.9.{number + 1}")


def _client_hello(attacker: Attacker) -> bytes:
    return TlsChannel(attacker._contexts[0], is_client=True).take()


async def _garbage(attacker: Attacker) -> None:
    port = secrets.choice((attacker.peer_port, attacker.rpc_port))
    await attacker.hold(port, lambda: secrets.token_bytes(1 << 12))


ATTACKS: dict[str, tuple[Callable[[Attacker], Awaitable[None]], int]] = {
    "wrong signatures, RPC": (_rpc_signatures, BUSY),
    "wrong requests, RPC": (_rpc_requests, BUSY),
    "wrong signatures, peer": (_peer_signatures, BUSY),
    "oversized frames": (_oversized, BUSY),
    "pings": (_pings, BUSY),
    "slow readers, RPC": (_unread_rpc, 100),
    "slow readers, WebSocket": (_unread_socket, 100),
    "slow readers, peer": (_unread_peer, BUSY),
    "1,000 idle, peer": (_idle_peer, CONNECTIONS),
    "1,000 idle, RPC": (_idle_rpc, CONNECTIONS),
    "1,000 half handshakes": (_handshakes, CONNECTIONS),
    "garbage, both ports": (_garbage, 100),
    "200 addresses": (_many, CONNECTIONS),
}
"""By name: one connection's life, and how many there are at a time."""


async def attack(attacker: Attacker, name: str) -> None:
    """Until its time is over."""
    live, count = ATTACKS[name]

    async def again() -> None:
        while not attacker.is_over:
            try:
                await live(attacker)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, TlsFailed, ValueError):
                # It was dropped, which is what it came for.
                attacker.counts["dropped"] += 1
            await asyncio.sleep(REDIAL_MS / 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(again())


def main() -> int:
    """Attacks, and prints what it did."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flood_attacks")
    parser.add_argument("kind", choices=ATTACKS)
    parser.add_argument("--genesis", type=Path, required=True)
    parser.add_argument("--ports", type=int, nargs=2, required=True, help="for peers, for JSON-RPC")
    parser.add_argument("--source", required=True, help="address that it comes from")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--share", type=float, default=0.3, help="of one core, at most [0.3]")
    args = parser.parse_args()
    genesis = Genesis.decode(args.genesis.read_bytes())
    attacker = Attacker(genesis, (args.ports[0], args.ports[1]), args.source, args.seconds, args.share)
    begin = time.process_time()
    asyncio.run(attack(attacker, args.kind))
    cpu_ms = round((time.process_time() - begin) * 1000 / args.seconds)
    print(json.dumps({"cpu_ms_per_second": cpu_ms, **attacker.counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
