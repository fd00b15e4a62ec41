"""What a board says, kept in a ring, and a way to wait for words in it.

Runs on CPython; no IO in it: whoever has the wire calls `feed`, and passes in how to write.
"""

import asyncio
import codecs
import re
from collections.abc import Callable

from hil.errors import ConsoleTimeout, RigError

RING_CHARS = 64 << 10
TAIL_LINES = 40
TIMEOUT_MS = 20_000
"""Longer than anything here takes; whoever waits for less waits for nothing."""


class RingConsole:
    """A console whose last RING_CHARS are kept.  `expect` goes through what is said once, in order."""

    def __init__(self, board: str, write: Callable[[bytes], None]) -> None:
        self._board = board
        self._write = write
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at = 0
        self._news = asyncio.Event()
        self.text = ""
        """All that is kept."""
        self.echo: Callable[[str], None] = lambda text: None
        """Gets all that is said, too."""
        self.dropped_chars = 0
        """Said so long ago that it is not kept."""
        self.failure: Callable[[], RigError | None] = lambda: None
        """What makes waiting pointless, if anything."""

    def feed(self, data: bytes) -> None:
        """The board has said this."""
        text = self._decoder.decode(data)
        self.text += text
        self.echo(text)
        if (excess := len(self.text) - RING_CHARS) > 0:
            self.text = self.text[excess:]
            self.dropped_chars += excess
            self._at = max(0, self._at - excess)
        self._news.set()

    def wake(self) -> None:
        """Whoever waits should look at `failure`."""
        self._news.set()

    def write(self, text: str) -> None:
        """Types this."""
        self._write(text.encode())

    async def expect(self, pattern: str, timeout_ms: int = TIMEOUT_MS) -> "re.Match[str]":
        """The first match of a regular expression in what was said after the last one, or will be.

        Raises ConsoleTimeout; BoardEnded when there is nobody left to say it.
        """
        wanted = re.compile(pattern, re.MULTILINE)
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                while True:
                    # Not a search from a position on, where ^ would never be.
                    if (match := wanted.search(self.text[self._at :])) is not None:
                        self._at += match.end()
                        return match
                    if (failure := self.failure()) is not None:
                        raise failure
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise ConsoleTimeout(self._board, pattern, timeout_ms, self.tail()) from None

    def tail(self, line_count: int = TAIL_LINES) -> str:
        """The last lines, for a message."""
        return "\n".join(self.text.splitlines()[-line_count:]) or "(it said nothing)"
