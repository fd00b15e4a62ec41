"""What a board takes from its battery, computed from data sheets.

Runs on CPython and MicroPython.  `python -m devices.micropython.power` prints the tables of POWER.md.
NOTHING HERE WAS MEASURED ON A BOARD: each figure is a data sheet's or an assumption, and says which.

A duty is a list of (what, current in uA, ms in a cycle); its average is the charge of a cycle by its length.
"""

DEEP_SLEEP_UA = 10
"""RTC timer and RTC memory on.  Source: Espressif, ESP32 Series Datasheet v3.5, table 6: deep-sleep."""
CPU_UA = 30_000
"""At 160 MHz, radio off, one core busy.  Source: the same, modem-sleep: 27 to 44 mA."""
RADIO_TX_UA = 130_000
"""Bluetooth, 0 dBm.  Source: the same, table 15: 130 mA."""
RADIO_IDLE_UA = 40_000
"""ASSUMED: CPU at 160 MHz with the radio's clock on and no light sleep, as MicroPython leaves it."""
REGULATOR_UA = 8
"""TinyPICO's deep sleep is given by its maker as 20 uA in all; this is what its chip does not take."""
SONAR_UA = 15_000
"""HC-SR04 while it is supplied.  Source: its data sheet, working current 15 mA."""
DIVIDER_UA = 7
"""TinyPICO: 4.2 V over 442k and 160k.  Source: its schematic."""
MOTOR_UA = 1_200_000
"""ASSUMED: 12 V motor of a parking lock, running, for MOVE_MS a way."""
MOVE_MS = 3_000
CONVERTER_PERCENT = 85
"""ASSUMED: of a converter from 12 V to 3.3 and 5 V."""

ADVERT_EVENT_US = 1_100
"""31 bytes on three channels at 1 Mbit/s: 3 x 376 us.  Source: Core Specification 5.4, volume 6, B, 2.3."""
BOOT_MS = 450
"""ASSUMED: ROM, boot loader and MicroPython's start from deep sleep, before boot.py."""
LOAD_MS = 500
"""ASSUMED: the modules of the sensor's role, from LittleFS; `make bench-device` counts what is done there."""
MEASURE_MS = 360
"""Six waits of 60 ms: role_sensor.py."""

WINDOW_MS, WINDOW_EACH = 10_000, 60
"""The defaults of role_sensor.py."""
MS_PER_DAY = 86_400_000


def average_ua(duty: "list[tuple[str, int, int]]") -> int:
    """The mean current of a cycle, rounded up."""
    length_ms = sum([ms for _, _, ms in duty])
    charge = sum([current_ua * ms for _, current_ua, ms in duty])
    return -(-charge // length_ms)


def life_days(
    average: int, capacity_mah: int, usable_percent: int = 80, loss_percent_per_year: int = 3
) -> int:
    """How long a battery lasts at an average current in uA; what it loses by itself is taken off."""
    loss_ua = capacity_mah * 1_000 * loss_percent_per_year // 100 // 8_766
    return capacity_mah * 1_000 * usable_percent // 100 // (average + loss_ua) // 24


def at_12v(current_ua: int, mv: int) -> int:
    """What a current at `mv` takes from 12 V through a converter."""
    return current_ua * mv * 100 // 12_000 // CONVERTER_PERCENT


def sensor(every_ms: int, advert_ms: int = 1_000) -> "list[tuple[str, int, int]]":
    """A cycle of a sensor that sleeps deeply: a measurement, and its share of the windows."""
    events_ms = max(advert_ms // 100 * ADVERT_EVENT_US // 1_000, 1)
    share_ms = WINDOW_MS // WINDOW_EACH
    awake_ms = BOOT_MS + LOAD_MS + MEASURE_MS + advert_ms + share_ms
    return [
        ("boot and load", CPU_UA, BOOT_MS + LOAD_MS),
        ("measure", CPU_UA + SONAR_UA, MEASURE_MS),
        ("advertise: transmit", RADIO_TX_UA, events_ms),
        ("advertise: between", RADIO_IDLE_UA, advert_ms - events_ms),
        ("window", RADIO_IDLE_UA, share_ms),
        ("deep sleep", DEEP_SLEEP_UA + REGULATOR_UA + DIVIDER_UA, max(every_ms - awake_ms, 0)),
    ]


def lock(visits_per_day: int, sonar_ua: int = 2 * SONAR_UA) -> "list[tuple[str, int, int]]":
    """A day of a lock that listens always, from 12 V: for each visit the arm goes down and up again."""
    moving_ms = visits_per_day * 2 * MOVE_MS
    idle_ua = at_12v(RADIO_IDLE_UA, 3_300) + at_12v(sonar_ua, 5_000)
    return [
        ("listen, advertise each 250 ms", idle_ua, MS_PER_DAY - moving_ms),
        ("move", idle_ua + MOTOR_UA, moving_ms),
    ]


def tables() -> "list[str]":
    """The lines of POWER.md's tables."""
    lines = [
        "| sensor, measures every | average | 3,000 mAh (18650) | 1,200 mAh (LiPo) | advertised for 300 ms |",
        "|---|---|---|---|---|",
    ]
    for every_ms in (10_000, 60_000, 300_000, 900_000):
        average, less = average_ua(sensor(every_ms)), average_ua(sensor(every_ms, 300))
        lines.append(
            f"| {every_ms // 1_000} s | {average} uA | {life_days(average, 3_000)} days | "
            f"{life_days(average, 1_200)} days | {less} uA, {life_days(less, 3_000)} days |"
        )
    lines += [
        "",
        "| lock: visits a day | average at 12 V | 7.2 Ah | 40 Ah | sonars switched off, 40 Ah |",
        "|---|---|---|---|---|",
    ]
    for visits in (0, 10, 50):
        average, less = average_ua(lock(visits)), average_ua(lock(visits, 0))
        lines.append(
            f"| {visits} | {average // 1_000} mA | {life_days(average, 7_200)} days | "
            f"{life_days(average, 40_000)} days | {less // 1_000} mA, {life_days(less, 40_000)} days |"
        )
    return lines


if __name__ == "__main__":
    for line in tables():
        print(line)
