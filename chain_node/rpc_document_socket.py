"""Subscriptions over a WebSocket: how they are made and what they bring, as part of the document.

Runs on CPython; pure.  Events come as notifications of the method `subscription` with the params
{subscription, topic, event}.  A subscription that ends by itself has {..., error} once, in place of an event.
"""

from chain_node.impeachment import Why
from chain_node.rpc_document_methods import (
    A_KEY,
    CHAIN_INFO,
    PEER,
    STATUS,
    TX_STATUS,
    Method,
)
from chain_node.rpc_schema import (
    COUNT,
    HASH,
    HEIGHT,
    HEX,
    INDEX,
    KEY,
    LINK,
    TIME_MS,
    Schema,
    items,
    or_null,
    shape,
    text,
    whole,
)

TOPICS = ("blocks", "transactions", "status", "peers")
_IMPEACHMENT = shape(
    {
        "proposer": KEY | {"description": "against whom"},
        "round": whole(1),
        "reason": or_null(
            text(
                "what this node saw of it; null: nothing, or it has restarted since",
                *(each.value for each in Why),
            )
        ),
        "detail": text("for people: what was wrong with an illicit block"),
    }
)
EVENTS: Schema = {
    "blocks": shape(
        LINK
        | {
            "block_hash": HASH,
            "time_ms": TIME_MS,
            "tx_count": COUNT,
            "proposer": or_null(KEY),
            "signers": items(COUNT, "indexes of the validators whose signatures the certificate has"),
            "impeachment": or_null(_IMPEACHMENT),
        }
    ),
    "transactions": {
        "oneOf": [
            shape({"height": HEIGHT, "index": INDEX, "tx_hash": HASH, "tx": HEX, "reason": text()}),
            *TX_STATUS["oneOf"],  # type: ignore[misc]  # a list of shapes
        ],
        "description": "of an account: each final transaction; of a hash: each new status, as tx_get has it",
    },
    "status": {"oneOf": [STATUS, CHAIN_INFO], "description": "whenever something of it changes"},
    "peers": shape({"peers": items(PEER)}),
}
"""By topic: what an event looks like."""
METHODS = {
    "subscribe": Method(
        "Be told of a topic: of blocks; of transactions of an account, or of one hash until it is final or "
        "refused; of the node's status; of its peers.  Heights may be skipped while the node catches up.",
        shape({"subscription": text()}),
        {"subscription": "1"},
        {"topic": text("", *TOPICS), "account": KEY, "tx_hash": HASH},
        {"topic": "transactions", "account": A_KEY},
        optional=("account", "tx_hash"),
        is_socket_only=True,
    ),
    "unsubscribe": Method(
        "Be told no more.",
        shape({"subscription": text()}),
        {"subscription": "1"},
        {"subscription": text()},
        {"subscription": "1"},
        is_socket_only=True,
    ),
}
