"""What can go wrong in a test bed, as one tree.

    RigError
    ├── BenchFileError      the file that describes a bench is wrong; names the line and the field
    ├── LacksError          this bench has no such thing; the test that asked for it is skipped
    ├── CommandError        a command of the bench's file (a relay, a USB hub) failed
    ├── ConsoleTimeout      what was awaited on a console did not come; shows what did
    └── BoardError          a board is not in the state that was asked for
        ├── BoardEnded      a simulated board's program left by itself; shows its console
        └── BoardRestarts   a board starts over and over

Runs on CPython.
"""


class RigError(Exception):
    """Base of all errors of the test bed."""


class BenchFileError(RigError):
    """The file that describes a bench is wrong."""

    def __init__(self, path: str, line: int, field: str, problem: str) -> None:
        where = f"{path}:{line}" if line else path
        super().__init__(f"{where}: {field}: {problem}" if field else f"{where}: {problem}")
        self.line = line
        self.field = field


class LacksError(RigError):
    """This bench has no such thing.  No failure: whoever asked for it cannot run here."""

    def __init__(self, who: str, what: str, how_to_add: str = "") -> None:
        super().__init__(f"{who} has no {what}" + (f"; {how_to_add}" if how_to_add else ""))
        self.what = what


class CommandError(RigError):
    """A command of the bench's file failed."""

    def __init__(self, command: str, status: int | None, said: str) -> None:
        how = "did not end" if status is None else f"left with status {status}"
        super().__init__(f"`{command}` {how}; it is from the bench's file, try it by hand. It said: {said!r}")


class ConsoleTimeout(RigError):
    """What was awaited on a console did not come."""

    def __init__(self, board: str, pattern: str, timeout_ms: int, tail: str) -> None:
        super().__init__(f"{board} did not say {pattern!r} within {timeout_ms} ms; its console:\n{tail}")


class BoardError(RigError):
    """A board is not in the state that was asked for."""


class BoardEnded(BoardError):
    """A simulated board's program left by itself, and nothing starts it again."""

    def __init__(self, board: str, status: int, tail: str) -> None:
        super().__init__(f"the program of {board} left with status {status}; its console:\n{tail}")
        self.status = status


class BoardRestarts(BoardError):
    """A board starts over and over, so nothing can be asked of it."""

    def __init__(self, board: str, count: int, tail: str) -> None:
        super().__init__(f"{board} has started {count} times and stays in no state; its console:\n{tail}")
