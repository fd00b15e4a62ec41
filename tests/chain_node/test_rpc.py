"""The dispatcher: what every method answers, and declared answers only to whatever comes."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain_node import rpc_blocks
from chain_node.block import Certificate, Header
from chain_node.entry import account_key
from chain_node.errors import Refused, StorageFull
from chain_node.genesis import Genesis
from chain_node.mempool import Pool
from chain_node.node import Node
from chain_node.reason import Reason
from chain_node.rpc import Dispatcher
from chain_node.rpc_call import Caller
from chain_node.rpc_format import BATCH_MAX, BODY_SIZE_MAX, HEADERS_MAX
from chain_node.storage import Storage
from chain_node.transaction import Receipt, Transaction, Transfer
from puf.merkle_map import verify
from tests.chain_node import stepping
from tests.chain_node.world import ALICE, BOB, CAROL, START_MS, VALIDATORS, genesis_of

KEY = VALIDATORS[0]
GENESIS = genesis_of([KEY], proposers=(KEY.public,))
CLOCK = stepping.Clock()


class Till:
    """A faucet that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int]] = []

    def fund(self, account: bytes, amount_ucpc: int) -> bytes:
        if amount_ucpc == 13:
            raise Refused(Reason.BUSY, "the pool is full")
        self.asked.append((account, amount_ucpc))
        return b"\x0f" * 32


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    storage = Storage.open(tmp_path / "chain.sqlite", GENESIS)
    with closing(storage):
        yield Node(storage, KEY, clock_ms=CLOCK.wall, steady_ms=CLOCK.steady, pool=Pool(count_max=3))


def pay(nonce: int = 0) -> Transaction:
    return Transaction.sign(ALICE, GENESIS.chain_id, nonce, Transfer(BOB.public, 1), 1_000)


def call(node: Node, method: str, **params: Any) -> Any:
    """The result."""
    answer = ask(Dispatcher(node, Till()), {"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    assert (answer["jsonrpc"], answer["id"], answer.keys()) == ("2.0", 7, {"jsonrpc", "id", "result"})
    return answer["result"]


def ask(dispatcher: Dispatcher, request: object) -> Any:
    answer = dispatcher.dispatch(request if isinstance(request, bytes) else json.dumps(request).encode())
    return None if answer is None else json.loads(answer)


def produce(node: Node) -> None:
    asyncio.run(stepping.produce(node, CLOCK))


# Methods


def test_chain_info_and_genesis(node: Node) -> None:
    node.submit(pay().data)
    assert call(node, "chain_info") == {
        "name": "test",
        "chain_id": GENESIS.chain_id.hex(),
        "height": 0,
        "block_hash": GENESIS.chain_id.hex(),
        "time_ms": START_MS,
        "validator_count": 1,
        "quorum": 1,
        "fee_min_ucpc": 1_000,
        "free_tx_per_day": 3,
        "block_period_ms": 10,
        "pool_count": 1,
        "trouble": "",
    }
    assert Genesis.decode(bytes.fromhex(call(node, "genesis")["genesis"])) == GENESIS


def test_headers_come_with_their_certificates(node: Node) -> None:
    for _ in range(3):
        produce(node)
    answer = call(node, "headers", **{"from": 2, "count": 9})
    assert answer["height"] == 3
    headers = [Header.decode(bytes.fromhex(each["header"])) for each in answer["headers"]]
    assert [header.height for header in headers] == [2, 3]
    for header, each in zip(headers, answer["headers"], strict=True):
        certificate = Certificate.decode(bytes.fromhex(each["certificate"]))
        certificate.verify(GENESIS.chain_id, GENESIS.validators)
        assert certificate.block_hash == header.block_hash
    assert len(call(node, "headers", **{"from": 1, "count": 2})["headers"]) == 2
    assert call(node, "headers", **{"from": 4, "count": 2})["headers"] == []


def test_the_life_of_a_transaction(node: Node) -> None:
    name = pay().tx_hash.hex()
    assert call(node, "tx_get", tx_hash=name) == {"status": "unknown"}
    assert call(node, "tx_submit", tx=pay().data.hex()) == {"tx_hash": name}
    assert call(node, "tx_get", tx_hash=name) == {"status": "pending", "tx": pay().data.hex()}
    produce(node)
    final = call(node, "tx_get", tx_hash=name)
    assert (final["status"], final["height"], final["index"], final["tx"]) == (
        "final",
        1,
        0,
        pay().data.hex(),
    )
    assert (final["tx_proof"], final["receipt_proof"]) == ([], [])
    assert Receipt.decode(bytes.fromhex(final["receipt"])) == Receipt(pay().tx_hash, Reason.APPLIED, 1_000)
    assert call(node, "tx_submit", tx=pay().data.hex()) == {"tx_hash": name}
    node.submit(pay(1).data)
    node.pool.give_up([(pay(1), Refused(Reason.EXPIRED, "it was valid until block 1"))])
    assert call(node, "tx_get", tx_hash=pay(1).tx_hash.hex()) == {
        "status": "refused",
        "reason": "expired",
        "message": "it was valid until block 1",
    }


def test_accounts_and_state_with_proofs(node: Node) -> None:
    produce(node)
    node.submit(pay(0).data)
    account = call(node, "account_get", account=ALICE.public.hex())
    assert (account["balance_ucpc"], account["nonce"], account["next_nonce"]) == (500_000_000_000_000, 0, 1)
    header = Header.decode(bytes.fromhex(account["header"]))
    entry = verify(header.state_root, account_key(ALICE.public), bytes.fromhex(account["proof"]))
    assert entry is not None
    state = call(node, "state_get", key=account_key(ALICE.public).hex())
    assert state == {name: account[name] for name in ("height", "header", "certificate", "proof")}
    nobody = call(node, "account_get", account=CAROL.public.hex())
    assert (nobody["balance_ucpc"], nobody["next_nonce"]) == (0, 0)
    assert verify(header.state_root, account_key(CAROL.public), bytes.fromhex(nobody["proof"])) is None


def test_the_faucet_is_there_on_development_chains_only(node: Node) -> None:
    till = Till()
    request = {
        "jsonrpc": "2.0",
        "id": "a",
        "method": "dev_fund",
        "params": {"account": "0a" * 32, "amount_ucpc": 5},
    }
    assert ask(Dispatcher(node, till), request)["result"] == {"tx_hash": "0f" * 32}
    assert till.asked == [(b"\x0a" * 32, 5)]
    error = ask(Dispatcher(node), request)["error"]
    assert (error["code"], error["data"]["reason"]) == (-32601, "method")


# Errors


def error_of(node: Node, request: object) -> tuple[int, str, str]:
    answer = ask(Dispatcher(node, Till()), request)
    assert answer.keys() == {"jsonrpc", "id", "error"}
    return answer["error"]["code"], answer["error"]["data"]["reason"], answer["error"]["message"]


def request_of(method: object, params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@pytest.mark.parametrize(
    ("request_", "code", "reason", "message"),
    [
        (b"", -32700, "json", "the body is not JSON"),
        (b"\xff\xfe\x00", -32700, "json", "the body is not JSON"),
        (b'{"a":NaN}', -32700, "json", "the body is not JSON"),
        (b"[" * 100_000, -32700, "json", "the body is not JSON"),
        (b"1" * 5_000, -32700, "json", "the body is not JSON"),
        (b" " * (BODY_SIZE_MAX + 1), -32600, "body_size", "a request has at most 1048576 bytes"),
        ([], -32600, "batch_size", "a batch holds 1 to 16 requests"),
        ([{}] * (BATCH_MAX + 1), -32600, "batch_size", "a batch holds 1 to 16 requests"),
        (7, -32600, "request", "a request must be an object"),
        ({"id": 1}, -32600, "request", 'jsonrpc must be "2.0"'),
        ({"jsonrpc": "2.0", "id": 1.5}, -32600, "request", "id must be null"),
        ({"jsonrpc": "2.0", "id": True}, -32600, "request", "id must be null"),
        ({"jsonrpc": "2.0", "id": [1]}, -32600, "request", "id must be null"),
        ({"jsonrpc": "2.0", "id": "x" * 129}, -32600, "request", "id must be null"),
        ({"jsonrpc": "2.0", "id": 10**30}, -32600, "request", "id must be null"),
        ({"jsonrpc": "2.0", "method": 5}, -32600, "request", "method must be a text"),
        (
            request_of("genesis", {}) | {"extra": 1},
            -32600,
            "request",
            "has jsonrpc, id, method and params only",
        ),
        (request_of("evil", {}), -32601, "method", "no such method; there are account_get, account_hist"),
        (request_of("genesis", []), -32602, "params", "params must be an object with names"),
        (request_of("genesis", None), -32602, "params", "params must be an object with names"),
        (request_of("genesis", {"a": 1}), -32602, "params", "unknown params: a"),
        (request_of("headers", {"from": 1}), -32602, "params", "count is missing"),
        (
            request_of("headers", {"from": 0, "count": 1}),
            -32602,
            "params",
            "from must be a whole number from 1",
        ),
        (request_of("headers", {"from": 2**53, "count": 1}), -32602, "params", "from must be a whole number"),
        (request_of("headers", {"from": True, "count": 1}), -32602, "params", "from must be a whole number"),
        (request_of("headers", {"from": 1.0, "count": 1}), -32602, "params", "from must be a whole number"),
        (
            request_of("headers", {"from": 1, "count": HEADERS_MAX + 1}),
            -32602,
            "params",
            "count must be a whole number from 1 to 500",
        ),
        (
            request_of("tx_get", {"tx_hash": "AA" * 32}),
            -32602,
            "params",
            "tx_hash must be lower-case hex of 32",
        ),
        (
            request_of("tx_get", {"tx_hash": "aa" * 31}),
            -32602,
            "params",
            "tx_hash must be lower-case hex of 32",
        ),
        (request_of("tx_get", {"tx_hash": "é" * 64}), -32602, "params", "tx_hash must be lower-case hex"),
        (
            request_of("tx_submit", {"tx": "abc"}),
            -32602,
            "params",
            "tx must be lower-case hex of at most 65536",
        ),
        (request_of("tx_submit", {"tx": "00"}), -32000, "malformed", "not a signed transaction: "),
        (
            request_of("state_get", {"key": "00" * 257}),
            -32602,
            "params",
            "key must be lower-case hex of at most",
        ),
        (request_of("account_get", {"account": "00" * 32}), -32001, "no_block_yet", "there is no block yet"),
    ],
)
def test_every_error_is_declared(node: Node, request_: object, code: int, reason: str, message: str) -> None:
    got = error_of(node, request_)
    assert got[:2] == (code, reason)
    assert message in got[2]


def test_a_refused_transaction_is_answered_with_its_reason(node: Node) -> None:
    poor = Transaction.sign(CAROL, GENESIS.chain_id, 0, Transfer(BOB.public, 1), 0)
    assert error_of(node, request_of("tx_submit", {"tx": poor.data.hex()})) == (
        -32000,
        "account_unknown",
        "only an account that holds money has free transactions",
    )


def test_a_full_pool_says_when_to_come_back(node: Node) -> None:
    for nonce in range(3):
        node.submit(pay(nonce).data)
    answer = ask(Dispatcher(node), request_of("tx_submit", {"tx": pay(3).data.hex()}))
    assert answer["error"]["data"] == {"reason": "busy", "retry_after_ms": 10}


def test_a_broken_file_is_an_internal_error_without_its_path(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StorageFull("/secret/path", "the disk is full")

    monkeypatch.setattr(Storage, "headers", broken)
    assert error_of(node, request_of("headers", {"from": 1, "count": 1})) == (
        -32603,
        "storage",
        "the node cannot use its file",
    )


# Batches and notifications


def test_a_batch_is_answered_in_order_without_its_notifications(node: Node) -> None:
    answers = ask(
        Dispatcher(node),
        [
            {"jsonrpc": "2.0", "id": 1, "method": "genesis"},
            {"jsonrpc": "2.0", "method": "genesis"},
            5,
            {"jsonrpc": "2.0", "id": "b", "method": "evil"},
        ],
    )
    assert [each["id"] for each in answers] == [1, None, "b"]
    assert answers[0]["result"]["genesis"] == GENESIS.data.hex()
    assert [each["error"]["code"] for each in answers[1:]] == [-32600, -32601]


def test_a_notification_is_carried_out_and_not_answered(node: Node) -> None:
    request = {"jsonrpc": "2.0", "method": "tx_submit", "params": {"tx": pay().data.hex()}}
    assert ask(Dispatcher(node), request) is None
    assert ask(Dispatcher(node), [{"jsonrpc": "2.0", "method": "evil"}]) is None
    assert len(node.pool) == 1


# Arbitrary input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["00" * 32, "2.0"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
METHODS = (
    st.sampled_from(
        [
            "chain_info",
            "genesis",
            "headers",
            "tx_submit",
            "tx_get",
            "account_get",
            "state_get",
            "dev_fund",
            "x",
        ]
    )
    | st.sampled_from(
        ["did_get", "escrow_get", "mandate_get", "conduct_get", "account_history", "rpc.discover"]
    )
    | st.sampled_from(["blocks", "block_get", "tx_show", "validators", "did_versions"])
)
NAMES = st.sampled_from(
    ["from", "count", "tx", "tx_hash", "account", "key", "amount_ucpc", "other", "before_height", "hash"]
) | st.sampled_from(["did", "height", "payer", "escrow", "operator", "before_index"])
REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": JSON, "method": METHODS | JSON},
    optional={"params": st.dictionaries(NAMES, JSON, max_size=3) | JSON},
)
DECLARED = {-32700, -32600, -32601, -32602, -32000, -32001, -32005}
CALLERS = {
    "open": lambda: Caller(),
    "shut": lambda: Caller(busy_ms=lambda: 5_000),
    "in debt": lambda: Caller(owe=lambda count: 5_000),
}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=100)
    | (REQUESTS | st.lists(REQUESTS, max_size=3) | JSON).map(lambda v: json.dumps(v).encode())
)
@pytest.mark.parametrize("state", CALLERS)
def test_whatever_comes_gets_a_declared_answer(node: Node, state: str, body: bytes) -> None:
    answer = Dispatcher(node, Till(), rpc_blocks.methods(node)).dispatch(body, CALLERS[state]())
    if answer is None:
        return
    value = json.loads(answer)
    for each in value if isinstance(value, list) else [value]:
        assert each["jsonrpc"] == "2.0"
        assert ("result" in each) != ("error" in each)
        if "error" in each:
            assert each["error"]["code"] in DECLARED
            assert isinstance(each["error"]["data"]["reason"], str)
