"""The document of the JSON-RPC, held against the server by a JSON Schema library that is not ours."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chain_node import rpc_blocks, rpc_document_socket, rpc_network
from chain_node.did_ledger import DidRegister
from chain_node.escrow import EscrowOpen
from chain_node.mandate import MandateGrant
from chain_node.node import Node
from chain_node.peer_admission import Limits
from chain_node.peer_network import Peering, PeerNetwork
from chain_node.rpc import Dispatcher
from chain_node.rpc_document import ERROR_DATA, ERRORS, METHODS
from chain_node.storage import Storage
from chain_node.transaction import Body, Transaction, Transfer
from puf.did import ED25519, did_cpc
from puf.did_document import SIGNING, Key, make
from tests.chain_node import stepping
from tests.chain_node.world import ALICE, BOB, CAROL, START_MS, VALIDATORS, genesis_of

GENESIS = genesis_of([VALIDATORS[0]], proposers=(VALIDATORS[0].public,))
CLOCK = stepping.Clock()
NAME = make([Key(ED25519, SIGNING, ALICE.public)])
ESCROW = b"e" * 32


class Till:
    """A faucet that gives what it is asked for."""

    def fund(self, account: bytes, amount_ucpc: int) -> bytes:
        return b"\x0f" * 32


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Dispatcher, Node]]:
    with closing(Storage.open(tmp_path / "chain.sqlite", GENESIS)) as storage:
        node = Node(storage, VALIDATORS[0], clock_ms=CLOCK.wall, steady_ms=CLOCK.steady)
        network = PeerNetwork(VALIDATORS[0], GENESIS, Peering(None, (), Limits(), "test"))
        network.attach(node)
        more = {**rpc_network.methods(node, network), **rpc_blocks.methods(node)}
        yield Dispatcher(node, Till(), more), node


def answer(dispatcher: Dispatcher, method: str, params: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    raw = dispatcher.dispatch(body)
    assert raw is not None
    return json.loads(raw)


def check(schema: Any, value: object) -> None:
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(value)


def params_schema(method: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {param["name"]: param["schema"] for param in method["params"]},
        "required": [param["name"] for param in method["params"] if param["required"]],
        "additionalProperties": False,
    }


def documented(dispatcher: Dispatcher) -> dict[str, dict[str, Any]]:
    document = answer(dispatcher, "rpc.discover", {})["result"]
    assert (document["openrpc"], document["info"]["title"]) == ("1.3.2", "CPChain node")
    return {method["name"]: method for method in document["methods"]}


def test_every_method_that_is_there_is_in_the_document_and_no_other(
    server: tuple[Dispatcher, Node],
) -> None:
    dispatcher, node = server
    methods = documented(dispatcher)
    assert methods.keys() == dispatcher.method_names | {"subscribe", "unsubscribe"}
    assert {name for name, method in methods.items() if method.get("x-transport") == "websocket"} == {
        "subscribe",
        "unsubscribe",
    }
    assert set(METHODS) == set(methods)
    plain = documented(Dispatcher(node))
    assert methods.keys() - plain.keys() == {"dev_fund", "node_status", "node_peers"} | set(
        rpc_blocks.methods(node)
    )


def test_every_example_is_of_its_schema_and_every_error_is_declared(
    server: tuple[Dispatcher, Node],
) -> None:
    for method in documented(server[0]).values():
        (example,) = method["examples"]
        check(params_schema(method), {each["name"]: each["value"] for each in example["params"]})
        check(method["result"]["schema"], example["result"]["value"])
        assert {each["$ref"].rpartition("/")[2] for each in method["errors"]} <= ERRORS.keys()
    for schema in rpc_document_socket.EVENTS.values():
        Draft202012Validator.check_schema(schema)


REAL_CALLS: list[tuple[str, dict[str, object]]] = [
    ("chain_info", {}),
    ("genesis", {}),
    ("handovers", {"from": 1, "count": 50}),
    ("headers", {"from": 1, "count": 9}),
    ("account_get", {"account": ALICE.public.hex()}),
    ("account_get", {"account": CAROL.public.hex()}),
    ("account_history", {"account": ALICE.public.hex(), "count": 2}),
    ("account_history", {"account": ALICE.public.hex(), "count": 100}),
    ("did_get", {"did": did_cpc(NAME.name())}),
    ("did_get", {"did": did_cpc(NAME.name()), "height": 0}),
    ("did_get", {"did": did_cpc(ESCROW)}),
    ("escrow_get", {"payer": ALICE.public.hex(), "escrow": ESCROW.hex()}),
    ("escrow_get", {"payer": ALICE.public.hex(), "escrow": "00" * 32}),
    ("mandate_get", {"payer": ALICE.public.hex(), "operator": BOB.public.hex()}),
    ("mandate_get", {"payer": BOB.public.hex(), "operator": ALICE.public.hex()}),
    ("conduct_get", {"account": VALIDATORS[0].public.hex()}),
    ("state_get", {"key": "8201"}),
    ("rpc.discover", {}),
    ("dev_fund", {"account": ALICE.public.hex(), "amount_ucpc": 1}),
    ("blocks", {"count": 5}),
    ("blocks", {"count": 5, "to": 0}),
    ("block_get", {"height": 1}),
    ("block_get", {"hash": "00" * 32, "from": 0, "count": 1}),
    ("validators", {}),
    ("did_versions", {"did": did_cpc(NAME.name())}),
    ("did_versions", {"did": did_cpc(ESCROW)}),
    ("node_status", {}),
    ("node_peers", {}),
]


def test_real_answers_are_as_the_document_says(server: tuple[Dispatcher, Node]) -> None:
    dispatcher, node = server
    methods = documented(dispatcher)
    bodies: list[Body] = [
        Transfer(BOB.public, 5),
        DidRegister(NAME),
        EscrowOpen(ESCROW, BOB.public, 7, START_MS + 10**9, bytes(32)),
        MandateGrant(BOB.public, 1, 2, START_MS + 10**9),
    ]
    names = []
    for nonce, body in enumerate(bodies):
        transaction = Transaction.sign(ALICE, GENESIS.chain_id, nonce, body, 1_000)
        node.submit(transaction.data)
        names.append(transaction.tx_hash.hex())
    seen = set()
    for name in (names[0], "00" * 32):
        check(
            methods["tx_get"]["result"]["schema"],
            answer(dispatcher, "tx_get", {"tx_hash": name})["result"],
        )
    asyncio.run(stepping.produce(node, CLOCK))
    again = Transaction.sign(ALICE, GENESIS.chain_id, 4, Transfer(BOB.public, 6), 1_000)
    calls = [
        *REAL_CALLS,
        ("tx_submit", {"tx": again.data.hex()}),
        *((method, {"tx_hash": name}) for name in names for method in ("tx_get", "tx_show")),
        ("tx_show", {"tx_hash": again.tx_hash.hex()}),
        ("tx_show", {"tx_hash": "00" * 32}),
    ]
    for name, params in calls:
        check(params_schema(methods[name]), params)
        got = answer(dispatcher, name, params)
        assert "result" in got, (name, got)
        check(methods[name]["result"]["schema"], got["result"])
        seen.add(name)
    assert seen == dispatcher.method_names


def test_what_the_document_does_not_allow_is_refused(server: tuple[Dispatcher, Node]) -> None:
    dispatcher, _ = server
    for name, method in documented(dispatcher).items():
        if method.get("x-transport") == "websocket":
            continue
        given = {each["name"]: each["value"] for each in method["examples"][0]["params"]}
        spoilt: list[dict[str, object]] = [given | {"more": 1}]
        for param in method["params"]:
            spoilt += [given | {param["name"]: []}]
            if param["required"]:
                spoilt += [{key: value for key, value in given.items() if key != param["name"]}]
        for params in spoilt:
            assert not Draft202012Validator(params_schema(method)).is_valid(params)
            error = answer(dispatcher, name, params)["error"]
            assert (error["code"], error["data"]["reason"]) == (-32602, "params"), (name, params)
            check(ERROR_DATA, error["data"])
