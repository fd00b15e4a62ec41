"""MQTT as a source: `mqtt://host/topic/filter?v=5`, `mqtts://host/#?ca=ca.pem`.

Runs on CPython.  A reading is one message: `{"topic": .., "payload": bytes, "qos": 1}`, with `retain`,
`dup` and the properties of version 5 where it has them.  The broker gets its acknowledgement when the
reading is durable, not before, and keeps our session while we are away: what was not acknowledged comes
again, marked as a duplicate, under a new number of ours, so nothing is lost and nothing is hidden.

At most `queue` messages are under way.  Where the loss policy is to block, the broker waits: one of version
5 is told how many it may send, any other is not read from.  Else the oldest or newest messages are dropped,
counted, and acknowledged when the gap record that counts them is durable.  At quality of service 0 a broker
waits for nobody, so it must be one of those.
Quality of service 2 is refused: its handshake ends before our disk has synced, so a power cut would lose
what it promises to deliver exactly once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.sensors.backlog import Backlog
from gateway.sensors.mqtt_broker import PORT, TLS_PORT, TLS_VERSIONS, V5, V311, Broker, LinkError
from gateway.sensors.mqtt_link import Handlers, Link
from gateway.sensors.mqtt_message import Message
from gateway.sensors.source import (
    BLOCK,
    DROP_NEWEST,
    DROP_OLDEST,
    Batch,
    Clock,
    Source,
    SourceUnavailable,
    SourceUrl,
)

BATCH_MESSAGES = 500
GATHER_MS = 5
"""Messages that come while nothing else does for so long make one batch: a disk syncs once for all of them.
A broker that waits for acknowledgements after a few messages must not wait for more of them."""
QUEUE_MESSAGES = 10_000
EXPIRY_MS = 7 * 86_400_000
RECEIVE_MAX = 65_535
"""Of MQTT 5."""
BACK_OFF_MS = (100, 500, 1_000, 2_000, 5_000, 10_000, 30_000)
"""Waits between attempts to connect; the last one for ever."""
TAKEN_OVER = "Session taken over"
FULL = "our queue was full: storing is slower than the broker sends"

RAW = "raw"
TEXT = "text"


class MqttSource(Source):
    """The messages of one subscription."""

    kind = "reading"

    def __init__(
        self,
        name: str,
        broker: Broker,
        topic_filter: str,
        clock: Clock,
        *,
        client_id: str,
        qos: int = 1,
        expiry_ms: int = EXPIRY_MS,
        queue_messages: int = QUEUE_MESSAGES,
        is_text: bool = False,
        must_be_there: bool = False,
    ) -> None:
        """topic_filter: as it is sent, a shared one with its `$share/group/`.  is_text: payloads are text.

        must_be_there: `batches` raises SourceUnavailable when the first attempt to connect fails.
        """
        super().__init__(name)
        self.overrun = BLOCK if qos else DROP_NEWEST
        self.broker = broker
        self.topic_filter = topic_filter
        self.client_id = client_id
        self._clock = clock
        self._qos = qos
        self._expiry_ms = expiry_ms
        self._queue_messages = queue_messages
        self._is_text = is_text
        self._must_be_there = must_be_there
        self._link: Link | None = None
        self._epoch = 0
        """Number of the connection: a message is acknowledged on the one that it came by, or not at all."""
        self._backlog = Backlog(self.stats, queue_messages, BLOCK, FULL)
        """It is looked after here, as messages under way take room, too."""
        self._acks: deque[tuple[int, int]] = deque()
        """(connection, number) of each message that waits; number 0: nobody waits for it."""
        self._dropped_acks: list[tuple[int, int]] = []
        """Of messages that were dropped, until their gap is handed out."""
        self._under_way: deque[tuple[Batch, list[tuple[int, int]]]] = deque()
        """Of each batch that was handed out and is not durable yet."""
        self._under_way_count = 0
        """Messages in them."""
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._is_ended = False

    async def batches(self) -> AsyncIterator[Batch]:
        """Batches until the source is closed.  Raises SourceUnavailable."""
        task = asyncio.ensure_future(self._run())
        try:
            while True:
                await self._wait()
                batch = self._take()
                if batch.values or batch.gaps:
                    yield batch
                elif self._is_ended:
                    await task
                    return
        finally:
            await self.close()
            await asyncio.gather(task, return_exceptions=True)

    def acknowledge(self, batch: Batch) -> None:
        """Acknowledges the batch's messages to the broker that sent them."""
        place = next(place for place, (each, _) in enumerate(self._under_way) if each is batch)
        acks = self._under_way[place][1]
        del self._under_way[place]
        self._under_way_count -= len(batch.values)
        link = self._link
        if link is not None:
            for epoch, mid in acks:
                if mid and epoch == self._epoch:
                    link.acknowledge(mid)
            if self._room > 0:
                link.resume()

    async def close(self) -> None:
        """Leaves the broker, which keeps the session; what has arrived can still be taken."""
        self._closing.set()

    # ------------------------------------------------------------------ queue

    @property
    def _room(self) -> int:
        return self._queue_messages - len(self._backlog) - self._under_way_count

    def _on_message(self, message: Message) -> None:
        now_ns = self._clock.now_ns()
        ack = (self._epoch, message.mid)
        if self._room <= 0 and not self._make_room(ack, now_ns):
            return
        try:
            topic: str | bytes = message.topic.decode()
        except UnicodeDecodeError:
            # A broker should not let it through; its bytes are kept, whatever they say.
            topic = message.topic
            self.stats.note("a topic that is not UTF-8 is kept as bytes")
        value: dict[str, Any] = {
            "topic": topic,
            "payload": self._payload(message.payload),
            "qos": message.qos,
        }
        if message.is_retained:
            value["retain"] = True
        if message.is_duplicate:
            value["dup"] = True
            self.stats.note("messages came again, after a link that broke: their readings say dup")
        if message.properties:
            value["properties"] = message.properties
        self._backlog.put((now_ns,), (value,))
        self._acks.append(ack)
        self._news.set()

    def _payload(self, payload: bytes) -> bytes | str:
        if self._is_text:
            try:
                return payload.decode()
            except UnicodeDecodeError:
                self.stats.note("payloads that are not UTF-8 are kept as bytes")
        return payload

    def _make_room(self, ack: tuple[int, int], now_ns: int) -> bool:
        """As the loss policy has it; whether the message that has come is to be kept."""
        if self.overrun == BLOCK:
            if self._link is not None:
                self._link.pause()
            # What we have read already cannot wait anywhere else.
            return True
        self._news.set()
        if self.overrun == DROP_OLDEST and self._backlog.drop_oldest(1):
            self._dropped_acks.append(self._acks.popleft())
            return True
        # Also where all others are under way, and none of them waits that could be dropped instead.
        self._backlog.drop_newest(1, now_ns, now_ns)
        self._dropped_acks.append(ack)
        return False

    def _gap(self, reason: str, count: int, from_ns: int, to_ns: int) -> None:
        self._backlog.gap(reason, count, from_ns, to_ns)
        self._news.set()

    async def _wait(self) -> None:
        """Returns when a batch should be taken: there is something, and nothing more comes at the moment."""
        while not len(self._backlog) and not self._backlog.has_gaps and not self._is_ended:
            self._news.clear()
            await self._news.wait()
        while len(self._backlog) < BATCH_MESSAGES and not self._is_ended:
            count = len(self._backlog)
            await self._clock.sleep(GATHER_MS / 1000)
            if len(self._backlog) == count:
                return

    def _take(self) -> Batch:
        batch = self._backlog.take(BATCH_MESSAGES)
        if batch.values or batch.gaps:
            acks = [self._acks.popleft() for _ in batch.values]
            if not len(self._backlog):
                # The last gap is in it, so all are: what they count is safe when the batch is.
                acks += self._dropped_acks
                self._dropped_acks = []
            self._under_way.append((batch, acks))
            self._under_way_count += len(batch.values)
        return batch

    # ------------------------------------------------------------------- link

    async def _run(self) -> None:
        """Connects again and again, until closed."""
        try:
            attempt = 0
            down_ns = 0
            is_known = False
            while not self._closing.is_set():
                link = self._link = self._new_link()
                # Before anything can arrive by it.
                self._epoch += 1
                try:
                    opened = await self._until_closing(link.open())
                    if opened is None:
                        return
                    await link.subscribe(self.topic_filter, self._qos)
                except LinkError as error:
                    link.close()
                    if self._must_be_there and not is_known and not attempt:
                        raise SourceUnavailable("MQTT", _advice(error)) from error
                    self.stats.note(_advice(error))
                    if not down_ns:
                        down_ns = self._clock.now_ns()
                        self._gap(f"{self.broker.label} cannot be reached", 0, down_ns, down_ns)
                    await self._until_closing(
                        self._clock.sleep(BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)] / 1000)
                    )
                    attempt += 1
                    continue
                self._tell_back(down_ns, is_known, opened.is_session_present)
                is_known, attempt, down_ns = True, 0, 0
                closed = await self._until_closing(link.wait_closed())
                if closed is not None:
                    down_ns = self._clock.now_ns()
                    self.stats.note(_advice(closed))
                    self._gap(f"the link to {self.broker.label} broke", 0, down_ns, down_ns)
                    # Also a broker that lets us in and at once throws us out must not be hammered.
                    await self._until_closing(self._clock.sleep(BACK_OFF_MS[0] / 1000))
        finally:
            await self._leave()

    def _tell_back(self, down_ns: int, is_known: bool, is_session_present: bool) -> None:
        """A gap for what may have been missed."""
        if not down_ns:
            return
        now_ns = self._clock.now_ns()
        if self._qos and is_session_present:
            reason = "is back, and has kept our session: what it could not send comes now, up to its limits"
        elif self._qos and is_known:
            reason = "is back, and has forgotten our session: what came in between is lost"
        else:
            reason = "is back; what came in between is lost"
        self._gap(f"{self.broker.label} {reason}", 0, down_ns, now_ns)

    async def _leave(self) -> None:
        """Ends, once what was handed out is acknowledged, or nobody will any more."""
        self._is_ended = True
        self._news.set()
        link = self._link
        if link is not None and link.is_open:
            link.pause()
            for _ in range(LEAVE_TURNS):
                if not len(self._backlog) and not self._under_way:
                    break
                await self._clock.sleep(GATHER_MS / 1000)
            link.close()

    def _new_link(self) -> Link:
        return Link(
            self.broker,
            self.client_id,
            Handlers(on_message=self._on_message),
            expiry_ms=self._expiry_ms if self._qos else 0,
            # A broker that may not send would drop by rules of its own, and count for nobody.
            receive_max=min(self._queue_messages, RECEIVE_MAX) if self.overrun == BLOCK else RECEIVE_MAX,
        )

    async def _until_closing(self, work: Any) -> Any:
        """The result of `work`, or None when the source is closed meanwhile."""
        task = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((task, closing), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, closing):
                if not each.done():
                    each.cancel()
            await asyncio.gather(*(each for each in (task, closing)), return_exceptions=True)


LEAVE_TURNS = 200
"""Times GATHER_MS that leaving waits for what was handed out to become durable: one second."""


def _advice(error: LinkError) -> str:
    text = str(error)
    if TAKEN_OVER in text:
        return f"{text}: another client uses our client id; give each of them its own with client_id="
    if "Not authorized" in text or "user name" in text.lower():
        return f"{text}: check username= and password_file="
    return text


def open_mqtt(url: SourceUrl, name: str, clock: Clock) -> MqttSource:
    """Opens `mqtt:` and `mqtts:`.  Raises SourceError."""
    is_tls = url.text.startswith("mqtts:")
    broker, topic_filter = _broker_of(url, is_tls)
    _check_filter(url, topic_filter)
    qos = int(url.choice("qos", ("0", "1"), "1"))
    group = url.options.get("share", "")
    if group:
        if any(character in group for character in "/+#"):
            raise url.bad(f"share={group}: the name of a group has none of / + #")
        if broker.version != V5:
            raise url.bad("share= needs v=5: shared subscriptions came with it")
        topic_filter = f"$share/{group}/{topic_filter}"
    # The same after a restart, or the session would not be found again.
    seed = f"{_machine_id()}\n{name}\n{broker.label}\n{topic_filter}".encode()
    default_id = f"cpc-{name[:32]}-{hashlib.sha256(seed).hexdigest()[:12]}"
    return MqttSource(
        name,
        broker,
        topic_filter,
        clock,
        client_id=url.options.get("client_id", default_id),
        qos=qos,
        expiry_ms=url.number("expiry_ms", EXPIRY_MS, 1_000, 365 * 86_400_000),
        queue_messages=url.number("queue", QUEUE_MESSAGES, 1, RECEIVE_MAX),
        is_text=url.choice("payload", (RAW, TEXT), RAW) == TEXT,
        must_be_there=url.choice("wait", ("0", "1"), "1") == "0",
    )


def _broker_of(url: SourceUrl, is_tls: bool) -> tuple[Broker, str]:
    example = "mqtts://broker.example/site/+/data" if is_tls else "mqtt://127.0.0.1/site/+/data"
    address, slash, topic_filter = url.target.removeprefix("//").partition("/")
    if not url.target.startswith("//") or not slash or not topic_filter:
        raise url.bad(f"a broker and a topic filter are needed; for example: {example}")
    if "@" in address:
        raise url.bad("no user or password here: use username= and password_file=, a file of mode 0600")
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "", parts.port or (TLS_PORT if is_tls else PORT)
    except ValueError as error:
        raise url.bad(f"{address!r} is no host or host:port: {error}") from None
    if not host:
        raise url.bad(f"there is no host; for example: {example}")
    files = {option: url.options.get(option, "") for option in ("ca", "cert", "key", "password_file")}
    if not is_tls and any(files[option] for option in ("ca", "cert", "key")):
        raise url.bad("ca=, cert= and key= are for mqtts://")
    if files["password_file"] and "username" not in url.options:
        raise url.bad("password_file= needs username=")
    return (
        Broker(
            host,
            port,
            is_tls,
            url.choice("v", (V5, V311), V5),
            url.options.get("username", ""),
            files["password_file"],
            files["ca"],
            files["cert"],
            files["key"],
            url.choice("tls_min", tuple(TLS_VERSIONS), "1.2"),
            url.number("keepalive_ms", 30_000, 1_000, 65_535_000),
        ),
        topic_filter,
    )


def _check_filter(url: SourceUrl, topic_filter: str) -> None:
    """Source: MQTT 5.0, section 4.7.1."""
    levels = topic_filter.split("/")
    for place, level in enumerate(levels):
        if "#" in level and (level != "#" or place != len(levels) - 1):
            raise url.bad("# stands alone, and only at the end of a topic filter")
        if "+" in level and level != "+":
            raise url.bad("+ stands for a whole level of a topic filter: a/+/c")
    if topic_filter.startswith("$share/"):
        raise url.bad("write share=GROUP for a shared subscription")
    if len(topic_filter.encode()) > 1_024:
        raise url.bad("the topic filter is longer than 1,024 bytes")


def _machine_id() -> str:
    path = Path("/etc/machine-id")
    return path.read_text().strip() if path.is_file() else ""
