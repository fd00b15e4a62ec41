"""Keys derived from a root: golden vectors, a foreign HKDF, and no two labels that give one key."""

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import keys
from puf.ed25519 import SigningKey
from puf.hkdf import LENGTH_MAX
from puf.x25519 import PrivateKey
from tests.micropython import run

ROOT = bytes(range(32))

GOLDEN = [
    (keys.IDENTITY, b"", 32, "8dfbc45ceb74218bc5639e3d872a69aeb9b338c627f48bc917895c598d112efc"),
    (keys.EDHOC, b"", 32, "85d0e09dcefb0d7d0b96f3369ae05b3f35a61b994c19378f659c25d7da2281c4"),
    (keys.RESUMPTION, b"", 32, "8c4b9c1632a1c52ce190675fb03261f4f4d60656c2e1840a843f37c240f8289f"),
    (keys.STORAGE, b"", 32, "986548451f21e6d2ef9aa5f65a5f19053c6a20db24e449206a065c9a50aec842"),
    (
        keys.STORAGE,
        b"log",
        48,
        ("50662eb7c3c56eca55a159f139072127cac0c385e1578438ffb32276ef4c8160c00b00e9efdbaba7bd62b2515df75f88"),
    ),
]
GOLDEN_PAIRWISE = "f3ee7a0ad32a0e4980526f04acf5d442d1a22023e2578d74a594ccd70ef6534e"


@pytest.mark.parametrize(("label", "context", "size", "expected"), GOLDEN)
def test_the_children_of_a_root_never_change(label: str, context: bytes, size: int, expected: str) -> None:
    assert keys.derive(ROOT, label, context, size).hex() == expected


def test_the_secret_of_a_pair_never_changes() -> None:
    assert keys.pairwise(ROOT, b"gateway", 7).hex() == GOLDEN_PAIRWISE


def test_micropython_derives_the_same_keys() -> None:
    code = "from puf import keys\nroot = bytes(range(32))\n"
    code += "".join(
        f"print(keys.derive(root, {label!r}, {context!r}, {size}).hex())\n"
        for label, context, size, _ in GOLDEN
    )
    code += "print(keys.pairwise(root, b'gateway', 7).hex())"
    assert run(code).split() == [expected for *_, expected in GOLDEN] + [GOLDEN_PAIRWISE]


def test_a_foreign_hkdf_derives_the_same_key() -> None:
    # ["cpc/puf", 1, "identity", h'616263'], written by hand.
    info = b"\x84\x67cpc/puf\x01\x68identity\x43abc"
    assert keys.derive(ROOT, keys.IDENTITY, b"abc", 40) == HKDFExpand(SHA256(), 40, info).derive(ROOT)
    context = b"\x82\x47gateway\x19\x01\x00"
    info = b"\x84\x67cpc/puf\x01\x68pairwise\x4c" + context
    assert keys.pairwise(ROOT, b"gateway", 256) == HKDFExpand(SHA256(), 32, info).derive(ROOT)


LABELS = st.sampled_from((keys.IDENTITY, keys.EDHOC, keys.RESUMPTION, keys.STORAGE, keys.PAIRWISE))


@given(st.tuples(LABELS, st.binary(max_size=40)), st.tuples(LABELS, st.binary(max_size=40)))
@settings(deadline=None, max_examples=60)
def test_two_purposes_have_one_key_only_if_they_are_one(a: tuple[str, bytes], b: tuple[str, bytes]) -> None:
    assert (keys.derive(ROOT, *a) == keys.derive(ROOT, *b)) == (a == b)


def test_peers_and_epochs_have_keys_of_their_own() -> None:
    pairs = [(b"a", 0), (b"a", 1), (b"b", 0), (b"a\x00", 0), (b"", 0), (b"", 1 << 40)]
    assert len({keys.pairwise(ROOT, *pair) for pair in pairs}) == len(pairs)
    assert len({keys.pairwise(bytes(31) + bytes((last,)), b"a", 0) for last in range(8)}) == 8


def test_children_are_what_the_key_classes_take() -> None:
    assert len(SigningKey(keys.derive(ROOT, keys.IDENTITY)).public) == 32
    assert len(PrivateKey(keys.derive(ROOT, keys.EDHOC)).public) == 32


def test_what_cannot_be_derived_is_refused_without_a_word_on_the_key() -> None:
    with pytest.raises(ValueError, match="32 bytes or more, not 31") as told:
        keys.derive(b"\x5a" * 31, keys.IDENTITY)
    assert "5a" not in str(told.value)
    assert "Z" not in str(told.value)
    with pytest.raises(ValueError, match=str(LENGTH_MAX)):
        keys.derive(ROOT, keys.IDENTITY, size=LENGTH_MAX + 1)
    with pytest.raises(ValueError, match="an epoch is 0 or more, not -1"):
        keys.pairwise(ROOT, b"gateway", -1)
