"""Nodes as processes of their own: `cpc node run`, to be killed, stopped and misled about the time.

Runs on CPython, on Linux.  A node's process is forked from a server that has loaded the program once, so
that eight of them start in no time; what it then runs is the command line's own code.  Its one wall clock,
Python's `time.time_ns`, is shifted by a number that lies in shared memory; the monotonic clock is left alone,
as by a person who sets the time.  A node dies with the process that forks it.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import multiprocessing
import os
import signal
import struct
import sys
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from gateway.cli import main
from tests.nemesis import namespaces

CLOCK = struct.Struct("<q")
PR_SET_PDEATHSIG = 1
"""Source: prctl(2), linux/prctl.h."""
END_TIMEOUT_S = 30.0


def context() -> ForkServerContext:
    """Processes that start in no time."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.nemesis.processes", "chain_node.full_node"])
    return found


def die_with_parent() -> None:
    """Called in a new process: it gets SIGKILL when the one that has started it ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run_node(folder: str, namespace: str | None) -> None:
    """What the process does.  namespace: whose network it has; None: this machine's."""
    die_with_parent()
    if namespace:
        namespaces.enter(Path(namespace))
    path = Path(folder)
    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    clock = _mapped(path.with_suffix(".clock"))
    true_ns = time.time_ns
    time.time_ns = lambda: true_ns() + CLOCK.unpack_from(clock)[0]
    sys.exit(main(["node", "run", folder]))


class NodeProcess:
    """One node's process, again and again.  Beside its folder lie its log and its clock's error."""

    def __init__(self, folder: Path, namespace: Path | None = None) -> None:
        self.folder = folder
        self._namespace = str(namespace) if namespace else None
        folder.with_suffix(".clock").write_bytes(CLOCK.pack(0))
        self._clock = _mapped(folder.with_suffix(".clock"))
        self._process: BaseProcess | None = None
        self.is_stopped = False
        """By SIGSTOP."""

    @property
    def is_running(self) -> bool:
        """Whether there is a process, also one that is stopped."""
        return self._process is not None and self._process.is_alive()

    @property
    def log(self) -> str:
        """What it has said, all its lives long."""
        path = self.folder.with_suffix(".log")
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        """Begin a life."""
        assert not self.is_running
        self._process = context().Process(target=run_node, args=(str(self.folder), self._namespace))
        self._process.start()

    def kill(self) -> None:
        """SIGKILL, whatever it is at; it is gone afterwards."""
        if self._process:
            self._process.kill()
            self._process.join()
        self.is_stopped = False

    def stop(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.is_stopped = False

    async def end(self) -> int:
        """SIGTERM, as an operator does; the exit status.  Raises TimeoutError when it does not obey."""
        assert self._process
        if self._process.is_alive():
            self._process.terminate()
        async with asyncio.timeout(END_TIMEOUT_S):
            await asyncio.to_thread(self._process.join)
        status = self._process.exitcode
        assert status is not None
        return status

    def shift_clock(self, shift_ms: int) -> None:
        """Set its wall clock off by so much."""
        CLOCK.pack_into(self._clock, 0, shift_ms * 1_000_000)

    def _signal(self, number: int) -> None:
        assert self._process
        assert self._process.pid
        assert self.is_running
        os.kill(self._process.pid, number)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), CLOCK.size)
