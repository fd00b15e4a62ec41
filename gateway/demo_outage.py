"""What happens to the chain during the demo: one validator of four dies, and comes back.

Runs on CPython.
"""

from typing import TYPE_CHECKING

from chain_node.wire import NO_PROPOSER
from gateway.cli_output import Output
from gateway.uploader import Uploader

if TYPE_CHECKING:
    # Only its name: whoever makes one brings the server.
    from chain_node.dev import DevNode

VICTIM = 2
"""The index of the validator that is killed; the first one answers the gateway."""


class Outage:
    """Kills a validator while a gateway anchors, and revives it when that went on without it."""

    def __init__(self, output: Output, chain: "DevNode") -> None:
        self._output = output
        self._chain = chain
        self.is_over = False
        """Set it when nothing more will be anchored."""

    async def run(self, uploader: Uploader) -> None:
        """The whole story; ends when the validator is back and level with the others."""
        chain, first, name = self._chain, self._chain.node, f"validator {VICTIM + 1}"
        await first.wait_for_height(2)
        killed_at, anchored_count = first.head.height, uploader.anchored_count
        await chain.kill(VICTIM)
        self._say(f"{name} is killed after block {killed_at}")
        # Until everybody has had a turn, and something was anchored without it.
        await first.wait_for_height(killed_at + len(chain.nodes))
        while uploader.anchored_count == anchored_count and not self.is_over:
            await first.wait_for_height(first.head.height + 1)
        self._say(
            f"{first.head.height - killed_at} blocks and {uploader.anchored_count - anchored_count} anchored "
            f"upload{'s'[: uploader.anchored_count - anchored_count - 1]} without it; "
            f"impeached when its turn came: {self._impeached(killed_at + 1)}"
        )
        revived = chain.revive(VICTIM)
        missed_count = first.head.height - revived.head.height
        await revived.wait_for_height(first.head.height)
        self._say(f"{name} is revived, has fetched the {missed_count} blocks that it missed, and votes again")

    def _impeached(self, first_height: int) -> str:
        heights = []
        storage = self._chain.node.storage
        for height in range(first_height, storage.head.height + 1):
            stored = storage.block(height)
            if stored and stored.header.proposer == NO_PROPOSER:
                heights.append(str(height))
        return f"block {', '.join(heights)}"

    def _say(self, text: str) -> None:
        self._output.line(f"     -- {text}")
