"""What tests of the gateway share: a chain, a gateway that has run, `cpc`, and uploads to anchor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli_output import EXIT_OK
from gateway.spool import SpooledUpload
from tests.gateway.anchored import store_uploads
from tests.gateway.commands import RATE_HZ, SECONDS, Cpc
from tests.gateway.telemetry import can_batch
from tests.node_process import NodeProcess


@pytest.fixture(scope="session")
def car_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A development node in a process of its own."""
    with NodeProcess(tmp_path_factory.mktemp("chain")) as node:
        yield node


@pytest.fixture(scope="session")
def car_config(car_node: NodeProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a gateway that has taken in twenty seconds of a simulated car, all anchored; only for reading."""
    folder = tmp_path_factory.mktemp("site") / "site"
    source = f"sim:car?rate_hz={RATE_HZ}&seconds={SECONDS}&speed=max"
    assert main(["init", str(folder), "--node", car_node.url, "--source", source]) == EXIT_OK
    assert main(["run", "-c", str(folder / "gateway.toml"), "--anchor-timeout-ms", "60000"]) == EXIT_OK
    return folder / "gateway.toml"


@pytest.fixture
def cpc(capsys: pytest.CaptureFixture[str]) -> Cpc:
    return Cpc(capsys)


@pytest.fixture
def uploads(tmp_path: Path) -> list[SpooledUpload]:
    """Four uploads of a stream, none of them signed."""
    store, manifests = store_uploads(tmp_path / "site", [can_batch(40, step_ns=500_000_000)], segment_count=1)
    store.close()
    return [SpooledUpload(row, manifest, None) for row, manifest in enumerate(manifests, 1)]
