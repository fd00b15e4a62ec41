"""Bluetooth captures: a real one, every kind of link, and files that are cut or none."""

import asyncio
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.btsnoop import H4, HCI, MONITOR, PACKET_BYTES_MAX, Capture, Packet
from gateway.sensors.btsnoop_source import open_btsnoop
from gateway.sensors.recording_source import RecordingSource
from gateway.sensors.source import SYSTEM_CLOCK, Batch, Clock, Gap, SourceUnavailable, SourceUrl
from tests.gateway.sensors.ble_events import DATA
from tests.gateway.sensors.clocks import START_NS, FakeClock
from tests.gateway.sensors.traces import join

EVENT = bytes.fromhex("3e1702010000a5808fe648540b0201060716d2fc4012e204cc")
BEGIN_US = 1_700_000_000 * 10**6


def head(link: int = H4, version: int = 1) -> bytes:
    return struct.pack(">8sII", b"btsnoop\0", version, link)


def record(data: bytes, micros: int = 0, flags: int = 3, drops: int = 0, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return struct.pack(">IIIIq", size, len(data), flags, drops, BEGIN_US + micros + 0x00DCDDB30F2F8000) + data


def opened(path: Path, clock: Clock = SYSTEM_CLOCK, **options: str) -> RecordingSource:
    return open_btsnoop(SourceUrl(f"btsnoop:{path}", str(path), {"speed": "max"} | options), "ble", clock)


def drained(source: RecordingSource) -> Batch:
    async def drain() -> Batch:
        return join([batch async for batch in source.batches()])

    return asyncio.run(drain())


def written(tmp_path: Path, *parts: bytes) -> Path:
    path = tmp_path / "capture"
    path.write_bytes(b"".join(parts))
    return path


def test_a_real_capture_replays() -> None:
    path = DATA / "btsnoop_hci.log"
    if not path.exists():
        pytest.skip("../shared/data/ble/btsnoop_hci.log is not here")
    source = opened(path, start="recorded")
    batch = drained(source)
    # 32 of its 69 packets are reports, of up to four advertisements each.
    assert len(batch.values) == 59
    assert source.stats.ignored == 69 - 32
    assert sum(value.get("name") == "BeeWi SmartClim" for value in batch.values) == 16
    assert batch.gaps == []
    assert batch.taken_ns[0] == 1_444_809_568_004_975_000
    assert batch.taken_ns == sorted(batch.taken_ns)
    assert {len(value["address"]) for value in batch.values} == {17}
    assert all(value["rssi_dbm"] < 0 and "flaw" not in value for value in batch.values)
    assert source.progress() == (3_852, 3_852)


@pytest.mark.parametrize(
    ("link", "data", "flags"), [(H4, b"\x04" + EVENT, 3), (HCI, EVENT, 3), (MONITOR, EVENT, 0x10003)]
)
def test_each_kind_of_link_carries_events(tmp_path: Path, link: int, data: bytes, flags: int) -> None:
    other = {H4: b"\x01\x0b\x20\x00", HCI: EVENT, MONITOR: EVENT}[link]
    path = written(
        tmp_path, head(link), record(data, 5, flags), record(other, 9, 0x10002 if link == MONITOR else 2)
    )
    source = opened(path, start="recorded")
    batch = drained(source)
    assert batch.taken_ns == [BEGIN_US * 1_000 + 5_000]
    assert batch.values[0]["values"] == {"co2_ppm": 1_250}
    assert source.stats.ignored == 1


def test_what_the_recorder_dropped_is_a_gap(tmp_path: Path) -> None:
    data = b"\x04" + EVENT
    path = written(
        tmp_path, head(), record(data, 0, drops=7), record(data, 10, drops=9), record(data, 20, drops=0)
    )
    source = opened(path, start="recorded")
    batch = drained(source)
    begin_ns = BEGIN_US * 1_000
    assert batch.gaps == [(1, Gap("the recorder dropped packets", 2, begin_ns, begin_ns + 10_000))]
    assert source.stats.dropped == 2
    assert len(batch.values) == 3


def test_a_capture_that_is_cut_gives_all_that_is_whole(tmp_path: Path) -> None:
    data = head() + record(b"\x04" + EVENT, 0) + record(b"\x04" + EVENT, 10)
    second = 16 + 24 + len(EVENT) + 1
    for end in range(17, len(data)):
        path = written(tmp_path, data[:end])
        source = opened(path)
        batch = drained(source)
        place = 16 if end < second else second
        assert len(batch.values) == (end >= second)
        is_clean = end == second
        assert [gap.reason for _, gap in batch.gaps] == (
            [] if is_clean else [f"cut off in the record at byte {place}"]
        )
        assert source.stats.damaged == (not is_clean)


@pytest.mark.parametrize("length", [PACKET_BYTES_MAX + 1, 0xFFFFFFFF])
def test_a_record_that_cannot_be_ends_the_capture(tmp_path: Path, length: int) -> None:
    bad = struct.pack(">IIIIq", length, length, 3, 0, BEGIN_US)
    path = written(tmp_path, head(), record(b"\x04" + EVENT), bad, record(b"\x04" + EVENT))
    batch = drained(opened(path))
    assert len(batch.values) == 1
    assert [gap.reason for _, gap in batch.gaps] == ["no record at byte 66; what follows cannot be read"]


def test_a_packet_in_part_and_a_damaged_event_are_gaps(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        head(),
        record(b"\x04" + EVENT[:9], 0, length=26),
        record(b"\x04" + EVENT[:9], 10),
        record(b"\x04" + EVENT, 20),
    )
    source = opened(path)
    batch = drained(source)
    assert [(place, gap.reason) for place, gap in batch.gaps] == [
        (0, "a packet recorded in part"),
        (0, "report 1 of 1 ends at byte 9"),
    ]
    assert source.stats.damaged == 2
    assert len(batch.values) == 1


def test_times_are_moved_to_now_and_paced(tmp_path: Path) -> None:
    data = b"\x04" + EVENT
    path = written(tmp_path, head(), record(data, 0), record(data, 2_000_000))
    fake = FakeClock()
    batch = drained(opened(path, fake.clock, speed="2"))
    assert batch.taken_ns == [START_NS, START_NS + 2 * 10**9]
    assert fake.elapsed_ns == 10**9


def test_a_keys_file_opens_what_is_encrypted(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("54:48:E6:8F:80:A5 231d39c1d7cc1ab1aee224cd096db932\n")
    keys.chmod(0o600)
    event = bytes.fromhex("043E2202010000A5808FE64854160201061216d2fc41a47266c95f730011223378237214CC")
    path = written(tmp_path, head(), record(event))
    assert drained(opened(path)).values[0]["error"].startswith("encrypted")
    assert drained(opened(path, keys=str(keys))).values[0]["values"] == {
        "temperature_mdegc": 25_060,
        "humidity_mpct": 50_550,
    }
    keys.chmod(0o644)
    with pytest.raises(SourceUnavailable, match="others may read the keys"):
        opened(path, keys=str(keys))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no btsnoop capture: it does not begin like one"),
        (b"btsnoop\0\0\0", "no btsnoop capture: it does not begin like one"),
        (head(version=2), "btsnoop version 2, where only 1 is known"),
        (head(1003), "a capture of BCSP; known are HCI, H4, Linux monitor"),
        (head(9), "a capture of kind 9"),
    ],
)
def test_what_is_no_capture_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(SourceUnavailable, match=reason):
        opened(written(tmp_path, data))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="No such file"):
        opened(tmp_path / "none")
    with pytest.raises(SourceUnavailable, match="this is a directory"):
        opened(tmp_path)


@given(st.binary(max_size=200), st.sampled_from([H4, HCI, MONITOR]), st.integers(0, 2))
@settings(deadline=None)
def test_any_bytes_behind_the_head_give_packets_or_a_flaw(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, link: int, count: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(head(link) + record(b"\x04" + EVENT) * count + data)
    packets = list(Capture(str(path)).packets())
    assert packets[:count] == [Packet(BEGIN_US * 1_000, packets[0].event)] * count if count else True
    drained(opened(path))
