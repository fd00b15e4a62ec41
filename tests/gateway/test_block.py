"""Blocks: golden bytes, round trips, parts of samples, and what a decoder must refuse."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import columns
from gateway.block import (
    GAPS_MAX,
    NO_BLOCK,
    REASON_SIZE_MAX,
    Block,
    Samples,
    block_hash,
    decode_block,
    decode_samples,
    encode_block,
    encode_samples,
)
from gateway.errors import BlockError
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from obd.can_frame import CanFrame
from puf import cbor
from puf.hkdf import sha256
from tests.gateway.telemetry import NOON_NS, items, samples

FRAMES = [CanFrame(0x123, 0, b"\x01\x02"), CanFrame(0x7FF, 1, b""), CanFrame(0x123, 0, b"\x03")]
TIMES = [NOON_NS, NOON_NS + 5, NOON_NS + 1]
SAMPLES = Samples(3, 7, TIMES, FRAMES, [(0, Gap("start", 0, 1, 2)), (3, Gap("x", 4, 5, 6))])
COLUMNS = "0128b52ffd2030ed0000980005fc0000ff23ff230107010002000101020303002b02e006a3e78a"
GOLDEN_CAN = (
    "8b"  # array of 11
    "01"  # version
    "6363616e"  # "can"
    "6463616e30"  # "can0"
    "02"  # index
    "5820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"  # previous
    "03"  # boot
    "07"  # first seq
    "03"  # count
    "1b17979cfe362a0000"  # first time
    "82" + "8500657374617274000102" + "850361780405" + "06"  # gaps
    "5827" + COLUMNS
)
GOLDEN_READING = (
    "8b"  # array of 11
    "01"  # version
    "6772656164696e67"  # "reading"
    "6474656d70"  # "temp"
    "00"  # index
    "5820"
    + "00"
    * 32  # previous: none
    + "01"  # boot
    "00"  # first seq
    "02"  # count
    "1903e8"  # first time
    "80"  # gaps
    "57" + "0228b52ffd200d690000" + "8282000582f94d60a161614178"  # columns: zstd around CBOR
)


def previous() -> bytes:
    return bytes(range(32))


class TestGolden:
    def test_a_block_of_frames(self) -> None:
        assert decode_block(bytes.fromhex(GOLDEN_CAN)) == Block("can", "can0", 2, previous(), SAMPLES)

    def test_a_block_of_readings(self) -> None:
        """Short enough that every version of zstd keeps it as it is."""
        block = Samples(1, 0, [1_000, 1_005], [21.5, {"a": b"x"}])
        data = encode_block("reading", "temp", 0, NO_BLOCK, block)
        assert data.hex() == GOLDEN_READING
        assert decode_block(data) == Block("reading", "temp", 0, NO_BLOCK, block)

    def test_the_hash_is_that_of_the_bytes(self) -> None:
        assert block_hash(b"abc") == sha256(b"abc")


@pytest.mark.parametrize("kind", ["can", "reading"])
@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_a_block_comes_back(kind: str, data: st.DataObject) -> None:
    given_samples = data.draw(samples(kind))
    encoded = encode_block(kind, "s", 5, NO_BLOCK, given_samples)
    assert decode_block(encoded) == Block(kind, "s", 5, NO_BLOCK, given_samples)
    assert decode_samples(kind, encode_samples(kind, given_samples, is_grouped=False)) == given_samples


@given(samples())
@settings(deadline=None, max_examples=100)
def test_records_are_numbered_without_holes_and_gaps_are_at_their_place(given_samples: Samples) -> None:
    records = list(Block("can", "s", 0, NO_BLOCK, given_samples).records())
    assert [(record.taken_ns, record.value) for record in records] == list(items(given_samples))
    assert [record.name for record in records] == [
        RecordName("s", given_samples.boot, seq)
        for seq in range(given_samples.first_seq, given_samples.end_seq)
    ]


def test_records_of_a_block_with_gaps_everywhere() -> None:
    first, middle, last = Gap("a", 1, 1, 2), Gap("b", 2, 3, 4), Gap("c", 3, 5, 6)
    block = Block(
        "can",
        "s",
        0,
        NO_BLOCK,
        Samples(1, 10, [7, 8], FRAMES[:2], [(0, first), (1, middle), (1, middle), (2, last)]),
    )
    assert list(block.records()) == [
        Record(RecordName("s", 1, 10), 1, first),
        Record(RecordName("s", 1, 11), 7, FRAMES[0]),
        Record(RecordName("s", 1, 12), 3, middle),
        Record(RecordName("s", 1, 13), 3, middle),
        Record(RecordName("s", 1, 14), 8, FRAMES[1]),
        Record(RecordName("s", 1, 15), 5, last),
    ]


class TestParts:
    @given(samples(), st.data())
    @settings(deadline=None, max_examples=100)
    def test_a_part_is_what_a_list_of_the_records_would_give(
        self, whole: Samples, data: st.DataObject
    ) -> None:
        begin = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(begin, len(whole)))
        part = whole.part(begin, end)
        assert list(items(part)) == list(items(whole))[begin:end]
        assert (part.boot, part.first_seq, len(part)) == (whole.boot, whole.first_seq + begin, end - begin)

    def test_behind_the_end_is_nothing(self) -> None:
        assert len(SAMPLES.part(5, 5)) == 0
        assert SAMPLES.part(9, 5).first_seq == 16

    def test_the_span_tells_of_all_that_gaps_span(self) -> None:
        assert SAMPLES.span_ns == (1, NOON_NS + 5)
        assert Samples(1, 0, TIMES, FRAMES).span_ns == (NOON_NS, NOON_NS + 5)
        assert Samples(1, 0, gaps=[(0, Gap("clock went back", 1, 9, 4))]).span_ns == (4, 9)


class TestRefusedWhenEncoded:
    @pytest.mark.parametrize(
        ("gaps", "why"),
        [
            ([(2, Gap("", 0, 1, 2)), (1, Gap("", 0, 1, 2))], "out of order"),
            ([(-1, Gap("", 0, 1, 2))], "out of order"),
            ([(4, Gap("", 0, 1, 2))], "out of order"),
            ([(0, Gap("", -1, 1, 2))], "impossible"),
            ([(0, Gap("", 0, 1 << 62, 2))], "a time of"),
            ([(0, Gap("", 0, 0, -(1 << 62) - 1))], "a time of"),
            ([(0, Gap("", 1.5, 1, 2))], "wrong types"),  # type: ignore[arg-type]  # what a bad source may say
            ([(0, Gap("", True, 1, 2))], "wrong types"),
            ([(0, Gap("", 0, 1, 2))] * (GAPS_MAX + 1), "8193 gaps"),
        ],
    )
    def test_a_gap_that_a_decoder_would_refuse(self, gaps: list[tuple[int, Gap]], why: str) -> None:
        with pytest.raises(BlockError, match=why):
            encode_samples("can", Samples(1, 0, TIMES, FRAMES, gaps), is_grouped=False)

    def test_a_reason_is_kept_as_far_as_it_is_text_and_short(self) -> None:
        reasons = ["bad \udcff byte", "x" * 400, "\U0001f4a5" * 400, "\udcff" * 400]
        gaps = [(0, Gap(reason, 0, 1, 2)) for reason in reasons]
        block = decode_block(encode_block("can", "s", 0, NO_BLOCK, Samples(1, 0, gaps=gaps)))
        kept = [gap.reason for _, gap in block.samples.gaps]
        assert kept == [
            "bad \\udcff byte",
            "x" * REASON_SIZE_MAX,
            "\U0001f4a5" * REASON_SIZE_MAX,
            ("\\udcff" * 400)[:REASON_SIZE_MAX],
        ]


def fields() -> list[Any]:
    value: Any = cbor.decode(bytes.fromhex(GOLDEN_CAN))
    assert isinstance(value, list)
    return value


class TestRefusedWhenDecoded:
    @pytest.mark.parametrize(
        ("place", "value", "why"),
        [
            (0, 2, "version 2"),
            (0, True, "wrong types"),
            (1, "gas", "unknown kind"),
            (1, b"can", "wrong types"),
            (2, b"can0", "wrong types"),
            (3, -1, "place in its chain"),
            (4, bytes(31), "place in its chain"),
            (5, -1, "no possible numbers"),
            (6, -1, "no possible numbers"),
            (7, -1, "out of order"),
            (7, 2, "out of order"),
            (7, True, "wrong types"),
            (8, 1 << 62, "a time of"),
            (9, [[0, "r", 0, 1]], "wrong types"),
            (9, [[0, "r", False, 1, 2]], "wrong types"),
            (9, [[0, "r" * 301, 0, 1, 2]], "impossible"),
            (9, {}, "wrong types"),
            (10, b"", "layout None"),
            (10, "x", "wrong types"),
        ],
    )
    def test_a_field_that_cannot_be(self, place: int, value: Any, why: str) -> None:
        changed = fields()
        changed[place] = value
        with pytest.raises(BlockError, match=why):
            decode_block(cbor.encode(changed))

    def test_a_block_without_records(self) -> None:
        changed = [*fields()[:7], 0, 0, [], bytes([columns.GROUPED])]
        with pytest.raises(BlockError, match="no possible numbers"):
            decode_block(cbor.encode(changed))

    def test_a_field_too_few_or_too_many(self) -> None:
        wrongs: list[Any] = [fields()[:-1], [*fields(), 0], {}, 7]
        for changed in wrongs:
            with pytest.raises(BlockError, match="wrong types"):
                decode_block(cbor.encode(changed))

    def test_a_second_encoding_of_the_same_block(self) -> None:
        data = bytes.fromhex(GOLDEN_CAN)
        with pytest.raises(BlockError, match="not a block"):
            decode_block(data.replace(b"\x8b\x01", b"\x8b\x18\x01", 1))

    @given(st.binary(max_size=200))
    @settings(deadline=None, max_examples=200)
    def test_arbitrary_bytes_raise_only_what_is_declared(self, data: bytes) -> None:
        with pytest.raises(BlockError):
            decode_block(data)

    @given(samples(), st.data())
    @settings(deadline=None, max_examples=200)
    def test_a_flipped_bit_raises_only_what_is_declared(
        self, given_samples: Samples, data: st.DataObject
    ) -> None:
        flipped = bytearray(encode_block("can", "s", 0, NO_BLOCK, given_samples))
        place = data.draw(st.integers(0, len(flipped) - 1))
        flipped[place] ^= 1 << data.draw(st.integers(0, 7))
        try:
            block = decode_block(bytes(flipped))
        except BlockError:
            return
        assert len(list(block.records())) == len(block.samples)
