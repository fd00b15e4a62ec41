"""What people ask of a chain: blocks and who signed them, impeachments, transactions taken apart, names."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from chain_node.block import Phase, Vote
from chain_node.dev import DevNode
from chain_node.did_ledger import DidDeactivate, DidRegister, DidRotate
from chain_node.escrow import EscrowOpen
from chain_node.fields import INT_MAX
from chain_node.mandate import MandateGrant
from chain_node.transaction import Anchor, Body, Equivocation, Transaction, Transfer
from puf.did import ED25519, did_cpc
from puf.did_document import AUTHENTICATION, INVOCATION, Document, Key, make
from tests.chain_node.world import ALICE, BOB, CAROL, anchor

Ask = Callable[..., Awaitable[Any]]
DOCUMENT = make([Key(ED25519, AUTHENTICATION | INVOCATION, ALICE.public)])


class Story:
    """A development chain, and Alice with money on it."""

    def __init__(self, dev: DevNode, session: aiohttp.ClientSession) -> None:
        self.dev, self._session, self._nonce = dev, session, 0

    async def ask(self, method: str, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self.dev.url, json=body) as response:
            answer = json.loads(await response.read())
        return answer["result"] if "result" in answer else answer["error"]

    async def final(self, tx_hash: bytes) -> Any:
        while (shown := await self.ask("tx_show", tx_hash=tx_hash.hex()))["status"] == "pending":
            await self.dev.node.wait_for_height(self.dev.node.head.height + 1)
        return shown

    def send(self, body: Body, fee_ucpc: int = 1_000) -> bytes:
        transaction = Transaction.sign(ALICE, self.dev.genesis.chain_id, self._nonce, body, fee_ucpc)
        self._nonce += 1
        return self.dev.node.submit(transaction.data)


def tell(path: Path, story: Callable[[Story], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        options.setdefault("block_period_ms", 10)
        async with (
            DevNode.create_or_open(path / "chain", 0, **options) as dev,
            aiohttp.ClientSession() as session,
        ):
            told = Story(dev, session)
            funded = await told.ask("dev_fund", account=ALICE.public.hex(), amount_ucpc=10_000_000)
            await told.final(bytes.fromhex(funded["tx_hash"]))
            await story(told)

    asyncio.run(run())


def fields(shown: Any) -> dict[str, tuple[str, Any]]:
    return {each["name"]: (each["type"], each["value"]) for each in shown["fields"]}


def test_a_block_with_its_certificate_and_its_transactions(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        first = told.send(Transfer(BOB.public, 6_000_000, b"rent"))
        second = told.send(Transfer(BOB.public, 6_000_000))
        shown = await told.final(second)
        assert (shown["status"], shown["index"], shown["tx_count"]) == ("final", 1, 2)
        assert shown["receipt"] == {"reason": "balance_too_low", "fee_ucpc": 1_000}
        block = await told.ask("block_get", height=shown["height"])
        validator = told.dev.genesis.validators[0].hex()
        assert (block["status"], block["signers"], block["validators"]) == ("final", [0], [validator])
        assert (block["proposer"], block["round"], block["impeached"]) == (validator, 0, None)
        assert block["hash"] == shown["block_hash"]
        assert [row["tx_hash"] for row in block["transactions"]] == [first.hex(), second.hex()]
        assert block["transactions"][0] == {
            "index": 0,
            "tx_hash": first.hex(),
            "kind": 1,
            "kind_name": "transfer",
            "sender": ALICE.public.hex(),
            "amount_ucpc": 6_000_000,
            "reason": "applied",
            "fee_ucpc": 1_000,
        }
        assert await told.ask("block_get", hash=block["hash"]) == block | {"head": told.dev.node.head.height}
        part = await told.ask("block_get", height=shown["height"], **{"from": 1, "count": 1})
        assert part["transactions"] == block["transactions"][1:]
        summary = (await told.ask("blocks", count=1, to=shown["height"]))["blocks"]
        assert [block[name] for name in summary[0]] == list(summary[0].values())
        page = await told.ask("blocks", count=100)
        assert [each["height"] for each in page["blocks"]] == list(range(page["height"], 0, -1))
        unknown = {"status": "unknown", "height": told.dev.node.head.height}
        assert await told.ask("block_get", hash="00" * 32) == unknown
        assert await told.ask("block_get", height=10**6) == unknown
        assert (await told.ask("block_get"))["data"]["reason"] == "params"
        assert (await told.ask("blocks", count=101))["data"]["reason"] == "params"

    tell(tmp_path, story, heartbeat_ms=10_000)


def test_an_impeachment_names_the_proposer_and_why(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        dead = told.dev.genesis.validators[2].hex()
        await told.dev.kill(2)
        impeached = None
        while impeached is None:
            await told.dev.node.wait_for_height(told.dev.node.head.height + 1)
            page = await told.ask("blocks", count=10)
            impeached = next((each for each in page["blocks"] if each["impeached"]), None)
        assert impeached["impeached"] == {
            "proposer": dead,
            "why": "no_block",
            "detail": "",
            "is_proven": False,
        }
        assert (impeached["proposer"], impeached["round"], impeached["tx_count"]) == (None, 1, 0)
        assert impeached["signers"] == [0, 1, 3]
        all_ = await told.ask("validators")
        assert (all_["quorum"], len(all_["validators"])) == (3, 4)
        assert all_["validators"] == all_["proposers"]
        counts = [each["impeached_count"] for each in all_["validators"]]
        assert counts[:2] + counts[3:] == [0, 0, 0]
        assert counts[2] >= 1
        assert all_["validators"][2]["public"] == dead
        assert all_["validators"][2]["last_height"] >= impeached["height"]

    tell(tmp_path, story, validator_count=4, heartbeat_ms=10, timeout_ms=100)


def test_each_kind_of_field_is_told_as_what_it_is(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        later_ms = told.dev.node.head.time_ms + 3_600_000
        bodies: list[Body] = [
            Transfer(BOB.public, 5, b"<b>\xff"),
            anchor(upload=INT_MAX),
            DidRegister(DOCUMENT),
            EscrowOpen(b"i" * 32, BOB.public, 7, later_ms, b"m" * 32),
            MandateGrant(BOB.public, 1, 2, later_ms, payees=(min(CAROL.public, BOB.public),)),
        ]
        hashes = [told.send(body) for body in bodies]
        transfer, anchored, did, escrow, mandate = [await told.final(each) for each in hashes]
        assert (transfer["kind_name"], transfer["nonce"], transfer["fee_ucpc"]) == ("transfer", "0", "1000")
        assert fields(transfer) == {
            "to": ("account", BOB.public.hex()),
            "amount_ucpc": ("amount", "5"),
            "memo": ("text", "3c623eff"),
        }
        assert fields(anchored)["upload"] == ("number", "9007199254740991")
        assert isinstance(bodies[1], Anchor)
        assert fields(anchored)["stream"] == ("bytes", bodies[1].stream.hex())
        name = DOCUMENT.name()
        assert (did["kind_name"], fields(did)) == (
            "did_register",
            {"document": ("document", DOCUMENT.to_json(name))},
        )
        assert fields(escrow)["arbiter"] == ("none", None)
        assert fields(escrow)["deadline_ms"] == ("time", str(later_ms))
        assert fields(mandate)["payees"] == ("accounts", [min(CAROL.public, BOB.public).hex()])
        assert await told.ask("tx_show", tx_hash="00" * 32) == {"status": "unknown"}

    tell(tmp_path, story, heartbeat_ms=10_000)


def test_a_name_has_all_of_its_versions(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        name = DOCUMENT.name()
        other: Document = make([Key(ED25519, AUTHENTICATION | INVOCATION, ALICE.public)], salt=b"2")
        made = [
            await told.final(told.send(body))
            for body in (DidRegister(DOCUMENT), DidRotate(name, 1, other), DidDeactivate(name))
        ]
        assert fields(made[1])["name"] == ("did", did_cpc(name))
        assert fields(made[1])["document"] == ("document", other.to_json(name)), "of the name, not its own"
        first, second, third = (each["height"] for each in made)
        answer = await told.ask("did_versions", did=did_cpc(name))
        assert (answer["version"], answer["is_deactivated"]) == (3, True)
        assert [
            (each["version"], each["since_height"], each["until_height"]) for each in answer["versions"]
        ] == [(3, third, None), (2, second, third), (1, first, second)]
        assert [each["since_ms"] for each in answer["versions"]] == [each["time_ms"] for each in made[::-1]]
        nobody = await told.ask("did_versions", did=did_cpc(b"n" * 32))
        assert nobody == {"version": None, "is_deactivated": False, "versions": []}

    tell(tmp_path, story, heartbeat_ms=10_000)


def test_two_votes_are_shown_as_votes_and_prove_an_impeachments_reason(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        # Nobody needs a node to contradict itself: its key is in the folder.
        liar = told.dev._folder.validators[2]
        await told.dev.kill(2)
        height = None
        while height is None:
            await told.dev.node.wait_for_height(told.dev.node.head.height + 1)
            page = await told.ask("blocks", count=10)
            height = next((each["height"] for each in page["blocks"] if each["impeached"]), None)
        chain_id = told.dev.genesis.chain_id
        votes = [Vote.sign(liar, chain_id, height, 0, Phase.PROPOSE, bytes([n]) * 32) for n in (1, 2)]
        sent = told.send(Equivocation(votes[0].data, votes[1].data), 0)
        shown = await told.final(sent)
        assert fields(shown)["first"] == (
            "vote",
            {
                "voter": liar.public.hex(),
                "height": str(height),
                "round": "0",
                "form": "PROPOSE",
                "block_hash": "01" * 32,
            },
        )
        block = await told.ask("block_get", height=height)
        assert block["impeached"] == {
            "proposer": liar.public.hex(),
            "why": "two_blocks",
            "detail": "",
            "is_proven": True,
            "tx_hash": sent.hex(),
        }
        proof = await told.ask("tx_show", tx_hash=sent.hex())
        assert proof["kind_name"] == "equivocation"
        counts = [each["equivocation_count"] for each in (await told.ask("validators"))["validators"]]
        assert counts == [0, 0, 1, 0]

    tell(tmp_path, story, validator_count=4, heartbeat_ms=10, timeout_ms=100)
