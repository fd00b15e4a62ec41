"""JSON-RPC 2.0: the bytes of a request in, the bytes of the answer out.

Runs on CPython; knows no sockets.  Bytes are lower-case hex, amounts are ucpc, params are named.

    chain_info                     what chain this is, its rules, its head
    genesis                        {genesis}
    headers      from, count       {height, headers: [{header, certificate}]} rising from height `from`
    handovers    from, count       {handovers: [{header, certificate, proof}]} to validators of that number on
    tx_submit    tx                {tx_hash}
    tx_get       tx_hash           {status: final | pending | refused | unknown, ...}
    account_get  account           {height, header, certificate, proof, balance_ucpc, nonce, next_nonce, ...}
    did_get      did, height (optional)   {..., version, resolution}: W3C's document, at that height or now
    escrow_get   payer, escrow     {..., status: open | settled | refunded | unknown, amount_ucpc, ...}
    mandate_get  payer, operator   {..., status: granted | revoked | unknown, day_max_ucpc, ...}
    account_history account, count, before_height, before_index (both optional)   {entries, before: next page}
    conduct_get  account           {..., impeached_count, equivocation_count, last_height}
    state_get    key               {height, header, certificate, proof}
    dev_fund     account, amount_ucpc   {tx_hash}; only where there is a treasury: development chains

    rpc.discover                   all of this with schemas and examples, as an OpenRPC document

`...` is {height, header, certificate, proof}: what stands beside it is for show, the proof is what counts.
An answer with an error carries `data.reason`, a label for machines that does not change; where waiting
helps, `data.retry_after_ms`.  A batch holds at most BATCH_MAX requests.  Each call takes tokens from who asks
(rate_limit.py): 1, or what COSTS says, and a body 1 and another for each 16 KiB.
Source: jsonrpc.org/specification.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from chain_node import quorum, rpc_history
from chain_node.block import BLOCK_TX_LIMIT
from chain_node.book import DAY_MS
from chain_node.entry import account_key, conduct_key
from chain_node.errors import Refused, StorageError
from chain_node.escrow import EscrowEntry, escrow_key
from chain_node.evidence import Link, StateEvidence
from chain_node.fields import HASH_SIZE, INT_MAX, KEY_SIZE
from chain_node.mandate import MandateEntry, mandate_key
from chain_node.node import Node
from chain_node.reason import Reason
from chain_node.rpc_call import Caller, Params, RpcError
from chain_node.rpc_document import document
from chain_node.rpc_format import (
    BATCH_MAX,
    BODY_SIZE_MAX,
    HANDOVERS_MAX,
    HEADERS_MAX,
    ID_SIZE_MAX,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOT_READY,
    PARSE_ERROR,
    REFUSED,
    STATE_KEY_SIZE_MAX,
)
from chain_node.rpc_state import account_json, conduct_json, escrow_json, find_did, mandate_json
from chain_node.state import State
from chain_node.storage import StoredBlock
from chain_node.transaction import SUPPLY_UCPC, TX_SIZE_LIMIT
from puf import merkle_tree

BODY_BYTES_PER_TOKEN = 1 << 14
COSTS = {
    "headers": 5,
    "handovers": 5,
    "blocks": 5,
    "block_get": 5,
    "tx_show": 3,
    "did_versions": 3,
    "account_history": 20,
    "rpc.discover": 10,
}
"""Tokens of a call that costs the node more than most do."""
SPENDING = ("tx_submit", "dev_fund")
"""Methods that bring a transaction."""
BLAMELESS = ("busy", "no_block_yet", "storage")
"""Reasons of a refusal that are the node's own; all others are the caller's."""


class Faucet(Protocol):
    """Who gives money away on a development chain."""

    def fund(self, account: bytes, amount_ucpc: int) -> bytes:
        """Submit a transfer to `account`; its transaction's hash.  Raises Refused."""


class Dispatcher:
    """Answers requests about one node.  faucet: where there is one, `dev_fund` works.

    more: methods beside those of this file, by name.
    """

    def __init__(
        self,
        node: Node,
        faucet: Faucet | None = None,
        more: Mapping[str, Callable[[Params], dict[str, object]]] | None = None,
    ) -> None:
        self._node = node
        self._faucet = faucet
        self._methods: dict[str, Callable[[Params], dict[str, object]]] = {
            "chain_info": self._chain_info,
            "genesis": self._genesis,
            "headers": self._headers,
            "handovers": self._handovers,
            "tx_submit": self._tx_submit,
            "tx_get": self._tx_get,
            "account_get": self._account_get,
            "did_get": self._did_get,
            "escrow_get": self._escrow_get,
            "mandate_get": self._mandate_get,
            "conduct_get": self._conduct_get,
            "state_get": self._state_get,
            "account_history": self._account_history,
            "rpc.discover": self._discover,
            **(more or {}),
        }
        self.watch: Callable[[str, str, int], None] = lambda method, outcome, took_us: None
        """Is told of each call: which method, "ok" or the error's reason, and the microseconds it took."""
        if faucet:
            self._methods["dev_fund"] = self._dev_fund

    @property
    def node(self) -> Node:
        """Whom it is about."""
        return self._node

    @property
    def method_names(self) -> frozenset[str]:
        """What may be called, by anybody."""
        return frozenset(self._methods)

    def ask(self, method: str) -> dict[str, object] | None:
        """What a method without params answers; None: there is none of this name.  Raises RpcError."""
        return self._methods[method](Params({})) if method in self._methods else None

    def dispatch(self, body: bytes, caller: Caller | None = None) -> bytes | None:
        """The answer to a request or a batch; None when all of it are notifications.

        Raises nothing on account of `body`.
        """
        caller = caller or Caller()
        try:
            caller.pay(1 + len(body) // BODY_BYTES_PER_TOKEN)
            request = _parse(body)
        except RpcError as error:
            caller.blame()
            self.watch("", error.reason, 0)
            return encode(answer(None, error))
        if not isinstance(request, list):
            single = self._call(request, caller)
            return None if single is None else encode(single)
        if not 1 <= len(request) <= BATCH_MAX:
            why = f"a batch holds 1 to {BATCH_MAX} requests"
            return encode(answer(None, RpcError(INVALID_REQUEST, why, "batch_size")))
        answers = [each for item in request if (each := self._call(item, caller)) is not None]
        return encode(answers) if answers else None

    def _call(self, request: object, caller: Caller) -> dict[str, object] | None:
        if not isinstance(request, dict):
            caller.blame()
            return answer(None, RpcError(INVALID_REQUEST, "a request must be an object", "request"))
        ident = request.get("id")
        if not _is_id(ident):
            why = f"id must be null, a text of at most {ID_SIZE_MAX} characters or a whole number"
            return answer(None, RpcError(INVALID_REQUEST, why, "request"))
        begun_ns = time.perf_counter_ns()
        try:
            outcome: dict[str, object] | RpcError = self._result(request, caller)
        except RpcError as error:
            outcome = error
            if error.reason not in BLAMELESS:
                caller.blame()
        took_us = (time.perf_counter_ns() - begun_ns) // 1000
        name = request.get("method")
        # Names that are no method's are the caller's: they must not fill anybody's memory.
        is_known = isinstance(name, str) and (name in self._methods or name in caller.methods)
        self.watch(
            str(name) if is_known else "", outcome.reason if isinstance(outcome, RpcError) else "ok", took_us
        )
        # A notification is not answered, but one that is no valid request at all is.
        is_notification = "id" not in request
        if is_notification and not (isinstance(outcome, RpcError) and outcome.code == INVALID_REQUEST):
            return None
        return answer(ident, outcome)

    def _result(self, request: dict[str, object], caller: Caller) -> dict[str, object]:
        if request.get("jsonrpc") != "2.0":
            raise RpcError(INVALID_REQUEST, 'jsonrpc must be "2.0"', "request")
        name = request.get("method")
        if not isinstance(name, str):
            raise RpcError(INVALID_REQUEST, "method must be a text", "request")
        if request.keys() - {"jsonrpc", "id", "method", "params"}:
            raise RpcError(INVALID_REQUEST, "a request has jsonrpc, id, method and params only", "request")
        method = self._methods.get(name) or caller.methods.get(name)
        if method is None:
            names = ", ".join(sorted({*self._methods, *caller.methods}))
            raise RpcError(METHOD_NOT_FOUND, f"no such method; there are {names}", "method")
        caller.pay(COSTS.get(name, 1))
        if name in SPENDING:
            caller.check_open()
        try:
            return method(Params(request.get("params", {})))
        except Refused as error:
            wait_ms = self._node.genesis.block_period_ms if error.reason == Reason.BUSY else None
            raise RpcError(REFUSED, str(error), error.reason.label, wait_ms) from error
        except StorageError as error:
            # The path is the operator's business, not the caller's.
            raise RpcError(INTERNAL_ERROR, "the node cannot use its file", "storage") from error

    # Methods

    def _chain_info(self, params: Params) -> dict[str, object]:
        params.done()
        genesis, head = self._node.genesis, self._node.head
        validators = self._node.storage.validators_at(head.height + 1).keys
        return {
            "name": genesis.name,
            "chain_id": genesis.chain_id.hex(),
            "height": head.height,
            "block_hash": head.block_hash.hex(),
            "time_ms": head.time_ms,
            "validator_count": len(validators),
            "quorum": quorum.size(len(validators)),
            "fee_min_ucpc": genesis.fee_min_ucpc,
            "free_tx_per_day": genesis.free_tx_per_day,
            "block_period_ms": genesis.block_period_ms,
            "pool_count": len(self._node.pool),
            "trouble": self._node.trouble,
        }

    def _genesis(self, params: Params) -> dict[str, object]:
        params.done()
        return {"genesis": self._node.genesis.data.hex()}

    def _headers(self, params: Params) -> dict[str, object]:
        first = params.integer("from", 1, INT_MAX)
        count = params.integer("count", 1, HEADERS_MAX)
        params.done()
        rows = self._node.storage.headers(first, count)
        return {
            "height": self._node.head.height,
            "headers": [{"header": row[0].hex(), "certificate": row[1].hex()} for row in rows],
        }

    def _handovers(self, params: Params) -> dict[str, object]:
        first = params.integer("from", 1, INT_MAX)
        count = params.integer("count", 1, HANDOVERS_MAX)
        params.done()
        found = map(StateEvidence.decode, self._node.storage.changes(first, count))
        return {"handovers": [_link(each.link) | {"proof": each.proof.hex()} for each in found]}

    def _tx_submit(self, params: Params) -> dict[str, object]:
        data = params.blob("tx", TX_SIZE_LIMIT)
        params.done()
        return {"tx_hash": self._node.submit(data).hex()}

    def _tx_get(self, params: Params) -> dict[str, object]:
        tx_hash = params.blob("tx_hash", 32, 32)
        params.done()
        return self.status_of(tx_hash)

    def status_of(self, tx_hash: bytes) -> dict[str, object]:
        """What `tx_get` answers.  Raises StorageError."""
        if found := self._node.storage.find_transaction(tx_hash):
            return self._final(*found)
        if pending := self._node.pool.get(tx_hash):
            return {"status": "pending", "tx": pending.data.hex()}
        if refused := self._node.pool.refusal(tx_hash):
            return {"status": "refused", "reason": refused.reason.label, "message": str(refused)}
        return {"status": "unknown"}

    def _final(self, height: int, index: int) -> dict[str, object]:
        block = self._block(height)
        receipts = [receipt.encode() for receipt in block.receipts]
        return _link(block) | {
            "status": "final",
            "tx": block.transactions[index].hex(),
            "index": index,
            "tx_proof": _inclusion(block.transactions, index),
            "receipt": receipts[index].hex(),
            "receipt_proof": _inclusion(receipts, index),
        }

    def _account_get(self, params: Params) -> dict[str, object]:
        public = params.blob("account", KEY_SIZE, KEY_SIZE)
        params.done()
        proven = self._proven(account_key(public))
        account = self._state().account(public)
        return proven | account_json(account) | {"next_nonce": self._node.next_nonce(public)}

    def _did_get(self, params: Params) -> dict[str, object]:
        name = params.did_cpc("did")
        height = params.integer("height", 0, INT_MAX) if params.has("height") else None
        params.done()
        with self._node.storage.errors():
            key, found = find_did(self._state(), name, height)
        return self._proven(key) | found

    def _escrow_get(self, params: Params) -> dict[str, object]:
        key = escrow_key(
            params.blob("payer", KEY_SIZE, KEY_SIZE), params.blob("escrow", HASH_SIZE, HASH_SIZE)
        )
        params.done()
        return self._proven(key) | escrow_json(self._state().read(key, EscrowEntry))

    def _mandate_get(self, params: Params) -> dict[str, object]:
        key = mandate_key(
            params.blob("payer", KEY_SIZE, KEY_SIZE), params.blob("operator", KEY_SIZE, KEY_SIZE)
        )
        params.done()
        day = self._node.head.time_ms // DAY_MS
        return self._proven(key) | mandate_json(self._state().read(key, MandateEntry), day)

    def _conduct_get(self, params: Params) -> dict[str, object]:
        public = params.blob("account", KEY_SIZE, KEY_SIZE)
        params.done()
        return self._proven(conduct_key(public)) | conduct_json(self._state().conduct(public))

    def _state_get(self, params: Params) -> dict[str, object]:
        key = params.blob("key", STATE_KEY_SIZE_MAX)
        params.done()
        return self._proven(key)

    def _account_history(self, params: Params) -> dict[str, object]:
        public = params.blob("account", KEY_SIZE, KEY_SIZE)
        count = params.integer("count", 1, rpc_history.PAGE_MAX)
        before = (INT_MAX, 0)
        if params.has("before_height"):
            before = (
                params.integer("before_height", 0, INT_MAX),
                params.integer("before_index", 0, BLOCK_TX_LIMIT) if params.has("before_index") else 0,
            )
        params.done()
        return rpc_history.page_json(rpc_history.page(self._node.storage, public, before, count))

    def _discover(self, params: Params) -> dict[str, object]:
        params.done()
        return document(self.method_names)

    def _state(self) -> State:
        return State(self._node.storage.entries(self._node.head.state_root))

    def _proven(self, key: bytes) -> dict[str, object]:
        storage, head = self._node.storage, self._node.head
        if head.height == 0:
            raise RpcError(
                NOT_READY, "there is no block yet", "no_block_yet", self._node.genesis.block_period_ms
            )
        with storage.errors():
            # Of a head that came with a snapshot there is no more than this.
            link = storage.link(head.height)
            assert link, "the head is there"  # noqa: S101 - it is read from its row
            return _link(link) | {"proof": storage.entries(head.state_root).prove(key).hex()}

    def _dev_fund(self, params: Params) -> dict[str, object]:
        public = params.blob("account", KEY_SIZE, KEY_SIZE)
        amount_ucpc = params.integer("amount_ucpc", 1, SUPPLY_UCPC)
        params.done()
        assert self._faucet  # noqa: S101 - the method is not there without one
        return {"tx_hash": self._faucet.fund(public, amount_ucpc).hex()}

    def _block(self, height: int) -> StoredBlock:
        block = self._node.storage.block(height)
        assert block, "the index and the head name only blocks that are there"  # noqa: S101 - one transaction
        return block


def _link(block: StoredBlock | Link) -> dict[str, object]:
    return {
        "height": block.header.height,
        "header": block.header.data.hex(),
        "certificate": block.certificate.encode().hex(),
    }


def _inclusion(items: tuple[bytes, ...] | list[bytes], index: int) -> list[str]:
    proof = merkle_tree.inclusion_proof([merkle_tree.leaf_hash(item) for item in items], index)
    return [sibling.hex() for sibling in proof]


def _parse(body: bytes) -> object:
    if len(body) > BODY_SIZE_MAX:
        raise RpcError(INVALID_REQUEST, f"a request has at most {BODY_SIZE_MAX} bytes", "body_size")
    try:
        value: object = json.loads(body, parse_constant=_no_constant)
    # RecursionError: brackets nested too deep; ValueError: everything else, numbers of 5,000 digits too.
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "the body is not JSON", "json") from None
    return value


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= ID_SIZE_MAX
    return value is None or (type(value) is int and -INT_MAX <= value <= INT_MAX)


def answer(ident: object, outcome: dict[str, object] | RpcError) -> dict[str, object]:
    """One answer, with a result or an error."""
    made: dict[str, object] = {"jsonrpc": "2.0", "id": ident}
    if isinstance(outcome, RpcError):
        return made | {"error": outcome.to_json()}
    return made | {"result": outcome}


def encode(answer: object) -> bytes:
    """An answer, or a batch of them, as it travels."""
    return json.dumps(answer, separators=(",", ":")).encode()
