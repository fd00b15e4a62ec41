"""What the tests of the command line share: a chain, a gateway that has run, and `cpc`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli_output import EXIT_OK
from tests.gateway.commands import RATE_HZ, SECONDS, Cpc
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
