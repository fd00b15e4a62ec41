"""What can be wrong with bytes of a car.

Runs on CPython and MicroPython.

    ObdError            everything this folder raises
    `- FrameError       a CAN frame, or its text or wire form, breaks ISO 11898-1
"""


class ObdError(Exception):
    """Root of all errors of this folder."""


class FrameError(ObdError):
    """These values, this text or these bytes are no CAN frame; the message says which rule is broken."""
