"""Vectors of RFC 3610 and Wycheproof on both interpreters; the library's own AES-CCM as the oracle."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import aes_ccm
from puf.errors import DecryptError
from tests.micropython import run
from tests.puf import vectors
from tests.puf.aes_ccm_outcomes import outcome

SCRIPT = Path(__file__).with_name("aes_ccm_outcomes.py")
KEY = bytes.fromhex("c0c1c2c3c4c5c6c7c8c9cacbcccdcecf")
# RFC 3610, section 8, packet vectors 1, 2, 3, 4 and 7: (nonce, bytes of aad, bytes in all, sealed, tag size).
RFC_3610 = [
    (
        *("00000003020100a0a1a2a3a4a5", 8, 31),
        *("588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0", 8),
    ),
    (
        *("00000004030201a0a1a2a3a4a5", 8, 32),
        *("72c91a36e135f8cf291ca894085c87e3cc15c439c9e43a3ba091d56e10400916", 8),
    ),
    (
        *("00000005040302a0a1a2a3a4a5", 8, 33),
        *("51b1e5f44a197d1da46b0f8e2d282ae871e838bb64da8596574adaa76fbd9fb0c5", 8),
    ),
    (
        *("00000006050403a0a1a2a3a4a5", 12, 31),
        *("a28c6865939a9a79faaa5c4c2a9d4a91cdac8c96c861b9c9e61ef1", 8),
    ),
    (
        *("00000009080706a0a1a2a3a4a5", 8, 31),
        *("0135d1b2c95f41d5d1d4fec185d166b8094e999dfed96c048c56602c97acbb7490", 10),
    ),
]


def _rfc_lines() -> list[tuple[str, str]]:
    cases = []
    for nonce, aad_size, size, sealed, tag_size in RFC_3610:
        aad, plaintext = bytes(range(aad_size)), bytes(range(aad_size, size))
        cases.append((f"{KEY.hex()}|{nonce}|{aad.hex()}|{sealed}|{tag_size}", "plaintext:" + plaintext.hex()))
    return cases


def test_packets_of_rfc_3610_on_both_interpreters() -> None:
    cases = _rfc_lines()
    there = run(SCRIPT, stdin="".join(line + "\n" for line, _ in cases)).splitlines()
    assert there == [outcome(line) for line, _ in cases] == [expected for _, expected in cases]


def _wycheproof() -> list[tuple[str, str, int]]:
    cases = []
    for group, test in vectors.wycheproof("aes_ccm"):
        words = [test["key"], test["iv"], test["aad"], test["ct"] + test["tag"], str(group["tagSize"] // 8)]
        expected = "plaintext:" + test["msg"] if test["result"] == "valid" else "DecryptError"
        has_lengths = group["ivSize"] // 8 in aes_ccm.NONCE_SIZES and (
            group["tagSize"] % 8 == 0 and group["tagSize"] // 8 in aes_ccm.TAG_SIZES
        )
        cases.append(("|".join(words), expected if has_lengths else "ValueError", group["keySize"]))
    return cases


def test_all_of_wycheproof_on_both_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = _wycheproof()
    there = run(SCRIPT, stdin="".join(line + "\n" for line, _, _ in cases)).splitlines()
    for (line, expected, key_bits), outcome_there in zip(cases, there, strict=True):
        # No AES-192 on a board, so neither here.
        wanted = "ValueError" if key_bits == 192 else expected
        assert outcome_there == outcome(line) == wanted, line
    assert sum(out.startswith("plaintext:") for out in there) > 250
    # The same lines are right for AES-192, too, where the library has it.
    monkeypatch.setattr(aes_ccm, "KEY_SIZES", (24,))
    for line, expected, key_bits in cases:
        assert outcome(line) == (expected if key_bits == 192 else "ValueError"), line


@settings(max_examples=60, deadline=None)
@given(
    key=st.sampled_from([16, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    nonce=st.binary(min_size=7, max_size=13),
    plaintext=st.binary(max_size=100),
    aad=st.binary(max_size=100),
    tag_size=st.sampled_from(aes_ccm.TAG_SIZES),
)
def test_it_is_what_the_library_makes(
    key: bytes, nonce: bytes, plaintext: bytes, aad: bytes, tag_size: int
) -> None:
    sealed = aes_ccm.seal(key, nonce, plaintext, aad, tag_size)
    assert sealed == AESCCM(key, tag_size).encrypt(nonce, plaintext, aad)
    assert aes_ccm.open_(key, nonce, sealed, aad, tag_size) == plaintext


@pytest.mark.parametrize("size", [0xFEFF, 0xFF00, 70000])
def test_long_associated_data_is_what_the_library_makes(size: int) -> None:
    sealed = aes_ccm.seal(KEY, bytes(13), b"hi", bytes(size))
    assert sealed == AESCCM(KEY, 8).encrypt(bytes(13), b"hi", bytes(size))


def test_every_flipped_bit_and_every_truncation_is_refused() -> None:
    sealed = aes_ccm.seal(KEY, bytes(13), b"open the lock", b"lock 7")
    damaged = [sealed[:size] for size in range(len(sealed))]
    damaged += [
        bytes(byte ^ (at == index) << bit for index, byte in enumerate(sealed))
        for at in range(len(sealed))
        for bit in range(8)
    ]
    for data in damaged:
        with pytest.raises(DecryptError):
            aes_ccm.open_(KEY, bytes(13), data, b"lock 7")
    for args in ((bytes(16), bytes(13), sealed, b"lock 7"), (KEY, b"\x01" * 13, sealed, b"lock 7")):
        with pytest.raises(DecryptError):
            aes_ccm.open_(*args)
    with pytest.raises(DecryptError):
        aes_ccm.open_(KEY, bytes(13), sealed, b"lock 8")


def test_a_message_too_long_for_its_nonce_is_refused() -> None:
    with pytest.raises(ValueError, match="65536 bytes are too many for a nonce of 13"):
        aes_ccm.seal(KEY, bytes(13), bytes(65536))
