"""Vectors of RFC 4231, RFC 5869 and Wycheproof; the plain-Python MAC against the library's."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import hkdf, hmac_pure
from tests.puf import vectors

Mac = Callable[[bytes, bytes], bytes]
BOTH = pytest.mark.parametrize("hmac_sha256", [hkdf.hmac_sha256, hmac_pure.hmac_sha256])

RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        (
            b"This is a test using a larger than block-size key and a larger than block-size data. "
            b"The key needs to be hashed before being used by the HMAC algorithm."
        ),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]

# (ikm, salt, info, length, prk, okm) of appendix A.1 to A.3.
RFC_5869 = [
    (
        b"\x0b" * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        b"\x0b" * 22,
        b"",
        b"",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@BOTH
@pytest.mark.parametrize(("key", "data", "mac"), RFC_4231)
def test_macs_are_those_of_rfc_4231(hmac_sha256: Mac, key: bytes, data: bytes, mac: str) -> None:
    expected = bytes.fromhex(mac)
    assert hmac_sha256(key, data)[: len(expected)] == expected


@pytest.mark.parametrize(("ikm", "salt", "info", "length", "prk", "okm"), RFC_5869)
def test_keys_are_those_of_rfc_5869(
    ikm: bytes, salt: bytes, info: bytes, length: int, prk: str, okm: str
) -> None:
    assert hkdf.hkdf_extract(salt, ikm).hex() == prk
    assert hkdf.hkdf_expand(bytes.fromhex(prk), info, length).hex() == okm
    assert hkdf.hkdf(ikm, salt, info, length).hex() == okm


@BOTH
def test_macs_are_those_of_wycheproof(hmac_sha256: Mac) -> None:
    verdicts = []
    for group, test in vectors.wycheproof("hmac_sha256"):
        mac = hmac_sha256(bytes.fromhex(test["key"]), bytes.fromhex(test["msg"]))
        is_valid = hkdf.is_equal(mac[: group["tagSize"] // 8], bytes.fromhex(test["tag"]))
        assert is_valid == (test["result"] == "valid"), test
        verdicts.append(is_valid)
    assert len(verdicts) == 174
    assert set(verdicts) == {True, False}


def test_keys_are_those_of_wycheproof() -> None:
    refused = 0
    for _, test in vectors.wycheproof("hkdf_sha256"):
        ikm, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
        if test["result"] == "valid":
            assert hkdf.hkdf(ikm, salt, info, test["size"]).hex() == test["okm"], test
        else:
            refused += 1
            with pytest.raises(ValueError, match="8160"):
                hkdf.hkdf(ikm, salt, info, test["size"])
    assert refused > 0


@given(st.binary(max_size=200), st.binary(max_size=300))
@settings(deadline=None)
def test_the_plain_mac_is_the_librarys(key: bytes, data: bytes) -> None:
    assert hmac_pure.hmac_sha256(key, data) == hkdf.hmac_sha256(key, data)


@pytest.mark.parametrize("is_equal", [hkdf.is_equal, hmac_pure.is_equal])
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (b"", b"", True),
        (b"secret", b"secret", True),
        (b"secret", b"secreu", False),
        (b"\x00ecret", b"\x80ecret", False),
        (b"secret", b"secret\x00", False),
        (b"", b"\x00", False),
    ],
)
def test_secrets_are_equal_when_every_byte_is(
    is_equal: Callable[[bytes, bytes], bool], a: bytes, b: bytes, expected: bool
) -> None:
    assert is_equal(a, b) is expected


@pytest.mark.parametrize("length", [-1, hkdf.LENGTH_MAX + 1])
def test_a_length_that_cannot_be_given_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=str(length)):
        hkdf.hkdf_expand(bytes(32), b"", length)


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 200), st.integers(0, 200))
@settings(deadline=None)
def test_a_shorter_key_is_the_start_of_a_longer_one(prk: bytes, info: bytes, short: int, more: int) -> None:
    long = hkdf.hkdf_expand(prk, info, short + more)
    assert len(long) == short + more
    assert hkdf.hkdf_expand(prk, info, short) == long[:short]
