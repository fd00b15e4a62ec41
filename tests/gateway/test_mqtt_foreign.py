"""The uplink and the source against brokers of others, each in a process of its own on 127.0.0.1.

mosquitto where it is installed; amqtt, which speaks 3.1.1 only, where `make foreign` has fetched it.
"""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config_uplink import UplinkSection
from gateway.sensors.mqtt_source import MqttSource, open_mqtt
from gateway.sensors.source import SYSTEM_CLOCK, SourceUrl
from tests import peers
from tests.gateway.telemetry import can_batch
from tests.gateway.test_uplink import Site, cancelled, open_site
from tests.gateway.waiting import until

TIMEOUT_S = 30.0
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed; on Debian: sudo apt install mosquitto"
)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await story()

    asyncio.run(limited())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A broker in a process of its own, on a port of 127.0.0.1."""

    def __init__(self, folder: Path, program: Path | str, port: int, config: str) -> None:
        folder.mkdir()
        self.port = port
        self._log = folder / "log"
        self._command = [str(program), "-c", str(folder / "config")]
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "config").write_text(config)

    async def start(self) -> None:
        await asyncio.to_thread(self._start)
        await reachable(self.port)

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        await asyncio.to_thread(self._process.wait)


async def reachable(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0)
        else:
            writer.close()
            return


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    await server.start()
    try:
        yield server
    finally:
        await server.end(signal.SIGKILL)


def mosquitto(folder: Path) -> Server:
    """Keeps sessions and messages on its disk, as brokers in the field do."""
    assert MOSQUITTO is not None
    port = free_port()
    config = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n"
        f"persistence true\npersistence_location {folder}/\n"
        "autosave_on_changes true\nautosave_interval 1\n"
    )
    return Server(folder, MOSQUITTO, port, config)


def amqtt(folder: Path, program: Path) -> Server:
    port = free_port()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 20}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    # JSON is YAML.
    return Server(folder, program, port, json.dumps(config))


class Receiver:
    """Reads records by our own source, and drops what it knows by its key."""

    def __init__(self, port: int, version: str) -> None:
        target = f"//127.0.0.1:{port}/cpc/+/+"
        url = SourceUrl(f"mqtt:{target}?v={version}", target, {"v": version, "client_id": "receiver"})
        self.source: MqttSource = open_mqtt(url, "receiver", SYSTEM_CLOCK)
        self.records: dict[tuple[int, int], Any] = {}
        self.keys: set[str] = set()
        self.states: list[str] = []
        self.repeated = 0
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for batch in self.source.batches():
            for value in batch.values:
                self._take(json.loads(value["payload"]))
            self.source.acknowledge(batch)

    def _take(self, message: dict[str, Any]) -> None:
        if "state" in message:
            self.states.append(message["state"])
        elif message["key"] in self.keys:
            self.repeated += 1
        else:
            self.keys.add(message["key"])
            for place, record in enumerate(message["records"]):
                name = (message["boot"], message["seq"] + place)
                assert name not in self.records
                self.records[name] = record

    async def close(self) -> None:
        await self.source.close()
        await self.task


async def there_and_back(site: Site, receiver: Receiver, count: int) -> None:
    task = asyncio.ensure_future(site.uplink.run())
    await until(lambda: "birth" in receiver.states)
    for _ in range(count // 100):
        site.accept(can_batch(100))
        await asyncio.sleep(0)
    await site.uplink.settle()
    await site.uplink.wait_idle()
    await until(lambda: len(receiver.records) == count)
    await cancelled(task)
    await until(lambda: receiver.states[-1] == "death")


@needs_mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_records_go_through_mosquitto(tmp_path: Path, version: str) -> None:
    async def story() -> None:
        async with running(mosquitto(tmp_path / "broker")) as broker:
            section = UplinkSection(
                url=f"mqtt://127.0.0.1:{broker.port}", version=version, batch_ms=20, batch_records_max=50
            )
            site = open_site(tmp_path, section)
            receiver = Receiver(broker.port, version)
            await until(lambda: receiver.source._link is not None and receiver.source._link.is_open)
            await there_and_back(site, receiver, 3_000)
            assert receiver.repeated == 0
            await receiver.close()
            site.close()

    run(story)


@needs_mosquitto
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_mosquitto_that_is_ended_and_started_again_has_everything(
    tmp_path: Path, how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        async with running(mosquitto(tmp_path / "broker")) as broker:
            section = UplinkSection(
                url=f"mqtt://127.0.0.1:{broker.port}", batch_ms=20, batch_records_max=10, window=4
            )
            site = open_site(tmp_path, section)
            task = asyncio.ensure_future(site.uplink.run())
            await until(lambda: site.uplink.is_connected)
            for _ in range(20):
                site.accept(can_batch(100))
            await site.uplink.settle()
            # In the middle of it.
            await until(lambda: site.uplink.stats.acknowledged >= 20)
            acknowledged = site.uplink.stats.acknowledged
            await broker.end(how)
            await until(lambda: not site.uplink.is_connected)
            await broker.start()
            await until(lambda: site.uplink.is_connected)
            await site.uplink.settle()
            await site.uplink.wait_idle()
            await site.uplink.settle()
            assert site.outbox.counts().records == 0
            with capsys.disabled():
                print(
                    f"\nmosquitto ended by {how.name} after {acknowledged} of 200 messages: "
                    f"{site.uplink.stats.acknowledged} acknowledged, {site.uplink.stats.sent} sent"
                )
            # Each was acknowledged at least once before it left; the last ones before the end perhaps twice.
            assert 200 <= site.uplink.stats.acknowledged <= site.uplink.stats.sent
            assert site.uplink.stats.sent <= 200 + section.window
            await cancelled(task)
            site.close()

    run(story)


def test_records_go_through_amqtt(tmp_path: Path) -> None:
    program = peers.program("amqtt", "amqtt")
    if program is None:
        pytest.skip(peers.missing("amqtt", "foreign"))

    async def story() -> None:
        async with running(amqtt(tmp_path / "broker", program)) as broker:
            section = UplinkSection(
                url=f"mqtt://127.0.0.1:{broker.port}", version="3.1.1", batch_ms=20, batch_records_max=50
            )
            site = open_site(tmp_path, section)
            receiver = Receiver(broker.port, "3.1.1")
            await until(lambda: receiver.source._link is not None and receiver.source._link.is_open)
            await there_and_back(site, receiver, 1_000)
            await receiver.close()
            site.close()

    run(story)
