"""AES over whole blocks, in the two modes that a stock board has: the one difference between interpreters.

Runs on CPython and MicroPython.  On MicroPython `cryptolib` does the work (in hardware on an ESP32), on
CPython `cryptography`.  Nobody should encrypt with these two: they are what `puf.aes_ccm` is made of.
Source: FIPS 197; NIST SP 800-38A, sections 6.1 (ECB) and 6.2 (CBC).
"""

import sys

BLOCK_BYTES = 16
"""Length of a block, whatever the key's length."""

if sys.implementation.name == "micropython":
    import cryptolib  # type: ignore[import-not-found]

    def encrypt_blocks(key: bytes, blocks: bytes) -> bytes:
        """Each 16-byte block by itself (ECB)."""
        encrypted: bytes = cryptolib.aes(key, 1).encrypt(blocks)
        return encrypted

    def chain_blocks(key: bytes, blocks: bytes) -> bytes:
        """The last block of the chain (CBC, beginning with zeros) through one or more 16-byte blocks."""
        chain: bytes = cryptolib.aes(key, 2, bytes(BLOCK_BYTES)).encrypt(blocks)
        return chain[-BLOCK_BYTES:]

else:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

    def encrypt_blocks(key: bytes, blocks: bytes) -> bytes:
        """Each 16-byte block by itself (ECB)."""
        # As a part of CCM, whose counter never repeats under one key.
        return Cipher(AES(key), ECB()).encryptor().update(blocks)  # noqa: S305

    def chain_blocks(key: bytes, blocks: bytes) -> bytes:
        """The last block of the chain (CBC, beginning with zeros) through one or more 16-byte blocks."""
        return Cipher(AES(key), CBC(bytes(BLOCK_BYTES))).encryptor().update(blocks)[-BLOCK_BYTES:]
