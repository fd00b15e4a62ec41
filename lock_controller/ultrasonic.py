"""A bay as an ultrasonic sensor sees it: free, taken, or not known.

Runs on CPython and MicroPython.  The sensor looks at something that is always there, the ground or a wall, at
`empty_mm`.  Each ping gives the time of its echo, or none; the median of the last five is judged, and two in
a row that are nearer are TAKEN at once:

      0 ...... dead zone ......... nearer than empty ......... empty_mm ......... farther
               UNKNOWN             TAKEN                  +-margin: FREE          UNKNOWN

No echo is not a free bay: a slanted windscreen, a cut cable and a dead sensor give none either.  So fewer
than three echoes among five pings are UNKNOWN, and so is what was measured too long ago.  A real echo
never takes the same number of microseconds for long; a sensor that says it does is stuck, and UNKNOWN.

    distance = c * echo / 2      c = 331.3 m/s * sqrt(1 + t / 273.15 degrees C)

Source: speed of sound, ISO 9613-1, annex A (dry air); HC-SR04 data sheet for times and the dead zone.
"""

from collections import namedtuple

from lock_controller.errors import LimitsError

UNKNOWN, FREE, TAKEN = 0, 1, 2
"""What a sensor says of the bay."""

FINE, SILENT, LINE, STUCK, FAR, NEAR = 0, 1, 2, 3, 4, 5
"""What is wrong with it: nothing, too few echoes, a dead line, always the same, beyond empty, dead zone."""

NO_ECHO_US = -1
"""What a ping without an echo gives, as `machine.time_pulse_us` does: it did not end in time."""
NO_LINE_US = -2
"""The line of the echo never moved: no sensor answers there."""

PINGS = 5
ECHOES_MIN = 3
STUCK_COUNT = 40
"""So many echoes of one and the same length: the air never does that."""
AGE_MS_MAX = 1_500
"""Older than this, a reading says nothing any more; slow boards look once in a second when nothing moves."""
DEAD_ZONE_MM = 40
"""Nearer echoes are the sensor's own ringing."""


def speed_mm_per_s(temperature_mdegc: int) -> int:
    """The speed of sound in air at a temperature in thousandths of a degree C, -50 to 80 degrees."""
    t = min(max(temperature_mdegc, -50_000), 80_000)
    # The root as a series around 20 degrees C, in integers: within 0.2 % over the whole range.
    d = t - 20_000
    return 343_215 + d * 5854 // 10_000 - d * d // 200 // 10_000


def distance_mm(echo_us: int, temperature_mdegc: int = 20_000) -> int:
    """How far away it is that echoed after this time, there and back."""
    return echo_us * speed_mm_per_s(temperature_mdegc) // 2_000_000


def echo_us_of(distance_mm: int, temperature_mdegc: int = 20_000) -> int:
    """The time of an echo from there: the inverse of `distance_mm`, never shorter than what gives it."""
    speed = speed_mm_per_s(temperature_mdegc)
    return (distance_mm * 2_000_000 + speed - 1) // speed


class Span(namedtuple("Span", ("empty_mm", "margin_mm"))):
    """How an empty bay looks.  `empty_mm`: distance of what is behind it; `margin_mm`: how exactly."""

    __slots__ = ()
    KIND = "span"


class Ranger:
    """One sensor's memory of its last pings.

    `distance_mm`: int, the median of the last echoes, or -1; `trouble`: FINE, or why it is UNKNOWN.
    Raises LimitsError when the span leaves no room for a car, or none behind it.
    """

    def __init__(self, span: Span) -> None:
        if not 0 < span.margin_mm < span.empty_mm - DEAD_ZONE_MM:
            raise LimitsError(
                f"a bay that is empty at {span.empty_mm} mm cannot be told from a full one with a margin of "
                f"{span.margin_mm} mm; correct empty_mm and margin_mm of the sensor"
            )
        self._span = span
        self._echoes: list[int] = []
        self._last_us = 0
        self._same_count = 0
        self._near_count = 0
        self._fed_ms: int | None = None
        self.distance_mm = -1
        self.trouble = SILENT

    def feed(self, echo_us: int, temperature_mdegc: int, now_ms: int) -> None:
        """One ping: microseconds of its echo, or NO_ECHO_US or NO_LINE_US."""
        if self._fed_ms is not None and not 0 <= now_ms - self._fed_ms <= AGE_MS_MAX:
            self._echoes = []
        self._fed_ms = now_ms
        if echo_us >= 0 and echo_us == self._last_us:
            self._same_count += 1
        elif echo_us >= 0:
            self._last_us = echo_us
            self._same_count = 1
        if echo_us >= 0:
            is_near = distance_mm(echo_us, temperature_mdegc) < self._span.empty_mm - self._span.margin_mm
            self._near_count = self._near_count + 1 if is_near else 0
        self._echoes.append(echo_us)
        if len(self._echoes) > PINGS:
            self._echoes.pop(0)
        echoes = sorted([each for each in self._echoes if each >= 0])
        if len(self._echoes) < PINGS or len(echoes) < ECHOES_MIN:
            self.distance_mm = -1
            self.trouble = LINE if echo_us == NO_LINE_US else SILENT
            return
        # Of an even count the shorter middle: in doubt something is nearer.
        self.distance_mm = distance_mm(echoes[(len(echoes) - 1) // 2], temperature_mdegc)
        if self._same_count >= STUCK_COUNT:
            self.trouble = STUCK
        elif self.distance_mm < DEAD_ZONE_MM:
            self.trouble = NEAR
        elif self.distance_mm > self._span.empty_mm + self._span.margin_mm:
            self.trouble = FAR
        else:
            self.trouble = FINE

    def state(self, now_ms: int) -> int:
        """FREE, TAKEN or UNKNOWN, now."""
        if self._fed_ms is None or not 0 <= now_ms - self._fed_ms <= AGE_MS_MAX or self.trouble != FINE:
            return UNKNOWN
        is_near = self.distance_mm < self._span.empty_mm - self._span.margin_mm
        return TAKEN if is_near or self._near_count >= 2 else FREE
