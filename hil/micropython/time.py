"""A board's `time`: the real one, or one that skips the hours in which nothing happens.

Runs on MicroPython.  It stands before the built-in module, which `utime` still names.  What waits here also
watches the sockets of the rig, as a radio's interrupt comes while a board sleeps: see `hil_watch`.

With HIL_CLOCK=fake the clock belongs to the rig (hil/clock.py, at HIL_CLOCK_AT=host:port).  The rig sets a
horizon.  Up to there a wait costs nothing: the clock jumps to its end.  At the horizon the board says so, and
from there on its clock runs as fast as everybody's, until there is another horizon.  So a day passes in
seconds, and a visit in the middle of it takes as long as it takes.

Lines on the socket: the board sends `name NAME`, and `at MS LIVE PEAK` when it has come to its horizon; the
rig sends `to MS`.  LIVE is what its heap holds then, and PEAK the most that it held at the beginning of a
wait, garbage included, since the line before; both in bytes.  HIL_NOW_MS is where the board's clock begins,
HIL_BEGAN_MS where the rig's did.

With HIL_LEASH=1 the board ends with its rig: when nobody holds the other end of its console any more.
"""

import gc
import os
import sys

import uselect
import usocket
import utime
from utime import mktime, ticks_add, ticks_diff  # noqa: F401  a board's code takes them from here

_GLANCE_US = 10
"""What a look at a jumping clock takes, so that a loop that waits for it to move comes to its end."""
_EPOCH_S = 946684800
"""A board's clock begins in 2000."""

_is_fake = os.getenv("HIL_CLOCK") == "fake"
_now_us = int(os.getenv("HIL_NOW_MS") or 0) * 1000
_horizon_us = _now_us
_began_ms = int(os.getenv("HIL_BEGAN_MS") or 0)
_live_us = utime.ticks_us()
"""When the clock began to run at real speed; None while it jumps."""
_socket = None
_peak_bytes = 0
_line = b""

_watched = {}
_pollers = []


def hil_watch(sock, callback):
    """From now on every wait calls `callback()` when `sock` can be read."""
    _watched[id(sock)] = (sock, callback)
    for poller in _pollers:
        poller.register(sock, uselect.POLLIN)


def hil_unwatch(sock):
    """No more of it."""
    if _watched.pop(id(sock), None):
        for poller in _pollers:
            poller.unregister(sock)


def hil_poller():
    """A poll of the built-in kind that what is watched is registered with, also later."""
    poller = uselect.poll()
    # It forgets waiting objects that are no sockets when its array grows: let it grow while it is empty.
    for number in range(16):
        poller.register(number, 0)
    for number in range(16):
        poller.unregister(number)
    for sock, _ in _watched.values():
        poller.register(sock, 0 if sock is sys.stdin else uselect.POLLIN)
    _pollers.append(poller)
    return poller


def hil_heard(sock):
    """Whether this ready object is one of the watched, whose callback has then been called."""
    found = _watched.get(id(sock))
    if found is None:
        return False
    found[1]()
    return True


def hil_pass(end_us):
    """Lets the clock jump towards `end_us` as far as it may.  Returns the us still to be waited."""
    global _now_us, _peak_bytes
    now_us = ticks_us()
    if _is_fake:
        _peak_bytes = max(_peak_bytes, gc.mem_alloc())
    if _live_us is None:
        if end_us <= _horizon_us:
            _now_us = max(end_us, now_us)
            return 0
        _arrive()
        now_us = _now_us
    return max(0, end_us - now_us)


def hil_now_ms():
    """What every request to the world carries, so that the world is as late as its board."""
    return ticks_us() // 1000


def ticks_us():
    """Microseconds, from anywhere on."""
    global _now_us
    if not _is_fake:
        return utime.ticks_us()
    if _live_us is not None:
        return _horizon_us + utime.ticks_diff(utime.ticks_us(), _live_us)
    _now_us += _GLANCE_US
    if _now_us > _horizon_us:
        _arrive()
    return _now_us


def ticks_ms():
    """As `ticks_us`, in milliseconds."""
    return ticks_us() // 1000 if _is_fake else utime.ticks_ms()


ticks_cpu = ticks_us


def sleep_us(wait_us):
    """Waits, and hears what is watched meanwhile."""
    end_us = ticks_us() + wait_us
    while True:
        left_us = hil_pass(end_us)
        if not left_us:
            return
        # Also a wait of less than what poll can wait hears: a loop of such waits may wait for the radio.
        for sock, _ in _sleeper.poll(left_us // 1000):
            hil_heard(sock)
        if left_us < 1000:
            utime.sleep_us(left_us)


def sleep_ms(wait_ms):
    """As `sleep_us`, in milliseconds."""
    sleep_us(wait_ms * 1000)


def sleep(seconds):
    """As `sleep_us`, in seconds."""
    sleep_us(int(seconds * 1000000))


def time():
    """Seconds since 1970; with a fake clock it is 2000 when the rig begins."""
    return _EPOCH_S + (ticks_ms() - _began_ms) // 1000 if _is_fake else utime.time()


def time_ns():
    """As `time`, in nanoseconds."""
    return _EPOCH_S * 1000000000 + (ticks_us() - _began_ms * 1000) * 1000 if _is_fake else utime.time_ns()


def gmtime(seconds=None):
    """Year, month, day, hour, minute, second, weekday, day of the year."""
    return utime.gmtime(time() if seconds is None else seconds)


localtime = gmtime


def _arrive():
    """The horizon is here: say so, and run at real speed."""
    global _now_us, _live_us, _peak_bytes
    _now_us = _horizon_us
    gc.collect()
    live_bytes = gc.mem_alloc()
    _socket.send(b"at %d %d %d\n" % (_horizon_us // 1000, live_bytes, max(_peak_bytes, live_bytes)))
    _peak_bytes = 0
    _live_us = utime.ticks_us()


def _hear_rig():
    """The rig sets another horizon; without a rig there is no board."""
    global _line, _now_us, _horizon_us, _live_us
    data = _socket.recv(64)
    if not data:
        raise SystemExit(_LEFT_ALONE)
    _line += data
    while b"\n" in _line:
        line, _line = _line.split(b"\n", 1)
        word, number = line.split()
        if word == b"to":
            _now_us = ticks_us()
            _horizon_us = max(int(number) * 1000, _now_us)
            _live_us = None


def _hear_console():
    """The other end of the console is closed: the rig has ended, however that was."""
    raise SystemExit(_LEFT_ALONE)


_LEFT_ALONE = 129

if os.getenv("HIL_LEASH"):
    _watched[id(sys.stdin)] = (sys.stdin, _hear_console)
_sleeper = hil_poller()
if _is_fake:
    _host, _port = os.getenv("HIL_CLOCK_AT").rsplit(":", 1)
    _socket = usocket.socket()
    _socket.connect(usocket.getaddrinfo(_host, int(_port))[0][-1])
    _socket.send(b"name %s\n" % (os.getenv("HIL_BOARD") or "?").encode())
    _arrive()
    hil_watch(_socket, _hear_rig)
