"""A device on the air: one Bluetooth LE service, several visitors at once, and MicroPython's `bluetooth`.

Runs on MicroPython.  The service and its messages are in GATT.md; what is said is session.py's.

What the radio tells goes into a queue, in the handler that it calls; all else is done by `run`, one thing
after the other: take what came, answer, send as the radio takes it, end what took too long, say who we
are.  When the queue is nearly full a connection that writes on is ended; that one came or went is
never lost.
"""

import asyncio
from collections import deque

import bluetooth  # type: ignore[import-not-found]

from devices.micropython import advert, commands, log_ring
from devices.micropython.errors import FrameError
from devices.micropython.link_frame import FRAME_BYTES_MIN, Joiner, Splitter, cut_frame
from devices.micropython.session import OVER, SESSIONS_MAX, Device, Session
from puf import cbor

_CONNECTED, _DISCONNECTED, _WRITTEN, _MTU = 1, 2, 3, 21
_ENOMEM = 12
MTU = 247
"""What fills one packet of the radio."""
ADVERTISE_US = 250_000
"""Between advertisements: found within a second by who looks; see POWER.md for what that costs."""
QUEUE_EVENTS = 64
QUEUE_FRAMES = 48
"""Frames that may wait; what is left is for connections that come and go."""
IN_BYTES = 1024
"""Writes that the radio keeps until we have read them."""
IDLE_MS = 250
"""How often deadlines are looked at when nothing happens."""
RETRY_MS = 8
"""Until the radio is tried again that took no more: about a connection interval."""
LINGER_MS = 300
"""So long what was said last may take to leave, before the connection is ended."""


class _Link:
    """One connection."""

    def __init__(self, number: int, session: Session) -> None:
        self.number = number
        self.session = session
        self.joiner = Joiner()
        self.splitter = Splitter()
        self.frame_bytes = FRAME_BYTES_MIN
        self.frames: list[bytes] = []
        self.end_ms: int | None = None
        self.is_overrun = False


class Server:
    """`ble`: bluetooth.BLE(); `device`: session.Device; `clock()`: ms since power-on, which never runs back.

    `feed()`: called in each turn, for a watchdog, or None.  `connection_count`: how many are connected now.
    `has_advertised`: whether the radio has ever taken an advertisement.
    """

    def __init__(
        self, ble: "bluetooth.BLE", device: Device, clock: "object", feed: "object | None" = None
    ) -> None:
        self._ble = ble
        self._device = device
        self._clock = clock
        self._feed = feed
        self._links: dict[int, _Link] = {}
        self._queue: object = deque((), QUEUE_EVENTS)  # noqa: RUF037  MicroPython's
        self._flag = asyncio.ThreadSafeFlag()  # type: ignore[attr-defined]
        self._written = b""
        self._is_advertising = False
        self._turned_ms = 0
        self._said_for: object = None
        self.connection_count = 0
        self.has_advertised = False

    async def run(self) -> None:
        """Serves until a restart was asked for and its answer is out; then the radio is off."""
        self.start()
        while not (self._device.answerer.is_ending and not self._links):
            self.turn()
            try:  # noqa: SIM105  MicroPython has no contextlib
                await asyncio.wait_for_ms(self._flag.wait(), self._wait_ms())  # type: ignore[attr-defined]
            except asyncio.TimeoutError:  # noqa: UP041  another class there
                pass
        self._ble.active(False)

    def start(self) -> None:
        """Switches the radio on and registers the service.  Raises OSError."""
        ble = self._ble
        ble.active(True)
        for name, value in (("mtu", MTU), ("rxbuf", IN_BYTES), ("gap_name", "")):
            try:
                ble.config(**{name: value})
            except (OSError, ValueError):
                self._device.log.write(log_ring.WARNING, "the radio has no setting " + name)
        ble.irq(self._irq)
        service = (
            bluetooth.UUID(advert.SERVICE),
            (
                (bluetooth.UUID(advert.IN), bluetooth.FLAG_WRITE | bluetooth.FLAG_WRITE_NO_RESPONSE),
                (bluetooth.UUID(advert.OUT), bluetooth.FLAG_NOTIFY),
                (bluetooth.UUID(advert.INFO), bluetooth.FLAG_READ),
            ),
        )
        ((self._in, self._out, info),) = ble.gatts_register_services((service,))
        ble.gatts_set_buffer(self._in, IN_BYTES, True)
        kind = self._device.role.KIND  # type: ignore[attr-defined]
        ble.gatts_write(info, cbor.encode([1, kind, commands.MESSAGE_BYTES_MAX, MTU]))
        self._advertise()

    def _irq(self, event: int, data: "tuple[object, ...]") -> None:
        """Called by the radio: puts into the queue what `turn` does, and no more."""
        if event == _WRITTEN:
            number, handle = data
            if handle != self._in:
                return
            # Several writes may stand there before the first is told of; each is told of, in its order.
            frame, self._written = cut_frame(self._written + self._ble.gatts_read(handle))
            if len(self._queue) < QUEUE_FRAMES:  # type: ignore[arg-type]
                self._queue.append((event, number, frame))  # type: ignore[attr-defined]
            else:
                self._overrun(number)  # type: ignore[arg-type]
        elif event in (_CONNECTED, _DISCONNECTED):
            self._queue.append((event, data[0], bytes(data[2])))  # type: ignore[attr-defined, call-overload]
        elif event == _MTU:
            self._queue.append((event, data[0], data[1]))  # type: ignore[attr-defined]
        self._flag.set()

    def _overrun(self, number: int) -> None:
        link = self._links.get(number)
        if link is not None:
            link.is_overrun = True

    def turn(self) -> None:
        """Does all that is to be done now."""
        now_ms = self._clock()  # type: ignore[operator]
        # All writes were told of, so this is more frames than writes: the next write of anybody else would
        # be taken for it, and so on for ever.
        self._written = b""
        while self._queue:
            event, number, what = self._queue.popleft()  # type: ignore[attr-defined]
            link = self._links.get(number)
            if event == _CONNECTED:
                self._connected(number, what, now_ms)
            elif link is None:
                continue
            elif event == _DISCONNECTED:
                del self._links[number]
                self._device.disconnect(link.session)
            elif event == _MTU:
                link.frame_bytes = max(FRAME_BYTES_MIN, what - 3)
            else:
                self._take(link, what)
        self.connection_count = len(self._links)
        for link in list(self._links.values()):
            if link.is_overrun:
                link.session.leave()
            self._say(link, link.session.tick(now_ms))
            self._send(link)
            if link.end_ms is None and (link.session.state == OVER or self._device.answerer.is_ending):
                link.end_ms = now_ms + LINGER_MS
            if link.end_ms is not None and now_ms >= link.end_ms:
                self._hang_up(link)
        self._advertise()
        if self._feed is not None:
            self._feed()  # type: ignore[operator]

    def _connected(self, number: int, sender: bytes, now_ms: int) -> None:
        # The radio stops advertising by itself when somebody connects.
        self._is_advertising = False
        self._links[number] = _Link(number, self._device.connect(sender, now_ms))

    def _take(self, link: _Link, frame: bytes) -> None:
        """A frame has come: perhaps the last of a message, which then is answered."""
        if link.session.state == OVER or self._device.answerer.is_ending:
            return
        try:
            message = link.joiner.join(frame)
        except FrameError as error:
            self._device.log.write(log_ring.WARNING, str(error))
            link.session.leave()
            self._say(link, commands.last_word(commands.FRAME_WRONG))
            return
        if message is None:
            return
        if link.frames:
            # One request at a time: answers that nobody takes would fill the memory of all.
            link.is_overrun = True
        else:
            self._say(link, link.session.receive(message, self._clock()))  # type: ignore[operator]

    def _say(self, link: _Link, message: bytes) -> None:
        if message:
            link.frames += link.splitter.split(message, link.frame_bytes)

    def _send(self, link: _Link) -> None:
        """Gives the radio what it takes; the rest waits."""
        while link.frames:
            try:
                self._ble.gatts_notify(link.number, self._out, link.frames[0])
            except OSError as error:
                if error.errno != _ENOMEM:
                    # There is no such connection any more; the queue says so soon.
                    link.frames = []
                    link.session.leave()
                return
            link.frames.pop(0)

    def _hang_up(self, link: _Link) -> None:
        """Ends a connection; that it has ended is told by the radio."""
        try:  # noqa: SIM105
            self._ble.gap_disconnect(link.number)
        except OSError:
            # It has gone already, and the queue says so.
            pass

    def _advertise(self) -> None:
        """Advertises while there is room; another hint in time."""
        now_ms = self._clock()  # type: ignore[operator]
        device = self._device
        if len(self._links) >= SESSIONS_MAX or device.answerer.is_ending:
            if self._is_advertising:
                self._ble.gap_advertise(None)
            self._is_advertising = False
            return
        pairing = device.keys.pairing
        is_fresh = pairing is self._said_for and now_ms - self._turned_ms < advert.ROTATE_MS
        if self._is_advertising and is_fresh:
            return
        said = advert.hint(pairing, device.random(advert.SALT_BYTES))  # type: ignore[operator]
        try:
            self._ble.gap_advertise(ADVERTISE_US, advert.payload(said))
        except OSError as error:
            # The radio still clears a connection away; the next turn tries again.
            device.log.write(log_ring.WARNING, "advertising: " + repr(error))
            return
        self._is_advertising = self.has_advertised = True
        self._said_for = pairing
        self._turned_ms = now_ms

    def _wait_ms(self) -> int:
        for link in self._links.values():
            if link.frames or link.end_ms is not None:
                return RETRY_MS
        return 0 if self._queue else IDLE_MS
