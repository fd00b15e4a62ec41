"""What a changed configuration means for a gateway that runs: which streams come, go, or get another source.

Runs on CPython; pure.  What cannot change under a running gateway is refused here, before anything has
been touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.config import GatewayConfig, StreamConfig
from gateway.errors import GatewayError

LIVE_STREAM_KEYS = ("source", "upload_segments", "dbc")
"""Keys of a stream that may change while it runs; the others are part of what is sealed or sent."""
LIVE_REMOTE_KEYS = ("operators", "may_configure")


class ReloadRefused(GatewayError):
    """The new configuration needs a restart of the gateway; the old one is kept."""


@dataclass(frozen=True, slots=True)
class Changes:
    """From one configuration to the next."""

    added: tuple[StreamConfig, ...]
    removed: tuple[str, ...]
    """Names."""
    changed: tuple[StreamConfig, ...]
    """As they are to be; of these the source is opened anew when it is another one."""

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
        return "streams: " + "; ".join(parts) if parts else "no stream has changed"


def changes(old: GatewayConfig, new: GatewayConfig) -> Changes:
    """Raises ReloadRefused with all that stands against it."""
    problems = []
    for section in ("gateway", "spool", "store", "chain", "uplink"):
        if getattr(old, section) != getattr(new, section):
            problems.append(f"[{section}]")
    live = {key: getattr(new.remote, key) for key in LIVE_REMOTE_KEYS}
    if replace(old.remote, **live) != new.remote or old.remote.is_on != new.remote.is_on:
        problems.append("[remote] but for its operators")
    before = {stream.name: stream for stream in old.streams}
    after = {stream.name: stream for stream in new.streams}
    changed = []
    for name, stream in after.items():
        if name not in before or before[name] == stream:
            continue
        values = {key: getattr(stream, key) for key in LIVE_STREAM_KEYS}
        if replace(before[name], **values) != stream:
            problems.append(f"periods or policy of stream {name}")
        elif stream.dbc != before[name].dbc and new.uplink.is_on and new.uplink.frames != "raw":
            problems.append(f"the DBC files of stream {name}, which is sent decoded")
        else:
            changed.append(stream)
    if problems:
        raise ReloadRefused(
            f"this cannot change while the gateway runs: {', '.join(problems)}; restart the gateway for it"
        )
    return Changes(
        tuple(stream for name, stream in after.items() if name not in before),
        tuple(name for name in before if name not in after),
        tuple(changed),
    )
