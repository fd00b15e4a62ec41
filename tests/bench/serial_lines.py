"""Lines of a serial port, over a pty, against pyserial's own readline.

Runs on CPython.  Another process writes; measured is this one, from the open port to batches of text.
Both sides read the same bytes from the same kind of pty and must come to the same lines.
"""

import asyncio
import os
import subprocess
import tempfile
import tty
from collections.abc import Callable
from pathlib import Path

import serial

from gateway.sensors.serial_source import open_serial
from gateway.sensors.source import SYSTEM_CLOCK, SourceUrl
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of

LINE_COUNT = {"tiny": 200, FULL: 100_000}
PEER_LINE_COUNT = {"tiny": 200, FULL: 2_000}
"""Enough for a peer this slow."""
NMEA_COUNT = {"tiny": 100, FULL: 20_000}
ROUNDS = {"tiny": 1, FULL: 5}
TARGET_US = 3.0
SENTENCE = "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A"


def bench_lines(size: str) -> list[Row]:
    """Plain lines of some 40 characters; an item is a line."""
    rows = _compare("serial-lines", "line", "lines", _line, LINE_COUNT[size], size, TARGET_US)
    return rows + _compare(
        "serial-nmea", "sentence, parsed", "nmea", lambda _: SENTENCE, NMEA_COUNT[size], size
    )


def _line(number: int) -> str:
    return f"{number:07} temperature=21.{number % 10} current={number % 977}"


def _compare(
    bench: str,
    what: str,
    framing: str,
    line: Callable[[int], str],
    count: int,
    size: str,
    target: float | None = None,
) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name:
        many, few = Path(name, "many"), Path(name, "few")
        few_count = min(count, PEER_LINE_COUNT[size])
        many.write_text("".join(f"{line(number)}\r\n" for number in range(count)))
        few.write_text("".join(f"{line(number)}\r\n" for number in range(few_count)))

        def peer() -> Lap:
            with _Pty(few) as pty, serial.Serial(pty.path, timeout=20) as port:
                pty.start()
                with Stopwatch() as watch:
                    lines = [port.readline().decode().rstrip("\r\n") for _ in range(few_count)]
            return Lap(watch.cpu_us, few_count, digest_of(lines))

        return compare(
            bench,
            what,
            lambda: asyncio.run(_lap(many, framing, count, few_count)),
            {"pyserial readline": peer},
            ROUNDS[size],
            is_same_result=True,
            target=target,
        )


async def _lap(path: Path, framing: str, count: int, digest_count: int) -> Lap:
    """Digest: of as many lines as the peer reads."""
    with _Pty(path) as pty:
        url = SourceUrl(f"serial:{pty.path}", pty.path, {"framing": framing})
        source = open_serial(url, "bench", SYSTEM_CLOCK)
        pty.start()
        values = []
        with Stopwatch() as watch:
            async for batch in source.batches():
                values += batch.values
                if len(values) >= count:
                    break
        await source.close()
        assert not source.stats.dropped + source.stats.damaged
    lines = [value["raw"] if isinstance(value, dict) else value for value in values[:digest_count]]
    return Lap(watch.cpu_us, count, digest_of(lines))


class _Pty:
    """A pty into which another process copies a file; the port must be open, for opening drops what came."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._writer: subprocess.Popen[bytes] | None = None
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)

    def start(self) -> None:
        with self._source.open("rb") as file:
            self._writer = subprocess.Popen(["cat"], stdin=file, stdout=self._master)

    def __enter__(self) -> "_Pty":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._slave)
        if self._writer is not None:
            self._writer.terminate()
            self._writer.wait()
        os.close(self._master)
