"""What can be wrong on a board's side of a link; both ends use it.

Runs on CPython and MicroPython.

    DeviceError
      +- FrameError      the link brought what is no frame, or not the next one: hang up, connect anew
      +- SealError       a sealed message that does not open, or too many of them: hang up, prove anew
      +- CommandError    a request that is answered with a reason and no more
      +- SettingError    settings that do not exist, or that cannot be so; nothing was changed
      +- ProvisionError  the provisioning file is not one of ours: write it anew, cpc device provision

What is wrong with keys, grants and handshakes is PufError (puf/errors.py).
"""


class DeviceError(Exception):
    """The root of this tree."""


class FrameError(DeviceError):
    """The link brought what is no frame, or not the next one; nothing of the message is kept."""


class SealError(DeviceError):
    """A sealed message does not open; nothing of it may be used, and the session is over."""


class CommandError(DeviceError):
    """A request that is answered with a reason and no more.  `command`, `reason`: int (commands.py)."""

    def __init__(self, command: int, reason: int) -> None:
        super().__init__(f"command {command} was refused: reason {reason}")
        self.command = command
        self.reason = reason


class SettingError(DeviceError):
    """Settings that do not exist, or that cannot be so; nothing was changed."""


class ProvisionError(DeviceError):
    """The provisioning file is none of ours; write it anew with `cpc device provision`."""
