"""TLS between nodes: keys proven both ways, damage and other certificates refused, nothing older spoken."""

import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from chain_node.peer_tls import TlsChannel, TlsContext, TlsFailed
from tests.chain_node.world import ALICE, BOB


def pair(client: TlsContext | None = None, server: TlsContext | None = None) -> tuple[TlsChannel, TlsChannel]:
    return (
        TlsChannel(client or TlsContext.of(ALICE), is_client=True),
        TlsChannel(server or TlsContext.of(BOB), is_client=False),
    )


def settle(client: TlsChannel, server: TlsChannel) -> None:
    while (there := client.take()) or (back := server.take()):
        if there:
            server.feed(there)
        else:
            client.feed(back)


def test_each_side_learns_the_key_that_the_other_has_proven() -> None:
    client, server = pair()
    client.write(b"before the handshake is done")
    settle(client, server)
    assert (client.peer_public, server.peer_public) == (BOB.public, ALICE.public)
    assert server.read() == b"before the handshake is done"
    server.write(b"x" * 300_000)
    settle(client, server)
    assert client.read() == b"x" * 300_000


def test_an_end_in_order_is_seen() -> None:
    client, server = pair()
    settle(client, server)
    client.close()
    settle(client, server)
    assert server.read() == b""
    assert server.is_closed


def test_a_flipped_bit_ends_the_connection() -> None:
    client, server = pair()
    settle(client, server)
    client.write(b"pay bob 5")
    wire = client.take()
    server.feed(wire[:-1] + bytes([wire[-1] ^ 1]))
    with pytest.raises(TlsFailed, match=r"it sent a damaged TLS record: .*mac"):
        server.read()


def test_whoever_shows_no_certificate_is_refused() -> None:
    bare = SSL.Context(SSL.TLS_METHOD)
    client, server = pair(client=TlsContext(ALICE.public, bare))
    with pytest.raises(TlsFailed, match="it failed the TLS handshake: peer did not return a certificate"):
        settle(client, server)


def certificate_of(private: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "curve")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2090, 1, 1, tzinfo=datetime.UTC))
        .sign(private, hashes.SHA256())
    )


def test_a_key_of_another_kind_is_refused() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    context.use_certificate(certificate_of(private))
    context.use_privatekey(private)
    client, server = pair(client=TlsContext(ALICE.public, context))
    with pytest.raises(TlsFailed, match="it failed the TLS handshake: certificate verify failed"):
        settle(client, server)


def test_nothing_older_than_tls_1_3_is_spoken() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = old.wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(TlsFailed, match="unsupported protocol"):
        TlsChannel(TlsContext.of(BOB), is_client=False).feed(outgoing.read())


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=1, max_size=400))
def test_any_bytes_are_a_beginning_or_a_declared_error(data: bytes) -> None:
    for is_client in (True, False):
        channel = TlsChannel(TlsContext.of(BOB), is_client=is_client)
        try:
            channel.feed(data)
        except TlsFailed:
            continue
        assert channel.peer_public is None


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 5_000), st.integers(1, 255), st.booleans())
def test_a_damaged_handshake_proves_nothing_but_what_is_true(at: int, bits: int, is_cut: bool) -> None:
    client, server = pair()
    server.feed(client.take())
    wire = bytearray(server.take())
    at %= len(wire)
    if is_cut:
        del wire[at:]
    else:
        wire[at] ^= bits
    try:
        client.feed(bytes(wire))
        server.feed(client.take())
    except TlsFailed:
        return
    # Of a record's header, one byte means nothing.
    assert server.peer_public in (None, ALICE.public)
