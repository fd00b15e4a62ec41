"""Advertisements from bleak's callback to durable records, every one parsed.

Runs on CPython.  Measured: put together as bytes, taken apart, parsed, queued, taken as batches, numbered and
synced in the spool, but not sealed, which is later; bleak calls back as it does for a real adapter, whose
D-Bus is not measured.  Peers: the least that can be done, nothing parsed and nothing kept; and the parser
packages of PyPI alone, in an environment of their own (`make bench-peers`), which must find the same
temperatures.
"""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from gateway.block import Samples
from gateway.pipeline import StreamPipeline, pieces
from gateway.sensors.ble_source import open_ble
from gateway.sensors.reading_queue import BATCH_READINGS, ReadingQueue
from gateway.sensors.source import SYSTEM_CLOCK, SourceStats, SourceUrl
from gateway.spool import Spool
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of
from tests.gateway.sensors.bleak_backends import Air
from tests.gateway.telemetry import open_pipeline, open_spool
from tests.peers import program as peer_program

PEER_SCRIPT = Path(__file__).with_name("ble_peer.py")
COUNT = {"tiny": 200, FULL: 10_000}
ROUNDS = {"tiny": 1, FULL: 5}
TARGET_US = 60.0
UUID = "0000{}-0000-1000-8000-00805f9b34fb"


def bench_adverts(size: str) -> list[Row]:
    """Thermometers of four makers, in turn."""
    items = [_item(number) for number in range(COUNT[size])]
    heard = [_heard(item) for item in items]
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name:
        path = Path(name, "advertisements.json")
        path.write_text(json.dumps(items))
        peers: dict[str, Callable[[], Lap]] = {"no parser": lambda: asyncio.run(_raw_lap(heard))}
        if (python := peer_program("ble-parsers")) is not None:
            peers["parser packages alone"] = lambda: _peer_lap(python, path, len(items))
        return compare(
            "ble-advert",
            "advertisement, parsed and durable",
            lambda: asyncio.run(_lap(heard)),
            peers,
            ROUNDS[size],
            is_same_result=True,
            target=TARGET_US if size == FULL else None,
        )


def _item(number: int) -> dict[str, Any]:
    """An advertisement whose temperature is 20.00 degrees and `number` modulo 500 hundredths or so."""
    family = ("bthome", "ruuvi", "govee", "xiaomi")[number % 4]
    item: dict[str, Any] = {"family": family, "name": None, "rssi": -50, "manufacturer": {}, "services": {}}
    item["address"] = f"A4:C1:38:00:00:{number % 4:02X}"
    step = number % 500
    match family:
        case "bthome":
            body = b"\x40\x00" + bytes((number // 4 % 256,)) + b"\x02" + (2_000 + step).to_bytes(2, "little")
            item["services"][UUID.format("fcd2")] = (body + b"\x03\xbf\x13").hex()
        case "ruuvi":
            body = (
                b"\x05" + (4_000 + 2 * step).to_bytes(2, "big") + bytes.fromhex("5394c37c0004fffc040cac3642")
            )
            item["manufacturer"][0x0499] = (body + number.to_bytes(2, "big") + bytes(6)).hex()
        case "govee":
            item["name"] = "GVH5075_4B99"
            packed = (200 + step // 10) * 1_000 + 337
            item["manufacturer"][0xEC88] = (b"\x00" + packed.to_bytes(3, "big") + b"\x64\x00").hex()
        case "xiaomi":
            body = bytes.fromhex("5020aa01") + bytes((number // 4 % 256,))
            body += bytes.fromhex(item["address"].replace(":", ""))[::-1] + b"\x0d\x10\x04"
            body += (200 + step // 10).to_bytes(2, "little") + b"\x48\x02"
            item["services"][UUID.format("fe95")] = body.hex()
    return item


def _heard(item: dict[str, Any]) -> tuple[BLEDevice, AdvertisementData]:
    data = AdvertisementData(
        item["name"],
        {int(key): bytes.fromhex(text) for key, text in item["manufacturer"].items()},
        {key: bytes.fromhex(text) for key, text in item["services"].items()},
        list(item["services"]),
        None,
        item["rssi"],
        (),
    )
    return BLEDevice(item["address"], item["name"], None), data


async def _lap(heard: list[tuple[BLEDevice, AdvertisementData]]) -> Lap:
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as folder:
        spool = open_spool(Path(folder))
        try:
            return await _into(spool, open_pipeline(spool, "ble", "reading"), heard)
        finally:
            spool.close()


async def _into(
    spool: Spool, pipeline: StreamPipeline, heard: list[tuple[BLEDevice, AdvertisementData]]
) -> Lap:
    air = Air()
    url = SourceUrl("ble:hci0", "hci0", {"queue": str(len(heard))})
    source = open_ble(url, "bench", SYSTEM_CLOCK, scanner_backend=air.scanner_class())
    readings: list[Any] = []

    async def read() -> None:
        async for batch in source.batches():
            for piece in pieces(batch, "reading"):
                numbered = Samples(spool.boot, len(readings), piece.taken_ns, piece.values, piece.gaps)
                spool.append(pipeline.row, numbered)
                readings.extend(piece.values)
            if len(readings) == len(heard):
                await source.close()

    reading = asyncio.ensure_future(read())
    await air.started.wait()
    assert air.scanner is not None
    with Stopwatch() as watch:
        for at in range(0, len(heard), BATCH_READINGS):
            for device, data in heard[at : at + BATCH_READINGS]:
                air.scanner.call_detection_callbacks(device, data)
            await asyncio.sleep(0)
        await reading
    assert spool.counts().records == len(heard)
    return Lap(watch.cpu_us, len(heard), _digest([item["values"]["temperature_mdegc"] for item in readings]))


async def _raw_lap(heard: list[tuple[BLEDevice, AdvertisementData]]) -> Lap:
    """The least that can be done: what bleak hands over, as it is."""
    queue = ReadingQueue(SourceStats(), len(heard))
    readings: list[Any] = []
    with Stopwatch() as watch:
        for device, data in heard:
            reading = {
                "address": device.address,
                "rssi_dbm": data.rssi,
                "name": data.local_name,
                "manufacturer": data.manufacturer_data,
                "services": data.service_data,
            }
            queue.put(SYSTEM_CLOCK.now_ns(), [reading])
            if len(queue) == BATCH_READINGS and (batch := queue.take()) is not None:
                readings += batch.values
        if (batch := queue.take()) is not None:
            readings += batch.values
    assert len(readings) == len(heard)
    return Lap(watch.cpu_us, len(heard), _digest([_temperature(item) for item in readings]))


def _temperature(reading: dict[str, Any]) -> int:
    """Of an advertisement made here, read where it was put."""
    if (data := reading["services"].get(UUID.format("fcd2"))) is not None:
        return int.from_bytes(data[4:6], "little") * 10
    if (data := reading["services"].get(UUID.format("fe95"))) is not None:
        return int.from_bytes(data[14:16], "little") * 100
    if (data := reading["manufacturer"].get(0x0499)) is not None:
        return int.from_bytes(data[1:3], "big") * 5
    return int.from_bytes(reading["manufacturer"][0xEC88][1:4], "big") // 1_000 * 100


def _peer_lap(python: Path, path: Path, count: int) -> Lap:
    done = subprocess.run(
        [str(python), "-I", str(PEER_SCRIPT), str(path)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    return Lap(answer["cpu_us"], count, _digest(answer["temperatures_mdegc"]))


def _digest(temperatures_mdegc: list[int]) -> str:
    return digest_of(temperatures_mdegc)
