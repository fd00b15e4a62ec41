"""The document that describes the JSON-RPC: every method with params, result, errors and an example.

Runs on CPython; pure.  `rpc.discover` and GET /openrpc.json give it.  The tests hold it against the server:
each method is in it, each example is of its schema, and real answers are, too.  Params are by name, and a
param that is not in here is refused with reason "params".  Source: OpenRPC 1.3.2.
"""

from collections.abc import Iterable

from chain_node import rpc_document_blocks, rpc_document_methods, rpc_document_socket
from chain_node.rpc_format import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOT_READY,
    PARSE_ERROR,
    RATE_LIMITED,
    REFUSED,
    TOO_SLOW,
)
from chain_node.rpc_schema import Schema, shape, text, whole

OPENRPC = "1.3.2"
VERSION = "1"
"""Of the interface: another one when a method goes, or means something else."""
ERRORS = {
    "ParseError": (PARSE_ERROR, "the body is not JSON"),
    "InvalidRequest": (INVALID_REQUEST, "no request of JSON-RPC 2.0, or too long, or too many in a batch"),
    "MethodNotFound": (METHOD_NOT_FOUND, "no such method here; the message lists those there are"),
    "InvalidParams": (INVALID_PARAMS, "a param is missing, unknown or out of its bounds"),
    "Internal": (INTERNAL_ERROR, "the node cannot use its file"),
    "Refused": (REFUSED, "the transaction is refused; data.reason is the reason's name"),
    "NotReady": (NOT_READY, "there is no block yet"),
    "RateLimited": (RATE_LIMITED, "wait for data.retry_after_ms; over HTTP with status 429"),
    "TooSlow": (TOO_SLOW, "the connection is closed, for what it subscribed to was not read"),
}
"""By name: the code, and when it comes."""
METHODS = {
    **rpc_document_methods.METHODS,
    **rpc_document_blocks.METHODS,
    **rpc_document_socket.METHODS,
}
"""By name, all that any node has."""
ERROR_DATA = shape(
    {
        "reason": text("a label for machines, which does not change"),
        "retry_after_ms": whole(what="where waiting helps"),
    },
    optional=("retry_after_ms",),
)


def document(names: Iterable[str]) -> Schema:
    """The document of a node that has these methods, with those that only a WebSocket has."""
    there = {*names, *rpc_document_socket.METHODS}
    return {
        "openrpc": OPENRPC,
        "info": {
            "title": "CPChain node",
            "version": VERSION,
            "description": "POST to /, or over a WebSocket at /ws, which has subscriptions, too.",
            "license": {"name": "Apache-2.0"},
        },
        "methods": [METHODS[name].to_json(name) for name in sorted(there)],
        "components": {
            "errors": {
                name: {"code": code, "message": message, "data": ERROR_DATA}
                for name, (code, message) in ERRORS.items()
            }
        },
        "x-events": rpc_document_socket.EVENTS,
    }
