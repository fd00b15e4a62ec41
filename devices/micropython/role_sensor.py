"""The role of a sensor: it measures now and then, says so by BTHome, and sleeps in between.

Runs on MicroPython.  Nobody can have it do anything, so it takes no grants.  The gateway sets what it does:

    every_ms    between measurements         advert_ms   how long one is advertised
    sleep       1: deep sleep in between     encrypt     1: under a key of the gateway's epoch (bthome.py)
    window_ms   after power-on, and every `window_each`-th time, so long it can be connected to

An encrypted sensor whose gateway has not named an epoch yet advertises no measurements.
"""

from devices.micropython import bthome, hal
from lock_controller.ultrasonic import FREE, TAKEN, Ranger, Span

SETTINGS: "dict[str, tuple[int | str, int | None, int]]" = {
    "every_ms": (60_000, 1_000, 86_400_000),
    "advert_ms": (1_000, 100, 60_000),
    "window_ms": (10_000, 1_000, 3_600_000),
    "window_each": (60, 1, 10_000),
    "sleep": (1, 0, 1),
    "encrypt": (1, 0, 1),
}
PINGS = 5
PINGS_APART_MS = 60
HEAT_MDEGC = 0
"""A chip that was asleep is as warm as the air."""


class Role:
    """A sensor of a bay.  `wait(ms)`: lets so much time pass."""

    KIND = "sensor"
    ACTIONS = 0

    def __init__(self, data: "dict[str, object]", settings: object, clock: object, wait: object) -> None:
        self._settings, self._clock, self._wait = settings, clock, wait
        sonar: dict[str, int] = data["sonar"]
        self._supply = hal.Pin(data["supply"], hal.Pin.OUT, value=0) if "supply" in data else None
        self._sonar = hal.Sonar(sonar)
        self._ranger = Ranger(Span(sonar["empty_mm"], sonar["margin_mm"]))
        self._battery = hal.Battery(data["battery"]) if "battery" in data else None
        self._measured_ms: int | None = None
        self._packet = 0
        self.values: dict[int, int] = {}
        """The last measurement, by object of BTHome."""

    def act(self, action: int, holder: bytes, now_ms: int) -> int:
        """There is nothing to do: ACTIONS is 0, so nobody gets here."""
        return 64

    def measure(self) -> None:
        """Looks at everything once; takes a third of a second."""
        values: dict[int, int] = {}
        mdegc = hal.temperature_mdegc(HEAT_MDEGC)
        values[bthome.TEMPERATURE] = mdegc // 10
        if self._battery is not None:
            mv = self._battery.mv()
            values[bthome.BATTERY], values[bthome.VOLTAGE] = self._battery.percent(mv), mv
        if self._supply is not None:
            self._supply.value(1)
            self._wait(PINGS_APART_MS)
        for _ in range(PINGS):
            self._ranger.feed(self._sonar.ping(), mdegc, self._clock())
            self._wait(PINGS_APART_MS)
        if self._supply is not None:
            self._supply.value(0)
        state = self._ranger.state(self._clock())
        if state in (FREE, TAKEN):
            values[bthome.OCCUPANCY] = 1 if state == TAKEN else 0
            values[bthome.DISTANCE] = self._ranger.distance_mm
        else:
            # What is not known is not said; that it is not known is.
            values[bthome.PROBLEM] = 1
        self.values = values
        self._measured_ms = self._clock()

    def payload(self, key: "bytes | None", address: bytes, numbers: "bthome.Numbers | None") -> bytes:
        """The advertisement of the last measurement: encrypted where there is a key, else plain."""
        values = dict(self.values)
        if key is None or numbers is None:
            self._packet = self._packet + 1 & 0xFF
            values[bthome.PACKET] = self._packet
            return bthome.advertisement(bthome.plain(bthome.objects(values)))
        body = bthome.objects(values)
        return bthome.advertisement(bthome.encrypted(body, key, address, numbers.take()))

    def status(self) -> "dict[str, object]":
        """What an operator wants to know."""
        values = self.values
        made: dict[str, object] = {
            "distance_mm": values.get(bthome.DISTANCE, -1),
            "trouble": self._ranger.trouble,
            "temperature_mdegc": values.get(bthome.TEMPERATURE, 0) * 10,
        }
        if bthome.VOLTAGE in values:
            made["battery_mv"] = values[bthome.VOLTAGE]
        return made

    def tick(self, now_ms: int) -> int:
        """Measures when it is time; ms until the next time."""
        every_ms: int = self._settings.get("every_ms")
        if self._measured_ms is None or now_ms - self._measured_ms >= every_ms:
            self.measure()
            return every_ms
        return every_ms - (now_ms - self._measured_ms)

    def can_sleep(self, now_ms: int) -> bool:
        """Whether it may sleep deeply once nobody is connected."""
        return self._settings.get("sleep") == 1
