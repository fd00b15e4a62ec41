"""Sections [uplink] and [remote] of the configuration: to which broker records go, and who may command.

Runs on CPython; pure.  Dataclasses and checkers in the manner of `gateway.config`, which reads them; kept
apart because most gateways have neither.  Without a `url` there is no uplink, and without `operators`
nobody commands from afar.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway import config_values as values
from gateway.sensors.source import BLOCK, OVERRUNS
from gateway.uplink_format import FIELDS, FORMATS, FRAMES, JSON, RAW, BadTopic, topic
from puf.did import ED25519, parse_did_key
from puf.errors import PufError

OFF = "off"
UPLINK_POLICIES = (*OVERRUNS, OFF)
"""What a stream may say: a loss policy, or that it does not leave at all."""
MQTT_VERSIONS = ("5", "3.1.1")
TLS_OLDEST = ("1.2", "1.3")


@dataclass(frozen=True, slots=True)
class UplinkSection:
    """The broker that records are sent to."""

    url: str = ""
    """mqtt://host:port or mqtts://host:port; empty: no uplink."""
    version: str = "5"
    """Of MQTT, 5 or 3.1.1; another one is never tried."""
    client_id: str = ""
    """How the gateway calls itself there; empty: cpc-, its name and part of its key's name."""
    username: str = ""
    """How it logs in, if the broker wants that."""
    password_file: str = ""
    """File with the password, mode 0600."""
    ca_file: str = ""
    """Certificates that may have signed the broker's; empty: those of the system."""
    cert_file: str = ""
    """The gateway's certificate, for a broker that wants one."""
    key_file: str = ""
    """Its key, mode 0600."""
    tls_min: str = "1.2"
    """Oldest version of TLS, 1.2 or 1.3."""
    topic: str = "cpc/{gateway}/{stream}"
    """Where records go."""
    state_topic: str = "cpc/{gateway}/state"
    """Where birth and death of the gateway are told, retained."""
    format: str = JSON
    """json or cbor."""
    frames: str = RAW
    """raw, or decoded with the stream's DBC files."""
    policy: str = BLOCK
    """What becomes of a stream whose part of the outbox is full: block, drop-oldest or drop-newest."""
    stream_size_max_mib: int = 256
    """Room in the outbox for each stream."""
    batch_records_max: int = 500
    """Records in one message."""
    batch_ms: int = 1_000
    """How long records wait for others to leave with."""
    message_size_max_kib: int = 120
    """A longer message is cut in two."""
    window: int = 64
    """Messages under way at once."""
    ack_timeout_ms: int = 20_000
    """A link on which a message waits longer for its acknowledgement is given up and made anew."""
    keepalive_ms: int = 30_000
    """How often a silent link is tried."""

    @property
    def is_on(self) -> bool:
        """There is an uplink."""
        return bool(self.url)


@dataclass(frozen=True, slots=True)
class RemoteSection:
    """Who may command the gateway through the uplink's broker."""

    operators: tuple[str, ...] = ()
    """did:key names; empty: nobody."""
    command_topic: str = "cpc/{gateway}/command"
    """Where commands come from."""
    reply_topic: str = "cpc/{gateway}/reply"
    """Where answers go."""
    may_configure: bool = True
    """Whether they may also replace the configuration file."""
    audit_stream: str = "audit"
    """The stream that tells of every command; it is sealed and anchored like any other."""

    @property
    def is_on(self) -> bool:
        """Somebody may command."""
        return bool(self.operators)


def broker_url(value: Any, key: str) -> str:
    """The address of a broker."""
    example = '"mqtts://broker.example:8883"'
    if value == "":
        return ""
    text = values.a_text(value, f"{key} = {example}")
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("mqtt", "mqtts") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise values.Refused(f"is no address: {error}", f"write for example {example}") from None
    if not is_usable or any(character.isspace() for character in text):
        raise values.Refused("is no mqtt or mqtts address", f"write for example {example}")
    if parts.username is not None or parts.password is not None:
        raise values.Refused("holds a user or password", "write username, and password_file of mode 0600")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise values.Refused("has something behind the host", "write the topic as topic = ..")
    return text


def plain_text(value: Any, key: str) -> str:
    """A short text; empty is one."""
    if value == "":
        return ""
    text = values.a_text(value, f'{key} = "..."')
    if not text.isprintable() or len(text) > 200:
        raise values.Refused("is no short text", "write at most 200 printable characters")
    return text


def topic_template(*fields: str) -> values.Checker:
    """A topic to publish on, with these {fields}."""

    def check(value: Any, key: str) -> str:
        template = values.a_text(value, f'{key} = "cpc/{{gateway}}/.."')
        try:
            topic(template, **dict.fromkeys(fields, "x"))
        except BadTopic as error:
            raise values.Refused(f"makes no topic: {error}", 'write for example "cpc/{gateway}/.."') from None
        return template

    return check


def operators(value: Any, key: str) -> tuple[str, ...]:
    """A list of did:key names of Ed25519 keys."""
    example = f'write {key} = ["did:key:z6Mk.."]'
    if not isinstance(value, list):
        raise values.Refused("is not a list of names", example)
    for item in value:
        try:
            codec, _ = parse_did_key(item) if isinstance(item, str) else (0, b"")
        except PufError as error:
            raise values.Refused(f"whose item {values.shown(item)} is no did:key: {error}", example) from None
        if codec != ED25519:
            raise values.Refused(f"whose item {values.shown(item)} cannot sign", example)
    return tuple(value)


def boolean(value: Any, key: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise values.Refused("is neither true nor false", f"write {key} = true")
    return value


UPLINK_KEYS: dict[str, values.Checker] = {
    "url": broker_url,
    "version": values.choice(MQTT_VERSIONS),
    "client_id": plain_text,
    "username": plain_text,
    "password_file": values.empty_or(values.path),
    "ca_file": values.empty_or(values.path),
    "cert_file": values.empty_or(values.path),
    "key_file": values.empty_or(values.path),
    "tls_min": values.choice(TLS_OLDEST),
    "topic": topic_template(*FIELDS),
    "state_topic": topic_template("gateway"),
    "format": values.choice(FORMATS),
    "frames": values.choice(FRAMES),
    "policy": values.choice(OVERRUNS),
    "stream_size_max_mib": values.whole(
        1, 1 << 20, "an outbox needs room for some messages", "that is beyond 1 TiB", 256
    ),
    "batch_records_max": values.whole(
        1, 4_096, "a message has at least one record", "a message would be too long", 500
    ),
    "batch_ms": values.whole(10, 60_000, "each message costs a sync", "receivers would wait too long", 1_000),
    "message_size_max_kib": values.whole(
        4, 8_192, "a long record would not fit", "brokers take no such messages", 120
    ),
    "window": values.whole(1, 10_000, "nothing could leave", "brokers allow fewer", 64),
    "ack_timeout_ms": values.whole(
        1_000, 600_000, "a slow link may need that long", "a dead link would go unnoticed", 20_000
    ),
    "keepalive_ms": values.whole(
        1_000, 600_000, "pings would be all traffic", "a dead link would go unnoticed", 30_000
    ),
}
REMOTE_KEYS: dict[str, values.Checker] = {
    "operators": operators,
    "command_topic": topic_template("gateway"),
    "reply_topic": topic_template("gateway"),
    "may_configure": boolean,
    "audit_stream": values.name,
}


def absolute_files(section: UplinkSection, folder: Path) -> UplinkSection:
    """The section with its files' paths absolute; `folder` is that of the configuration."""
    return replace(
        section,
        password_file=_absolute(folder, section.password_file),
        ca_file=_absolute(folder, section.ca_file),
        cert_file=_absolute(folder, section.cert_file),
        key_file=_absolute(folder, section.key_file),
    )


def _absolute(folder: Path, name: str) -> str:
    return str(folder / name) if name else ""


def contradictions(
    uplink: UplinkSection, remote: RemoteSection, stream_names: Sequence[str | None]
) -> Iterator[tuple[str, str, str, str]]:
    """(section, key, problem, hint) of what does not go together."""
    if not uplink.url.startswith("mqtts"):
        for key in ("ca_file", "cert_file", "key_file"):
            if getattr(uplink, key):
                hint = 'write url = "mqtts://..", or leave it out'
                yield "uplink", key, f"{key} is for TLS, which url does not ask for", hint
    if uplink.password_file and not uplink.username:
        yield "uplink", "password_file", "password_file is given without username", "write username, too"
    if remote.is_on and not uplink.is_on:
        problem = "operators command through the uplink's broker, and there is none"
        yield "remote", "operators", problem, "write [uplink] with its url"
    if remote.is_on and remote.audit_stream in stream_names:
        problem = f"audit_stream is called {remote.audit_stream}, and so is another stream"
        yield "remote", "audit_stream", problem, "give one of them another name"


stream_policy = values.empty_or(values.choice(UPLINK_POLICIES))
"""A loss policy, or off; empty: that of [uplink]."""
