"""MQTT in to sealed, anchored and MQTT out, by the whole gateway as `cpc run` runs it.

Runs on CPython.  A publisher in a process of its own sends one message a record; the gateway takes them
from the broker, seals, stores and anchors them, and sends them on, many records a message.  Measured: CPU
of the gateway's process, all threads, from the first message until everything is anchored and the broker
has acknowledged everything that left.  Not measured: broker, node and publisher, which are processes of
their own.  Digest: of all payloads, read back from the store, and equal to those that a receiver got.

The broker is mosquitto where it is installed, else the small one of the tests.
"""

import asyncio
import base64
import hashlib
import json
import multiprocessing
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.archive import ReadReport
from gateway.cli_gateway import CONFIG_NAME, make_site
from gateway.cli_read import EVER_NS
from gateway.config import load
from gateway.crypto.key_file import load_gateway_key
from gateway.sensors.mqtt_broker import Broker
from gateway.sensors.mqtt_link import Handlers, Link
from gateway.sensors.mqtt_message import Message
from gateway.site import open_as_owner
from tests.bench import mqtt_peer
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare
from tests.gateway.mqtt_broker import TestBroker
from tests.node_process import NodeProcess

CONFIG = """\
[chain]
node_url = "{node_url}"

[uplink]
url = "mqtt://127.0.0.1:{port}"
version = "{version}"

[[stream]]
name = "m"
source = "mqtt://127.0.0.1:{port}/in?v={version}&client_id=bench-in"
"""
MESSAGE_COUNT = {"tiny": 1_000, FULL: 60_000}
PEER_MESSAGE_COUNT = 10_000
ROUNDS = {"tiny": 1, FULL: 3}
TARGET_US = 100.0
"""10,000 records a second and core."""
END_TIMEOUT_S = 120.0
ANCHOR_TIMEOUT_MS = 60_000
CONF = """\
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
"""


def bench_mqtt(size: str) -> list[Row]:
    """Both versions."""
    rows = []
    for version in ("3.1.1", "5"):
        with (
            tempfile.TemporaryDirectory(prefix="cpc-bench-") as name,
            NodeProcess(Path(name, "chain")) as node,
            broker_process(Path(name)) as (port, broker_name),
        ):
            count = MESSAGE_COUNT[size]
            peers: dict[str, Callable[[], Lap]] = {
                "paho alone, in and acknowledged": partial(paho_lap, port, version, count)
            }
            if size == FULL and mqtt_peer.is_installed():
                peers[mqtt_peer.NAME] = partial(mqtt_peer.lap, port, version, PEER_MESSAGE_COUNT)
            rows += compare(
                f"mqtt-both-ways {version}",
                f"record through {broker_name}",
                partial(lap, node, port, version, count),
                peers,
                ROUNDS[size],
                target=TARGET_US,
                note=lambda cost: f"{1e6 / cost:,.0f} records/s a core",
            )
    return rows


def lap(node: NodeProcess, port: int, version: str, count: int) -> Lap:
    """A new gateway takes in `count` messages and sends them on."""
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name:
        site = Path(name)
        text = CONFIG.format(node_url=node.url, port=port, version=version)
        make_site(site, text, node.genesis, False)
        cpu_us, sent_digest = asyncio.run(_run_site(site, port, count))
        digest = _stored_digest(site, count)
        if sent_digest != digest:
            raise RuntimeError("what was sent on is not what was stored")
        return Lap(cpu_us, count, digest)


async def _run_site(site: Path, port: int, count: int) -> tuple[float, str]:
    config = load(site / CONFIG_NAME)
    key = load_gateway_key(config.key_path)
    receiver = multiprocessing.get_context("spawn")
    results = receiver.Queue()
    process = receiver.Process(target=_receive, args=(port, count, results), daemon=True)
    process.start()
    await asyncio.to_thread(results.get, True, END_TIMEOUT_S)
    async with GatewayApp(config, key, load_genesis(config.genesis_path)) as app:
        task = asyncio.ensure_future(app.run(ANCHOR_TIMEOUT_MS))
        await _subscribed(app)
        with Stopwatch() as watch:
            publisher = receiver.Process(target=publish, args=(port, "in", count), daemon=True)
            publisher.start()
            pipeline = app.streams[0].pipeline
            async with asyncio.timeout(END_TIMEOUT_S):
                while pipeline.accepted_count < count:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.05)
            app.stop()
            await task
        counts = await app.in_spool_thread(app.spool.counts)
        if counts.records or counts.segments or counts.uploads:
            raise RuntimeError(f"not everything was anchored: {counts}")
    digest = await asyncio.to_thread(results.get, True, END_TIMEOUT_S)
    for each in (process, publisher):
        each.kill()
        each.join()
    return watch.cpu_us, digest


async def _subscribed(app: GatewayApp) -> None:
    """Waits until both links are up; the subscription follows at once, and its session keeps what comes."""

    def is_connected() -> bool:
        service = app.uplink
        return service is not None and service.uplink is not None and service.uplink.is_connected

    async with asyncio.timeout(END_TIMEOUT_S):
        while not is_connected():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)


def _stored_digest(site: Path, count: int) -> str:
    with open_as_owner(site / CONFIG_NAME, "m") as reader:
        report = ReadReport()
        values = [record.value for record in reader.archive.records(*EVER_NS, report)]
    if report.problems:
        raise RuntimeError(f"not everything could be read back: {report.problems}")
    return _digest(value["payload"] for value in values if isinstance(value, dict))


def _digest(payloads: Iterator[bytes]) -> str:
    hasher = hashlib.sha256()
    for payload in payloads:
        hasher.update(payload)
    return hasher.hexdigest()


def _receive(port: int, count: int, results: "multiprocessing.Queue[str]") -> None:
    """In a process of its own: says when it listens, and then what it got, once each by key."""

    async def receive() -> None:
        seen: dict[str, list[bytes]] = {}
        total = 0
        done = asyncio.Event()

        def on_message(message: Message) -> None:
            nonlocal total
            link.acknowledge(message.mid)
            content = json.loads(message.payload)
            if content["key"] in seen:
                return
            values = [record[1] for record in content["records"]]
            seen[content["key"]] = [base64.b64decode(value["payload"]["base64"]) for value in values if value]
            total += len(seen[content["key"]])
            if total >= count:
                done.set()

        link = Link(Broker("127.0.0.1", port), "bench-out", Handlers(on_message=on_message))
        await link.open()
        await link.subscribe("cpc/gateway/m", 1)
        results.put("ready")
        await done.wait()
        results.put(_digest(payload for payloads in seen.values() for payload in payloads))
        await asyncio.sleep(END_TIMEOUT_S)

    asyncio.run(receive())


def publish(port: int, topic: str, count: int) -> None:
    """In a process of its own: messages of quality of service 1, as fast as the broker takes them."""
    sock = socket.create_connection(("127.0.0.1", port))
    client_id = b"bench-publisher"
    sock.sendall(
        bytes((0x10, 12 + len(client_id)))
        + b"\0\4MQTT\4\2\0\0"
        + struct.pack(">H", len(client_id))
        + client_id
    )
    sock.recv(4)
    name = topic.encode()
    head = struct.pack(">H", len(name)) + name
    acked = threading.Semaphore(2_000)

    def drain() -> None:
        rest = 0
        while data := sock.recv(1 << 16):
            rest += len(data)
            # A PUBACK has four bytes.
            acked.release(rest // 4) if rest >= 4 else None
            rest %= 4

    threading.Thread(target=drain, daemon=True).start()
    for begin in range(0, count, 100):
        packets = bytearray()
        for number in range(begin, min(begin + 100, count)):
            acked.acquire()
            body = (
                head
                + struct.pack(">H", number % 65_535 + 1)
                + b'{"sensor":7,"value":%d}' % (10_000_000 + number)
            )
            packets += bytes((0x32, len(body))) + body
        sock.sendall(packets)
    time.sleep(END_TIMEOUT_S)


def paho_lap(port: int, version: str, count: int) -> Lap:
    """The library by itself, as its documentation has it: a thread, a callback, an acknowledgement."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    protocol = MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311
    client = paho.Client(CallbackAPIVersion.VERSION2, "bench-paho", protocol=protocol, manual_ack=True)
    hasher = hashlib.sha256()
    found: list[int] = []
    subscribed, done = threading.Event(), threading.Event()

    def on_message(client: object, userdata: object, message: paho.MQTTMessage) -> None:
        hasher.update(message.payload)
        assert isinstance(client, paho.Client)
        client.ack(message.mid, message.qos)
        found.append(message.mid)
        if len(found) == count:
            done.set()

    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("paho", 1)
    subscribed.wait(END_TIMEOUT_S)
    context = multiprocessing.get_context("spawn")
    with Stopwatch() as watch:
        process = context.Process(target=publish, args=(port, "paho", count), daemon=True)
        process.start()
        done.wait(END_TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
    process.kill()
    process.join()
    return Lap(watch.cpu_us, len(found), hasher.hexdigest())


@contextmanager
def broker_process(folder: Path) -> Iterator[tuple[int, str]]:
    """(port, name) of a broker in a process of its own."""
    path = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if path is None:
        yield from _test_broker()
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "mosquitto.conf").write_text(CONF.format(port=port))
    process = subprocess.Popen(
        [path, "-c", str(folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield port, "mosquitto"
    finally:
        process.kill()
        process.wait()


def _test_broker() -> Iterator[tuple[int, str]]:
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    process = context.Process(target=_serve, args=(ports,), daemon=True)
    process.start()
    try:
        yield ports.get(True, END_TIMEOUT_S), "a broker of the tests"
    finally:
        process.kill()
        process.join()


def _serve(ports: "multiprocessing.Queue[int]") -> None:
    async def serve() -> None:
        async with TestBroker() as broker:
            ports.put(broker.port)
            await asyncio.Event().wait()

    asyncio.run(serve())
