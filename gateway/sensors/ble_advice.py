"""What an error of BlueZ, bleak or D-Bus means, and what to do about it, for a person to read.

Runs on CPython.  Pure.
"""

from __future__ import annotations

NO_BUS = "there is no D-Bus, through which Linux does Bluetooth; on Debian: sudo apt install dbus bluez"
NO_BLUEZ = "Linux's Bluetooth service does not run; on Debian: sudo apt install bluez"
NO_ADAPTER = "there is none such, or it has no power; see: bluetoothctl list, bluetoothctl power on"
NOT_ALLOWED = "not allowed; run: sudo usermod -aG bluetooth $USER, and log in anew"

_BY_TEXT = (
    ("org.freedesktop.DBus.Error.ServiceUnknown", NO_BLUEZ),
    ("org.freedesktop.DBus.Error.NameHasNoOwner", NO_BLUEZ),
    ("org.freedesktop.DBus.Error.AccessDenied", NOT_ALLOWED),
    ("org.bluez.Error.NotReady", NO_ADAPTER),
    ("adapter", NO_ADAPTER),
)
"""(what the error's text has, in lower or upper case; what it means): the first that fits."""


def say(error: Exception) -> str:
    """The error's kind and text, and what it means where that is known."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        # Only a socket of D-Bus is ever opened.
        return NO_BUS
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    for part, meaning in _BY_TEXT:
        if part.lower() in text.lower():
            return f"{text.rstrip('.')}: {meaning}"
    return text
