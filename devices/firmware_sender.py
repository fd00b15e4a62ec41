"""Brings an update to a board, whatever carries the messages (devices/micropython/ota_receiver.py).

Runs on CPython.  Sans-IO: `next` takes the board's last answer and gives the next message.  After a lost
link, begin with `next(None)` again: the board goes on where it was.
"""

from devices.firmware_pack import Update
from devices.micropython import ota_receiver as ota
from devices.micropython.errors import UpdateError
from puf import cbor
from puf.errors import DecodeError

BUSY_WAIT_MS = 500
IDLE_ROUNDS_MAX = 2_000
"""Answers in a row that bring nothing nearer: more than a board needs to look at all of its flash."""


class Sender:
    """One update on its way to one board.

    `wait_ms`: how long to wait before the message that `next` gave last; `done`, `total`: bytes of the update
    that the board has, and all; `sent_count`, `sent_size`: pieces sent, and their bytes: what the board had
    already is not sent; `is_same`: that very firmware ran already.
    """

    def __init__(self, update: Update) -> None:
        self.wait_ms = 0
        self.done = 0
        self.total = len(update.stream)
        self.sent_count = 0
        self.sent_size = 0
        self.is_same = False
        self._update = update
        self._body = b""
        self._idle_rounds = 0

    def next(self, answer: bytes | None) -> bytes | None:
        """The message to send; None: the update is staged, and what starts next.  `answer`: None at first.

        Raises UpdateError.
        """
        self.wait_ms = 0
        if answer is None:
            self._body = cbor.encode([ota.BEGIN, self._update.statement])
            return self._body
        code, offset = self._read(answer)
        if code in (ota.STAGED, ota.SAME):
            self.is_same = code == ota.SAME
            self.done = self.total
            return None
        if code == ota.BUSY:
            self.wait_ms = BUSY_WAIT_MS
            self._count(is_nearer=False)
        elif code == ota.WORKING:
            self._count(is_nearer=False)
            self._body = cbor.encode([ota.GO])
        elif code == ota.WANT and offset < self.total:
            self._count(is_nearer=offset > self.done)
            self.done = offset
            data = self._update.stream[offset : offset + ota.DATA_BYTES_MAX]
            self.sent_count += 1
            self.sent_size += len(data)
            self._body = cbor.encode([ota.DATA, offset, data])
        else:
            raise UpdateError(code, f"the board says: {ota.REASONS.get(code, f'code {code}')}")
        return self._body

    def _count(self, *, is_nearer: bool) -> None:
        self._idle_rounds = 0 if is_nearer else self._idle_rounds + 1
        if self._idle_rounds > IDLE_ROUNDS_MAX:
            raise UpdateError(ota.BUSY, "the board gets no further; look at its log, and start it anew")

    @staticmethod
    def _read(answer: bytes) -> tuple[int, int]:
        try:
            items = cbor.decode(answer, ota.BODY_BYTES_MAX, 1)
        except DecodeError as error:
            raise UpdateError(ota.MALFORMED, f"the board's answer cannot be read: {error}") from None
        if not isinstance(items, list) or [type(item) for item in items] != [int, int, int]:
            raise UpdateError(ota.MALFORMED, "the board's answer is no code, offset and size")
        return items[0], items[1]
