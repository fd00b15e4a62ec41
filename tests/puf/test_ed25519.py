"""Vectors of RFC 8032, Wycheproof and speccheck; the plain verifier's verdicts against libsodium's."""

from collections.abc import Callable, Iterator
from hashlib import sha512

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import ed25519, ed25519_pure
from puf.curve25519 import BASE_BYTES, L, P, add, combine, from_bytes, to_bytes
from puf.ed25519 import SigningKey
from puf.errors import KeyFormatError
from tests.puf import vectors

Point = tuple[int, int, int, int]
Verify = Callable[[bytes, bytes, bytes], bool]
BOTH = pytest.mark.parametrize("verify", [ed25519.verify, ed25519_pure.verify])

# RFC 8032, section 7.1: (seed, public, message, signature).  TEST 1024 is among Wycheproof's.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        sha512(b"abc").hexdigest(),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
            "3dca179c138ac17ad9bef1177331a704"
        ),
    ),
]
SEED = bytes(range(32))


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_signatures_are_those_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(seed))
    data = bytes.fromhex(message)
    assert key.public.hex() == ed25519_pure.public_of(key.seed).hex() == public
    assert key.sign(data).hex() == ed25519_pure.sign(key.seed, key.public, data).hex() == signature


@BOTH
@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_only_the_signed_message_verifies(
    verify: Verify, seed: str, public: str, message: str, signature: str
) -> None:
    key, data, proof = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert verify(key, data, proof) is True
    assert verify(key, data + b"\x00", proof) is False
    assert verify(bytes(reversed(key)), data, proof) is False


@BOTH
def test_verdicts_are_those_of_wycheproof(verify: Verify) -> None:
    verdicts = []
    for group, test in vectors.wycheproof("ed25519"):
        public = bytes.fromhex(group["publicKey"]["pk"])
        verdict = verify(public, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
        assert verdict == (test["result"] == "valid"), test
        verdicts.append(verdict)
    assert len(verdicts) == 151
    assert set(verdicts) == {True, False}


@BOTH
def test_of_the_twelve_speccheck_cases_only_number_3_passes(verify: Verify) -> None:
    verdicts = [
        verify(*(bytes.fromhex(case[name]) for name in ("pub_key", "message", "signature")))
        for case in vectors.load("ed25519_speccheck")
    ]
    assert [number for number, verdict in enumerate(verdicts) if verdict] == [3]
    assert len(verdicts) == 12


def _point(data: bytes) -> Point:
    point = from_bytes(data)
    assert point is not None
    return point


BASE = _point(BASE_BYTES)


def _times(n: int, point: Point) -> Point:
    return combine(n, point, 0, point)


def _torsion() -> list[Point]:
    """The eight points of small order."""
    y = 2
    while True:
        found = from_bytes(y.to_bytes(32, "little"))
        if found is not None:
            generator = _times(L, found)
            points = [_times(n, generator) for n in range(8)]
            if len({to_bytes(point) for point in points}) == 8:
                return points
        y += 1


TORSION = _torsion()


def forge(secret: int, nonce: int, key_part: int, r_part: int, message: bytes) -> tuple[bytes, bytes]:
    """A key and a signature that hold up to the cofactor, with these parts of small order in A and R."""
    public = to_bytes(add(_times(secret, BASE), TORSION[key_part]))
    commitment = to_bytes(add(_times(nonce, BASE), TORSION[r_part]))
    challenge = int.from_bytes(sha512(commitment + public + message).digest(), "little") % L
    return public, commitment + ((nonce + challenge * secret) % L).to_bytes(32, "little")


@pytest.mark.parametrize("key_part", range(8))
@pytest.mark.parametrize("r_part", range(8))
def test_with_parts_of_small_order_both_verifiers_want_the_exact_equation(key_part: int, r_part: int) -> None:
    for number in range(4):
        message = bytes((number,))
        for secret, nonce in ((5, 7), (0, 7), (5, 0), (0, 0)):
            public, signature = forge(secret, nonce, key_part, r_part, message)
            challenge = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % L
            cancels = (r_part + challenge * key_part) % 8 == 0
            expected = cancels and secret != 0 and nonce != 0
            assert ed25519.verify(public, message, signature) is expected
            assert ed25519_pure.verify(public, message, signature) is expected


def test_some_signatures_with_parts_of_small_order_do_pass() -> None:
    passed = 0
    for number in range(64):
        public, signature = forge(5, 7, 1, 3, bytes((number,)))
        passed += ed25519.verify(public, bytes((number,)), signature)
    assert 0 < passed < 64


def _odd_encodings() -> Iterator[bytes]:
    """Points of small order, values from P up, each with either sign; and no points at all."""
    for point in TORSION:
        y = int.from_bytes(to_bytes(point), "little") & (2**255 - 1)
        for value in (y, y + P):
            for sign in (0, 1):
                if value < 2**255:
                    yield (value | sign << 255).to_bytes(32, "little")
    for y in (*range(P, 2**255), 2, 3, 4, 5):
        yield y.to_bytes(32, "little")
        yield (y | 1 << 255).to_bytes(32, "little")


ODD = sorted(set(_odd_encodings()))


def test_odd_encodings_of_key_and_commitment_get_one_verdict() -> None:
    key = SigningKey(SEED)
    good = key.sign(b"m")
    for odd in ODD:
        for public, signature in (
            (odd, good),
            (key.public, odd + good[32:]),
            (key.public, odd + bytes(32)),
            (odd, odd + bytes(32)),
            (odd, to_bytes(BASE) + b"\x01" + bytes(31)),
        ):
            assert ed25519.verify(public, b"m", signature) is False
            assert ed25519_pure.verify(public, b"m", signature) is False


@BOTH
def test_a_second_form_of_s_is_refused(verify: Verify) -> None:
    key = SigningKey(SEED)
    signature = key.sign(b"m")
    s = int.from_bytes(signature[32:], "little")
    assert verify(key.public, b"m", signature)
    for other in (s + L, s + 2 * L, s | 1 << 255, s | 1 << 253):
        assert not verify(key.public, b"m", signature[:32] + other.to_bytes(32, "little"))


@BOTH
@pytest.mark.parametrize("bit", range(0, 96 * 8, 7))
def test_a_flipped_bit_in_key_or_signature_is_noticed(verify: Verify, bit: int) -> None:
    key = SigningKey(SEED)
    both = bytearray(key.public + key.sign(b"m"))
    both[bit // 8] ^= 1 << bit % 8
    assert not verify(bytes(both[:32]), b"m", bytes(both[32:]))


@BOTH
def test_a_key_or_signature_of_another_length_is_refused_however_good_its_start(verify: Verify) -> None:
    key = SigningKey(SEED)
    signature = key.sign(b"m")
    assert verify(key.public, b"m", signature)
    assert not verify(key.public + b"\x00", b"m", signature)
    assert not verify(key.public, b"m", signature + b"m")
    assert not verify(key.public, b"", signature + b"m")
    assert not verify(key.public[:31], b"m", signature)
    assert not verify(key.public, b"m", signature[:63])


@given(st.binary(max_size=40), st.binary(max_size=10), st.binary(max_size=70))
@settings(deadline=None, max_examples=200)
def test_arbitrary_bytes_are_no_signature_and_no_error(
    public: bytes, message: bytes, signature: bytes
) -> None:
    assert ed25519.verify(public, message, signature) is False
    assert ed25519_pure.verify(public, message, signature) is False


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
@settings(deadline=None, max_examples=50)
def test_arbitrary_bytes_of_the_right_length_are_no_signature(public: bytes, signature: bytes) -> None:
    assert ed25519.verify(public, b"", signature) is False
    assert ed25519_pure.verify(public, b"", signature) is False


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
@settings(deadline=None, max_examples=40)
def test_both_sign_alike_and_accept_each_other(seed: bytes, message: bytes) -> None:
    key = SigningKey(seed)
    signature = key.sign(message)
    assert ed25519_pure.public_of(seed) == key.public
    assert ed25519_pure.sign(seed, key.public, message) == signature
    assert ed25519.verify(key.public, message, signature)
    assert ed25519_pure.verify(key.public, message, signature)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(KeyFormatError, match=f"not {size}"):
        SigningKey(bytes(size))


def test_printing_a_key_shows_only_its_public_half() -> None:
    key = SigningKey(SEED)
    for text in (repr(key), str(key), f"{key}"):
        assert text == f"SigningKey(public={key.public.hex()})"
        assert SEED.hex() not in text


def test_two_new_keys_differ() -> None:
    assert SigningKey.generate().public != SigningKey.generate().public
