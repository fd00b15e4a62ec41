"""A simulated car that tests plug in: on a pty, on TCP, or on python-can's virtual bus.

Runs on CPython.  It lives in a thread of the test's own process, so a test can turn its ignition and pull its
plug at a moment that it knows.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import can

from obd.can_frame import EXTENDED, CanFrame
from obd.ecu import SimulatedCar
from obd.ecu_adapter import SimulatedAdapter
from obd.ecu_bus import SimulatedBusCar
from obd.ecu_io import PtyPort


class PluggedCar:
    """A car whose adapter answers on a pty that has one name for ever."""

    def __init__(self, link: Path, quirks: frozenset[str] = frozenset()) -> None:
        self.path = str(link)
        self.car = SimulatedCar()
        self.commands: list[bytes] = []
        """Everything that was written to the adapter."""
        self.is_mute = False
        """The adapter takes commands and says nothing."""
        self._link = link
        self._quirks = quirks
        self._stop_pipe = (-1, -1)
        self._thread: threading.Thread | None = None

    def plug(self) -> None:
        """Into the socket; the adapter starts."""
        port = PtyPort(self._link)
        self._stop_pipe = os.pipe()
        self._thread = threading.Thread(target=self._serve, args=(port, self._stop_pipe[0]), daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Out of the socket; the port is gone."""
        thread, self._thread = self._thread, None
        if thread is not None:
            os.write(self._stop_pipe[1], b"x")
            thread.join()
            for fd in self._stop_pipe:
                os.close(fd)

    def _serve(self, port: PtyPort, stop_fd: int) -> None:
        adapter = SimulatedAdapter(self.car, self._quirks)
        while True:
            ready, _, _ = select.select([port.fd, stop_fd], [], [])
            if stop_fd in ready:
                port.close()
                return
            data = os.read(port.fd, 4096)
            self.commands.append(data)
            output = adapter.receive(data, 30_000)
            if not self.is_mute:
                os.write(port.fd, output)


@contextmanager
def plugged_car(folder: Path, *quirks: str) -> Iterator[PluggedCar]:
    """A car that is plugged in until the end."""
    car = PluggedCar(folder / "adapter", frozenset(quirks))
    car.plug()
    try:
        yield car
    finally:
        car.unplug()


@contextmanager
def tcp_car() -> Iterator[tuple[int, list[socket.socket]]]:
    """(port on 127.0.0.1, clients that have come) of an adapter that serves one client after the other."""
    car = SimulatedCar()
    clients: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            adapter = SimulatedAdapter(car)
            clients.append(client)
            # A test may hang up from either side.
            with client, contextlib.suppress(OSError):
                while data := client.recv(4096):
                    client.sendall(adapter.receive(data, 30_000))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], clients
    finally:
        # Wakes accept, which closing alone does not.
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@contextmanager
def bus_car(*, is_29_bit: bool = False) -> Iterator[tuple[str, SimulatedCar]]:
    """(channel of python-can's virtual bus, car) of a car on a bus."""
    channel = f"obd-{time.monotonic_ns()}"
    car = SimulatedCar()
    on_bus = SimulatedBusCar(car, is_29_bit=is_29_bit)
    bus = can.Bus(interface="virtual", channel=channel)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            message = bus.recv(0.05)
            now_us = time.monotonic_ns() // 1000
            sent = on_bus.tick(now_us)
            if message is not None:
                flags = EXTENDED if message.is_extended_id else 0
                sent += on_bus.receive(CanFrame(message.arbitration_id, flags, bytes(message.data)), now_us)
            for arbitration_id, flags, data in sent:
                bus.send(
                    can.Message(
                        arbitration_id=arbitration_id, is_extended_id=bool(flags & EXTENDED), data=data
                    )
                )

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield channel, car
    finally:
        stop.set()
        thread.join()
        bus.shutdown()
