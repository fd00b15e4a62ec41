"""Pairings in flash: a foreign AES-CCM opens ours, nobody else does, and no damage passes."""

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor
from puf.errors import NotesError
from puf.fast_path_keys import Pairing
from puf.fast_path_store import seal, unseal
from puf.keys import STORAGE, derive
from tests.micropython import run
from tests.puf.messages import all_bits_flipped, all_truncated

STORED = derive(bytes(range(32)), STORAGE)
PAIRING = Pairing(b"car", b"lock", bytes(range(32)), 7)
NONCE = b"\x55" * 13

# What lies in flash.  Changing it is a line in CHANGELOG.md.
GOLDEN = (
    "83014d55555555555555555555555555583e4bdf6568101afbb864fd8ff14c31447e6f8ace765efeca44ca09d2651fab"
    "70c996057814b7ab971e7abd84e4cbc8eba246cba89ddfa6feab456963abae05"
)

ON_MICROPYTHON = """
from puf.fast_path_keys import Pairing
from puf.fast_path_store import seal, unseal
from puf.keys import STORAGE, derive
key = derive(bytes(range(32)), STORAGE)
data = seal(Pairing(b"car", b"lock", bytes(range(32)), 7), key, b"U" * 13)
print(data.hex(), unseal(data, key))
"""


def test_a_foreign_library_opens_what_lies_in_flash_and_both_interpreters_write_it_alike() -> None:
    data = seal(PAIRING, STORED, NONCE)
    assert data.hex() == GOLDEN
    version, nonce, sealed = cbor2.loads(data)
    aad = cbor2.dumps(["cpc/pairing", 1])
    plain = AESCCM(STORED, tag_length=16).decrypt(nonce, sealed, aad)
    assert (version, nonce, list(cbor2.loads(plain))) == (1, NONCE, [1, b"car", b"lock", 7, bytes(range(32))])
    assert run(ON_MICROPYTHON) == f"{data.hex()} Pairing(636172, 6c6f636b, epoch=7)\n"


def test_only_the_chip_opens_it_and_no_damage_passes() -> None:
    data = seal(PAIRING, STORED, NONCE)
    assert unseal(data, STORED).encode() == PAIRING.encode()
    assert PAIRING.key not in data
    for damaged in (*all_bits_flipped(data), *all_truncated(data), data + b"\x00"):
        with pytest.raises(NotesError, match="full handshake"):
            unseal(damaged, STORED)
    with pytest.raises(NotesError, match="another key"):
        unseal(data, bytes(32))


@given(st.binary(max_size=60) | st.lists(st.integers() | st.binary(max_size=40), max_size=4).map(cbor.encode))
@settings(deadline=None, max_examples=100)
def test_garbage_is_no_pairing(data: bytes) -> None:
    with pytest.raises(NotesError):
        unseal(data, STORED)


def test_a_nonce_of_another_length_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="13 fresh"):
        seal(PAIRING, STORED, bytes(12))
