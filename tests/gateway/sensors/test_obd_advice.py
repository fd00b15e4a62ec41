"""What a user is told when a way to a car cannot be opened, or is lost."""

import errno
import socket

import pytest

from gateway.sensors.obd_advice import losing, opening


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), "No such file or directory; is the adapter plugged in?"),
        (PermissionError(errno.EACCES, "x"), "Permission denied; add yourself to the device's group"),
        (OSError(errno.EBUSY, "x"), "another program has it open"),
        (OSError(errno.ENOTTY, "x"), "this is no serial port"),
        (IsADirectoryError(errno.EISDIR, "x"), "this is no serial port"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "Connection refused; is the port right?"),
        (OSError(errno.EHOSTUNREACH, "x"), "No route to host; is this computer in the adapter's WiFi?"),
        (TimeoutError("timed out"), "nobody answers there; is this computer in the adapter's WiFi?"),
        (socket.gaierror(-2, "Name or service not known"), "not known; write the adapter's address"),
        (OSError(errno.ENODEV, "x"), "No such device; list the interfaces with: ip link"),
        (OSError(errno.EAFNOSUPPORT, "x"), "this kernel has no CAN"),
        (OSError(errno.EMFILE, "x"), "Too many open files"),
        (OSError("without a number"), "without a number"),
        (RuntimeError("of python-can"), "of python-can"),
    ],
)
def test_what_cannot_be_opened_is_said_with_what_to_do(error: Exception, advice: str) -> None:
    assert advice in opening(error)


def test_what_is_lost_is_called_unplugged_where_it_was() -> None:
    assert losing(OSError(errno.EIO, "x")) == "unplugged (Input/output error)"
    assert losing(OSError("hung up")) == "hung up"
    assert losing(ConnectionResetError(errno.ECONNRESET, "x")) == "Connection reset by peer"
