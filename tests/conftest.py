"""What holds in every test: all money of each block that its process executes is counted."""

import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chain_node import audit, ledger
from chain_node.ledger import Execution
from chain_node.state import Overlay
from puf.merkle_map import MerkleMap


def audited(make: Callable[..., Any], execution_of: Callable[[Any], Execution]) -> Callable[..., Any]:
    """`make`, whose result is counted before anybody sees it."""

    def wrapped(read_node: Callable[[bytes], bytes], *args: Any) -> Any:
        made = make(read_node, *args)
        execution = execution_of(made)
        nodes = Overlay(read_node)
        nodes |= execution.nodes_added
        audit.check(MerkleMap(nodes, execution.state_root))
        return made

    return wrapped


@pytest.fixture(autouse=True, scope="session")
def audit_of_every_block() -> Iterator[None]:
    """In the simulator, too, whose nodes all run here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "execute", audited(ledger.execute, lambda made: made))
        patch.setattr(ledger, "impeachment_block", audited(ledger.impeachment_block, lambda made: made[1]))
        yield


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command that a test calls in its own process may set up the log, and whoever comes next needs it."""
    log = logging.getLogger("cpc")
    level = log.level
    yield
    logging.disable(logging.NOTSET)
    log.setLevel(level)


def pytest_collection(session: pytest.Session) -> None:
    """Nothing that is collected is garbage, and looking for some doubles the time it takes."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests stay to the end: nobody looks through them again for garbage."""
    gc.freeze()
    gc.enable()
