"""What each method of the JSON-RPC takes and gives, with an example: the larger part of the document.

Runs on CPython; pure.
"""

from dataclasses import dataclass
from typing import Any

from chain_node.block import BLOCK_TX_LIMIT
from chain_node.fields import INT_MAX
from chain_node.rpc_format import HANDOVERS_MAX, HEADERS_MAX
from chain_node.rpc_history import PAGE_MAX
from chain_node.rpc_schema import (
    COUNT,
    DID,
    HASH,
    HEIGHT,
    HEX,
    INDEX,
    KEY,
    LINK,
    PROVEN,
    STATE_KEY,
    TEXT,
    TIME_MS,
    UCPC,
    Schema,
    blob_up_to,
    flag,
    items,
    one_of,
    or_null,
    shape,
    text,
    whole,
)
from chain_node.transaction import RECEIPT_SIZE_MAX, SUPPLY_UCPC, TX_SIZE_LIMIT

A_HASH, A_KEY, B_KEY = "0f" * 32, "a1" * 32, "b2" * 32
A_DID = "did:cpc:z" + "4" * 43
A_LINK = {"height": 7, "header": "ac01", "certificate": "a401"}
A_PROOF: dict[str, object] = {**A_LINK, "proof": "8301"}


@dataclass(frozen=True, slots=True)
class Method:
    """One method."""

    summary: str
    result: Schema
    example: dict[str, Any]
    """What an answer may look like."""
    params: dict[str, Schema]
    arguments: dict[str, object]
    """What goes with the example."""
    optional: tuple[str, ...] = ()
    """Params that may be left out."""
    is_socket_only: bool = False
    errors: tuple[str, ...] = ("InvalidParams", "RateLimited", "Internal")

    def to_json(self, name: str) -> Schema:
        """The method as OpenRPC writes it."""
        value: Schema = {
            "name": name,
            "summary": self.summary,
            "paramStructure": "by-name",
            "params": [
                {"name": param, "required": param not in self.optional, "schema": schema}
                for param, schema in self.params.items()
            ],
            "result": {"name": "result", "schema": self.result},
            "errors": [{"$ref": f"#/components/errors/{error}"} for error in self.errors],
            "examples": [
                {
                    "name": "example",
                    "params": [{"name": key, "value": given} for key, given in self.arguments.items()],
                    "result": {"name": "result", "value": self.example},
                }
            ],
        }
        return value | ({"x-transport": "websocket"} if self.is_socket_only else {})


def _proven(summary: str, params: Schema, arguments: dict[str, object], **more: Any) -> Method:
    """A method about an entry of the state.  more: fields beside the proof, and `example` of them."""
    example = more.pop("example", {})
    optional = more.pop("optional", ())
    shapes = more.pop("shapes", None) or [more]
    return Method(
        summary,
        one_of(*(shape(PROVEN | each) for each in shapes)) if len(shapes) > 1 else shape(PROVEN | shapes[0]),
        A_PROOF | example,
        params,  # type: ignore[arg-type]  # each value is a schema
        arguments,
        optional=optional,
        errors=("InvalidParams", "NotReady", "RateLimited", "Internal"),
    )


_UNKNOWN: Schema = {"status": text("", "unknown")}
_CHAIN: Schema = {
    "name": TEXT,
    "chain_id": HASH,
    "height": HEIGHT,
    "time_ms": TIME_MS,
    "pool_count": COUNT,
    "trouble": text("why it makes no blocks; empty when all is well"),
}
_ENTRY = shape(
    {
        "height": HEIGHT,
        "index": INDEX,
        "tx_hash": HASH,
        "kind": whole(1, what="the number of the body's kind"),
        "name": text("the name of the body's kind, such as Transfer"),
        "sender": KEY,
        "nonce": COUNT,
        "fee_ucpc": UCPC,
        "reason": text('"applied", or why it had no effect'),
        "to": or_null(KEY),
        "amount_ucpc": or_null(UCPC),
    }
)
_PLACE = shape({"height": HEIGHT, "index": INDEX})
_FINAL = LINK | {
    "status": text("", "final"),
    "tx": HEX,
    "index": INDEX,
    "tx_proof": items(HASH),
    "receipt": blob_up_to(RECEIPT_SIZE_MAX),
    "receipt_proof": items(HASH),
}
TX_STATUS = one_of(
    shape(_FINAL),
    shape({"status": text("", "pending"), "tx": HEX}),
    shape({"status": text("", "refused"), "reason": TEXT, "message": TEXT}),
    shape(_UNKNOWN),
)
PEER = shape(
    {
        "public": KEY,
        "role": TEXT,
        "address": TEXT,
        "is_dialled": flag(),
        "height": or_null(HEIGHT),
        "latency_ms": or_null(COUNT),
        "score": {"type": "number"},
        "lost_count": COUNT,
        "program": TEXT,
    }
)
A_PEER = {
    "public": B_KEY,
    "role": "validator",
    "address": "127.0.0.1:7600",
    "is_dialled": True,
    "height": 7,
    "latency_ms": 2,
    "score": 0,
    "lost_count": 0,
    "program": "cpchain 0.1.0",
}
STATUS = shape(
    _CHAIN
    | {
        "public": KEY,
        "role": TEXT,
        "address": text("where it listens for peers; empty: nowhere"),
        "behind": whole(what="blocks that some peer has more"),
        "peer_count": COUNT,
        "member_count": whole(what="peers that are validators or proposers"),
        "rules_version": COUNT,
        "shut": text("why nobody but the committee is let in at present; empty when all are"),
        "shut_count": whole(what="times that it was so, since the start"),
        "turned_away_count": whole(what="connections of peers refused before any handshake, since the start"),
    }
)
A_STATUS = {
    "name": "test",
    "chain_id": A_HASH,
    "height": 7,
    "time_ms": 1_700_000_000_000,
    "pool_count": 0,
    "trouble": "",
    "public": A_KEY,
    "role": "validator",
    "address": "127.0.0.1:7600",
    "behind": 0,
    "peer_count": 3,
    "member_count": 3,
    "rules_version": 1,
    "shut": "",
    "shut_count": 0,
    "turned_away_count": 0,
}
CHAIN_INFO = shape(
    _CHAIN
    | {
        "block_hash": HASH,
        "validator_count": COUNT,
        "quorum": COUNT,
        "fee_min_ucpc": UCPC,
        "free_tx_per_day": COUNT,
        "block_period_ms": COUNT,
    }
)
_ESCROW: Schema = {
    "status": text("", "open", "settled", "refunded"),
    "payee": KEY,
    "arbiter": or_null(KEY),
    "amount_ucpc": UCPC,
    "paid_ucpc": UCPC,
    "deadline_ms": TIME_MS,
    "memo_hash": HASH,
    "opened_height": HEIGHT,
    "ended_height": HEIGHT,
    "tx_hash": HASH,
}
_MANDATE: Schema = {
    "status": text("", "granted", "revoked"),
    "number": COUNT,
    "payment_max_ucpc": UCPC,
    "day_max_ucpc": UCPC,
    "total_max_ucpc": or_null(UCPC),
    "expires_ms": TIME_MS,
    "payees": items(KEY),
    "day_spent_ucpc": UCPC,
    "total_spent_ucpc": UCPC,
    "tx_hash": HASH,
}

METHODS: dict[str, Method] = {
    "chain_info": Method(
        "What chain this is, its rules and its head.",
        CHAIN_INFO,
        {
            "name": "test",
            "chain_id": A_HASH,
            "height": 7,
            "block_hash": A_HASH,
            "time_ms": 1_700_000_000_000,
            "validator_count": 4,
            "quorum": 3,
            "fee_min_ucpc": 1_000,
            "free_tx_per_day": 10,
            "block_period_ms": 3_000,
            "pool_count": 0,
            "trouble": "",
        },
        {},
        {},
    ),
    "genesis": Method("The chain's genesis.", shape({"genesis": HEX}), {"genesis": "ad01"}, {}, {}),
    "headers": Method(
        "Headers with their certificates, rising from a height, without a gap.",
        shape({"height": HEIGHT, "headers": items(shape({"header": HEX, "certificate": HEX}))}),
        {"height": 7, "headers": [{"header": "ac01", "certificate": "a401"}]},
        {"from": whole(1), "count": whole(1, HEADERS_MAX)},
        {"from": 7, "count": 500},
    ),
    "handovers": Method(
        "Evidence of each change of validators, from the one to the set of this number on.",
        shape({"handovers": items(shape(LINK | {"proof": HEX}))}),
        {"handovers": [{"height": 7, "header": "ac01", "certificate": "a401", "proof": "a0"}]},
        {"from": whole(1), "count": whole(1, HANDOVERS_MAX)},
        {"from": 1, "count": 50},
    ),
    "tx_submit": Method(
        "Hand in a transaction; one that waits or is final already is no error.",
        shape({"tx_hash": HASH}),
        {"tx_hash": A_HASH},
        {"tx": blob_up_to(TX_SIZE_LIMIT, "a COSE_Sign1 of type cpc/tx")},
        {"tx": "d28401"},
        errors=("InvalidParams", "Refused", "RateLimited", "Internal"),
    ),
    "tx_get": Method(
        "What became of a transaction, with the evidence when it is final.",
        TX_STATUS,
        {
            **A_LINK,
            "status": "final",
            "tx": "d28401",
            "index": 0,
            "tx_proof": [A_HASH],
            "receipt": "a301",
            "receipt_proof": [A_HASH],
        },
        {"tx_hash": HASH},
        {"tx_hash": A_HASH},
    ),
    "account_get": _proven(
        "An account after the head.",
        {"account": KEY},
        {"account": A_KEY},
        balance_ucpc=UCPC,
        locked_ucpc=UCPC,
        nonce=COUNT,
        quota_day=COUNT,
        quota_used=COUNT,
        next_nonce=COUNT,
        example={
            "balance_ucpc": 1_500_000,
            "locked_ucpc": 0,
            "nonce": 3,
            "quota_day": 19_675,
            "quota_used": 1,
            "next_nonce": 4,
        },
    ),
    "account_history": Method(
        "Final transactions that an account sent or is named in, newest first, as far as bodies are kept;"
        " `before` of an answer has before_height and before_index of the next page; null ends.  A page may "
        "be empty and yet not the last.  tx_get has the proof of each.",
        shape({"entries": items(_ENTRY), "before": or_null(_PLACE)}),
        {
            "entries": [
                {
                    "height": 7,
                    "index": 0,
                    "tx_hash": A_HASH,
                    "kind": 1,
                    "name": "Transfer",
                    "sender": A_KEY,
                    "nonce": 2,
                    "fee_ucpc": 1_000,
                    "reason": "applied",
                    "to": B_KEY,
                    "amount_ucpc": 1_500_000,
                }
            ],
            "before": {"height": 7, "index": 0},
        },
        {
            "account": KEY,
            "count": whole(1, PAGE_MAX),
            "before_height": whole(0, INT_MAX),
            "before_index": whole(0, BLOCK_TX_LIMIT),
        },
        {"account": A_KEY, "count": 1},
        optional=("before_height", "before_index"),
    ),
    "did_get": _proven(
        "A name, as it is now or was at a height.",
        {"did": DID, "height": HEIGHT},
        {"did": A_DID},
        optional=("height",),
        version=or_null(whole(1)),
        resolution=or_null({"type": "object", "description": "W3C's DID resolution result"}),
        example={"version": None, "resolution": None},
    ),
    "escrow_get": _proven(
        "An escrow of a payer.",
        {"payer": KEY, "escrow": HASH},
        {"payer": A_KEY, "escrow": A_HASH},
        shapes=[_ESCROW, _UNKNOWN],
        example={"status": "unknown"},
    ),
    "mandate_get": _proven(
        "What an operator may spend of a payer's.",
        {"payer": KEY, "operator": KEY},
        {"payer": A_KEY, "operator": B_KEY},
        shapes=[_MANDATE, _UNKNOWN],
        example={"status": "unknown"},
    ),
    "conduct_get": _proven(
        "What a proposer or validator did against the rules.",
        {"account": KEY},
        {"account": A_KEY},
        impeached_count=COUNT,
        equivocation_count=COUNT,
        last_height=HEIGHT,
        example={"impeached_count": 0, "equivocation_count": 0, "last_height": 0},
    ),
    "state_get": _proven("An entry of the state.", {"key": STATE_KEY}, {"key": "8201"}),
    "rpc.discover": Method(
        "This document.",
        {"type": "object", "required": ["openrpc", "info", "methods"]},
        {"openrpc": "1.3.2", "info": {"title": "CPChain node", "version": "1"}, "methods": []},
        {},
        {},
    ),
    "dev_fund": Method(
        "Have the treasury pay an account; on development chains only.",
        shape({"tx_hash": HASH}),
        {"tx_hash": A_HASH},
        {"account": KEY, "amount_ucpc": whole(1, SUPPLY_UCPC)},
        {"account": A_KEY, "amount_ucpc": 1_500_000},
        errors=("InvalidParams", "Refused", "RateLimited", "Internal"),
    ),
    "node_status": Method("Who this node is, and what troubles it.", STATUS, A_STATUS, {}, {}),
    "node_peers": Method(
        "With whom this node is connected.", shape({"peers": items(PEER)}), {"peers": [A_PEER]}, {}, {}
    ),
}
"""By name, all that a dispatcher may have."""
