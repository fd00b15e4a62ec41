"""A wallet: an account's key in a file, encrypted with a passphrase.

Runs on CPython (Linux).  One line, mode 0600, written as key_file.py writes its files and never overwritten:

    cpc-wallet-1:BODY:CHECK      BODY: a CBOR map in hex; CHECK: as in key_file.py

    1 passes   2 memory KiB   3 salt (16)   4 public key (32)   5 nonce (24)   6 sealed seed (48)

The seal is XChaCha20-Poly1305 under Argon2id of the passphrase; fields 1 to 5 are authenticated with it, so
that nobody makes a wallet of one account show another's name.  The public key is readable without the
passphrase: looking at an account needs none.  Who has the file can try passphrases, at some 0.2 s and 64 MiB
each: take a long one.  Sources: RFC 9106; draft-irtf-cfrg-xchacha-03.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from nacl import pwhash
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError as NaclError

from gateway.crypto.errors import KeyFileDamaged, KeyFileError, WrongPassphrase
from gateway.crypto.key_file import SEED_SIZE, checksum, create_file, read_file
from puf import cbor
from puf.ed25519 import SigningKey
from puf.errors import DecodeError
from puf.hkdf import is_equal

LABEL = "cpc-wallet-1"
PASSES = 3
MEMORY_KIB = 64 << 10
"""What a Raspberry Pi has to spare; a wallet says its own, so that later ones may take more."""
PASSES_MAX = 16
MEMORY_KIB_MAX = 1 << 20
"""Beyond these a file is no wallet but a trap."""
PASSPHRASE_LENGTH_MIN = 8
SALT_SIZE, NONCE_SIZE, SEALED_SIZE = 16, 24, 48
BODY_SIZE_MAX = 256
_SIZES = {3: SALT_SIZE, 4: 32, 5: NONCE_SIZE, 6: SEALED_SIZE}


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet as it lies in its file, locked.  Made by `create` or `load`."""

    path: Path
    public: bytes
    """The account: an Ed25519 public key, 32 bytes."""
    fields: dict[int, object] = field(repr=False)

    def unlock(self, passphrase: str) -> SigningKey:
        """The account's key.  Raises WrongPassphrase."""
        passes, memory_kib, salt, nonce, sealed = (self.fields[number] for number in (1, 2, 3, 5, 6))
        assert isinstance(passes, int) and isinstance(memory_kib, int)  # noqa: S101, PT018 - `load` has looked
        assert isinstance(salt, bytes) and isinstance(nonce, bytes)  # noqa: S101, PT018
        assert isinstance(sealed, bytes)  # noqa: S101
        key = _stretch(passphrase, salt, passes, memory_kib)
        try:
            seed = crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, _head(self.fields), nonce, key)
        except NaclError:
            raise WrongPassphrase(
                str(self.path), "the passphrase does not open it; try another one"
            ) from None
        signing = SigningKey(seed)
        if signing.public != self.public:
            raise KeyFileDamaged(str(self.path), "its key is not the one it names; restore it from your copy")
        return signing


def create(path: Path, passphrase: str, seed: bytes | None = None) -> Wallet:
    """A new wallet.  seed: bytes, 32, of an account there is already; by default a new one.

    Raises KeyFileExists, KeyFileError, which also refuses a passphrase too short.
    """
    if len(passphrase) < PASSPHRASE_LENGTH_MIN:
        raise KeyFileError(
            str(path), f"a passphrase has at least {PASSPHRASE_LENGTH_MIN} characters; take a long one"
        )
    made = _seal(
        path, passphrase, seed or os.urandom(SEED_SIZE), os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE)
    )
    head = f"{LABEL}:{cbor.encode(made.fields).hex()}"
    create_file(path, f"{head}:{checksum(head)}\n")
    return made


def load(path: Path) -> Wallet:
    """The wallet in this file.  Raises KeyFileMissing, KeyFileExposed, KeyFileDamaged, KeyFileError."""
    text = read_file(path).decode("ascii", errors="replace").strip()
    head, _, check = text.rpartition(":")
    label, _, digits = head.partition(":")
    if label != LABEL:
        raise KeyFileDamaged(str(path), f"is no wallet: it should start with `{LABEL}:`")
    if not is_equal(checksum(head).encode(), check.encode()):
        raise KeyFileDamaged(str(path), "is damaged: its checksum does not fit; restore it from your copy")
    try:
        fields = cbor.decode(bytes.fromhex(digits), BODY_SIZE_MAX, 1)
    except (ValueError, DecodeError) as error:
        raise KeyFileDamaged(str(path), f"is damaged: {error}") from None
    if not isinstance(fields, dict) or not _is_wallet(fields):
        raise KeyFileDamaged(str(path), "is damaged: its fields are not those of a wallet")
    public = fields[4]
    assert isinstance(public, bytes)  # noqa: S101 - just looked at
    return Wallet(path, public, fields)


def _is_wallet(fields: dict[int, object]) -> bool:
    if set(fields) != {1, 2, *_SIZES}:
        return False
    passes, memory_kib = fields[1], fields[2]
    if type(passes) is not int or type(memory_kib) is not int:
        return False
    is_bounded = 1 <= passes <= PASSES_MAX and 8 <= memory_kib <= MEMORY_KIB_MAX
    blobs = [(fields[number], size) for number, size in _SIZES.items()]
    return is_bounded and all(isinstance(blob, bytes) and len(blob) == size for blob, size in blobs)


def _seal(path: Path, passphrase: str, seed: bytes, salt: bytes, nonce: bytes) -> Wallet:
    public = SigningKey(seed).public
    fields: dict[int, object] = {1: PASSES, 2: MEMORY_KIB, 3: salt, 4: public, 5: nonce}
    key = _stretch(passphrase, salt, PASSES, MEMORY_KIB)
    fields[6] = crypto_aead_xchacha20poly1305_ietf_encrypt(seed, _head(fields), nonce, key)
    return Wallet(path, public, fields)


def _head(fields: dict[int, object]) -> bytes:
    return LABEL.encode() + cbor.encode({number: fields[number] for number in range(1, 6)})


def _stretch(passphrase: str, salt: bytes, passes: int, memory_kib: int) -> bytes:
    # One spelling of an accented letter, whatever keyboard it was typed on.
    password = unicodedata.normalize("NFC", passphrase).encode()
    key: bytes = pwhash.argon2id.kdf(32, password, salt, opslimit=passes, memlimit=memory_kib << 10)
    return key
