"""Pairings in flash, readable only by the chip whose silicon gives the key.

Runs on CPython and MicroPython.

    [1, nonce, sealed]    sealed = AES-CCM(key, nonce, pairing, aad = << ["cpc/pairing", 1] >>), tag 16 bytes

`key` is derived from the device's root for storage (puf/keys.py): nothing in flash is a secret without the
chip.  A phone, which has no PUF, passes a key of its own keychain.  Sealing hides and authenticates; it does
not keep who holds the flash from putting an older pairing back: that one the peer does not know any more.
"""

from puf import aes_ccm, cbor
from puf.errors import DecodeError, DecryptError, NotesError
from puf.fast_path_keys import Pairing

NONCE_BYTES = 13
TAG_BYTES = 16
_AAD = cbor.encode(["cpc/pairing", 1])


def seal(pairing: Pairing, key: bytes, nonce: bytes) -> bytes:
    """`pairing` as it may lie in flash.  `key`: bytes, 32; `nonce`: bytes, 13, fresh and random each time."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce is {NONCE_BYTES} fresh random bytes, not {len(nonce)}")
    return cbor.encode([1, nonce, aes_ccm.seal(key, nonce, pairing.encode(), _AAD, TAG_BYTES)])


def unseal(data: bytes, key: bytes) -> Pairing:
    """The pairing that was sealed.  Raises NotesError for anything else: drop it, meet in full again."""
    try:
        parts = cbor.decode(data, 512, 1)
        if not isinstance(parts, list) or len(parts) != 3 or not cbor.is_int(parts[0], 1, 1):
            raise DecodeError("not three parts of version 1")
        _, nonce, sealed = parts
        if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES or not isinstance(sealed, bytes):
            raise DecodeError("nonce and ciphertext are byte strings")
        return Pairing.decode(aes_ccm.open_(key, nonce, sealed, _AAD, TAG_BYTES))
    except (DecodeError, DecryptError) as error:
        raise NotesError(f"a sealed pairing: {error}; drop it and meet by the full handshake") from None
