"""Vectors of RFC 7748 and Wycheproof; the plain ladder against the library's."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519

from puf import x25519_pure
from puf.curve25519 import P, from_bytes, is_small_order
from puf.ed25519 import SigningKey
from puf.errors import KeyFormatError
from puf.x25519 import PrivateKey, public_from_ed25519
from tests.puf import vectors

Exchange = Callable[[bytes, bytes], bytes]


def library_exchange(seed: bytes, public: bytes) -> bytes:
    """As `x25519_pure.exchange`: zeros, where the public interface refuses the peer."""
    try:
        return PrivateKey(seed).exchange(public)
    except KeyFormatError:
        return bytes(32)


BOTH = pytest.mark.parametrize("exchange", [library_exchange, x25519_pure.exchange])

# RFC 7748, section 5.2: (scalar, u, result).
RFC_7748 = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]
ALICE = (
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
)
BOB = (
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
)
SHARED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
# Order 1, 2, 4 and 8 on the curve and its twist, and the same with P added or the ignored bit set.
LOW_ORDER = [
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        P - 1,
        P,
        P + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        (1 << 255),
        (1 << 255) + 1,
        (1 << 255) + P - 1,
    )
]


@BOTH
@pytest.mark.parametrize(("scalar", "u", "result"), RFC_7748)
def test_products_are_those_of_rfc_7748(exchange: Exchange, scalar: str, u: str, result: str) -> None:
    assert exchange(bytes.fromhex(scalar), bytes.fromhex(u)).hex() == result


def _iterate(exchange: Exchange, count: int) -> str:
    k = u = b"\x09" + bytes(31)
    for _ in range(count):
        k, u = exchange(k, u), k
    return k.hex()


@BOTH
def test_one_iteration_is_that_of_rfc_7748(exchange: Exchange) -> None:
    assert _iterate(exchange, 1) == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"


@pytest.mark.parametrize(
    "exchange", [library_exchange, pytest.param(x25519_pure.exchange, marks=pytest.mark.slow)]
)
def test_a_thousand_iterations_are_those_of_rfc_7748(exchange: Exchange) -> None:
    assert _iterate(exchange, 1000) == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_two_parties_share_the_secret_of_rfc_7748() -> None:
    alice, bob = PrivateKey(bytes.fromhex(ALICE[0])), PrivateKey(bytes.fromhex(BOB[0]))
    assert (alice.public.hex(), bob.public.hex()) == (ALICE[1], BOB[1])
    assert alice.exchange(bob.public).hex() == bob.exchange(alice.public).hex() == SHARED
    assert x25519_pure.public_of(alice.seed) == alice.public


@BOTH
def test_products_are_those_of_wycheproof(exchange: Exchange) -> None:
    tests = vectors.wycheproof("x25519")
    assert len(tests) == 518
    for _, test in tests:
        private, public = bytes.fromhex(test["private"]), bytes.fromhex(test["public"])
        assert exchange(private, public).hex() == test["shared"], test


def test_a_secret_of_zeros_is_refused_on_every_wycheproof_case() -> None:
    refused = 0
    for _, test in vectors.wycheproof("x25519"):
        key = PrivateKey(bytes.fromhex(test["private"]))
        public = bytes.fromhex(test["public"])
        if test["shared"] == "00" * 32:
            refused += 1
            with pytest.raises(KeyFormatError, match=public.hex()):
                key.exchange(public)
        else:
            assert key.exchange(public).hex() == test["shared"], test
    assert refused > 0


@pytest.mark.parametrize("public", LOW_ORDER, ids=bytes.hex)
def test_a_peer_of_low_order_is_refused(public: bytes) -> None:
    with pytest.raises(KeyFormatError, match="low order"):
        PrivateKey(bytes(range(32))).exchange(public)
    assert x25519_pure.exchange(bytes(range(32)), public) == bytes(32)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=60)
def test_the_plain_ladder_is_the_librarys(seed: bytes, public: bytes) -> None:
    assert x25519_pure.exchange(seed, public) == library_exchange(seed, public)
    assert x25519_pure.public_of(seed) == PrivateKey(seed).public


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(KeyFormatError, match=f"not {size}"):
        PrivateKey(bytes(size))
    with pytest.raises(KeyFormatError, match=f"not {size}"):
        PrivateKey(bytes(32)).exchange(bytes(size))


def test_printing_a_key_shows_only_its_public_half() -> None:
    key = PrivateKey(bytes(range(32)))
    for text in (repr(key), str(key), f"{key}"):
        assert text == f"PrivateKey(public={key.public.hex()})"
        assert key.seed.hex() not in text


def test_two_new_keys_differ() -> None:
    assert PrivateKey.generate().public != PrivateKey.generate().public


@given(st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=60)
def test_an_ed25519_key_has_the_twin_that_libsodium_gives_it(seed: bytes) -> None:
    public = SigningKey(seed).public
    assert public_from_ed25519(public) == crypto_sign_ed25519_pk_to_curve25519(public)


@given(st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=60)
def test_bytes_that_are_no_point_have_no_twin(public: bytes) -> None:
    point = from_bytes(public)
    if point is None or is_small_order(point):
        with pytest.raises(KeyFormatError, match=public.hex()):
            public_from_ed25519(public)
    else:
        assert len(public_from_ed25519(public)) == 32


@pytest.mark.parametrize(
    "public", [bytes(32), b"\x01" + bytes(31), (P - 1).to_bytes(32, "little"), b"\xff" * 32, b"", bytes(31)]
)
def test_a_point_of_small_order_or_none_has_no_twin(public: bytes) -> None:
    with pytest.raises(KeyFormatError, match="not an Ed25519 public key"):
        public_from_ed25519(public)
