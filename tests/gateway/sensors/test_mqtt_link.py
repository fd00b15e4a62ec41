"""Connections to brokers: who is let in, who is believed, and what is never tried."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.sensors.mqtt_broker import Broker, LinkError, LinkLost, LinkRefused
from gateway.sensors.mqtt_link import Handlers, Link
from gateway.sensors.mqtt_message import Message
from gateway.sensors.mqtt_socket import PACKET_BYTES_MAX, BufferedSocket, PacketRefused
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.waiting import until

TIMEOUT_S = 20.0


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await story()

    asyncio.run(limited())


class Authority:
    """Signs certificates for tests."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = str(folder / f"{name}.pem")
        certificate = self._sign(self._name, self._key, [], is_ca=True)
        Path(self.file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, hosts: list[str]) -> tuple[str, str]:
        """(certificate file, key file of mode 0600)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, hosts, is_ca=False)
        cert_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.touch(0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(cert_file), str(key_file)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, hosts: list[str], *, is_ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
        if hosts:
            names = [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def server_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return context


async def opened(broker: TestBroker, **options: Any) -> Link:
    link = Link(Broker("127.0.0.1", broker.port, **options), "test")
    await link.open()
    return link


async def refusal(broker: TestBroker, **options: Any) -> str:
    with pytest.raises(LinkError) as caught:
        await opened(broker, **options)
    return str(caught.value)


def test_a_message_goes_there_and_back_over_tls_of_both_sides(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    context = server_context(*ca.issue("broker", ["127.0.0.1"]))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca.file)
    cert, key = ca.issue("gateway", [])

    async def story() -> None:
        async with TestBroker(tls=context) as broker:
            got: asyncio.Queue[Message] = asyncio.Queue()
            for version in ("5", "3.1.1"):
                link = Link(
                    Broker("127.0.0.1", broker.port, True, version, "", "", ca.file, cert, key, "1.3"),
                    "test",
                    Handlers(on_message=got.put_nowait),
                )
                await link.open()
                await link.subscribe("a", 1)
                # Larger than what TLS and the kernel take at once.
                payload = bytes(range(256)) * 8_192
                link.publish("a", payload)
                message = await got.get()
                assert message.payload == payload
                link.acknowledge(message.mid)
                link.close()
                assert await link.wait_closed() is None
            assert await refusal(broker, is_tls=True, ca_file=ca.file) != ""

    run(story)


def test_a_broker_that_does_not_prove_who_it_is_is_refused(tmp_path: Path) -> None:
    ca, other = Authority(tmp_path), Authority(tmp_path, "other")
    right, wrong = ca.issue("right", ["127.0.0.1"]), ca.issue("wrong", ["127.0.0.2"])

    async def story() -> None:
        async with TestBroker(tls=server_context(*right)) as broker:
            text = await refusal(broker, is_tls=True, ca_file=other.file)
            assert "the broker's certificate does not hold" in text
            # Nobody named a CA, and the system's do not know ours.
            assert "does not hold" in await refusal(broker, is_tls=True)
            assert broker.connects == []
        async with TestBroker(tls=server_context(*wrong)) as broker:
            assert "IP address mismatch" in await refusal(broker, is_tls=True, ca_file=ca.file)

    run(story)


def test_an_older_tls_is_not_agreed_to(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    context = server_context(*ca.issue("broker", ["127.0.0.1"]))
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def story() -> None:
        async with TestBroker(tls=context) as broker:
            text = await refusal(broker, is_tls=True, ca_file=ca.file, tls_min="1.3")
            assert "TLS failed" in text
            assert "nothing weaker is tried" in text
            (await opened(broker, is_tls=True, ca_file=ca.file, tls_min="1.2")).close()

    run(story)


def test_a_broker_without_tls_gets_no_packet_of_ours(tmp_path: Path) -> None:
    ca = Authority(tmp_path)

    async def story() -> None:
        async with TestBroker() as broker:
            options = {"is_tls": True, "ca_file": ca.file, "username": "me", "connect_timeout_ms": 300}
            assert await refusal(broker, **options)
            assert broker.connects == []

    run(story)


def test_passwords_come_from_a_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\nnot this\n")

    async def story() -> None:
        async with TestBroker() as broker:
            secret.chmod(0o640)
            text = await refusal(broker, username="me", password_file=str(secret))
            assert text == f"{secret}: others than you may read it (mode 0640): run chmod 600 {secret}"
            secret.chmod(0o600)
            link = await opened(broker, username="me", password_file=str(secret))
            assert (broker.connects[0].username, broker.connects[0].password) == ("me", "s3cret")
            assert "s3cret" not in repr(link)
            link.close()
            assert "cannot be read" in await refusal(
                broker, username="me", password_file=str(tmp_path / "no")
            )

    run(story)


@pytest.mark.parametrize(
    ("version", "code", "text"),
    [
        ("5", 0x87, "the broker refuses us: Not authorized"),
        ("5", 0x86, "the broker refuses us: Bad user name or password"),
        ("3.1.1", 5, "the broker refuses us: Not authorized"),
        ("3.1.1", 4, "the broker refuses us: Bad user name or password"),
    ],
)
def test_a_refusal_is_said_as_the_broker_says_it(version: str, code: int, text: str) -> None:
    async def story() -> None:
        async with TestBroker(connect_code=code) as broker:
            link = Link(Broker("127.0.0.1", broker.port, version=version), "test")
            with pytest.raises(LinkRefused, match=text):
                await link.open()

    run(story)


def test_what_the_broker_allows_is_told() -> None:
    async def story() -> None:
        async with TestBroker(packet_size_max=1_000) as broker:
            link = Link(Broker("127.0.0.1", broker.port), "test", expiry_ms=60_000)
            first = await link.open()
            assert (first.is_session_present, first.receive_max, first.packet_size_max) == (
                False,
                65_535,
                1_000,
            )
            link.close()
            await until(lambda: broker.peer_count == 0)
            again = Link(Broker("127.0.0.1", broker.port), "test", expiry_ms=60_000)
            assert (await again.open()).is_session_present
            again.close()

    run(story)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x02\x00",
        b"\xff" * 100,
        b"\x20\x03\x00\x00\x00" + b"\x36\x07\x00\x01a\x00\x01\x00x",
        b"\x20\x03\x00\x00\x00" + b"\x32\x05\x00\x09a\x00\x01",
        b"",
    ],
)
def test_whatever_else_answers_is_an_error_and_not_a_crash(answer: bytes) -> None:
    async def story() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        link = Link(Broker("127.0.0.1", port, connect_timeout_ms=1_000), "test")
        try:
            await link.open()
        except LinkError:
            pass
        else:
            assert isinstance(await link.wait_closed(), LinkError)
        server.close()

    run(story)


def test_nothing_is_sent_on_a_link_that_is_gone() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            link = await opened(broker)
            broker.drop_all()
            error = await link.wait_closed()
            assert isinstance(error, LinkLost)
            with pytest.raises(LinkLost, match="not connected"):
                link.publish("a", b"")
            with pytest.raises(LinkLost, match="not connected"):
                await link.subscribe("a", 1)
            link.acknowledge(1)
            link.close()

    run(story)


class Pipe:
    """A socket of which one decides how it takes and gives."""

    def __init__(self, *given: bytes) -> None:
        self.given = list(given)
        self.taken = b""
        self.room = 1 << 30

    def recv(self, size: int) -> bytes:
        if not self.given:
            raise BlockingIOError
        return self.given.pop(0)

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        part = bytes(data[: self.room])
        self.room -= len(part)
        self.taken += part
        return len(part)

    def close(self) -> None: ...


def buffered(pipe: Any) -> BufferedSocket:
    return BufferedSocket(pipe)


@pytest.mark.parametrize("cut", range(1, 8))
def test_packets_are_whole_however_they_come(cut: int) -> None:
    stream = b"\xd0\x00" + b"\x32\x80\x01" + b"x" * 128 + b"\x40\x02\x00\x07"
    sock = buffered(Pipe(*(stream[at : at + cut] for at in range(0, len(stream), cut))))
    packets = []
    for _ in range(0, len(stream), cut):
        assert sock.fill()
        while (packet := sock.next_packet()) is not None:
            header, begin, data, body, end = packet
            packets.append((header, bytes(data[begin:end]), bytes(data[body:end])))
    assert packets == [
        (0xD0, b"\xd0\x00", b""),
        (0x32, stream[2:133], b"x" * 128),
        (0x40, b"\x40\x02\x00\x07", b"\x00\x07"),
    ]


def test_the_library_sees_only_what_it_was_granted() -> None:
    sock = buffered(Pipe(b"\x40\x02\x00\x07\x40\x02\x00\x08"))
    sock.fill()
    packet = sock.next_packet()
    assert packet is not None
    sock.grant(bytes(packet[2][packet[1] : packet[4]]))
    assert [sock.recv(1), sock.recv(1), sock.recv(9)] == [b"\x40", b"\x02", b"\x00\x07"]
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_a_length_that_cannot_be_is_refused() -> None:
    assert PACKET_BYTES_MAX == 1 << 24
    for data in (b"\x30\xff\xff\xff\xff\x01", b"\x30\x80\x80\x80\x10"):
        sock = buffered(Pipe(data))
        sock.fill()
        with pytest.raises(PacketRefused):
            sock.next_packet()


def test_what_the_kernel_does_not_take_waits() -> None:
    pipe = Pipe()
    pipe.room = 5
    sock = buffered(pipe)
    called: list[int] = []
    sock.on_output = lambda: called.append(1)
    assert [sock.send(b"abc"), sock.send(b"defg")] == [3, 4]
    assert (called, pipe.taken) == ([1], b"")
    assert not sock.flush()
    assert (pipe.taken, sock.has_output) == (b"abcde", True)
    pipe.room = 5
    assert sock.flush()
    assert (pipe.taken, sock.has_output) == (b"abcdefg", False)
