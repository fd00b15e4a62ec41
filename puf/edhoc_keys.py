"""EDHOC's key schedule: transcript hashes, the keys that follow from them, and what a session gives.

Runs on CPython and MicroPython.  Each message's keys depend on every byte that was sent before it and on
both credentials, so two parties with equal keys have seen the same handshake.

    TH_2     = H(G_Y, H(message_1))                PRK_2e       = Extract(TH_2, G_XY)
    TH_3     = H(TH_2, PLAINTEXT_2, CRED_R)        PRK_3e2m     = Extract(KDF(PRK_2e, 1, TH_2), G_RX)
    TH_4     = H(TH_3, PLAINTEXT_3, CRED_I)        PRK_4e3m     = Extract(KDF(PRK_3e2m, 5, TH_3), G_IY)
    PRK_out  = KDF(PRK_4e3m, 7, TH_4)              PRK_exporter = KDF(PRK_out, 10, h'')

Suites differ here in their curve alone: hash SHA-256, AEAD AES-CCM-16-64-128, MACs of 8 bytes.
Source: RFC 9528, section 4 and appendix H.
"""

from collections import namedtuple

from puf import cbor
from puf.errors import KeyFormatError
from puf.hkdf import HASH_BYTES, hkdf_expand, hkdf_extract, sha256
from puf.x25519 import exchange, public_of

MAC_BYTES = 8
"""EDHOC MAC length of suites 0 and 2.  Source: RFC 9528, section 3.6."""
KEY_BYTES = 16
"""Key length of AES-CCM-16-64-128."""
NONCE_BYTES = 13
"""Nonce length of AES-CCM-16-64-128."""

# The labels of section 4.1.2, table 3.
KEYSTREAM_2, SALT_3E2M, MAC_2, K_3, IV_3, SALT_4E3M, MAC_3, PRK_OUT, K_4, IV_4, PRK_EXPORTER = range(11)
PRK_OUT_UPDATE = 11
"""Label of a key update.  Source: RFC 9528, appendix H."""
RESUMPTION = 32768
"""Exporter label of the secret that makes the next meeting a short one; the first of private use.
Source: RFC 9528, section 10.1."""


class Suite(namedtuple("Suite", ("number", "kty", "crv", "public_size", "exchange", "public_of"))):
    """A cipher suite: its number, and its curve as COSE names it and as functions.

    `exchange(private, peer_public) -> shared` raises KeyFormatError for what is no proper point;
    `public_of(private) -> public`.  Publics have `public_size` bytes.
    """

    __slots__ = ()
    KIND = "suite"


def _x25519(private: bytes, peer_public: bytes) -> bytes:
    if len(private) != 32 or len(peer_public) != 32:
        raise KeyFormatError("keys of X25519 have 32 bytes")
    shared = exchange(private, peer_public)
    if shared == bytes(32):
        raise KeyFormatError("the peer's X25519 key is a point of low order")
    return shared


SUITE_0 = Suite(0, 1, 4, 32, _x25519, public_of)
"""X25519, AES-CCM-16-64-128, SHA-256: the one suite of a device.  Source: RFC 9528, section 3.6."""


def sequence(*items: object) -> bytes:
    """The encodings of `items`, one after the other."""
    return b"".join([cbor.encode(item) for item in items])


def kdf(prk: bytes, label: int, context: bytes, size: int = HASH_BYTES) -> bytes:
    """EDHOC_KDF: `size` bytes.  Source: RFC 9528, section 4.1.2."""
    return hkdf_expand(prk, sequence(label, context, size), size)


def transcript_2(g_y: bytes, message_1: bytes) -> bytes:
    """TH_2.  Source: RFC 9528, section 5.3.2."""
    return sha256(sequence(g_y, sha256(message_1)))


def transcript_next(transcript: bytes, plaintext: bytes, credential: bytes) -> bytes:
    """TH_3 of TH_2, PLAINTEXT_2 and CRED_R; TH_4 of TH_3, PLAINTEXT_3 and CRED_I."""
    return sha256(cbor.encode(transcript) + plaintext + credential)


def extract(prk: bytes, label: int, transcript: bytes, shared: bytes) -> bytes:
    """PRK_3e2m (label SALT_3E2M) or PRK_4e3m (label SALT_4E3M) of static Diffie-Hellman."""
    return hkdf_extract(kdf(prk, label, transcript), shared)


def extract_first(transcript: bytes, shared: bytes) -> bytes:
    """PRK_2e.  Source: RFC 9528, section 4.1.1.1."""
    return hkdf_extract(transcript, shared)


def aad(transcript: bytes) -> bytes:
    """A_3 of TH_3, A_4 of TH_4: what the AEAD authenticates along.  Source: RFC 9528, section 5.4.2."""
    return cbor.encode(["Encrypt0", b"", transcript])


class Session:
    """What two parties who proved themselves to each other now share.

    `peer`: who the other is, a Credential; `own_id` and `peer_id`: bytes, the connection identifiers that
    messages to us and to the peer carry.  Printing it shows no key.
    """

    __slots__ = ("_prk_exporter", "_prk_out", "own_id", "peer", "peer_id")

    def __init__(self, prk_4e3m: bytes, th_4: bytes, peer: object, own_id: bytes, peer_id: bytes) -> None:
        self.peer = peer
        self.own_id = own_id
        self.peer_id = peer_id
        self._take(kdf(prk_4e3m, PRK_OUT, th_4))

    def _take(self, prk_out: bytes) -> None:
        self._prk_out = prk_out
        self._prk_exporter = kdf(prk_out, PRK_EXPORTER, b"")

    def exporter(self, label: int, context: bytes = b"", size: int = HASH_BYTES) -> bytes:
        """EDHOC_Exporter: `size` bytes that belong to `label` and `context`.  Source: section 4.2.1.

        label: int, 0 to 65535, of IANA's registry of exporter labels; from 32768 for private use.
        Raises ValueError for another label.
        """
        if not 0 <= label <= 0xFFFF:
            raise ValueError(f"an exporter label is 0 to 65535, not {label}")
        return kdf(self._prk_exporter, label, context, size)

    def key_update(self, context: bytes) -> None:
        """EDHOC_KeyUpdate: replaces all keys; what was exported before cannot be computed from them.

        Both sides must do it with the same `context`, which is public.  Source: RFC 9528, appendix H.
        """
        self._take(kdf(self._prk_out, PRK_OUT_UPDATE, context))

    def __repr__(self) -> str:
        return f"Session(own_id={self.own_id.hex()}, peer_id={self.peer_id.hex()}, peer={self.peer!r})"
