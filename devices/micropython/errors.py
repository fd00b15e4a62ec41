"""What can be wrong on a board's side of a link; both ends use it.

Runs on CPython and MicroPython.

    DeviceError
      +- FrameError      the link brought what is no frame, or not the next one: hang up, connect anew
      +- SealError       a sealed message that does not open, or too many of them: hang up, prove anew
      +- CommandError    a request that is answered with a reason and no more
      +- SettingError    settings that do not exist, or that cannot be so; nothing was changed
      +- ProvisionError  the provisioning file is not one of ours: write it anew, cpc device provision
      +- FirmwareError   a statement or list of firmware that its publisher cannot have made with our tools
      +- UpdateError     an update that is refused or has failed; what runs, runs on

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


class FirmwareError(DeviceError):
    """A signed statement or list of files is none of ours; `make firmware`, `cpc firmware sign` make one."""


class UpdateError(DeviceError):
    """An update is refused, or has failed; what runs, runs on.  `code`: int, of ota_receiver.py."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
