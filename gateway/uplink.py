"""The uplink: what is in the outbox goes to the broker, as often as it takes, until the broker has said so.

Runs on CPython; one task, and the spool's thread for the disk.

    handover (memory) --settle--> outbox (disk) --publish--> broker --PUBACK--> out of the outbox

Every connection begins with the oldest message that is not acknowledged.  A connection ends when it
breaks, when pings or messages are not answered in time (a half-open link looks well for a quarter of an
hour otherwise), or when the broker refuses a message; the next attempt comes after a pause that grows.
The broker is told a will at the beginning, so that everybody learns of our death, and our birth after.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from gateway.config_uplink import UplinkSection
from gateway.disk import DiskError
from gateway.outbox import Outbox
from gateway.sensors.mqtt_broker import (
    CONNECT_TIMEOUT_MS,
    PORT,
    TLS_PORT,
    Broker,
    LinkError,
    LinkLost,
    LinkRefused,
)
from gateway.sensors.mqtt_link import Handlers, Link, Opened, Will
from gateway.sensors.source import Clock
from gateway.troubles import Troubles
from gateway.uplink_format import CONTENT_TYPES, birth, death, topic
from gateway.uplink_handover import DUE_RECORDS, Handover
from gateway.uplink_window import Window

log = logging.getLogger("cpc.gateway")
Result = TypeVar("Result")

BACK_OFF_MS = (200, 500, 1_000, 2_000, 5_000, 10_000, 30_000)
"""Pauses between attempts to connect, each lengthened by chance up to half; the last one for ever."""
STEADY_MS = 30_000
"""A connection that held for so long was a good one: the next pause is short again."""
POLL_MS = 200
"""How often timers are looked at, and what was acknowledged leaves the disk."""
DONE_MAX = 256
"""Acknowledged messages that leave the disk at once, without waiting for the timer."""
KEY_PROPERTY = "cpc-key"
"""User property of version 5 that carries a message's key."""


class Threads(Protocol):
    """Where blocking work is done; see gateway.app."""

    async def in_spool_thread(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, which uses the spool or the outbox."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks."""

    name: str
    """Of the gateway."""
    did: str
    streams: Sequence[tuple[str, str, bytes]] = ()
    """(name, kind, stream id) of what is sent."""


@dataclass(slots=True)
class UplinkStats:
    """What the uplink has done since the start."""

    connections: int = 0
    sent: int = 0
    """Messages published, repetitions included."""
    acknowledged: int = 0
    """Messages that the broker has."""


def broker_of(section: UplinkSection) -> Broker:
    """The broker that the configuration names; its files are absolute."""
    parts = urlsplit(section.url)
    is_tls = parts.scheme == "mqtts"
    return Broker(
        parts.hostname or "",
        parts.port or (TLS_PORT if is_tls else PORT),
        is_tls,
        section.version,
        section.username,
        section.password_file,
        section.ca_file,
        section.cert_file,
        section.key_file,
        section.tls_min,
        section.keepalive_ms,
        min(section.ack_timeout_ms, CONNECT_TIMEOUT_MS),
    )


def client_id(section: UplinkSection, identity: Identity) -> str:
    """How the gateway calls itself at the broker."""
    return section.client_id or f"cpc-{identity.name}-{identity.did[-12:]}"


async def try_broker(section: UplinkSection, identity: Identity) -> None:
    """Connects once, and leaves.  section: its files absolute.  Raises LinkError: what the broker says."""
    link = Link(broker_of(section), f"{client_id(section, identity)}-try")
    await link.open()
    link.close()


class Uplink:
    """Empties the outbox."""

    def __init__(
        self,
        threads: Threads,
        outbox: Outbox,
        handover: Handover,
        section: UplinkSection,
        identity: Identity,
        clock: Clock,
        stats: UplinkStats | None = None,
    ) -> None:
        """section: its files absolute.  stats: of the one before, to count on in."""
        self.stats = stats or UplinkStats()
        self.is_connected = False
        """The broker has let us in, and nothing has gone wrong since."""
        self._threads = threads
        self._outbox = outbox
        self._handover = handover
        self._section = section
        self._identity = identity
        self._clock = clock
        self._broker = broker_of(section)
        self._state_topic = topic(section.state_topic, gateway=identity.name)
        self._troubles = Troubles(clock)
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_new_birth = False
        self._acked: list[int] = []
        self._problem = ""
        self._settled_ns = clock.monotonic_ns()
        self._window = self._new_window(section.window)

    @property
    def waiting_count(self) -> int:
        """Messages of this run under way now."""
        return len(self._window)

    def wake(self) -> None:
        """There may be something to send."""
        self._idle.clear()
        self._news.set()

    def announce(self, identity: Identity) -> None:
        """Tells whoever listens that the streams are others now: another birth of the same session."""
        self._identity = identity
        self._is_new_birth = True
        self._news.set()

    async def wait_idle(self) -> None:
        """Returns once the broker has everything that was taken in when this was called."""
        self._idle.clear()
        self._news.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Connects and sends, for ever; cancelled, it says goodbye.  What is refused or lost waits."""
        settling = asyncio.ensure_future(self._settle_for_ever())
        try:
            attempt = 0
            while True:
                began_ns = self._clock.monotonic_ns()
                try:
                    await self._connect_and_send()
                except (LinkError, DiskError) as error:
                    self._troubles.happened("uplink", error, "; the outbox keeps what waits")
                if self._clock.monotonic_ns() - began_ns >= STEADY_MS * 1_000_000:
                    attempt = 0
                pause_ms = BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)]
                attempt += 1
                # By chance, so that a thousand gateways do not come back at the same moment.
                await self._clock.sleep(pause_ms * random.uniform(1, 1.5) / 1000)
        finally:
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)

    # ------------------------------------------------------------- connection

    async def _connect_and_send(self) -> None:
        """One connection, until it ends."""
        session = await self._threads.in_spool_thread(self._outbox.begin_session)
        name, did = self._identity.name, self._identity.did
        self._problem = ""
        link = Link(
            self._broker,
            client_id(self._section, self._identity),
            Handlers(on_acknowledged=self._on_acknowledged),
            Will(self._state_topic, death(name, did, session)),
        )
        opened = await link.open()
        try:
            self.stats.connections += 1
            self._window = self._new_window(min(self._section.window, opened.receive_max))
            self._bear(link, session)
            self._troubles.over("uplink")
            self.is_connected = True
            await self._send_for_ever(link, opened, session)
        except asyncio.CancelledError:
            # In order, so the broker drops our will: we say it ourselves.
            if link.is_open:
                link.publish(self._state_topic, death(name, did, session), is_retained=True)
            raise
        finally:
            self.is_connected = False
            link.close()
            self._window = self._new_window(0)
            self._outbox_done()
            self._news.set()

    def _bear(self, link: Link, session: int) -> None:
        self._is_new_birth = False
        name, did, streams = self._identity.name, self._identity.did, self._identity.streams
        text = birth(name, did, session, self._clock.now_ns(), streams)
        link.publish(self._state_topic, text, is_retained=True)

    async def _send_for_ever(self, link: Link, opened: Opened, session: int) -> None:
        """Raises LinkError when the connection is over."""
        closed = asyncio.ensure_future(link.wait_closed())
        try:
            while True:
                self._news.clear()
                if closed.done():
                    raise closed.result() or LinkError("the link is closed")
                if self._problem:
                    # Not acknowledged means not delivered: it stays, and nothing overtakes it.
                    link.abort(self._problem)
                    raise LinkRefused(f"{self._broker.label}: {self._problem}")
                if self._window.is_stalled(self._now_ms()):
                    link.abort("messages are not acknowledged")
                    raise LinkLost(f"{self._broker.label}: messages are not acknowledged")
                if self._is_new_birth:
                    self._bear(link, session)
                await self._send(link, opened)
                if len(self._acked) >= DONE_MAX:
                    await self._settle()
                await self._wait(closed)
        finally:
            closed.cancel()
            await asyncio.gather(closed, return_exceptions=True)

    async def _send(self, link: Link, opened: Opened) -> None:
        """As many messages as the window has room for."""
        while room := self._window.room:
            waiting = partial(self._outbox.waiting, self._window.cursor, room)
            messages = await self._threads.in_spool_thread(waiting)
            if not messages:
                if not len(self._window) and not self._handover.pending_count:
                    self._idle.set()
                return
            for message in messages:
                size = len(message.payload) + len(message.topic) + 200
                if opened.packet_size_max and size > opened.packet_size_max:
                    raise LinkRefused(
                        f"{self._broker.label}: the broker takes packets of {opened.packet_size_max} bytes, "
                        f"a message has {size}: lower uplink.message_size_max_kib"
                    )
                mid = link.publish(
                    message.topic,
                    message.payload,
                    user_properties=((KEY_PROPERTY, message.key),),
                    content_type=CONTENT_TYPES[self._section.format],
                )
                self._window.sent(mid, message.row, self._now_ms())
                self.stats.sent += 1
            # Lets acknowledgements in, and what was sent out.
            await asyncio.sleep(0)

    async def _wait(self, closed: asyncio.Future[LinkError | None]) -> None:
        """Until something has happened, or the timers want to be looked at."""
        news = asyncio.ensure_future(self._news.wait())
        nap = asyncio.ensure_future(self._clock.sleep(POLL_MS / 1000))
        try:
            await asyncio.wait((news, nap, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            nap.cancel()
            await asyncio.gather(news, nap, return_exceptions=True)

    def _on_acknowledged(self, mid: int, problem: str) -> None:
        row = self._window.acknowledged(mid, self._now_ms())
        if problem:
            self._problem = f"the broker does not take a message: {problem}"
        elif row is not None:
            self._acked.append(row)
            self.stats.acknowledged += 1
        self._news.set()

    # ------------------------------------------------------------------- disk

    async def _settle_for_ever(self) -> None:
        """Also while there is no connection."""
        while True:
            await self._clock.sleep(POLL_MS / 1000)
            if self._is_due():
                try:
                    await self._settle()
                except DiskError as error:
                    self._troubles.happened("outbox", error, "; the spool keeps what waits")
                else:
                    self._troubles.over("outbox")

    def _is_due(self) -> bool:
        waited_ms = (self._clock.monotonic_ns() - self._settled_ns) // 1_000_000
        is_late = waited_ms >= self._section.batch_ms and bool(self._handover.pending_count)
        return (
            is_late
            or self._handover.pending_count >= DUE_RECORDS
            or (bool(self._acked) and waited_ms >= self._section.batch_ms)
        )

    async def _settle(self) -> None:
        self._outbox_done()
        self._settled_ns = self._clock.monotonic_ns()
        await self._threads.in_spool_thread(self._handover.settle)
        self._news.set()

    async def settle(self) -> None:
        """Makes all that was taken in durable in the outbox.  Raises DiskError."""
        await self._settle()

    def _outbox_done(self) -> None:
        acked, self._acked = self._acked, []
        self._outbox.done(acked)

    def _new_window(self, size: int) -> Window:
        return Window(size, self._section.ack_timeout_ms)

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000
