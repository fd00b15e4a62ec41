"""What can be wrong with bytes of a car, and with what we ask of it.

Runs on CPython and MicroPython.

    ObdError                everything this folder raises
    |- FrameError           a CAN frame, or its text or wire form, breaks ISO 11898-1
    |- ResponseError        an ECU's answer is not what its service says it must be
    |  `- NegativeResponse  the ECU has refused, and says why
    |- NoAnswer             nobody answers, and no other question would be
    |- RequestError         we asked for something impossible; fix the caller
    |  |- AddressError      no such ISO-TP address
    |  |- MessageTooLong    longer than the address, or the peer's standard, allows
    |  `- NotReady          the machine is busy, or was not started
    `- TableError           a table of values, or a formula in it, cannot be read
"""


class ObdError(Exception):
    """Root of all errors of this folder."""


class FrameError(ObdError):
    """These values, this text or these bytes are no CAN frame; the message says which rule is broken."""


class ResponseError(ObdError):
    """An ECU's answer breaks its service's format; the message says where."""


class NegativeResponse(ResponseError):
    """The ECU has refused: `service` asked for, `code` and its name in ISO 14229-1."""

    def __init__(self, service: int, code: int, name: str) -> None:
        super().__init__(f"service {service:02X} was refused: {name} ({code:02X})")
        self.service = service
        self.code = code
        self.name = name


class NoAnswer(ObdError):
    """No car answers: `problem` is one of `obd/query.py`, `detail` what the adapter or bus said."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(f"{problem}: {detail}" if detail else problem)
        self.problem = problem
        self.detail = detail


class RequestError(ObdError):
    """What was asked for cannot be; the caller must be fixed."""


class AddressError(RequestError):
    """These numbers make no ISO-TP address."""


class MessageTooLong(RequestError):
    """`size` bytes are more than the `size_max` that can go this way."""

    def __init__(self, size: int, size_max: int) -> None:
        super().__init__(f"{size} bytes are not within 1 to {size_max}, which is what can be sent this way")
        self.size = size
        self.size_max = size_max


class NotReady(RequestError):
    """The machine cannot take this now; the message says what it waits for."""


class TableError(ObdError):
    """A table or a formula is wrong; the message names the place."""
