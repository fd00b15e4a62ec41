"""What a machine of this folder returns: things to do, and things that have happened.

Runs on CPython and MicroPython.
"""


class Action:
    """The root of all; which one it is says KIND, or the class."""

    __slots__ = ()
    KIND = ""
