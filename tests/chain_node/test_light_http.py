"""Asking a node: one that answers, one that is not there, and one that lies in every way it can."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.entry import account_key
from chain_node.errors import (
    ForkFound,
    HeaderError,
    NodeBusy,
    NodeError,
    NodeLied,
    NodeRefused,
    NodeUnavailable,
    Refused,
)
from chain_node.evidence import StateEvidence
from chain_node.light_client import LightClient
from chain_node.light_http import ANSWER_SIZE_MAX, NodeClient
from chain_node.reason import Reason
from chain_node.rpc_format import HEADERS_MAX
from chain_node.transaction import Transfer
from puf.merkle_map import MerkleMap
from tests.chain_node import test_handover
from tests.chain_node.world import ALICE, BOB, Chain, anchor, genesis_of

GENESIS = genesis_of()
URL = "http://127.0.0.1:1/"


def grown(height: int) -> Chain:
    chain = Chain(GENESIS)
    for nonce in range(height):
        chain.extend(chain.sign(ALICE, Transfer(BOB.public, 1), nonce=nonce))
    return chain


CHAIN = grown(4)


class Scripted(NodeClient):
    """A client whose node answers every call with what the test says."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any] | bytes) -> None:
        super().__init__(URL)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._answer = answer

    async def _post(self, body: bytes) -> bytes:
        request = json.loads(body)
        self.calls.append((request["method"], request["params"]))
        if isinstance(self._answer, bytes):
            return self._answer
        return json.dumps({"jsonrpc": "2.0", "id": 1} | self._answer(*self.calls[-1])).encode()


def result(value: Any) -> Scripted:
    return Scripted(lambda method, params: {"result": value})


def error(code: int, reason: str, message: str = "why", **data: Any) -> Scripted:
    return Scripted(
        lambda method, params: {
            "error": {"code": code, "message": message, "data": {"reason": reason} | data}
        }
    )


def shown(evidence: StateEvidence) -> dict[str, Any]:
    link = evidence.link
    proof = evidence.proof.hex()
    return {
        "height": link.header.height,
        "header": link.header.data.hex(),
        "certificate": link.certificate.encode().hex(),
        "proof": proof,
    }


def headers_of(
    chain: Chain, height: int | None = None, handovers: Sequence[StateEvidence] = ()
) -> Callable[[str, dict[str, Any]], Any]:
    """A node that has this chain, up to a height."""

    def answer(method: str, params: dict[str, Any]) -> Any:
        kept = chain.links[:height]
        if method == "state_get":
            root = kept[-1].header.state_root
            proof = MerkleMap(chain.nodes, root).prove(bytes.fromhex(params["key"]))
            return {"result": shown(StateEvidence(kept[-1], proof))}
        if method == "handovers":
            return {"result": {"handovers": [shown(each) for each in handovers[params["from"] - 1 :]]}}
        assert method == "headers"
        first, count = params["from"], params["count"]
        links = chain.links[:height][first - 1 : first - 1 + count]
        return {
            "result": {
                "height": len(chain.links),
                "headers": [
                    {"header": link.header.data.hex(), "certificate": link.certificate.encode().hex()}
                    for link in links
                ],
            }
        }

    return answer


def wait(answer: Awaitable[Any]) -> Any:
    async def run() -> Any:
        return await answer

    return asyncio.run(run())


# Following


def test_it_follows_to_the_head_and_again_when_the_chain_has_grown() -> None:
    client = LightClient(GENESIS)
    node = Scripted(headers_of(CHAIN, 2))
    assert wait(node.follow(client)).height == 2
    node._answer = headers_of(CHAIN)
    assert wait(node.follow(client)).height == 4
    assert node.calls == [
        ("headers", {"from": 1, "count": HEADERS_MAX}),
        ("headers", {"from": 2, "count": HEADERS_MAX}),
    ]


def test_it_asks_nothing_when_it_is_there_already() -> None:
    client = LightClient(GENESIS)
    node = Scripted(headers_of(CHAIN))
    wait(node.follow(client, 3))
    wait(node.follow(client, 4))
    assert len(node.calls) == 1


def test_a_node_that_is_behind_is_no_liar() -> None:
    client = LightClient(GENESIS)
    client.follow(CHAIN.links)
    assert wait(Scripted(headers_of(CHAIN, 2)).follow(client)).height == 4


def test_long_chains_come_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain_node.light_http.HEADERS_MAX", 2)
    answers = headers_of(CHAIN)
    no_block = {"error": {"code": -32001, "message": "", "data": {"reason": "none", "retry_after_ms": 1}}}

    def answer(method: str, params: dict[str, Any]) -> Any:
        return answers(method, params | {"count": 2}) if method == "headers" else no_block

    node = Scripted(answer)
    assert wait(node.follow(LightClient(GENESIS))).height == 4
    assert [params["from"] for method, params in node.calls if method == "headers"] == [1, 2, 3, 4]


def test_a_node_on_a_fork_is_noticed_by_the_heads_own_header() -> None:
    other = grown(3)
    other.extend(other.sign(BOB, anchor()))
    client = LightClient(GENESIS)
    client.follow(CHAIN.links)
    with pytest.raises(ForkFound, match="fork at block 4"):
        wait(Scripted(headers_of(other)).follow(client))
    assert client.head.block_hash == CHAIN.head.block_hash


def test_headers_of_another_chain_are_a_trust_error() -> None:
    client = LightClient(genesis_of(name="other"))
    with pytest.raises(HeaderError, match="it is of chain"):
        wait(Scripted(headers_of(CHAIN)).follow(client))
    assert client.head.height == 0


def test_headers_of_other_heights_than_asked_for_are_a_lie() -> None:
    with pytest.raises(NodeLied, match="asked for header 2, got 1"):
        wait(Scripted(lambda method, params: headers_of(CHAIN)(method, {"from": 1, "count": 2})).headers(2))


# Transactions


def final(height: int = 1, **changes: Any) -> dict[str, Any]:
    evidence = CHAIN.transaction_evidence(height, 0)
    return {
        "status": "final",
        "height": height,
        "header": evidence.link.header.data.hex(),
        "certificate": evidence.link.certificate.encode().hex(),
        "tx": evidence.transaction.hex(),
        "index": 0,
        "tx_proof": [],
        "receipt": evidence.receipt.hex(),
        "receipt_proof": [],
    } | changes


PAY = CHAIN.blocks[0].transactions[0]


def test_a_final_transaction_comes_with_evidence_that_a_light_client_confirms() -> None:
    answer = wait(result(final()).get_transaction(PAY.tx_hash))
    client = LightClient(GENESIS)
    client.follow(CHAIN.links)
    assert answer.status == "final"
    assert client.confirm_transaction(answer.evidence).reason == Reason.APPLIED


def test_the_other_fates_of_a_transaction() -> None:
    assert wait(result({"status": "pending"}).get_transaction(PAY.tx_hash)).status == "pending"
    assert wait(result({"status": "unknown"}).get_transaction(PAY.tx_hash)).status == "unknown"
    refused = wait(
        result({"status": "refused", "reason": "expired", "message": "too\x1b[31m late"}).get_transaction(
            PAY.tx_hash
        )
    )
    assert (refused.status, refused.reason, refused.message) == ("refused", Reason.EXPIRED, "too?[31m late")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (final(2), f"it shows another transaction for {PAY.tx_hash.hex()}"),
        (final(header="00"), "no header"),
        (final(certificate="f6"), "no certificate"),
        (final(index=-1), "index in the result of tx_get is not a whole number"),
        (final(index=True), "index in the result of tx_get is not a whole number"),
        (final(tx_proof=["00"]), "tx_proof in the result of tx_get is not hex of 32 bytes"),
        (final(tx_proof=["00" * 32] * 65), "tx_proof in the result of tx_get is not a list of at most 64"),
        (final(receipt="xx"), "receipt in the result of tx_get is not hex of at most 128 bytes"),
        ({"status": "maybe"}, "no transaction is 'maybe'"),
        ({"status": "refused", "reason": "applied"}, "refused for no known reason"),
        ({"status": "refused", "reason": "because"}, "refused for no known reason"),
        ({}, "status in the result of tx_get is not a text"),
        ([], "the result of tx_get is not an object"),
        (None, "the result of tx_get is not an object"),
    ],
)
def test_an_answer_that_cannot_be_is_a_lie(value: object, why: str) -> None:
    with pytest.raises(NodeLied) as caught:
        wait(result(value).get_transaction(PAY.tx_hash))
    assert why in str(caught.value)
    assert str(caught.value).startswith(f"node {URL}: ")
    assert not caught.value.is_retryable


def test_a_submitted_transaction_is_taken_under_its_own_hash() -> None:
    assert wait(result({"tx_hash": PAY.tx_hash.hex()}).submit(PAY)) == PAY.tx_hash
    with pytest.raises(NodeLied, match=f"it took {'00' * 32} for {PAY.tx_hash.hex()}"):
        wait(result({"tx_hash": "00" * 32}).submit(PAY))


def test_errors_of_the_node_by_what_can_be_done_about_them() -> None:
    with pytest.raises(Refused, match="nonce 0 is used") as refused:
        wait(error(-32000, "nonce_used", "nonce 0 is used").submit(PAY))
    assert refused.value.reason == Reason.NONCE_USED
    with pytest.raises(NodeBusy) as busy:
        wait(error(-32000, "busy", retry_after_ms=250).submit(PAY))
    assert (busy.value.retry_after_ms, busy.value.is_retryable) == (250, True)
    with pytest.raises(NodeUnavailable) as broken:
        wait(error(-32603, "storage").chain_info())
    assert broken.value.is_retryable
    with pytest.raises(NodeRefused, match=r"why \(method\)") as unwilling:
        wait(error(-32601, "method").fund(ALICE.public, 5))
    assert (unwilling.value.reason, unwilling.value.is_retryable) == ("method", False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 100_000,
        b'{"jsonrpc":"1.0","result":{}}',
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","error":5}',
        b'{"jsonrpc":"2.0","error":{"code":1}}',
        b'{"jsonrpc":"2.0","result":' + b"9" * 5_000 + b"}",
    ],
)
def test_an_answer_that_is_no_json_rpc_is_a_lie(answer: bytes) -> None:
    with pytest.raises(NodeLied):
        wait(Scripted(answer).chain_info())


def test_the_genesis_and_state_are_read_strictly() -> None:
    assert wait(result({"genesis": GENESIS.data.hex()}).genesis()) == GENESIS
    with pytest.raises(NodeLied, match="no genesis"):
        wait(result({"genesis": "00"}).genesis())
    evidence = CHAIN.account_evidence(ALICE)
    shown = {
        "header": evidence.link.header.data.hex(),
        "certificate": evidence.link.certificate.encode().hex(),
        "proof": evidence.proof.hex(),
        "next_nonce": 4,
    }
    answer = wait(result(shown).get_account(ALICE.public))
    assert (answer.evidence, answer.next_nonce) == (evidence, 4)
    node = result(shown)
    assert wait(node.get_state(account_key(ALICE.public))) == evidence
    assert node.calls == [("state_get", {"key": account_key(ALICE.public).hex()})]


NAMES = st.sampled_from(
    [
        *("status", "tx", "index", "header", "certificate", "proof", "genesis", "tx_hash", "headers"),
        *("reason", "message", "code", "data", "height", "tx_proof", "receipt", "receipt_proof"),
        *("next_nonce", "name", "chain_id", "result", "error", "retry_after_ms"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["00" * 32, "final", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=9),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    JSON | st.fixed_dictionaries({"result": JSON}) | st.fixed_dictionaries({"error": JSON}), st.integers(0, 7)
)
def test_whatever_a_node_answers_raises_only_declared_errors(value: Any, number: int) -> None:
    body = {"jsonrpc": "2.0"} | value if isinstance(value, dict) else value
    node = Scripted(json.dumps(body).encode())
    calls: list[Callable[[], Awaitable[Any]]] = [
        node.chain_info,
        node.genesis,
        lambda: node.headers(1),
        lambda: node.follow(LightClient(GENESIS)),
        lambda: node.submit(PAY),
        lambda: node.get_transaction(PAY.tx_hash),
        lambda: node.get_account(ALICE.public),
        lambda: node.fund(ALICE.public, 1),
    ]
    with contextlib.suppress(NodeError, Refused):
        wait(calls[number]())


# Real sockets


def with_server(handler: Callable[[web.Request], Awaitable[web.StreamResponse]], story: Any) -> Any:
    async def run() -> Any:
        application = web.Application()
        application.router.add_post("/", handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = runner.addresses[0]
        try:
            return await story(f"http://127.0.0.1:{address[1]}/")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


async def info(url: str, timeout_ms: int = 10_000) -> None:
    async with NodeClient(url, timeout_ms) as node:
        await node.chain_info()


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(NodeUnavailable, match=r"Cannot connect to host 127\.0\.0\.1:1") as caught:
        wait(info(URL))
    assert caught.value.is_retryable


def test_an_address_that_is_none_is_not_worth_asking_again() -> None:
    for url in ("ftp://127.0.0.1/", "no address"):
        with pytest.raises(NodeRefused) as caught:
            wait(info(url))
        assert (caught.value.reason, caught.value.is_retryable) == ("url", False)


def test_an_http_error_or_a_redirect_is_unavailable() -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        raise web.HTTPBadGateway

    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://127.0.0.1:2/")

    for handler, status in ((fail, 502), (redirect, 302)):
        with pytest.raises(NodeUnavailable, match=f"HTTP status {status}"):
            with_server(handler, info)


def test_a_node_that_never_answers_is_given_up_in_time() -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(NodeUnavailable, match=r"no answer within 0\.05 s"):
        with_server(hang, lambda url: info(url, 50))


def test_an_endless_answer_is_cut_off() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(ANSWER_SIZE_MAX // (1 << 20) + 2):
            await response.write(b" " * (1 << 20))
        return response

    with pytest.raises(NodeLied, match="more than 16777216 bytes"):
        with_server(flood, info)


def test_a_connection_cut_in_the_middle_is_unavailable() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    with pytest.raises(NodeUnavailable):
        with_server(cut, info)


# Validators who change


def test_it_follows_across_changes_by_the_handovers_that_it_lacks() -> None:
    chain, _ = test_handover.world()
    node = Scripted(headers_of(chain, 20, test_handover.handovers()[:1]))
    client = LightClient(chain.genesis)
    assert wait(node.follow(client)).height == 20
    assert [method for method, _ in node.calls] == ["headers", "handovers", "state_get"]
    node._answer = headers_of(chain, None, test_handover.handovers())
    assert wait(node.follow(client)).height == 61
    assert [params.get("from") for method, params in node.calls if method == "handovers"] == [1, 2]
    assert client.validators.sets.newest.number == 3


def test_a_change_is_known_before_it_takes_effect() -> None:
    chain, _ = test_handover.world()
    client, node = LightClient(chain.genesis), Scripted(headers_of(chain, 1))
    for height in range(1, 62):
        node._answer = headers_of(chain, height)
        wait(node.follow(client))
    assert client.validators.sets.newest.number == 3
    assert {method for method, _ in node.calls} == {"headers", "state_get"}
    assert sum(method == "state_get" for method, _ in node.calls) == 7


@pytest.mark.parametrize("is_pruned", [False, True])
def test_what_is_far_or_not_kept_is_reached_in_a_leap(
    monkeypatch: pytest.MonkeyPatch, *, is_pruned: bool
) -> None:
    monkeypatch.setattr("chain_node.light_http.HEADERS_MAX", 10)
    chain, _ = test_handover.world()
    answers = headers_of(chain, None, test_handover.handovers())

    def answer(method: str, params: dict[str, Any]) -> Any:
        found = answers(method, params | {"count": 10})
        if is_pruned and method == "headers" and params["from"] < 50:
            found["result"]["headers"] = []
        return found

    node, client = Scripted(answer), LightClient(chain.genesis)
    assert wait(node.follow(client)).height == 61
    assert [method for method, _ in node.calls] == ["headers", "state_get", "handovers", "headers"]


@pytest.mark.parametrize(
    ("handovers", "kind"), [([], HeaderError), ("again", HeaderError), ("stale", NodeLied)]
)
def test_a_node_that_hides_a_change_is_left(handovers: Any, kind: type[Exception]) -> None:
    chain, _ = test_handover.world()
    if handovers == "again":
        answers = headers_of(chain, None, [*test_handover.handovers()[:1], test_handover.world()[1][-1]])
        client = LightClient(chain.genesis)
    elif handovers == "stale":
        old, new = headers_of(chain, 1), headers_of(chain, 17)
        answers = lambda method, params: (old if method == "state_get" else new)(method, params)  # noqa: E731
        client = LightClient(chain.genesis)
    else:
        answers, client = headers_of(chain), LightClient(chain.genesis)
    with pytest.raises(kind):
        wait(Scripted(answers).follow(client))
    assert client.head.height <= 17
