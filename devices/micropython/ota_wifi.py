"""Gets an update by HTTP: the same update, into the same receiver, for boards with WiFi.

Runs on CPython and MicroPython.  The gateway says where it lies (FETCH of ota_receiver.py) and how to join
the network, over its sealed link; neither is kept.  Requests name the byte that the receiver
wants (RFC 9110, section 14.2), so what the board has already is not fetched, and after a lost connection it
goes on.  Who serves the file need not be trusted: statement and files are checked against the publisher's
key.  So with https a certificate adds privacy only; MicroPython looks at none.
"""

import asyncio
import sys

from devices.micropython import ota_receiver as ota
from devices.micropython.ota_manifest import STATEMENT_BYTES_MAX, unwrap, unwrapped_size
from puf import cbor

if sys.implementation.name != "micropython":
    # For annotations only, which MicroPython does not look at.
    from collections.abc import Awaitable, Callable

    from devices.micropython.ota import Receiver

URL_BYTES_MAX = 256
LINE_BYTES_MAX = 512
LINES_MAX = 64
SKIP_BYTES_MAX = 8_192
"""What is rather read and dropped than asked for anew."""
TIMEOUT_MS = 15_000
JOIN_MS = 20_000
PAUSE_MS = 1_000
FAILURES_MAX = 10
"""Connections in a row that brought nothing."""


class FetchError(OSError):
    """The server's answer is none that can be used; the text says why."""


def parse_url(url: str) -> "tuple[bool, str, int, str]":
    """Whether it is https, host, port and path.  Raises ValueError."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in ("http", "https") or len(url) > URL_BYTES_MAX:
        raise ValueError(f"a URL of at most {URL_BYTES_MAX} letters begins with http:// or https://")
    for letter in url:
        if not "!" <= letter <= "~":
            raise ValueError("a URL has no blanks, and letters of ASCII only")
    place, _, path = rest.partition("/")
    host, mark, port = place.partition(":")
    if not host or (mark and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError("a URL names a host, and perhaps :port")
    return scheme == "https", host, int(port) if mark else (443 if scheme == "https" else 80), "/" + path


class Fetcher:
    """Fetches updates for `receiver` when it is told to.

    `begin` goes to the receiver as its `fetch`; `await run(receiver)` is a task of the board.  `join(name,
    key)`: a coroutine function that joins a WiFi network, and `leave()`; `now_ms()`: the board's clock;
    `log(text)`: told what comes of it.
    """

    def __init__(
        self,
        join: "Callable[[str, str], Awaitable[None]]",
        leave: "Callable[[], object]",
        now_ms: "Callable[[], int]",
        log: "Callable[[str], object]",
    ) -> None:
        self._join, self._leave, self._now_ms, self._log = join, leave, now_ms, log
        self._job: tuple[str, str, str] | None = None
        self._told = asyncio.Event()
        self.received_count = 0
        """Bytes of updates that came over the network."""

    def begin(self, url: str, network: str, key: str) -> bool:
        """Fetch from there as soon as possible; False: the URL is none, or a fetch is on its way."""
        if self._job is not None:
            return False
        try:
            parse_url(url)
        except ValueError:
            return False
        self._job = (url, network, key)
        self._told.set()
        return True

    async def run(self, receiver: "Receiver") -> None:
        """Does what `begin` is told, one after the other; never returns."""
        while True:
            await self._told.wait()
            self._told.clear()
            if self._job is None:
                continue
            url, network, key = self._job
            try:
                if network:
                    await self._join(network, key)
                code = await self.fetch(url, receiver)
                self._log("update by WiFi: " + ota.REASONS.get(code, "is staged"))
            except Exception as error:
                # Whatever this one ended by, the next is fetched.
                self._log(f"update by WiFi: {error!r}")
            finally:
                self._job = None
                if network:
                    self._leave()

    async def fetch(self, url: str, receiver: "Receiver") -> int:
        """Brings the update at `url` to `receiver`; the code that it ended with.

        Raises OSError when the server cannot be reached or gives none, DecodeError for a file that is none.
        """
        failures = 0
        statement, base = b"", 0
        answer = [ota.NOT_BEGUN, 0, 0]
        while True:
            before = (len(statement), answer[1])
            try:
                if not statement:
                    statement, base = unwrap(await self._get_begin(url))
                    answer = self._tell(receiver, [ota.BEGIN, statement])
                answer = await self._settle(receiver, answer)
                if answer[0] != ota.WANT:
                    return answer[0]
                answer = await self._stream(url, base, receiver, answer)
            except (OSError, EOFError, asyncio.TimeoutError) as error:  # noqa: UP041  MicroPython has no other
                if statement:
                    # What came until then counts.
                    answer = self._tell(receiver, [ota.GO])
                failures = failures + 1 if (len(statement), answer[1]) == before else 1
                if failures > FAILURES_MAX:
                    raise OSError(f"{url} cannot be fetched: {error}") from None
                await asyncio.sleep(PAUSE_MS * failures / 1000)

    def _tell(self, receiver: "Receiver", message: "list[object]") -> "list[int]":
        answer = cbor.decode(receiver.handle(cbor.encode(message), self._now_ms()))
        assert isinstance(answer, list)  # noqa: S101  no dict comes but for ASK
        return answer

    async def _settle(self, receiver: "Receiver", answer: "list[int]") -> "list[int]":
        """Lets the receiver work until it wants something, or has ended."""
        while answer[0] in (ota.WORKING, ota.BUSY):
            # Others of the board have their turn, too.
            await asyncio.sleep(0.2 if answer[0] == ota.BUSY else 0)
            answer = self._tell(receiver, [ota.GO])
        return answer

    async def _get_begin(self, url: str) -> bytes:
        reader, writer, _ = await self._ask(url, 0, STATEMENT_BYTES_MAX + 3)
        try:
            begin = b""
            while len(begin) < STATEMENT_BYTES_MAX + 3:
                data = await asyncio.wait_for(
                    reader.read(STATEMENT_BYTES_MAX + 3 - len(begin)), TIMEOUT_MS / 1000
                )
                if not data:
                    break
                begin += data
            self.received_count += len(begin)
            if begin[:1] in (b"", b"\x58", b"\x59") and len(begin) < unwrapped_size(begin):
                raise EOFError("the connection ended early")
            return begin
        finally:
            await _close(writer)

    async def _stream(self, url: str, base: int, receiver: "Receiver", answer: "list[int]") -> "list[int]":
        """Reads from what is wanted on, as long as what is wanted lies a little ahead."""
        at = answer[1]
        reader, writer, skip = await self._ask(url, base + at, 0)
        try:
            while True:
                data = await asyncio.wait_for(
                    reader.read(min(skip or ota.DATA_BYTES_MAX, ota.DATA_BYTES_MAX)), TIMEOUT_MS / 1000
                )
                if not data:
                    raise EOFError("the connection ended early")
                self.received_count += len(data)
                if skip:
                    skip -= len(data)
                    continue
                answer = await self._tell_data(receiver, at, data)
                at += len(data)
                if answer[0] != ota.WANT or not 0 <= answer[1] - at <= SKIP_BYTES_MAX:
                    return answer
                skip = answer[1] - at
                at = answer[1]
        finally:
            await _close(writer)

    async def _tell_data(self, receiver: "Receiver", at: int, data: bytes) -> "list[int]":
        answer = self._tell(receiver, [ota.DATA, at, data])
        while answer[0] == ota.BUSY:
            await asyncio.sleep(0.2)
            answer = self._tell(receiver, [ota.DATA, at, data])
        return await self._settle(receiver, answer)

    async def _ask(
        self, url: str, begin: int, size: int
    ) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter, int]":
        """Reader and writer at an answer's content, and how much of it lies before `begin`."""
        is_tls, host, port, path = parse_url(url)
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(host, port, ssl=is_tls or None), TIMEOUT_MS / 1000
        )
        try:
            last = str(begin + size - 1) if size else ""
            request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nRange: bytes={begin}-{last}\r\n\r\n"
            writer.write(request.encode())
            await asyncio.wait_for(writer.drain(), TIMEOUT_MS / 1000)
            line = await _line(reader)
            parts = line.split(b" ")
            if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
                raise FetchError("what answers there speaks no HTTP")
            if parts[1] not in (b"200", b"206"):
                raise FetchError(f"the server answers {line[:80]!r}")
            for _ in range(LINES_MAX):
                line = await _line(reader)
                if not line:
                    # 200: all of the file comes.
                    return reader, writer, begin if parts[1] == b"200" else 0
                if line.lower().startswith(b"content-range:") and b"bytes %d-" % begin not in line.lower():
                    raise FetchError("the server sends another part than was asked for")
            raise FetchError("the server's head has no end")
        except (OSError, EOFError, asyncio.TimeoutError):  # noqa: UP041
            await _close(writer)
            raise


async def _line(reader: "asyncio.StreamReader") -> bytes:
    return await asyncio.wait_for(_read_line(reader), TIMEOUT_MS / 1000)


async def _read_line(reader: "asyncio.StreamReader") -> bytes:
    # `readline` of a board takes a line of any length, until there is no memory for the rest of the firmware.
    line = b""
    while not line.endswith(b"\n"):
        byte = await reader.read(1)
        if not byte or len(line) >= LINE_BYTES_MAX:
            raise EOFError("the head of the answer is cut off, or too long")
        line += byte
    return line.strip()


async def _close(writer: "asyncio.StreamWriter") -> None:
    writer.close()
    try:  # noqa: SIM105  MicroPython has no contextlib
        await writer.wait_closed()
    except OSError:
        # It was broken already.
        pass


async def join(wlan: "object", name: str, key: str) -> None:
    """Joins a network by `wlan`, a network.WLAN of the board.  Raises OSError when that takes too long."""
    wlan.active(True)  # type: ignore[attr-defined]
    wlan.connect(name, key)  # type: ignore[attr-defined]
    for _ in range(JOIN_MS // 100):
        if wlan.isconnected():  # type: ignore[attr-defined]
            return
        await asyncio.sleep(0.1)
    raise OSError(f"the network {name!r} was not joined in {JOIN_MS} ms; look at its name and key")
