"""A socket put between the MQTT library and the kernel: large reads, large writes, whole packets.

Runs on CPython.  The library asks for one byte, one byte, then the rest, and sends every acknowledgement
by itself: three system calls for a message in, one for its acknowledgement.  Behind this, a burst of
messages costs one read, and its acknowledgements one write.  The reader takes whole packets off with
`next_packet`, and grants the library those that it should see.  It has the methods of a socket that
paho-mqtt uses (its `SocketLike`), for plain TCP and for TLS.  Source: MQTT 5.0, section 2.1.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

READ_BYTES = 1 << 16
PACKET_BYTES_MAX = 16 << 20
"""A packet is held in memory as a whole."""


class PacketRefused(Exception):
    """What came is no packet, or one too long to be held."""


class BufferedSocket:
    """Takes over `sock`."""

    def __init__(self, sock: socket.socket | ssl.SSLSocket) -> None:
        self._sock = sock
        self._in = bytearray()
        self._at = 0
        """Where in `_in` the first packet begins that was not taken."""
        self._granted = b""
        self._granted_at = 0
        self._out = bytearray()
        self.on_output: Callable[[], None] | None = None
        """Called when there is something to `flush`; None: what is sent goes out at once."""

    # ------------------------------------------------------------- our reader

    def fill(self) -> bool:
        """Reads what is there; False when the other side has closed.  Raises as a socket does."""
        if self._at:
            del self._in[: self._at]
            self._at = 0
        data = self._sock.recv(READ_BYTES)
        self._in += data
        # What TLS has decrypted already makes no descriptor readable.
        while isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            self._in += self._sock.recv(READ_BYTES)
        return bool(data)

    def next_packet(self) -> tuple[int, int, bytearray, int, int] | None:
        """Takes a whole packet: (its first byte, where all of it begins, buffer, begin and end of its body).

        The numbers hold until `fill`.  None when none is complete.  Raises PacketRefused.
        """
        data, begin = self._in, self._at
        size = len(data)
        if begin + 2 > size:
            return None
        length = data[begin + 1]
        at = begin + 2
        if length > 127:
            length &= 127
            shift = 7
            while True:
                if at >= size:
                    return None
                byte = data[at]
                at += 1
                length |= (byte & 127) << shift
                if byte < 128:
                    break
                shift += 7
                if shift > 21:
                    raise PacketRefused("a packet with a length of more than four bytes")
            if length > PACKET_BYTES_MAX:
                raise PacketRefused(f"a packet of {length} bytes; at most {PACKET_BYTES_MAX} are taken")
        end = at + length
        if end > size:
            return None
        self._at = end
        return data[begin], begin, data, at, end

    def grant(self, packet: bytes) -> None:
        """What the library can receive next."""
        self._granted, self._granted_at = packet, 0

    @property
    def has_output(self) -> bool:
        """Something waits for `flush`."""
        return bool(self._out)

    # ------------------------------------------------------------- for paho

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes of what was granted.  Raises BlockingIOError when there is no more of it."""
        begin = self._granted_at
        if begin >= len(self._granted):
            raise BlockingIOError
        data = self._granted[begin : begin + size]
        self._granted_at = begin + len(data)
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Takes all of `data`."""
        if self.on_output is None:
            return self._sock.send(data)
        if not self._out:
            self.on_output()
        self._out += data
        return len(data)

    def flush(self) -> bool:
        """Writes as much as the kernel takes; whether that was all.  Raises OSError when the link is gone."""
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        return True

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        self._sock.setblocking(flag)

    def fileno(self) -> int:
        """As of a socket."""
        return self._sock.fileno()

    def close(self) -> None:
        """As of a socket; what was not flushed is dropped."""
        self._out.clear()
        self._sock.close()
