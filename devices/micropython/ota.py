"""Updates, as a device has them in hand: what takes them lies in memory only while one is on its way.

Runs on CPython and MicroPython.  The receiver and all that it needs (devices/micropython/ota_receiver.py) are
as large as a session; a board loads them when a message comes, and lets them go when no update is begun.
"""

from devices.micropython import modules

NOT_BEGUN = 17
_PARTS = ("devices.micropython.ota_receiver", "devices.micropython.ota_manifest")


class Receiver:
    """The same as ota_receiver.Receiver, with the same arguments; see there."""

    def __init__(
        self,
        root: str,
        publisher: bytes,
        role: str,
        board: str,
        is_free: "object | None" = None,
        fetch: "object | None" = None,
    ) -> None:
        self._arguments = (root, publisher, role, board, is_free, fetch)
        self._inner: object | None = None
        self._code = NOT_BEGUN

    def handle(self, body: bytes, now_ms: int) -> bytes:
        """The answer to one message."""
        if self._inner is None:
            from devices.micropython.ota_receiver import Receiver as Inner

            self._inner = Inner(*self._arguments)  # type: ignore[arg-type]
            self._inner.code = self._code
        answer: bytes = self._inner.handle(body, now_ms)  # type: ignore[attr-defined]
        if not self._inner.is_working:  # type: ignore[attr-defined]
            self._code = self._inner.code  # type: ignore[attr-defined]
            self._inner = None
            modules.forget(_PARTS)
        return answer
