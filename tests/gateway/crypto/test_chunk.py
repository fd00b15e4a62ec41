"""The bytes of a chunk, and the key of its segment, against golden vectors and damage."""

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.crypto.chunk import (
    AES_256_GCM,
    BLOCK_SIZE_MAX,
    CHACHA20_POLY1305,
    CIPHERS,
    TAG_SIZE,
    aead_default,
    has_aes,
    parse_chunk,
    segment_key,
)
from gateway.crypto.errors import ChunkMalformed
from gateway.crypto.seal import seal_segment
from gateway.crypto.slot import SLOT_MAX
from puf import cbor

VECTORS = Path(__file__).parents[3] / ".." / "shared" / "data" / "vectors"

STREAM, SEGMENT = bytes(32), bytes(16)
GOOD = [1, CHACHA20_POLY1305, STREAM, 5, SEGMENT, 0, True, bytes(TAG_SIZE)]


def wycheproof(name: str) -> list[dict[str, Any]]:
    """The cases for our sizes: keys of 256 bits, nonces of 96, tags of 128."""
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"shared/data/vectors/{name} is not beside this checkout")
    groups = json.loads(path.read_text())["testGroups"]
    sizes = {"keySize": 256, "ivSize": 96, "tagSize": 128}
    return [test for group in groups if sizes.items() <= group.items() for test in group["tests"]]


@pytest.mark.parametrize(
    ("aead", "name", "count"),
    [
        (CHACHA20_POLY1305, "wycheproof_chacha20_poly1305_test.json", 316),
        (AES_256_GCM, "wycheproof_aes_gcm_test.json", 66),
    ],
)
def test_the_aeads_agree_with_wycheproof(aead: int, name: str, count: int) -> None:
    cases = wycheproof(name)
    assert len(cases) == count
    for case in cases:
        cipher = CIPHERS[aead](bytes.fromhex(case["key"]))
        nonce, aad, message = (bytes.fromhex(case[part]) for part in ("iv", "aad", "msg"))
        sealed = bytes.fromhex(case["ct"] + case["tag"])
        if case["result"] == "valid":
            assert cipher.encrypt(nonce, message, aad) == sealed, case["tcId"]
            assert cipher.decrypt(nonce, sealed, aad) == message, case["tcId"]
        else:
            assert case["result"] == "invalid"
            with pytest.raises(InvalidTag):
                cipher.decrypt(nonce, sealed, aad)


def test_aes_instructions_are_recognised_on_both_architectures() -> None:
    assert has_aes("processor\t: 0\nflags\t\t: fpu aes avx\n")
    assert has_aes("processor\t: 0\nFeatures\t: fp asimd aes pmull\n")
    assert not has_aes("processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n")
    assert not has_aes("model name\t: aes machine\nflags\t\t: fpu vaes\n")
    assert not has_aes("")


@pytest.mark.parametrize(
    ("cpuinfo", "aead"),
    [("flags : aes\n", AES_256_GCM), ("flags : fpu\n", CHACHA20_POLY1305), (None, CHACHA20_POLY1305)],
)
def test_the_default_follows_the_cpu(monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, aead: int) -> None:
    def read_text(path: Path, **_: str) -> str:
        assert str(path) == "/proc/cpuinfo"
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    aead_default.cache_clear()
    try:
        assert aead_default() == aead
    finally:
        aead_default.cache_clear()


@pytest.mark.parametrize("aead", [CHACHA20_POLY1305, AES_256_GCM])
def test_each_aead_has_a_key_of_its_own(aead: int) -> None:
    key = segment_key(bytes(32), SEGMENT)
    header = parse_chunk(seal_segment(key, STREAM, 0, SEGMENT, [b"block"], aead).chunks[0])
    by_hand = hmac.digest(key.export(), b"cpc/segment/1/aead/%d\x01" % aead, "sha256")
    opened = CIPHERS[aead](by_hand).decrypt(key.nonce(0, True), header.ciphertext, header.aad())
    assert opened == b"block"


def test_a_good_chunk_parses() -> None:
    header = parse_chunk(cbor.encode(GOOD))
    assert header.segment == (STREAM, 5, SEGMENT)
    assert (header.aead, header.index, header.is_last) == (CHACHA20_POLY1305, 0, True)
    assert header.ciphertext == bytes(TAG_SIZE)
    assert header.aad() == cbor.encode(GOOD[:-1])


BAD = {
    "another version": (0, 2),
    "a boolean for the version": (0, True),
    "an unknown AEAD": (1, 3),
    "a text for the stream": (2, "x" * 32),
    "a short stream": (2, bytes(31)),
    "a negative slot": (3, -1),
    "a slot without a key": (3, SLOT_MAX + 1),
    "a huge slot": (3, 1 << 70),
    "a long segment": (4, bytes(17)),
    "a negative index": (5, -1),
    "an index beyond 32 bits": (5, 1 << 32),
    "a boolean for the index": (5, False),
    "an integer for is_last": (6, 1),
    "a ciphertext shorter than its tag": (7, bytes(TAG_SIZE - 1)),
    "a ciphertext too long": (7, bytes(BLOCK_SIZE_MAX + TAG_SIZE + 1)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_chunk_with_one_wrong_field_is_refused(name: str) -> None:
    at, value = BAD[name]
    with pytest.raises(ChunkMalformed):
        parse_chunk(cbor.encode([*GOOD[:at], value, *GOOD[at + 1 :]]))


@pytest.mark.parametrize("value", [GOOD[:-1], [*GOOD, 0], {}, 7, None, []])
def test_what_is_not_an_array_of_eight_is_refused(value: object) -> None:
    with pytest.raises(ChunkMalformed):
        parse_chunk(cbor.encode(value))


def test_a_chunk_in_another_encoding_is_refused() -> None:
    good = cbor.encode(GOOD)
    indefinite = b"\x9f" + good[1:] + b"\xff"
    with pytest.raises(ChunkMalformed):
        parse_chunk(indefinite)
    with pytest.raises(ChunkMalformed):
        parse_chunk(good + b"\x00")


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b"")
@example(bytes(BLOCK_SIZE_MAX * 2))
def test_arbitrary_bytes_are_refused_as_a_chunk(data: bytes) -> None:
    with pytest.raises(ChunkMalformed):
        parse_chunk(data)
