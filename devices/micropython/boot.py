"""What a board runs first: reads its silicon, then chooses the slot of firmware that starts.

Runs on MicroPython.  No update ever writes this file, nor those in loader/, which are all that it needs
besides the interpreter.  In a folder that is not "/" it does the same there: simulated flash.

Safe mode is the prompt of the serial console without a watchdog: when a file `safe` lies beside this one, or
neither slot is whole.
"""

import gc
import os
import sys

import machine

# Garbage between the code would leave no room in one piece.
gc.threshold(4096)  # type: ignore[attr-defined]
_root = os.getcwd()
if not _root.endswith("/"):
    _root += "/"
sys.path.insert(0, _root + "loader")

from puf.errors import SourceError  # noqa: E402
from puf.puf_esp32 import Esp32RtcMemory  # noqa: E402

_readout, _error = None, ""
try:
    # Before anything else of ours: the next start without a power cut finds zeros there.
    _readout = Esp32RtcMemory(machine).read()
except SourceError as error:
    _error = str(error)

from devices.micropython import boot_state, slots  # noqa: E402

boot_state.readout = _readout
boot_state.readout_error = _error
boot_state.root = _root
boot_state.reset = machine.reset
boot_state.loader = slots.LOADER
WATCHDOG_MS = 30_000
"""More than the longest thing that a role does without feeding it: a signature check."""


def _start() -> None:
    if "safe" in os.listdir(_root):
        print("safe mode: the file `safe` is there; remove it and start again")
        return
    flash = slots.Slots(_root)
    # A battery pays for each wake-up; it is enough to look at every byte when power comes.
    chosen = flash.choose(machine.reset_cause() != machine.DEEPSLEEP_RESET)
    marker = None if chosen == slots.NONE else flash.marker(chosen)
    if marker is None:
        print("safe mode: neither slot is whole; copy the firmware again, make flash")
        return
    boot_state.slot = slots.NAMES[chosen]
    boot_state.role = marker.role.decode()
    boot_state.version = marker.version
    boot_state.is_trial = flash.state.is_trial and chosen == flash.state.pending
    boot_state.watchdog = machine.WDT(timeout=WATCHDOG_MS)
    sys.path[0] = _root + boot_state.slot


_start()
if boot_state.slot:
    # The slot has its own puf and devices; all but the one module that both share is forgotten.
    for _name in list(sys.modules):
        if _name.split(".")[0] in ("puf", "devices") and _name != "devices.micropython.boot_state":
            del sys.modules[_name]
    del Esp32RtcMemory, SourceError, slots
del _readout
gc.collect()
