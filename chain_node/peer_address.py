"""Where a node is reached: `host:port`, with its key before an @ where it is known.

Runs on CPython; pure.

    127.0.0.1:7600     [::1]:7600     node.example:7600     <64 hex digits>@node.example:7600
"""

import re
from dataclasses import dataclass

from chain_node.fields import KEY_SIZE

PORT_MAX = 65_535
_ADDRESS = re.compile(
    r"(?:([0-9a-f]{64})@)?(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen at, or to dial."""

    host: str
    port: int
    """0 to 65535; where one listens, 0 takes any free one."""
    public: bytes | None = None
    """The key of the node that must answer there; None: whoever does."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        key = f"{self.public.hex()}@" if self.public else ""
        return f"{key}{host}:{self.port}"


def parse_address(text: str) -> Address | None:
    """The address that `text` is; None when it is none."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[4]) > PORT_MAX:
        return None
    public = bytes.fromhex(match[1]) if match[1] else None
    assert public is None or len(public) == KEY_SIZE  # noqa: S101 - so many digits the pattern takes
    return Address(match[2] or match[3], int(match[4]), public)
