"""A session's messages, sealed: each opens once, in its order, in its direction, and to nobody else.

Runs on CPython and MicroPython.

    sealed = AES-CCM(key of the direction, nonce, plaintext), tag 8 bytes

The nonce is the count of messages in this direction, 13 bytes, big-endian.  It is not sent: a link keeps
order and loses nothing while it lasts, and with it ends the session, whose keys never come again.  So what is
repeated, left out, reordered or reflected does not open, and after one message that does not open
none does.  Source: the implicit sequence numbers of TLS 1.3 (RFC 8446, section 5.3); RFC 3610.
"""

from devices.micropython.commands import MESSAGE_BYTES_MAX
from devices.micropython.errors import SealError
from puf import aes_ccm
from puf.errors import DecryptError

TAG_BYTES = 8
COUNT_MAX = 1 << 32
"""Messages of one direction; then prove anew."""


class Channel:
    """One side's end.  `send_key`, `receive_key`: bytes, 16, of a session.  Printing it shows no key."""

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        self._send_key = send_key
        self._receive_key = receive_key
        self._sent = self._received = 0

    def seal(self, plaintext: bytes) -> bytes:
        """The next message to send.  Raises SealError when there were too many, ValueError for a long one."""
        if len(plaintext) > MESSAGE_BYTES_MAX - TAG_BYTES:
            raise ValueError(f"{len(plaintext)} bytes are more than a sealed message holds")
        if self._sent >= COUNT_MAX:
            raise SealError("this session has sent all that it may; prove anew")
        nonce = self._sent.to_bytes(13, "big")
        self._sent += 1
        return aes_ccm.seal(self._send_key, nonce, plaintext, b"", TAG_BYTES)

    def open(self, sealed: bytes) -> bytes:
        """What the other side sealed next.  Raises SealError, from then on for everything."""
        if self._received >= COUNT_MAX:
            raise SealError("this session is over; prove anew")
        nonce = self._received.to_bytes(13, "big")
        try:
            plaintext = aes_ccm.open_(self._receive_key, nonce, sealed, b"", TAG_BYTES)
        except DecryptError:
            self._received = COUNT_MAX
            raise SealError("a message did not open, so the session is over; prove anew") from None
        self._received += 1
        return plaintext
