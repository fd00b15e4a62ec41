"""`cpc` as a user types it: in this process, or in one of its own.

Runs on CPython.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli_output import EXIT_OK

SECONDS = 20
"""How long the simulated car has driven."""
RATE_HZ = 300
LINKS = [
    "chunk",
    "decrypted with this key",
    "record in the block",
    "leaf of the ciphertext tree",
    "leaf of the plaintext tree",
    "roots in the transaction",
    "transaction in the block",
    "block certified",
]


class Cpc:
    """Runs a command and gives what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""
        """What the last command wrote to standard error."""

    def __call__(self, *arguments: object, exit_code: int = EXIT_OK) -> str:
        """Standard output; the command must leave with `exit_code`."""
        self._capsys.readouterr()
        got = main([str(argument) for argument in arguments])
        out, self.err = self._capsys.readouterr()
        assert got == exit_code, (out, self.err)
        return out

    def lines(self, *arguments: object, exit_code: int = EXIT_OK) -> list[Any]:
        """The JSON values that the command printed."""
        return [json.loads(line) for line in self(*arguments, "--json", exit_code=exit_code).splitlines()]


def users() -> dict[str, str]:
    """The environment of somebody who only uses the program: its output is buffered, for one."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONPATH" or not name.startswith("PYTHON")
    }


def command(*arguments: object) -> list[str | bytes]:
    """What starts `cpc` in a process of its own."""
    return [sys.executable, "-m", "gateway", *(os.fsencode(str(argument)) for argument in arguments)]


@contextmanager
def started(*arguments: object, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, its outputs piped; ended if it does not end by itself."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=users()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own, which has ended."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": users()} | options
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
    return run(command(*arguments), check=False, timeout=60, **options)


def line_with(stream: Any, text: str) -> str:
    """The next line of a process's output that has this text in it."""
    for line in stream:
        if text in line:
            return str(line)
    raise AssertionError(f"it ended without a line with {text!r}")
