"""What the tests of anchors share: an anchorer, its node, and how uploads are settled.

Runs on CPython.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from chain_node.wire import (
    Genesis,
    Transaction,
)
from gateway.anchor import Anchorer, Settled
from gateway.spool import SpooledUpload
from tests.gateway.anchored import LabNode
from tests.gateway.telemetry import OWNER


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


class Desk:
    """An anchorer and its node."""

    def __init__(
        self, folder: Path, node: LabNode, genesis: Genesis | None = None, fee_ucpc: int = 0
    ) -> None:
        self.node = node
        self.head_path = folder / "head.cbor"
        self._genesis = genesis or node.genesis
        self._fee_ucpc = fee_ucpc
        self.open()

    def open(self) -> None:
        self.anchorer = Anchorer(OWNER, self._genesis, self.node.url, self._fee_ucpc, 5_000, self.head_path)

    async def sign(self, uploads: list[SpooledUpload]) -> list[SpooledUpload]:
        """The uploads, signed where they need it."""
        nonce = (await self.anchorer.account()).nonce
        signed = {upload.row: tx for upload, tx in self.anchorer.sign(uploads, nonce)}
        return [replace(upload, tx=signed.get(upload.row, upload.tx)) for upload in uploads]

    async def anchor(
        self, uploads: list[SpooledUpload], begin: int = 0, end: int = 4, pass_count: int = 8
    ) -> list[Settled]:
        """What becomes of some of the uploads in so many passes; their transactions are kept in the list."""
        settled = dict.fromkeys(range(begin, end), Settled())
        for _ in range(pass_count):
            for place, each in settled.items():
                if uploads[place].tx is not None and each == Settled():
                    settled[place] = await self.anchorer.evidence(uploads[place])
            waiting = [place for place, each in settled.items() if each == Settled()]
            signed = await self.sign([uploads[place] for place in waiting])
            for place, upload in zip(waiting, signed, strict=True):
                uploads[place] = upload
            for place in waiting:
                answer = await self.anchorer.send(uploads[place])
                if answer.replacement is not None:
                    uploads[place] = replace(uploads[place], tx=answer.replacement)
                else:
                    settled[place] = answer
        return list(settled.values())

    async def __aenter__(self) -> "Desk":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.anchorer.close()


def heights(settled: list[Settled]) -> list[int]:
    return [each.evidence.link.header.height for each in settled if each.evidence is not None]


def transactions(uploads: list[SpooledUpload]) -> list[Transaction]:
    return [Transaction.decode(upload.tx or b"") for upload in uploads]
