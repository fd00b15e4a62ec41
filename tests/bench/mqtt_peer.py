"""Measures thingsboard-gateway in the environment that it lives in.

Runs on CPython, on Linux.  It does what ours does, but for sealing, anchoring and proving: takes one message
a record from a broker, keeps it in its storage of files, sends it on to a broker that stands for its server,
and is told by PUBACK.  It runs in a process of its own; its CPU is what the kernel says, all threads.
"""

import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.sensors.mqtt_broker import Broker
from gateway.sensors.mqtt_link import Handlers, Link
from gateway.sensors.mqtt_message import Message
from tests.bench.measure import Lap
from tests.peers import FOLDER as PEERS_FOLDER
from tests.peers import PEERS, program

PEER = "thingsboard-gateway"
NAME = " ".join(PEERS[PEER][0].split("=="))
FOLDER = PEERS_FOLDER / PEER
NO_LIMITS = (
    *("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits", "deviceRateLimits"),
    "deviceDpRateLimits",
)
REQUEST = b"v1/devices/me/rpc/request/"
TELEMETRY = b"v1/gateway/telemetry"
LIMITS = {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""}
SESSION = json.dumps(
    {"rateLimits": LIMITS, "gatewayRateLimits": LIMITS, "maxInflightMessages": 100, "maxPayloadSize": 65_536}
).encode()
"""What its server would answer: no limits."""
START_TIMEOUT_S = 60.0
SILENCE_S = 15.0
"""When nothing more has come for so long, what is missing is lost."""


def answer(topic: str) -> tuple[str, bytes]:
    """What its server says when it is asked what may be sent; before it knows, it sends nothing."""
    return f"v1/devices/me/rpc/response/{topic.removeprefix(REQUEST.decode())}", SESSION


def values_of(payload: bytes) -> Iterator[int]:
    """What its message to its server says."""
    for samples in json.loads(payload).values():
        yield from (sample["values"]["value"] for sample in samples if "value" in sample["values"])


def is_installed() -> bool:
    """Whether `make bench-peers` has fetched it."""
    return program(PEER) is not None


def lap(port: int, version: str, count: int) -> Lap:
    """CPU of its process for `count` records that it is given; what of them is lost is said.

    It names a value by device, key and millisecond, so that of several in one millisecond one is left: its
    digest is that of what it was given, for what is left is another each time.
    """
    from tests.bench.mqtt import publish

    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    receiver = context.Process(target=_receive, args=(port, count, results), daemon=True)
    receiver.start()
    results.get(True, START_TIMEOUT_S)
    with (
        tempfile.TemporaryDirectory(prefix="cpc-peer-") as name,
        running(Path(name), port, port, version) as pid,
    ):
        # Its connectors start one after the other, and tell nobody when they have.
        time.sleep(5)
        before_us = _cpu_us(pid)
        publisher = context.Process(target=publish, args=(port, "peer", count), daemon=True)
        publisher.start()
        arrived, repeated = results.get(True, 600)
        cost_us = _cpu_us(pid) - before_us
        publisher.kill()
        publisher.join()
    receiver.kill()
    receiver.join()
    if arrived < count or repeated:
        print(f"{NAME}: {count - arrived} of {count} records lost, {repeated} came twice", file=sys.stderr)
    given = b"".join(b"%d" % (10_000_000 + number) for number in range(count))
    return Lap(cost_us, count, hashlib.sha256(given).hexdigest())


@contextlib.contextmanager
def running(folder: Path, port: int, server_port: int, version: str) -> Iterator[int]:
    """Its process's number.  port: of the broker that it takes from; server_port: of its server."""
    library = next(FOLDER.glob("lib/python3*/site-packages/thingsboard_gateway/config"))
    config = folder / "config"
    shutil.copytree(library, config)
    _write_config(config, port, server_port, version)
    (folder / "logs").mkdir()
    environment = {**os.environ, "TB_GW_CONFIG_DIR": str(config)}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [str(FOLDER / "bin" / "thingsboard-gateway")], cwd=folder, env=environment, stdout=out, stderr=out
        )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _write_config(config: Path, port: int, server_port: int, version: str) -> None:
    general = json.loads((config / "tb_gateway.json").read_text())
    general["thingsboard"] |= {
        "host": "127.0.0.1",
        "port": server_port,
        "remoteConfiguration": False,
        "statistics": {"enable": False},
        "maxPayloadSizeBytes": 65_536,
        **dict.fromkeys(NO_LIMITS, "0:0,"),
    }
    general["storage"]["type"] = "file"
    general["connectors"] = [{"type": "mqtt", "name": "in", "configuration": "mqtt.json"}]
    (config / "tb_gateway.json").write_text(json.dumps(general))
    connector = json.loads((config / "mqtt.json").read_text())
    connector["broker"] |= {"port": port, "version": 5 if version == "5" else 4, "clientId": "peer-in"}
    mapping = connector["mapping"][0]
    mapping["topicFilter"] = "peer"
    mapping["converter"] |= {
        "attributes": [],
        "timeseries": [{"type": "integer", "key": "value", "value": "${value}"}],
    }
    connector["mapping"] = [mapping]
    connector["requestsMapping"] = {}
    (config / "mqtt.json").write_text(json.dumps(connector))
    logs = json.loads((config / "logs.json").read_text())
    for logger in (*logs.get("loggers", {}).values(), logs.get("root", {})):
        logger["level"] = "ERROR"
    (config / "logs.json").write_text(json.dumps(logs))


def _cpu_us(pid: int) -> float:
    """Source: proc(5), /proc/pid/stat, utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def _receive(port: int, count: int, results: "multiprocessing.Queue[object]") -> None:
    """In a process of its own: says when it listens, when the peer is there, and what has arrived."""

    async def receive() -> None:
        values: list[int] = []
        last_s = time.monotonic()

        def on_message(message: Message) -> None:
            nonlocal last_s
            link.acknowledge(message.mid)
            if message.topic.startswith(REQUEST):
                link.publish(*answer(message.topic.decode()))
            elif message.topic == TELEMETRY:
                last_s = time.monotonic()
                values.extend(values_of(message.payload))

        link = Link(Broker("127.0.0.1", port), "peer-server", Handlers(on_message=on_message))
        await link.open()
        await link.subscribe("v1/#", 1)
        results.put("ready")
        while len(set(values)) < count:
            await asyncio.sleep(0.1)
            if values and time.monotonic() - last_s > SILENCE_S:
                break
        results.put((len(set(values)), len(values) - len(set(values))))
        await asyncio.sleep(600)

    asyncio.run(receive())
