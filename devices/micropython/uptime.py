"""How long a board has been up.  Runs on MicroPython."""

import time


class Clock:
    """Milliseconds since power-on that do not wrap; look at it at least once in six days."""

    def __init__(self) -> None:
        self._last = time.ticks_ms()
        self._now_ms = 0

    def __call__(self) -> int:
        """Now."""
        ticks = time.ticks_ms()
        self._now_ms += time.ticks_diff(ticks, self._last)
        self._last = ticks
        return self._now_ms
