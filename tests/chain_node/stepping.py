"""A node whose time a test moves by hand.

Runs on CPython.
"""

from chain_node.block import Block
from chain_node.node import Node
from tests.chain_node.world import START_MS


class Clock:
    """Both clocks of a machine."""

    def __init__(self) -> None:
        self.now_ms = START_MS + 1_000
        self.steady_ms = 0

    def wall(self) -> int:
        """Unix milliseconds."""
        return self.now_ms

    def steady(self) -> int:
        """Milliseconds that never go back."""
        return self.steady_ms


async def produce(node: Node, clock: Clock, wait_ms: int = 10_000) -> Block | None:
    """Let time pass until the next block; None if there is none within `wait_ms`."""
    height, end_ms = node.head.height, clock.steady_ms + wait_ms
    await node.advance()
    while node.head.height == height:
        deadline_ms = node.replica.deadline_ms
        if deadline_ms is None or deadline_ms > end_ms:
            clock.steady_ms = end_ms
            return None
        clock.steady_ms = max(clock.steady_ms, deadline_ms)
        await node.advance()
    return node.storage.certified(node.head.height, 1)[0][0]
