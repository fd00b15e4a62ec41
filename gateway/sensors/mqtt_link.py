"""One connection to an MQTT broker, from its first packet to its loss; whoever wants another makes another.

Runs on CPython.  paho-mqtt speaks the protocol, driven by the event loop: only connecting, which may
block for seconds, is done in a thread.  Nothing is ever weakened to get through: a broker that does not
speak the wanted version, or shows no certificate that holds, is refused.  The library's own queues and
reconnecting are not used: what is to be sent again is known to the caller, who has it on disk.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.sensors.mqtt_broker import (
    V5,
    Broker,
    LinkError,
    LinkLost,
    LinkRefused,
    connect_error,
    read_secret,
    tls_context,
)
from gateway.sensors.mqtt_message import Message, NotAPublish, parse_publish
from gateway.sensors.mqtt_socket import BufferedSocket, PacketRefused
from gateway.sensors.source import MissingExtra

try:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ImportError as missing:
    raise MissingExtra("paho-mqtt", "mqtt") from missing

TICK_MS = 500
"""How often keepalive is looked at."""
PUBLISH = 3
"""Type of a packet.  Source: MQTT 5.0, table 2-1."""
PINGREQ = b"\xc0\x00"
PUBACK = b"\x40\x02"
"""How a packet of either version begins that says yes to a message; its number follows."""
EXPIRY_MS_MAX = 0xFFFF_FFFE * 1_000
"""Longest life of a session; one second more would mean for ever.  Source: MQTT 5.0, section 3.1.2.11.2."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when we are gone without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """What the broker said when it let us in."""

    is_session_present: bool
    """It still has our session: subscriptions, and messages that wait."""
    receive_max: int
    """Messages that it takes before it has acknowledged any."""
    packet_size_max: int
    """Bytes of a packet that it takes; 0: as large as packets can be."""


@dataclass(slots=True)
class Handlers:
    """Called from the event loop as things happen."""

    on_message: Callable[[Message], None] = lambda message: None
    on_acknowledged: Callable[[int, str], None] = lambda mid, problem: None
    """(number of a message of ours, why the broker did not take it: empty when it did)."""


class _PahoClient(Client):
    """paho's client on a socket that reads and writes in large pieces."""

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())  # type: ignore[arg-type]  # no websocket here


@dataclass(slots=True)
class Link:
    """One connection: `open` it once, use it, `close` it."""

    broker: Broker
    client_id: str
    handlers: Handlers = field(default_factory=Handlers)
    will: Will | None = None
    expiry_ms: int = 0
    """How long the broker keeps our session while we are away; 0: it does not."""
    receive_max: int = 65_535
    """Messages that the broker may send before we have acknowledged any (version 5)."""
    is_new_session: bool = False
    """What the broker still has of an earlier session is forgotten."""
    _client: _PahoClient | None = None
    _sock: BufferedSocket | None = None
    _fd: int = -1
    _closed: asyncio.Future[LinkError | None] = field(init=False)
    _opened: asyncio.Future[Opened] = field(init=False)
    _subscribed: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    _tick: asyncio.TimerHandle | None = None
    _is_writing: bool = False
    _is_paused: bool = False
    _is_closing: bool = False
    _ticks: int = 0

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._closed, self._opened = loop.create_future(), loop.create_future()

    @property
    def is_open(self) -> bool:
        """Messages can be sent."""
        return self._sock is not None and not self._closed.done()

    async def open(self) -> Opened:
        """Connects.  Raises LinkError."""
        loop = asyncio.get_running_loop()
        client = self._client = self._new_client()
        connecting = asyncio.ensure_future(asyncio.to_thread(self._connect, client))
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # The thread cannot be stopped; what it will have opened is closed when it has.
            connecting.add_done_callback(lambda done: _drop(client, done))
            raise
        except (OSError, ValueError) as error:
            self._finish(connect_error(self.broker, error))
            raise connect_error(self.broker, error) from error
        sock: Any = client.socket()
        self._sock = sock
        self._fd = sock.fileno()
        sock.on_output = lambda: loop.call_soon(self._flush)
        loop.add_reader(self._fd, self._read)
        self._tick = loop.call_later(TICK_MS / 1000, self._on_tick)
        try:
            async with asyncio.timeout(self.broker.connect_timeout_ms / 1000):
                await asyncio.wait((self._opened, self._closed), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self._finish(LinkLost(f"{self.broker.label}: connected, but the broker does not answer"))
        except BaseException:
            self._finish(None)
            raise
        if self._closed.done():
            raise self._closed.result() or LinkLost(f"{self.broker.label}: closed")
        return self._opened.result()

    async def wait_closed(self) -> LinkError | None:
        """Returns when the connection is no more: why, or None when `close` was called."""
        return await asyncio.shield(self._closed)

    async def subscribe(self, topic_filter: str, qos: int) -> None:
        """Returns when the broker has agreed.  Raises LinkError."""
        if self._client is None or not self.is_open:
            raise LinkLost(f"{self.broker.label}: not connected")
        options: Any = {"options": SubscribeOptions(qos)} if self.broker.version == V5 else {"qos": qos}
        code, mid = self._client.subscribe(topic_filter, **options)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise LinkLost(f"{self.broker.label}: {_code_text(code)}")
        granted = self._subscribed[mid] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self.broker.connect_timeout_ms / 1000):
                await asyncio.wait((granted, self._closed), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise LinkLost(f"{self.broker.label}: the broker does not answer a subscription") from None
        finally:
            self._subscribed.pop(mid, None)
        if granted.done():
            granted.result()
        else:
            raise self._closed.result() or LinkLost(f"{self.broker.label}: closed")

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        is_retained: bool = False,
        user_properties: tuple[tuple[str, str], ...] = (),
        content_type: str = "",
    ) -> int:
        """Sends a message: its number, which `on_acknowledged` will name.  Raises LinkLost.

        The properties need version 5, and are left out in 3.1.1.
        """
        if self._client is None or not self.is_open:
            raise LinkLost(f"{self.broker.label}: not connected")
        properties = None
        if self.broker.version == V5 and (user_properties or content_type):
            properties = _properties(PacketTypes.PUBLISH)
            if user_properties:
                properties.UserProperty = list(user_properties)
            if content_type:
                properties.ContentType = content_type
        info = self._client.publish(topic, payload, qos, is_retained, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise LinkLost(f"{self.broker.label}: {_code_text(info.rc)}")
        return info.mid

    def acknowledge(self, mid: int) -> None:
        """Tells the broker that a message is safe.  When the link is gone, the message will come again."""
        if self._sock is not None and self.is_open:
            self._sock.send(PUBACK + mid.to_bytes(2, "big"))

    def pause(self) -> None:
        """Reads no more until `resume`: the broker then waits, too."""
        if self.is_open and not self._is_paused:
            self._is_paused = True
            asyncio.get_running_loop().remove_reader(self._fd)

    def resume(self) -> None:
        """Reads again."""
        if self.is_open and self._is_paused:
            self._is_paused = False
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def abort(self, reason: str) -> None:
        """Ends the connection without a word, so that the broker publishes our will."""
        self._finish(LinkLost(f"{self.broker.label}: {reason}"))

    def close(self) -> None:
        """Ends the connection in order, so that the broker drops our will."""
        sock = self._sock
        if self._client is not None and sock is not None and self.is_open:
            self._is_closing = True
            sock.on_output = None
            try:
                # Behind half a packet, a farewell would not be understood.
                if sock.flush():
                    self._client.disconnect()
            except OSError as error:
                self._finish(LinkLost(f"{self.broker.label}: {error.strerror or error}"))
        self._finish(None)

    # ------------------------------------------------------------------ inner

    def _new_client(self) -> _PahoClient:
        broker = self.broker
        is_v5 = broker.version == V5
        client = _PahoClient(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if is_v5 else not self.expiry_ms or self.is_new_session,
            protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
            # It would otherwise try an older version with a broker that refuses this one.
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages = 0
        client.connect_timeout = broker.connect_timeout_ms / 1000
        if broker.is_tls:
            client.tls_set_context(tls_context(broker))
        if broker.username:
            password = read_secret(broker.password_file) if broker.password_file else None
            client.username_pw_set(broker.username, password)
        if self.will is not None:
            client.will_set(self.will.topic, self.will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _connect(self, client: _PahoClient) -> None:
        """In a thread: until the first packet is sent."""
        options: dict[str, Any] = {}
        if self.broker.version == V5:
            properties = _properties(PacketTypes.CONNECT)
            if self.expiry_ms:
                properties.SessionExpiryInterval = max(1, min(self.expiry_ms, EXPIRY_MS_MAX) // 1000)
            properties.ReceiveMaximum = self.receive_max
            options = {"clean_start": not self.expiry_ms or self.is_new_session, "properties": properties}
        client.connect(
            self.broker.host, self.broker.port, max(1, self.broker.keepalive_ms // 1000), **options
        )

    def _read(self) -> None:
        """Messages are taken here; all other packets are paho's."""
        sock = self._sock
        if sock is None or self._is_paused or not self.is_open:
            return
        try:
            is_connected = sock.fill()
            self._handle_packets(sock)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except ssl.SSLError as error:
            self._finish(connect_error(self.broker, error))
        except OSError as error:
            self._finish(LinkLost(f"{self.broker.label}: {error.strerror or error}"))
        except (PacketRefused, NotAPublish) as error:
            self._finish(LinkRefused(f"{self.broker.label}: {error}; this is not MQTT {self.broker.version}"))
        else:
            if not is_connected:
                self._finish(LinkLost(f"{self.broker.label}: the broker has closed the connection"))

    def _handle_packets(self, sock: BufferedSocket) -> None:
        is_v5 = self.broker.version == V5
        deliver = self.handlers.on_message
        while self.is_open and (packet := sock.next_packet()) is not None:
            header, begin, data, body, end = packet
            if header >> 4 == PUBLISH and header & 0x06 <= 2:
                deliver(parse_publish(header, bytes(data[body:end]), is_v5))
                continue
            sock.grant(bytes(data[begin:end]))
            code = self._client.loop_read() if self._client is not None else MQTTErrorCode.MQTT_ERR_NO_CONN
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._finish(LinkLost(f"{self.broker.label}: {_code_text(code)}"))

    def _flush(self) -> None:
        sock = self._sock
        if sock is None or not self.is_open:
            return
        loop = asyncio.get_running_loop()
        try:
            is_done = sock.flush()
        except OSError as error:
            self._finish(LinkLost(f"{self.broker.label}: {error.strerror or error}"))
            return
        if is_done and self._is_writing:
            self._is_writing = False
            loop.remove_writer(self._fd)
        elif not is_done and not self._is_writing:
            self._is_writing = True
            loop.add_writer(self._fd, self._flush)

    def _on_tick(self) -> None:
        if self._client is None or self._sock is None or not self.is_open:
            return
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        if not self._is_paused:
            code = self._client.loop_misc()
        elif self._ticks * TICK_MS % self.broker.keepalive_ms < TICK_MS:
            # Its answer is not read before `resume`; paho would take that for a dead link.
            self._sock.send(PINGREQ)
        self._ticks += 1
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._finish(LinkLost(f"{self.broker.label}: no answer for {self.broker.keepalive_ms} ms"))
            return
        self._tick = asyncio.get_running_loop().call_later(TICK_MS / 1000, self._on_tick)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._finish(LinkRefused(f"{self.broker.label}: the broker refuses us: {reason}"))
            return
        if not self._opened.done():
            opened = Opened(
                bool(flags.session_present),
                int(getattr(properties, "ReceiveMaximum", 65_535)),
                int(getattr(properties, "MaximumPacketSize", 0)),
            )
            self._opened.set_result(opened)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._is_closing:
            self._finish(None)
            return
        who = "the broker ends it" if flags.is_disconnect_packet_from_server else "the connection is lost"
        self._finish(LinkLost(f"{self.broker.label}: {who}: {reason}"))

    def _on_message(self, client: Any, userdata: Any, message: MQTTMessage) -> None:
        # We subscribe with quality of service 1 at most, and all others are taken before paho sees them.
        self._finish(LinkRefused(f"{self.broker.label}: a message of quality of service 2, never asked for"))

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        self.handlers.on_acknowledged(mid, str(reason) if reason.is_failure else "")

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        granted = self._subscribed.get(mid)
        if granted is None or granted.done():
            return
        if failures := [reason for reason in reasons if reason.is_failure]:
            granted.set_exception(
                LinkRefused(f"{self.broker.label}: the broker refuses the subscription: {failures[0]}")
            )
        else:
            granted.set_result(None)

    def _finish(self, error: LinkError | None) -> None:
        if self._closed.done():
            return
        self._closed.set_result(error)
        if self._tick is not None:
            self._tick.cancel()
        if self._sock is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)
            self._sock.close()


def _properties(packet_type: int) -> Any:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # of paho


def _code_text(code: Any) -> str:
    return {
        MQTTErrorCode.MQTT_ERR_CONN_LOST: "the connection is lost",
        MQTTErrorCode.MQTT_ERR_NO_CONN: "not connected",
        MQTTErrorCode.MQTT_ERR_PROTOCOL: "what came is not MQTT of the wanted version",
        MQTTErrorCode.MQTT_ERR_KEEPALIVE: "no answer to keepalive",
    }.get(code, str(code))


def _drop(client: _PahoClient, done: asyncio.Future[None]) -> None:
    sock = client.socket()
    if sock is not None:
        sock.close()
    if not done.cancelled():
        done.exception()
