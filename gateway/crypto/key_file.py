"""The files that hold a secret: keys of a gateway, of a reader, and of who publishes firmware.

Runs on CPython (Linux).  Each is one line, `cpc-gateway-key-1:SEED:CHECK` (or reader, or publisher):
32 random bytes in hex, and the first four bytes of the SHA-256 of all that stands before the second colon,
so that a slip of the disk or of a hand is noticed.  Mode 0600.  A file appears whole and synced, or not at
all, and is never overwritten: a key lost is data lost.

All keys are derived from the seed by label (HKDF, RFC 5869); none is stored.
"""

import os
import stat
from pathlib import Path

from gateway.crypto.errors import (
    KeyFileDamaged,
    KeyFileError,
    KeyFileExists,
    KeyFileExposed,
    KeyFileMissing,
    SizeRefused,
)
from puf.did import X25519, did_key, parse_did_key
from puf.ed25519 import SigningKey
from puf.errors import PufError
from puf.hkdf import hkdf, is_equal, sha256
from puf.x25519 import PrivateKey

SEED_SIZE = 32
_GATEWAY = "gateway"
_PUBLISHER = "publisher"
_READER = "reader"
FILE_SIZE_MAX = 4096


class GatewayKey:
    """All that a gateway keeps secret, from one seed (bytes, 32).  Printing it shows only its public key."""

    __slots__ = ("_seed", "data_root", "identity", "spool_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise SizeRefused("the seed of a gateway's key", len(seed), SEED_SIZE)
        self._seed = bytes(seed)
        self.identity = SigningKey(self._derive(b"identity"))
        """Who the gateway is: signs its anchors and grants."""
        self.data_root = self._derive(b"data-root")
        """The root of all its streams' key trees; see `stream_root`."""
        self.spool_key = self._derive(b"spool")
        """What the spool on its disk is sealed with."""

    def _derive(self, label: bytes) -> bytes:
        return hkdf(self._seed, b"", b"cpc/gateway-key/1/" + label, 32)

    def __repr__(self) -> str:
        return f"GatewayKey({did_key(self.identity.public)}, secrets hidden)"


def create_gateway_key(path: str | os.PathLike[str]) -> GatewayKey:
    """Make a new gateway key in the file `path`.  Raises KeyFileExists, KeyFileError."""
    seed = os.urandom(SEED_SIZE)
    create_file(Path(path), _text(_GATEWAY, seed), 0o600)
    return GatewayKey(seed)


def load_gateway_key(path: str | os.PathLike[str]) -> GatewayKey:
    """The gateway key in `path`.

    Raises KeyFileMissing, KeyFileExposed (others may read it), KeyFileDamaged, KeyFileError.
    """
    return GatewayKey(_load(Path(path), _GATEWAY))


def create_reader_key(path: str | os.PathLike[str]) -> PrivateKey:
    """Make a new reader key in the file `path`, and its public name, for owners to grant to, in `path`.pub.

    Raises KeyFileExists if there is either, KeyFileError.
    """
    public_path = Path(f"{os.fspath(path)}.pub")
    if public_path.exists():
        raise KeyFileExists(str(public_path), "exists already; take another name, or move it away first")
    seed = os.urandom(SEED_SIZE)
    create_file(Path(path), _text(_READER, seed), 0o600)
    key = _reader_key(seed)
    create_file(public_path, reader_public_text(key.public), 0o644)
    return key


def load_reader_key(path: str | os.PathLike[str]) -> PrivateKey:
    """The reader key in `path`.  Raises as `load_gateway_key` does."""
    return _reader_key(_load(Path(path), _READER))


def create_publisher_key(path: str | os.PathLike[str]) -> SigningKey:
    """Make a new key that signs firmware in the file `path`.  Raises KeyFileExists, KeyFileError."""
    key = SigningKey.generate()
    create_file(Path(path), _text(_PUBLISHER, key.seed))
    return key


def load_publisher_key(path: str | os.PathLike[str]) -> SigningKey:
    """The publisher's key in `path`.  Raises as `load_gateway_key` does."""
    return SigningKey(_load(Path(path), _PUBLISHER))


def reader_public_text(public: bytes) -> str:
    """What stands in a .pub file: the reader's X25519 key (bytes, 32) as a did:key, and a line feed."""
    return did_key(public, X25519) + "\n"


def parse_reader_public(text: str) -> bytes:
    """The X25519 key (bytes, 32) that a .pub file or a did:key names.  Raises KeyFileDamaged."""
    try:
        codec, public = parse_did_key(text.strip())
    except PufError as error:
        raise KeyFileDamaged(
            ".pub", f"no reader's public key, it should read did:key:z6LS...: {error}"
        ) from error
    if codec != X25519:
        raise KeyFileDamaged(".pub", "the key of a signer; a reader's public key reads did:key:z6LS...")
    return public


def _reader_key(seed: bytes) -> PrivateKey:
    return PrivateKey(hkdf(seed, b"", b"cpc/reader-key/1/x25519", 32))


def checksum(head: str) -> str:
    """The last field of a key file, over all before its colon."""
    return sha256(head.encode())[:4].hex()


def _text(kind: str, seed: bytes) -> str:
    head = f"cpc-{kind}-key-1:{seed.hex()}"
    return f"{head}:{checksum(head)}\n"


def create_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a new file that survives a power cut once this returns.  Raises KeyFileExists, KeyFileError."""
    # Written under another name and then linked, because a link, unlike a rename, replaces nothing, and
    # the name never stands for a file that is half written.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(text.encode())
                file.flush()
                os.fsync(descriptor)
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError as error:
        raise KeyFileExists(str(path), "exists already; take another name, or move it away first") from error
    except OSError as error:
        raise KeyFileError(str(path), f"cannot be written: {error.strerror}") from error


def _load(path: Path, kind: str) -> bytes:
    return _parse(path, kind, read_file(path))


def read_file(path: Path) -> bytes:
    """What is in a file that only its owner may read.

    Raises KeyFileMissing, KeyFileExposed, KeyFileDamaged (no file), KeyFileError.
    """
    try:
        # Non-blocking, lest a FIFO of that name keeps us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileDamaged(str(path), "is not a file; name the key file itself")
            if status.st_mode & 0o077:
                raise KeyFileExposed(
                    str(path),
                    f"others than you may read it (mode {stat.S_IMODE(status.st_mode):04o}): "
                    f"run `chmod 600 {path}`, and make a new key if someone may have done so",
                )
            return file.read(FILE_SIZE_MAX)
    except FileNotFoundError as error:
        raise KeyFileMissing(str(path), "does not exist; create it first, or name the right one") from error
    except OSError as error:
        raise KeyFileError(str(path), f"cannot be read: {error.strerror}") from error


def _parse(path: Path, kind: str, content: bytes) -> bytes:
    """The seed.  Raises KeyFileDamaged, whose message never quotes the file."""
    text = content.decode("ascii", errors="replace").strip()
    head, _, check = text.rpartition(":")
    label, _, digits = head.partition(":")
    wanted = f"cpc-{kind}-key-1"
    if label != wanted and label in (f"cpc-{_GATEWAY}-key-1", f"cpc-{_READER}-key-1"):
        raise KeyFileDamaged(str(path), f"is a {label.split('-')[1]}'s key, a {kind}'s is needed")
    if label != wanted:
        raise KeyFileDamaged(str(path), f"is no key file: it should start with `{wanted}:`")
    if not is_equal(checksum(head).encode(), check.encode()):
        raise KeyFileDamaged(str(path), "is damaged: its checksum does not fit; restore it from your copy")
    try:
        seed = bytes.fromhex(digits)
    except ValueError:
        seed = b""
    if len(seed) != SEED_SIZE or seed.hex() != digits:
        raise KeyFileDamaged(str(path), f"is damaged: it does not hold {SEED_SIZE} bytes in hex")
    return seed
