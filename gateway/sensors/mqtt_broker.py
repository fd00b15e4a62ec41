"""Where an MQTT broker is, how to be let in, and how it proves who it is.

Runs on CPython.  TLS is as the system makes it by default, host name and chain checked, with a version that
is never lower than asked for; there is no option that checks less.  Secrets are files that only their owner
may read.

    LinkError           (a SourceError)
    |- LinkRefused      the broker, or TLS, said no, and why
    `- LinkLost         the connection could not be made, or broke
"""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass

from gateway.sensors.source import SourceError

PORT = 1883
TLS_PORT = 8883
KEEPALIVE_MS = 30_000
CONNECT_TIMEOUT_MS = 10_000
SECRET_SIZE_MAX = 4_096
V311 = "3.1.1"
V5 = "5"
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class LinkError(SourceError):
    """Something is wrong with the connection to a broker."""


class LinkRefused(LinkError):
    """The broker said no, or did not prove who it is."""


class LinkLost(LinkError):
    """The connection could not be made, or broke."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is, and how to be let in."""

    host: str
    port: int
    is_tls: bool = False
    version: str = V5
    """`5` or `3.1.1`; another one is never tried."""
    username: str = ""
    password_file: str = ""
    """File with the password on its first line, readable by its owner only."""
    ca_file: str = ""
    """Certificates that may have signed the broker's; the system's when empty."""
    cert_file: str = ""
    """Our certificate, for a broker that asks for one."""
    key_file: str = ""
    """Its key, readable by its owner only."""
    tls_min: str = "1.2"
    """`1.2` or `1.3`."""
    keepalive_ms: int = KEEPALIVE_MS
    connect_timeout_ms: int = CONNECT_TIMEOUT_MS

    @property
    def label(self) -> str:
        """How people call it."""
        return f"mqtt{'s' if self.is_tls else ''}://{self.host}:{self.port}"


def tls_context(broker: Broker) -> ssl.SSLContext:
    """What checks the broker's certificate and shows ours.  Raises LinkRefused, SourceError."""
    try:
        context = ssl.create_default_context(cafile=broker.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise LinkRefused(f"{broker.ca_file}: cannot be used as CA file: {error}") from error
    context.minimum_version = TLS_VERSIONS[broker.tls_min]
    if broker.cert_file:
        if broker.key_file:
            check_secret(broker.key_file)
        try:
            context.load_cert_chain(broker.cert_file, broker.key_file or None)
        except (OSError, ssl.SSLError) as error:
            raise LinkRefused(f"{broker.cert_file}: cannot be used as our certificate: {error}") from error
    return context


def check_secret(path: str) -> None:
    """Raises LinkRefused when others than its owner may read the file."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise LinkRefused(f"{path}: cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise LinkRefused(
            f"{path}: others than you may read it (mode {stat.S_IMODE(mode):04o}): run chmod 600 {path}"
        )


def read_secret(path: str) -> str:
    """The first line of a file that only its owner may read.  Raises LinkRefused."""
    check_secret(path)
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline(SECRET_SIZE_MAX).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LinkRefused(f"{path}: cannot be read as a password") from error


def connect_error(broker: Broker, error: Exception) -> LinkError:
    """Ours for what the system or TLS says while connecting."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkRefused(
            f"{broker.label}: the broker's certificate does not hold: {error.verify_message}; "
            "name the CA that signed it with ca"
        )
    if isinstance(error, ssl.SSLError):
        return LinkRefused(f"{broker.label}: TLS failed: {error.reason or error}; nothing weaker is tried")
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return LinkLost(f"{broker.label}: {text}")
