"""The methods of rpc_blocks.py, for people who look at a chain, as part of the document.

Runs on CPython; pure.
"""

from typing import Any

from chain_node.impeachment import Why
from chain_node.rpc_document_methods import A_DID, A_HASH, A_KEY, Method
from chain_node.rpc_format import PAGE_BLOCKS_MAX as BLOCKS_MAX
from chain_node.rpc_schema import (
    COUNT,
    DID,
    HASH,
    HEIGHT,
    HEX,
    INDEX,
    KEY,
    TEXT,
    TIME_MS,
    UCPC,
    Schema,
    flag,
    items,
    one_of,
    or_null,
    shape,
    text,
    whole,
)

_IMPEACHED = shape(
    {
        "proposer": KEY,
        "why": or_null(text("null: this node did not see it", *(each.value for each in Why))),
        "detail": TEXT,
        "is_proven": flag("the chain itself shows it"),
        "tx_hash": HASH,
    },
    optional=("tx_hash",),
)
_SUMMARY: Schema = {
    "height": HEIGHT,
    "hash": HASH,
    "time_ms": TIME_MS,
    "proposer": or_null(KEY),
    "tx_count": COUNT,
    "round": COUNT,
    "certificate_round": COUNT,
    "set": whole(what="the number of the set of validators that certified it"),
    "signers": items(COUNT, "indexes of those validators"),
    "impeached": or_null(_IMPEACHED),
}
A_SUMMARY: dict[str, Any] = {
    "height": 7,
    "hash": A_HASH,
    "time_ms": 1_700_000_000_000,
    "proposer": A_KEY,
    "tx_count": 0,
    "round": 0,
    "certificate_round": 0,
    "set": 0,
    "signers": [0, 1, 2],
    "impeached": None,
}
_ROW = shape(
    {
        "index": INDEX,
        "tx_hash": HASH,
        "kind": whole(1),
        "kind_name": TEXT,
        "sender": KEY,
        "amount_ucpc": or_null(UCPC),
        "reason": TEXT,
        "fee_ucpc": UCPC,
    }
)
SET = shape({"number": COUNT, "from_height": HEIGHT, "quorum": COUNT, "validators": items(KEY)})
_UNKNOWN: Schema = {"status": text("", "unknown")}
_BLOCK: Schema = _SUMMARY | {
    "status": text("", "final"),
    "head": HEIGHT,
    "header": HEX,
    "parent_hash": HASH,
    "chain_id": HASH,
    "tx_root": HASH,
    "receipts_root": HASH,
    "state_root": HASH,
    "validators_hash": HASH,
    "validators": items(KEY),
    "transactions": or_null(items(_ROW)),
}
_NUMBER: Schema = {
    "type": "string",
    "pattern": "^[0-9]+$",
    "description": "a number, which may be a large one",
}
_APART: Schema = {
    "kind": whole(1),
    "kind_name": TEXT,
    "sender": KEY,
    "nonce": _NUMBER,
    "fee_ucpc": _NUMBER,
    "valid_until": or_null(_NUMBER),
    "fields": items(
        shape({"name": TEXT, "type": TEXT, "value": {"description": "a text, a list or a document"}})
    ),
    "tx": HEX,
}
_CONDUCT = shape(
    {
        "index": COUNT,
        "public": KEY,
        "impeached_count": COUNT,
        "equivocation_count": COUNT,
        "last_height": HEIGHT,
    }
)
_VERSION = shape(
    {
        "version": whole(1),
        "since_height": HEIGHT,
        "until_height": or_null(HEIGHT),
        "since_ms": TIME_MS,
        "tx_hash": HASH,
    }
)

METHODS = {
    "blocks": Method(
        "Blocks for show, the newest first from a height down.",
        shape({"height": HEIGHT, "blocks": items(shape(_SUMMARY))}),
        {"height": 7, "blocks": [A_SUMMARY]},
        {"count": whole(1, BLOCKS_MAX), "to": whole()},
        {"count": 1},
        optional=("to",),
    ),
    "block_get": Method(
        "A block for show, by height or by hash, with a page of its transactions.",
        one_of(shape(_BLOCK), shape(_UNKNOWN | {"height": HEIGHT})),
        {"status": "unknown", "height": 7},
        {
            "height": whole(1),
            "hash": HASH,
            "from": whole(),
            "count": whole(1, BLOCKS_MAX),
        },
        {"height": 8},
        optional=("height", "hash", "from", "count"),
    ),
    "tx_show": Method(
        "A transaction taken apart, for show; tx_get has the proof.",
        one_of(
            shape(
                _APART
                | {
                    "status": text("", "final"),
                    "height": HEIGHT,
                    "index": INDEX,
                    "time_ms": TIME_MS,
                    "block_hash": HASH,
                    "tx_count": COUNT,
                    "receipt": shape({"reason": TEXT, "fee_ucpc": UCPC}),
                }
            ),
            shape(_APART | {"status": text("", "pending")}),
            shape({"status": text("", "refused"), "reason": TEXT, "message": TEXT}),
            shape(_UNKNOWN),
        ),
        {"status": "unknown"},
        {"tx_hash": HASH},
        {"tx_hash": A_HASH},
    ),
    "validators": Method(
        "Validators and proposers with their conduct.",
        shape(
            {
                "height": HEIGHT,
                "number": whole(what="of the set in force: how many changes there were before it"),
                "from_height": HEIGHT,
                "quorum": COUNT,
                "validators": items(_CONDUCT),
                "pending": or_null(SET),
                "proposers": items(_CONDUCT),
                "next_proposer": KEY,
            }
        ),
        {
            "height": 7,
            "number": 0,
            "from_height": 0,
            "quorum": 3,
            "validators": [],
            "pending": None,
            "proposers": [],
            "next_proposer": A_KEY,
        },
        {},
        {},
    ),
    "did_versions": Method(
        "The versions of a name, the newest first.",
        shape({"version": or_null(whole(1)), "is_deactivated": flag(), "versions": items(_VERSION)}),
        {"version": None, "is_deactivated": False, "versions": []},
        {"did": DID},
        {"did": A_DID},
    ),
}
"""By name."""
