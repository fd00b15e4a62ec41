"""Start a development chain, send money, and believe the result only when the light client has checked it.

python tests/examples/follow_the_chain.py
"""

import asyncio
import tempfile

from chain_node.dev import DevNode
from chain_node.light_client import LightClient
from chain_node.light_http import NodeClient
from chain_node.wire import Transaction, TransactionEvidence, Transfer
from puf.ed25519 import SigningKey


async def main(folder: str) -> None:
    """Alice is funded by the treasury and pays Bob."""
    alice, bob = SigningKey.generate(), SigningKey.generate()
    async with (
        DevNode.create_or_open(folder, port=0, block_period_ms=50) as node,
        NodeClient(node.url) as client,
    ):
        light = LightClient(node.genesis)
        funded = await client.fund(alice.public, 5_000_000)
        await final(node, client, funded)
        payment = Transaction.sign(alice, node.genesis.chain_id, 0, Transfer(bob.public, 2_000_000))
        evidence = await final(node, client, await client.submit(payment))
        await client.follow(light)
        receipt = light.confirm_transaction(evidence)
        print(f"payment {receipt.reason.label} in block {evidence.link.header.height}")
        for name, key in (("Alice", alice), ("Bob", bob)):
            answer = await client.get_account(key.public)
            await client.follow(light)
            account = light.confirm_account(key.public, answer.evidence)
            print(f"{name} holds {account.balance_ucpc} ucpc, proven against block {light.head.height}")


async def final(node: DevNode, client: NodeClient, tx_hash: bytes) -> TransactionEvidence:
    """The evidence of a transaction, once it is in a block."""
    height = node.node.head.height
    while (answer := await client.get_transaction(tx_hash)).evidence is None:
        height += 1
        await node.node.wait_for_height(height)
    return answer.evidence


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))
