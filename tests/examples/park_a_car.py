"""A deposit for parking on the chain: a site with a name, an escrow, a settlement, and a proof of each step.

python tests/examples/park_a_car.py
"""

import asyncio
import tempfile
from hashlib import sha256

from chain_node.dev import DevNode
from chain_node.light_client import LightClient
from chain_node.light_http import NodeClient
from chain_node.wire import Body, DidRegister, EscrowOpen, EscrowSettle, Transaction
from puf import did_document
from puf.did import ED25519, did_cpc
from puf.did_document import ASSERTION, INVOCATION, Key, Service
from puf.ed25519 import SigningKey


async def main(folder: str) -> None:
    """The car puts 5 CPC aside; the session costs 1.2 CPC; the rest comes back."""
    car, site = SigningKey.generate(), SigningKey.generate()
    session = sha256(b"lot 7, arrived 2026-05-01T12:00:00Z").digest()
    async with (
        DevNode.create_or_open(folder, port=0, block_period_ms=50) as node,
        NodeClient(node.url) as client,
    ):
        light = LightClient(node.genesis)
        for key in (car, site):
            await final(node, client, await client.fund(key.public, 10_000_000))

        document = did_document.make(
            [Key(ED25519, ASSERTION | INVOCATION, site.public)],
            services=[Service("parking", "CpcSite", "https://lot7.example/")],
        )
        name = document.name()
        await say(node, client, site, DidRegister(document))
        evidence = (await client.get_did(name)).evidence
        await client.follow(light)
        entry = light.confirm_did(name, evidence)
        assert entry, "the site's name is proven"
        print(f"{did_cpc(name)} is at {entry.document.services[0].endpoint}")

        deadline_ms = node.node.head.time_ms + 24 * 3_600_000
        terms = sha256(b"tariff 3").digest()
        await say(node, client, car, EscrowOpen(session, site.public, 5_000_000, deadline_ms, terms))
        await say(node, client, site, EscrowSettle(car.public, session, 1_200_000))
        for who, key in (("car", car), ("site", site)):
            answer = await client.get_account(key.public)
            await client.follow(light)
            account = light.confirm_account(key.public, answer.evidence)
            print(f"the {who} holds {account.balance_ucpc} ucpc")
        settled = await client.get_escrow(car.public, session)
        await client.follow(light)
        escrow = light.confirm_escrow(car.public, session, settled)
        assert escrow, "the escrow is proven"
        print(f"the session was {escrow.status.name.lower()} at {escrow.paid_ucpc} ucpc, proven")


async def say(node: DevNode, client: NodeClient, key: SigningKey, body: Body) -> None:
    """Submit a transaction with the account's next nonce, and wait until it is in a block."""
    nonce = (await client.get_account(key.public)).next_nonce
    await final(node, client, await client.submit(Transaction.sign(key, node.genesis.chain_id, nonce, body)))


async def final(node: DevNode, client: NodeClient, tx_hash: bytes) -> None:
    """Wait for a transaction to be in a block."""
    height = node.node.head.height
    while (await client.get_transaction(tx_hash)).evidence is None:
        height += 1
        await node.node.wait_for_height(height)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))
