"""A board's `select`, whose waits hear the rig's sockets and may be on a clock that jumps: see time.py.

Runs on MicroPython.  `poll` is as the built-in one; an object that is watched by `time.hil_watch` never comes
out of it, its callback is called instead, and the wait goes on.
"""

import io
import time

from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT  # noqa: F401  a board's code takes them from here

_FOREVER_US = 1 << 61


_STREAM_POLL = 3
"""What `ioctl` of an object in Python is asked.  Source: py/stream.h, MP_STREAM_POLL."""


class poll:
    """Objects to wait for."""

    def __init__(self):
        self._poller = time.hil_poller()
        # Those in Python, such as asyncio.ThreadSafeFlag, are looked at here: the built-in poll would need a
        # whole millisecond to look at one, and forgets it when it grows.  They change in callbacks only.
        self._soft = {}

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        """Wait for it, too."""
        if isinstance(obj, io.IOBase):
            self._soft[id(obj)] = obj, eventmask
        else:
            self._poller.register(obj, eventmask)

    def unregister(self, obj):
        """No more."""
        if self._soft.pop(id(obj), None) is None:
            self._poller.unregister(obj)

    def modify(self, obj, eventmask):
        """Wait for other things of it."""
        if id(obj) in self._soft:
            self._soft[id(obj)] = obj, eventmask
        else:
            self._poller.modify(obj, eventmask)

    def poll(self, timeout=-1):
        """(object, events) of all that are ready within so many ms; -1 for ever."""
        end_us = _FOREVER_US if timeout < 0 else time.ticks_us() + timeout * 1000
        wait_ms = 0
        is_last = timeout == 0
        while True:
            ready = [item for item in self._poller.poll(wait_ms) if not time.hil_heard(item[0])]
            for obj, mask in self._soft.values():
                events = obj.ioctl(_STREAM_POLL, mask)
                if events:
                    ready.append((obj, events))
            if ready or is_last:
                return ready
            left_us = time.hil_pass(end_us)
            wait_ms = -1 if timeout < 0 else (left_us + 999) // 1000
            # One look more, for what came when the clock had jumped.
            is_last = not left_us

    def ipoll(self, timeout=-1, flags=0):
        """As `poll`; nothing is saved by it here."""
        return iter(self.poll(timeout))
