"""A simulated car to plug in: an adapter on a pty or TCP port, or the bare car on a CAN bus.

Runs on CPython.  For POSIX systems.  Prints where it is: a pty's path stands for /dev/ttyUSB0.  Lines on
standard input play with it: `off` and `on` turn the ignition, `unplug` and `plug` the adapter, `quit` ends.
"""

from __future__ import annotations

import argparse
import errno
import os
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from obd.can_frame import EXTENDED, CanFrame
from obd.ecu import SimulatedCar
from obd.ecu_adapter import QUIRKS, SimulatedAdapter
from obd.ecu_bus import SimulatedBusCar

DESCRIPTION = """A simulated car to plug in: an adapter on a pty or TCP port, or the bare car on a CAN bus.
Prints where it is.  Lines on standard input play with it: `off` and `on` turn the ignition,
`unplug` and `plug` the adapter, `quit` ends."""
READ_BYTES = 4096
IDLE_MS = 200
EXAMPLES = """examples:
  cpc obd simulate --link car      on a pty; `cpc obd list car` reads it
  cpc obd simulate --tcp 35000     on 127.0.0.1, as an adapter with WiFi: obd:tcp://127.0.0.1:35000
  cpc obd simulate --can vcan0     on a CAN bus: obd+can:vcan0"""


class PtyPort:
    """A pseudo terminal whose far end is a serial port for others."""

    def __init__(self, link: Path | None = None) -> None:
        """link: a symbolic link to keep pointing at the port, so that it has one name for ever.

        Raises FileExistsError where something else has that name."""
        if link is not None and link.exists() and not link.is_symlink():
            raise FileExistsError(
                errno.EEXIST, "is there and is no link of ours; choose another name", str(link)
            )
        self.fd, self._far_end = os.openpty()
        # Kept open, or every read fails until somebody opens the port.
        tty.setraw(self._far_end, termios.TCSANOW)
        self.path = os.ttyname(self._far_end)
        self._link = link
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(self.path)

    def close(self) -> None:
        """Pulls the plug."""
        os.close(self.fd)
        os.close(self._far_end)
        if self._link is not None:
            self._link.unlink(missing_ok=True)


class Bench:
    """A simulated car, and what lines on standard input do to it."""

    def __init__(self, car: SimulatedCar, latency_ms: int) -> None:
        self.car = car
        self.latency_ms = latency_ms
        self._is_plugged = True
        self._is_over = False
        self._start_ns = time.monotonic_ns()
        self._has_input = True

    def is_plugged(self) -> bool:
        """The adapter can be reached."""
        return self._is_plugged and not self._is_over

    def is_over(self) -> bool:
        """Somebody wants to end."""
        return self._is_over

    def now_us(self) -> int:
        """Since the engine was started."""
        return (time.monotonic_ns() - self._start_ns) // 1000

    def wait(self, fds: list[int], timeout_ms: int) -> list[int]:
        """Those of `fds` that can be read; obeys standard input meanwhile."""
        watched = [*fds, 0] if self._may_read() else fds
        ready, _, _ = select.select(watched, [], [], timeout_ms / 1000)
        if 0 in ready:
            self._obey()
        return [fd for fd in ready if fd != 0]

    def _may_read(self) -> bool:
        """Somebody can type; a terminal stops who reads from it in the background."""
        return self._has_input and (not os.isatty(0) or os.tcgetpgrp(0) == os.getpgrp())

    def _obey(self) -> None:
        line = os.read(0, 256).decode("ascii", "replace")
        if not line:
            # Nobody holds the other end; the car drives on.
            self._has_input = False
        for word in line.split():
            if word in ("on", "off"):
                self.car.is_on = word == "on"
            elif word in ("plug", "unplug"):
                self._is_plugged = word == "plug"
            elif word == "quit":
                self._is_over = True
            else:
                print(f"unknown: {word}; known are on, off, plug, unplug, quit", file=sys.stderr)


def answer_adapter(fd: int, adapter: SimulatedAdapter, bench: Bench) -> bool:
    """Reads once and answers; False when the other side has gone."""
    try:
        data = os.read(fd, READ_BYTES)
        output = adapter.receive(data, bench.now_us() // 1000)
        if output and bench.latency_ms:
            time.sleep(bench.latency_ms / 1000)
        while output:
            output = output[os.write(fd, output) :]
    except OSError:
        return False
    return bool(data)


@contextmanager
def _plugged_in(link: Path | None) -> Iterator[PtyPort]:
    """A port that is closed whenever a signal comes, be it while its link is made."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        port = PtyPort(link)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield port
        finally:
            port.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_pty(bench: Bench, new_adapter: Callable[[], SimulatedAdapter], link: Path | None) -> None:
    """An adapter on a pty, until told to stop."""
    while not bench.is_over():
        if not bench.is_plugged():
            bench.wait([], IDLE_MS)
            continue
        with _plugged_in(link) as port:
            print(link or port.path, flush=True)
            adapter = new_adapter()
            while bench.is_plugged():
                if port.fd in bench.wait([port.fd], IDLE_MS):
                    answer_adapter(port.fd, adapter, bench)


def run_tcp(bench: Bench, new_adapter: Callable[[], SimulatedAdapter], port: int) -> None:
    """An adapter like those with WiFi, on 127.0.0.1, one client at a time, until told to stop."""
    with socket.create_server(("127.0.0.1", port)) as server:
        print(f"127.0.0.1:{server.getsockname()[1]}", flush=True)
        while not bench.is_over():
            if not bench.wait([server.fileno()], IDLE_MS):
                continue
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            adapter = new_adapter()
            with client:
                is_there = True
                while is_there and bench.is_plugged():
                    if client.fileno() in bench.wait([client.fileno()], IDLE_MS):
                        is_there = answer_adapter(client.fileno(), adapter, bench)


def run_can(bench: Bench, car: SimulatedBusCar, interface: str, channel: str) -> None:
    """The car on a bus of python-can, until told to stop."""
    import can

    try:
        bus = can.Bus(interface=interface, channel=channel)
    except can.CanError as error:
        raise OSError(f"{interface} {channel}: {error}") from error
    with bus:
        print(f"{interface} {channel}", flush=True)
        while not bench.is_over():
            bench.wait([], 0)
            due_us = car.deadline_us
            left_us = IDLE_MS * 1000 if due_us is None else max(due_us - bench.now_us(), 0)
            message = bus.recv(min(left_us, IDLE_MS * 1000) / 1e6)
            sent = car.tick(bench.now_us())
            if message is not None and not message.is_error_frame and not message.is_remote_frame:
                flags = EXTENDED if message.is_extended_id else 0
                frame = CanFrame(message.arbitration_id, flags, bytes(message.data))
                sent += car.receive(frame, bench.now_us())
            for arbitration_id, flags, data in sent if bench.is_plugged() else []:
                bus.send(
                    can.Message(
                        arbitration_id=arbitration_id, is_extended_id=bool(flags & EXTENDED), data=data
                    )
                )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 0 to 65535")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a simulated car can be told when it starts."""
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--pty", action="store_true", help="an ELM327 on a pty; this is what it is anyway")
    way.add_argument("--tcp", type=_port, metavar="PORT", help="an ELM327 on 127.0.0.1; 0 takes a free port")
    way.add_argument("--can", metavar="CHANNEL", help="the bare car on a CAN bus, such as vcan0")
    parser.add_argument("--link", type=Path, help="symbolic link that always names the pty")
    parser.add_argument("--interface", default="socketcan", help="of python-can, for --can [socketcan]")
    parser.add_argument("--29-bit", dest="is_29_bit", action="store_true", help="ids of 29 bits")
    parser.add_argument(
        "--quirk", action="append", default=[], choices=sorted(QUIRKS), help="a vice of the adapter"
    )
    parser.add_argument("--latency-ms", type=int, default=0, help="what each answer takes longer [0]")


def run(args: argparse.Namespace) -> int:
    """Runs one simulated car until it is told to stop."""
    car = SimulatedCar()
    bench = Bench(car, args.latency_ms)

    def new_adapter() -> SimulatedAdapter:
        return SimulatedAdapter(car, frozenset(args.quirk), is_29_bit=args.is_29_bit)

    # Who ends it by a signal wants the link to be gone, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if args.tcp is not None:
            run_tcp(bench, new_adapter, args.tcp)
        elif args.can is not None:
            run_can(bench, SimulatedBusCar(car, is_29_bit=args.is_29_bit), args.interface, args.can)
        else:
            run_pty(bench, new_adapter, args.link)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"the simulated car: {error}", file=sys.stderr)
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs one simulated car."""
    parser = argparse.ArgumentParser(
        prog="python -m obd.ecu_io",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
