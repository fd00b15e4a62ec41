"""The last few thousand bytes of what a device has to say, in memory of fixed size.

Runs on CPython and MicroPython.  A line is `level uptime_ms text`; it is printed on the serial line, too.
The ring survives no restart.  A reader names the first byte that it wants, counted since power-on, and is
told where what it gets begins: further on, when the ring has gone over it meanwhile.  No line has a secret.
"""

DEBUG, INFO, WARNING, ERROR = 0, 1, 2, 3
_LETTERS = "DIWE"
LINE_BYTES_MAX = 160


class Log:
    """A log of `size_bytes`.  `clock`: a callable, milliseconds since power-on; `show`: prints a line, or
    None.
    """

    def __init__(self, size_bytes: int, clock: object, show: object = print) -> None:
        self._ring = bytearray(size_bytes)
        self._end = 0
        self._clock = clock
        self._show = show

    def write(self, level: int, text: str) -> None:
        """Keeps a line: what is longer than LINE_BYTES_MAX is cut, and line ends become spaces."""
        line = f"{_LETTERS[level]} {self._clock()} {text}".replace("\n", " ")  # type: ignore[operator]
        if self._show is not None:
            self._show(line)  # type: ignore[operator]
        data = line.encode()[:LINE_BYTES_MAX] + b"\n"
        size = len(self._ring)
        for value in data:
            self._ring[self._end % size] = value
            self._end += 1

    def read(self, first: int, size_max: int) -> "tuple[int, bytes, int]":
        """(where it begins, at most `size_max` bytes from byte `first` on, where to read on)."""
        size = len(self._ring)
        first = min(max(first, self._end - size, 0), self._end)
        count = min(size_max, self._end - first)
        at = first % size
        data = bytes(self._ring[at : at + count])
        data += bytes(self._ring[: count - len(data)])
        return first, data, first + count
