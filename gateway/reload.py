"""What a changed configuration means for a gateway that runs: which streams and sections are others now.

Runs on CPython; pure.  What cannot change under a running gateway is refused here, key by key, before
anything has been touched:

    who it is                     [gateway] name, key_file; [chain] genesis
    where its data lie            [spool] path, [store] path
    by which it is commanded now  [remote] audit_stream, and that nobody commands any more
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from gateway.config import GatewayConfig, StreamConfig
from gateway.errors import GatewayError

FIXED: dict[str, dict[str, str]] = {
    "gateway": {
        "name": "receivers know the gateway by it",
        "key_file": "it is who the gateway is",
    },
    "spool": {"path": "what waits is there; stop the gateway, move the folder"},
    "store": {"path": "what was stored is there; stop the gateway, move or copy the folder"},
    "chain": {"genesis": "another chain is another gateway"},
    "remote": {"audit_stream": "what is commanded now is told there"},
}
"""Keys that cannot change while the gateway runs, by section, and why."""
SECTIONS = ("gateway", "spool", "store", "chain", "uplink", "remote")
CONNECTION_KEYS = (
    *("url", "version", "client_id", "username", "password_file", "ca_file", "cert_file", "key_file"),
    "tls_min",
)
"""Keys of [uplink] that say which broker, and how to be let in."""


class ReloadRefused(GatewayError):
    """The new configuration needs a restart of the gateway, or cannot be used; the old one is kept."""


@dataclass(frozen=True, slots=True)
class Changes:
    """From one configuration to the next."""

    added: tuple[StreamConfig, ...]
    removed: tuple[str, ...]
    """Names."""
    changed: tuple[StreamConfig, ...]
    """As they are to be."""
    keys: tuple[str, ...]
    """`section.key` of each that is another one outside of streams."""

    def has(self, section: str) -> bool:
        """Whether any key of the section is another one."""
        return any(key.startswith(f"{section}.") for key in self.keys)

    @property
    def is_other_broker(self) -> bool:
        """Another connection is needed, which the broker may refuse."""
        return any(f"uplink.{key}" in self.keys for key in CONNECTION_KEYS)

    def __str__(self) -> str:
        parts = [
            f"{what} {', '.join(names)}"
            for what, names in (
                ("added", [stream.name for stream in self.added]),
                ("removed", list(self.removed)),
                ("changed", [stream.name for stream in self.changed]),
            )
            if names
        ]
        said = "streams: " + "; ".join(parts) if parts else "no stream has changed"
        return said + (f"; other keys: {', '.join(self.keys)}" if self.keys else "")


def changes(old: GatewayConfig, new: GatewayConfig) -> Changes:
    """Raises ReloadRefused with all that stands against it."""
    if problems := list(_problems(old, new)):
        raise ReloadRefused(
            f"this cannot change while the gateway runs: {'; '.join(problems)}.  Nothing was changed; "
            "to change it, write it into the configuration file and restart the gateway"
        )
    before = {stream.name: stream for stream in old.streams}
    after = {stream.name: stream for stream in new.streams}
    return Changes(
        tuple(stream for name, stream in after.items() if name not in before),
        tuple(name for name in before if name not in after),
        tuple(stream for name, stream in after.items() if name in before and before[name] != stream),
        tuple(f"{section}.{key}" for section in SECTIONS for key in _changed_keys(old, new, section)),
    )


def _changed_keys(old: GatewayConfig, new: GatewayConfig, section: str) -> Iterator[str]:
    before, after = getattr(old, section), getattr(new, section)
    for field in fields(before):
        if getattr(before, field.name) != getattr(after, field.name):
            yield field.name


def _problems(old: GatewayConfig, new: GatewayConfig) -> Iterator[str]:
    for section, reasons in FIXED.items():
        for key in _changed_keys(old, new, section):
            # Where nobody commands, there is no audit stream yet.
            if key in reasons and (section != "remote" or old.remote.is_on):
                yield f"[{section}] {key}: {reasons[key]}"
    if old.remote.is_on and not new.remote.is_on:
        yield "[remote] operators: the last one cannot leave while they may command"
