"""A small MQTT broker for tests, 3.1.1 and 5, with every fault at hand.

Runs on CPython, in the test's own event loop.  It knows quality of service 0 and 1, sessions, retained
messages, wills, shared subscriptions and the receive maximum: what the product relies on.  Faults are
fields that a test sets.  The product is also held against brokers of others; see test_mqtt_foreign.py.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Publish:
    """A message as it came to the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: bytes = b""
    """Of version 5, as on the wire, without their length."""

    @property
    def user_properties(self) -> dict[str, str]:
        """Those that can be found by looking for their identifier; enough for ours."""
        found = {}
        at = 0
        while at < len(self.properties):
            identifier = self.properties[at]
            at += 1
            if identifier == 38:
                key, at = _text(self.properties, at)
                found[key], at = _text(self.properties, at)
            elif identifier in (3, 8, 9):
                _, at = _text(self.properties, at)
            elif identifier == 1:
                at += 1
            elif identifier == 2:
                at += 4
            else:
                raise ValueError(f"property {identifier}")
        return found


@dataclass
class Session:
    """What the broker keeps of a client."""

    filters: dict[str, int] = field(default_factory=dict)
    queue: deque[Publish] = field(default_factory=deque)
    unacked: dict[int, Publish] = field(default_factory=dict)
    next_mid: int = 1
    is_kept: bool = False


@dataclass
class Peer:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    client_id: str = ""
    is_v5: bool = False
    will: Publish | None = None
    receive_max: int = 65_535
    keepalive: int = 0
    username: str | None = None
    password: str | None = None

    def send(self, data: bytes) -> None:
        """Unless it has gone: what it had sent before may still be on its way in."""
        if not self.writer.is_closing():
            self.writer.write(data)


@dataclass
class TestBroker:
    """`async with TestBroker() as broker:` listens on `broker.port`."""

    __test__ = False

    tls: ssl.SSLContext | None = None
    port: int = 0
    connect_code: int = 0
    """Answer to CONNECT; 0 lets clients in."""
    publish_code: int = 0
    """Reason in PUBACK (version 5)."""
    subscribe_code: int | None = None
    """Answer to SUBSCRIBE in the place of what was asked for."""
    is_acking: bool = True
    """Whether PUBACK is sent."""
    is_answering_pings: bool = True
    alive: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, it reads and answers nothing, but keeps connections: a half-open link."""
    window: int = 65_535
    """Messages that a client may have unacknowledged, besides what it says itself."""
    packet_size_max: int = 0
    """Told in CONNACK (version 5)."""
    on_taken: Callable[[Publish], None] = lambda publish: None
    """Called with each message before it is acknowledged."""
    published: list[Publish] = field(default_factory=list)
    """Everything that was taken, in order, repetitions included."""
    puback_count: int = 0
    """Acknowledgements that clients have sent."""
    versions: list[int] = field(default_factory=list)
    """Of all that wanted to be let in, in order: 4 is 3.1.1."""
    connects: list[Peer] = field(default_factory=list)
    """All connections that were let in."""
    sessions: dict[str, Session] = field(default_factory=dict)
    retained: dict[str, Publish] = field(default_factory=dict)
    _peers: dict[str, Peer] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _turn: int = 0

    async def __aenter__(self) -> TestBroker:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; at the same port as before, if it did."""
        self.alive.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends all connections, without a word; sessions stay."""
        assert self._server is not None
        self._server.close()
        self.drop_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop_all(self) -> None:
        """Cuts every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def publish(self, topic: str, payload: bytes, qos: int = 1, properties: bytes = b"") -> None:
        """As a client would."""
        self._route(Publish(topic, payload, qos, False, properties))

    @property
    def is_listening(self) -> bool:
        """It can be connected to."""
        return self._server is not None and self._server.is_serving()

    @property
    def peer_count(self) -> int:
        """Connections that were let in and are not over."""
        return len(self._peers)

    # ------------------------------------------------------------------ inner

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer)
        self._writers.add(writer)
        is_clean = False
        try:
            while True:
                header, body = await _packet(reader)
                await self.alive.wait()
                if header >> 4 == 14:
                    is_clean = len(body) == 0 or body[0] == 0
                    return
                if not self._handle(peer, header, body):
                    return
        except (asyncio.IncompleteReadError, OSError, ssl.SSLError, asyncio.CancelledError):
            # Cut off, or the test is over.
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            if self._peers.get(peer.client_id) is peer:
                del self._peers[peer.client_id]
                session = self.sessions[peer.client_id]
                session.queue.extendleft(reversed(session.unacked.values()))
                session.unacked = {}
                if not session.is_kept:
                    del self.sessions[peer.client_id]
            if peer.will is not None and not is_clean:
                self.published.append(peer.will)
                self._route(peer.will)
            writer.close()

    def _handle(self, peer: Peer, header: int, body: bytes) -> bool:
        kind = header >> 4
        if kind == 1:
            return self._connect(peer, body)
        if kind == 3:
            self._take(peer, header, body)
        elif kind == 4:
            (mid,) = struct.unpack(">H", body[:2])
            self.sessions[peer.client_id].unacked.pop(mid, None)
            self.puback_count += 1
            self._deliver(peer)
        elif kind == 8:
            self._subscribe(peer, body)
        elif kind == 12 and self.is_answering_pings:
            peer.send(b"\xd0\x00")
        return True

    def _connect(self, peer: Peer, body: bytes) -> bool:
        name, at = _text(body, 0)
        assert name == "MQTT"
        version, flags, peer.keepalive = struct.unpack(">BBH", body[at : at + 4])
        self.versions.append(version)
        peer.is_v5 = version == 5
        at += 4
        expiry = 0
        if peer.is_v5:
            length, at = _variable(body, at)
            end = at + length
            while at < end:
                identifier = body[at]
                if identifier == 17:
                    (expiry,) = struct.unpack(">I", body[at + 1 : at + 5])
                    at += 5
                elif identifier == 33:
                    (peer.receive_max,) = struct.unpack(">H", body[at + 1 : at + 3])
                    at += 3
                else:
                    raise ValueError(f"property {identifier} of CONNECT")
        peer.client_id, at = _text(body, at)
        if flags & 4:
            if peer.is_v5:
                length, at = _variable(body, at)
                at += length
            will_topic, at = _text(body, at)
            (length,) = struct.unpack(">H", body[at : at + 2])
            peer.will = Publish(
                will_topic, body[at + 2 : at + 2 + length], (flags >> 3) & 3, bool(flags & 32)
            )
            at += 2 + length
        if flags & 128:
            peer.username, at = _text(body, at)
        if flags & 64:
            peer.password, at = _text(body, at)
        if self.connect_code:
            peer.will = None
            peer.send(_frame(0x20, bytes((0, self.connect_code)) + (b"\0" if peer.is_v5 else b"")))
            return False
        if (old := self._peers.get(peer.client_id)) is not None:
            old.writer.transport.abort()
        is_clean = bool(flags & 2)
        session = None if is_clean else self.sessions.get(peer.client_id)
        is_present = session is not None
        session = session or Session()
        session.is_kept = expiry > 0 if peer.is_v5 else not is_clean
        self.sessions[peer.client_id] = session
        self._peers[peer.client_id] = peer
        self.connects.append(peer)
        properties = b""
        if peer.is_v5:
            if self.packet_size_max:
                properties = b"\x27" + struct.pack(">I", self.packet_size_max)
            properties = bytes((len(properties),)) + properties
        peer.send(_frame(0x20, bytes((is_present, 0)) + properties))
        self._deliver(peer)
        return True

    def _subscribe(self, peer: Peer, body: bytes) -> None:
        mid, at = body[:2], 2
        if peer.is_v5:
            length, at = _variable(body, at)
            at += length
        codes = []
        while at < len(body):
            topic_filter, at = _text(body, at)
            qos = body[at] & 3
            at += 1
            codes.append(qos if self.subscribe_code is None else self.subscribe_code)
            if codes[-1] < 128:
                self.sessions[peer.client_id].filters[topic_filter] = qos
        peer.send(_frame(0x90, mid + (b"\0" if peer.is_v5 else b"") + bytes(codes)))
        for publish in list(self.retained.values()):
            if any(_fits(each, publish.topic) for each in self.sessions[peer.client_id].filters):
                self.sessions[peer.client_id].queue.append(publish)
        self._deliver(peer)

    def _take(self, peer: Peer, header: int, body: bytes) -> None:
        qos = (header >> 1) & 3
        topic, at = _text(body, 0)
        mid = b""
        if qos:
            mid, at = body[at : at + 2], at + 2
        properties = b""
        if peer.is_v5:
            length, at = _variable(body, at)
            properties, at = body[at : at + length], at + length
        publish = Publish(topic, body[at:], qos, bool(header & 1), properties)
        if self.publish_code < 128:
            self.published.append(publish)
            self.on_taken(publish)
            self._route(publish)
        if qos and self.is_acking:
            reason = bytes((self.publish_code, 0)) if peer.is_v5 and self.publish_code else b""
            peer.send(_frame(0x40, mid + reason))

    def _route(self, publish: Publish) -> None:
        if publish.retain:
            self.retained[publish.topic] = publish
        groups: dict[str, list[str]] = {}
        for client_id, session in list(self.sessions.items()):
            for topic_filter in session.filters:
                if topic_filter.startswith("$share/"):
                    _, _, inner = topic_filter.split("/", 2)
                    if _fits(inner, publish.topic):
                        groups.setdefault(topic_filter, []).append(client_id)
                elif _fits(topic_filter, publish.topic):
                    self._queue(client_id, publish)
        for members in groups.values():
            self._turn += 1
            self._queue(members[self._turn % len(members)], publish)

    def _queue(self, client_id: str, publish: Publish) -> None:
        peer = self._peers.get(client_id)
        if publish.qos or peer is not None:
            self.sessions[client_id].queue.append(publish)
        if peer is not None:
            self._deliver(peer)

    def _deliver(self, peer: Peer) -> None:
        session = self.sessions[peer.client_id]
        while session.queue and len(session.unacked) < min(self.window, peer.receive_max):
            publish = session.queue.popleft()
            qos = min(publish.qos, max(session.filters.values(), default=0))
            head = struct.pack(">H", len(publish.topic.encode())) + publish.topic.encode()
            flags = qos << 1
            if qos:
                mid = session.next_mid
                session.next_mid = mid % 65_535 + 1
                session.unacked[mid] = publish
                head += struct.pack(">H", mid)
                if getattr(publish, "was_sent", False):
                    flags |= 8
                publish.was_sent = True  # type: ignore[attr-defined]
            if peer.is_v5:
                head += _length(len(publish.properties)) + publish.properties
            peer.send(_frame(0x30 | flags, head + publish.payload))


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    header = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        if byte < 128:
            return header, await reader.readexactly(length)
        shift += 7


def _length(length: int) -> bytes:
    data = b""
    while True:
        length, byte = divmod(length, 128)
        data += bytes((byte | (128 if length else 0),))
        if not length:
            return data


def _frame(header: int, body: bytes) -> bytes:
    return bytes((header,)) + _length(len(body)) + body


def _text(body: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack(">H", body[at : at + 2])
    return body[at + 2 : at + 2 + length].decode(errors="surrogateescape"), at + 2 + length


def _variable(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _fits(topic_filter: str, topic: str) -> bool:
    filters, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(filters):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(filters) == len(levels)
