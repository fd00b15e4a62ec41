"""The machines of a site through a short day, printed: byte for byte the same on both interpreters.

Runs on CPython and MicroPython.
"""

from lock_controller import barrier, meter, pilot, ultrasonic
from lock_controller.ultrasonic import FREE, TAKEN, UNKNOWN


def lock() -> None:
    """A barrier through a pseudorandom life, with its arm."""
    machine = barrier.Barrier(barrier.Limits(3000, 4000, 1000, 11400, 10800))
    at, motor, now_ms, seed = 0, 0, 0, 12345
    first = second = FREE
    for step in range(4000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        dice = seed >> 16
        if dice % 211 == 0:
            first = (FREE, FREE, TAKEN, UNKNOWN)[dice // 211 % 4]
        if dice % 223 == 0:
            second = (FREE, FREE, TAKEN, UNKNOWN)[dice // 223 % 4]
        if dice % 97 == 0:
            first = second = FREE
        if dice % 401 == 0:
            machine.open()
        if step == 0 or dice % 199 == 0:
            machine.release()
        passed_ms = 20 if dice % 499 else 150
        now_ms += passed_ms
        at = min(max(at + motor * passed_ms, 0), 3000)
        current_ma = 4000 if motor and dice % 307 == 0 else 1000 if motor else 0
        senses = barrier.Senses(at < 10, at > 2990, current_ma, first, second, False, 12000)
        was = machine.state
        motor = machine.tick(senses, now_ms)
        if machine.state != was:
            print(now_ms, barrier.NAMES[was], barrier.NAMES[machine.state], barrier.FAULTS[machine.fault], at)


def charger() -> None:
    """Duty cycles, and a pilot through what cars say."""
    print([pilot.duty_for(ma) for ma in range(5000, 90000, 1250)])
    print([pilot.current_at(ppm) for ppm in range(0, 1000001, 12500)])
    machine = pilot.Pilot(32000)
    gauge = meter.PulseMeter(7400, 1000)
    now_ms = 0
    for letter, count, word in (
        ("A", 20, 0), ("B", 50, 16000), ("C", 200, 0), ("A", 10, 0), ("C", 60, 0), ("B", 30, 0), ("E", 30, 0),
        ("A", 80, 0), ("B", 20, 32000), ("C", 200, 0), ("C", 400, -1), ("B", 20, 0), ("A", 80, 0),
    ):  # fmt: skip
        if word > 0:
            machine.allow(word)
        elif word < 0:
            machine.deny()
        mv = {"A": 12000, "B": 9000, "C": 6000, "E": 0}[letter]
        for _ in range(count):
            now_ms += 20
            was = machine.state
            drive = machine.tick(pilot.Levels(mv, -12000, machine.is_closed, gauge.is_fine), now_ms)
            gauge.watch(drive.is_closed, now_ms)
            gauge.count(1 if drive.is_closed and now_ms % 500 == 0 else 0, now_ms)
            if machine.state != was:
                print(now_ms, letter, pilot.NAMES[machine.state], drive, gauge.energy_wh)
    print(meter.ask(1, 0x0156), meter.crc16(b"123456789"))
    print(meter.answer(bytes.fromhex("010404449a5000f35b"), 1))


def bay() -> None:
    """Echoes through the filter."""
    ranger = ultrasonic.Ranger(ultrasonic.Span(2000, 150))
    now_ms = 0
    for number in range(400):
        now_ms += 60 if number % 50 else 2000
        echo_us = 11650 + number * 7 % 23 - (8000 if number // 60 % 2 else 0)
        if number % 7 == 0 or 300 < number < 320:
            echo_us = -1
        ranger.feed(echo_us, -20000 + number * 150, now_ms)
        if number % 5 == 0:
            print(number, ranger.distance_mm, ranger.state(now_ms), ranger.trouble)


if __name__ == "__main__":
    lock()
    charger()
    bay()
