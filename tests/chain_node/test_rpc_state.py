"""Names, escrows, mandates and conduct by JSON-RPC: what is shown, and the same confirmed by proofs."""

import asyncio
import json
from collections.abc import Awaitable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chain_node.book import DAY_MS
from chain_node.did_ledger import DidDeactivate, DidRegister, DidRotate
from chain_node.entry import Conduct
from chain_node.errors import NodeBusy, NodeLied, NodeRefused
from chain_node.escrow import EscrowOpen, EscrowSettle, EscrowStatus
from chain_node.light_client import LightClient
from chain_node.light_http import NodeClient
from chain_node.mandate import MandateGrant, MandatePay, MandateRevoke
from chain_node.node import Node
from chain_node.rpc import Dispatcher
from chain_node.storage import Storage
from chain_node.transaction import Body, Transaction
from puf import did_document
from puf.did import ED25519, did_cpc
from puf.did_document import SIGNING, Document, Key
from puf.ed25519 import SigningKey
from tests.chain_node import stepping
from tests.chain_node.world import ALICE, BOB, CAROL, START_MS, VALIDATORS, genesis_of

KEY = VALIDATORS[0]
GENESIS = genesis_of([KEY], proposers=(KEY.public,))
IDENT, MEMO = b"\x05" * 32, b"\x06" * 32
DEADLINE_MS = START_MS + DAY_MS


class Direct(NodeClient):
    """A client that asks a dispatcher without any network between."""

    def __init__(self, node: Node) -> None:
        super().__init__("http://127.0.0.1:1/")
        self.node, self.light = node, LightClient(GENESIS)

    async def _post(self, body: bytes) -> bytes:
        answer = Dispatcher(self.node).dispatch(body)
        assert answer is not None
        return answer

    def show(self, method: str, **params: Any) -> dict[str, Any]:
        """The result as anybody sees it, without what proves it."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        answer = json.loads(wait(self._post(body)))["result"]
        assert answer["height"] == self.node.head.height
        for name in ("height", "header", "certificate", "proof"):
            del answer[name]
        return dict(answer)

    def block(self, *said: tuple[SigningKey, Body]) -> None:
        """A block of these, and the light client follows."""
        for signer, body in said:
            nonce = self.node.next_nonce(signer.public)
            self.node.submit(Transaction.sign(signer, GENESIS.chain_id, nonce, body, 1_000).data)
        asyncio.run(stepping.produce(self.node, CLOCK))
        wait(self.follow(self.light))


CLOCK = stepping.Clock()


def wait(answer: Awaitable[Any]) -> Any:
    async def run() -> Any:
        return await answer

    return asyncio.run(run())


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Direct]:
    CLOCK.now_ms, CLOCK.steady_ms = START_MS + 1_000, 0
    with closing(Storage.open(tmp_path / "chain.sqlite", GENESIS)) as storage:
        yield Direct(Node(storage, KEY, clock_ms=CLOCK.wall, steady_ms=CLOCK.steady))


def document(signer: SigningKey) -> Document:
    return did_document.make([Key(ED25519, SIGNING, signer.public)])


NAME = document(ALICE).name()
DID = did_cpc(NAME)


def test_a_name_is_shown_as_it_is_and_as_it_was(client: Direct) -> None:
    client.block()
    assert client.show("did_get", did=DID) == {"version": None, "resolution": None}
    assert client.show("did_get", did=DID, height=1) == {"version": None, "resolution": None}
    client.block((ALICE, DidRegister(document(ALICE))))
    client.block()
    client.block((ALICE, DidRotate(NAME, 1, document(BOB))))
    client.block((BOB, DidRotate(NAME, 2, document(CAROL))))
    client.block()

    def shown(**params: Any) -> tuple[int | None, str | None, Any]:
        answer = client.show("did_get", did=DID, **params)
        if answer["resolution"] is None:
            return answer["version"], None, None
        metadata = answer["resolution"]["didDocumentMetadata"]
        return answer["version"], metadata["versionId"], answer["resolution"]["didDocument"]

    assert shown() == (None, "3", document(CAROL).to_json(NAME))
    assert [shown(height=height)[:2] for height in range(8)] == [
        (1, None),
        (1, None),
        (1, "1"),
        (1, "1"),
        (2, "2"),
        (None, "3"),
        (None, "3"),
        (None, "3"),
    ]
    assert shown(height=3)[2] == document(ALICE).to_json(NAME)
    found = []
    for height in range(7):
        answer = wait(client.get_did(NAME, height))
        found.append(client.light.confirm_did_at(NAME, height, answer.version, answer.evidence))
    assert found == [
        None,
        None,
        document(ALICE),
        document(ALICE),
        document(BOB),
        document(CAROL),
        document(CAROL),
    ]
    entry = client.light.confirm_did(NAME, wait(client.get_did(NAME)).evidence)
    assert entry is not None
    assert entry.version == 3


def test_a_name_that_is_one_version_old_or_ended(client: Direct) -> None:
    client.block()
    client.block((ALICE, DidRegister(document(ALICE))))
    assert client.show("did_get", did=DID, height=1) == {"version": None, "resolution": None}
    answer = wait(client.get_did(NAME, 1))
    assert client.light.confirm_did_at(NAME, 1, answer.version, answer.evidence) is None
    client.block((ALICE, DidDeactivate(NAME)))
    assert client.show("did_get", did=DID)["resolution"]["didDocumentMetadata"]["deactivated"] is True
    found = []
    for height in (2, 3):
        answer = wait(client.get_did(NAME, height))
        found.append(client.light.confirm_did_at(NAME, height, answer.version, answer.evidence))
    assert found == [document(ALICE), None]


def test_an_escrow_is_shown_and_confirmed(client: Direct) -> None:
    params = {"payer": ALICE.public.hex(), "escrow": IDENT.hex()}
    client.block()
    assert client.show("escrow_get", **params) == {"status": "unknown"}
    assert (
        client.light.confirm_escrow(ALICE.public, IDENT, wait(client.get_escrow(ALICE.public, IDENT))) is None
    )
    client.block((ALICE, EscrowOpen(IDENT, BOB.public, 700, DEADLINE_MS, MEMO, CAROL.public)))
    opened = client.node.storage.block(2)
    assert opened is not None
    assert client.show("escrow_get", **params) == {
        "status": "open",
        "payee": BOB.public.hex(),
        "arbiter": CAROL.public.hex(),
        "amount_ucpc": 700,
        "paid_ucpc": 0,
        "deadline_ms": DEADLINE_MS,
        "memo_hash": MEMO.hex(),
        "opened_height": 2,
        "ended_height": 0,
        "tx_hash": Transaction.decode(opened.transactions[0]).tx_hash.hex(),
    }
    assert client.show("account_get", account=ALICE.public.hex())["locked_ucpc"] == 700
    client.block((ALICE, EscrowSettle(ALICE.public, IDENT, 700)))
    shown = client.show("escrow_get", **params)
    assert (shown["status"], shown["paid_ucpc"], shown["ended_height"]) == ("settled", 700, 3)
    entry = client.light.confirm_escrow(ALICE.public, IDENT, wait(client.get_escrow(ALICE.public, IDENT)))
    assert entry is not None
    assert entry.status == EscrowStatus.SETTLED


def test_a_mandate_is_shown_and_confirmed(client: Direct) -> None:
    params = {"payer": ALICE.public.hex(), "operator": BOB.public.hex()}
    client.block()
    assert client.show("mandate_get", **params) == {"status": "unknown"}
    client.block((ALICE, MandateGrant(BOB.public, 100, 250, DEADLINE_MS, None, (CAROL.public,))))
    client.block((BOB, MandatePay(ALICE.public, CAROL.public, 60)))
    paid = client.node.storage.block(3)
    assert paid is not None
    assert client.show("mandate_get", **params) == {
        "status": "granted",
        "number": 1,
        "payment_max_ucpc": 100,
        "day_max_ucpc": 250,
        "total_max_ucpc": None,
        "expires_ms": DEADLINE_MS,
        "payees": [CAROL.public.hex()],
        "day_spent_ucpc": 60,
        "total_spent_ucpc": 60,
        "tx_hash": Transaction.decode(paid.transactions[0]).tx_hash.hex(),
    }
    CLOCK.now_ms += DAY_MS
    client.block((ALICE, MandateRevoke(BOB.public)))
    shown = client.show("mandate_get", **params)
    assert (shown["status"], shown["day_spent_ucpc"], shown["total_spent_ucpc"]) == ("revoked", 0, 60)
    evidence = wait(client.get_mandate(ALICE.public, BOB.public))
    entry = client.light.confirm_mandate(ALICE.public, BOB.public, evidence)
    assert entry is not None
    assert entry.is_revoked


def test_conduct_is_shown_and_confirmed(client: Direct) -> None:
    client.block()
    assert client.show("conduct_get", account=KEY.public.hex()) == {
        "impeached_count": 0,
        "equivocation_count": 0,
        "last_height": 0,
    }
    assert client.light.confirm_conduct(KEY.public, wait(client.get_conduct(KEY.public))) == Conduct()


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("did_get", {}, "did is missing"),
        ("did_get", {"did": 7}, "did must be a text such as did:cpc:z..."),
        ("did_get", {"did": "did:cpc:z" + "1" * 200}, "did must be a text such as did:cpc:z..."),
        (
            "did_get",
            {"did": "did:key:z6Mk"},
            "did must be a did:cpc: a registered name starts with did:cpc:z",
        ),
        ("did_get", {"did": DID, "height": -1}, "height must be a whole number from 0"),
        ("did_get", {"did": DID, "version": 1}, "unknown params: version"),
        ("escrow_get", {"payer": "00" * 32}, "escrow is missing"),
        ("escrow_get", {"payer": "00" * 31, "escrow": "00" * 32}, "payer must be lower-case hex of 32 bytes"),
        (
            "mandate_get",
            {"payer": "00" * 32, "operator": None},
            "operator must be lower-case hex of 32 bytes",
        ),
        ("conduct_get", {"account": "00" * 32, "x": 1}, "unknown params: x"),
    ],
)
def test_a_question_that_is_none_is_refused(client: Direct, method: str, params: Any, message: str) -> None:
    with pytest.raises(NodeRefused) as caught:
        wait(client._call(method, params))
    assert caught.value.reason == "params"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("did_get", {"did": DID}),
        ("escrow_get", {"payer": "00" * 32, "escrow": "00" * 32}),
        ("mandate_get", {"payer": "00" * 32, "operator": "00" * 32}),
        ("conduct_get", {"account": "00" * 32}),
    ],
)
def test_before_the_first_block_there_is_no_proof(client: Direct, method: str, params: Any) -> None:
    with pytest.raises(NodeBusy, match="there is no block yet"):
        wait(client._call(method, params))


def test_a_version_that_is_no_number_is_a_lie(client: Direct) -> None:
    class Lying(Direct):
        async def _post(self, body: bytes) -> bytes:
            answer = json.loads(await super()._post(body))
            answer["result"]["version"] = "1"
            return json.dumps(answer).encode()

    client.block()
    with pytest.raises(NodeLied, match="version in the result of did_get is not a whole number"):
        wait(Lying(client.node).get_did(NAME))
