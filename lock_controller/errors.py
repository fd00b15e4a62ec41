"""What can be wrong with the data that a machine of a site is built from, or is asked to do.

Runs on CPython and MicroPython.  What sensors say is never an error: that a reading means nothing is itself a
reading (`UNKNOWN`), and leads to a state.  Errors are for whoever sets a machine up.

    SiteError
      +- LimitsError    limits and times that no machine can keep; correct the board's data
      +- ReadingError   bytes of a meter that are no reading of it; ask it again
"""


class SiteError(Exception):
    """The root of this tree."""


class LimitsError(SiteError):
    """Limits that contradict themselves or the standard; the text names the one to correct."""


class ReadingError(SiteError):
    """The bytes are not the answer to what was asked; the text says how they differ."""
