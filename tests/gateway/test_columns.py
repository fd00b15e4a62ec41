"""Columns: golden bytes, round trips, and whatever else a wire may bring."""

import math
from array import array
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import columns
from gateway.errors import BlockError
from obd.can_frame import CanFrame
from puf import cbor
from tests.gateway.telemetry import KIND_VALUES, NOON_NS, YEAR_NS, frames, times

FRAMES = [CanFrame(0x123, 0, b"\x01\x02"), CanFrame(0x7FF, 1, b""), CanFrame(0x123, 0, b"\x03")]
TIMES = [NOON_NS, NOON_NS + 5, NOON_NS + 1]
ARRIVAL = "0028b52ffd2030050100c00005fc0000ff23ff230107010001000000000200010102030200b8c1e8b922"
GROUPED = "0128b52ffd2030ed0000980005fc0000ff23ff230107010002000101020303002b02e006a3e78a"
READINGS = "0228b52ffd200d69000082830005238301a161614178f6"
VALUES = [1, {"a": b"x"}, None]


def body_of(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed[1:])


def with_body(layout: int, body: bytes) -> bytes:
    return bytes((layout,)) + zstandard.ZstdCompressor().compress(body)


class TestGolden:
    @pytest.mark.parametrize("golden", [ARRIVAL, GROUPED])
    def test_frames(self, golden: str) -> None:
        assert columns.unpack("can", NOON_NS, 3, bytes.fromhex(golden)) == (TIMES, FRAMES)

    def test_readings(self) -> None:
        assert columns.unpack("reading", NOON_NS, 3, bytes.fromhex(READINGS)) == (TIMES, VALUES)
        assert columns.pack("reading", TIMES, VALUES, is_grouped=True) == (NOON_NS, bytes.fromhex(READINGS))

    @pytest.mark.parametrize("is_grouped", [False, True])
    def test_bodies(self, is_grouped: bool) -> None:
        """Compressed bytes may differ from one version of zstd to the next; the bodies may not."""
        first_ns, packed = columns.pack("can", TIMES, FRAMES, is_grouped)
        assert first_ns == NOON_NS
        assert packed[0] == is_grouped
        assert body_of(packed).hex() == "".join(
            (
                "0005fc" + "0000ff" * 7,  # deltas 0, 5, -4
                "23ff23" + "010701" + "000000" * 2,  # ids
                "000100" + "000000",  # flags
                "020001",  # lengths
                "010203",
            )
        )


@pytest.mark.parametrize("kind", ["can", "reading"])
@pytest.mark.parametrize("is_grouped", [False, True])
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_what_is_packed_is_unpacked(kind: str, is_grouped: bool, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(times, KIND_VALUES[kind]), max_size=20))
    taken_ns, values = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    first_ns, packed = columns.pack(kind, taken_ns, values, is_grouped)
    assert columns.unpack(kind, first_ns, len(values), packed) == (taken_ns, values)


def test_grouped_payloads_lie_side_by_side_in_the_order_of_ids() -> None:
    mixed = [CanFrame(number % 2, 0, bytes([number])) for number in range(6)]
    _, packed = columns.pack("can", [0] * 6, mixed, is_grouped=True)
    assert body_of(packed)[-6:] == bytes([0, 2, 4, 1, 3, 5])


def test_a_full_set_of_the_largest_frames_fits() -> None:
    count = columns.VALUES_MAX["can"]
    frame = CanFrame(0x1FFFFFFF, 0xFFF, bytes(64))
    first_ns, packed = columns.pack("can", range(count), [frame] * count, is_grouped=True)
    assert columns.unpack("can", first_ns, count, packed) == (list(range(count)), [frame] * count)


@pytest.mark.parametrize("taken_ns", [NOON_NS - YEAR_NS, 0, -1, -(1 << 62), (1 << 62) - 1])
def test_a_wrong_clock_costs_no_record(taken_ns: int) -> None:
    assert columns.unpack("can", *_packed_pair(NOON_NS, taken_ns)) == ([NOON_NS, taken_ns], FRAMES[:2])


def _packed_pair(*taken_ns: int) -> tuple[int, int, bytes]:
    first_ns, packed = columns.pack("can", taken_ns, FRAMES[:2], is_grouped=False)
    return first_ns, 2, packed


class TestRefusedWhenPacked:
    """Else it would be durable, and never come back."""

    @pytest.mark.parametrize("taken_ns", [-(1 << 62) - 1, 1 << 62, 1 << 63, 1 << 100])
    def test_a_time_out_of_range(self, taken_ns: int) -> None:
        with pytest.raises(BlockError, match="a time of"):
            columns.pack("can", [NOON_NS, taken_ns], FRAMES[:2], is_grouped=False)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "abc",
            (1, 2),
            (1, 2, b"", 4),
            CanFrame(1 << 32, 0, b""),
            CanFrame(-1, 0, b""),
            CanFrame(1, 1 << 16, b""),
            CanFrame(1, 0, bytes(256)),
            CanFrame(1, 0, "text"),
            CanFrame(1, 0, array("H", [1, 2])),
            CanFrame(None, 0, b""),
        ],
    )
    def test_what_is_no_frame(self, value: Any) -> None:
        for is_grouped in (False, True):
            with pytest.raises(BlockError, match="cannot be stored"):
                columns.pack("can", [NOON_NS] * 3, [FRAMES[0], value, FRAMES[1]], is_grouped)

    @pytest.mark.parametrize("value", [object(), {1.5: 2}, "\ud800", {None: 1}, {1, 2}])
    def test_what_cbor_cannot_say(self, value: Any) -> None:
        with pytest.raises(BlockError, match="cannot be stored"):
            columns.pack("reading", [NOON_NS], [value], is_grouped=False)

    def test_a_reading_nested_deeper_than_a_decoder_follows(self) -> None:
        value: Any = 1
        for _ in range(14):
            value = [value]
        first_ns, packed = columns.pack("reading", [NOON_NS], [value], is_grouped=False)
        assert columns.unpack("reading", first_ns, 1, packed)[1] == [value]
        with pytest.raises(BlockError, match="nested deeper"):
            columns.pack("reading", [NOON_NS], [[value]], is_grouped=False)

    def test_a_reading_that_is_too_long_also_among_short_ones(self) -> None:
        fits = bytes(columns.SAMPLE_SIZE_MAX - 3)
        assert len(cbor.encode(fits)) == columns.SAMPLE_SIZE_MAX
        columns.pack("reading", [0, 0, 0], [1, fits, 2], is_grouped=False)
        with pytest.raises(BlockError, match="16385 bytes; at most 16384"):
            columns.pack("reading", [0, 0, 0], [1, fits + b"x", 2], is_grouped=False)

    @pytest.mark.parametrize("kind", ["can", "reading"])
    def test_more_values_than_a_decoder_takes(self, kind: str) -> None:
        count = columns.VALUES_MAX[kind] + 1
        with pytest.raises(BlockError, match=f"{count} samples"):
            columns.pack(kind, [0] * count, [FRAMES[0]] * count, is_grouped=False)

    def test_more_bytes_than_a_decoder_takes(self) -> None:
        count = columns.BODY_SIZE_MAX // columns.SAMPLE_SIZE_MAX + 1
        with pytest.raises(BlockError, match="at most 8388608 go together"):
            columns.pack(
                "reading", [0] * count, [bytes(columns.SAMPLE_SIZE_MAX - 3)] * count, is_grouped=False
            )

    def test_times_and_values_of_different_number(self) -> None:
        with pytest.raises(BlockError, match="3 samples with 2 times"):
            columns.pack("can", TIMES[:2], FRAMES, is_grouped=False)


class TestRefusedWhenUnpacked:
    @pytest.mark.parametrize(
        ("kind", "count", "packed", "why"),
        [
            ("gas", 1, "00", "unknown kind"),
            ("can", -1, "00", "-1 samples"),
            ("can", 8_193, "00", "8193 samples"),
            ("reading", 1_025, "02", "1025 samples"),
            ("can", 3, "", "layout None"),
            ("can", 3, READINGS, "layout 2"),
            ("reading", 3, ARRIVAL, "layout 0"),
            ("can", 0, ARRIVAL, "have content"),
            ("can", 2, ARRIVAL, "lengths add up"),
            ("can", 4, ARRIVAL, "end early"),
            ("reading", 2, READINGS, "not 2 times and 2 values"),
            ("can", 3, ARRIVAL + "00", "do not decompress"),
            ("can", 3, ARRIVAL[:-2], "do not decompress"),
            ("can", 3, "00" + "28b52ffd2000010000", "claim 0 bytes"),
        ],
    )
    def test_what_does_not_fit(self, kind: str, count: int, packed: str, why: str) -> None:
        with pytest.raises(BlockError, match=why):
            columns.unpack(kind, NOON_NS, count, bytes.fromhex(packed))

    def test_a_first_time_with_an_offset(self) -> None:
        body = bytearray(body_of(bytes.fromhex(ARRIVAL)))
        body[0] = 1
        with pytest.raises(BlockError, match="has an offset"):
            columns.unpack("can", NOON_NS, 3, with_body(columns.ARRIVAL, bytes(body)))

    def test_times_that_run_out_of_range(self) -> None:
        with pytest.raises(BlockError, match="a time of"):
            columns.unpack("can", (1 << 62) - 1, 3, bytes.fromhex(ARRIVAL))

    @pytest.mark.parametrize("deltas", [[True, 0], [0.0, 0], [0, 1 << 63], [0, None]])
    def test_deltas_that_are_no_integers(self, deltas: list[Any]) -> None:
        body = cbor.encode([deltas, [1, 2]])
        with pytest.raises(BlockError, match="not 2 times"):
            columns.unpack("reading", NOON_NS, 2, with_body(columns.READINGS, body))

    @pytest.mark.parametrize("has_size", [True, False])
    def test_a_bomb_is_refused_by_the_size_it_claims_or_hides(self, has_size: bool, monkeypatch: Any) -> None:
        bomb = zstandard.ZstdCompressor(write_content_size=has_size).compress(
            bytes(columns.BODY_SIZE_MAX + 1)
        )
        assert len(bomb) < 1_000
        # Refused before a single byte is decompressed.
        monkeypatch.setattr(zstandard, "ZstdDecompressor", None)
        with pytest.raises(BlockError, match="columns claim"):
            columns.unpack("can", NOON_NS, 3, b"\x00" + bomb)

    @given(st.sampled_from(["can", "reading"]), st.integers(0, 20), st.binary(max_size=80), st.booleans())
    @settings(deadline=None, max_examples=300)
    def test_arbitrary_bytes_raise_only_what_is_declared(
        self, kind: str, count: int, noise: bytes, is_compressed: bool
    ) -> None:
        layout = {"can": count % 2, "reading": 2}[kind]
        packed = with_body(layout, noise) if is_compressed else bytes((layout,)) + noise
        try:
            taken_ns, values = columns.unpack(kind, NOON_NS, count, packed)
        except BlockError:
            return
        assert len(taken_ns) == len(values) == count

    @given(st.lists(st.tuples(times, frames), min_size=1, max_size=5), st.booleans(), st.data())
    @settings(deadline=None, max_examples=200)
    def test_a_flipped_bit_raises_only_what_is_declared(
        self, pairs: list[tuple[int, CanFrame]], is_grouped: bool, data: st.DataObject
    ) -> None:
        first_ns, packed = columns.pack(
            "can", [pair[0] for pair in pairs], [pair[1] for pair in pairs], is_grouped
        )
        flipped = bytearray(packed)
        place = data.draw(st.integers(0, len(packed) - 1))
        flipped[place] ^= 1 << data.draw(st.integers(0, 7))
        try:
            taken_ns, values = columns.unpack("can", first_ns, len(pairs), bytes(flipped))
        except BlockError:
            return
        assert len(taken_ns) == len(values) == len(pairs)


def test_not_a_number_is_a_reading() -> None:
    first_ns, packed = columns.pack("reading", [1], [math.nan], is_grouped=False)
    assert math.isnan(columns.unpack("reading", first_ns, 1, packed)[1][0])
