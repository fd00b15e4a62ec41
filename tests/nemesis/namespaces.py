"""A network namespace for each node, where that is permitted: its own kernel interface, which can go down.

Runs on CPython, on Linux, as root.  A proxy can only do what a peer's TCP does; a link that is down loses
packets, and both kernels send them again, later and later, without a word to the node.  Each namespace is
held open by a descriptor of this process and by nothing else: however that ends, they and their interfaces
are gone.

    node  10.213.y.z+2 | eth0 -- cpc<y>n<z> | 10.213.y.z+1  the proxies and clients of this process
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""Source: unshare(2), linux/sched.h."""
NETWORK = "10.213"
ADDRESSES_EACH = 4
"""Of one link: a network of two hosts."""
PLACES = 64
"""Links that have addresses in one network of 256."""


class NotPermitted(Exception):
    """This process may make no namespaces, or the machine has no `ip`."""


class Namespaces:
    """One for each name.  Raises NotPermitted; `close` at the end."""

    def __init__(self, names: list[str]) -> None:
        assert len(names) <= PLACES
        self._subnet = f"{NETWORK}.{os.getpid() % 256}"
        self._places = {name: place for place, name in enumerate(names)}
        self._descriptors: dict[str, int] = {}
        try:
            for name in names:
                self._make(name)
        except (OSError, NotPermitted) as error:
            self.close()
            raise NotPermitted(str(error)) from error

    def close(self) -> None:
        """Let them go; their interfaces go with them, once no process is in them."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def address(self, name: str) -> str:
        """Of the node, inside."""
        return f"{self._subnet}.{self._places[name] * ADDRESSES_EACH + 2}"

    def outside(self, name: str) -> str:
        """Of this process, as that node sees it."""
        return f"{self._subnet}.{self._places[name] * ADDRESSES_EACH + 1}"

    def path(self, name: str) -> Path:
        """For `enter`, in another process."""
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptors[name]}")

    def pull(self, name: str) -> None:
        """Its link goes down: packets are lost, and nobody is told."""
        _ip("link", "set", self._interface(name), "down")

    def plug(self, name: str) -> None:
        """Its link is up again."""
        _ip("link", "set", self._interface(name), "up")

    def _interface(self, name: str) -> str:
        return f"cpc{os.getpid() % 256}n{self._places[name]}"

    def _make(self, name: str) -> None:
        self._descriptors[name] = _new_namespace()
        path, outer = str(self.path(name)), self._interface(name)
        _ip("link", "add", "name", outer, "type", "veth", "peer", "name", "eth0", "netns", path)
        _ip("address", "add", f"{self.outside(name)}/30", "dev", outer)
        _ip("link", "set", outer, "up")
        for arguments in (
            ("address", "add", f"{self.address(name)}/30", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
        ):
            _run("nsenter", f"--net={path}", "ip", *arguments)


def enter(path: Path) -> None:
    """This process is in that namespace from now on.  Raises OSError."""
    with path.open("rb") as file:
        _checked(_libc().setns(file.fileno(), CLONE_NEWNET), str(path))


def _new_namespace() -> int:
    """A descriptor that keeps it.  A thread goes there, for this process is to stay where it is."""
    found: list[int | OSError] = []

    def make() -> None:
        try:
            _checked(_libc().unshare(CLONE_NEWNET), "a new network namespace")
            found.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    (result,) = found
    if isinstance(result, OSError):
        raise result
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int, what: str) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermitted(f"{' '.join(command)}: {done.stderr.strip()}")
