"""What boot.py found, for the firmware that it starts.

Runs on CPython and MicroPython.  It is loaded from loader/ and stays when the rest of loader/ is forgotten,
so the firmware in a slot sees this very module by its usual name.
"""

import sys

readout: "bytes | None" = None
"""The power-up pattern of the chip; None after a start that did not cut its power."""
readout_error = ""
"""Why there is none."""
root = ""
"""Folder of the flash, with "/" at its end: "/" on a board."""
loader = 0
"""What boot.py and its files can do: slots.LOADER of the slots.py in loader/."""
slot = ""
"""The slot that runs, "a" or "b"; empty in safe mode."""
role = ""
"""What this firmware is: lock, charger, sensor."""
version = 0
"""Of the firmware that runs."""
is_trial = False
"""Whether it has to confirm itself (devices/micropython/slots.py)."""
reset = sys.exit
"""Starts the board anew: machine.reset, as boot.py sets it."""
watchdog: "object | None" = None
"""Restarts the board unless its `feed()` is called often enough; None in safe mode."""


def run() -> None:
    """Starts the role: `main()` of main_<role>.py; when that returns, the board starts anew.

    In safe mode it returns at once, to the prompt of the serial console.  So does what the role raises: it
    shows there, until the watchdog starts the board anew.
    """
    if slot:
        name = "devices.micropython.main_" + role
        __import__(name, None, None, ("main",)).main()
        reset()
