"""Scanning through unmodified bleak, over a backend that is told what to do."""

import asyncio
import sys
from pathlib import Path

import pytest

pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")

from bleak.exc import BleakError

from gateway.sensors import ble_bluez, ble_source
from gateway.sensors.ble_advice import NO_ADAPTER, NO_BUS
from gateway.sensors.ble_source import open_ble
from gateway.sensors.source import (
    SYSTEM_CLOCK,
    BadSourceUrl,
    Clock,
    MissingExtra,
    Source,
    SourceUnavailable,
)
from tests.gateway.sensors.ble_reading import OTHER, WAIT_S, Reader, WatchClock, opened, reasons, run, url
from tests.gateway.sensors.bleak_backends import ADDRESS, CHARACTERISTIC, Air, advertisement

CO2 = {"0000fcd2-0000-1000-8000-00805f9b34fb": bytes.fromhex("4012e204")}


def test_advertisements_become_readings() -> None:
    async def story() -> None:
        air = Air()
        source = opened(air)
        reader = Reader(source)
        air.presents = [
            (ADDRESS, advertisement(services=CO2)),
            (OTHER, advertisement("x", {0x7777: b"\1"}, rssi=-127)),
        ]
        batch = await reader.until(lambda seen: len(seen.values) == 2)
        assert batch.values == [
            {
                "address": ADDRESS,
                "rssi_dbm": -50,
                "data": bytes.fromhex("0716d2fc4012e204"),
                "format": "BTHome V2",
                "device": "BTHome",
                "values": {"co2_ppm": 1_250},
            },
            {"address": OTHER, "data": bytes.fromhex("04ff777701020978"), "name": "x"},
        ]
        assert air.log == ["active hci0", "start"]
        await reader.rest()
        assert air.log == ["active hci0", "start", "stop"]
        assert source.stats.received == 2

    run(story())


def test_devices_are_chosen_by_address_and_name() -> None:
    async def story() -> None:
        air = Air()
        air.presents = [
            (ADDRESS, advertisement("GVH5075")),
            (ADDRESS, advertisement("other")),
            (OTHER, advertisement("GVH5075")),
        ]
        source = opened(air, address=f"{ADDRESS.lower()},11:22:33:44:55:66", name="GVH")
        reader = Reader(source)
        batch = await reader.until(lambda seen: len(seen.values) == 1)
        assert [value["name"] for value in (await reader.rest()).values] == ["GVH5075"]
        assert batch.values[0]["address"] == ADDRESS
        assert source.stats.ignored == 2

    run(story())


def test_duplicates_are_kept_unless_told_otherwise() -> None:
    async def story() -> None:
        for duplicates, count in (("keep", 4), ("drop", 2)):
            air = Air()
            air.presents = [
                (ADDRESS, advertisement(services=CO2)),
                (ADDRESS, advertisement(services=CO2, rssi=-60)),
                (ADDRESS, advertisement("x")),
                (ADDRESS, advertisement("x")),
            ]
            source = opened(air, duplicates=duplicates)
            reader = Reader(source)
            await reader.until(lambda seen, count=count: len(seen.values) >= count)  # type: ignore[misc]
            assert len((await reader.rest()).values) == count
            assert source.stats.ignored == 4 - count

    run(story())


def test_a_duplicate_comes_again_after_a_while() -> None:
    from gateway.sensors.ble_decode import Decoder
    from gateway.sensors.ble_source import DUPLICATE_MS, Advertisements

    class Device:
        address = ADDRESS

    advertisements = Advertisements(Decoder(), drops_duplicates=True)
    milli_ns = 10**6
    said = advertisement(services=CO2)
    seen = [
        advertisements.reading(Device(), said, now_ns) is not None
        for now_ns in (
            0,
            10**9,
            (DUPLICATE_MS - 1) * milli_ns,
            DUPLICATE_MS * milli_ns,
            (DUPLICATE_MS + 1) * milli_ns,
        )
    ]
    assert seen == [True, False, False, True, False]


def test_an_address_that_is_none_is_a_gap() -> None:
    async def story() -> None:
        air = Air()
        air.presents = [("not-an-address", advertisement("x")), (ADDRESS, advertisement("y"))]
        reader = Reader(source := opened(air))
        batch = await reader.until(lambda seen: len(seen.values) == 1)
        assert "no Bluetooth address" in reasons(batch)[0]
        assert source.stats.damaged == 1
        await reader.rest()

    run(story())


def test_a_silent_scanner_is_restarted_then_its_adapter_switched_off_and_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    air_log: list[str] = []

    async def power_cycle(adapter: str, clock: Clock) -> None:
        air_log.append(f"power {adapter}")

    monkeypatch.setattr(ble_bluez, "power_cycle", power_cycle)

    async def story() -> None:
        air = Air()
        air.log = air_log
        watch = WatchClock()
        source = opened(air, watch.clock, silence_ms="60000")
        reader = Reader(source)
        waiting = asyncio.ensure_future(reader.until(lambda seen: len(seen.values) == 1))
        await asyncio.wait_for(air.started.wait(), WAIT_S)
        air.say(ADDRESS, advertisement("x"))
        await waiting
        air.is_deaf = True
        watch.running.set()
        batch = await reader.until(lambda seen: len(seen.gaps) >= 1 and "power hci0" in air_log)
        watch.running.clear()
        # Silent once: started anew. Silent again: the power, too.
        restart = ["active hci0", "start", "stop"]
        assert air_log[:7] == [*restart, *restart, "power hci0"]
        assert set(reasons(batch)) == {"ble:hci0 was silent, and was started anew"}
        assert batch.gaps[0][0] == 1
        assert batch.gaps[0][1].count == 0
        assert batch.taken_ns[0] == batch.gaps[0][1].from_ns < batch.gaps[0][1].to_ns
        air.is_deaf = False
        await asyncio.wait_for(watch.stopped.wait(), WAIT_S)
        air.say(ADDRESS, advertisement("back"))
        batch = await reader.until(lambda seen: len(seen.values) == 2)
        assert batch.values[1]["name"] == "back"
        await reader.rest()

    run(story())


def test_a_silent_scanner_that_cannot_be_started_anew_is_missed_since_it_was_last_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ble_source, "BACK_OFF_MS", (1, 1))

    async def story() -> None:
        air = Air()
        watch = WatchClock()
        reader = Reader(opened(air, watch.clock, silence_ms="60000"))
        waiting = asyncio.ensure_future(reader.until(lambda seen: len(seen.values) == 1))
        await asyncio.wait_for(air.started.wait(), WAIT_S)
        air.say(ADDRESS, advertisement("x"))
        batch = await waiting
        air.start_errors = [BleakError("no adapter")]
        await asyncio.wait_for(watch.stopped.wait(), WAIT_S)
        watch.running.set()
        batch = await reader.until(lambda seen: len(seen.gaps) >= 2)
        watch.running.clear()
        assert reasons(batch)[:2] == [
            f"ble:hci0 cannot scan: BleakError: no adapter: {NO_ADAPTER}",
            "ble:hci0 scans again",
        ]
        assert batch.gaps[1][1].from_ns == batch.taken_ns[0]
        await reader.rest()

    run(story())


def test_a_source_that_is_closed_while_it_cannot_scan_says_since_when() -> None:
    async def story() -> None:
        air = Air()
        air.start_errors = [BleakError("stuck")] * 9
        reader = Reader(opened(air))
        await reader.until(lambda seen: len(seen.gaps) == 1)
        batch = await reader.rest()
        assert reasons(batch) == [
            "ble:hci0 cannot scan: BleakError: stuck",
            "ble:hci0 did not scan until it was closed",
        ]
        assert batch.gaps[0][1].from_ns == batch.gaps[1][1].from_ns < batch.gaps[1][1].to_ns

    run(story())


def test_silence_that_nothing_helps_is_looked_into_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    powers = 0

    async def power_cycle(adapter: str, clock: Clock) -> None:
        nonlocal powers
        powers += 1

    monkeypatch.setattr(ble_bluez, "power_cycle", power_cycle)

    async def story() -> None:
        air = Air()
        watch = WatchClock()
        watch.running.set()
        reader = Reader(opened(air, watch.clock, silence_ms="60000"))
        await reader.until(lambda _: powers >= ble_source.PATIENCE_MAX + 2)
        watch.running.clear()
        naps = [round(nap) for nap in watch.naps]
        assert naps[: ble_source.PATIENCE_MAX] == [60] * ble_source.PATIENCE_MAX
        assert set(naps[ble_source.PATIENCE_MAX :]) == {60 * ble_source.PATIENCE_MAX}
        await reader.rest()

    run(story())


def test_an_adapter_that_cannot_scan_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble_source, "BACK_OFF_MS", (1,))
    resets: list[str] = []

    async def power_cycle(adapter: str, clock: Clock) -> None:
        resets.append(adapter)
        raise OSError("hci0: no answer")

    monkeypatch.setattr(ble_bluez, "power_cycle", power_cycle)

    async def story() -> None:
        air = Air()
        air.start_errors = [
            BleakError("No powered Bluetooth adapters found."),
            FileNotFoundError(2, "no bus"),
        ]
        air.stop_errors = [BleakError("not scanning")]
        air.presents = [(ADDRESS, advertisement("x"))]
        source = opened(air)
        reader = Reader(source)
        batch = await reader.until(lambda seen: len(seen.values) == 1)
        assert reasons(batch) == [
            f"ble:hci0 cannot scan: BleakError: No powered Bluetooth adapters found: {NO_ADAPTER}",
            "ble:hci0 scans again",
        ]
        assert [place for place, _ in batch.gaps] == [0, 0]
        assert batch.gaps[0][1].from_ns == batch.gaps[1][1].from_ns
        assert resets == ["hci0", "hci0"]
        notes = "\n".join(source.stats.notes)
        assert f"starting ble:hci0: {NO_BUS}" in notes
        assert "stopping ble:hci0: BleakError: not scanning" in notes
        assert "switching ble:hci0 off and on: OSError: hci0: no answer" in notes
        await reader.rest()

    run(story())


def test_a_passive_scanner_asks_for_what_nearly_all_devices_send() -> None:
    mode, arguments = ble_bluez.scanner_arguments("hci1", False)
    assert mode == "passive"
    assert arguments["adapter"] == "hci1"
    assert {pattern[2] for pattern in arguments["or_patterns"]} >= {b"\x06", b"\x1a"}
    assert ble_bluez.scanner_arguments("hci1", True) == ("active", {"adapter": "hci1"})


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("54:48:E6:8F:80:A5 231d39c1d7cc1ab1aee224cd096db932\n")
    keys.chmod(0o600)
    sealed = {"0000fcd2-0000-1000-8000-00805f9b34fb": bytes.fromhex("41a47266c95f730011223378237214")}

    async def story() -> None:
        air = Air()
        air.presents = [("54:48:E6:8F:80:A5", advertisement(services=sealed))]
        reader = Reader(opened(air, keys=str(keys)))
        batch = await reader.until(lambda seen: len(seen.values) == 1)
        assert batch.values[0]["values"] == {"temperature_mdegc": 25_060, "humidity_mpct": 50_550}
        await reader.rest()

    run(story())
    keys.chmod(0o644)
    with pytest.raises(SourceUnavailable, match="others may read the keys"):
        opened_without_loop(keys=str(keys))


def opened_without_loop(target: str = "hci0", **options: str) -> Source:
    return open_ble(url(target, **options), "ble", SYSTEM_CLOCK)


@pytest.mark.parametrize(
    ("target", "options", "reason"),
    [
        ("usb0", {}, "adapter 'usb0': it is called hci0 or hci1"),
        ("hci0", {"address": "nobody"}, "address=nobody: 'nobody' is no Bluetooth address"),
        ("hci0", {"active": "2"}, "active=2: allowed are 0, 1"),
        ("hci0", {"duplicates": "some"}, "duplicates=some: allowed are keep, drop"),
        ("hci0", {"silence_ms": "0"}, "silence_ms=0"),
        ("hci0", {"characteristic": CHARACTERISTIC}, "characteristic= is for one device"),
        (ADDRESS, {}, "what shall it notify"),
        (ADDRESS, {"characteristic": "xyz"}, "'xyz' is no UUID"),
        (ADDRESS, {"characteristic": CHARACTERISTIC, "silence_ms": "5"}, "silence_ms= is for advertisements"),
        (ADDRESS, {"characteristic": CHARACTERISTIC, "adapter": "x"}, "adapter 'x'"),
        ("A4:C1:38", {"characteristic": CHARACTERISTIC}, "'A4:C1:38' is no Bluetooth address"),
    ],
)
def test_options_that_cannot_be_are_refused(target: str, options: dict[str, str], reason: str) -> None:
    with pytest.raises(BadSourceUrl, match=reason):
        opened_without_loop(target, **options)


@pytest.mark.parametrize(
    ("package", "module", "target"),
    [("bleak", "ble_bluez", "hci0"), ("bleak_retry_connector", "ble_gatt", ADDRESS)],
)
def test_a_missing_package_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str, module: str, target: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"gateway.sensors.{module}", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'cpchain-edge\[ble\]'"):
        opened_without_loop(target, **({"characteristic": CHARACTERISTIC} if target == ADDRESS else {}))
