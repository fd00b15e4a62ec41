"""TLS 1.3 between nodes, each proving its node key: bytes in, bytes out.

Runs on CPython; no sockets.  A node's certificate carries its Ed25519 key and is signed by that same key,
so there is no authority to ask and no name to check: who has the key is the node.  Both sides show one,
and the handshake proves that they hold its key.  Nothing older than TLS 1.3 is spoken, and sessions are
never resumed, so that every connection proves it anew.

    channel = TlsChannel(context, is_client=True)
    channel.feed(bytes from the wire); plain = channel.read(); channel.write(plain); wire = channel.take()

Source: RFC 8446; RFC 8410 for Ed25519 in certificates.
"""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from chain_node.errors import PeerError
from puf.ed25519 import SigningKey

READ_SIZE = 1 << 16
VALID_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
VALID_UNTIL = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)
"""A node's certificate says who it is, not until when; clocks of gateways jump."""


class TlsFailed(PeerError):
    """The peer does not speak TLS 1.3 with a node certificate, or what it sent is damaged; drop it."""


@dataclass(frozen=True, slots=True)
class TlsContext:
    """What all connections of one node share.  Made by `of`."""

    public: bytes
    """Our node key."""
    context: SSL.Context

    @classmethod
    def of(cls, key: SigningKey) -> "TlsContext":
        """The context of the node with this key."""
        private = Ed25519PrivateKey.from_private_bytes(key.seed)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_max_proto_version(SSL.TLS1_3_VERSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept)
        context.use_certificate(_certificate(private))
        context.use_privatekey(private)
        return cls(key.public, context)


class TlsChannel:
    """One connection.  Raises TlsFailed; the connection is then of no use any more."""

    def __init__(self, context: TlsContext, *, is_client: bool) -> None:
        self._connection = SSL.Connection(context.context, None)
        if is_client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()
        self.peer_public: bytes | None = None
        """The peer's node key, once it has proven it."""
        self.is_closed = False
        """Whether the peer has ended its side in order."""
        self.is_broken = False
        """Whether OpenSSL has given the connection up; it must then not be asked for anything."""
        self._waiting = bytearray()
        self._shake()

    def feed(self, data: bytes) -> None:
        """Bytes came from the wire."""
        view = memoryview(data)
        while view:
            view = view[self._connection.bio_write(view[:READ_SIZE].tobytes()) :]
            self._shake()

    def read(self) -> bytes:
        """What the peer has said, decrypted, as far as it is here."""
        if self.peer_public is None:
            return b""
        parts = []
        while not self.is_closed:
            try:
                parts.append(self._connection.recv(READ_SIZE))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.is_closed = True
            except SSL.Error as error:
                raise self._broken("it sent a damaged TLS record", error) from None
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        """Say something; until the handshake is done it waits."""
        self._waiting += data
        self._flush()

    def close(self) -> None:
        """End our side in order; what `take` then gives is the last."""
        if self.peer_public is not None and not self.is_broken:
            self._connection.shutdown()

    def take(self) -> bytes:
        """What is to go onto the wire."""
        parts = []
        while True:
            try:
                parts.append(self._connection.bio_read(READ_SIZE))
            except SSL.WantReadError:
                return b"".join(parts)

    def _shake(self) -> None:
        if self.peer_public is not None:
            return
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise self._broken("it failed the TLS handshake", error) from None
        certificate = self._connection.get_peer_certificate()
        assert certificate, "a handshake without the peer's certificate fails"  # noqa: S101 - set_verify says so
        self.peer_public = _key_of(certificate.to_cryptography())
        self._flush()

    def _flush(self) -> None:
        if self.peer_public is None:
            return
        view = memoryview(bytes(self._waiting))
        self._waiting.clear()
        try:
            while view:
                view = view[self._connection.send(view[:READ_SIZE].tobytes()) :]
        except SSL.Error as error:
            raise self._broken("nothing can be sent to it", error) from None

    def _broken(self, what: str, error: SSL.Error) -> TlsFailed:
        self.is_broken = True
        return TlsFailed(f"{what}: {_words(error)}")


def _accept(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, is_ok: int) -> bool:
    # No authority vouches for a node.  TLS still demands proof of the certificate's key; whose that is, and
    # whether we know it, is for who uses the channel.
    try:
        return depth == 0 and isinstance(certificate.to_cryptography().public_key(), Ed25519PublicKey)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not even a certificate that can be read; what is raised here would come out of the handshake.
        return False


def _key_of(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key()
    assert isinstance(key, Ed25519PublicKey), "others were not accepted"  # noqa: S101 - see _accept
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _certificate(private: Ed25519PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cpchain node")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .sign(private, None)
    )


def _words(error: SSL.Error) -> str:
    """OpenSSL's reasons, for people."""
    details = error.args[0] if error.args else ()
    return "; ".join(str(each[-1]) for each in details) if details else type(error).__name__
