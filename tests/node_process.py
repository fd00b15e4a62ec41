"""A node of a development chain in a process of its own, so that its work is not taken for the gateway's.

Runs on CPython.  `with NodeProcess(folder) as node:` gives its address and genesis.  The node ends with the
process that started it, however that ends: its standard input is then closed.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from chain_node.dev import DevNode
from chain_node.wire import Genesis

BLOCK_PERIOD_MS = 100
"""Shorter than on a real chain: nobody here waits for a block for its own sake."""
STOP_TIMEOUT_S = 10.0


class NodeProcess:
    """A node on a folder, made when it is new, at a free port of this machine."""

    def __init__(self, folder: Path, block_period_ms: int = BLOCK_PERIOD_MS) -> None:
        self._arguments = [sys.executable, "-m", "tests.node_process", str(folder), str(block_period_ms)]
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        """Where its JSON-RPC listens, once entered."""

    @property
    def genesis(self) -> Genesis:
        """Of its chain."""
        return Genesis.decode((self._folder / "genesis.cbor").read_bytes())

    def __enter__(self) -> "NodeProcess":
        """Raises RuntimeError when the node does not start; it has said why."""
        self._process = subprocess.Popen(
            self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            code = self._process.wait(STOP_TIMEOUT_S)
            raise RuntimeError(f"the node on {self._folder} ended with status {code} before it listened")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


async def _serve(folder: Path, block_period_ms: int) -> None:
    async with DevNode.create_or_open(folder, port=0, block_period_ms=block_period_ms) as node:
        print(node.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
