"""A gateway in a process of its own, exactly as `cpc run` makes it, and what its memory is.

Runs on CPython, on Linux.  `with GatewayProcess(site) as gateway:` starts it and, at the end, stops it as an
operator does, with SIGTERM; `stop` says with which status it left.
"""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from gateway.cli_gateway import CONFIG_NAME

STOP_TIMEOUT_S = 60.0
COMMAND = "import sys; from gateway.cli import main; sys.exit(main())"
"""What the script `cpc` does; that script need not be installed."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process takes of the machine's memory."""

    rss_kib: int
    """All pages that it has in memory."""
    pss_kib: int
    """The same, pages of libraries divided among the processes that use them."""


def memory_of(pid: int) -> Memory:
    """Of a running process.  Source: proc(5), /proc/pid/smaps_rollup."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name] = int(value)
    return Memory(fields["Rss:"], fields["Pss:"])


class GatewayProcess:
    """`cpc run` on a site."""

    def __init__(self, site: Path) -> None:
        self._site = site
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "GatewayProcess":
        config = str(self._site / CONFIG_NAME)
        with (self._site / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "run", "-c", config], stdout=log, stderr=log
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        assert self._process is not None
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._site / "gateway.log").read_text()

    def memory(self) -> Memory:
        """What it takes now.  Raises RuntimeError, with what it has said, when it has ended."""
        assert self._process is not None
        if not self.is_running:
            raise RuntimeError(f"the gateway has ended:\n{self.log}")
        return memory_of(self._process.pid)

    def stop(self) -> None:
        """Has it seal, store and anchor all it has, and end.  Raises RuntimeError when it cannot."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(STOP_TIMEOUT_S)
        if status:
            raise RuntimeError(f"the gateway left with status {status}:\n{self.log}")
