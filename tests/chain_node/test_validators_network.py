"""A validator of a network is replaced while it works: the new one votes, and the old is not missed."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

from chain_node.check import check
from chain_node.evidence import StateEvidence
from chain_node.handover import Handovers
from chain_node.node import Node
from chain_node.storage import Storage
from chain_node.transaction import Transaction
from tests.chain_node.peering import running
from tests.chain_node.world import ALICE, NEWCOMERS, VALIDATORS, change_of, genesis_of

NEW = NEWCOMERS[0]
RULES: dict[str, Any] = {"block_period_ms": 20, "heartbeat_ms": 40, "timeout_ms": 2_000}
AFTER = (*VALIDATORS[:3], NEW)


def submit_change(node: Node, from_height: int) -> None:
    change = change_of(node.genesis, 0, from_height, AFTER)
    node.submit(Transaction.sign(ALICE, node.genesis.chain_id, 0, change, 1_000).data)


def test_one_validator_is_replaced_and_blocks_go_on(tmp_path: Path) -> None:
    async def story() -> int:
        async with running(tmp_path, **RULES) as net:
            await net.committee()
            await net.start("new", NEW, ["v0", "v1", "v2", "p"])
            await net.reach(2)
            start = net["v0"].node.head.height + 30
            assert net["v0"].network.role == "validator"
            submit_change(net["new"].node, start)
            await net.reach(start + 2, "v0", "v1", "v2", "v3", "p", "new")
            roles = {name: net[name].network.role for name in ("v2", "v3", "new", "p")}
            assert roles == {"v2": "validator", "v3": "plain", "new": "validator", "p": "proposer"}
            # Without the old one, and one more: there is no quorum but with the new one.
            await net.stop("v3")
            await net.stop("v2")
            height = net["new"].node.head.height
            await net.reach(height + 5, "v0", "v1", "p", "new")
            # Restarted, it is judged, and judges, by the set of today.
            await net.stop("new")
            await net.start("v2", VALIDATORS[2], ["v0", "v1", "p"])
            await net.reach(height + 7, "v0", "v2")
            await net.start("new", NEW, ["v0", "v1", "v2", "p"])
            await net.start("v3", VALIDATORS[3], ["v0", "v1", "v2", "p"])
            await net.reach(net["v0"].node.head.height + 3, "v0", "v2", "v3", "new")
            assert net["v3"].node.replica.validators_at(start).keys == tuple(each.public for each in AFTER)
            return start

    start = asyncio.run(story())
    with closing(Storage.open(tmp_path / "v3.sqlite", genesis_of(**RULES))) as storage:
        assert check(storage).is_sound
        known = Handovers(storage.genesis, map(StateEvidence.decode, storage.changes(1, 9)))
        assert [each.from_height for each in known.sets] == [0, start]
        for height in range(1, storage.head.height + 1):
            link = storage.link(height)
            assert link
            known.verify(link)
            assert len(link.certificate.signatures) >= 3
