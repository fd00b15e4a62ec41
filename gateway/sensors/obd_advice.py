"""What to do when a way to a car cannot be opened, or is lost.

Runs on CPython.
"""

from __future__ import annotations

import errno
import os
import socket


def opening(error: Exception) -> str:
    """What went wrong when opening a serial port, a connection or a bus, and what to do."""
    if not isinstance(error, OSError):
        return str(error)
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; write the adapter's address, such as obd:tcp://192.168.0.10:35000"
    if isinstance(error, TimeoutError):
        return "nobody answers there; is this computer in the adapter's WiFi?"
    text = _text(error)
    match error.errno:
        case errno.ENOENT | errno.ENXIO:
            return f"{text}; is the adapter plugged in?  ls /dev/serial/by-id lists the ports"
        case errno.EACCES | errno.EPERM:
            return f"{text}; add yourself to the device's group: sudo usermod -aG dialout $USER, log in anew"
        case errno.EAGAIN | errno.EBUSY:
            return "another program has it open: fuser -v shows which"
        case errno.ENOTTY | errno.EISDIR:
            return "this is no serial port; ls /dev/serial/by-id lists them"
        case errno.ECONNREFUSED:
            return f"{text}; is the port right?  Most adapters with WiFi listen on 35000"
        case errno.EHOSTUNREACH | errno.ENETUNREACH:
            return f"{text}; is this computer in the adapter's WiFi?"
        case errno.ENODEV:
            return f"{text}; list the interfaces with: ip link show type can"
        case errno.EAFNOSUPPORT:
            return f"{text}; this kernel has no CAN: load it with: modprobe can_raw"
    return text


def losing(error: OSError) -> str:
    """Why a way that was open is not any more."""
    if error.errno in (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOENT):
        return f"unplugged ({_text(error)})"
    return _text(error)


def _text(error: OSError) -> str:
    # pyserial's own text says path and error twice.
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
