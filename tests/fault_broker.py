"""A broker in a process of its own, to be ended by a signal; its parent keeps what it has taken.

Runs on CPython, on Linux.  Each message is handed to the parent before it is acknowledged, so that what was
acknowledged is known whatever becomes of the process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from tests.gateway.mqtt_broker import Publish, TestBroker


def context() -> ForkServerContext:
    """Processes that start in no time, as what they need is loaded once."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["__main__", "tests.fault_broker", "tests.mqtt_kill_victim"])
    return found


Answer = Callable[[str], tuple[str, bytes] | None]
"""What is published, (topic, payload), when something comes on a topic; a function of a module."""


def serve(port: int, pipe: multiprocessing.connection.Connection, answer: Answer | None) -> None:
    """In the process: says its port, and then every message, (topic, payload)."""

    async def run() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

        def taken(publish: Publish) -> None:
            pipe.send((publish.topic, publish.payload))
            if answer is not None and (said := answer(publish.topic)) is not None:
                broker.publish(*said)

        async with TestBroker(port=port, on_taken=taken) as broker:
            pipe.send(broker.port)
            await stopped.wait()

    asyncio.run(run())


@dataclass
class BrokerProcess:
    """Ended and started again at the same port."""

    port: int = 0
    answer: Answer | None = None
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    """(topic, payload) of all messages, repetitions included, in order."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever something was taken."""
    _process: BaseProcess | None = None
    _pipe: multiprocessing.connection.Connection | None = None

    @property
    def is_running(self) -> bool:
        """It was started, and not ended since."""
        return self._process is not None

    async def start(self) -> None:
        """Returns when it listens."""
        self._pipe, theirs = context().Pipe(duplex=False)
        self._process = context().Process(target=serve, args=(self.port, theirs, self.answer), daemon=True)
        self._process.start()
        theirs.close()
        self.port = await asyncio.to_thread(self._pipe.recv)
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._read)

    async def end(self, number: signal.Signals) -> None:
        """Sends the signal, and returns when the process is no more."""
        assert self._process is not None
        assert self._process.pid is not None
        (self._process.kill if number == signal.SIGKILL else self._process.terminate)()
        await asyncio.to_thread(self._process.join)
        self._process = None
        # What it had said is still to be read.
        while self._pipe is not None:
            self._read()

    def _read(self) -> None:
        assert self._pipe is not None
        try:
            self.taken.append(self._pipe.recv())
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._pipe.close()
            self._pipe = None
        self.news.set()
