"""What the tests of the whole gateway share: a site, and a source that a test feeds.

Runs on CPython.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chain_node.wire import Genesis
from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.archive import ReadReport
from gateway.cli_gateway import CONFIG_NAME, GENESIS_NAME, make_site
from gateway.cli_read import EVER_NS
from gateway.config import GatewayConfig, load
from gateway.crypto.key_file import GatewayKey, load_gateway_key
from gateway.proof import collect
from gateway.record import Record
from gateway.sensors.schemes import SCHEMES, Scheme
from gateway.sensors.source import Batch, Clock, Source, SourceUrl
from gateway.site import open_as_owner

CONFIG = """\
[spool]
size_max_mib = {size_max_mib}
disk_free_min_mib = {disk_free_min_mib}

[chain]
node_url = "{node_url}"
poll_ms = 10
"""
STREAM = """
[[stream]]
name = "{name}"
source = "fed:{name}"
block_ms = 1000
segment_blocks = 5
upload_segments = {upload_segments}
"""


class FedSource(Source):
    """Gives what the test puts in; ends when closed, or with the error that was put in."""

    kind = "can"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._queue: asyncio.Queue[Batch | Exception | None] = asyncio.Queue()
        self.acknowledged: list[Batch] = []
        self.on_acknowledge: Callable[[Batch], None] = lambda batch: None

    def feed(self, *items: Batch | Exception | None) -> None:
        """None ends it, as the end of a trace does."""
        for item in items:
            self._queue.put_nowait(item)

    async def batches(self) -> AsyncIterator[Batch]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            self.stats.received += len(item.values)
            yield item

    def acknowledge(self, batch: Batch) -> None:
        self.on_acknowledge(batch)
        self.acknowledged.append(batch)

    async def close(self) -> None:
        self._queue.put_nowait(None)


@contextmanager
def fed_sources() -> Iterator[dict[str, FedSource]]:
    """Makes the scheme `fed:NAME` known; the sources that were opened with it, by name."""
    opened: dict[str, FedSource] = {}

    def opener(url: SourceUrl, name: str, clock: Clock) -> Source:
        opened[name] = FedSource(name)
        return opened[name]

    SCHEMES["fed"] = Scheme(opener, "fed:can0")
    try:
        yield opened
    finally:
        del SCHEMES["fed"]


class Site:
    """A gateway's folder."""

    def __init__(
        self,
        folder: Path,
        node_url: str,
        genesis: Genesis,
        streams: tuple[str, ...] = ("can0",),
        size_max_mib: int = 64,
        disk_free_min_mib: int = 0,
        upload_segments: int = 1,
    ) -> None:
        self.folder = folder
        self._limits = {"size_max_mib": size_max_mib, "disk_free_min_mib": disk_free_min_mib}
        self._node_url = node_url
        self._upload_segments = upload_segments
        self.write_config(*streams)
        make_site(folder, (folder / CONFIG_NAME).read_text(), genesis, False)

    def write_config(self, *streams: str) -> None:
        text = CONFIG.format(node_url=self._node_url, **self._limits)
        text += "".join(STREAM.format(name=name, upload_segments=self._upload_segments) for name in streams)
        self.folder.mkdir(exist_ok=True)
        (self.folder / CONFIG_NAME).write_text(text)

    @property
    def config(self) -> GatewayConfig:
        return load(self.folder / CONFIG_NAME)

    @property
    def key(self) -> GatewayKey:
        return load_gateway_key(self.config.key_path)

    def app(self, **options: Any) -> GatewayApp:
        return GatewayApp(self.config, self.key, load_genesis(self.folder / GENESIS_NAME), **options)

    def records(self, stream: str = "can0") -> list[Record]:
        """Everything in the store, which must be whole; each record's proof is looked at once a block."""
        genesis = load_genesis(self.folder / GENESIS_NAME)
        with open_as_owner(self.folder / CONFIG_NAME, stream) as reader:
            report = ReadReport()
            records = list(reader.archive.records(*EVER_NS, report))
            assert (report.problems, report.not_granted_count) == ([], 0)
            proven: set[Any] = set()
            for record in records:
                if record.name not in proven:
                    proof = collect(reader.archive, reader.owner, record.name)
                    *_, last = proof.links(genesis, lambda found: None)
                    assert last.is_ok, last
                    proven.update(each.name for each in proof.block().records())
            return records
