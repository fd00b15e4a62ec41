"""AES-CCM: a message that only the holders of one key can read, or make.

Runs on CPython and MicroPython.  Made of what every board has (puf/aes.py): the blocks of a counter are
the key stream, the last block of a chain is the tag.  Keys have 16 or 32 bytes, for `cryptolib` has no
AES-192; a nonce has 7 to 13 bytes and must never be used twice with one key.

    seal(key, nonce, plaintext, aad, tag_size) = ciphertext, as long as the plaintext, then the tag

Source: RFC 3610, section 2; NIST SP 800-38C, appendix A.  The names are those of the RFC.
"""

from puf.aes import BLOCK_BYTES, chain_blocks, encrypt_blocks
from puf.errors import DecryptError
from puf.hkdf import is_equal

KEY_SIZES = (16, 32)
"""Bytes of a key: AES-128 or AES-256."""
NONCE_SIZES = range(7, 14)
"""Bytes of a nonce; the longer it is, the shorter messages must be.  Source: RFC 3610, section 2.1."""
TAG_SIZES = (4, 6, 8, 10, 12, 14, 16)
"""Bytes of a tag."""


def _check(key: bytes, nonce: bytes, size: int, tag_size: int) -> None:
    if len(key) not in KEY_SIZES:
        raise ValueError(f"an AES key has 16 or 32 bytes here, not {len(key)}")
    if len(nonce) not in NONCE_SIZES:
        raise ValueError(f"a nonce of AES-CCM has 7 to 13 bytes, not {len(nonce)}")
    if tag_size not in TAG_SIZES:
        raise ValueError(f"a tag of AES-CCM has 4, 6, 8, 10, 12, 14 or 16 bytes, not {tag_size}")
    if size >> 8 * (15 - len(nonce)):
        raise ValueError(f"{size} bytes are too many for a nonce of {len(nonce)}; take a shorter nonce")


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK_BYTES)


def _tag(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes, tag_size: int) -> bytes:
    """T, not yet encrypted.  Source: RFC 3610, section 2.2."""
    length_size = 15 - len(nonce)
    flags = (64 if aad else 0) | (tag_size - 2) // 2 << 3 | length_size - 1
    blocks = bytes((flags,)) + nonce + len(plaintext).to_bytes(length_size, "big")
    if aad:
        size = len(aad)
        head = size.to_bytes(2, "big") if size < 0xFF00 else b"\xff\xfe" + size.to_bytes(4, "big")
        blocks += _pad(head + aad)
    return chain_blocks(key, blocks + _pad(plaintext))[:tag_size]


def _crypt(key: bytes, nonce: bytes, tag: bytes, text: bytes) -> tuple[bytes, bytes]:
    """`tag` and `text` with the key stream added: from plain to sealed, or back.  Source: section 2.3."""
    length_size = 15 - len(nonce)
    start = bytes((length_size - 1,)) + nonce
    counters = bytearray()
    # Counter 0 is the tag's.
    for index in range(1 + (len(text) + BLOCK_BYTES - 1) // BLOCK_BYTES):
        counters.extend(start)
        counters.extend(index.to_bytes(length_size, "big"))
    stream = encrypt_blocks(key, bytes(counters))
    return _xor(tag, stream), _xor(text, stream[BLOCK_BYTES:])


def _xor(data: bytes, stream: bytes) -> bytes:
    size = len(data)
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream[:size], "big")).to_bytes(size, "big")


def seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes = b"", tag_size: int = 8) -> bytes:
    """The ciphertext of `plaintext` and, behind it, the tag of both it and `aad`, which is not carried.

    Raises ValueError for lengths that AES-CCM does not have.
    """
    _check(key, nonce, len(plaintext), tag_size)
    tag, ciphertext = _crypt(key, nonce, _tag(key, nonce, plaintext, aad, tag_size), plaintext)
    return ciphertext + tag


def open_(key: bytes, nonce: bytes, sealed: bytes, aad: bytes = b"", tag_size: int = 8) -> bytes:
    """The plaintext of what `seal` made with the same key, nonce, `aad` and `tag_size`.

    Raises DecryptError, and says nothing of the plaintext, when any of them or any bit of `sealed` is
    another; ValueError for lengths that AES-CCM does not have.
    """
    size = len(sealed) - tag_size
    _check(key, nonce, max(size, 0), tag_size)
    if size < 0:
        raise DecryptError(f"{len(sealed)} bytes are less than a tag of {tag_size}")
    tag, plaintext = _crypt(key, nonce, sealed[size:], sealed[:size])
    if not is_equal(tag, _tag(key, nonce, plaintext, aad, tag_size)):
        raise DecryptError("the tag is wrong: another key or nonce, or what was sealed has been changed")
    return plaintext
