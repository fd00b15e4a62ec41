"""A serial port as a file descriptor that is read when there is something.

Runs on CPython.  pyserial opens the port and sets it up; reading is ours, in chunks, since pyserial
asks the kernel for one byte at a time.  Source of the counters: Linux, include/uapi/linux/serial.h.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.sensors.source import MissingExtra, SourceUrl

if TYPE_CHECKING:
    import serial

CHUNK_BYTES = 1 << 16
"""Read at once; a tty hands out 4 KiB at most."""

_TIOCGICOUNT = 0x545D
_COUNTERS = struct.Struct("11i9i")
_FAULTS = ("framing error", "overrun in the UART", "parity error", "break", "overrun in the kernel")
"""Counters 6 to 10 of struct serial_icounter_struct."""


@dataclass(frozen=True, slots=True)
class PortSettings:
    """How a port is to be set up."""

    path: str
    """Device, such as /dev/ttyACM0; a link from /dev/serial/by-id survives replugging into another socket."""
    baud: int = 115_200
    """Bits a second."""
    mode: str = "8N1"
    """Data bits, parity (N, E, O, M, S), stop bits."""
    flow: str = "none"
    """`none`, `rtscts` or `xonxoff`."""


class SerialPort:
    """An open port.  Raises OSError; pyserial's errors are such, too."""

    def __init__(self, settings: PortSettings) -> None:
        self.settings = settings
        self._port = _opened(settings)
        self.fd: int = self._port.fileno()
        self._device = os.fstat(self.fd).st_rdev
        self._faults = self._counted()

    def read(self) -> bytes:
        """What has come, at least a byte.  BlockingIOError: nothing.  OSError: the port is gone."""
        data = os.read(self.fd, CHUNK_BYTES)
        if not data:
            raise OSError("hung up")
        return data

    def check(self) -> None:
        """Raises OSError when the port's device has gone without saying so, as some drivers do."""
        if os.stat(self.settings.path).st_rdev != self._device:
            raise OSError("another device has taken its place")

    def new_faults(self) -> list[tuple[str, int]]:
        """(what, how often since last asked) of faults that the driver has counted; each lost bytes."""
        before, self._faults = self._faults, self._counted()
        return [
            (what, now - then)
            for what, now, then in zip(_FAULTS, self._faults, before, strict=True)
            if now > then
        ]

    def close(self) -> None:
        """Releases the port; may be called twice."""
        self._port.close()

    def _counted(self) -> tuple[int, ...]:
        try:
            answer = fcntl.ioctl(self.fd, _TIOCGICOUNT, bytes(_COUNTERS.size))
        except OSError:
            # A pty, and some USB drivers, count nothing.
            return (0,) * len(_FAULTS)
        return tuple(_COUNTERS.unpack(answer)[6:11])


def _opened(settings: PortSettings) -> serial.Serial:
    try:
        import serial
    except ImportError:
        raise MissingExtra("pyserial", "serial") from None
    try:
        return serial.Serial(
            settings.path,
            settings.baud,
            bytesize=int(settings.mode[0]),
            parity=settings.mode[1],
            stopbits=int(settings.mode[2]),
            rtscts=settings.flow == "rtscts",
            xonxoff=settings.flow == "xonxoff",
            timeout=0,
            # Two readers would each get half of the bytes.
            exclusive=True,
        )
    except ValueError as error:
        raise OSError(str(error)) from error
    except serial.SerialException as error:
        if error.errno is None and isinstance(error.__context__, termios.error):
            # pyserial says it in its text only.
            raise OSError(*error.__context__.args) from error
        raise


def settings_of(url: SourceUrl) -> PortSettings:
    """The port that `url` names.  Raises BadSourceUrl."""
    mode = url.options.get("mode", "8N1").upper()
    if len(mode) != 3 or mode[0] not in "5678" or mode[1] not in "NEOMS" or mode[2] not in "12":
        raise url.bad(f"mode={mode}: allowed are data bits 5-8, parity N, E, O, M or S, stop bits 1-2: 8N1")
    return PortSettings(
        url.target,
        url.number("baud", 115_200, 50, 12_000_000),
        mode,
        url.choice("flow", ("none", "rtscts", "xonxoff"), "none"),
    )
