"""What clients have done: each operation with when it was called and when it returned.

Runs on CPython; pure values.  Times are nanoseconds of one monotonic clock, that of the tests' process.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Pay:
    """A transfer."""

    client: int
    tx_hash: bytes
    payer: bytes
    payee: bytes
    amount_ucpc: int
    fee_ucpc: int
    called_ns: int
    accepted_ns: int | None = None
    """When a node first said that it takes it; None: none has."""
    returned_ns: int | None = None
    """When it was first shown as final; None: not while the client looked."""
    sent_count: int = 0
    """Times that a node has accepted it: a pool lives in memory, so who sends keeps it until it is final."""


@dataclass(frozen=True, slots=True)
class Read:
    """A balance, as a node has shown it after some block."""

    client: int
    account: bytes
    balance_ucpc: int
    height: int
    called_ns: int
    returned_ns: int
    is_settled: bool
    """Read at a node that had shown a transfer of the same client as final, and called when that was: then
    its block was decided after the call, so it is a balance of the time between call and return.  Without
    that a node that is behind shows an old balance, which is right but not new."""


@dataclass(slots=True)
class History:
    """All operations of all clients."""

    pays: list[Pay] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
